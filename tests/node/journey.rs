//! The journey: Velero, a backup of a volume's files, the chart, a bundle that is asked for at once; then a restore that
//! hangs, and the bundle that nobody asked for, opened in a pod.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use harness::{
    tools::{self, Tool},
    until,
};

use crate::{OPERATOR_IMAGE, image, must_gather, repository, say, servers::Node, write};

const LIMIT: Duration = Duration::from_mins(3);
/// The image of the restore helper; nobody can own a name under `.invalid` (RFC 2606).
const MISSING: &str = "registry.invalid/velero/velero-restore-helper:v1.18.3";

const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: shop-0, namespace: shop}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: app, image: "IMAGE", command: [sh, -c, "echo 3 >/data/apples; exec sleep 3600"], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, emptyDir: {}}]
"#;

const ASKED: &str = "
apiVersion: debugbundle.io/v1alpha1
kind: DebugBundle
metadata: {name: why-b1, namespace: velero}
spec: {target: {kind: Backup, name: b1}}
";

/// The least time after which the operator may call a Restore stuck, and the image that Velero adds to restored pods.
const BEFORE_THE_RESTORE: &str = r#"
apiVersion: debugbundle.io/v1alpha1
kind: DebugBundlePolicy
metadata: {name: default, namespace: velero}
spec: {stuckAfter: 5m}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: pod-volume-restore-config
  namespace: velero
  labels: {velero.io/plugin-config: "", velero.io/pod-volume-restore: RestoreItemAction}
data: {image: "IMAGE"}
"#;

pub(crate) async fn run(node: &Node) {
    let step = Instant::now();
    velero_is_installed(node).await;
    say(step, "velero install, to its location Available and node-agent ready");

    let step = Instant::now();
    apply(node, "shop", &SHOP.replace("IMAGE", image::NAME));
    node.kubectl(&["-n", "shop", "wait", "--for=condition=Ready", "pod/shop-0", "--timeout=60s"]);
    velero(node, &["backup", "create", "b1", "--include-namespaces=shop", "--default-volumes-to-fs-backup", "--wait"])
        .await;
    assert_eq!(phase(node, "backup.velero.io/b1"), Ok("Completed".to_owned()));
    say(step, "a pod, and a Backup of its volume with kopia, to Completed");

    let install = Instant::now();
    chart_is_installed(node).await;
    say(install, "helm install returns");
    tokio::time::sleep(Duration::from_secs(1)).await;
    apply(node, "why-b1", ASKED);
    until(LIMIT, "the DebugBundle is Completed", || async { is(phase(node, "debugbundle/why-b1"), "Completed") }).await;
    say(install, "helm install to Completed, for a DebugBundle applied one second after helm install");

    let step = Instant::now();
    helm(node, &["test", "debugbundle", "--namespace=velero"]).await;
    say(step, "helm test: a bundle about the installation is Completed");

    let step = Instant::now();
    let files = must_gather::files(node, "gather", "/usr/bin/gather").await;
    assert!(files.contains(&"manifest.json".to_owned()), "{files:?}");
    say(step, &format!("must-gather about the installation: {} files", files.len()));

    let step = Instant::now();
    apply(node, "before-the-restore", &BEFORE_THE_RESTORE.replace("IMAGE", MISSING));
    node.kubectl(&["delete", "namespace", "shop", "--wait"]);
    velero(node, &["restore", "create", "r1", "--from-backup=b1"]).await;
    until(LIMIT, "the restored pod waits for the image of its init container", || async {
        let shown = node.try_kubectl(&["-n", "shop", "get", "pod", "shop-0"])?;
        let status = "jsonpath={.status.initContainerStatuses[0].state.waiting.reason}";
        let reason = node.try_kubectl(&["-n", "shop", "get", "pod", "shop-0", "-o", status])?;
        // kubectl shows Init:0/1 only until the first pull fails.
        if reason.ends_with("ImagePullBackOff") { Ok(()) } else { Err(shown) }
    })
    .await;
    assert_eq!(phase(node, "restore.velero.io/r1"), Ok("InProgress".to_owned()));
    say(step, "a Restore that hangs: its pod waits for the image of Velero's restore helper");

    let step = Instant::now();
    let files = must_gather::files(node, "gather-r1", "gather --restore r1").await;
    assert!(files.iter().any(|file| file.starts_with("velero/restores/r1/")), "{files:?}");
    say(step, &format!("must-gather about the Restore: {} files", files.len()));
    let top: BTreeSet<&str> = files.iter().filter_map(|file| file.split('/').next()).collect();
    println!("           {}", top.into_iter().collect::<Vec<_>>().join(" "));

    let step = Instant::now();
    let name = until(Duration::from_mins(7), "the bundle that nobody asked for", || async {
        let about = ["-n", "velero", "get", "debugbundles", "-l", "debugbundle.io/target-name=r1"];
        let name = node.try_kubectl(&[&about[..], &["-o", "jsonpath={.items[*].metadata.name}"]].concat())?;
        if name.is_empty() {
            return Err("none yet".to_owned());
        }
        is(phase(node, &format!("debugbundle/{name}")), "Completed").map(|()| name)
    })
    .await;
    say(step, "the bundle that nobody asked for is Completed (stuckAfter is five minutes)");
    println!("{}", node.kubectl(&["-n", "velero", "get", "debugbundles"]));
    let cause = field(node, &name, "{.status.cause}").expect("it can be read");
    assert!(cause.contains(MISSING), "the cause names the image: {cause}");
    assert_eq!(phase(node, "restore.velero.io/r1"), Ok("InProgress".to_owned()));

    let step = Instant::now();
    let url = url_of(node, &name).await;
    say(step, "its URL, on request");
    let step = Instant::now();
    let open = format!("wget -q -O /tmp/b.tar.gz '{url}' && wc -c </tmp/b.tar.gz && tar -tzf /tmp/b.tar.gz");
    let image = format!("--image={}", image::NAME);
    node.kubectl(&["-n", "velero", "run", "reader", &image, "--restart=Never", "--command", "--", "sh", "-c", &open]);
    until(LIMIT, "the pod has read the bundle", || async { is(phase(node, "pod/reader"), "Succeeded") }).await;
    let read = node.kubectl(&["-n", "velero", "logs", "reader"]);
    let bytes = field(node, &name, "{.status.bundle.bytes}").expect("it can be read");
    assert_eq!(read.lines().next().map(str::trim), Some(bytes.as_str()), "all bytes");
    assert!(read.lines().any(|line| line.ends_with("/manifest.json")), "{read}");
    say(step, &format!("the URL opened in a pod: {bytes} bytes, {} files", read.lines().count() - 1));
}

/// As its users install it.
async fn velero_is_installed(node: &Node) {
    let keys = node.folder.join("credentials");
    write(&keys, "[default]\naws_access_key_id=admin\naws_secret_access_key=secret-of-admin\n");
    let location = format!("region=us-east-1,s3ForcePathStyle=true,s3Url={}", Node::s3());
    let (keys, kubelet) = (keys.display().to_string(), node.folder.join("kubelet").display().to_string());
    velero(
        node,
        &[
            "install",
            "--wait",
            "--image",
            image::NAME,
            "--plugins",
            image::NAME,
            "--provider=aws",
            "--bucket=velero",
            "--secret-file",
            &keys,
            "--use-node-agent",
            "--kubelet-root-dir",
            &kubelet,
            "--use-volume-snapshots=false",
            "--backup-location-config",
            &location,
        ],
    )
    .await;
    let available = "--for=jsonpath={.status.phase}=Available";
    node.kubectl(&["-n", "velero", "wait", available, "bsl/default", "--timeout=60s"]);
}

async fn chart_is_installed(node: &Node) {
    let chart = repository("charts/debugbundle").display().to_string();
    let (repository, tag) = OPERATOR_IMAGE;
    let image = format!("image.repository={repository},image.tag={tag}");
    helm(node, &["install", "debugbundle", &chart, "--namespace=velero", "--set", &image]).await;
}

async fn helm(node: &Node, args: &[&str]) {
    let helm = tools::path(Tool::Helm).await.unwrap_or_else(|error| panic!("{error}"));
    crate::run(node.command(&helm).args(args));
}

async fn velero(node: &Node, args: &[&str]) {
    let velero = tools::path(Tool::Velero).await.unwrap_or_else(|error| panic!("{error}"));
    crate::run(node.command(&velero).args(args));
}

/// A URL as a person gets it.
async fn url_of(node: &Node, name: &str) -> String {
    node.kubectl(&["-n", "velero", "annotate", "debugbundle", name, "debugbundle.io/renew-url=1"]);
    until(LIMIT, "there is a URL", || async {
        let url = field(node, name, "{.status.downloadURL}")?;
        if url.is_empty() { Err("none yet".to_owned()) } else { Ok(url) }
    })
    .await
}

fn apply(node: &Node, name: &str, text: &str) {
    let file = node.folder.join(name).with_extension("yaml");
    write(&file, text);
    node.kubectl(&["apply", "-f", &file.display().to_string()]);
}

fn field(node: &Node, bundle: &str, path: &str) -> Result<String, String> {
    node.try_kubectl(&["-n", "velero", "get", "debugbundle", bundle, "-o", &format!("jsonpath={path}")])
}

fn phase(node: &Node, object: &str) -> Result<String, String> {
    node.try_kubectl(&["-n", "velero", "get", object, "-o", "jsonpath={.status.phase}"])
}

fn is(phase: Result<String, String>, wanted: &str) -> Result<(), String> {
    let phase = phase?;
    if phase == wanted { Ok(()) } else { Err(phase) }
}

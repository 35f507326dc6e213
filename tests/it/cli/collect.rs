//! `collect`: the engine without the operator, with the user's own rights, into a local file, compared with the
//! operator's bundle.

use std::{collections::BTreeSet, ffi::OsString, os::unix::fs::PermissionsExt as _, path::Path};

use debugbundle_crd::DebugBundle;
use debugbundle_format::manifest::ManifestView;
use harness::{Context, LogScript, kubelet::KubeletPort, pod, readers::manifest_of, until, with_namespace};
use k8s_openapi::api::{
    core::v1::Secret,
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::user::{LIMIT, User, a_restore, finish, stored};

fn manifest(file: &Path) -> ManifestView {
    let bytes = manifest_of(file);
    ManifestView::parse(&bytes).expect("a manifest")
}

fn paths(manifest: &ManifestView) -> BTreeSet<&str> {
    manifest.entries.iter().map(|entry| entry.path.as_str()).collect()
}

/// Grants a user a ClusterRole with these rules.
async fn allow(context: &Context, name: &str, rules: Value) {
    let name = format!("{}-{name}", context.namespace);
    let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap();
    Api::all(context.client.clone()).create(&PostParams::default(), &role).await.expect("a role");
    let account = name.strip_prefix(&format!("{}-", context.namespace)).unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": context.namespace}],
    }))
    .unwrap();
    Api::all(context.client.clone()).create(&PostParams::default(), &binding).await.expect("a binding");
}

#[tokio::test]
async fn sec_r44_without_the_operator_the_same_bundle_is_made_and_nothing_is_written() {
    with_namespace("cli-collect", |context| async move {
        let account = context.stand.service_account(&context.namespace, "reader").await;
        allow(&context, "reader", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}])).await;
        let (operator, _) = stored(&context, "theirs", "OnCompletion").await;
        let user = User::of(&context);
        assert_eq!(user.line("download theirs -o theirs.tar.gz").await.code, 0);
        operator.kill9();
        let objects = context.bucket.keys("").await;

        let reader = User::with(&context, "reader", &account.kubeconfig);
        let ran = reader.line("collect --restore regrow -o mine.tar.gz").await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.starts_with("Phase:    Completed\nCause:    exceeded quota: no room for shop-0\n"), "{ran:?}");
        assert_eq!(reader.files(), ["mine.tar.gz"], "nothing else is left");
        let mode = std::fs::metadata(reader.path("mine.tar.gz")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let (mine, theirs) = (manifest(&reader.path("mine.tar.gz")), manifest(&user.path("theirs.tar.gz")));
        let (of_mine, of_theirs) = (paths(&mine), paths(&theirs));
        assert!(of_theirs.is_subset(&of_mine), "{:?}", of_theirs.difference(&of_mine));
        for more in of_mine.difference(&of_theirs) {
            let denied = theirs.missing.iter().any(|missing| missing.path == **more && missing.code == "Forbidden");
            assert!(denied, "{more}: the user may read more, and the operator's bundle says so: {:?}", theirs.missing);
        }
        assert_eq!(mine.outcome, theirs.outcome);
        assert!(mine.bundle.root.starts_with("debugbundle-restore-regrow-"), "{}", mine.bundle.root);
        for path in ["velero/restores/regrow/restore.log", "velero/restores/regrow/results.json"] {
            let digest = |of: &ManifestView| of.entries.iter().find(|entry| entry.path == path).unwrap().sha256.clone();
            assert_eq!(digest(&mine), digest(&theirs), "{path}");
        }
        let deeds = context.stand.distinct_requests_of(&account.user);
        let others: Vec<_> = deeds.iter().filter(|(verb, ..)| verb != "get" && verb != "list").collect();
        let asking = ["create", "authorization.k8s.io", "selfsubjectaccessreviews"].map(str::to_owned).into();
        assert_eq!(others, [&asking], "it asks what it may do, which leaves nothing behind, and reads");
        assert_eq!(context.bucket.keys("").await, objects);
        assert_eq!(context.api::<DebugBundle>().list(&ListParams::default()).await.unwrap().items.len(), 1);

        let told = reader.line("cat --file mine.tar.gz summary.md").await;
        assert_eq!(told.out.lines().next(), Some("exceeded quota: no room for shop-0"));
        let refused = reader.line("collect --restore regrow -o mine.tar.gz").await;
        assert!(refused.code == 1 && refused.err.contains("mine.tar.gz exists"), "{refused:?}");
        let forced = reader.line("collect --restore regrow -o mine.tar.gz --force").await;
        assert_eq!(forced.code, 0, "{forced:?}");
        let again = manifest(&reader.path("mine.tar.gz"));
        assert_ne!(again.bundle.root, mine.bundle.root, "two bundles unpack beside one another");
        assert_eq!(reader.files(), ["mine.tar.gz"]);
    })
    .await;
}

#[tokio::test]
async fn several_kubeconfigs_and_a_context_are_used_as_kubectl_uses_them() {
    with_namespace("cli-context", |context| async move {
        a_restore(&context).await;
        let first = context.folder("kube").join("first");
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
            "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:9"}}],
            "users": [{"name": "nobody", "user": {"token": "x"}}],
            "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}]});
        std::fs::write(&first, config.to_string()).unwrap();
        let absent = context.folder("kube").join("absent");
        let list: OsString = std::env::join_paths([&absent, &first, context.stand.kubeconfig()]).unwrap();
        let user = User::with(&context, "user", list);
        let ran = user.line("collect --restore regrow --context stand -o /dev/null/").await;
        assert!(ran.code == 1 && ran.err.contains("/dev/null"), "{ran:?}");
        let ran = user.line("collect --restore regrow --context stand").await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let files = user.files();
        assert!(files.len() == 1 && files[0].starts_with("debugbundle-restore-regrow-2"), "{files:?}");
        let ran = user.line("list").await;
        assert!(
            ran.code == 1 && ran.err.contains("the request to the API server failed"),
            "the first file's context: {ran:?}"
        );
        let ran = user.line("list --context elsewhere").await;
        assert!(ran.code == 1 && ran.err.contains("elsewhere"), "{ran:?}");
        let mut command = user.command(["list"]).await;
        command.env("KUBECONFIG", "/nowhere").arg("--kubeconfig").arg(context.stand.kubeconfig());
        let ran = finish(command.spawn().unwrap(), &command).await;
        assert_eq!(ran.code, 0, "the flag comes before the environment: {ran:?}");
    })
    .await;
}

#[tokio::test]
async fn an_unusable_location_leaves_a_bundle_without_velero_s_files() {
    with_namespace("cli-nostore", |context| async move {
        a_restore(&context).await;
        let user = User::of(&context);
        let read_only = json!({"spec": {"accessMode": "ReadOnly"}});
        context.patch_velero("BackupStorageLocation", "default", read_only).await;
        let ran = user.line("collect --restore regrow -o readonly.tar.gz").await;
        assert_eq!(ran.code, 0, "a location that is only read from may be ReadOnly: {ran:?}");

        context.api::<Secret>().delete("cloud-credentials", &DeleteParams::default()).await.unwrap();
        let ran = user.line("collect --restore regrow -o b.tar.gz").await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.out.starts_with("Phase:    PartiallyFailed\n"), "{ran:?}");
        let list = user.line("cat --file b.tar.gz --list").await;
        let path = "velero/restores/regrow/restore.log";
        let line = list.out.lines().find(|line| line.contains(path)).expect("the log is listed as missing");
        assert!(line.contains("StoreUnreachable") && line.contains("cloud-credentials"), "{line}");
        let ran = user.run(["cat", "--file", "b.tar.gz", path]).await;
        assert!(ran.code == 4 && ran.err.contains("cloud-credentials"), "{ran:?}");
        assert!(
            list.out.contains("B  namespaces/") && list.out.contains("pods/velero-1/velero/velero/logs/current.log\n"),
            "the cluster's part is there"
        );

        let nobody = user.line("collect --restore nobody -o c.tar.gz").await;
        assert_eq!((nobody.code, nobody.out.as_str()), (1, ""), "{nobody:?}");
        assert!(nobody.err.contains("no bundle was made: ") && nobody.err.contains("nobody"), "{nobody:?}");
        assert_eq!(user.files(), ["b.tar.gz", "readonly.tar.gz"], "no file and no folder is left");
    })
    .await;
}

#[tokio::test]
async fn sec_r44_who_may_read_little_gets_what_they_may_read_and_the_cure_for_the_rest() {
    with_namespace("cli-little", |context| async move {
        a_restore(&context).await;
        let account = context.stand.service_account(&context.namespace, "guest").await;
        allow(&context, "guest", json!([{"apiGroups": ["velero.io"], "resources": ["*"], "verbs": ["get", "list"]}]))
            .await;
        let guest = User::with(&context, "guest", &account.kubeconfig);
        let ran = guest.line("collect --restore regrow -o g.tar.gz").await;
        assert_eq!(ran.code, 3, "{ran:?}");
        let list = guest.line("cat --file g.tar.gz --list").await;
        assert!(list.out.contains("Forbidden") && list.out.contains("cure: "), "{list:?}");
        assert!(list.out.contains("velero.io/restores.yaml"), "{list:?}");
        assert!(!list.out.contains("\n  : "), "each has a name: {list:?}");
    })
    .await;
}

#[tokio::test]
async fn an_interrupted_collection_leaves_nothing_behind() {
    with_namespace("cli-stop", |context| async move {
        a_restore(&context).await;
        let node = context.node_that_is("slow", KubeletPort::Open).await;
        context.pod(pod("velero-2").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
        context.log("velero-2", "velero", LogScript::generated(50_000_000, 7).stall_after(1_000_000));
        let user = User::of(&context);
        for (signal, name) in [(Signal::INT, "interrupted"), (Signal::TERM, "terminated"), (Signal::HUP, "hung-up")] {
            let file = format!("{name}.tar.gz");
            let mut command = user.command(["collect", "--restore", "regrow", "-o", &file]).await;
            let child = command.spawn().unwrap();
            until(LIMIT, "something is collected", || async {
                let spool =
                    user.files().into_iter().find(|name| name.starts_with(".debugbundle-")).ok_or("no spool")?;
                let mode = std::fs::metadata(user.path(&spool)).map_err(|_| "gone")?.permissions().mode();
                assert_eq!(mode & 0o777, 0o700);
                let files = std::fs::read_dir(user.path(&spool)).map_err(|_| "gone")?.count();
                if files > 0 { Ok(()) } else { Err("an empty spool") }
            })
            .await;
            let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
            kill_process(pid, signal).unwrap();
            let ran = finish(child, &command).await;
            assert_eq!((ran.code, ran.out.as_str()), (130, ""), "{name}: {ran:?}");
            assert!(ran.err.ends_with("error: interrupted; no bundle was made\n"), "{ran:?}");
            assert_eq!(user.files(), Vec::<String>::new(), "{name}");
        }
    })
    .await;
}

//! The modes of the chart: OpenShift, two replicas, workload identity; what helm says of it; and that `deploy/` installs
//! the same objects. `chart` tests what it grants.

use std::collections::BTreeMap;
use std::path::Path;

use harness::TestCluster;
use harness::tools::{self, Tool};
use serde_json::{Value, json};

use crate::support::chart::{IMAGE, KUBERNETES, NAMESPACE, chart, of_kind, rendered, text};

/// Velero's own namespace by default, which `deploy/` names.
const VELERO: &str = "velero";

/// Runs helm on the chart with an image; its standard output. It panics if helm fails.
async fn helm(args: &[&str], values: &Value) -> String {
    let helm = tools::path(Tool::Helm).await.unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.json");
    std::fs::write(&file, values.to_string()).expect("written");
    let mut command = tokio::process::Command::new(helm);
    command.args(args).arg(chart()).args(["--namespace", VELERO, "--set"]).arg(format!("image.repository={IMAGE}"));
    let done = command.arg("--values").arg(&file).env("HOME", folder.path()).output().await.expect("helm starts");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{args:?} {values}: {said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

/// The pod that `helm test` runs.
fn test_pod(objects: &[Value]) -> &Value {
    let [pod] = &of_kind(objects, "Pod").collect::<Vec<_>>()[..] else { panic!("one Pod") };
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test", "it is no part of the installation");
    pod
}

fn operator(objects: &[Value]) -> &Value {
    &of_kind(objects, "Deployment").next().expect("the operator's")["spec"]["template"]
}

#[tokio::test]
async fn on_openshift_no_pod_of_the_chart_names_an_id() {
    let ids = ["runAsUser", "runAsGroup", "fsGroup"];
    for (values, wanted) in [(json!({}), json!(65532)), (json!({"fixedIds": false}), Value::Null)] {
        let objects = rendered(values).await;
        for spec in [&operator(&objects)["spec"], &test_pod(&objects)["spec"]] {
            for id in ids {
                assert_eq!(spec["securityContext"][id], wanted, "{id}");
            }
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
            assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            assert_eq!(
                spec["containers"][0]["securityContext"],
                operator(&objects)["spec"]["containers"][0]["securityContext"]
            );
        }
    }
}

#[tokio::test]
async fn two_replicas_have_a_disruption_budget_and_one_has_none() {
    assert_eq!(of_kind(&rendered(json!({})).await, "PodDisruptionBudget").count(), 0, "it would hold up each drain");
    let objects = rendered(json!({"replicas": 2})).await;
    let [budget] = &of_kind(&objects, "PodDisruptionBudget").collect::<Vec<_>>()[..] else { panic!("one budget") };
    assert_eq!((text(budget, "/metadata/namespace"), &budget["spec"]["maxUnavailable"]), (NAMESPACE, &json!(1)));
    let selected = budget["spec"]["selector"]["matchLabels"].as_object().expect("labels");
    let selects = |pod: &Value| selected.iter().all(|(name, value)| pod["metadata"]["labels"][name] == *value);
    assert!(selects(operator(&objects)) && !selects(test_pod(&objects)), "{selected:?}");
}

#[tokio::test]
async fn the_values_of_the_readme_for_workload_identity_reach_account_and_pod() {
    let readme = std::fs::read_to_string(chart().join("README.md")).expect("it can be read");
    let (_, section) = readme.split_once("## Workload identity").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let examples: Vec<&str> = section.split("```yaml").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3, "EKS, AKS, GKE");
    for example in examples {
        let values: Value = serde_saphyr::from_str(example).expect("YAML");
        let objects = rendered(values.clone()).await;
        let account = of_kind(&objects, "ServiceAccount").next().expect("the operator's");
        assert_eq!(account["metadata"]["annotations"], values["serviceAccount"]["annotations"]);
        for (name, value) in values["podLabels"].as_object().into_iter().flatten() {
            assert_eq!(&operator(&objects)["metadata"]["labels"][name], value, "{name}");
        }
    }
}

#[tokio::test]
async fn helm_lint_finds_nothing_in_any_mode() {
    for values in [
        json!({}),
        json!({"replicas": 2, "fixedIds": false, "quota": {"create": true}, "networkPolicy": {"enabled": true}}),
        json!({"access": "namespaced", "namespaces": ["shop"], "admissionPolicy": {"create": false}}),
        json!({"serviceMonitor": {"create": true}, "prometheusRule": {"create": true}, "grafanaDashboard": {"create": true}}),
    ] {
        let said = helm(&["lint", "--strict", "--kube-version", KUBERNETES], &values).await;
        assert!(said.contains("1 chart(s) linted, 0 chart(s) failed"), "{said}");
        assert!(!said.contains("[WARNING]"), "{said}");
    }
}

#[tokio::test]
async fn the_notes_name_what_was_installed_and_the_next_step() {
    let stand = TestCluster::shared().await;
    let kubeconfig = stand.kubeconfig().display().to_string();
    let said =
        helm(&["install", "mine", "--dry-run=client", "--take-ownership", "--kubeconfig", &kubeconfig], &json!({}))
            .await;
    let (_, notes) = said.split_once("NOTES:").expect("notes");
    for step in [
        format!("kubectl -n {VELERO} rollout status deployment/debugbundle-operator"),
        format!("helm -n {VELERO} test mine --logs"),
        format!("kubectl -n {VELERO} get debugbundles --watch"),
    ] {
        assert!(notes.contains(&step), "{step}: {notes}");
    }
    // As it is pasted, with the blanks in front of it.
    let line = notes.lines().find(|line| line.contains(" | kubectl ")).expect("a request");
    let (request, create) = line.split_once(" | ").expect("a pipe");
    let printed = std::process::Command::new("bash").args(["-c", request]).output().expect("bash runs");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &printed.stdout).expect("written");
    let create =
        create.strip_prefix("kubectl ").and_then(|create| create.strip_suffix(" -")).expect("kubectl create -f -");
    let file = file.path().display().to_string();
    let done = stand.kubectl(create.split(' ').chain([file.as_str(), "--dry-run=client"])).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Kind and name; of the cluster's objects the chart's names end with the namespace of the installation, because there
/// may be several.
type Objects = BTreeMap<(String, String), Value>;

/// What is compared: labels name the tool, and kubectl gives a namespace to kinds that it does not know.
fn comparable(objects: Vec<Value>) -> Objects {
    let suffix = format!("-{VELERO}");
    let mut all = Objects::new();
    for mut object in objects.into_iter().filter(|object| !object.is_null()) {
        if object["metadata"]["annotations"]["helm.sh/hook"] == "test" {
            continue;
        }
        let kind = text(&object, "/kind").to_owned();
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        metadata.remove("labels");
        if kind.starts_with("ValidatingAdmission") {
            metadata.remove("namespace");
        }
        // The chart's policies are in force in its own namespace alone, `sec_d4`; those of deploy in each.
        if kind == "ValidatingAdmissionPolicyBinding" {
            object["spec"].as_object_mut().expect("a spec").remove("matchResources");
        }
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        // `crds.keep`: kubectl has no uninstallation that it could keep anything from.
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("helm.sh/resource-policy");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
        for pointer in ["/metadata/name", "/spec/policyName"] {
            if let Some(Value::String(name)) = object.pointer_mut(pointer) {
                name.truncate(name.strip_suffix(&suffix).unwrap_or(name).len());
            }
        }
        // YAML has one number where JSON has 1 and 1.0.
        let name = text(&object, "/metadata/name").to_owned();
        assert!(all.insert((kind, name), whole(object)).is_none());
    }
    all
}

fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_f64().is_some_and(|n| n.fract() == 0.0) => {
            json!(number.as_f64().unwrap_or_default())
        }
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, whole(value))).collect(),
        other => other,
    }
}

#[tokio::test]
async fn deploy_installs_the_objects_of_the_charts_defaults() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let kubectl = tools::path(Tool::Kubectl).await.unwrap_or_else(|error| panic!("{error}"));
    let done =
        tokio::process::Command::new(kubectl).arg("kustomize").arg(&deploy).output().await.expect("kubectl starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8_lossy(&done.stdout);
    let image = text.lines().find_map(|line| line.trim().strip_prefix("image: ")).expect("an image");
    let text = text.replace(image, &format!("{IMAGE}:{}", env!("CARGO_PKG_VERSION")));
    let deployed = comparable(serde_saphyr::from_multiple(&text).expect("YAML"));
    let charted = helm(&["template", "it", "--kube-version", KUBERNETES], &json!({})).await;
    let charted = comparable(serde_saphyr::from_multiple(&charted).expect("YAML"));
    assert_eq!(deployed.keys().collect::<Vec<_>>(), charted.keys().collect::<Vec<_>>());
    for (key, object) in &deployed {
        assert_eq!(object, &charted[key], "{key:?}");
    }
    assert!(deployed.len() > 15, "{}", deployed.len());
}

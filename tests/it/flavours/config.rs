//! ConfigMaps of Velero's namespace: whose values are kept, and how.

use debugbundle_crd::{ConfigMapRedaction, DebugBundleSpec, TargetKind};
use harness::velero_objects::restore;
use harness::{Context, with_namespace};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::support::collection::{CollectionResult, CollectionRun};
use crate::support::flavours::velero_workload;

async fn config_maps(context: &Context) {
    let velero_data =
        json!({"config.yaml": "loadConcurrency:\n  globalConfig: 2\ncaPassword: |\n  hunter2-in-a-block\n"});
    for object in [
        json!({"metadata": {"name": "agents"}, "data": velero_data, "binaryData": {"ca.der": "AAEC"}}),
        json!({"metadata": {"name": "images", "labels": {"velero.io/plugin-config": "", "velero.io/change-image-name": "RestoreItemAction"}},
            "data": {"case1": "1.1.1.1:5000,2.2.2.2:3000"}}),
        json!({"metadata": {"name": "modifiers"}, "data": {"m.json": "{\"rules\": [{\"path\": \"/data/password\", \"value\": \"hunter2-in-json\"}]}"}}),
        json!({"metadata": {"name": "shop"}, "data": {"index.html": "hunter2 is in here"}, "binaryData": {"logo": "AAEC"}}),
    ] {
        context.create::<ConfigMap>(object).await;
    }
    let agent = json!({"name": "node-agent", "role": "node-agent"});
    let args = ["node-agent", "server", "--node-agent-configmap=agents"];
    context
        .create::<DaemonSet>(velero_workload(
            "node-agent",
            &json!({}),
            &agent,
            ("node-agent", "velero/velero:v1"),
            &args,
        ))
        .await;
    let modifiers = json!({"kind": "configmap", "name": "modifiers"});
    context.create_velero(restore("regrow").spec("resourceModifier", modifiers)).await;
}

/// The values of a ConfigMap in the bundle, by key.
fn data_of(got: &CollectionResult, context: &Context, name: &str) -> Value {
    let list = got.yaml(&format!("namespaces/{}/core/configmaps.yaml", context.namespace));
    let found = list["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == name).cloned();
    let found = found.unwrap_or_else(|| panic!("no ConfigMap {name}"));
    assert_eq!((found["kind"].as_str(), found["binaryData"].is_null()), (Some("ConfigMap"), true));
    found["data"].clone()
}

#[tokio::test]
async fn sec_x17_config_maps_that_velero_reads_keep_their_values_without_secrets_and_others_only_keys() {
    with_namespace("config", |context| async move {
        config_maps(&context).await;
        let mut spec = DebugBundleSpec::about(TargetKind::Restore, "regrow");
        let got = CollectionRun::default().of(&context, &spec).await;
        let text = got.text(&format!("namespaces/{}/core/configmaps.yaml", context.namespace));
        assert!(!text.contains("hunter2") && !text.contains("AAEC"), "{text}");
        let agents = data_of(&got, &context, "agents");
        let config = agents["config.yaml"].as_str().unwrap();
        assert!(
            config.starts_with("loadConcurrency:\n  globalConfig: 2\ncaPassword: \"[REDACTED:by-name:"),
            "{config}"
        );
        assert!(agents["ca.der"].as_str().unwrap().starts_with("[LEFT OUT: 3 bytes, sha256 ae4b3280"), "{agents}");
        assert_eq!(data_of(&got, &context, "images")["case1"], "1.1.1.1:5000,2.2.2.2:3000");
        let modifiers: Value =
            serde_json::from_str(data_of(&got, &context, "modifiers")["m.json"].as_str().unwrap()).unwrap();
        assert_eq!(modifiers["rules"][0]["path"], "/data/password");
        assert_eq!(data_of(&got, &context, "shop")["index.html"], "[LEFT OUT: 18 bytes]");

        spec.redaction.config_maps = ConfigMapRedaction::Keys;
        let got = CollectionRun::default().of(&context, &spec).await;
        assert_eq!(data_of(&got, &context, "images")["case1"], "[LEFT OUT: 25 bytes]");
        assert_eq!(
            data_of(&got, &context, "agents")["config.yaml"].as_str().unwrap().len(),
            "[LEFT OUT: 76 bytes]".len()
        );
    })
    .await;
}

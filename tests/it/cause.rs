//! The case that this project began with: a Restore hangs, its log is not available, and only an Event of a pod says
//! why.

use debugbundle_crd::Severity;
use harness::{
    Operator,
    bundle::spec_about,
    pod,
    readers::shown,
    velero_objects::{pod_volume_restore, restore},
    with_namespace,
};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::VolumeAttachment,
};
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::support::workloads::{attachment, claim, volume, workload_pod};

const ATTACHED: &str = "Multi-Attach error for volume \"pvc-7\" Volume is already used by pod(s) <b>shop-old</b>";

#[tokio::test]
async fn a_restore_that_hangs_is_explained_by_the_event_of_the_pod_that_it_waits_for() {
    with_namespace("cause", |context| async move {
        let shop = context.workload_namespace("shop").await;
        let node = context.node("n").await;
        let target = context.create_velero(restore("r1").in_progress().started(Timestamp::now())).await;
        let data = pod_volume_restore("r1-ltc6t").of(&target).of_pod(&shop, "shop-0").from_namespace(&shop);
        context.create_velero(data.status("progress", json!({}))).await;
        let waiting = pod("shop-0").on_node(&node).with_init("restore-wait").waiting("PodInitializing", "");
        context.pod_in(&shop, waiting.with_container("shop").waiting("PodInitializing", "")).await;
        let event = json!({"metadata": {"name": "shop-0.1", "namespace": shop}, "type": "Warning",
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "shop-0", "namespace": shop},
            "reason": "FailedAttachVolume", "message": ATTACHED, "count": 9, "lastTimestamp": Timestamp::now()});
        let events: Api<Event> = Api::namespaced(context.client.clone(), &shop);
        events.create(&kube::api::PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();

        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("why", spec_about("Restore", "r1")).await;
        let status = context.until_bundle_ended("why").await;
        let cause =
            format!("PodVolumeRestore r1-ltc6t waits for pod {shop}/shop-0 (Init:0/1): FailedAttachVolume: {ATTACHED}");
        assert_eq!(status.cause.as_deref(), Some(cause.as_str()), "{:?}", operator.log().last());
        let finding = &status.findings[0];
        assert_eq!((finding.id.as_str(), finding.severity), ("data-held-up", Severity::Error));

        let bundle = context.download(&status).await;
        let steps = bundle.cause_tree();
        let objects: Vec<&str> = steps.iter().map(|step| step["object"].as_str().unwrap()).collect();
        let space = &context.namespace;
        let way =
            [format!("Restore/{space}/r1"), format!("PodVolumeRestore/{space}/r1-ltc6t"), format!("Pod/{shop}/shop-0")];
        assert_eq!(objects, way);
        for step in &steps {
            let path = step["evidence"][0]["path"].as_str().unwrap();
            assert!(bundle.has(path), "{path} is quoted and not in the bundle");
        }
        let moments: Vec<Value> =
            bundle.file("analysis/timeline.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(moments.is_sorted_by_key(|moment| moment["t"].as_str().unwrap().parse::<Timestamp>().unwrap()));
        assert!(
            moments
                .iter()
                .any(|moment| moment["kind"] == "event" && moment["text"].as_str().unwrap().contains("Multi-Attach"))
        );

        let page = context.folder("page").join("report.html");
        std::fs::write(&page, bundle.file("report.html")).unwrap();
        let seen = tokio::task::spawn_blocking(move || shown(&page)).await.unwrap();
        let count = format!("{0} of {0} shown", moments.len());
        assert!(seen.contains(&count), "its script runs in a browser: {count}");
        assert!(seen.contains("&lt;b&gt;shop-old&lt;/b&gt;") && !seen.contains("<b>shop-old"), "text stays text");
    })
    .await;
}

#[tokio::test]
async fn issue_32_the_users_rules_hide_what_is_quoted_and_none_of_the_operators_words() {
    with_namespace("cause-rules", |context| async move {
        let target = context.create_velero(restore("r1").partially_failed()).await;
        let data = pod_volume_restore("r1-x").of(&target).of_pod("shop", "shop-0").phase("Failed");
        context.create_velero(data.status("message", "customer 4711 has no room")).await;
        let _operator = Operator::of(&context).ready().await;
        let mut spec = spec_about("Restore", "r1");
        // The second rule matches the operator's words in each sentence of the status.
        spec["redaction"] = json!({"rules": ["customer [0-9]+", " (?:is|in|with|not) "]});
        context.debug_bundle("why", spec).await;
        let status = context.until_bundle_ended("why").await;
        let cause = status.cause.expect("a cause");
        assert!(cause.starts_with("PodVolumeRestore r1-x is Failed: [REDACTED:user-0:"), "{cause}");
        assert!(cause.ends_with("] has no room"), "{cause}");
        assert!(status.findings.iter().any(|finding| finding.title == cause), "{:?}", status.findings);
    })
    .await;
}

#[tokio::test]
async fn who_holds_the_volume_that_the_restored_pod_waits_for_is_in_the_bundle_with_its_node_and_what_befell_it() {
    with_namespace("holder", |context| async move {
        // Other tests have pods that a Restore r1 made, in the same cluster.
        let name = "held";
        let shop = context.workload_namespace("shop").await;
        let (waits_on, held_on) = (context.node("n1").await, context.node("n2").await);
        let bound = context.create_in_cluster::<PersistentVolume>("pv", volume()).await;
        context.create_in::<PersistentVolumeClaim>(&shop, claim("data", Some(&bound))).await;
        context.create_in_cluster::<VolumeAttachment>("va", attachment(&bound, &held_on)).await;
        let pod_on = |pod: &str, node: &str, claim: &str| {
            workload_pod(pod).owned_by("apps/v1", "ReplicaSet", "shop-5d").on_node(node).with_claim(claim)
        };
        context.create_in::<Pod>(&shop, pod_on("shop-0", &waits_on, "data").restored_by(name)).await;
        context.create_in::<Pod>(&shop, pod_on("shop-old", &held_on, "data").ready()).await;
        context.create_in::<Pod>(&shop, pod_on("stranger", &held_on, "other").ready()).await;
        let target = context.create_velero(restore(name).in_progress().started(Timestamp::now())).await;
        context.create_velero(pod_volume_restore("r1-x").of(&target).of_pod(&shop, "shop-0")).await;
        // Events about objects without a namespace are in `default`.
        let about = |name: &str, node: &str| {
            json!({"metadata": {"name": format!("{}-{name}", context.namespace)}, "type": "Warning", "reason": "SystemOOM",
                "message": "System OOM encountered", "lastTimestamp": Timestamp::now(),
                "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node}})
        };
        context.create_in::<Event>("default", about("ours", &held_on)).await;
        context.create_in::<Event>("default", about("other", "another-node")).await;

        let _operator = Operator::of(&context).ready().await;
        let (_, bundle) = context.bundle("why", spec_about("Restore", name)).await;
        assert_eq!(bundle.names_in(&shop, "core/pods"), ["shop-0", "shop-old"]);
        assert_eq!(bundle.names("cluster-scoped-resources/core/nodes.yaml"), [waits_on, held_on]);
        let attachments = bundle.names("cluster-scoped-resources/storage.k8s.io/volumeattachments.yaml");
        assert_eq!(attachments, [context.cluster_name("va")]);
        let events = bundle.names("namespaces/default/core/events.yaml");
        assert_eq!(events, [format!("{}-ours", context.namespace)]);
        let log = format!("namespaces/{shop}/pods/shop-old/");
        assert!(bundle.missing().iter().all(|lost| !lost.path.starts_with(&log)), "its log is nobody's business");

        let events: Api<Event> = Api::namespaced(context.client.clone(), "default");
        for name in ["ours", "other"] {
            let name = format!("{}-{name}", context.namespace);
            events.delete(&name, &DeleteParams::default()).await.expect("deleted");
        }
    })
    .await;
}

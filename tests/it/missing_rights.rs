//! A target whose data lies in namespaces beyond the operator's rights: the bundle is made, and reports each missing
//! right once, at the path it would fill, with the rule that cures it.

use std::collections::BTreeSet;

use debugbundle_crd::Phase;
use harness::{
    LogScript, Operator,
    shipped::BoundRoles,
    velero_objects::{data_download, pod_volume_restore},
    with_namespace,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::support::{
    bundles::{about_r1, server_pod, velero_objects},
    workloads::workload_pod,
};

#[tokio::test]
async fn sec_r30_a_target_that_leads_beyond_the_role_has_its_bundle_and_a_cure_for_each_thing_that_lacks() {
    with_namespace("r30-target", |context| async move {
        context.snapshot_kinds().await;
        let shop = context.workload_namespace("shop").await;
        let account = context.account_bound_to(BoundRoles::Base).await;
        let pods: Api<Pod> = Api::namespaced(account.client().await, &shop);
        pods.list(&ListParams::default()).await.expect_err("R24 is not bound: it is the Role alone");
        let node = server_pod(&context, LogScript::lines(["level=error msg=\"the only line\""])).await;
        let waits = workload_pod("shop-0").on_node(&node).with_claim("data").restored_by("r1");
        context.create_in::<Pod>(&shop, waits).await;
        velero_objects(&context).await;
        let restore = context.velero_api("Restore").get("r1").await.expect("it is there");
        let data = pod_volume_restore("r1-x").of(&restore).of_pod(&shop, "shop-0").failed();
        context.create_velero(data.status("message", "no room on the volume")).await;
        let moved = data_download("r1-y").of(&restore).of_claim(&shop, "ledger").from_namespace(&shop);
        context.create_velero(moved.failed()).await;

        let _operator = Operator::of(&context).as_user(&account.kubeconfig).args(["--access=namespaced"]).ready().await;
        let (status, bundle) = context.bundle("why-r1", about_r1()).await;
        assert!(status.bundle.is_some(), "{status:?}");
        assert!(!bundle.find(&["the only line"]).is_empty(), "what the Role gives is there");
        let space = &context.namespace;
        assert_eq!(bundle.names_in(space, "velero.io/podvolumerestores"), ["r1-x"]);

        let missing = bundle.manifest["missing"].as_array().expect("a list");
        let refused: Vec<_> = missing.iter().filter(|one| one["code"] == "Forbidden").collect();
        let mut places = BTreeSet::new();
        for one in &refused {
            let path = one["path"].as_str().expect("text");
            assert!(!path.is_empty(), "{one:#}");
            assert!(!bundle.has(path), "it is there: {one:#}");
            let need = &one["need"];
            // Each definition is a file of its own and is reported separately.
            let what = match need["resource"].as_str() {
                Some("customresourcedefinitions") => path.to_owned(),
                resource => format!("{} {resource:?} {} {}", need["group"], need["subresource"], need["namespace"]),
            };
            assert!(places.insert(what), "twice: {one:#} of {refused:#?}");
            assert_eq!(one["severity"], "note", "it was not meant to be read: {one:#}");
            assert!(!one["cure"].as_str().expect("text").is_empty(), "{one:#}");
        }
        let cure = format!("bind ClusterRole debugbundle-namespace-read in namespace {shop}");
        for (path, rule) in [
            ("core/pods.yaml", "R24"),
            ("core/persistentvolumeclaims.yaml", "R24"),
            ("core/events.yaml", "R24"),
            ("snapshot.storage.k8s.io/volumesnapshots.yaml", "R25"),
        ] {
            let path = format!("namespaces/{shop}/{path}");
            let told = refused.iter().find(|one| one["path"] == path).unwrap_or_else(|| panic!("{path}: {refused:#?}"));
            assert_eq!((&told["rule"], &told["cure"]), (&json!(rule), &json!(cure)), "{told:#}");
        }
        let summary = bundle.file("summary.md");
        assert!(summary.contains("not collected because of a permission or a limit: "), "{summary}");
        // The only errors are the files that were never written to the store.
        assert_eq!(status.phase, Some(Phase::PartiallyFailed));
        assert!(bundle.errors().iter().all(|lost| lost.code == "NotFound"), "{:#?}", bundle.errors());
    })
    .await;
}

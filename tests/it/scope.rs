//! What belongs to a target, on a real API server with the shipped permissions: what is in a bundle, what is not, in
//! which order, and how many requests that took.

use std::sync::Arc;

use debugbundle_crd::{DebugBundleSpec, TargetKind};
use debugbundle_format::manifest::{MissingCode, MissingSeverity, TruncationReason};
use futures::StreamExt as _;
use harness::{Context, with_namespace};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::support::{
    collection::{CollectionResult, CollectionRun},
    shop::a_shop,
};

async fn run_as_shipped(
    context: &Arc<Context>,
    spec: &DebugBundleSpec,
) -> (CollectionResult, Vec<(String, String, String)>) {
    let account = context.shipped_account().await;
    let got = CollectionRun::by(account.client().await).of(context, spec).await;
    let requests = context.stand.requests_of(&account.user);
    (got, requests)
}

fn count(requests: &[(String, String, String)], verb: &str, resource: &str) -> usize {
    requests.iter().filter(|(did, _, what)| did == verb && what == resource).count()
}

#[tokio::test]
async fn a_restore_brings_what_is_on_the_way_to_its_cause_and_the_strangers_beside_it_stay_out() {
    with_namespace("scope", |context| async move {
        context.snapshot_kinds().await;
        let shop = context.workload_namespace("shop").await;
        a_shop(&context, &shop).await;
        let spec = DebugBundleSpec::about(TargetKind::Restore, "regrow");
        let (got, requests) = run_as_shipped(&context, &spec).await;
        got.is_complete();

        let in_shop = |path: &str| got.names_in(&shop, path);
        assert_eq!(in_shop("core/pods"), ["count-1-x", "shop-0", "web-7d-x", "well-0"]);
        assert_eq!(in_shop("core/persistentvolumeclaims"), ["data-shop-0", "ledger", "restored"]);
        assert_eq!(in_shop("core/serviceaccounts"), ["sa-count-1-x", "sa-shop-0", "sa-web-7d-x"]);
        assert_eq!(in_shop("apps/statefulsets"), ["shop"]);
        assert_eq!(in_shop("apps/replicasets"), ["web-7d"]);
        assert_eq!(in_shop("apps/deployments"), ["web"]);
        assert_eq!(in_shop("batch/jobs"), ["count-1"]);
        assert_eq!(in_shop("batch/cronjobs"), ["count"]);
        assert!(!got.has(&format!("namespaces/{shop}/apps/daemonsets.yaml")));
        assert_eq!(in_shop("snapshot.storage.k8s.io/volumesnapshots"), ["of-ledger"]);
        assert!(!got.planned_at(&format!("namespaces/{}-orchard/", context.namespace)), "where a namesake leads");

        let of_cluster = |path: &str| got.names(&format!("cluster-scoped-resources/{path}.yaml"));
        let ours = |names: &[&str]| names.iter().map(|name| context.cluster_name(name)).collect::<Vec<_>>();
        assert_eq!(of_cluster("core/persistentvolumes"), ours(&["moved", "own"]));
        assert_eq!(of_cluster("storage.k8s.io/volumeattachments"), ours(&["va-own"]));
        assert!(of_cluster("storage.k8s.io/storageclasses").contains(&context.cluster_name("fast")), "all of them");
        assert_eq!(of_cluster("snapshot.storage.k8s.io/volumesnapshotcontents"), ours(&["of-ledger"]));
        assert_eq!(of_cluster("core/nodes"), ours(&["n1", "n2", "n3"]));
        for kind in ["volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses"] {
            let file = format!("customresourcedefinitions/{kind}.snapshot.storage.k8s.io.yaml");
            assert!(got.has(&format!("cluster-scoped-resources/apiextensions.k8s.io/{file}")), "{kind}");
        }
        let involved = |pod: &str| got.snapshot.installation.pods.iter().find(|one| one.name == pod).unwrap().role;
        assert_eq!(format!("{:?}", involved("agent-n2")), "NodeAgent { involved: true }");
        assert_eq!(format!("{:?}", involved("agent-n1")), "NodeAgent { involved: true }", "shop-0 waits there");
        assert_eq!(format!("{:?}", involved("agent-n3")), "NodeAgent { involved: false }", "a healthy pod is there");

        let space = &context.namespace;
        let first = |path: &str, number: usize| {
            let mut names = got.names_in(space, path);
            names.truncate(number);
            names
        };
        let backups = got.names_in(space, "velero.io/backups");
        assert_eq!(backups.len(), 1206, "each once");
        // Among Backups of one second, the last by name are the newest: the target's own may be one of the three.
        for name in ["seed", "nightly-4", "nightly-5"] {
            assert!(backups[..4].contains(&name.to_owned()), "{name} belongs to the target: {:?}", &backups[..6]);
        }
        assert_eq!(first("velero.io/restores", 2), ["regrow", "a-stranger"]);
        assert_eq!(first("velero.io/podvolumerestores", 2), ["z-own", "a-namesake"]);
        assert_eq!(first("velero.io/backuprepositories", 2), ["z-mine", "a-other-type"]);
        assert_eq!(first("core/persistentvolumeclaims", 2), ["z-down", "a-stranger"]);
        assert_eq!(first("batch/jobs", 2), ["z-maintain", "a-stranger"]);
        assert_eq!(first("core/pods", 4), ["agent-n1", "agent-n2", "z-down", "agent-n3"]);

        let not_offered = "cluster-scoped-resources/storage.k8s.io/csinodes.yaml";
        let note = got.missing(not_offered);
        assert_eq!((note.code, note.severity), (MissingCode::Forbidden, MissingSeverity::Note));
        let forbidden: Vec<_> =
            got.errors().into_iter().filter(|missing| missing.code == MissingCode::Forbidden).collect();
        assert!(forbidden.is_empty(), "the shipped rules suffice: {forbidden:#?}");

        // Two pages until memory is full, three Backups and one by name, three pages of the rest; the Schedule's list.
        assert!(count(&requests, "list", "backups") <= 6, "{requests:#?}");
        assert!(count(&requests, "get", "backups") <= 5);
        assert!(count(&requests, "list", "pods") + count(&requests, "get", "pods") <= 16);
        // Each once: a request whose connection broke, as happens on a busy machine, is sent again. Group snapshots do not
        // count, and neither do definitions: other tests add them while this one runs.
        let user = context.shipped_account().await.user;
        let of_others = |uri: &String| {
            ["groupsnapshot.", "/customresourcedefinitions/", "/log?"].iter().any(|part| uri.contains(part))
        };
        let mut asked = context.stand.uris_of(&user);
        asked.retain(|uri| !of_others(uri));
        let asked_for = asked.len() + context.stand.logs_of(&user).len();
        assert!(asked_for <= 112, "{asked_for} requests, 112 at most: {asked:#?}");
        println!("{asked_for} requests for {} entries", got.collected.entries.len());
    })
    .await;
}

#[tokio::test]
async fn sec_b3_of_too_many_events_the_newest_are_kept_the_newest_first() {
    with_namespace("scope-events", |context| async move {
        let total: i64 = 5200;
        context.node("n").await;
        let start: jiff::Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let api: Api<Event> = context.api();
        let made = (0..total).map(|n| {
            // Their names and times have different orders.
            let (name, at) = (format!("e-{:05}", n * 7919 % total), start + jiff::SignedDuration::from_secs(n));
            let event = json!({"metadata": {"name": name}, "reason": "Made", "type": "Normal", "message": format!("number {n}"),
                "involvedObject": {"kind": "Pod", "name": "p", "namespace": context.namespace},
                "firstTimestamp": at, "lastTimestamp": at});
            let api = api.clone();
            async move { api.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap() }
        });
        futures::stream::iter(made).buffer_unordered(16).collect::<Vec<_>>().await;
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        let path = format!("namespaces/{}/core/events.yaml", context.namespace);
        let list = got.yaml(&path);
        let messages: Vec<&str> =
            list["items"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap()).collect();
        let wanted: Vec<String> = (200..total).rev().map(|n| format!("number {n}")).collect();
        assert_eq!(messages, wanted);
        assert_eq!(got.entry(&path).truncated.as_ref().map(|cut| cut.reason), Some(TruncationReason::Limit));
        assert!(got.has("cluster-scoped-resources/core/nodes.yaml"), "without a target all nodes are there");
    })
    .await;
}

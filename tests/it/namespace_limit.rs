//! A target that leads to more namespaces than the limit: the namespaces nearest to a cause are collected, and the
//! others are listed as missing.

use harness::{
    Context, Operator,
    bundle::{Unpacked, spec_about},
    velero_objects::{backup, pod_volume_backup},
    with_namespace,
};
use k8s_openapi::api::core::v1::Event;
use serde_json::Value;

use crate::support::workloads::odd_event;

/// Limit of namespaces to look into.
const MOST: usize = 32;

/// The namespaces of completed data, one more than the limit. They are empty but are requested like any other.
fn calm(context: &Context) -> Vec<String> {
    (0..=MOST).map(|n| format!("{}-calm-{n:02}", context.namespace)).collect()
}

/// Names of the namespaces besides Velero's: first the ones that discovery looked into, then the others.
fn namespaces(bundle: &Unpacked) -> (Vec<String>, Vec<String>) {
    let all = bundle.manifest["namespaces"].as_array().unwrap().iter().skip(1);
    let (yes, no): (Vec<&Value>, Vec<&Value>) = all.partition(|one| one["looked"] == true);
    let names = |all: Vec<&Value>| all.into_iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
    (names(yes), names(no))
}

/// The limit is used fully, and exactly these namespaces are reported as not looked into.
fn assert_only_lost(bundle: &Unpacked, lost: &[&String]) {
    let (looked, not) = namespaces(bundle);
    assert_eq!((looked.len(), not.iter().collect::<Vec<_>>()), (MOST, lost.to_vec()));
    for place in lost {
        let path = format!("namespaces/{place}");
        let told = bundle.missing().into_iter().find(|one| one.path == path).expect("it is told");
        assert_eq!((told.code.as_str(), told.severity.as_str()), ("NotLooked", "note"));
        assert!(!bundle.paths().any(|file| file.starts_with(&format!("{path}/"))), "{place}");
    }
    assert!(bundle.missing().iter().all(|one| one.path != "namespaces"), "none is only counted");
}

#[tokio::test]
async fn a_namespace_whose_data_completed_gives_up_its_place_for_the_one_in_which_the_target_may_hang() {
    with_namespace("places", |context| async move {
        let shop = context.workload_namespace("shop").await;
        context.create_in::<Event>(&shop, odd_event(&shop)).await;
        let calm = calm(&context);
        let mut included = calm.clone();
        included.push(shop.clone());
        let target = context.create_velero(backup("harvest").of_namespaces(&included).in_progress()).await;
        for (n, place) in calm.iter().enumerate() {
            let data = pod_volume_backup(&format!("pvb-{n:02}")).of(&target).of_pod(place, "gone");
            context.create_velero(data.completed()).await;
        }
        let account = context.shipped_account().await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;

        // The Backup hangs in the last namespace that it names.
        let (_, bundle) = context.bundle("hangs", spec_about("Backup", "harvest")).await;
        assert_eq!(bundle.names_in(&shop, "core/events"), ["e1"]);
        assert_only_lost(&bundle, &[&calm[MOST - 1], &calm[MOST]]);
        let asked = context.stand.requests_of(&account.user);
        let walked = asked.iter().filter(|(verb, _, what)| verb == "get" && what == "pods").count();
        assert!(walked <= 2 * MOST, "{walked} pods were asked for: none where another had the place in the end");
    })
    .await;
}

//! Which namespaces are looked into: the namespaces of the target's spec, mapped for a Restore. If there are too many,
//! the ones nearest to a cause, even if they become known late.

use debugbundle_format::{
    StoreFile,
    manifest::{MissingCode, MissingSeverity},
};
use serde_json::json;

use super::{
    Found, Looked, World,
    objects::{backup, pod, pod_volume, restore},
};

/// The target waits for a hook or for a terminating namespace; neither data nor files name the place.
#[tokio::test]
async fn a_target_under_way_without_data_leads_to_the_namespaces_of_its_spec_mapped_for_a_restore() {
    let seed = backup("seed").of_namespaces(&["shop", "bakery", "glob-*"]);
    let regrow = restore("regrow").spec("excludedNamespaces", json!(["bakery"])).phase("InProgress");
    let world = World::of([
        seed.clone().phase("Completed"),
        regrow.spec("namespaceMapping", json!({"shop": "shop-2"})),
        pod("shop-2", "oven").restored_by("regrow"),
        pod("bakery", "oven").restored_by("another"),
    ]);
    let found = world.restore("regrow").await;
    assert_eq!(found.names_in("shop-2", "core/pods"), ["oven"], "restored, and not ready");
    assert!(found.looks_into("shop-2") && !found.looks_into("shop") && !found.looks_into("bakery"));
    assert_eq!(found.why("shop-2"), Some("spec of Restore regrow"));

    world.put([seed.phase("InProgress")]);
    let found = world.backup("seed").await;
    assert!(found.looks_into("shop") && found.looks_into("bakery"));
}

/// Limit of namespaces to look into.
const MOST: usize = 32;

/// The limit is used fully, and exactly these namespaces are reported as not looked into.
fn assert_only_lost(found: &Found, lost: &[&String]) {
    let candidates = found.snapshot.namespaces.candidates.iter();
    let (looked, not): (Vec<_>, Vec<_>) = candidates.partition(|one| one.looked == Looked::Yes);
    assert_eq!((looked.len(), not.iter().map(|one| &one.namespace).collect::<Vec<_>>()), (MOST, lost.to_vec()));
    for namespace in lost {
        let missing = found.missing(&format!("namespaces/{namespace}")).expect("it is reported");
        assert_eq!((missing.code, missing.severity), (MissingCode::NotLooked, MissingSeverity::Note));
        assert!(!found.looks_into(namespace));
    }
    assert!(found.missing("namespaces").is_none(), "none is only counted");
}

#[tokio::test]
async fn namespaces_whose_data_completed_give_up_their_places_for_those_that_spec_results_or_made_pods_lead_to() {
    // The namespaces of completed data, one more than the limit.
    let calm: Vec<String> = (0..=MOST).map(|n| format!("calm-{n:02}")).collect();
    let mut included: Vec<&str> = calm.iter().map(String::as_str).collect();
    included.push("shop");
    let target = backup("harvest").of_namespaces(&included);
    let mut world = World::of([target.clone().phase("InProgress")]);
    for (n, namespace) in calm.iter().enumerate() {
        let data = |kind: &str| pod_volume(kind, &format!("data-{n:02}"), (namespace, "gone")).phase("Completed");
        world.put([data("PodVolumeBackup").of("Backup", "harvest"), data("PodVolumeRestore").of("Restore", "regrow")]);
    }

    // The Backup hangs in the last namespace that it names.
    let found = world.backup("harvest").await;
    assert!(found.looks_into("shop"));
    assert_only_lost(&found, &[&calm[MOST - 1], &calm[MOST]]);
    let walked =
        world.api.count(|request| request.starts_with("/api/v1/namespaces/calm-") && request.contains("/pods"));
    assert_eq!(walked, MOST - 1, "no pod is read where another namespace has the place in the end");

    // The results name a new namespace, and one whose data completed.
    let errors = json!({"namespaces": {"bakery": ["over quota"], &calm[MOST]: ["no such class"]}});
    world.put_file("harvest", StoreFile::Results, &json!({"errors": errors, "warnings": {}}));
    world.put([target.phase("PartiallyFailed")]);
    let found = world.backup("harvest").await;
    assert!(found.looks_into("bakery"));
    assert_only_lost(&found, &[&calm[MOST - 2], &calm[MOST - 1]]);

    // A Restore of everything created a pod that does not become ready.
    world.put([pod("bakery", "oven").restored_by("regrow"), restore("regrow").of_backup("gone").phase("InProgress")]);
    let found = world.restore("regrow").await;
    assert_eq!(found.names_in("bakery", "core/pods"), ["oven"]);
    assert_only_lost(&found, &[&calm[MOST - 1], &calm[MOST]]);
}

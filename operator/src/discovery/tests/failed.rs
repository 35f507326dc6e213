//! Without a target: the Backups and Restores that failed last.

use debugbundle_crd::DebugBundleSpec;

use super::{
    World,
    objects::{VELERO, backup, restore},
};

/// Failed Backups, and how many of them are named.
const FAILED: usize = 26;
const NAMED: usize = 20;

/// Names whose order differs from the order of their times.
fn name(n: usize) -> String {
    format!("b{:02}-{n}", (n * 7) % FAILED)
}

#[tokio::test]
async fn the_newest_failed_backups_and_restores_come_first_and_no_more() {
    let at = |n: usize| format!("2026-03-01T03:{n:02}:00Z");
    let world = World::of((0..FAILED).map(|n| backup(&name(n)).phase("Failed").status("startTimestamp", at(n))));
    world.put([
        backup("a-good-one").phase("Completed").status("startTimestamp", at(59)),
        restore("r-good").phase("Completed"),
        restore("r-refused").phase("FailedValidation"),
    ]);
    let found = world.look(DebugBundleSpec::installation()).await;
    let failed = found.snapshot.target.failed.iter().map(|object| object["metadata"]["name"].as_str().unwrap());
    let newest = (FAILED - NAMED..FAILED).rev().map(name).chain(["r-refused".to_owned()]);
    assert_eq!(failed.collect::<Vec<_>>(), newest.collect::<Vec<_>>());

    let backups = found.names_in(VELERO, "velero.io/backups");
    assert_eq!(backups.len(), FAILED + 1, "the others are there, too");
    assert!((FAILED - NAMED..FAILED).all(|n| backups[..NAMED].contains(&name(n))), "they come first: {backups:?}");
    assert_eq!(found.names_in(VELERO, "velero.io/restores"), ["r-refused", "r-good"]);
}

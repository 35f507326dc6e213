//! Namespaces that a DebugBundle names, with more pods than the limit of logs or the limit of followed pods.

use debugbundle_crd::{DebugBundleSpec, TargetKind};
use debugbundle_format::manifest::{MissingCode, MissingSeverity};
use serde_json::Value;

use super::{
    World, asking,
    objects::{Object, pod, restore},
};

/// Limit of unhealthy pods whose logs are read.
const UNHEALTHY: usize = 50;
/// Limit of pods in one namespace to which a target is followed.
const FOLLOWED: usize = 200;

/// A pod that is not scheduled.
fn pending(n: usize) -> Object {
    pod("shop", &format!("p-{n:03}")).spec("nodeName", Value::Null).status("phase", "Pending")
}

#[tokio::test]
async fn of_more_unhealthy_pods_than_logs_are_read_the_number_is_reported() {
    let world = World::of((0..UNHEALTHY).map(pending));
    let found = world.namespaces(&["shop"]).await;
    assert_eq!((found.names_in("shop", "core/pods").len(), found.logs_in("shop").len()), (UNHEALTHY, UNHEALTHY));
    assert!(found.missing("pods/shop").is_none());

    world.put([pending(UNHEALTHY)]);
    let found = world.namespaces(&["shop"]).await;
    assert_eq!(found.names_in("shop", "core/pods").len(), UNHEALTHY + 1, "all objects are there");
    assert_eq!(found.logs_in("shop").len(), UNHEALTHY);
    let cut = found.missing("pods/shop").expect("the pod whose log is not read");
    assert_eq!((cut.code, cut.severity), (MissingCode::NotLooked, MissingSeverity::Note));
    assert!(cut.what.contains("51 are unhealthy") && cut.why.contains("all of these objects"), "{cut:?}");
}

#[tokio::test]
async fn of_more_pods_than_are_followed_in_a_namespace_that_is_named_all_are_listed_and_none_is_reported_as_beyond() {
    let world = World::of((0..FOLLOWED + 5).map(|n| pending(n).restored_by("regrow")));
    world.put([restore("regrow").phase("PartiallyFailed")]);
    for (spec, is_cut) in
        [(DebugBundleSpec::installation(), false), (DebugBundleSpec::about(TargetKind::Restore, "regrow"), true)]
    {
        let found = world.look(asking(spec, &["shop"])).await;
        assert_eq!(found.names_in("shop", "core/pods").len(), FOLLOWED + 5);
        assert!(found.missing("namespaces/_pods").is_none());
        // This cut has a path of its own.
        let cut = found.missing("involved-pods/shop");
        assert_eq!(cut.is_some(), is_cut);
        assert!(cut.is_none_or(|cut| cut.what.contains("only 200 are followed, 5 more are not")), "{cut:?}");
    }
}

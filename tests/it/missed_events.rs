//! Changes during an interruption of the operator's watches that the API server no longer remembers: the watches begin
//! anew with a list, and a list contains no deletions.

use std::time::Duration;

use debugbundle_crd::TARGET_NAME_LABEL;
use harness::velero_objects::restore;
use harness::{ApiFault, ApiProxy, LogScript, Operator, Proxy, ProxyFault, with_namespace};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::support::bundles::{
    LIMIT, about_r1, delete, endless_log, get, is_stored, keys, server_pod, spool_is_empty, until_bundle, until_ended,
    until_gone, until_read, until_stored, until_unread, velero_objects,
};

#[tokio::test]
async fn b6_what_happened_before_a_list_is_noticed_and_what_has_ended_is_not_run_again() {
    with_namespace("b6", |context| async move {
        velero_objects(&context).await;
        let account = context.shipped_account().await;
        let api = ApiProxy::of(&account).await;
        let line = Proxy::before(&api.endpoint());
        let behind = account.through(&line.endpoint());
        let operator = Operator::of(&context).automatic().args(["--sweep-seconds", "1"]);
        let operator = operator.as_user(&behind.kubeconfig).ready().await;
        for name in ["kept", "gone"] {
            context.debug_bundle(name, about_r1()).await;
            is_stored(&context, &until_ended(&context, name).await).await;
        }
        context.create_velero(restore("r2").in_progress().started(Timestamp::now())).await;
        let node = server_pod(&context, endless_log()).await;
        context.debug_bundle("runs", about_r1()).await;
        until_read(&context, &node).await;
        let kept = get(&context, "kept").await.unwrap();

        line.set(ProxyFault { refuse: true, ..ProxyFault::default() });
        for name in ["gone", "runs"] {
            delete(&context, name).await;
            until_gone(&context, name, LIMIT).await;
        }
        context.log("velero-1", "velero", LogScript::lines(["quick now"]));
        context.end_velero("Restore", "r2", "Failed").await;
        for kind in ["debugbundles", "restores"] {
            let watch = move |line: &str| line.contains("watch=true") && line.contains(&format!("/{kind}?"));
            api.next(1, watch, ApiFault::Expired);
        }
        line.pass();

        let automatic = until_bundle(&context, "of r2", |bundle| {
            bundle.labels().get(TARGET_NAME_LABEL).is_some_and(|target| target == "r2")
        })
        .await;
        is_stored(&context, &until_ended(&context, &automatic.name_any()).await).await;
        until_unread(&context, &node).await;
        spool_is_empty(&operator).await;
        assert_eq!(api.left(), 0, "both watches expired");
        assert_eq!(keys(&context).await.len(), 3, "no list says that \"gone\" was deleted");
        context.bucket.make_older(Duration::from_hours(2));
        until_stored(&context, 2).await;
        let after = get(&context, "kept").await.unwrap();
        assert_eq!(after.metadata.resource_version, kept.metadata.resource_version);
        is_stored(&context, &after).await;
    })
    .await;
}

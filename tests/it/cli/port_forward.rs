//! A store whose name only the cluster resolves: the commands reach it by a port-forward, with the user's own rights.

use std::{net::SocketAddr, sync::Arc};

use aws_sdk_s3::presigning::PresigningConfig;
use debugbundle_crd::DebugBundle;
use harness::{Context, context::PREFIX, forward_proxy::ForwardProxy, with_namespace};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{ResourceExt as _, api::PatchParams};
use serde_json::{Value, json};

use crate::support::{
    bundles::status,
    user::{User, a_restore, finish, patch_status, stored},
    workloads::workload_pod,
};

const PORT: u16 = 9000;

/// The store's address, behind a Service of Velero's namespace: one pod of it is ready, another one is not.
async fn behind_a_service(context: &Arc<Context>) -> String {
    let space = &context.namespace;
    let node = context.node("store").await;
    let store = context.stand.s3.endpoint();
    let address: SocketAddr = store.trim_start_matches("http://").parse().expect("an address");
    context.stand.kubelet.forward(space, "minio-1", PORT, address);
    for (name, ready) in [("minio-0", false), ("minio-1", true)] {
        let pod = workload_pod(name).on_node(&node);
        let mut pod: Value = if ready { pod.ready() } else { pod }.into();
        pod["metadata"]["labels"] = json!({"app": "minio"});
        pod["spec"]["containers"][0]["ports"] = json!([{"name": "api", "containerPort": PORT}]);
        context.create_in::<Pod>(space, pod).await;
    }
    let spec = json!({"selector": {"app": "minio"}, "ports": [{"port": 9100, "targetPort": "api"}]});
    context.create_in::<Service>(space, json!({"metadata": {"name": "minio"}, "spec": spec})).await;
    format!("http://minio.{space}.svc:9100")
}

async fn move_location(context: &Context, url: &str) {
    context.patch_velero("BackupStorageLocation", "default", json!({"spec": {"config": {"s3Url": url}}})).await;
}

fn said(context: &Context) -> String {
    said_of(context, &format!("minio.{}.svc", context.namespace))
}

fn said_of(context: &Context, host: &str) -> String {
    let space = &context.namespace;
    format!("{host} resolves only inside the cluster: reading by a port-forward to pod {space}/minio-1, port {PORT}\n")
}

#[tokio::test]
async fn issue_32_collect_and_prune_reach_a_store_that_only_the_cluster_resolves() {
    with_namespace("cli-forward", |context| async move {
        a_restore(&context).await;
        move_location(&context, &behind_a_service(&context).await).await;
        let user = User::of(&context);
        let collected = user.line("collect --restore regrow -o bundle.tar.gz").await;
        assert!(collected.err.contains(&said(&context)), "{collected:?}");
        assert_eq!(collected.err.matches("port-forward").count(), 1, "{collected:?}");
        assert!(collected.out.contains("exceeded quota: no room for shop-0"), "{collected:?}");
        let log = user.line("cat --file bundle.tar.gz velero/restores/regrow/restore.log").await;
        assert!(log.code == 0 && log.out.len() > 2_900_000, "{}", log.err);
        let report = user.line("cat --file bundle.tar.gz velero/locations/default.json").await;
        assert!(report.out.contains("is reached by a port-forward"), "{report:?}");

        let orphan = format!(
            "{PREFIX}/plugins/debugbundle/{}/restore-r1/gone-0b5e2a7c-1111-4222-8333-444455556666.tar.gz",
            context.installation().await
        );
        context.bucket.put(&orphan, "a bundle").await;
        let pruned = user.line("prune --delete").await;
        assert!(pruned.code == 0 && pruned.out.ends_with("1 removed, 0 left\n"), "{pruned:?}");
        assert!(pruned.err.contains(&said(&context)), "{pruned:?}");

        // Nothing listens at the pod's port: the kubelet's words are shown.
        let port = json!({"spec": {"ports": [{"port": 9100, "targetPort": 9001}]}});
        let patch = kube::api::Patch::Merge(port);
        let services = context.api::<Service>();
        services.patch("minio", &PatchParams::default(), &patch).await.expect("a Service");
        let refused = user.line("prune").await;
        assert!(refused.code == 7 && refused.err.contains("connection refused"), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn issue_32_neither_a_public_url_nor_a_proxy_stands_before_a_store_of_the_cluster() {
    with_namespace("cli-forward-by", |context| async move {
        a_restore(&context).await;
        let url = behind_a_service(&context).await;
        let user = User::of(&context);
        // Download URLs are signed for the public URL; nobody answers there.
        let public = json!({"spec": {"config": {"s3Url": url, "publicUrl": "http://127.0.0.1:1"}}});
        context.patch_velero("BackupStorageLocation", "default", public).await;
        let pruned = user.line("prune").await;
        assert!(pruned.code == 0 && pruned.err.contains(&said(&context)), "{pruned:?}");

        let outside = context.stand.s3.endpoint().replace("http://", "");
        let proxy = ForwardProxy::knowing(&[("store.test", &outside)], Some("me:hunter2")).await;
        let behind_proxy = async |words: &[&str]| {
            let mut command = user.command(words).await;
            for name in ["HTTP_PROXY", "HTTPS_PROXY"] {
                command.env(name, format!("http://me:hunter2@{}", proxy.address()));
            }
            finish(command.spawn().expect("it starts"), &command).await
        };
        let space = &context.namespace;
        for host in [format!("minio.{space}.svc"), format!("minio.{space}.svc.cluster.local"), "minio".to_owned()] {
            move_location(&context, &format!("http://{host}:9100")).await;
            let pruned = behind_proxy(&["prune"]).await;
            assert!(pruned.code == 0 && pruned.err.contains(&said_of(&context, &host)), "{pruned:?}");
        }
        let collected = behind_proxy(&["collect", "--restore", "regrow", "-o", "bundle.tar.gz"]).await;
        assert!(collected.out.contains("exceeded quota: no room for shop-0"), "{collected:?}");
        assert_eq!(proxy.seen(), Vec::<String>::new());
        // A host that could be a Service, but is none, stays behind the proxy.
        move_location(&context, "http://store.test:9000").await;
        let pruned = behind_proxy(&["prune"]).await;
        assert!(pruned.code == 0 && !pruned.err.contains("port-forward"), "{pruned:?}");
        assert!(
            proxy.seen().iter().any(|asked| asked.starts_with("GET http://store.test:9000/")),
            "{:?}",
            proxy.seen()
        );
    })
    .await;
}

#[tokio::test]
async fn issue_32_a_url_of_a_host_that_only_the_cluster_resolves_is_downloaded_by_a_port_forward() {
    with_namespace("cli-forward-url", |context| async move {
        let (operator, bundle) = stored(&context, "why", "OnCompletion").await;
        drop(operator);
        let url = behind_a_service(&context).await;
        move_location(&context, &url).await;
        let key = status(&bundle).bundle.expect("a bundle").key;
        // As the operator would sign it: for the host in the location.
        let client = context.bucket.client();
        let config = client.config().to_builder().endpoint_url(&url).build();
        let client = aws_sdk_s3::Client::from_conf(config);
        let hour = PresigningConfig::expires_in(std::time::Duration::from_hours(1)).expect("an hour");
        let signed = client.get_object().bucket(&context.bucket.name).key(&key).presigned(hour).await.expect("signed");
        assert!(signed.uri().starts_with(url.as_str()), "{}", signed.uri());
        let until = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(50);
        let change = json!({"downloadURL": signed.uri(), "downloadURLExpiration": until.to_string()});
        patch_status(&context, "why", change).await;

        let user = User::of(&context);
        let saved = user.line("download why -o why.tar.gz").await;
        assert!(saved.code == 0 && saved.out.ends_with("sha256 verified)\n"), "{saved:?}");
        assert!(saved.err.contains(&said(&context)), "{saved:?}");
        let shown = user.line("cat why velero/restores/regrow/results.json").await;
        assert!(shown.code == 0 && shown.out.contains("no room for shop-0"), "{shown:?}");
        assert_eq!(context.api::<DebugBundle>().get("why").await.expect("it stays").name_any(), "why");
    })
    .await;
}

//! The proxies that an admin sets in the operator's environment, on the way to a store that only they can reach.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_crd::DebugBundle;
use harness::{
    Context, Operator,
    bundle::Unpacked,
    forward_proxy::ForwardProxy,
    s3_proxy::{Certificate, S3Proxy},
    with_namespace,
};
use kube::api::DeleteParams;

use crate::support::store::{End, ended, waiting};

/// A name that no DNS server knows.
const HOST: &str = "s3.store.test";
const WITH_TLS: &str = "https://s3.store.test:9443";
const PLAIN: &str = "http://s3.store.test:9000";

/// Points the location at this endpoint, trusting this certificate if the endpoint uses TLS.
async fn at(context: &Context, endpoint: &str, certificate: Option<&Certificate>) {
    let ca = certificate.map(|certificate| STANDARD.encode(&certificate.authority));
    let change = serde_json::json!({"spec": {"config": {"s3Url": endpoint}, "objectStorage": {"caCert": ca}}});
    context.patch_velero("BackupStorageLocation", "default", change).await;
}

async fn operator(context: &Arc<Context>, name: &str, proxy: &str, none: &str) -> Operator {
    let started = Operator::of(context).named(name).env("HTTPS_PROXY", format!("http://{proxy}"));
    started.env("http_proxy", format!("http://{proxy}")).env("NO_PROXY", none).ready().await
}

async fn bundle(context: &Context, name: &str) {
    context.debug_bundle(name, serde_json::json!({})).await;
}

/// Reads the bundle from the bucket, because the name in its URL cannot be resolved here.
async fn unpacked(context: &Context, end: &End) -> Unpacked {
    let key = &end.status().bundle.as_ref().expect("it is stored").key;
    Unpacked::of(context.bucket.get(key).await.expect("the object is there"), end.status())
}

fn steps(bundle: &Unpacked) -> String {
    bundle.file("velero/locations/default.json")
}

#[tokio::test]
async fn sec_n11_a_store_is_reached_through_the_proxy_of_the_environment_unless_it_is_exempt() {
    with_namespace("forward", |context| async move {
        let certificate = Certificate::of(&[HOST]);
        let store = S3Proxy::with_tls(&context.stand.s3.endpoint(), &certificate).await;
        let tls = store.endpoint().replace("https://", "");
        let proxy = ForwardProxy::knowing(&[(HOST, &tls)], Some("ops:pass word")).await;
        at(&context, WITH_TLS, Some(&certificate)).await;

        // Through a tunnel the proxy sees only the target's address.
        let by_tunnel = operator(&context, "tunnel", &format!("ops:pass%20word@{}", proxy.address()), "").await;
        bundle(&context, "by-tunnel").await;
        let end = ended(&context, "by-tunnel").await;
        assert!(end.stored(), "{end:?}");
        assert!(store.seen().iter().any(|seen| seen.method == "PUT"));
        assert!(store.seen().iter().all(|seen| seen.header("proxy-authorization").is_empty()));
        let seen = proxy.seen();
        assert!(!seen.is_empty() && seen.iter().all(|asked| asked == "CONNECT s3.store.test:9443"), "{seen:?}");
        let told = steps(&unpacked(&context, &end).await);
        assert!(told.contains(&format!("the proxy {} resolves {HOST}", proxy.address())), "{told}");
        assert!(!told.contains("pass"), "{told}");
        context.api::<DebugBundle>().delete("by-tunnel", &DeleteParams::default()).await.expect("deleted");
        crate::support::bundles::until_gone(&context, "by-tunnel", crate::support::bundles::LIMIT).await;
        drop(by_tunnel);

        // With a wrong password, the message names the proxy that refused.
        let refused = operator(&context, "refused", &format!("ops:hunter2@{}", proxy.address()), "").await;
        bundle(&context, "refused").await;
        let waits = waiting(&context, "refused").await;
        let (reason, message) = waits.condition("Uploaded");
        let expected = format!(
            "connection: the store is unreachable: the proxy {} refused the connection to s3.store.test:9443: HTTP \
             status 407; it requires another user and password; ",
            proxy.address()
        );
        assert!(reason == "StoreUnreachable" && message.starts_with(&expected), "{reason} {message}");
        assert!(!refused.log().iter().any(|line| line.to_string().contains("hunter2")));
        drop(refused);

        // Exempt hosts are resolved directly.
        let exempt = operator(&context, "exempt", proxy.address(), "localhost,.store.test").await;
        let asked = proxy.seen().len();
        bundle(&context, "exempt").await;
        let waits = waiting(&context, "exempt").await;
        let (_, message) = waits.condition("Uploaded");
        assert!(
            message.starts_with("DNS: the store is unreachable: DNS resolution failed: s3.store.test; "),
            "{message}"
        );
        assert_eq!(proxy.seen().len(), asked);
        drop(exempt);
    })
    .await;
}

#[tokio::test]
async fn sec_n11_n3_plain_http_goes_to_the_proxy_by_its_whole_url_and_metadata_addresses_go_nowhere() {
    with_namespace("forward-http", |context| async move {
        let store = S3Proxy::before(&context.stand.s3.endpoint()).await;
        let plain = store.endpoint().replace("http://", "");
        let metadata = "169.254.169.254";
        let proxy = ForwardProxy::knowing(&[(HOST, &plain), (metadata, &plain)], None).await;
        at(&context, PLAIN, None).await;
        let operator = operator(&context, "plain", proxy.address(), "").await;
        bundle(&context, "plain").await;
        let end = ended(&context, "plain").await;
        assert!(end.stored(), "{end:?}");
        let key = end.status().bundle.as_ref().expect("it is stored").key.clone();
        let put = format!("PUT http://s3.store.test:9000/{}/{key}", context.bucket.name);
        assert!(proxy.seen().contains(&put), "{:?}", proxy.seen());
        assert!(proxy.seen().iter().all(|asked| asked.contains(" http://s3.store.test:9000/")), "{:?}", proxy.seen());

        // The proxy could reach it, but the operator does not ask the proxy.
        at(&context, &format!("http://{metadata}"), None).await;
        let asked = proxy.seen().len();
        bundle(&context, "metadata").await;
        let end = ended(&context, "metadata").await;
        let (reason, message) = end.failure();
        assert_eq!(reason, "LocationInvalid", "{message}");
        assert!(message.contains("address 169.254.169.254 is not allowed for endpoints"), "{message}");
        assert_eq!(proxy.seen().len(), asked);
        drop(operator);
    })
    .await;
}

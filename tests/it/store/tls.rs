//! TLS to the store: which certificates a location makes trusted, and the messages about all others. Also whether a
//! location may switch verification off, and who may forbid that.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_operator::{
    location::{EndpointPolicy, IdentityPolicy, Location, LocationError},
    store::{self, Options, Resolved},
};
use harness::{
    Context,
    s3_proxy::{Certificate, S3Proxy},
    with_namespace,
};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::support::store::key;

const LAB: EndpointPolicy =
    EndpointPolicy { allow_loopback: true, require_verified_tls: false, identities: IdentityPolicy::STRICT };

/// A location at `endpoint` with these fields below `objectStorage` and these extra config keys.
async fn resolve(
    context: &Context,
    endpoint: &str,
    storage: Value,
    config: Value,
    policy: EndpointPolicy,
) -> Result<Resolved, LocationError> {
    let location = context.location("offsite", "p").config("s3Url", endpoint);
    let location = location.merged(&json!({"objectStorage": storage, "config": config}));
    let location = Location::parse(&location.manifest()).expect("a location");
    store::resolve(&context.client, &context.namespace, &location, None, policy).await
}

/// The result of a request to the store: nothing found, or the error's sentence.
async fn asked(resolved: &Resolved) -> Result<(), String> {
    let store = resolved.open(Options::default(), None).await.map_err(|error| error.to_string())?;
    store.head(&key()).await.map(|found| assert!(found.is_none())).map_err(|error| error.to_string())
}

fn inline(certificate: &Certificate) -> Value {
    json!({"caCert": STANDARD.encode(&certificate.authority)})
}

#[tokio::test]
async fn sec_n9_only_what_the_location_says_decides_whom_to_trust() {
    with_namespace("tls", |context| async move {
        let s3 = context.stand.s3.endpoint();
        let ours = ["127.0.0.1", "localhost"];
        let (good, expired, other) =
            (Certificate::of(&ours), Certificate::expired(&ours), Certificate::of(&["s3.example.com"]));
        let stranger = Certificate::of(&ours);
        let (own, own_other) = (Certificate::self_signed(&ours), Certificate::self_signed(&["s3.example.com"]));
        let host_name = "certificate is for another host name";
        let renewed = "certificate signed by another authority with the same name as the one in caCert; renew caCert";
        let unknown = "certificate signed by unknown authority; set caCert";
        for (name, server, storage, config, expected) in [
            ("right caCert", &good, inline(&good), json!({}), None),
            ("no caCert", &good, json!({}), json!({}), Some(unknown)),
            ("the caCert of before", &good, inline(&stranger), json!({}), Some(renewed)),
            ("its own caCert", &own, inline(&own), json!({}), None),
            ("another's own caCert", &own, inline(&own_other), json!({}), Some(unknown)),
            ("its own, another host's", &own_other, inline(&own_other), json!({}), Some(host_name)),
            ("expired", &expired, inline(&expired), json!({}), Some("certificate has expired")),
            ("another host's", &other, inline(&other), json!({}), Some(host_name)),
            ("not verified", &other, json!({}), json!({"insecureSkipTLSVerify": "true"}), None),
            ("verified in words", &other, json!({}), json!({"insecureSkipTLSVerify": "false"}), Some(unknown)),
        ] {
            let proxy = S3Proxy::with_tls(&s3, server).await;
            let resolved = resolve(&context, &proxy.endpoint(), storage, config, LAB).await.expect(name);
            let got = asked(&resolved).await;
            match expected {
                None => {
                    assert_eq!(got, Ok(()), "{name}");
                    assert!(!proxy.seen().is_empty(), "{name}");
                }
                Some(why) => {
                    let host = "the store is unreachable: TLS with 127.0.0.1 failed: ";
                    assert_eq!(got, Err(format!("{host}{why}")), "{name}");
                    assert!(proxy.seen().is_empty(), "{name}: not a byte of a request was sent");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn sec_n9_a_ca_in_a_secret_is_as_good_as_one_in_the_location() {
    with_namespace("tls-ref", |context| async move {
        let certificate = Certificate::of(&["127.0.0.1"]);
        let proxy = S3Proxy::with_tls(&context.stand.s3.endpoint(), &certificate).await;
        context
            .create::<Secret>(json!({
                "metadata": {"name": "ca"},
                "stringData": {"ca.crt": certificate.authority, "not-pem": "nothing", "secret": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
            }))
            .await;
        let by = |name: &str, key: &str| json!({"caCertRef": {"name": name, "key": key}});
        let resolved = resolve(&context, &proxy.endpoint(), by("ca", "ca.crt"), json!({}), LAB).await.expect("resolved");
        assert_eq!(asked(&resolved).await, Ok(()));
        let both = {
            let mut both = by("ca", "ca.crt");
            both["caCert"] = "eA==".into();
            both
        };
        for (storage, expected) in [
            (by("ca", "none"), "Secret \"ca\" has no key \"none\" (keys: ca.crt, not-pem, secret)"),
            (by("gone", "ca.crt"), "Secret \"gone\" not found"),
            (by("ca", "not-pem"), "caCertRef: no CERTIFICATE block found"),
            (by("ca", "secret"), "caCertRef contains a private key; it must contain only certificates"),
            (both, "set only one of objectStorage.caCert, objectStorage.caCertRef"),
        ] {
            let error = resolve(&context, &proxy.endpoint(), storage, json!({}), LAB).await.expect_err(expected);
            assert_eq!(error.to_string(), format!("BackupStorageLocation \"offsite\": {expected}"));
        }
    })
    .await;
}

#[tokio::test]
async fn sec_n2_n9_a_strict_site_takes_neither_plain_http_nor_unverified_tls() {
    with_namespace("tls-strict", |context| async move {
        let strict = EndpointPolicy { require_verified_tls: true, ..LAB };
        for (endpoint, config, expected) in [
            ("http://127.0.0.1:1", json!({}), "plain http is refused by --require-verified-tls"),
            (
                "https://127.0.0.1:1",
                json!({"insecureSkipTLSVerify": "true"}),
                "insecureSkipTLSVerify is refused by --require-verified-tls",
            ),
        ] {
            let error = resolve(&context, endpoint, json!({}), config, strict).await.expect_err(expected);
            assert_eq!(error.to_string(), format!("BackupStorageLocation \"offsite\": {expected}"));
        }
    })
    .await;
}

#[tokio::test]
async fn an_http_port_that_is_asked_for_https_says_so() {
    with_namespace("tls-http", |context| async move {
        let endpoint = context.stand.s3.endpoint().replace("http:", "https:");
        let resolved = resolve(&context, &endpoint, json!({}), json!({}), LAB).await.expect("resolved");
        let got = asked(&resolved).await.expect_err("no TLS there");
        assert!(got.ends_with("the port does not answer with TLS; is it an http port?"), "{got}");
    })
    .await;
}

//! Every config key of Velero's AWS plugin: its effect on the wire, or the sentence that refuses it. For keys about
//! credentials and certificates, `credential` and `tls` test the effect.

use std::time::Duration;

use debugbundle_operator::{
    location::{EndpointPolicy, Location},
    store::{self, Options, s3::CustomerKeyBytes},
};
use harness::{
    s3_proxy::{S3Proxy, Seen},
    with_namespace,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::store::{IN_PARTS, MIB, TestBucket, UploadRecorder, access, key, open, sealed};

/// The requests of an upload and its verification with these config keys.
async fn on_the_wire(config: &Value, options: Options) -> Vec<Seen> {
    let mut place = TestBucket::new().await;
    let proxy = S3Proxy::before(&place.endpoint).await;
    place.endpoint = proxy.endpoint();
    let mut resolved = place.resolved(config);
    if !matches!(config["customerKeyEncryptionSecret"], Value::Null) {
        access(&mut resolved).customer_key = CustomerKeyBytes::new(b"0123456789abcdef0123456789abcdef").ok();
    }
    let store = open(&resolved, options).await;
    let sealed = sealed(6 * MIB);
    let sent = store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await;
    sent.unwrap_or_else(|error| panic!("{config}: {error}: {:#?}", proxy.seen().last()));
    store.verify(&key(), &sealed.upload()).await.unwrap_or_else(|error| panic!("{config}: {error}"));
    let mut seen = proxy.seen();
    // The list of open uploads names no object.
    seen.retain(|request| request.method != "GET" || !request.query.starts_with("uploads"));
    for request in &seen {
        assert!(
            request.path.starts_with(&format!("/{}/velero/plugins/debugbundle/", place.bucket.name)),
            "{request:?}"
        );
        assert!(request.header("authorization").starts_with("AWS4-HMAC-SHA256 "), "{request:?}");
        for chunked in ["x-amz-trailer", "content-encoding", "transfer-encoding", "x-amz-decoded-content-length"] {
            assert_eq!(request.header(chunked), "", "{config}: {request:?}");
        }
        if request.method == "PUT" {
            assert_eq!(request.header("content-length"), request.bytes.to_string());
            assert_eq!(request.header("x-amz-content-sha256").len(), 64, "{config}: the content is signed");
        }
    }
    seen
}

fn the<'a>(seen: &'a [Seen], method: &str, part: &str) -> &'a Seen {
    seen.iter().find(|request| request.is(method, part)).unwrap_or_else(|| panic!("no {method} {part}: {seen:#?}"))
}

/// The request's headers whose names begin with this prefix, each as `name: value`.
fn headers(request: &Seen, prefix: &str) -> Vec<String> {
    let found = request.headers.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
    let mut found: Vec<_> = found.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    found.sort_unstable();
    found
}

#[tokio::test]
async fn each_key_does_on_the_wire_what_it_does_in_veleros_plugin() {
    let none: &[&str] = &[];
    let encryption = "x-amz-server-side-encryption";
    let kms = ["x-amz-server-side-encryption-aws-kms-key-id: alias/x", "x-amz-server-side-encryption: aws:kms"];
    let aes = ["x-amz-server-side-encryption: AES256"];
    // (config, prefix of the headers, those of the single PUT, those that begin an upload in parts, those of a part)
    for (config, prefix, single, begin, part) in [
        (json!({}), encryption, none, none, none),
        (json!({}), "x-amz-checksum", none, none, none),
        (json!({}), "x-amz-sdk-checksum", none, none, none),
        (json!({}), "x-amz-tagging", none, none, none),
        (json!({"kmsKeyId": "alias/x"}), encryption, &kms, &kms, none),
        (json!({"serverSideEncryption": "AES256"}), encryption, &aes, &aes, none),
        (
            json!({"tagging": "team=a&cost="}),
            "x-amz-tagging",
            &["x-amz-tagging: team=a&cost="],
            &["x-amz-tagging: team=a&cost="],
            none,
        ),
        (json!({"checksumAlgorithm": ""}), "x-amz-checksum", none, none, none),
        (json!({"signatureVersion": "1", "enableSharedConfig": "true"}), "x-amz-checksum", none, none, none),
        (json!({"bucket": "other", "prefix": "other", "caCert": "x", "profile": "p"}), encryption, none, none, none),
    ] {
        let small = on_the_wire(&config, Options::default()).await;
        assert_eq!(headers(the(&small, "PUT", "tar.gz"), prefix), single, "{config}");
        let large = on_the_wire(&config, IN_PARTS).await;
        assert_eq!(headers(the(&large, "POST", "uploads"), prefix), begin, "{config}");
        assert_eq!(headers(the(&large, "PUT", "partNumber=2"), prefix), part, "{config}");
    }
}

#[tokio::test]
async fn checksum_algorithms_travel_in_headers_and_never_in_trailers() {
    for algorithm in ["CRC32", "CRC32C", "SHA1", "SHA256"] {
        let config = json!({"checksumAlgorithm": algorithm});
        let sum = format!("x-amz-checksum-{}", algorithm.to_lowercase());
        let small = on_the_wire(&config, Options::default()).await;
        assert_ne!(the(&small, "PUT", "tar.gz").header(&sum), "", "{algorithm}");
        let large = on_the_wire(&config, IN_PARTS).await;
        assert_eq!(the(&large, "POST", "uploads").header("x-amz-checksum-algorithm"), algorithm);
        let part = the(&large, "PUT", "partNumber=1");
        assert_ne!(part.header(&sum), "", "{algorithm}");
        // Stores refuse an algorithm that is named without its checksum.
        assert_eq!(part.header("x-amz-sdk-checksum-algorithm"), "", "{algorithm}");
    }
}

#[tokio::test]
async fn the_customer_key_is_on_every_request_that_touches_content() {
    let config = json!({"customerKeyEncryptionSecret": "ssec/key"});
    let expected = [
        "x-amz-server-side-encryption-customer-algorithm: AES256",
        "x-amz-server-side-encryption-customer-key-md5: 2JR4sCCWq+IG+Jjz0zM1ZA==",
        "x-amz-server-side-encryption-customer-key: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    ];
    let mut seen = on_the_wire(&config, Options::default()).await;
    seen.extend(on_the_wire(&config, IN_PARTS).await);
    for request in &seen {
        assert_eq!(headers(request, "x-amz-server-side-encryption").len(), expected.len(), "{request:?}");
        for header in headers(request, "x-amz-server-side-encryption") {
            assert!(header.contains("-md5") || expected.contains(&header.as_str()), "{header}");
        }
    }
    assert!(seen.iter().any(|request| request.method == "HEAD") && seen.iter().any(|request| request.method == "GET"));
}

#[tokio::test]
async fn region_endpoint_and_style_decide_where_a_request_goes() {
    let place = TestBucket::new().await;
    let port = place.endpoint.rsplit(':').next().unwrap().to_owned();
    let bucket = &place.bucket.name;
    for (config, start, region) in [
        (
            json!({"s3Url": format!("http://localhost:{port}")}),
            format!("http://localhost:{port}/{bucket}/"),
            "us-east-1",
        ),
        (
            json!({"s3Url": format!("http://localhost:{port}"), "s3ForcePathStyle": "false"}),
            format!("http://{bucket}.localhost:{port}/velero/"),
            "us-east-1",
        ),
        (
            json!({"publicUrl": "https://s3.example.com", "region": "eu-west-3"}),
            format!("https://s3.example.com/{bucket}/"),
            "eu-west-3",
        ),
        (
            json!({"s3Url": "", "s3ForcePathStyle": "", "region": "eu-west-3"}),
            format!("https://{bucket}.s3.eu-west-3.amazonaws.com/velero/"),
            "eu-west-3",
        ),
    ] {
        let store = place.store_with(&config, Options::default()).await;
        let signed = store.sign(&key(), Duration::from_mins(1), Timestamp::now()).await.expect("signed");
        let url = signed.url.expose();
        assert!(url.starts_with(&start), "{config}: {}", signed.url);
        assert!(url.contains(&format!("%2F{region}%2Fs3%2Faws4_request")), "{config}: {}", signed.url);
    }
}

#[tokio::test]
async fn a_config_that_cannot_be_honoured_is_refused_by_its_key() {
    with_namespace("config", |context| async move {
        for (config, expected) in [
            (json!({"s3url": "http://x"}), "config key \"s3url\" is unknown (did you mean s3Url?)"),
            (
                json!({"accelerate": "true"}),
                "config key \"accelerate\" is unknown; known keys: region, s3Url, publicUrl",
            ),
            (json!({"region": "us east"}), "config key region is \"us east\"; it must be a region's name"),
            (json!({"s3Url": "minio:9000"}), "config key s3Url is \"minio:9000\"; it must be http(s)://host[:port]"),
            (json!({"s3Url": "http://u:hunter2@x"}), "config key s3Url is \"http://***@x\""),
            (json!({"s3Url": "http://169.254.169.254"}), "address 169.254.169.254 is not allowed for endpoints"),
            (json!({"publicUrl": "https://x/path"}), "config key publicUrl is \"https://x/path\""),
            (json!({"s3ForcePathStyle": "yes"}), "config key s3ForcePathStyle is \"yes\"; it must be true or false"),
            (json!({"insecureSkipTLSVerify": "no"}), "config key insecureSkipTLSVerify is \"no\""),
            (json!({"enableSharedConfig": "maybe"}), "config key enableSharedConfig is \"maybe\""),
            (json!({"checksumAlgorithm": "MD5"}), "allowed: \"\", CRC32, CRC32C, SHA1, SHA256"),
            (json!({"tagging": "a"}), "config key tagging is \"a\"; it must be k=v&k=v, at most 10"),
            (json!({"customerKeyEncryptionSecret": "a"}), "it must be <Secret>/<key>"),
            (json!({"customerKeyEncryptionSecret": "none/key"}), "Secret \"none\" not found"),
            (
                json!({"customerKeyEncryptionSecret": "cloud-credentials/cloud"}),
                "the SSE-C key in Secret \"cloud-credentials/cloud\" must be exactly 32 bytes, got ",
            ),
            (
                json!({"customerKeyEncryptionFile": "/etc/key"}),
                "a path in the Velero server's pod where no Secret is mounted",
            ),
            (
                json!({"kmsKeyId": "x", "customerKeyEncryptionFile": "/k", "customerKeyEncryptionSecret": "a/b"}),
                "only one of config keys kmsKeyId, customerKeyEncryptionFile, customerKeyEncryptionSecret may be set",
            ),
        ] {
            let object = context.location("offsite", "p").merged(&json!({"config": config})).manifest();
            let location = Location::parse(&object).expect("a location");
            let policy = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
            let got = store::resolve(&context.client, &context.namespace, &location, None, policy).await;
            let error = got.err().unwrap_or_else(|| panic!("{config} was taken")).to_string();
            assert!(error.starts_with("BackupStorageLocation \"offsite\": "), "{error}");
            assert!(error.contains(expected) && !error.contains("hunter2"), "{config}: {error}");
        }
    })
    .await;
}

//! What S3 promises besides the contract of stores, on a real S3 server: headers, checksums, the public endpoint, and
//! the words of refusals.

use std::time::Duration;

use debugbundle_operator::{
    location::EndpointPolicy,
    store::{Options, Resolved, StoreError, s3::Credential},
};
use debugbundle_redact::Secret;
use jiff::Timestamp;
use serde_json::json;

use crate::support::store::{
    IN_PARTS, MIB, TestBucket, UID, UploadRecorder, access, http, key, open, sealed, uploaded,
};

#[tokio::test]
async fn a_bundle_is_stored_as_a_gzip_file_of_its_own_name() {
    let place = TestBucket::new().await;
    let store = place.store(IN_PARTS).await;
    for bytes in [1000, 6 * MIB] {
        uploaded(&*store, &sealed(bytes)).await;
        let head = place.bucket.client().head_object().bucket(&place.bucket.name).key(key().as_str()).send().await;
        let head = head.expect("there");
        assert_eq!(head.content_type(), Some("application/gzip"));
        assert_eq!(head.content_encoding().unwrap_or_default(), "");
        assert_eq!(head.content_disposition(), Some(format!("attachment; filename=\"dbg-{UID}.tar.gz\"").as_str()));
    }
}

#[tokio::test]
async fn every_checksum_that_may_be_asked_for_is_sent() {
    let place = TestBucket::new().await;
    for (algorithm, options) in ["CRC32", "CRC32C", "SHA1", "SHA256"]
        .into_iter()
        .flat_map(|name| [(name, Options::default()), (name, IN_PARTS)])
    {
        let store = place.store_with(&json!({"checksumAlgorithm": algorithm}), options).await;
        let sealed = sealed(6 * MIB);
        store
            .upload(&key(), &sealed.upload(), &UploadRecorder::default())
            .await
            .unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        store.verify(&key(), &sealed.upload()).await.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        let head = place
            .bucket
            .client()
            .head_object()
            .bucket(&place.bucket.name)
            .key(key().as_str())
            .checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled)
            .send()
            .await
            .expect("there");
        let sums = [
            ("CRC32", head.checksum_crc32()),
            ("CRC32C", head.checksum_crc32_c()),
            ("SHA1", head.checksum_sha1()),
            ("SHA256", head.checksum_sha256()),
        ];
        assert!(sums.iter().any(|(name, sum)| *name == algorithm && sum.is_some()), "{algorithm}: {sums:?}");
        // A leftover would be taken for the next object.
        store.delete(&key()).await.expect("deleted");
    }
}

#[tokio::test]
async fn sec_u9_n11_a_url_is_signed_for_the_public_endpoint() {
    let place = TestBucket::new().await;
    let public = place.endpoint.replace("127.0.0.1", "localhost");
    let store = place.store_with(&json!({"publicUrl": public}), Options::default()).await;
    let sealed = sealed(1000);
    uploaded(&*store, &sealed).await;
    let signed = store.sign(&key(), Duration::from_mins(1), Timestamp::now()).await.expect("signed");
    assert!(signed.url.expose().starts_with("http://localhost:"), "{}", signed.url);
    assert_eq!(http(signed.url.expose(), None).await.2, sealed.content);
}

#[tokio::test]
async fn refusals_say_what_to_mend() {
    let place = TestBucket::new().await;
    let sealed = sealed(1000);
    let mut stranger = place.resolved(&json!({}));
    access(&mut stranger).credential = Credential::Keys {
        access_key_id: place.keys.access.clone(),
        secret_access_key: Secret::new("wrong"),
        session_token: None,
    };
    let stranger = open(&stranger, Options::default()).await;
    let error = stranger.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect_err("denied");
    assert!(matches!(error, StoreError::NotAccepted { .. }), "{error}");
    let message = error.message();
    assert!(message.contains("SignatureDoesNotMatch") && message.contains("the secret key does not belong"), "{error}");
    assert!(matches!(stranger.head(&key()).await, Err(StoreError::Denied { .. })));

    let mut nowhere = place.resolved(&json!({}));
    nowhere.location.bucket = "no-such-bucket".to_owned();
    let nowhere = open(&nowhere, Options::default()).await;
    let error = nowhere.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect_err("no bucket");
    assert!(matches!(error, StoreError::NoBucket { .. }), "{error}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let resolved = place.resolved(&json!({"s3Url": format!("http://{closed}")}));
    let gone = open(&resolved, Options::default()).await;
    let error = gone.head(&key()).await.expect_err("nobody listens");
    assert_eq!(error.to_string(), format!("the store is unreachable: connection refused: {closed}"));
    assert!(error.is_transient());

    let strict = Resolved { policy: EndpointPolicy::default(), ..resolved };
    let error = open(&strict, Options::default()).await.head(&key()).await.expect_err("loopback");
    assert_eq!(error.to_string(), "address 127.0.0.1 is not allowed for endpoints");
    assert!(!error.is_transient());
}

//! Each operation of the store on a real S3 server: sending, verifying, completing, signing, reading, and refusals.

use std::time::Duration;

use debugbundle_crd::Reason;
use debugbundle_operator::{
    location::{Credential, EndpointPolicy, Resolved},
    store::{BackupFile, Limit, Options, S3, Store as _, StoreError, Upload, VeleroFile},
};
use debugbundle_redact::Secret;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::json;

use crate::support::store::{IN_PARTS, MIB, TestBucket, UID, UploadRecorder, http, key, overwrite, sealed, uploaded};

#[tokio::test]
async fn a_small_bundle_goes_in_one_request_and_is_proved() {
    let place = TestBucket::new().await;
    let store = place.store(Options::default()).await;
    let sealed = sealed(3 * MIB + 17);
    assert!(store.head(&key()).await.expect("an answer").is_none());
    let recorder = UploadRecorder::default();
    store.upload(&key(), &sealed.upload(), &recorder).await.expect("uploaded");
    assert_eq!(*recorder.calls.lock().expect("not poisoned"), [format!("sent {}", 3 * MIB + 17)]);

    let found = store.verify(&key(), &sealed.upload()).await.expect("verified");
    assert_eq!(found.sha256.as_deref(), Some(sealed.sha256.as_str()));
    assert_eq!(found.meta["uid"], UID);
    assert_eq!(found.meta["outcome"], "Completed");
    assert_eq!(std::fs::read(place.path()).expect("the object"), sealed.content);
    let head =
        place.bucket.client().head_object().bucket(&place.bucket.name).key(key().as_str()).send().await.expect("there");
    assert_eq!(head.content_type(), Some("application/gzip"));
    assert_eq!(head.content_encoding().unwrap_or_default(), "");
    assert_eq!(head.content_disposition(), Some(format!("attachment; filename=\"dbg-{UID}.tar.gz\"").as_str()));
}

#[tokio::test]
async fn a_large_bundle_goes_in_parts_after_its_id_was_noted() {
    let place = TestBucket::new().await;
    let store = place.store(IN_PARTS).await;
    let sealed = sealed(11 * MIB);
    let recorder = UploadRecorder { at_begin: Some(&place), ..UploadRecorder::default() };
    store.upload(&key(), &sealed.upload(), &recorder).await.expect("uploaded");
    let calls = recorder.calls.lock().expect("not poisoned").clone();
    assert_eq!(
        calls,
        [
            "begun, 1 open".to_owned(),
            format!("sent {}", 5 * MIB),
            format!("sent {}", 10 * MIB),
            format!("sent {}", 11 * MIB)
        ]
    );
    store.verify(&key(), &sealed.upload()).await.expect("verified");
    assert_eq!(std::fs::read(place.path()).expect("the object"), sealed.content);
    assert_eq!(place.unfinished().await, 0);
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
async fn an_upload_whose_id_cannot_be_noted_leaves_nothing() {
    let place = TestBucket::new().await;
    let store = place.store(IN_PARTS).await;
    let sealed = sealed(11 * MIB);
    let recorder = UploadRecorder { refuse: true, ..UploadRecorder::default() };
    let error = store.upload(&key(), &sealed.upload(), &recorder).await.expect_err("refused");
    assert!(matches!(error, StoreError::NotNoted(_)), "{error}");
    assert_eq!(recorder.calls.lock().expect("not poisoned").len(), 1, "no part was sent");
    assert_eq!(place.unfinished().await, 0);
    assert!(store.head(&key()).await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_file_shorter_than_it_says_leaves_nothing() {
    let place = TestBucket::new().await;
    let sealed = sealed(11 * MIB);
    for options in [IN_PARTS, Options::default()] {
        let store = place.store(options).await;
        let upload = Upload { bytes: 12 * MIB as u64, ..sealed.upload() };
        store.upload(&key(), &upload, &UploadRecorder::default()).await.expect_err("too short");
        assert_eq!(place.unfinished().await, 0);
        assert!(store.head(&key()).await.expect("an answer").is_none());
    }
}

#[tokio::test]
async fn an_upload_that_is_dropped_is_ended() {
    let place = TestBucket::new().await;
    let store = place.store(IN_PARTS).await;
    let sealed = sealed(11 * MIB);
    let recorder = UploadRecorder { hang: true, ..UploadRecorder::default() };
    let upload = sealed.upload();
    let key = key();
    let mut sending = Box::pin(store.upload(&key, &upload, &recorder));
    while recorder.calls.lock().expect("not poisoned").is_empty() {
        tokio::select! {
            _ = &mut sending => panic!("it hangs"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(place.unfinished().await, 1);
    drop(sending);
    let gone = async {
        while place.unfinished().await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the upload is ended");
}

#[tokio::test]
async fn ending_an_upload_twice_is_fine() {
    let place = TestBucket::new().await;
    let store = place.store(IN_PARTS).await;
    let begun = place
        .bucket
        .client()
        .create_multipart_upload()
        .bucket(&place.bucket.name)
        .key(key().as_str())
        .send()
        .await
        .expect("begun");
    let id = begun.upload_id().expect("an id");
    store.abort(&key(), id).await.expect("ended");
    assert_eq!(place.unfinished().await, 0);
    store.abort(&key(), id).await.expect("gone is done");
}

#[tokio::test]
async fn a_changed_object_is_not_taken_for_ours() {
    let place = TestBucket::new().await;
    let store = place.store(Options::default()).await;
    let sealed = sealed(MIB);
    let path = place.path();
    for (what, at) in [("first", 5), ("last", MIB - 5)] {
        uploaded(&store, &sealed).await;
        let mut content = sealed.content.clone();
        content[at] ^= 1;
        overwrite(&path, &content);
        let error = store.verify(&key(), &sealed.upload()).await.expect_err("changed");
        assert!(matches!(&error, StoreError::Corrupt(why) if why.contains(what)), "{error}");
        assert_eq!(error.reason(), Reason::StoredObjectCorrupt);
    }
    uploaded(&store, &sealed).await;
    overwrite(&path, &sealed.content[1..]);
    assert!(
        matches!(store.verify(&key(), &sealed.upload()).await, Err(StoreError::Corrupt(why)) if why.contains("bytes"))
    );
    uploaded(&store, &sealed).await;
    let other = Upload { sha256: &"0".repeat(64), ..sealed.upload() };
    assert!(matches!(store.verify(&key(), &other).await, Err(StoreError::Corrupt(why)) if why.contains("SHA-256")));
    store.delete(&key()).await.expect("deleted");
    assert!(
        matches!(store.verify(&key(), &sealed.upload()).await, Err(StoreError::Corrupt(why)) if why.contains("no object"))
    );
}

#[tokio::test]
async fn sec_u8_a_signed_url_downloads_and_only_that() {
    let place = TestBucket::new().await;
    let store = place.store(Options::default()).await;
    let sealed = sealed(MIB);
    uploaded(&store, &sealed).await;
    let now = Timestamp::now();
    let signed = store.sign(&key(), Duration::from_mins(10), now).await.expect("signed");
    assert_eq!((signed.expires.as_second() - now.as_second(), signed.limit), (600, Limit::Asked));
    assert!(signed.headers.is_empty(), "{:?}", signed.headers);
    let url = signed.url.expose();
    let (status, headers, body) = http(url, None).await;
    assert_eq!((status, body == sealed.content), (200, true));
    assert_eq!(headers["content-disposition"], format!("attachment; filename=\"dbg-{UID}.tar.gz\""));
    let (status, _, body) = http(url, Some("bytes=100-199")).await;
    assert_eq!((status, body.as_slice()), (206, &sealed.content[100..200]));
    for tampered in [
        url.replace("dbg-", "dbx-"),
        url.replace("X-Amz-Expires=600", "X-Amz-Expires=6000"),
        url.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        url.split('?').next().expect("a path").to_owned(),
    ] {
        let (status, ..) = http(&tampered, None).await;
        assert_eq!(status, 403, "{}", tampered.split('?').next().expect("a path"));
    }
    assert!(!format!("{signed:?}").contains("Signature"));
    let week = store.sign(&key(), Duration::from_secs(1_000_000), now).await.expect("signed");
    assert_eq!((week.expires.as_second() - now.as_second(), week.limit), (604_800, Limit::SevenDays));
}

#[tokio::test]
async fn sec_u9_n11_a_url_is_signed_for_the_public_endpoint() {
    let place = TestBucket::new().await;
    let public = place.endpoint.replace("127.0.0.1", "localhost");
    let store = place.store_with(&json!({"publicUrl": public}), Options::default()).await;
    let sealed = sealed(1000);
    uploaded(&store, &sealed).await;
    let signed = store.sign(&key(), Duration::from_mins(1), Timestamp::now()).await.expect("signed");
    assert!(signed.url.expose().starts_with("http://localhost:"), "{}", signed.url);
    assert_eq!(http(signed.url.expose(), None).await.2, sealed.content);
}

#[tokio::test]
async fn deleting_twice_is_fine() {
    let place = TestBucket::new().await;
    let store = place.store(Options::default()).await;
    uploaded(&store, &sealed(1000)).await;
    store.delete(&key()).await.expect("deleted");
    assert!(store.head(&key()).await.expect("an answer").is_none());
    store.delete(&key()).await.expect("gone is done");
}

#[tokio::test]
async fn sec_d7_velero_s_files_are_read_or_absent() {
    let place = TestBucket::new().await;
    let store = place.store(Options::default()).await;
    let log = VeleroFile::of_backup("b1", BackupFile::Log).expect("valid");
    assert!(store.read(&log).await.expect("an answer").is_none());
    place.bucket.put("velero/backups/b1/b1-logs.gz", "gzip").await;
    let body = store.read(&log).await.expect("an answer").expect("there");
    assert_eq!(body.bytes, Some(4));
    let chunks: Vec<bytes::Bytes> = body.stream.try_collect().await.expect("read");
    assert_eq!(chunks.concat(), b"gzip");
}

#[tokio::test]
async fn refusals_say_what_to_mend() {
    let place = TestBucket::new().await;
    let sealed = sealed(1000);
    let mut stranger = place.resolved(&json!({}));
    stranger.credential = Credential::Keys {
        access_key_id: place.keys.access.clone(),
        secret_access_key: Secret::new("wrong"),
        session_token: None,
    };
    let stranger = S3::open(&stranger, Options::default()).await.expect("a store");
    let error = stranger.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect_err("denied");
    assert!(matches!(error, StoreError::NotAccepted { .. }), "{error}");
    let message = error.message();
    assert!(message.contains("SignatureDoesNotMatch") && message.contains("the secret key does not belong"), "{error}");
    assert!(matches!(stranger.head(&key()).await, Err(StoreError::Denied { .. })));

    let mut nowhere = place.resolved(&json!({}));
    nowhere.location.bucket = "no-such-bucket".to_owned();
    let nowhere = S3::open(&nowhere, Options::default()).await.expect("a store");
    let error = nowhere.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect_err("no bucket");
    assert!(matches!(error, StoreError::NoBucket { .. }), "{error}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let resolved = place.resolved(&json!({"s3Url": format!("http://{closed}")}));
    let gone = S3::open(&resolved, Options::default()).await.expect("a store");
    let error = gone.head(&key()).await.expect_err("nobody listens");
    assert_eq!(error.to_string(), format!("the store is unreachable: connection refused: {closed}"));
    assert!(error.is_transient());

    let strict = Resolved { policy: EndpointPolicy::default(), ..resolved };
    let error = S3::open(&strict, Options::default()).await.expect("a store").head(&key()).await.expect_err("loopback");
    assert_eq!(error.to_string(), "address 127.0.0.1 is not allowed for endpoints");
    assert!(!error.is_transient());
}

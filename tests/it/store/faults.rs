//! Faults of stores and of connections to them, request by request: what happens to the upload, and what it leaves
//! behind. The whole operator runs only where status matters; otherwise the store alone does.

use std::sync::Arc;

use debugbundle_crd::Reason;
use debugbundle_operator::store::{Options, Store, StoreError};
use harness::s3_proxy::{S3Fault, S3Proxy, Seen};
use serde_json::json;

use crate::support::store::{IN_PARTS, MIB, Sealed, TestBucket, UploadRecorder, key, overwrite, sealed};

/// A place behind a proxy.
async fn behind_a_proxy() -> (TestBucket, S3Proxy) {
    let mut place = TestBucket::new().await;
    let proxy = S3Proxy::before(&place.endpoint).await;
    place.endpoint = proxy.endpoint();
    (place, proxy)
}

fn part_two(seen: &Seen) -> bool {
    seen.is("PUT", "partNumber=2")
}

fn completion(seen: &Seen) -> bool {
    seen.method == "POST" && seen.query.contains("uploadId=")
}

async fn send(store: &dyn Store, sealed: &Sealed) -> Result<(), StoreError> {
    store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.map(drop)
}

/// One fault, met `times` times: the upload survives it and leaves only the object.
async fn survives(options: Options, applies: fn(&Seen) -> bool, times: usize, fault: S3Fault) {
    let (place, proxy) = behind_a_proxy().await;
    let store = place.store(options).await;
    proxy.next(times, applies, fault);
    let sealed = sealed(6 * MIB);
    send(&*store, &sealed).await.expect("uploaded");
    assert_eq!(proxy.left(), 0, "the fault was met");
    store.verify(&key(), &sealed.upload()).await.expect("verified");
    assert_eq!(std::fs::read(place.path()).expect("the object"), sealed.content);
    assert_eq!(place.unfinished().await, 0);
}

#[tokio::test]
async fn a_put_that_is_reset_in_its_middle_is_sent_again() {
    survives(Options::default(), |seen| seen.method == "PUT", 1, S3Fault::Reset).await;
}

#[tokio::test]
async fn a_put_whose_reply_is_lost_is_sent_again() {
    survives(Options::default(), |seen| seen.method == "PUT", 1, S3Fault::LoseReply).await;
}

#[tokio::test]
async fn of_an_upload_that_was_begun_twice_as_a_reply_was_lost_none_stays_open() {
    let begins = |seen: &Seen| seen.method == "POST" && !seen.query.contains("uploadId=");
    survives(IN_PARTS, begins, 1, S3Fault::LoseReply).await;
}

#[tokio::test]
async fn a_part_that_is_reset_in_its_middle_is_sent_again() {
    survives(IN_PARTS, part_two, 1, S3Fault::Reset).await;
}

#[tokio::test]
async fn a_part_whose_reply_is_lost_is_sent_again() {
    survives(IN_PARTS, part_two, 2, S3Fault::LoseReply).await;
}

#[tokio::test]
async fn a_burst_of_slow_down_is_waited_out() {
    survives(IN_PARTS, part_two, 2, S3Fault::Refuse(503, "SlowDown")).await;
}

#[tokio::test]
async fn a_completion_whose_reply_is_lost_is_known_by_the_object() {
    survives(IN_PARTS, completion, 1, S3Fault::LoseReply).await;
}

#[tokio::test]
async fn a_completion_that_says_200_and_means_an_error_is_tried_again() {
    survives(IN_PARTS, completion, 1, S3Fault::Refuse(200, "InternalError")).await;
}

/// A permanent fault: the upload fails and leaves nothing.
async fn fails(options: Options, applies: fn(&Seen) -> bool, fault: S3Fault) -> StoreError {
    let (place, proxy) = behind_a_proxy().await;
    let store = place.store(options).await;
    proxy.next(usize::MAX / 2, applies, fault);
    let error = send(&*store, &sealed(6 * MIB)).await.expect_err("it fails");
    assert_eq!(place.unfinished().await, 0, "{error}");
    assert_eq!(place.bucket.get(key().as_str()).await, None, "{error}");
    error
}

#[tokio::test]
async fn a_completion_that_never_means_its_200_is_a_failure_that_leaves_nothing() {
    let error = fails(IN_PARTS, completion, S3Fault::Refuse(200, "InternalError")).await;
    assert_eq!(error.to_string(), "the store failed: HTTP 200 InternalError");
    assert!(error.is_transient());
}

#[tokio::test]
async fn an_upload_that_somebody_ended_is_begun_anew() {
    for (applies, name) in [(part_two as fn(&Seen) -> bool, "part"), (completion, "completion")] {
        let error = fails(IN_PARTS, applies, S3Fault::Refuse(404, "NoSuchUpload")).await;
        assert!(error.is_transient(), "{name}: {error}");
        assert_eq!(error.to_string(), "the store failed: HTTP 404 NoSuchUpload");
    }
}

#[tokio::test]
async fn sec_n7_errors_of_a_store_are_told_by_what_mends_them() {
    for (status, code, expected, reason, transient) in [
        (503, "SlowDown", "the store failed: HTTP 503 SlowDown", Reason::StoreUnreachable, true),
        (
            507,
            "XMinioStorageFull",
            "the store has no space for the bundle: HTTP 507 XMinioStorageFull",
            Reason::StoreUnreachable,
            true,
        ),
        (
            403,
            "QuotaExceeded",
            "the store has no space for the bundle: HTTP 403 QuotaExceeded",
            Reason::StoreUnreachable,
            true,
        ),
        (
            400,
            "ExpiredToken",
            "the credential is no longer valid: HTTP 400 ExpiredToken",
            Reason::CredentialInvalid,
            false,
        ),
        (
            301,
            "PermanentRedirect",
            "is not in this region: HTTP 301 PermanentRedirect; set the location's config key region",
            Reason::LocationInvalid,
            false,
        ),
        (307, "TemporaryRedirect", "is not in this region: HTTP 307", Reason::LocationInvalid, false),
        (501, "NotImplemented", "the store rejected the request: HTTP 501 NotImplemented", Reason::UploadDenied, false),
        (403, "KMS.AccessDeniedException", "the store refused s3:PutObject on ", Reason::UploadDenied, false),
        (
            400,
            "KMS.DisabledException",
            "the store rejected the request: HTTP 400 KMS.DisabledException",
            Reason::UploadDenied,
            false,
        ),
    ] {
        let refused = fails(Options::default(), |seen| seen.method == "PUT", S3Fault::Refuse(status, code)).await;
        assert!(refused.to_string().contains(expected), "{refused}");
        assert_eq!((refused.reason(), refused.is_transient()), (reason, transient), "{refused}");
        assert!(!refused.to_string().contains("said by the test"), "the store's own words stay out: {refused}");
    }
}

#[tokio::test]
async fn an_object_that_kept_the_framing_of_its_transfer_is_no_bundle() {
    let (place, proxy) = behind_a_proxy().await;
    let store = place.store(Options::default()).await;
    let sealed = sealed(MIB);
    let (path, framed) =
        (place.path(), [b"100000\r\n", &sealed.content[..], b"\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n"].concat());
    let framing = S3Fault::RunAfter(Arc::new(move || overwrite(&path, &framed)));
    proxy.next(1, |seen| seen.method == "PUT", framing);
    send(&*store, &sealed).await.expect("the store is content");
    let error = store.verify(&key(), &sealed.upload()).await.expect_err("it is another one");
    assert_eq!(error.reason(), Reason::StoredObjectCorrupt);
    assert!(error.to_string().contains("bytes, 1048576 were sent"), "{error}");
}

#[tokio::test]
async fn without_the_right_to_list_everything_works() {
    let s3 = &harness::TestCluster::shared().await.s3;
    let mut place = TestBucket::new().await;
    let user = s3.create_user(&format!("{}-user", place.bucket.name)).await;
    place.bucket.allow(&user, &["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]).await;
    place.keys = user;
    for options in [Options::default(), IN_PARTS] {
        let store = place.store(options).await;
        store.abort_unfinished(&key()).await.expect("nothing can be found, which is no error");
        // A refusal may hide absence, but must never look like presence.
        assert!(matches!(store.head(&key()).await, Ok(None) | Err(StoreError::Denied { .. })));
        let sealed = sealed(6 * MIB);
        send(&*store, &sealed).await.expect("uploaded");
        store.verify(&key(), &sealed.upload()).await.expect("verified");
        store.abort(&key(), "no-such-upload").await.expect("gone is done");
        store.delete(&key()).await.expect("deleted");
    }
}

#[tokio::test]
async fn who_may_not_put_is_told_what_where_and_by_which_right() {
    let s3 = &harness::TestCluster::shared().await.s3;
    let mut place = TestBucket::new().await;
    let user = s3.create_user(&format!("{}-reader", place.bucket.name)).await;
    place.bucket.allow(&user, &["s3:GetObject", "s3:ListBucket"]).await;
    place.keys = user;
    // The store refuses before it has read a body; with a large body, the client may see only the reset.
    for (options, bytes) in [(Options::default(), 1000), (IN_PARTS, 6 * MIB)] {
        let error = send(&*place.store(options).await, &sealed(bytes)).await.expect_err("denied");
        let expected =
            format!("the store refused s3:PutObject on {}/{}: HTTP 403 AccessDenied", place.bucket.name, key());
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_store_that_is_silent_is_given_up_and_said_to_be() {
    let (place, proxy) = behind_a_proxy().await;
    proxy.down(true);
    let store = place.store_with(&json!({}), Options::default()).await;
    let error = send(&*store, &sealed(1000)).await.expect_err("down");
    assert!(error.is_transient() && error.to_string().starts_with("the store is unreachable: "), "{error}");
}

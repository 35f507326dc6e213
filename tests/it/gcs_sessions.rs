//! Resumable sessions of Google Cloud Storage: what is sent after lost replies, half parts and forgotten sessions, and
//! what is left after an upload that failed or was dropped.

use std::{sync::Arc, time::Duration};

use debugbundle_crd::Reason;
use debugbundle_operator::{
    location::Endpoint,
    store::{
        Limit, Provider, Store, StoreError, UploadHooks,
        gcs::{GcsCredential, GcsIdentity, TokenSource},
    },
};
use futures::{FutureExt as _, future::BoxFuture};
use harness::{s3_proxy::Answering, until};
use jiff::Timestamp;
use serde_json::json;

use crate::support::{
    gcs_sessions::{GcsSessions, SessionFault, gcs},
    store::{IN_PARTS, MIB, UploadRecorder, key, open, sealed},
};

async fn store(server: &GcsSessions) -> Arc<dyn Store> {
    open(&gcs("bkt", &json!({"storeEndpoint": server.endpoint})), IN_PARTS).await
}

/// The ranges of the parts of 12 MiB.
const PARTS: [&str; 3] = ["0-5242879", "5242880-10485759", "10485760-12582911"];

#[tokio::test]
async fn issue_35_a_session_goes_on_where_the_store_says_and_sends_no_byte_twice() {
    use SessionFault::{Busy, KeepHalf, LoseReply, None};
    let [first, second, third] = PARTS;
    for (faults, expected) in [
        (vec![None], vec![first, second, third]),
        (vec![LoseReply], vec![first, "*", second, third]),
        (vec![None, None, LoseReply], vec![first, second, third, "*"]),
        (vec![Busy], vec![first, "*", first, second, third]),
        (vec![KeepHalf], vec![first, "2621440-7864319", "7864320-12582911"]),
    ] {
        let (server, sealed) = (GcsSessions::start(&faults).await, sealed(12 * MIB));
        let store = store(&server).await;
        store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect("uploaded");
        // After the last lost reply the session is known no longer, and the object itself is asked for.
        assert_eq!(server.log()[1..], expected, "{faults:?}");
        assert!(server.content().is_some_and(|content| content == sealed.content), "{faults:?}");
        assert_eq!(server.open(), 0, "{faults:?}");
    }
}

#[tokio::test]
async fn issue_35_a_session_that_is_forgotten_or_damaged_is_an_error_that_the_next_try_cures() {
    for fault in [SessionFault::Forget(404), SessionFault::Forget(410), SessionFault::Damage] {
        let (server, sealed) = (GcsSessions::start(&[SessionFault::None, fault]).await, sealed(12 * MIB));
        let store = store(&server).await;
        let error = store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect_err("it failed");
        assert!(matches!(error, StoreError::Unavailable(_)) && error.is_transient(), "{fault:?}: {error}");
        assert_eq!((server.content(), server.open()), (None, 0), "{fault:?}");
        store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect("uploaded");
        assert!(server.content().is_some_and(|content| content == sealed.content), "{fault:?}");
    }
}

#[tokio::test]
async fn issue_35_a_store_that_stays_busy_ends_the_upload_and_the_session_is_cancelled() {
    let server = GcsSessions::start(&[SessionFault::Busy; 9]).await;
    let (store, sealed) = (store(&server).await, sealed(6 * MIB));
    let error = store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect_err("it failed");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert_eq!((server.log().last().map(String::as_str), server.open()), (Some("cancel"), 0));
}

/// Writes this to the object when an upload begins.
struct WritesAtBegin<'a>(&'a GcsSessions, &'static [u8]);

impl UploadHooks for WritesAtBegin<'_> {
    fn begun<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<(), String>> {
        async move {
            self.0.write(self.1);
            Ok(())
        }
        .boxed()
    }

    fn sent(&self, _bytes: u64) {}
}

#[tokio::test]
async fn issue_35_an_object_that_another_process_wrote_meanwhile_stays_and_the_next_try_replaces_what_it_saw() {
    let (server, sealed) = (GcsSessions::start(&[]).await, sealed(6 * MIB));
    let store = store(&server).await;
    for before in [None, Some(b"before".as_slice())] {
        if let Some(before) = before {
            server.write(before);
        }
        let foreign = b"another process";
        let hooks = WritesAtBegin(&server, foreign);
        let error = store.upload(&key(), &sealed.upload(), &hooks).await.expect_err("refused");
        assert!(matches!(error, StoreError::Unavailable(_)) && error.is_transient(), "{error}");
        assert_eq!(server.content().as_deref(), Some(foreign.as_slice()));
        store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect("uploaded");
        assert!(server.content().is_some_and(|content| content == sealed.content));
    }
}

#[tokio::test]
async fn issue_35_an_upload_that_is_dropped_or_not_recorded_is_cancelled() {
    let (server, sealed) = (GcsSessions::start(&[]).await, sealed(6 * MIB));
    let store = store(&server).await;
    let refusing = UploadRecorder { refuse: true, ..UploadRecorder::default() };
    let error = store.upload(&key(), &sealed.upload(), &refusing).await.expect_err("refused");
    assert!(matches!(error, StoreError::NotNoted(_)), "{error}");
    assert_eq!((server.log(), server.open()), (vec!["begin".to_owned(), "cancel".to_owned()], 0));

    let hanging = UploadRecorder { hang: true, ..UploadRecorder::default() };
    let (key, upload) = (key(), sealed.upload());
    let sending = tokio::time::timeout(Duration::from_secs(2), store.upload(&key, &upload, &hanging));
    sending.await.expect_err("it hangs, and is dropped");
    until(Duration::from_secs(20), "the session is cancelled", || async {
        if server.open() == 0 { Ok(()) } else { Err(format!("{:?}", server.log())) }
    })
    .await;
    assert_eq!(server.content(), None);
}

#[tokio::test]
async fn sec_c1_issue_35_each_request_is_authorised_by_the_key_itself_and_a_kms_key_is_named() {
    let server = GcsSessions::start(&[]).await;
    let kms = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
    let store = open(&gcs("bkt", &json!({"storeEndpoint": server.endpoint, "kmsKeyName": kms})), IN_PARTS).await;
    let sealed = sealed(MIB);
    store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect("uploaded");
    let queries = server.queries();
    let named = format!("kmsKeyName={}", kms.replace('/', "%2F"));
    assert!(
        queries.len() == 1 && queries[0].contains(&named) && queries[0].contains("ifGenerationMatch=0"),
        "{queries:?}"
    );
    let authorizations = server.authorizations();
    assert!(authorizations.len() >= 3, "{authorizations:?}");
    assert!(authorizations.iter().all(|value| value.starts_with("Bearer ey") && value.split('.').count() == 3));
}

#[tokio::test]
async fn sec_u12_x28_issue_35_an_identity_without_a_key_sends_its_token_and_iam_signs_for_half_a_day() {
    let server = GcsSessions::start(&[]).await;
    let answer = json!({"access_token": "hunter2hunter2", "expires_in": 3599, "signedBlob": "c2lnbmVk"});
    let google = Answering::with(answer.to_string()).await;
    let mut resolved = gcs("bkt", &json!({"storeEndpoint": server.endpoint}));
    let Provider::Gcs(access) = &mut resolved.provider else { panic!("a store of Google") };
    let address = Endpoint::parse("test", &google.endpoint).expect("an endpoint");
    let mut identity = GcsIdentity {
        source: TokenSource::Machine(address.clone()),
        iam: address,
        signs_as: Some("velero@p.iam".to_owned()),
    };
    access.credential = GcsCredential::Identity(Box::new(identity.clone()));
    assert!(resolved.is_asked_for());
    let (store, sealed) = (open(&resolved, IN_PARTS).await, sealed(6 * MIB));
    store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect("uploaded");
    let authorizations = server.authorizations();
    assert!(authorizations.iter().all(|value| value == "Bearer hunter2hunter2"), "{authorizations:?}");
    assert_eq!(google.seen().len(), 1, "the token is kept");
    let known = store.known_values().await;
    assert_eq!(known.iter().map(|(_, value)| value.expose()).collect::<Vec<_>>(), ["hunter2hunter2"]);

    let now = Timestamp::now();
    let signed = store.sign(&key(), Duration::from_hours(48), now).await.expect("signed");
    assert_eq!((signed.expires.duration_since(now).as_secs(), signed.limit), (12 * 3600, Limit::Credential));
    let url = signed.url.expose();
    assert!(
        url.contains("&X-Goog-Credential=velero%40p.iam%2F") && url.ends_with("&X-Goog-Signature=7369676e6564"),
        "{url}"
    );
    assert!(google.seen()[1].is("POST", "/v1/projects/-/serviceAccounts/velero%40p.iam:signBlob"));

    identity.signs_as = None;
    let Provider::Gcs(access) = &mut resolved.provider else { panic!("a store of Google") };
    access.credential = GcsCredential::Identity(Box::new(identity));
    let error =
        open(&resolved, IN_PARTS).await.sign(&key(), Duration::from_hours(1), now).await.expect_err("nobody signs");
    assert_eq!(error.reason(), Reason::SigningUnsupported);
    assert!(error.to_string().contains("set the location's config key serviceAccount"), "{error}");
}

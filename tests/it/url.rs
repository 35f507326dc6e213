//! The download URL of a DebugBundle: when it is signed, that it works and expires, how it is renewed, where it must
//! not appear.

use std::time::Duration;

use debugbundle_crd::{DebugBundle, Phase, RENEW_URL_ANNOTATION};
use futures::StreamExt as _;
use harness::{Context, Operator, with_namespace};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::bundles::{
    LIMIT, change, condition, events, forge, get, is_stored, ready, status, until_ended, until_event, until_is,
    until_logged, until_nothing_is_stored, velero_objects,
};

/// GET of a URL with an independent client; returns the status and the body.
async fn download(url: &str) -> (u16, Vec<u8>) {
    let rest = url.strip_prefix("http://").expect("the stand's store speaks http");
    let (host, path) = rest.split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).await.expect("the store listens");
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it is answered");
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let code = std::str::from_utf8(&answer[9..12]).expect("a status").parse().expect("a number");
    (code, answer.split_off(head))
}

fn url(bundle: &DebugBundle) -> String {
    status(bundle).download_url.unwrap_or_else(|| panic!("no URL: {:?}", status(bundle)))
}

async fn with_policy(context: &Context, name: &str, policy: &str, ttl: &str) -> DebugBundle {
    let spec = json!({
        "target": {"kind": "Restore", "name": "r1"}, "downloadURL": {"policy": policy, "ttl": ttl},
    });
    context.debug_bundle(name, spec).await;
    let bundle = until_ended(context, name).await;
    assert_ne!(status(&bundle).phase, Some(Phase::Failed), "{:?}", status(&bundle));
    bundle
}

async fn ask(context: &Context, name: &str, value: &str) {
    change(context, name, json!({"metadata": {"annotations": {RENEW_URL_ANNOTATION: value}}})).await;
}

async fn until_answered(context: &Context, name: &str, value: &str) -> DebugBundle {
    until_is(context, name, "the annotation is answered", LIMIT, |bundle| {
        status(bundle).renewed_url.as_deref() == Some(value)
    })
    .await
}

#[tokio::test]
async fn sec_u1_u7_a_url_is_signed_at_the_end_and_downloads_the_bundle() {
    with_namespace("url-completion", |context| async move {
        let operator = ready(&context).await;
        let before = Timestamp::now();
        let bundle = with_policy(&context, "b", "OnCompletion", "30m").await;
        is_stored(&context, &bundle).await;
        let (code, body) = download(&url(&bundle)).await;
        assert_eq!((code, i64::try_from(body.len()).unwrap()), (200, status(&bundle).bundle.unwrap().bytes));
        assert!(body.starts_with(&[0x1f, 0x8b]));

        let until = status(&bundle).download_url_expiration.expect("its end").0;
        // Status has whole seconds, so the span begins at the second in which the test began.
        let life = SignedDuration::from_secs(until.as_second() - before.as_second());
        assert!(life >= SignedDuration::from_mins(30) && life < SignedDuration::from_mins(32), "{life:?}");
        assert!(url(&bundle).contains("X-Amz-Expires=1800"));
        let (ready, reason, message) = condition(&bundle, "DownloadReady");
        assert_eq!((ready.as_str(), reason.as_str()), ("True", "UrlIssued"));
        assert!(message.contains(&until.to_string()), "{message}");
        assert!(message.contains("; it is plain http: anyone on the network path can read"), "{message}");
        until_event(&context, "b", "UrlIssued").await;
        nobody_says_it(&context, &operator, &url(&bundle)).await;
    })
    .await;
}

#[tokio::test]
async fn sec_u1_the_operators_bound_cuts_what_is_asked_and_status_says_so() {
    with_namespace("url-bound", |context| async move {
        velero_objects(&context).await;
        let _operator = Operator::of(&context).args(["--max-url-ttl-minutes=10"]).ready().await;
        let bundle = with_policy(&context, "b", "OnCompletion", "30m").await;
        assert!(url(&bundle).contains("X-Amz-Expires=600&"), "the query is {}", url(&bundle).contains("1800"));
        let (_, _, message) = condition(&bundle, "DownloadReady");
        let why = "after the maximum that the operator allows (--max-url-ttl-minutes=10)";
        assert!(message.contains(why), "{message}");
        ask(&context, "b", "again").await;
        let bundle = until_answered(&context, "b", "again").await;
        assert!(url(&bundle).contains("X-Amz-Expires=600&") && condition(&bundle, "DownloadReady").2.contains(why));

        let bundle = with_policy(&context, "less", "OnCompletion", "5m").await;
        assert!(url(&bundle).contains("X-Amz-Expires=300&"));
        assert!(!condition(&bundle, "DownloadReady").2.contains("--max-url-ttl-minutes"));
    })
    .await;
}

/// Neither the log nor any Event contains the secret part of the URL or any other signature.
async fn nobody_says_it(context: &Context, operator: &harness::Operator, url: &str) {
    let signature = url.split("X-Amz-Signature=").nth(1).and_then(|rest| rest.split('&').next()).expect("a signature");
    assert!(signature.len() >= 32);
    // The line follows the status: it shows that the log is the right one.
    until_logged(operator, "Stored").await;
    let log = operator.log().iter().fold(String::new(), |log, line| log + &line.to_string());
    let told = format!("{log}{:?}", events(context, "b").await);
    for secret in [signature, "X-Amz-"] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}

#[tokio::test]
async fn sec_u1_u2_a_url_is_signed_on_request_only_when_asked() {
    with_namespace("url-request", |context| async move {
        let operator = ready(&context).await;
        let bundle = with_policy(&context, "b", "OnRequest", "1h").await;
        assert_eq!(status(&bundle).download_url, None);
        let (ready, reason, message) = condition(&bundle, "DownloadReady");
        assert_eq!((ready.as_str(), reason.as_str()), ("False", "OnRequest"));
        assert!(message.contains("annotate") && message.contains(RENEW_URL_ANNOTATION), "{message}");
        ask(&context, "b", "1").await;
        let answered = until_answered(&context, "b", "1").await;
        assert_eq!(download(&url(&answered)).await.0, 200);
        nobody_says_it(&context, &operator, &url(&answered)).await;
    })
    .await;
}

#[tokio::test]
async fn sec_u1_a_url_is_never_signed_where_that_is_the_policy_not_even_when_asked() {
    with_namespace("url-never", |context| async move {
        let _operator = ready(&context).await;
        let bundle = with_policy(&context, "b", "Never", "1h").await;
        assert_eq!(condition(&bundle, "DownloadReady").1, "Never");
        ask(&context, "b", "1").await;
        let answered = until_answered(&context, "b", "1").await;
        assert_eq!((status(&answered).download_url, status(&answered).download_url_expiration), (None, None));
        assert_eq!(condition(&answered, "DownloadReady").1, "Never");
    })
    .await;
}

#[tokio::test]
async fn sec_u4_a_url_dies_when_status_says_and_is_taken_out_then() {
    with_namespace("url-dies", |context| async move {
        let _operator = ready(&context).await;
        let bundle = with_policy(&context, "b", "OnCompletion", "1m").await;
        let (signed, until) = (url(&bundle), status(&bundle).download_url_expiration.unwrap().0);
        assert_eq!(download(&signed).await.0, 200);
        let cleared = until_is(&context, "b", "the URL is taken out", Duration::from_mins(2), |bundle| {
            status(bundle).download_url.is_none()
        })
        .await;
        let late = Timestamp::now().duration_since(until);
        // The time in status is a whole second.
        assert!(late > SignedDuration::from_secs(-1) && late < SignedDuration::from_mins(1), "{late:?}");
        assert_eq!(status(&cleared).download_url_expiration, None);
        assert_eq!(condition(&cleared, "DownloadReady").1, "UrlExpired");
        assert_eq!(status(&cleared).phase, status(&bundle).phase);
        harness::until(Duration::from_secs(20), "the URL is dead", || async {
            let (code, _) = download(&signed).await;
            if code == 403 || code == 400 { Ok(()) } else { Err(code) }
        })
        .await;
        ask(&context, "b", "again").await;
        assert_eq!(download(&url(&until_answered(&context, "b", "again").await)).await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn sec_u6_another_value_of_the_annotation_renews_the_url_and_the_same_does_not() {
    with_namespace("url-renew", |context| async move {
        let _operator = ready(&context).await;
        let first = with_policy(&context, "b", "OnCompletion", "1h").await;
        // A URL is signed to the second: waiting ensures that the next one differs.
        harness::until(LIMIT, "the next second", || async {
            let signed = status(&first).download_url_expiration.unwrap().0;
            (signed.duration_since(Timestamp::now()) < SignedDuration::from_secs(3598)).then_some(())
        })
        .await;
        ask(&context, "b", "1").await;
        let second = until_answered(&context, "b", "1").await;
        assert_ne!(url(&first), url(&second));
        assert!(status(&second).download_url_expiration > status(&first).download_url_expiration);
        assert_eq!(download(&url(&second)).await.0, 200);
        let until = status(&second).download_url_expiration.unwrap().0.to_string();
        assert!(condition(&second, "DownloadReady").2.contains(&until), "the condition tells the new end");
        ask(&context, "b", "1").await;
        change(&context, "b", json!({"metadata": {"labels": {"seen": "yes"}}})).await;
        let version = get(&context, "b").await.unwrap().metadata.resource_version;
        // Meanwhile, another bundle makes a whole run.
        with_policy(&context, "c", "OnCompletion", "1h").await;
        assert_eq!(get(&context, "b").await.unwrap().metadata.resource_version, version);
        ask(&context, "b", "2").await;
        let third = until_answered(&context, "b", "2").await;
        assert_eq!(download(&url(&third)).await.0, 200);
    })
    .await;
}

/// Each answer in status, in order, until `last` is answered.
async fn answers(context: &Context, name: &str, last: &str) -> Vec<(String, Option<String>)> {
    let mut seen = std::pin::pin!(watcher::watch_object(context.api::<DebugBundle>(), name).default_backoff());
    let mut answers = Vec::new();
    let all = async {
        while let Some(bundle) = seen.next().await {
            let Ok(Some(bundle)) = bundle else { continue };
            let status = status(&bundle);
            let Some(mark) = status.renewed_url else { continue };
            let ended = mark == last;
            let answer = (mark, status.download_url);
            if answers.last() != Some(&answer) {
                answers.push(answer);
            }
            if ended {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, all).await.unwrap_or_else(|_| panic!("{last} is not answered"));
    answers
}

#[tokio::test]
async fn sec_u6_many_requests_in_seconds_get_one_url_and_then_one_more_by_the_newest_value() {
    with_namespace("url-storm", |context| async move {
        let _operator = ready(&context).await;
        with_policy(&context, "b", "OnRequest", "1h").await;
        let began = std::time::Instant::now();
        ask(&context, "b", "0").await;
        until_answered(&context, "b", "0").await;
        let storm = async {
            for value in 1..=20 {
                ask(&context, "b", &value.to_string()).await;
            }
            began.elapsed()
        };
        let (took, answers) = tokio::join!(storm, answers(&context, "b", "20"));
        let most = 2 + usize::try_from(took.as_secs()).unwrap() / 9;
        assert!(answers.len() <= most, "{} answers to 20 requests in {took:?}", answers.len());
        assert!(began.elapsed() >= Duration::from_secs(9), "the newest waited: {:?}", began.elapsed());
        assert_eq!(download(answers.last().unwrap().1.as_deref().expect("a URL")).await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn sec_u6_a_value_that_is_too_long_is_ignored_with_one_warning_and_gets_into_no_status() {
    with_namespace("url-too-long", |context| async move {
        let _operator = ready(&context).await;
        let before = with_policy(&context, "b", "OnCompletion", "1h").await;
        let canary = "canary".repeat(4000);
        ask(&context, "b", &canary).await;
        let note = until_event(&context, "b", "InvalidAnnotation").await;
        let expected = "annotation debugbundle.io/renew-url is ignored: its value has 24000 characters, and at most \
                        64 are allowed";
        assert_eq!(note, expected);
        let ignored = get(&context, "b").await.unwrap();
        assert_eq!(url(&ignored), url(&before), "the URL is the one that was there");
        // A reconcile for another reason keeps the URL: another bundle makes a whole run meanwhile.
        change(&context, "b", json!({"metadata": {"labels": {"seen": "yes"}}})).await;
        with_policy(&context, "c", "Never", "1h").await;
        let told: Vec<_> = events(&context, "b").await.into_iter().filter(|(r, _)| r == "InvalidAnnotation").collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let all = context.api::<Event>().list(&ListParams::default()).await.unwrap();
        let repeated =
            all.items.iter().filter(|e| e.reason.as_deref() == Some("InvalidAnnotation") && e.series.is_some());
        assert_eq!(repeated.count(), 0, "it was told once");
        let now = get(&context, "b").await.unwrap();
        assert!(!serde_json::to_string(&now.status).unwrap().contains("canary"), "{:?}", status(&now).renewed_url);
        ask(&context, "b", "short").await;
        assert_ne!(url(&until_answered(&context, "b", "short").await), url(&before));
    })
    .await;
}

#[tokio::test]
async fn sec_u14_with_its_debug_bundle_a_leaked_url_dies() {
    with_namespace("url-leaked", |context| async move {
        let _operator = ready(&context).await;
        let bundle = with_policy(&context, "b", "OnCompletion", "1h").await;
        let leaked = url(&bundle);
        assert_eq!(download(&leaked).await.0, 200);
        crate::support::bundles::delete(&context, "b").await;
        crate::support::bundles::until_gone(&context, "b", LIMIT).await;
        until_nothing_is_stored(&context).await;
        assert_eq!(download(&leaked).await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn sec_u5_no_url_is_signed_for_an_object_that_is_gone_or_another_one() {
    with_namespace("url-missing", |context| async move {
        let _operator = ready(&context).await;
        let bundle = with_policy(&context, "b", "OnRequest", "1h").await;
        let key = status(&bundle).bundle.unwrap().key;
        context.bucket.put(&key, "another one").await;
        ask(&context, "b", "1").await;
        let answered = until_answered(&context, "b", "1").await;
        assert_eq!(condition(&answered, "DownloadReady").1, "ObjectMissing");
        context.bucket.delete(&key).await;
        ask(&context, "b", "2").await;
        let answered = until_answered(&context, "b", "2").await;
        assert_eq!(status(&answered).download_url, None);
        let (_, reason, message) = condition(&answered, "DownloadReady");
        assert_eq!(reason, "ObjectMissing");
        assert!(message.contains(&key), "{message}");
        until_event(&context, "b", "ObjectMissing").await;
    })
    .await;
}

#[tokio::test]
async fn sec_d6_u5_a_forged_status_gets_nobody_a_foreign_object() {
    with_namespace("url-forged", |context| async move {
        let _operator = ready(&context).await;
        let bundle = with_policy(&context, "b", "OnRequest", "1h").await;
        let own = status(&bundle).bundle.unwrap();
        let foreign = "team-a/backups/seed/velero-backup.json";
        context.bucket.put(foreign, "the crown jewels").await;
        forge(
            &context,
            "b",
            json!({"bundle": {"key": foreign}, "downloadURL": format!("http://evil.example/{foreign}")}),
        )
        .await;
        // The operator never issues a URL without an end.
        until_is(&context, "b", "the forged URL is gone", LIMIT, |bundle| status(bundle).download_url.is_none()).await;
        ask(&context, "b", "1").await;
        let answered = until_answered(&context, "b", "1").await;
        if let Some(signed) = status(&answered).download_url {
            assert!(signed.contains(&own.key) && !signed.contains("backups/seed"), "{signed}");
        }
        forge(&context, "b", json!({"bundle": {"key": foreign}, "upload": {"uploadId": "made-up"}})).await;
        crate::support::bundles::delete(&context, "b").await;
        crate::support::bundles::until_gone(&context, "b", LIMIT).await;
        until_nothing_is_stored(&context).await;
        assert!(context.bucket.get(foreign).await.is_some(), "the foreign object is there");
    })
    .await;
}

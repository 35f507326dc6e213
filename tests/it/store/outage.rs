//! A store that cannot be used, in each way that happens: the bundle is collected at once and kept, status names the
//! failed step, and after a repair the bundle is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_crd::{DebugBundle, Phase};
use harness::silent_server::SilentServer;
use harness::{
    Context, LogScript, Operator,
    s3_proxy::{Certificate, S3Fault, S3Proxy},
    until, with_namespace,
};
use jiff::{SignedDuration, Timestamp};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::bundles::{
    about_r1, condition, events, forge, get, server_pod, slow_log, spool_is_empty, status, velero_objects,
};
use crate::support::store::{cloud, ended, waiting, write_secret};

/// A location of this name, with this change to a good one.
async fn location(context: &Context, name: &str, change: impl FnOnce(&mut Value)) {
    context.create_velero(context.location(name, name).changed(change)).await;
}

async fn mend(context: &Context, name: &str, spec: Value) {
    context.patch_velero("BackupStorageLocation", name, json!({"spec": spec})).await;
}

/// What is wrong with each location, and the report about it: its name, the reason, the beginning of the message, a
/// part of it, the failed step.
const WRONG: [(&str, &str, &str, &str, &str); 10] = [
    ("dns", "StoreUnreachable", "DNS: ", "DNS resolution failed: no-such-host.invalid", "dns"),
    ("port", "StoreUnreachable", "connection: ", "connection refused: 127.0.0.1:1", "connection"),
    ("untrusted", "StoreUnreachable", "TLS: ", "unknown authority; set caCert", "tls"),
    ("expired", "StoreUnreachable", "TLS: ", "certificate has expired", "tls"),
    ("key", "CredentialInvalid", "credential: ", "SignatureDoesNotMatch; the secret key does not", "identity"),
    ("key-id", "CredentialInvalid", "credential: ", "InvalidAccessKeyId; the store does not know", "identity"),
    ("secret", "CredentialInvalid", "credential: ", "Secret \"not-yet\" not found", "credential"),
    ("clock", "CredentialInvalid", "clock: ", "the store's clock is 20 min ahead of the operator's", "clock"),
    ("bucket", "LocationInvalid", "bucket: ", "does not exist: HTTP 404 NoSuchBucket", "bucket"),
    ("denied", "UploadDenied", "permission: ", "the store refused s3:PutObject on ", "permission"),
];

#[tokio::test]
async fn what_is_wrong_with_a_store_is_named_by_its_step_and_waited_for() {
    with_namespace("mended", |context| async move {
        let s3 = &context.stand.s3;
        let root = s3.root();
        let good = s3.endpoint();
        let reader = s3.create_user(&format!("{}-reader", context.namespace)).await;
        context.bucket.allow(&reader, &["s3:GetObject"]).await;
        let (ours, late) = (Certificate::of(&["127.0.0.1"]), Certificate::expired(&["127.0.0.1"]));
        let (untrusted, expired) = (S3Proxy::with_tls(&good, &ours).await, S3Proxy::with_tls(&good, &late).await);
        let (clock, right) = (S3Proxy::before(&good).await, Arc::new(AtomicBool::new(false)));
        let mended = right.clone();
        clock.next(usize::MAX / 2, move |_| !mended.load(Ordering::SeqCst), S3Fault::ClockSkew(1200));
        let canary = format!("{}-canary-of-a-wrong-key", context.namespace);
        for (name, text) in [
            ("wrong-key", cloud(&root.access, &canary)),
            ("wrong-id", cloud("AKIANOBODYKNOWS1", &root.secret)),
            ("reader", cloud(&reader.access, &reader.secret)),
        ] {
            write_secret(&context, name, &text).await;
        }
        let elsewhere = format!("{}-later", context.namespace);
        let at = |url: String| move |spec: &mut Value| spec["config"]["s3Url"] = url.into();
        let with = |secret: &'static str| move |spec: &mut Value| spec["credential"]["name"] = secret.into();
        location(&context, "dns", at("http://no-such-host.invalid:9000".to_owned())).await;
        location(&context, "port", at("http://127.0.0.1:1".to_owned())).await;
        location(&context, "untrusted", at(untrusted.endpoint())).await;
        let authority = STANDARD.encode(&late.authority);
        location(&context, "expired", |spec| {
            spec["config"]["s3Url"] = expired.endpoint().into();
            spec["objectStorage"]["caCert"] = authority.clone().into();
        })
        .await;
        location(&context, "key", with("wrong-key")).await;
        location(&context, "key-id", with("wrong-id")).await;
        location(&context, "secret", with("not-yet")).await;
        location(&context, "clock", at(clock.endpoint())).await;
        location(&context, "bucket", |spec| spec["objectStorage"]["bucket"] = elsewhere.clone().into()).await;
        location(&context, "denied", with("reader")).await;

        context.allow_secrets(&["wrong-key", "wrong-id", "reader", "not-yet"]).await;
        let operator = Operator::of(&context).args(["--max-concurrent", "2"]).ready().await;
        for (name, ..) in WRONG {
            context.debug_bundle(name, json!({"storageLocation": name})).await;
        }
        // Two are collected at once, and all of them wait without blocking the collection of others.
        for (name, reason, start, part, _) in WRONG {
            let waits = waiting(&context, name).await;
            assert_eq!(waits.status().phase, Some(Phase::Uploading), "{name}");
            let (told, message) = waits.condition("Uploaded");
            assert_eq!(told, reason, "{name}: {message}");
            assert!(message.starts_with(start) && message.contains(part), "{name}: {message}");
            assert!(
                message.contains("; the operator keeps the sealed bundle and retries the upload until "),
                "{name}: {message}"
            );
            assert!(!message.contains("said by the test") && !message.contains(&canary), "{name}: {message}");
            until(Duration::from_secs(30), "an Event tells it, too", || async {
                let events = events(&context, name).await;
                let told = events.iter().any(|(r, note)| r == reason && note.starts_with(start));
                if told { Ok(()) } else { Err(format!("{name}: {events:?}")) }
            })
            .await;
        }

        let bucket = s3.create_bucket(&elsewhere).await;
        let url = |url: &str| json!({"config": {"s3Url": url}});
        for (name, spec) in [
            ("dns", url(&good)),
            ("port", url(&good)),
            ("untrusted", json!({"objectStorage": {"caCert": STANDARD.encode(&ours.authority)}})),
            ("expired", url(&good)),
        ] {
            mend(&context, name, spec).await;
        }
        for name in ["wrong-key", "wrong-id", "not-yet", "reader"] {
            write_secret(&context, name, &cloud(&root.access, &root.secret)).await;
        }
        right.store(true, Ordering::SeqCst);
        for (name, _, _, _, step) in WRONG {
            let end = ended(&context, name).await;
            assert!(end.stored(), "{name}: {end:?}");
            assert_eq!(end.status().attempts, Some(1), "{name}: it was collected once");
            let key = &end.status().bundle.as_ref().expect("where it is").key;
            let place = if name == "bucket" { &bucket } else { &context.bucket };
            let archive = place.get(key).await.unwrap_or_else(|| panic!("{name}: nothing at {key}"));
            let unpacked = harness::bundle::Unpacked::of(archive, end.status());
            let report = unpacked.yaml(&format!("velero/locations/{name}.json"));
            assert_eq!(report["failedAt"], step, "{name}: {report:#}");
            let verdict = report["steps"].as_array().expect("steps").iter().find(|v| v["step"] == step).expect("it");
            assert_eq!(verdict["state"], "failed", "{name}: {verdict}");
            assert_eq!(unpacked.find(&[&canary, &root.secret]), [""; 0], "{name}");
        }
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_location_whose_own_words_are_wrong_ends_a_bundle_before_it_is_collected_and_says_what_to_do() {
    with_namespace("hopeless", |context| async move {
        velero_objects(&context).await;
        let node = server_pod(&context, LogScript::lines(["all is well"])).await;
        let set = |key: &'static str, value: &'static str| move |spec: &mut Value| spec["config"][key] = value.into();
        location(&context, "misspelt", set("s3url", "x")).await;
        location(&context, "metadata", set("s3Url", "http://169.254.169.254")).await;
        location(&context, "checksum", set("checksumAlgorithm", "MD5")).await;
        location(&context, "bucket", |spec| spec["objectStorage"]["bucket"] = "my backups".into()).await;
        location(&context, "prefix", |spec| spec["objectStorage"]["prefix"] = "a/../b".into()).await;
        location(&context, "ca", |spec| spec["objectStorage"]["caCert"] = STANDARD.encode("nothing").into()).await;
        location(&context, "foreign", |spec| spec["provider"] = "velero.io/foo".into()).await;
        let operator = Operator::of(&context).ready().await;
        let wrong = [
            ("misspelt", "config key \"s3url\" is unknown (did you mean s3Url?)"),
            ("metadata", "address 169.254.169.254 is not allowed for endpoints"),
            ("checksum", "config key checksumAlgorithm is \"MD5\"; allowed: "),
            ("bucket", "bucket \"my backups\" is not a valid name: "),
            ("prefix", "the location's prefix must be a path without "),
            ("ca", "caCert: no CERTIFICATE block found"),
            ("foreign", "provider \"foo\" is not supported; supported: aws"),
        ];
        let available = json!({"status": {"phase": "Available"}});
        context.patch_velero("BackupStorageLocation", "default", available).await;
        for (name, _) in wrong {
            let mut spec = about_r1();
            spec["storageLocation"] = name.into();
            context.debug_bundle(name, spec).await;
        }
        for (name, part) in wrong {
            let end = ended(&context, name).await;
            let (reason, message) = end.failure();
            assert_eq!(reason, "LocationInvalid", "{name}: {message}");
            assert!(message.starts_with(&format!("configuration: BackupStorageLocation \"{name}\": ")), "{message}");
            assert!(message.contains(part), "{name}: {message}");
            let cure = "; nothing was collected: correct the location, or name another one in spec.storageLocation \
                        (default), and create another DebugBundle; kubectl debugbundle collect needs no location";
            assert!(message.ends_with(cure), "{name}: {message}");
            assert_eq!(end.status().upload, None, "{name}");
        }
        assert_eq!(context.stand.kubelet.seen(&node).len(), 0, "no log was read");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_sealed_bundle_waits_for_a_location_that_was_misspelt_since() {
    with_namespace("misspelt-since", |context| async move {
        let proxy = default_store_is_down(&context).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", json!({})).await;
        waiting(&context, "b").await;
        mend(&context, "default", json!({"config": {"s3url": "x"}})).await;
        until(Duration::from_mins(2), "status says what is wrong now", || async {
            let seen = waiting(&context, "b").await;
            let (reason, message) = seen.condition("Uploaded");
            let told = reason == "LocationInvalid" && message.contains("\"s3url\" is unknown (did you mean s3Url?)");
            if told { Ok(()) } else { Err(format!("{reason}: {message}")) }
        })
        .await;
        proxy.down(false);
        mend(&context, "default", json!({"config": {"s3url": null}})).await;
        let end = ended(&context, "b").await;
        assert!(end.stored(), "{end:?}");
        spool_is_empty(&operator).await;
    })
    .await;
}

/// Bundles that wait for one location, and the number of its tries to observe.
const MANY: usize = 27;
const TRIES: usize = 2;

#[tokio::test]
async fn many_bundles_that_wait_for_one_location_cost_no_more_requests_than_one() {
    with_namespace("many-share", |context| async move {
        let proxy = default_store_is_down(&context).await;
        let account = context.shipped_account().await;
        let operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let names: Vec<String> = (0..MANY).map(|n| format!("b-{n}")).collect();
        for name in &names {
            context.debug_bundle(name, json!({})).await;
        }
        for name in &names {
            // Progress is the last write of a failed try, some seconds after the condition.
            until(Duration::from_mins(2), &format!("{name} reports that it waits"), || async {
                let progress = waiting(&context, name).await.status().progress.clone().unwrap_or_default();
                let reported = progress.message.contains("the operator retries within");
                if reported { Ok(()) } else { Err(progress.message) }
            })
            .await;
        }
        // A bundle writes its Events after its progress.
        let all = || context.stand.calls_of(&account.user);
        until(Duration::from_mins(1), "the last Events are written", || async {
            let before = all();
            tokio::time::sleep(Duration::from_secs(2)).await;
            let after = all();
            if before == after { Ok(()) } else { Err(format!("{} requests in two seconds", after - before)) }
        })
        .await;
        // A try begins by listing the locations.
        let tries = || {
            let requests = context.stand.requests_of(&account.user);
            requests.iter().filter(|(verb, _, what)| verb == "list" && what == "backupstoragelocations").count()
        };
        let why = async || get(&context, "b-0").await.and_then(|bundle| status(&bundle).upload?.last_error);
        let (before, calls, asked, first) = (tries(), all(), proxy.seen().len(), why().await);
        let (since, began) = (Timestamp::now(), std::time::Instant::now());
        until(Duration::from_mins(5), "some more tries", || async {
            let more = tries() - before;
            if more >= TRIES { Ok(()) } else { Err(format!("{more}")) }
        })
        .await;
        let took = began.elapsed().as_secs_f64();
        let (calls, asked) = (all() - calls, proxy.seen().len() - asked);
        println!("{MANY} that wait: {TRIES} tries in {took:.0} s with {calls} requests to the API server, {asked} to the store");
        // A try takes three requests, and each minute adds a few for restarted watches. All report another failure.
        let last = why().await;
        let reports = if first == last { 0 } else { 2 * MANY };
        let which = || context.stand.requests_since(&account.user, since);
        assert!(calls <= 20 * TRIES + reports, "{first:?}, then {last:?}: {calls} requests in {took:.0} s: {:?}", which());
        // Alone, each of them would try within the longest of the first pauses.
        assert!(took >= 2.0, "{TRIES} tries in {took:.1} s: the pauses have grown");
        proxy.down(false);
        // The next try may be two minutes away: sending a new bundle wakes all.
        context.debug_bundle("new", json!({})).await;
        for name in &names {
            let end = ended(&context, name).await;
            assert!(end.stored(), "{name}: {end:?}");
        }
        spool_is_empty(&operator).await;
    })
    .await;
}

/// A proxy before the default location's store that lets nothing through.
async fn default_store_is_down(context: &Context) -> S3Proxy {
    let proxy = S3Proxy::before(&context.stand.s3.endpoint()).await;
    proxy.down(true);
    mend(context, "default", json!({"config": {"s3Url": proxy.endpoint()}})).await;
    proxy
}

/// The same before a location of its own: the target's files are in the default one, which works.
async fn another_store_is_down(context: &Context) -> S3Proxy {
    let proxy = S3Proxy::before(&context.stand.s3.endpoint()).await;
    proxy.down(true);
    location(context, "other", |spec| spec["config"]["s3Url"] = proxy.endpoint().into()).await;
    proxy
}

fn to_the_other(mut spec: Value) -> Value {
    spec["storageLocation"] = "other".into();
    spec
}

#[tokio::test]
async fn a_restart_sends_what_was_sealed_and_gives_it_no_more_time() {
    with_namespace("waiting", |context| async move {
        velero_objects(&context).await;
        let node = server_pod(&context, LogScript::lines(["all is well"])).await;
        let proxy = another_store_is_down(&context).await;
        let mut operator = Operator::of(&context).args(["--upload-timeout-minutes", "7"]).ready().await;
        context.debug_bundle("b", to_the_other(about_r1())).await;
        let before = waiting(&context, "b").await;
        let announced =
            |end: &crate::support::store::End| end.status().upload.as_ref().and_then(|upload| upload.started.clone());
        operator.restart().await;
        let after = until(Duration::from_mins(1), "the next process tries it, too", || async {
            let seen = waiting(&context, "b").await;
            if seen.status().attempts == Some(2) { Ok(seen) } else { Err(format!("{:?}", seen.status().attempts)) }
        })
        .await;
        assert!(announced(&before).is_some());
        assert_eq!(announced(&after), announced(&before));
        let end_of =
            |end: &crate::support::store::End| end.message_of("Uploaded").rsplit(' ').next().map(str::to_owned);
        until(Duration::from_mins(1), "it says until when", || async {
            let seen = waiting(&context, "b").await;
            if end_of(&seen) == end_of(&before) { Ok(()) } else { Err(seen.message_of("Uploaded").to_owned()) }
        })
        .await;
        proxy.down(false);
        let end = ended(&context, "b").await;
        assert!(end.stored(), "{end:?}");
        let reads = context.stand.kubelet.seen(&node).iter().filter(|seen| seen.container == "velero").count();
        assert_eq!(reads, 1, "it was collected once");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn four_stores_that_hang_do_not_keep_a_fifth_from_its_bundle() {
    with_namespace("hang", |context| async move {
        let (hole, answers) = (S3Proxy::before(&context.stand.s3.endpoint()).await, Arc::new(Semaphore::new(0)));
        hole.next(usize::MAX / 2, |_| true, S3Fault::Hold(answers.clone()));
        let hanging = ["h1", "h2", "h3", "h4", "h5"];
        for name in hanging {
            location(&context, name, |spec| spec["config"]["s3Url"] = hole.endpoint().into()).await;
        }
        let operator = Operator::of(&context).args(["--max-concurrent", "5"]).ready().await;
        for name in hanging {
            context.debug_bundle(name, json!({"storageLocation": name})).await;
        }
        for name in hanging {
            until(Duration::from_mins(2), &format!("{name} is being sent"), || async {
                let phase = status(&get(&context, name).await.ok_or("it is gone")?).phase;
                if phase == Some(Phase::Uploading) { Ok(()) } else { Err(format!("{phase:?}")) }
            })
            .await;
        }
        // Each of them tries in vain, and waits for a minute each time.
        context.debug_bundle("good", json!({})).await;
        let end = ended(&context, "good").await;
        assert!(end.stored(), "{end:?}");
        for name in hanging {
            let still = status(&get(&context, name).await.expect("it is there"));
            assert_eq!(still.phase, Some(Phase::Uploading), "{name}: {still:?}");
        }
        answers.add_permits(100_000);
        for name in hanging {
            let end = ended(&context, name).await;
            assert!(end.stored(), "{name}: {end:?}");
        }
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_store_that_takes_connections_and_says_nothing_is_waited_for_until_the_deadline_and_named() {
    with_namespace("silent", |context| async move {
        let silent = SilentServer::start().await;
        location(&context, "silent", |spec| spec["config"]["s3Url"] = silent.url().into()).await;
        let args = ["--max-concurrent", "1", "--upload-timeout-minutes", "2"];
        let operator = Operator::of(&context).args(args).ready().await;
        let began = std::time::Instant::now();
        context.debug_bundle("b", json!({"storageLocation": "silent"})).await;
        context.debug_bundle("good", json!({})).await;
        let end = ended(&context, "good").await;
        assert!(end.stored(), "{end:?}");

        let waits = waiting(&context, "b").await;
        assert_eq!(waits.status().phase, Some(Phase::Uploading));
        let (reason, message) = waits.condition("Uploaded");
        assert_eq!(reason, "StoreUnreachable", "{message}");
        assert!(message.starts_with("answer: ") && message.contains("no answer within 60 s"), "{message}");
        assert!(message.contains("; the operator keeps the sealed bundle and retries the upload until "), "{message}");
        let end = ended(&context, "b").await;
        let (reason, message) = end.failure();
        assert_eq!(reason, "StoreUnreachable");
        assert!(message.starts_with("the bundle could not be uploaded in time: answer: "), "{message}");
        assert!(message.contains("no answer within 60 s"), "{message}");
        assert!(began.elapsed() >= Duration::from_mins(2), "not before its time is over");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn issue_32_a_run_that_reads_from_a_silent_store_gives_up_its_place_within_seconds() {
    with_namespace("silent-source", |context| async move {
        velero_objects(&context).await;
        let silent = SilentServer::start().await;
        mend(&context, "default", json!({"config": {"s3Url": silent.url()}})).await;
        location(&context, "good", |_| ()).await;
        let operator = Operator::of(&context).args(["--max-concurrent", "1"]).ready().await;
        context.debug_bundle("b", about_r1()).await;
        until(Duration::from_mins(1), "it is collected", || async {
            let phase = status(&get(&context, "b").await.ok_or("it is gone")?).phase;
            if phase == Some(Phase::Collecting) { Ok(()) } else { Err(format!("{phase:?}")) }
        })
        .await;
        let began = std::time::Instant::now();
        context.debug_bundle("next", json!({"storageLocation": "good"})).await;
        let end = ended(&context, "next").await;
        assert!(end.stored(), "{end:?}");
        // Ten seconds of each are the probes of the silent location. Before, it was a minute more.
        assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
        println!("the next bundle was stored after {:?}", began.elapsed());
        let waits = status(&get(&context, "b").await.expect("it is there"));
        assert_eq!(waits.phase, Some(Phase::Collecting), "{waits:?}");
        let why = waits.upload.and_then(|upload| upload.last_error).unwrap_or_default();
        assert!(why.contains("no answer within") || why.contains("did not answer within 5 s"), "{why}");
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn one_that_waits_does_not_keep_the_next_from_being_collected_though_one_is_at_a_time() {
    with_namespace("one-at-a-time", |context| async move {
        let proxy = S3Proxy::before(&context.stand.s3.endpoint()).await;
        proxy.down(true);
        mend(&context, "default", json!({"config": {"s3Url": proxy.endpoint()}})).await;
        location(&context, "good", |_| ()).await;
        let operator = Operator::of(&context).args(["--max-concurrent", "1", "--spool-limit-mib", "64"]).ready().await;
        for name in ["waits-1", "waits-2"] {
            context.debug_bundle(name, json!({})).await;
            waiting(&context, name).await;
        }
        context.debug_bundle("next", json!({"storageLocation": "good"})).await;
        let end = ended(&context, "next").await;
        assert!(end.stored(), "{end:?}");
        for name in ["waits-1", "waits-2"] {
            let still = status(&get(&context, name).await.expect("it is there"));
            assert_eq!(still.phase, Some(Phase::Uploading), "{name}: {still:?}");
        }
        proxy.down(false);
        for name in ["waits-1", "waits-2"] {
            let end = ended(&context, name).await;
            assert!(end.stored(), "{name}: {end:?}");
        }
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_sealed_is_sent_after_a_restart_while_others_are_collected() {
    with_namespace("many-waiting", |context| async move {
        velero_objects(&context).await;
        let node = server_pod(&context, LogScript::lines(["all is well"])).await;
        let proxy = another_store_is_down(&context).await;
        location(&context, "good", |_| ()).await;
        let mut operator =
            Operator::of(&context).args(["--max-concurrent", "2", "--spool-limit-mib", "64"]).ready().await;
        let sealed = ["s1", "s2", "s3"];
        for name in sealed {
            context.debug_bundle(name, to_the_other(about_r1())).await;
        }
        for name in sealed {
            waiting(&context, name).await;
        }
        context.log("velero-1", "velero", slow_log(600_000, 10_000));
        let mut spec = about_r1();
        spec["storageLocation"] = "good".into();
        context.debug_bundle("new", spec).await;
        operator.restart().await;
        proxy.down(false);
        for name in sealed {
            let end = ended(&context, name).await;
            assert!(end.stored(), "{name}: {end:?}");
            assert_eq!(end.status().attempts, Some(2), "{name}: sent by the second process");
        }
        let new = status(&get(&context, "new").await.expect("it is there"));
        // A new bundle may take half of the spool, and the sealed bundles use part of the other half.
        assert_eq!(new.phase, Some(Phase::Collecting), "{new:?}");
        let end = ended(&context, "new").await;
        assert!(end.stored(), "{end:?}");
        let reads = context.stand.kubelet.seen(&node).iter().filter(|seen| seen.container == "velero").count();
        assert!(reads <= sealed.len() + 2, "what was sealed was not collected again: {reads}");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_bundle_whose_time_passed_while_nobody_looked_is_tried_once_and_given_up() {
    with_namespace("too-late", |context| async move {
        let _proxy = default_store_is_down(&context).await;
        let mut operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", json!({})).await;
        waiting(&context, "b").await;
        operator.kill9();
        let long_ago = Timestamp::now() - SignedDuration::from_mins(61);
        let long_ago = long_ago.round(jiff::Unit::Second).expect("a second");
        forge(&context, "b", json!({"upload": {"started": long_ago.to_string()}})).await;
        operator.restart().await;
        let end = ended(&context, "b").await;
        let (reason, message) = end.failure();
        assert_eq!(reason, "StoreUnreachable");
        assert!(message.starts_with("the bundle could not be uploaded in time: answer: "), "{message}");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_read_only_location_of_the_target_is_refused_unless_another_one_is_named() {
    with_namespace("read-only", |context| async move {
        velero_objects(&context).await;
        let log = "time=\"2026-01-01T00:00:00Z\" level=info msg=\"only in the target's own location\"\n";
        context.bucket.put_gzipped("team-a/restores/r1/restore-r1-logs.gz", log).await;
        mend(&context, "default", json!({"accessMode": "ReadOnly"})).await;
        location(&context, "copies", |_| ()).await;
        let available = json!({"status": {"phase": "Available"}});
        context.patch_velero("BackupStorageLocation", "copies", available).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("refused", about_r1()).await;
        let end = ended(&context, "refused").await;
        let expected = "BackupStorageLocation \"default\" is ReadOnly; set spec.storageLocation to one of: copies";
        assert_eq!(end.failure(), ("LocationReadOnly", expected));
        assert_eq!(context.bucket.keys("team-a/plugins").await, [""; 0]);

        let mut spec = about_r1();
        spec["storageLocation"] = "copies".into();
        context.debug_bundle("sent", spec).await;
        let end = ended(&context, "sent").await;
        assert!(end.stored(), "{end:?}");
        let bundle = end.status().bundle.clone().expect("where it is");
        assert_eq!(bundle.storage_location, "copies");
        let folder = format!("copies/plugins/debugbundle/{}/restore-r1/", context.installation().await);
        assert!(bundle.key.starts_with(&folder), "{}", bundle.key);
        let unpacked = context.download(end.status()).await;
        let log = unpacked.file("velero/restores/r1/restore.log");
        assert!(log.contains("only in the target's own location"), "{log}");
        let uses = |name: &str| unpacked.yaml(&format!("velero/locations/{name}.json"))["usedFor"].clone();
        assert_eq!((uses("copies"), uses("default")), (json!(["upload"]), json!(["target"])));
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn a_refused_credential_is_tried_again_as_soon_as_its_secret_changes() {
    with_namespace("rotated", |context| async move {
        const TRIES: usize = 7;
        let root = context.stand.s3.root();
        write_secret(&context, "rotated", &cloud(&root.access, "the-key-of-yesterday")).await;
        location(&context, "rotated", |spec| spec["credential"]["name"] = "rotated".into()).await;
        context.allow_secrets(&["rotated"]).await;
        let account = context.shipped_account().await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", json!({"storageLocation": "rotated"})).await;
        let waits = waiting(&context, "b").await;
        assert_eq!(waits.condition("Uploaded").0, "CredentialInvalid", "{waits:?}");
        // A try begins by listing the locations.
        until(Duration::from_mins(3), "the pauses have grown to half a minute at least", || async {
            let requests = context.stand.requests_of(&account.user);
            let tries = requests.iter().filter(|(verb, _, what)| verb == "list" && what == "backupstoragelocations");
            let tries = tries.count();
            if tries > TRIES { Ok(()) } else { Err(format!("{tries}")) }
        })
        .await;
        let changed = std::time::Instant::now();
        write_secret(&context, "rotated", &cloud(&root.access, &root.secret)).await;
        let end = ended(&context, "b").await;
        assert!(end.stored(), "{end:?}");
        let took = changed.elapsed();
        println!("stored {} ms after its Secret had changed", took.as_millis());
        assert!(took < Duration::from_secs(25), "{took:?}");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_deletion_ends_the_waiting() {
    with_namespace("given-up", |context| async move {
        location(&context, "gone", |spec| spec["credential"]["name"] = "nobody".into()).await;
        context.allow_secrets(&["nobody"]).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", json!({"storageLocation": "gone"})).await;
        let waits = waiting(&context, "b").await;
        assert_eq!(condition(&waits.bundle, "Ready").1, "Uploading");
        until(Duration::from_secs(30), "progress tells it", || async {
            let seen = get(&context, "b").await.ok_or("it is gone")?;
            let message = status(&seen).progress.unwrap_or_default().message;
            if message.starts_with("the upload failed (credential: ") { Ok(()) } else { Err(message) }
        })
        .await;
        context.api::<DebugBundle>().delete("b", &DeleteParams::default()).await.expect("deleted");
        until(Duration::from_mins(1), "it is gone", || async {
            if get(&context, "b").await.is_none() { Ok(()) } else { Err("still there".to_owned()) }
        })
        .await;
        spool_is_empty(&operator).await;
    })
    .await;
}

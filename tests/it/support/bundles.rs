//! Helpers for tests of whole runs: faked Velero objects, DebugBundles by phase, and a look into the store.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use debugbundle_crd::{DebugBundle, DebugBundleStatus, Phase};
use harness::bundle::spec_about;
use harness::s3_proxy::S3Proxy;
use harness::velero_objects::{backup, restore};
use harness::{Context, LogScript, Operator, Proxy, pod, until};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Generous: the machine may be busy with other tests.
pub const LIMIT: Duration = Duration::from_mins(1);

/// Flags that make the operator upload in parts.
pub const PARTS: [&str; 2] = ["--multipart-mib", "5"];

/// A Backup `seed` and a Restore `r1` of it that failed in part.
pub async fn velero_objects(context: &Context) {
    let now = Timestamp::now();
    context.create_velero(backup("seed").completed().started(now).ended(now)).await;
    context.create_velero(restore("r1").partially_failed().started(now).ended(now).status("errors", 1)).await;
}

/// The spec of a DebugBundle about that Restore.
pub fn about_r1() -> Value {
    spec_about("Restore", "r1")
}

/// A Velero server's pod with this log; returns its node's name.
pub async fn server_pod(context: &Context, log: LogScript) -> String {
    let node = context.node("n").await;
    context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
    context.log("velero-1", "velero", log);
    node
}

/// A log that keeps a run in Collecting for minutes.
pub fn endless_log() -> LogScript {
    slow_log(2_000_000, 2_000)
}

/// A log of this size and speed, all within the window that a run reads.
pub fn slow_log(bytes: u64, bytes_per_second: u64) -> LogScript {
    let now = Timestamp::now();
    let recently = now.checked_sub(jiff::SignedDuration::from_mins(5)).expect("minutes before now exist");
    LogScript::generated(bytes, 7).between(recently, now).slowly(bytes_per_second)
}

/// A log that exceeds `--multipart-mib 5` even when compressed.
pub fn large_log() -> LogScript {
    // All lines lie within the window that a run reads.
    let now = Timestamp::now();
    LogScript::timed_lines(noise(70_000).map(move |line| (now, line)))
}

/// Lines of 192 random letters and spaces.
pub fn noise(lines: usize) -> impl Iterator<Item = String> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut letter = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).expect("below 26"))
    };
    let mut line = move || {
        let mut line = String::with_capacity(192);
        for _ in 0..24 {
            line.extend((0..7).map(|_| letter()));
            line.push(' ');
        }
        line
    };
    (0..lines).map(move |_| line())
}

/// A proxy that disturbs connections, before the store of the location `default`.
pub async fn proxy_before_store(context: &Context) -> Proxy {
    let proxy = Proxy::before(&context.stand.s3.endpoint());
    through(context, &proxy.endpoint()).await;
    proxy
}

/// A proxy that disturbs requests, before the store of the location `default`.
pub async fn s3_proxy_before_store(context: &Context) -> S3Proxy {
    let proxy = S3Proxy::before(&context.stand.s3.endpoint()).await;
    through(context, &proxy.endpoint()).await;
    proxy
}

async fn through(context: &Context, endpoint: &str) {
    let config = json!({"spec": {"config": {"s3Url": endpoint}}});
    context.patch_velero("BackupStorageLocation", "default", config).await;
}

/// A DebugBundle as it is now.
pub async fn get(context: &Context, name: &str) -> Option<DebugBundle> {
    context.api::<DebugBundle>().get_opt(name).await.unwrap_or_else(|error| panic!("get {name}: {error}"))
}

/// Its status, or an empty one.
pub fn status(bundle: &DebugBundle) -> DebugBundleStatus {
    bundle.status.clone().unwrap_or_default()
}

/// Its phase.
pub fn phase(bundle: &DebugBundle) -> Phase {
    status(bundle).phase.unwrap_or(Phase::New)
}

/// Waits until the DebugBundle satisfies the condition.
pub async fn until_is(
    context: &Context,
    name: &str,
    what: &str,
    limit: Duration,
    such: impl Fn(&DebugBundle) -> bool,
) -> DebugBundle {
    until(limit, &format!("{name}: {what}"), || async {
        let bundle = get(context, name).await.ok_or("it is gone")?;
        if such(&bundle) { Ok(bundle) } else { Err(format!("{:?}", status(&bundle))) }
    })
    .await
}

/// Waits for a phase.
pub async fn until_phase(context: &Context, name: &str, wanted: Phase) -> DebugBundle {
    until_is(context, name, wanted.as_str(), LIMIT, |bundle| phase(bundle) == wanted).await
}

/// Waits until a log of this node is being read.
pub async fn until_read(context: &Context, node: &str) {
    until(LIMIT, "the log is being read", || async { (context.stand.kubelet.open_now(node) > 0).then_some(()) }).await;
}

/// Waits until no log of this node is being read.
pub async fn until_unread(context: &Context, node: &str) {
    until(LIMIT, "nobody reads the log any more", || async {
        (context.stand.kubelet.open_now(node) == 0).then_some(())
    })
    .await;
}

/// Waits until status contains the id of an upload.
pub async fn until_upload_on_record(context: &Context, name: &str) {
    let on_record = |bundle: &_| status(bundle).upload.is_some_and(|upload| upload.upload_id.is_some());
    until_is(context, name, "an upload is on record", LIMIT, on_record).await;
}

/// Waits until the operator logs exactly this message.
pub async fn until_logged(operator: &Operator, message: &str) {
    until(LIMIT, &format!("the log contains: {message}"), || async {
        operator.log().iter().any(|line| line["message"] == message).then_some(())
    })
    .await;
}

/// Waits until it has ended, in any phase.
pub async fn until_ended(context: &Context, name: &str) -> DebugBundle {
    until_is(context, name, "ended", LIMIT, |bundle| phase(bundle).is_terminal()).await
}

/// Waits until it is gone.
pub async fn until_gone(context: &Context, name: &str, limit: Duration) {
    until(limit, &format!("{name} is gone"), || async {
        match get(context, name).await {
            None => Ok(()),
            Some(bundle) => Err(format!("{:?} {:?}", bundle.finalizers(), status(&bundle))),
        }
    })
    .await;
}

/// Waits for a DebugBundle that satisfies the condition.
pub async fn until_bundle(context: &Context, what: &str, such: impl Fn(&DebugBundle) -> bool) -> DebugBundle {
    until(LIMIT, &format!("a DebugBundle {what}"), || async {
        let all = context.api::<DebugBundle>().list(&ListParams::default()).await.expect("DebugBundles can be listed");
        all.items.into_iter().find(|bundle| such(bundle))
    })
    .await
}

/// Deletes it, without waiting.
pub async fn delete(context: &Context, name: &str) {
    context.api::<DebugBundle>().delete(name, &DeleteParams::default()).await.expect("it can be deleted");
}

/// Merges a change into the object.
pub async fn change(context: &Context, name: &str, change: Value) {
    let patched = context.api::<DebugBundle>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
    patched.unwrap_or_else(|error| panic!("patch {name}: {error}"));
}

/// Merges a change into its status, as only an account with that right can.
pub async fn forge(context: &Context, name: &str, change: Value) {
    let forged = Patch::Merge(json!({ "status": change }));
    // The result may not parse as a DebugBundle.
    let kind = ApiResource::erase::<DebugBundle>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &context.namespace, &kind);
    let patched = api.patch_status(name, &PatchParams::default(), &forged).await;
    patched.unwrap_or_else(|error| panic!("patch the status of {name}: {error}"));
}

/// Status, reason and message of a condition.
pub fn condition(bundle: &DebugBundle, type_: &str) -> (String, String, String) {
    let all = status(bundle).conditions;
    let found = all.iter().find(|condition| condition.type_ == type_);
    let found = found.unwrap_or_else(|| panic!("no condition {type_}: {all:?}"));
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

/// The keys below our folder.
pub async fn keys(context: &Context) -> Vec<String> {
    context.bucket.keys(&format!("{}/plugins/debugbundle/", harness::context::PREFIX)).await
}

/// Waits until the store contains this number of our objects.
pub async fn until_stored(context: &Context, count: usize) {
    until(LIMIT, &format!("{count} objects are stored"), || async {
        let keys = keys(context).await;
        if keys.len() == count { Ok(()) } else { Err(format!("{keys:?}")) }
    })
    .await;
}

/// Waits until the store contains none of our objects and uploads: the operator cleans up after a DebugBundle is gone.
pub async fn until_nothing_is_stored(context: &Context) {
    until(LIMIT, "nothing is left in the store", || async {
        let (keys, open) = (keys(context).await, context.bucket.unfinished().await);
        if keys.is_empty() && open.is_empty() { Ok(()) } else { Err(format!("{keys:?} {open:?}")) }
    })
    .await;
}

/// The Events of a DebugBundle, as `(reason, note)`.
pub async fn events(context: &Context, name: &str) -> Vec<(String, String)> {
    let all = context.api::<Event>().list(&ListParams::default()).await.expect("Events can be listed");
    let of_this = all.items.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
    of_this.map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default())).collect()
}

/// Waits for an Event with this reason; its note.
pub async fn until_event(context: &Context, name: &str, reason: &str) -> String {
    until_event_with(context, name, reason, "").await
}

/// Waits for an Event with this reason and these words; its note.
pub async fn until_event_with(context: &Context, name: &str, reason: &str, words: &str) -> String {
    until(LIMIT, &format!("an Event {reason} on {name} with \"{words}\""), || async {
        let all = events(context, name).await;
        let found = all.iter().find(|(r, note)| r == reason && note.contains(words));
        found.map(|(_, note)| note.clone()).ok_or(format!("{all:?}"))
    })
    .await
}

/// I1 to I3 of a DebugBundle that has a bundle: the key in status holds one object with its UID and with the size and
/// SHA-256 in status; the object unpacks; the manifest lists exactly its entries; no upload stays open. Returns the
/// entries by path.
pub async fn is_stored(context: &Context, bundle: &DebugBundle) -> BTreeMap<String, Vec<u8>> {
    let told = status(bundle).bundle.unwrap_or_else(|| panic!("nothing is stored: {:?}", status(bundle)));
    let uid = bundle.uid().expect("a UID");
    let of_this: Vec<String> = keys(context).await.into_iter().filter(|key| key.contains(&uid)).collect();
    assert_eq!(of_this, std::slice::from_ref(&told.key));
    let object = context.bucket.get(&told.key).await.expect("the object is there");
    assert_eq!(i64::try_from(object.len()).unwrap(), told.bytes);
    let sum = Sha256::digest(&object).iter().fold(String::new(), |sum, byte| sum + &format!("{byte:02x}"));
    assert_eq!(sum, told.sha256);
    let left: Vec<_> = context.bucket.unfinished().await.into_iter().filter(|u| u.key.contains(&uid)).collect();
    assert!(left.is_empty(), "{left:?}");
    let mut entries = BTreeMap::new();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(object.as_slice()));
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut body = Vec::new();
        entry.read_to_end(&mut body).expect("a body");
        let within = path.split_once('/').map_or(path.as_str(), |(_, within)| within).to_owned();
        assert!(entries.insert(within, body).is_none(), "{path} is there twice");
    }
    let manifest = harness::schema::checked(&entries["manifest.json"]);
    let listed = manifest["entries"].as_array().expect("entries");
    // The manifest does not list itself.
    assert_eq!((listed.len() + 1, i64::try_from(listed.len()).unwrap()), (entries.len(), told.entries));
    for entry in listed {
        let path = entry["path"].as_str().expect("a path");
        assert!(entries.contains_key(path), "{path} is in the manifest and not in the archive");
    }
    entries
}

/// I4: the spool contains nothing of ours.
pub async fn spool_is_empty(operator: &Operator) {
    until(Duration::from_secs(10), "the spool is empty", || async {
        let left: Vec<_> = walk(operator.spool());
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { [vec![path.clone()], walk(&path)].concat() } else { vec![path] })
        .collect()
}

/// A namespace with [`velero_objects`] and an operator that is ready.
pub async fn ready(context: &Arc<Context>) -> Operator {
    velero_objects(context).await;
    Operator::of(context).ready().await
}

/// The text of the entry whose path ends with `name`.
pub fn entry_text(archive: &Path, name: &str) -> String {
    let file = std::fs::File::open(archive).expect("it is there");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut entries = tar.entries().expect("an archive").map(|entry| entry.expect("an entry"));
    let found = entries.find(|entry| entry.path().expect("a path").ends_with(name));
    let mut text = String::new();
    found.unwrap_or_else(|| panic!("no {name}")).read_to_string(&mut text).expect("text");
    text
}

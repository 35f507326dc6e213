//! What each implementation of `Store` promises, as cases that see only the trait and an independent way to the same
//! objects. `docs/store-contract.md` is the table of these cases; `contract` runs them against each store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use debugbundle_crd::{Reason, Target, TargetKind};
use debugbundle_operator::{
    probe::ProbeStep,
    store::{
        BackupFile, Folder, InstallationId, Key, Limit, ObjectBody, Store, StoreError, Upload, UploadHooks, VeleroFile,
    },
};
use futures::{
    FutureExt as _, StreamExt as _, TryStreamExt as _,
    future::{BoxFuture, join_all},
    stream,
};
use jiff::{SignedDuration, Timestamp};

use crate::support::store::{MIB, Sealed, UID, UploadRecorder, http, key, sealed};

/// A class of errors: what a person or a retry can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The credential is accepted, and may not do it.
    Denied,
    /// The credential is unknown or wrong.
    NotAccepted,
    /// There is no such bucket.
    NoBucket,
    /// The bucket is elsewhere.
    Elsewhere,
    /// Nobody listens.
    Unreachable,
    /// No store may have this address.
    NotAllowed,
    /// The store cannot serve now.
    Unavailable,
    /// The store has no room.
    Full,
    /// The clocks differ.
    Skewed,
    /// The credential ended.
    Expired,
    /// The store does not take the request itself.
    Rejected,
}

/// Step, reason and transience that each class must have, whatever the provider calls it.
const CLASSES: [(ErrorClass, ProbeStep, Reason, bool); 11] = [
    (ErrorClass::Denied, ProbeStep::Permission, Reason::UploadDenied, false),
    (ErrorClass::NotAccepted, ProbeStep::Identity, Reason::CredentialInvalid, false),
    (ErrorClass::NoBucket, ProbeStep::Bucket, Reason::LocationInvalid, false),
    (ErrorClass::Elsewhere, ProbeStep::Bucket, Reason::LocationInvalid, false),
    (ErrorClass::Unreachable, ProbeStep::Connection, Reason::StoreUnreachable, true),
    (ErrorClass::NotAllowed, ProbeStep::Connection, Reason::LocationInvalid, false),
    (ErrorClass::Unavailable, ProbeStep::Answer, Reason::StoreUnreachable, true),
    (ErrorClass::Full, ProbeStep::Answer, Reason::StoreUnreachable, true),
    (ErrorClass::Skewed, ProbeStep::Clock, Reason::CredentialInvalid, true),
    (ErrorClass::Expired, ProbeStep::Identity, Reason::CredentialInvalid, false),
    (ErrorClass::Rejected, ProbeStep::Answer, Reason::UploadDenied, false),
];

/// An empty bucket of a store, whose location has the prefix `velero`, and an independent way to what is in it.
pub trait ContractPlace: Send + Sync {
    /// The store under test; it sends more than 1 MiB in parts of 5 MiB.
    fn store(&self) -> Arc<dyn Store>;
    /// The same store, each of whose answers is of this class; `None` if it has no such answer.
    fn failing(&self, class: ErrorClass) -> BoxFuture<'_, Option<Arc<dyn Store>>>;
    /// What is at a key.
    fn content<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Option<Vec<u8>>>;
    /// Writes an object with metadata.
    fn write<'a>(&'a self, key: &'a str, content: Vec<u8>, meta: BTreeMap<String, String>) -> BoxFuture<'a, ()>;
    /// How many uploads are open; `None` if the store lists none.
    fn unfinished(&self) -> BoxFuture<'_, Option<usize>>;
}

/// A store that the contract is run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Versitygw,
    SeaweedFs,
    Azurite,
    FakeGcsServer,
    InMemory,
}

impl StoreKind {
    const ALL: [Self; 5] = [Self::Versitygw, Self::SeaweedFs, Self::Azurite, Self::FakeGcsServer, Self::InMemory];

    const fn name(self) -> &'static str {
        match self {
            Self::Versitygw => "versitygw",
            Self::SeaweedFs => "SeaweedFS",
            Self::Azurite => "Azurite",
            Self::FakeGcsServer => "fake-gcs-server",
            Self::InMemory => "in memory",
        }
    }
}

/// Google lists no sessions: only the process that began one can end it.
const NO_LIST: &[StoreKind] = &[StoreKind::FakeGcsServer];
/// Nobody would answer a URL.
const NO_SERVER: &[StoreKind] = &[StoreKind::InMemory];
/// Nobody looks at a signature.
const NO_SIGNATURE: &[StoreKind] = &[StoreKind::FakeGcsServer, StoreKind::InMemory];

/// A promise of a store.
pub struct ContractCase {
    /// What a store promises.
    pub name: &'static str,
    /// The stores that cannot show it.
    pub not_on: &'static [StoreKind],
    /// What an emulator of a store does not check.
    pub unchecked: &'static str,
    /// Panics if the promise is broken.
    pub run: fn(&dyn ContractPlace) -> BoxFuture<'_, ()>,
}

macro_rules! case {
    ($name:literal, $run:ident, $not_on:expr, $unchecked:literal) => {
        ContractCase { name: $name, not_on: $not_on, unchecked: $unchecked, run: |place| $run(place).boxed() }
    };
}

/// All promises, in the order of the table.
pub const CASES: [ContractCase; 18] = [
    case!(
        "A small bundle goes in one request, and is there with its metadata",
        put_head_get,
        &[],
        "server-side encryption by a real key service"
    ),
    case!(
        "What was never written is absent, not an error",
        absent,
        &[],
        "absence that a provider hides behind a refusal"
    ),
    case!("A changed, cut or foreign object is not taken for ours; only its ends are read", verified, &[], ""),
    case!("An overwrite is refused, or found by the verification", overwrite, &[], "two writers in the same instant"),
    case!(
        "A large bundle goes in parts, and the upload's id is on record before the first part",
        in_parts,
        &[],
        "limits of part size and count"
    ),
    case!("An upload whose id cannot be recorded leaves nothing", not_recorded, &[], ""),
    case!("A file shorter than it says leaves nothing", cut_file, &[], ""),
    case!("An upload that is dropped leaves nothing", dropped, NO_LIST, ""),
    case!(
        "An upload of a killed process is found by its key, and aborted",
        killed,
        NO_LIST,
        "the permission to list uploads, which Velero's policy lacks"
    ),
    case!("Aborting twice is no error", aborted_twice, NO_LIST, "how long an ended upload is remembered"),
    case!(
        "A list is whole over its pages, and has the bundles of its folder alone",
        list,
        &[],
        "lists that lag behind a write"
    ),
    case!("Deleting removes the one object; deleting twice is no error", deleted, &[], "versions, holds and retention"),
    case!("Velero's files are read, or absent", velero_files, &[], "objects that another key encrypted"),
    case!("The folders below the prefix are named", folders, &[], ""),
    case!(
        "A signed URL downloads the object under its name, whole and by ranges",
        signed,
        NO_SERVER,
        "the string to sign: both S3 servers and Azurite check it"
    ),
    case!("A changed, unsigned or ended URL is refused", signed_for_this_alone, NO_SIGNATURE, "the same"),
    case!(
        "A signed URL says its true end, and lives for at most seven days",
        true_end,
        NO_SERVER,
        "the end of a temporary credential"
    ),
    case!(
        "Each class of errors has its step, its reason, and whether waiting cures it",
        classes,
        &[],
        "a provider's own codes: the test answers with them"
    ),
];

/// The table of `docs/store-contract.md`.
pub fn table() -> String {
    let row = |ContractCase { name, not_on, unchecked, .. }: &ContractCase| {
        let cells = StoreKind::ALL.map(|kind| if not_on.contains(&kind) { "no" } else { "yes" });
        format!("| {name} | {} | {unchecked} |\n", cells.join(" | ")).replace("|  |", "| |")
    };
    let (rows, names) = (CASES.iter().map(row).collect::<String>(), StoreKind::ALL.map(StoreKind::name));
    format!(
        "| promise | {} | not checked by an emulator |\n| --- | {}--- |\n{rows}",
        names.join(" | "),
        "--- | ".repeat(names.len())
    )
}

async fn send(store: &dyn Store, sealed: &Sealed) -> Result<(), StoreError> {
    store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.map(drop)
}

async fn read(body: Option<ObjectBody>) -> Vec<u8> {
    let chunks: Vec<bytes::Bytes> = body.expect("there").stream.try_collect().await.expect("read");
    chunks.concat()
}

/// Nothing of ours is left.
async fn nothing_left(place: &dyn ContractPlace) {
    assert_eq!(place.unfinished().await.unwrap_or(0), 0, "no upload is open");
    assert_eq!(place.content(key().as_str()).await, None);
}

async fn put_head_get(place: &dyn ContractPlace) {
    let (store, sealed, recorder) = (place.store(), sealed(300_017), UploadRecorder::default());
    store.upload(&key(), &sealed.upload(), &recorder).await.expect("uploaded");
    assert_eq!(*recorder.calls.lock().expect("not poisoned"), ["sent 300017"]);
    let found = store.head(&key()).await.expect("an answer").expect("there");
    assert_eq!((found.bytes, found.sha256.as_deref()), (300_017, Some(sealed.sha256.as_str())));
    assert_eq!((found.meta["uid"].as_str(), found.meta["outcome"].as_str()), (UID, "Completed"));
    assert!(place.content(key().as_str()).await.is_some_and(|content| content == sealed.content));
    let body = store.get(&key()).await.expect("an answer");
    assert_eq!(body.as_ref().and_then(|body| body.bytes), Some(300_017));
    assert!(read(body).await == sealed.content);
}

async fn absent(place: &dyn ContractPlace) {
    let store = place.store();
    assert_eq!(store.head(&key()).await.expect("an answer"), None);
    assert!(store.get(&key()).await.expect("an answer").is_none());
    let folder = Folder::of("velero", &InstallationId::of_nobody()).expect("a folder");
    let page = store.list(&folder, None).await.expect("an answer");
    assert_eq!((page.bundles.len(), page.foreign, page.next), (0, 0, None));
    assert!(store.open_uploads(&folder).await.expect("an answer").is_empty());
}

async fn verified(place: &dyn ContractPlace) {
    let (store, sealed) = (place.store(), sealed(MIB));
    let why = async |upload: Upload<'_>| match store.verify(&key(), &upload).await {
        Err(error @ StoreError::Corrupt(_)) => {
            assert_eq!(error.reason(), Reason::StoredObjectCorrupt);
            error.to_string()
        }
        other => panic!("{other:?}"),
    };
    assert!(why(sealed.upload()).await.contains("no object"));
    send(&*store, &sealed).await.expect("uploaded");
    store.verify(&key(), &sealed.upload()).await.expect("verified");
    let other = Upload { sha256: &"0".repeat(64), ..sealed.upload() };
    assert!(why(other).await.contains("SHA-256"));
    let meta = store.head(&key()).await.expect("an answer").expect("there").meta;
    for at in [5, MIB - 5] {
        let mut content = sealed.content.clone();
        content[at] ^= 1;
        place.write(key().as_str(), content, meta.clone()).await;
        why(sealed.upload()).await;
    }
    place.write(key().as_str(), sealed.content[1..].to_vec(), meta.clone()).await;
    assert!(why(sealed.upload()).await.contains("bytes"));
    // What is between the ends is not read again: the hash that was noted at the upload stands for it.
    let mut content = sealed.content.clone();
    content[MIB / 2] ^= 1;
    place.write(key().as_str(), content, meta).await;
    store.verify(&key(), &sealed.upload()).await.expect("verified by its ends");
}

async fn overwrite(place: &dyn ContractPlace) {
    let (store, first, second) = (place.store(), sealed(1000), sealed(2000));
    send(&*store, &first).await.expect("uploaded");
    if send(&*store, &second).await.is_ok() {
        store.verify(&key(), &second.upload()).await.expect("verified");
        assert!(matches!(store.verify(&key(), &first.upload()).await, Err(StoreError::Corrupt(_))), "it is found");
    } else {
        store.verify(&key(), &first.upload()).await.expect("the first one stays");
    }
}

async fn in_parts(place: &dyn ContractPlace) {
    let (store, sealed) = (place.store(), sealed(11 * MIB));
    let recorder = UploadRecorder { at_begin: Some(place), ..UploadRecorder::default() };
    store.upload(&key(), &sealed.upload(), &recorder).await.expect("uploaded");
    let calls = recorder.calls.lock().expect("not poisoned").clone();
    let sent = [5, 10, 11].map(|mib| format!("sent {}", mib * MIB));
    assert_eq!((calls[0].as_str(), &calls[1..]), ("begun, 1 open", &sent[..]));
    store.verify(&key(), &sealed.upload()).await.expect("verified");
    let found = store.head(&key()).await.expect("an answer").expect("there");
    assert_eq!(found.meta["uid"], UID);
    assert!(place.content(key().as_str()).await.is_some_and(|content| content == sealed.content));
    assert_eq!(place.unfinished().await.unwrap_or(0), 0);
}

async fn not_recorded(place: &dyn ContractPlace) {
    let recorder = UploadRecorder { refuse: true, ..UploadRecorder::default() };
    let error = place.store().upload(&key(), &sealed(6 * MIB).upload(), &recorder).await.expect_err("refused");
    assert!(matches!(error, StoreError::NotNoted(_)), "{error}");
    assert_eq!(recorder.calls.lock().expect("not poisoned").len(), 1, "no part was sent");
    nothing_left(place).await;
}

async fn cut_file(place: &dyn ContractPlace) {
    for bytes in [1000, 6 * MIB] {
        let sealed = sealed(bytes);
        let upload = Upload { bytes: bytes as u64 + 500, ..sealed.upload() };
        place.store().upload(&key(), &upload, &UploadRecorder::default()).await.expect_err("too short");
        nothing_left(place).await;
    }
}

/// An upload that has begun and sends no part; the caller drops it, or forgets it as a killed process does.
async fn begin<'a>(
    store: &'a dyn Store,
    key: &'a Key,
    upload: &'a Upload<'a>,
    hooks: &'a UploadRecorder<'a>,
) -> BoxFuture<'a, ()> {
    let mut sending = store.upload(key, upload, hooks as &dyn UploadHooks).map(drop).boxed();
    while hooks.calls.lock().expect("not poisoned").is_empty() {
        tokio::select! {
            () = &mut sending => panic!("it hangs"),
            () = tokio::task::yield_now() => {}
        }
    }
    sending
}

async fn dropped(place: &dyn ContractPlace) {
    let (store, key, sealed) = (place.store(), key(), sealed(6 * MIB));
    let (upload, recorder) = (sealed.upload(), UploadRecorder { hang: true, ..UploadRecorder::default() });
    let sending = begin(&*store, &key, &upload, &recorder).await;
    assert_eq!(place.unfinished().await, Some(1));
    drop(sending);
    let gone = async {
        while place.unfinished().await != Some(0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the upload is ended");
    nothing_left(place).await;
}

async fn killed(place: &dyn ContractPlace) {
    let (store, key, sealed) = (place.store(), key(), sealed(6 * MIB));
    let (upload, recorder) = (sealed.upload(), UploadRecorder { hang: true, ..UploadRecorder::default() });
    std::mem::forget(begin(&*store, &key, &upload, &recorder).await);
    let folder = Folder::of("velero", &InstallationId::of_nobody()).expect("a folder");
    let open = store.open_uploads(&folder).await.expect("an answer");
    assert_eq!(open.iter().map(|open| &open.key).collect::<Vec<_>>(), [&key]);
    assert!(open[0].begun.duration_since(Timestamp::now()).abs() < SignedDuration::from_mins(2), "{open:?}");
    let other = Key::of("velero", &InstallationId::of_nobody(), None, "dbg", "u-2").expect("a key");
    store.abort_unfinished(&other).await.expect("another key has none");
    assert_eq!(place.unfinished().await, Some(1));
    store.abort_unfinished(&key).await.expect("aborted");
    nothing_left(place).await;
}

async fn aborted_twice(place: &dyn ContractPlace) {
    let (store, key, sealed) = (place.store(), key(), sealed(6 * MIB));
    let (upload, recorder) = (sealed.upload(), UploadRecorder { hang: true, ..UploadRecorder::default() });
    std::mem::forget(begin(&*store, &key, &upload, &recorder).await);
    let folder = Folder::of_all("velero").expect("a folder");
    let open = store.open_uploads(&folder).await.expect("an answer");
    store.abort(&key, &open[0].id).await.expect("aborted");
    nothing_left(place).await;
    store.abort(&key, &open[0].id).await.expect("gone is done");
}

async fn list(place: &dyn ContractPlace) {
    /// More than a page of any store has.
    const MANY: usize = 1003;
    let store = place.store();
    let folder = Folder::of("velero", &InstallationId::of_nobody()).expect("a folder");
    let bundle =
        |number: usize| format!("{}installation/b-0b5e2a7c-1111-4222-8333-{number:012}.tar.gz", folder.as_str());
    let other = InstallationId::new("11111111-2222-4333-8444-555555555555").expect("an id");
    let elsewhere = Key::of("velero", &other, None, "dbg", UID).expect("a key");
    let foreign = format!("{}notes.txt", folder.as_str());
    let keys = (0..MANY).map(bundle).chain([elsewhere.as_str().to_owned(), foreign.clone()]);
    let writing = stream::iter(keys).map(|key| async move { place.write(&key, b"x".to_vec(), BTreeMap::new()).await });
    writing.buffer_unordered(32).collect::<()>().await;
    let (mut found, mut foreigners, mut pages, mut from) = (BTreeSet::new(), 0, 0, None);
    loop {
        let page = store.list(&folder, from).await.expect("a page");
        pages += 1;
        foreigners += page.foreign;
        for bundle in page.bundles {
            assert_eq!(bundle.bytes, 1);
            let age = Timestamp::now().duration_since(bundle.modified);
            assert!(age.abs() < SignedDuration::from_mins(5), "{bundle:?}");
            assert!(found.insert(bundle.key.as_str().to_owned()), "{} is there twice", bundle.key);
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!((found.len(), foreigners), (MANY, 1));
    assert!(pages > 1 && found.contains(&bundle(MANY - 1)), "{pages} pages");
    let all = store.list(&Folder::of_all("velero").expect("a folder"), None).await.expect("a page");
    assert!(all.next.is_some(), "the folder of all installations has more");
}

async fn deleted(place: &dyn ContractPlace) {
    let store = place.store();
    let target = Target { kind: TargetKind::Restore, name: "r1".to_owned() };
    let longer = Key::of("velero", &InstallationId::of_nobody(), Some(&target), "dbg2", UID).expect("a key");
    place.write(longer.as_str(), b"another".to_vec(), BTreeMap::new()).await;
    send(&*store, &sealed(1000)).await.expect("uploaded");
    store.delete(&key()).await.expect("deleted");
    nothing_left(place).await;
    assert_eq!(store.head(&key()).await.expect("an answer"), None);
    store.delete(&key()).await.expect("gone is done");
    assert_eq!(place.content(longer.as_str()).await.as_deref(), Some(&b"another"[..]));
}

async fn velero_files(place: &dyn ContractPlace) {
    let store = place.store();
    let log = VeleroFile::of_backup("b1", BackupFile::Log).expect("valid");
    assert!(store.read(&log).await.expect("an answer").is_none());
    place.write("velero/backups/b1/b1-logs.gz", b"gzip".to_vec(), BTreeMap::new()).await;
    let body = store.read(&log).await.expect("an answer");
    assert_eq!(body.as_ref().and_then(|body| body.bytes), Some(4));
    assert_eq!(read(body).await, b"gzip");
}

async fn folders(place: &dyn ContractPlace) {
    let keys = ["velero/backups/b/x", "velero/backups/c/x", "velero/lost+found/x", "velero/loose", "velero2/kopia/x"];
    join_all(keys.map(|key| place.write(key, b"x".to_vec(), BTreeMap::new()))).await;
    let found = place.store().folders().await.expect("an answer");
    assert_eq!((found.names, found.more), (vec!["backups".to_owned(), "lost+found".to_owned()], false));
}

async fn signed(place: &dyn ContractPlace) {
    let (store, sealed) = (place.store(), sealed(300_017));
    send(&*store, &sealed).await.expect("uploaded");
    let signed = store.sign(&key(), Duration::from_mins(10), Timestamp::now()).await.expect("signed");
    assert!(signed.headers.is_empty(), "{:?}", signed.headers);
    let (status, headers, body) = http(signed.url.expose(), None).await;
    assert_eq!((status, body == sealed.content), (200, true));
    assert_eq!(headers["content-disposition"], format!("attachment; filename=\"dbg-{UID}.tar.gz\""));
    let (status, _, body) = http(signed.url.expose(), Some("bytes=100-199")).await;
    assert_eq!((status, body.as_slice()), (206, &sealed.content[100..200]));
}

async fn signed_for_this_alone(place: &dyn ContractPlace) {
    let store = place.store();
    send(&*store, &sealed(1000)).await.expect("uploaded");
    let now = Timestamp::now();
    let signed = store.sign(&key(), Duration::from_mins(10), now).await.expect("signed");
    let url = signed.url.expose();
    assert_eq!(http(url, None).await.0, 200);
    let (path, query) = url.split_once('?').expect("a query");
    // Each parameter counts: without it, and with another value of the same length.
    let parts: Vec<&str> = query.split('&').collect();
    let signature =
        parts.iter().max_by_key(|part| part.len() * usize::from(part.to_lowercase().contains("sig"))).expect("one");
    let end = if signature.ends_with('0') { "1" } else { "0" };
    for (what, tampered) in [
        ("another key", format!("{}?{query}", path.replace("dbg-", "dbx-"))),
        ("a longer life", url.replace("=600", "=6000").replace("se=20", "se=21")),
        ("another signature", url.replace(signature, &format!("{}{end}", &signature[..signature.len() - 1]))),
        ("no signature", path.to_owned()),
    ] {
        assert_ne!(tampered, url, "{what}");
        let (status, ..) = http(&tampered, None).await;
        assert!(matches!(status, 400..=403), "{what}: {status}");
    }
    let past = now.checked_sub(SignedDuration::from_mins(10)).expect("a time");
    let ended = store.sign(&key(), Duration::from_mins(5), past).await.expect("signed");
    assert!(matches!(http(ended.url.expose(), None).await.0, 400..=403));
    assert!(!format!("{ended:?} {ended:?}").contains(signature), "a URL is not shown whole");
}

async fn true_end(place: &dyn ContractPlace) {
    let (store, now) = (place.store(), Timestamp::now());
    for (asked, lives, limit) in [(600, 600, Limit::Asked), (1_000_000, 604_800, Limit::SevenDays)] {
        let signed = store.sign(&key(), Duration::from_secs(asked), now).await.expect("signed");
        assert_eq!((signed.expires.duration_since(now).as_secs(), signed.limit), (lives, limit));
    }
}

async fn classes(place: &dyn ContractPlace) {
    let (sealed, folder) = (sealed(1000), Folder::of_all("velero").expect("a folder"));
    let check = |(class, step, reason, transient)| {
        let (sealed, folder) = (&sealed, &folder);
        async move {
            let Some(store) = place.failing(class).await else { return };
            let sent = send(&*store, sealed).await.expect_err("it fails");
            let listed = store.list(folder, None).await.expect_err("it fails");
            for error in [sent, listed] {
                let got = (error.step(), error.reason(), error.is_transient());
                assert_eq!(got, (Some(step), reason, transient), "{class:?}: {error}");
                assert!(error.message().chars().count() <= 256, "{error}");
            }
        }
    };
    join_all(CLASSES.map(check)).await;
    nothing_left(place).await;
}

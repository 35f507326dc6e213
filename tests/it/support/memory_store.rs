//! A store in memory that keeps the contract of stores without a server, and fails as a test demands. It signs nothing:
//! there is nobody who would answer the URL.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use debugbundle_operator::{
    location::Words,
    probe::ProbeStep,
    store::{
        Answer, Deletion, Folder, Folders, Key, ListPage, ListedBundle, ObjectBody, OpenUpload, Signed, Store,
        StoreError, StoreFuture, Stored, Upload, UploadHooks, VeleroFile, Way,
    },
};
use debugbundle_redact::Secret;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use jiff::Timestamp;

use crate::support::contract::ErrorClass;

const WORDS: Words =
    Words { place: "shelf", besides_bucket: "shelf", server: "shelf", accept: "another key", allow: "ask for it" };
/// Objects in a page of a list.
const PAGE: usize = 1000;
/// Bytes that are compared at each end of an object.
const ENDS: usize = 4096;

#[derive(Clone, Debug)]
struct Object {
    content: Vec<u8>,
    meta: BTreeMap<String, String>,
    modified: Timestamp,
}

#[derive(Debug, Default)]
struct Shelf {
    objects: Mutex<BTreeMap<String, Object>>,
    /// Key and beginning of each open upload, by its id.
    uploads: Mutex<BTreeMap<String, (Key, Timestamp)>>,
    ids: AtomicUsize,
}

/// A promise that a store breaks, to see that the contract finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// An upload that failed or was dropped stays open.
    LeavesUploads,
    /// Parts are sent before the upload's id is on record.
    RecordsLate,
    /// The verification accepts any object at the key.
    ReportsForeign,
    /// A list ends after its first page.
    CutsLists,
    /// Objects have no metadata of their own.
    LosesMetadata,
    /// Nothing is deleted.
    KeepsObjects,
    /// A failure is said to be an absent object, or done.
    SwallowsErrors,
}

/// Objects below the prefix `velero`. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shelf: Arc<Shelf>,
    fails: Option<ErrorClass>,
    defect: Option<Defect>,
}

/// An upload that is open until this is dropped.
struct Open<'a> {
    store: &'a MemoryStore,
    id: String,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.store.has(Defect::LeavesUploads) {
            lock(&self.store.shelf.uploads).remove(&self.id);
        }
    }
}

impl MemoryStore {
    /// Upload sizes are those of `support::store::IN_PARTS`.
    const SINGLE_PUT: u64 = 1 << 20;
    const PART: usize = 5 << 20;

    /// An empty store with this defect.
    pub fn with(defect: Defect) -> Self {
        Self { defect: Some(defect), ..Self::default() }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// The same objects, and each request fails so.
    pub fn failing(&self, class: ErrorClass) -> Self {
        Self { fails: Some(class), ..self.clone() }
    }

    /// What is at a key, without the store's own way of reading.
    pub fn content(&self, key: &str) -> Option<Vec<u8>> {
        lock(&self.shelf.objects).get(key).map(|object| object.content.clone())
    }

    /// Writes any object.
    pub fn write(&self, key: &str, content: Vec<u8>, meta: BTreeMap<String, String>) {
        let object = Object { content, meta, modified: Timestamp::now() };
        lock(&self.shelf.objects).insert(key.to_owned(), object);
    }

    /// How many uploads are open.
    pub fn unfinished(&self) -> usize {
        lock(&self.shelf.uploads).len()
    }

    fn answer(&self) -> Result<(), StoreError> {
        let answer = || Answer::new(400, Some("AsTheTestDemands"));
        let (bucket, key) = ("shelf".to_owned(), "key".to_owned());
        Err(match self.fails {
            None => return Ok(()),
            Some(_) if self.has(Defect::SwallowsErrors) => return Ok(()),
            Some(ErrorClass::Denied) => StoreError::Denied { permission: "shelf:Use", bucket, key, answer: answer() },
            Some(ErrorClass::NotAccepted) => StoreError::NotAccepted { cure: "renew it", answer: answer() },
            Some(ErrorClass::NoBucket) => StoreError::NoBucket { words: &WORDS, bucket, answer: answer() },
            Some(ErrorClass::Elsewhere) => {
                StoreError::WrongRegion { bucket, cure: "look elsewhere".to_owned(), answer: answer() }
            }
            Some(ErrorClass::Unreachable) => {
                StoreError::Unreachable { at: ProbeStep::Connection, why: "connection refused".to_owned() }
            }
            Some(ErrorClass::NotAllowed) => StoreError::NotAllowed("the address is not allowed".to_owned()),
            Some(ErrorClass::Unavailable) => StoreError::Unavailable(answer()),
            Some(ErrorClass::Full) => StoreError::Full(answer()),
            Some(ErrorClass::Skewed) => StoreError::Skewed { answer: answer(), ahead: None },
            Some(ErrorClass::Expired) => StoreError::Expired("it ended".to_owned()),
            Some(ErrorClass::Rejected) => StoreError::Rejected(answer()),
        })
    }

    fn body(&self, key: &str) -> Option<ObjectBody> {
        let content = self.content(key)?;
        let bytes = Some(content.len() as u64);
        let pieces: Vec<_> = content.chunks(64 << 10).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Some(ObjectBody { bytes, stream: stream::iter(pieces).boxed() })
    }

    fn stored(&self, key: &Key) -> Option<Stored> {
        let object = lock(&self.shelf.objects).get(key.as_str()).cloned()?;
        let (bytes, sha256) = (object.content.len() as u64, object.meta.get("sha256").cloned());
        Some(Stored { bytes, sha256, etag: None, meta: object.meta })
    }

    /// Reads the file, a part at a time if it is large.
    async fn take(&self, key: &Key, upload: &Upload<'_>, hooks: &dyn UploadHooks) -> Result<Vec<u8>, StoreError> {
        let local = |source| StoreError::Local { path: upload.file.to_owned(), source };
        let content = std::fs::read(upload.file).map_err(local)?;
        if content.len() as u64 != upload.bytes {
            return Err(local(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if upload.bytes <= Self::SINGLE_PUT {
            hooks.sent(upload.bytes);
            return Ok(content);
        }
        let id = format!("upload-{}", self.shelf.ids.fetch_add(1, Ordering::Relaxed));
        lock(&self.shelf.uploads).insert(id.clone(), (key.clone(), Timestamp::now()));
        let open = Open { store: self, id };
        if self.has(Defect::RecordsLate) {
            hooks.sent(Self::PART as u64);
        }
        hooks.begun(&open.id).await.map_err(StoreError::NotNoted)?;
        for end in (1..=content.len().div_ceil(Self::PART)).map(|part| (part * Self::PART).min(content.len())) {
            hooks.sent(end as u64);
        }
        Ok(content)
    }
}

impl Store for MemoryStore {
    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Stored>> {
        async move { self.answer().map(|()| self.stored(key)) }.boxed()
    }

    fn upload<'a>(
        &'a self,
        key: &'a Key,
        upload: &'a Upload<'a>,
        hooks: &'a dyn UploadHooks,
    ) -> StoreFuture<'a, Stored> {
        async move {
            self.answer()?;
            let content = self.take(key, upload, hooks).await?;
            let mut meta = if self.has(Defect::LosesMetadata) { BTreeMap::new() } else { upload.meta.clone() };
            meta.insert("sha256".to_owned(), upload.sha256.to_owned());
            self.write(key.as_str(), content, meta);
            self.stored(key).ok_or_else(|| StoreError::Corrupt("there is no object at its key".to_owned()))
        }
        .boxed()
    }

    fn verify<'a>(&'a self, key: &'a Key, upload: &'a Upload<'a>) -> StoreFuture<'a, Stored> {
        async move {
            self.answer()?;
            let corrupt = |why: &str| StoreError::Corrupt(why.to_owned());
            let found = self.stored(key).ok_or_else(|| corrupt("there is no object at its key"))?;
            if self.has(Defect::ReportsForeign) {
                return Ok(found);
            }
            if found.bytes != upload.bytes {
                return Err(corrupt("it has another number of bytes"));
            }
            if found.sha256.as_deref() != Some(upload.sha256) {
                return Err(corrupt("its recorded SHA-256 differs"));
            }
            let sent = std::fs::read(upload.file)
                .map_err(|source| StoreError::Local { path: upload.file.to_owned(), source })?;
            let there = self.content(key.as_str()).unwrap_or_default();
            let ends = ENDS.min(sent.len());
            if sent[..ends] != there[..ends] || sent[sent.len() - ends..] != there[there.len() - ends..] {
                return Err(corrupt("its first or last bytes differ"));
            }
            Ok(found)
        }
        .boxed()
    }

    fn abort<'a>(&'a self, _: &'a Key, upload_id: &'a str) -> StoreFuture<'a, ()> {
        async move {
            self.answer()?;
            lock(&self.shelf.uploads).remove(upload_id);
            Ok(())
        }
        .boxed()
    }

    fn abort_unfinished<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        async move {
            self.answer()?;
            lock(&self.shelf.uploads).retain(|_, (of, _)| of != key);
            Ok(())
        }
        .boxed()
    }

    fn open_uploads<'a>(&'a self, folder: &'a Folder) -> StoreFuture<'a, Vec<OpenUpload>> {
        async move {
            self.answer()?;
            let uploads = lock(&self.shelf.uploads).clone().into_iter();
            let open = uploads
                .filter_map(|(id, (key, begun))| Some(OpenUpload { key: folder.bundle(key.as_str())?, id, begun }));
            Ok(open.collect())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Deletion> {
        async move {
            self.answer()?;
            if !self.has(Defect::KeepsObjects) {
                lock(&self.shelf.objects).remove(key.as_str());
            }
            Ok(Deletion::Gone)
        }
        .boxed()
    }

    fn list<'a>(&'a self, folder: &'a Folder, from: Option<String>) -> StoreFuture<'a, ListPage> {
        async move {
            self.answer()?;
            let objects = lock(&self.shelf.objects);
            let after = from.unwrap_or_default();
            let below: Vec<_> =
                objects.iter().filter(|(key, _)| key.starts_with(folder.as_str()) && **key > after).collect();
            let mut page = ListPage::default();
            for (key, object) in below.iter().take(PAGE) {
                match folder.bundle(key) {
                    Some(key) => page.bundles.push(ListedBundle {
                        key,
                        bytes: object.content.len() as u64,
                        modified: object.modified,
                    }),
                    None => page.foreign += 1,
                }
            }
            let more = below.len() > PAGE && !self.has(Defect::CutsLists);
            page.next = below.get(PAGE - 1).filter(|_| more).map(|(key, _)| (*key).clone());
            Ok(page)
        }
        .boxed()
    }

    fn sign<'a>(&'a self, _: &'a Key, _: Duration, _: Timestamp) -> StoreFuture<'a, Signed> {
        async move {
            self.answer()?;
            Err(StoreError::CannotSign("a store in memory has no URL".to_owned()))
        }
        .boxed()
    }

    fn read<'a>(&'a self, file: &'a VeleroFile) -> StoreFuture<'a, Option<ObjectBody>> {
        async move { self.answer().map(|()| self.body(&format!("velero/{}", file.below_root()))) }.boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<ObjectBody>> {
        async move { self.answer().map(|()| self.body(key.as_str())) }.boxed()
    }

    fn known_values(&self) -> BoxFuture<'_, Vec<(&'static str, Secret)>> {
        async { Vec::new() }.boxed()
    }

    fn way(&self) -> BoxFuture<'_, Option<Way>> {
        async { None }.boxed()
    }

    fn folders(&self) -> StoreFuture<'_, Folders> {
        async move {
            self.answer()?;
            let objects = lock(&self.shelf.objects);
            let mut names: Vec<String> = objects
                .keys()
                .filter_map(|key| key.strip_prefix("velero/")?.split_once('/').map(|(folder, _)| folder.to_owned()))
                .collect();
            names.dedup();
            Ok(Folders { names, more: false })
        }
        .boxed()
    }

    fn clock_ahead(&self) -> Option<i64> {
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

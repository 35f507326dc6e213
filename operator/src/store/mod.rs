//! Object stores: put, head, list, read, sign and delete. The types ensure that only the object at a `Key` is written,
//! signed or deleted, only a `Folder` is listed, and only a `VeleroFile` of Velero's files is read. `location` finds
//! location and credential.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;

pub mod error;
pub mod key;
pub mod s3;
pub mod signed;
pub mod velero_file;

pub use error::{Action, Answer, StoreError};
pub use key::{Folder, InstallationId, Key, KeyError};
pub use s3::{Detour, Options, S3, Stream};
pub use signed::{Limit, Signed, SignedUrl};
pub use velero_file::{BackupFile, InvalidName, RestoreFile, VeleroFile};

/// What a store holds at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Size.
    pub bytes: u64,
    /// SHA-256 as noted at upload; hexadecimal.
    pub sha256: Option<String>,
    /// The store's ETag of this content.
    pub etag: Option<String>,
    /// Its metadata: uid, outcome and the like.
    pub meta: BTreeMap<String, String>,
}

/// The object's metadata that says when it expires, in RFC 3339.
pub const EXPIRES: &str = "expires";

/// A bundle in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBundle {
    /// Its key.
    pub key: Key,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

/// A part of a list.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The bundles in it.
    pub bundles: Vec<ListedBundle>,
    /// Number of objects in it that are no bundles.
    pub foreign: usize,
    /// Where the list continues; `None` after the last part.
    pub next: Option<String>,
}

/// A multipart upload that was begun and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// The key of its bundle.
    pub key: Key,
    /// The store's id of it.
    pub id: String,
    /// When it was begun, by the store's clock.
    pub begun: Timestamp,
}

/// What a DELETE did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object is gone, or was absent.
    Gone,
    /// The bucket keeps versions: the object is hidden, and its versions stay until somebody or a lifecycle rule
    /// removes them.
    Hidden,
}

/// A closed file that is to be sent.
#[derive(Clone, Debug)]
pub struct Upload<'a> {
    /// The file; it does not change any more.
    pub file: &'a Path,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: &'a str,
    /// Its metadata besides size and SHA-256: lower-case names, ASCII values, a few hundred bytes.
    pub meta: BTreeMap<String, String>,
}

/// Follows the progress of an upload.
pub trait UploadHooks: Send + Sync {
    /// A multipart upload has this id and no part yet. Note the id now, so that a successor can abort the upload.
    /// An error gives the upload up.
    fn begun<'a>(&'a self, upload_id: &'a str) -> BoxFuture<'a, Result<(), String>>;
    /// This many bytes have arrived in total.
    fn sent(&self, bytes: u64);
}

/// The content of an object, as it arrives.
pub struct ObjectBody {
    /// Its length, if the store states it.
    pub bytes: Option<u64>,
    /// The content; an error ends it.
    pub stream: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl std::fmt::Debug for ObjectBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// An object store. Every operation may be repeated; none follows a redirect.
pub trait Store: Send + Sync {
    /// What is at `key`; `None` if nothing is. A store that hides absence behind a refusal (no `s3:ListBucket`) returns
    /// `Denied`, which means unknown.
    fn head(&self, key: &Key) -> impl Future<Output = Result<Option<Stored>, StoreError>> + Send;

    /// Sends the file. After a failure, or when the future is dropped, it aborts the unfinished upload if the store can
    /// be reached. `hooks` gets the upload's id before the first part.
    fn upload(
        &self,
        key: &Key,
        upload: &Upload<'_>,
        hooks: &dyn UploadHooks,
    ) -> impl Future<Output = Result<Stored, StoreError>> + Send;

    /// Compares the object in the store with the file: size, SHA-256 as noted, the first and the last bytes.
    ///
    /// # Errors
    /// `Corrupt` if they differ.
    fn verify(&self, key: &Key, upload: &Upload<'_>) -> impl Future<Output = Result<Stored, StoreError>> + Send;

    /// Aborts an unfinished multipart upload; an absent one is no error.
    fn abort(&self, key: &Key, upload_id: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Aborts every unfinished multipart upload of the key, even one of a process that died before it could note the
    /// id. Without the right to list uploads it finds none, which is no error.
    fn abort_unfinished(&self, key: &Key) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Unfinished multipart uploads below a folder, at most a thousand. Without the right to list uploads it finds
    /// none, which is no error.
    fn open_uploads(&self, folder: &Folder) -> impl Future<Output = Result<Vec<OpenUpload>, StoreError>> + Send;

    /// Removes the object; an absent one is no error.
    fn delete(&self, key: &Key) -> impl Future<Output = Result<Deletion, StoreError>> + Send;

    /// A page of the list of a folder; `from` is the [`next`](ListPage::next) of the page before it.
    ///
    /// # Errors
    /// Also if the store cut the list: a page without an error is whole.
    fn list(&self, folder: &Folder, from: Option<String>) -> impl Future<Output = Result<ListPage, StoreError>> + Send;

    /// Signs a URL that downloads the object under its own file name. `ttl` is cut to what the store and the credential
    /// allow. Call `head` first: the URL of an absent object can be signed too.
    fn sign(&self, key: &Key, ttl: Duration, now: Timestamp)
    -> impl Future<Output = Result<Signed, StoreError>> + Send;

    /// Reads a file of Velero; `None` if it was never written.
    fn read(&self, file: &VeleroFile) -> impl Future<Output = Result<Option<ObjectBody>, StoreError>> + Send;

    /// The whole object at `key`, to hash what an earlier attempt left; `None` if there is none.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<ObjectBody>, StoreError>> + Send;
}

/// The supported kinds of stores.
#[derive(Clone, Debug)]
pub enum AnyStore {
    /// S3 and compatible stores.
    S3(S3),
}

impl Store for AnyStore {
    async fn head(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        match self {
            Self::S3(store) => store.head(key).await,
        }
    }

    async fn upload(&self, key: &Key, upload: &Upload<'_>, hooks: &dyn UploadHooks) -> Result<Stored, StoreError> {
        match self {
            Self::S3(store) => store.upload(key, upload, hooks).await,
        }
    }

    async fn verify(&self, key: &Key, upload: &Upload<'_>) -> Result<Stored, StoreError> {
        match self {
            Self::S3(store) => store.verify(key, upload).await,
        }
    }

    async fn abort(&self, key: &Key, upload_id: &str) -> Result<(), StoreError> {
        match self {
            Self::S3(store) => store.abort(key, upload_id).await,
        }
    }

    async fn abort_unfinished(&self, key: &Key) -> Result<(), StoreError> {
        match self {
            Self::S3(store) => store.abort_unfinished(key).await,
        }
    }

    async fn open_uploads(&self, folder: &Folder) -> Result<Vec<OpenUpload>, StoreError> {
        match self {
            Self::S3(store) => store.open_uploads(folder).await,
        }
    }

    async fn delete(&self, key: &Key) -> Result<Deletion, StoreError> {
        match self {
            Self::S3(store) => store.delete(key).await,
        }
    }

    async fn list(&self, folder: &Folder, from: Option<String>) -> Result<ListPage, StoreError> {
        match self {
            Self::S3(store) => store.list(folder, from).await,
        }
    }

    async fn sign(&self, key: &Key, ttl: Duration, now: Timestamp) -> Result<Signed, StoreError> {
        match self {
            Self::S3(store) => store.sign(key, ttl, now).await,
        }
    }

    async fn read(&self, file: &VeleroFile) -> Result<Option<ObjectBody>, StoreError> {
        match self {
            Self::S3(store) => store.read(file).await,
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<ObjectBody>, StoreError> {
        match self {
            Self::S3(store) => store.get(key).await,
        }
    }
}

//! Object stores: put, head, read, sign and delete. Everything that may be written, signed or deleted has a `Key`, and
//! everything of Velero's that may be read is a `VeleroFile`; the types leave no other way.
//! Which location is meant, and its credential, is decided in `location`.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;

pub mod error;
pub mod key;
pub mod s3;
pub mod signed;
pub mod velero_file;

pub(crate) use error::clock_words;
pub use error::{Action, Answer, StoreError};
pub use key::{Key, KeyError};
pub use s3::{Options, S3};
pub use signed::{Limit, Signed, SignedUrl};
pub use velero_file::{BackupFile, InvalidName, RestoreFile, VeleroFile};

/// What a store holds at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Size.
    pub bytes: u64,
    /// SHA-256 as whoever uploaded it noted it; hexadecimal.
    pub sha256: Option<String>,
    /// The store's own mark of this content.
    pub etag: Option<String>,
    /// What was noted beside it: uid, outcome and the like.
    pub meta: BTreeMap<String, String>,
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
    /// What is to be noted beside it, besides size and SHA-256: lower-case names, ASCII values, a few hundred bytes.
    pub meta: BTreeMap<String, String>,
}

/// Whoever wants to know how an upload goes.
pub trait UploadHooks: Send + Sync {
    /// A multipart upload has this id now and no part yet: the moment to note it, so that a successor can end it.
    /// An error gives the upload up.
    fn begun<'a>(&'a self, upload_id: &'a str) -> BoxFuture<'a, Result<(), String>>;
    /// So many bytes have arrived in all.
    fn sent(&self, bytes: u64);
}

/// The content of an object, as it comes.
pub struct Body {
    /// Its length, if the store says so.
    pub bytes: Option<u64>,
    /// The content; an error ends it.
    pub stream: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// An object store. Every operation may be repeated; none follows a redirect.
pub trait Store: Send + Sync {
    /// What is at `key`; nothing is `None`. A store that hides absence behind a refusal (no `s3:ListBucket`) gives
    /// `Denied`, which means: unknown.
    fn head(&self, key: &Key) -> impl Future<Output = Result<Option<Stored>, StoreError>> + Send;

    /// Sends the file. A failure, and dropping the future, leave no unfinished upload behind as far as the store lets
    /// itself be told; its id went to `hooks` before the first part.
    fn upload(
        &self,
        key: &Key,
        upload: &Upload<'_>,
        hooks: &dyn UploadHooks,
    ) -> impl Future<Output = Result<Stored, StoreError>> + Send;

    /// Compares what the store holds with the file: size, SHA-256 as noted, the first and the last bytes.
    ///
    /// # Errors
    /// `Corrupt` if they differ.
    fn verify(&self, key: &Key, upload: &Upload<'_>) -> impl Future<Output = Result<Stored, StoreError>> + Send;

    /// Ends an unfinished multipart upload; one that is gone is done.
    fn abort(&self, key: &Key, upload_id: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends every unfinished multipart upload of the key: also one that was created by a process that died before it
    /// could note the id. Without the right to list uploads there is nothing to be found, which is no error.
    fn abort_unfinished(&self, key: &Key) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes the object; one that is gone is done.
    fn delete(&self, key: &Key) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Signs a URL that downloads the object as a file of its own name. `ttl` is cut to what the store and the
    /// credential allow. Ask `head` first: a URL of what is not there can be signed too.
    fn sign(&self, key: &Key, ttl: Duration, now: Timestamp)
    -> impl Future<Output = Result<Signed, StoreError>> + Send;

    /// Reads a file of Velero's; `None` if it was never written.
    fn read(&self, file: &VeleroFile) -> impl Future<Output = Result<Option<Body>, StoreError>> + Send;

    /// The whole object at `key`, to hash what an earlier attempt left; `None` if there is none.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Body>, StoreError>> + Send;
}

/// The stores that there are.
#[derive(Clone, Debug)]
pub enum AnyStore {
    /// S3 and what speaks it.
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

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match self {
            Self::S3(store) => store.delete(key).await,
        }
    }

    async fn sign(&self, key: &Key, ttl: Duration, now: Timestamp) -> Result<Signed, StoreError> {
        match self {
            Self::S3(store) => store.sign(key, ttl, now).await,
        }
    }

    async fn read(&self, file: &VeleroFile) -> Result<Option<Body>, StoreError> {
        match self {
            Self::S3(store) => store.read(file).await,
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Body>, StoreError> {
        match self {
            Self::S3(store) => store.get(key).await,
        }
    }
}

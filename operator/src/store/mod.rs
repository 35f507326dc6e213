//! Object stores: put, head, list, read, sign and delete. The types ensure that only the object at a `Key` is written,
//! signed or deleted, only a `Folder` is listed, and only a `VeleroFile` of Velero's files is read. `provider` resolves a
//! location to the store behind it; each provider has a folder of its own.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use bytes::Bytes;
use debugbundle_redact::Secret;
use futures::{future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;

pub mod azure;
mod config_keys;
mod connect;
mod credentials_file;
pub mod error;
pub mod gcs;
pub mod key;
mod probe;
pub mod provider;
mod rest;
mod rsa_key;
pub mod s3;
#[cfg(test)]
mod scripted;
pub mod signed;
mod token;
mod transport;
pub mod velero_file;
mod verify;
mod wire;

pub use connect::{Detour, Stream};
pub(crate) use connect::{EndpointAccess, Tcp};
pub use error::{Action, Answer, StoreError};
pub use key::{Folder, InstallationId, Key, KeyError};
pub use probe::{Way, look_at_the_way, look_inside};
pub use provider::{Provider, ProviderConfig, Resolved, configured, examine, resolve, resolve_noting};
pub use signed::{Limit, Signed, SignedUrl};
pub use velero_file::{BackupFile, InvalidName, RestoreFile, VeleroFile};

/// How a store is used, besides what the location says.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Up to this size a file is sent in a single request, bytes.
    pub single_put: u64,
    /// Size of the parts of larger ones, bytes; S3 wants at least 5 MiB.
    pub part: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { single_put: 64 << 20, part: 8 << 20 }
    }
}

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

impl fmt::Debug for ObjectBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// What a store answers in time.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The folders directly below a location's prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// Their names, without slashes; at most a thousand.
    pub names: Vec<String>,
    /// Whether there are more.
    pub more: bool,
}

/// An object store. Every operation may be repeated; none follows a redirect. `docs/store-contract.md` lists what each
/// implementation promises.
pub trait Store: fmt::Debug + Send + Sync {
    /// What is at `key`; `None` if nothing is. A store that hides absence behind a refusal (S3 without the permission
    /// to list) returns `Denied`, which means unknown.
    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Stored>>;

    /// Sends the file. After a failure, or when the future is dropped, it aborts the unfinished upload if the store can
    /// be reached. `hooks` gets the upload's id before the first part.
    fn upload<'a>(
        &'a self,
        key: &'a Key,
        upload: &'a Upload<'a>,
        hooks: &'a dyn UploadHooks,
    ) -> StoreFuture<'a, Stored>;

    /// Compares the object in the store with the file: size, SHA-256 as noted, the first and the last bytes.
    ///
    /// # Errors
    /// `Corrupt` if they differ.
    fn verify<'a>(&'a self, key: &'a Key, upload: &'a Upload<'a>) -> StoreFuture<'a, Stored>;

    /// Aborts an unfinished upload; an absent one is no error.
    fn abort<'a>(&'a self, key: &'a Key, upload_id: &'a str) -> StoreFuture<'a, ()>;

    /// Aborts every unfinished upload of the key, even one of a process that died before it could note the id. Without
    /// the right to list uploads it finds none, which is no error.
    fn abort_unfinished<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()>;

    /// Unfinished uploads below a folder, at most a thousand. Without the right to list uploads it finds none, which is
    /// no error.
    fn open_uploads<'a>(&'a self, folder: &'a Folder) -> StoreFuture<'a, Vec<OpenUpload>>;

    /// Removes the object; an absent one is no error.
    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Deletion>;

    /// A page of the list of a folder; `from` is the [`next`](ListPage::next) of the page before it.
    ///
    /// # Errors
    /// Also if the store cut the list: a page without an error is whole.
    fn list<'a>(&'a self, folder: &'a Folder, from: Option<String>) -> StoreFuture<'a, ListPage>;

    /// Signs a URL that downloads the object under its own file name. `ttl` is cut to what the store and the credential
    /// allow. Call `head` first: the URL of an absent object can be signed too.
    fn sign<'a>(&'a self, key: &'a Key, ttl: Duration, now: Timestamp) -> StoreFuture<'a, Signed>;

    /// Reads a file of Velero; `None` if it was never written.
    fn read<'a>(&'a self, file: &'a VeleroFile) -> StoreFuture<'a, Option<ObjectBody>>;

    /// The whole object at `key`, to hash what an earlier attempt left; `None` if there is none.
    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<ObjectBody>>;

    /// The secret values of the credential that requests carry. Those of an identity change every hour or so, and no
    /// Secret contains them. Empty while the identity does not answer: then no request is sent either.
    fn known_values(&self) -> BoxFuture<'_, Vec<(&'static str, Secret)>>;

    /// Where requests go, for a probe; `None` if the config gives no address.
    fn way(&self) -> BoxFuture<'_, Option<Way>>;

    /// The folders below the location's prefix, by one listing.
    fn folders(&self) -> StoreFuture<'_, Folders>;

    /// By how many seconds the store's clock is ahead of ours, according to its last answer; `None` before one.
    fn clock_ahead(&self) -> Option<i64>;
}

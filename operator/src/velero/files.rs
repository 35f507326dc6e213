//! The files that Velero wrote about a Backup or Restore in the object store: how they are read, whatever the store is.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use debugbundle_crd::TargetKind;
use debugbundle_format::StoreFile;
use futures::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};

/// The most bytes that are read of a file that is one JSON value.
pub const JSON_FILE: u64 = 64 << 20;
/// The most bytes, compressed, that are kept of all files of a run between their two readers.
const KEPT: usize = 8 << 20;

/// The content of a file, as a stream.
pub type StoreBody = BoxStream<'static, Result<Bytes, io::Error>>;

/// The answer to [`StoreFiles::open`]; `None` if the store does not hold the file.
pub type OpenedFile<'a> = BoxFuture<'a, Result<Option<StoreBody>, StoreFailure>>;

/// Reads Velero's files in the object store.
pub trait StoreFiles: Send + Sync {
    /// Opens a file of the Backup or Restore `name`.
    fn open<'a>(&'a self, of: TargetKind, name: &'a str, file: StoreFile) -> OpenedFile<'a>;

    /// The key of the file's object, for the manifest.
    fn key(&self, of: TargetKind, name: &str, file: StoreFile) -> String;
}

/// Why a file of the store cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// The store refused, or there is no usable credential or location.
    #[error("{why}")]
    Denied {
        /// What was refused; without secrets and bodies of answers.
        why: String,
        /// What to do: names bucket, key and action.
        cure: String,
    },
    /// The store does not accept the location's credential.
    #[error("{why}")]
    NotAccepted {
        /// What it answered; without secrets.
        why: String,
    },
    /// The store did not answer, or failed.
    #[error("{why}")]
    Unreachable {
        /// How it failed.
        why: String,
    },
}

/// Fetches each file from the store once, for two readers: discovery reads through [`Self::keeping`], one file after the
/// other, and the collection gets the files that discovery has read. At most 8 MiB of all files together are kept, because
/// memory and disk must not hold more of them unredacted. A file beyond that is fetched again.
#[derive(Clone)]
pub struct CachedFiles {
    store: Arc<dyn StoreFiles>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    files: BTreeMap<Name, Bytes>,
    bytes: usize,
}

/// The file, and the Backup (`true`) or Restore that it belongs to.
type Name = (bool, String, StoreFile);

impl std::fmt::Debug for CachedFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedFiles").finish_non_exhaustive()
    }
}

impl CachedFiles {
    /// In front of this store.
    pub fn new(store: Arc<dyn StoreFiles>) -> Self {
        Self { store, kept: Arc::default() }
    }

    /// The files for the first reader: a file that it reads to the end is kept for the second one.
    pub fn keeping(&self) -> impl StoreFiles + use<> {
        Keeping(self.clone())
    }
}

/// The first reader's view of [`CachedFiles`].
struct Keeping(CachedFiles);

impl StoreFiles for Keeping {
    fn open<'a>(&'a self, of: TargetKind, name: &'a str, file: StoreFile) -> OpenedFile<'a> {
        async move {
            let CachedFiles { store, kept } = &self.0;
            let body = store.open(of, name, file).await?;
            Ok(body.map(|body| kept_at_its_end(body, key(of, name, file), Arc::clone(kept))))
        }
        .boxed()
    }

    fn key(&self, of: TargetKind, name: &str, file: StoreFile) -> String {
        self.0.key(of, name, file)
    }
}

impl StoreFiles for CachedFiles {
    /// Returns what the first reader kept, once; else reads the store.
    fn open<'a>(&'a self, of: TargetKind, name: &'a str, file: StoreFile) -> OpenedFile<'a> {
        match lock(&self.kept).take(&key(of, name, file)) {
            Some(content) => {
                let body = stream::once(std::future::ready(Ok(content))).boxed();
                std::future::ready(Ok(Some(body))).boxed()
            }
            None => self.store.open(of, name, file),
        }
    }

    fn key(&self, of: TargetKind, name: &str, file: StoreFile) -> String {
        self.store.key(of, name, file)
    }
}

impl Kept {
    fn put(&mut self, key: Name, content: Bytes) {
        let bytes = content.len();
        let before = self.files.insert(key, content);
        self.bytes = self.bytes + bytes - before.map_or(0, |before| before.len());
    }

    fn take(&mut self, key: &Name) -> Option<Bytes> {
        let content = self.files.remove(key)?;
        self.bytes -= content.len();
        Some(content)
    }
}

fn key(of: TargetKind, name: &str, file: StoreFile) -> Name {
    (of == TargetKind::Backup, name.to_owned(), file)
}

/// The same body; when it has ended without an error, its bytes are kept, if all kept files together stay within [`KEPT`].
fn kept_at_its_end(body: StoreBody, key: Name, kept: Arc<Mutex<Kept>>) -> StoreBody {
    let so_far = Some(BytesMut::new());
    let pieces = stream::unfold((body, so_far, key, kept), |(mut body, mut so_far, key, kept)| async move {
        let piece = body.next().await;
        match (&piece, &mut so_far) {
            (Some(Ok(piece)), Some(content)) if lock(&kept).bytes + content.len() + piece.len() <= KEPT => {
                content.extend_from_slice(piece);
            }
            (None, Some(content)) => lock(&kept).put(key.clone(), content.split().freeze()),
            _ => so_far = None,
        }
        Some((piece?, (body, so_far, key, kept)))
    });
    pieces.boxed()
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A store whose file has this many pieces of 1 MiB; it counts how often it is asked.
    struct Counting {
        pieces: usize,
        breaks: bool,
        asked: AtomicUsize,
    }

    impl StoreFiles for Counting {
        fn open<'a>(&'a self, _: TargetKind, _: &'a str, _: StoreFile) -> OpenedFile<'a> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let whole = (0..self.pieces).map(|n| Ok(Bytes::from(vec![u8::try_from(n).expect("few"); 1 << 20])));
            let broken = self.breaks.then(|| Err(io::Error::other("reset")));
            let body = stream::iter(whole.chain(broken).collect::<Vec<_>>());
            async move { Ok(Some(body.boxed())) }.boxed()
        }

        fn key(&self, _: TargetKind, name: &str, _: StoreFile) -> String {
            name.to_owned()
        }
    }

    async fn read(files: &impl StoreFiles, file: StoreFile) -> usize {
        let body = files.open(TargetKind::Restore, "r1", file).await.expect("it answers").expect("it is there");
        body.filter_map(async |piece| piece.ok().map(|piece| piece.len())).collect::<Vec<_>>().await.iter().sum()
    }

    async fn asked(pieces: usize, breaks: bool, readers: usize) -> usize {
        let store = Arc::new(Counting { pieces, breaks, asked: AtomicUsize::new(0) });
        let files = CachedFiles::new(store.clone());
        assert_eq!(read(&files.keeping(), StoreFile::Results).await, pieces << 20);
        for _ in 1..readers {
            assert_eq!(read(&files, StoreFile::Results).await, pieces << 20);
        }
        store.asked.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_file_is_fetched_once_for_two_readers_unless_it_is_large_or_broke_off() {
        assert_eq!(asked(3, false, 2).await, 1);
        assert_eq!(asked(3, false, 3).await, 2, "it is not kept for ever");
        assert_eq!(asked(9, false, 2).await, 2, "it is too large");
        assert_eq!(asked(3, true, 2).await, 2, "it broke off");
    }

    #[tokio::test]
    async fn all_files_together_are_bounded() {
        let files = CachedFiles::new(Arc::new(Counting { pieces: 5, breaks: false, asked: AtomicUsize::new(0) }));
        for file in [StoreFile::Results, StoreFile::VolumeInfo] {
            read(&files.keeping(), file).await;
        }
        let (number, bytes) = {
            let kept = lock(&files.kept);
            (kept.files.len(), kept.bytes)
        };
        assert_eq!((number, bytes), (1, 5 << 20));
        read(&files, StoreFile::Results).await;
        assert_eq!(lock(&files.kept).bytes, 0);
        read(&files, StoreFile::VolumeInfo).await;
        assert_eq!(lock(&files.kept).bytes, 0, "the collection keeps nothing");
    }
}

//! Proof that what a store holds is the file that was sent: size, recorded SHA-256, the first and the last bytes.

use std::io::SeekFrom;

use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{Key, Store, StoreError, StoreFuture, Stored, Upload};

/// Bytes that are compared at each end of the object.
const PROBE: u64 = 4096;

/// A store that can read a part of an object.
pub(super) trait ReadsRanges: Store {
    /// A part of the object, of at most a few KiB.
    fn range<'a>(&'a self, key: &'a Key, from: u64, length: u64) -> StoreFuture<'a, Vec<u8>>;
}

/// Whether the store holds what was sent, by its size and its recorded SHA-256: then only a reply was lost.
pub(super) async fn holds(store: &impl Store, key: &Key, upload: &Upload<'_>) -> bool {
    let found = store.head(key).await.ok().flatten();
    found.is_some_and(|found| found.sha256.as_deref() == Some(upload.sha256) && found.bytes == upload.bytes)
}

async fn read_range(upload: &Upload<'_>, from: u64, length: u64) -> Result<Vec<u8>, StoreError> {
    let wanted = usize::try_from(length).map_err(|_| local(upload, std::io::ErrorKind::FileTooLarge.into()))?;
    let mut data = vec![0; wanted];
    let mut file = tokio::fs::File::open(upload.file).await.map_err(|error| local(upload, error))?;
    file.seek(SeekFrom::Start(from)).await.map_err(|error| local(upload, error))?;
    file.read_exact(&mut data).await.map_err(|error| local(upload, error))?;
    Ok(data)
}

pub(super) fn local(upload: &Upload<'_>, source: std::io::Error) -> StoreError {
    StoreError::Local { path: upload.file.to_owned(), source }
}

/// Compares the object in the store with the file.
pub(super) async fn verify(store: &impl ReadsRanges, key: &Key, upload: &Upload<'_>) -> Result<Stored, StoreError> {
    let corrupt = |why: String| Err(StoreError::Corrupt(why));
    let Some(found) = store.head(key).await? else {
        return corrupt("there is no object at its key".to_owned());
    };
    if found.bytes != upload.bytes {
        return corrupt(format!("it has {} bytes, {} were sent", found.bytes, upload.bytes));
    }
    if found.sha256.as_deref() != Some(upload.sha256) {
        return corrupt("its recorded SHA-256 differs".to_owned());
    }
    if upload.bytes > 0 {
        let length = PROBE.min(upload.bytes);
        for (from, what) in [(0, "first"), (upload.bytes - length, "last")] {
            if store.range(key, from, length).await? != read_range(upload, from, length).await? {
                return corrupt(format!("its {what} {length} bytes differ"));
            }
        }
    }
    Ok(found)
}

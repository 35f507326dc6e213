//! Sends a sealed bundle: in one request if it is small, otherwise in blocks, which a last request joins.
//!
//! Azure has no id of an upload: blocks wait below the blob's name until a list names them, or a week has passed. Ours
//! begin with an id that says when the upload began; the first block has no byte of the bundle, and only marks it.
//!
//! A blob is written only as it was seen when the upload began, absent or with this ETag: of two writers one is refused.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderName, Method, header};
use jiff::Timestamp;

use super::{
    AzureBlob,
    answers::block_names,
    client::{BlobClient, BlobRequest},
};
use crate::store::{
    Action, Key, Store as _, StoreError, Upload, UploadHooks,
    rest::{Content, is_absent, md5_of, new_upload_id, pieces},
    signed::{CONTENT_TYPE, disposition},
    verify::holds,
};

/// Blocks that are sent at once.
const IN_FLIGHT: usize = 2;
/// Azure takes 50 000.
const MOST_BLOCKS: u64 = 49_000;
/// The last part of the marking block's name.
const MARK: &str = "begin";
/// Bytes of a list of blocks that are read.
const SOME_BLOCKS: usize = 64 << 10;

/// The upload that a block belongs to, and when it began; `None` for a block of another program.
fn upload_of(block: &str) -> Option<(&str, Timestamp)> {
    let (id, last) = block.rsplit_once('-')?;
    let (begun, random) = id.split_once('-')?;
    let ours = begun.len() == 10 && random.len() == 16 && last.len() == MARK.len();
    let begun = Timestamp::from_second(begun.parse().ok()?).ok()?;
    ours.then_some((id, begun))
}

/// The name of a block; all of a blob must have the same length.
fn block_name(id: &str, last: &str) -> String {
    STANDARD.encode(format!("{id}-{last}"))
}

/// What is at a blob's name when its upload begins; it is written only over that.
#[derive(Debug)]
enum Before {
    Nothing,
    Blob { etag: String },
}

impl Before {
    fn condition<'a>(&self, request: BlobRequest<'a>) -> BlobRequest<'a> {
        match self {
            Self::Nothing => request.header(header::IF_NONE_MATCH, "*"),
            Self::Blob { etag } => request.header(header::IF_MATCH, etag),
        }
    }
}

/// A blob that is not as it was seen: another process wrote it, so the next try looks at it again.
fn overtaken(error: StoreError) -> StoreError {
    match error {
        StoreError::Rejected(answer) if matches!(answer.code(), "BlobAlreadyExists" | "ConditionNotMet") => {
            StoreError::Unavailable(answer)
        }
        error => error,
    }
}

impl AzureBlob {
    async fn before(&self, key: &Key) -> Result<Before, StoreError> {
        let found = self.head(key).await?;
        Ok(found.and_then(|found| found.etag).map_or(Before::Nothing, |etag| Before::Blob { etag }))
    }

    /// Sends the whole file in one request; the store compares its MD5.
    pub(super) async fn put_single(&self, key: &Key, upload: &Upload<'_>) -> Result<(), StoreError> {
        let request = described(BlobRequest::new(Action::Put, Method::PUT, key.as_str()), key, upload);
        let request = self
            .before(key)
            .await?
            .condition(request)
            .header(HeaderName::from_static("x-ms-blob-type"), "BlockBlob")
            .header(HeaderName::from_static("content-md5"), &md5_of(upload, 0, upload.bytes).await?)
            .content(Content::File { upload, from: 0, length: upload.bytes });
        match self.client.send(&request).await {
            // After a lost reply the blob is there, and the next attempt is refused.
            Err(error) if !holds(self, key, upload).await => Err(overtaken(error)),
            _ => Ok(()),
        }
    }

    /// Sends the file in blocks.
    pub(super) async fn put_blocks(
        &self,
        key: &Key,
        upload: &Upload<'_>,
        hooks: &dyn UploadHooks,
    ) -> Result<(), StoreError> {
        let (id, before) = (new_upload_id(Timestamp::now())?, self.before(key).await?);
        let mut open = Open { client: self.client.clone(), key: key.as_str().to_owned(), armed: true };
        let sent = async {
            let mark = Content::Memory(Bytes::from_static(b"-"));
            self.client.send(&block(key, block_name(&id, MARK)).content(mark)).await?;
            self.send_blocks(key, upload, hooks, (&id, &before)).await
        };
        let sent = sent.await;
        let error = match sent {
            Err(error) if !holds(self, key, upload).await => error,
            // The object is there; after an error, only the reply was lost.
            _ => {
                open.armed = false;
                return Ok(());
            }
        };
        if let Err(left) = discard(&self.client, key.as_str()).await {
            // Without its message: it may contain words of the store, in which nothing masks the credential here.
            tracing::warn!(key = %key, reason = left.reason().as_str(), "Could not discard the blocks of the upload");
        }
        open.armed = false;
        Err(overtaken(error))
    }

    async fn send_blocks(
        &self,
        key: &Key,
        upload: &Upload<'_>,
        hooks: &dyn UploadHooks,
        (id, before): (&str, &Before),
    ) -> Result<(), StoreError> {
        hooks.begun(id).await.map_err(StoreError::NotNoted)?;
        let size = self.config.block.unwrap_or(self.options.part).max(upload.bytes.div_ceil(MOST_BLOCKS));
        let mut sent = 0;
        let blocks = (0..upload.bytes.div_ceil(size)).map(|index| {
            let from = index * size;
            self.send_block(key, upload, block_name(id, &format!("{index:05}")), from, size.min(upload.bytes - from))
        });
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        let mut blocks = stream::iter(blocks).buffered(IN_FLIGHT);
        while let Some((name, bytes)) = blocks.try_next().await? {
            for part in ["<Uncommitted>", &name, "</Uncommitted>"] {
                list.push_str(part);
            }
            sent += bytes;
            hooks.sent(sent);
        }
        list.push_str("</BlockList>");
        let request = described(BlobRequest::new(Action::Put, Method::PUT, key.as_str()), key, upload)
            .query("comp", "blocklist")
            .content(Content::Memory(list.into()));
        self.client.send(&before.condition(request)).await.map(drop)
    }

    async fn send_block(
        &self,
        key: &Key,
        upload: &Upload<'_>,
        name: String,
        from: u64,
        length: u64,
    ) -> Result<(String, u64), StoreError> {
        // The block is read twice, once to hash: held in memory it would be the largest thing there.
        let request = block(key, name.clone())
            .header(HeaderName::from_static("content-md5"), &md5_of(upload, from, length).await?)
            .content(Content::File { upload, from, length });
        self.client.send(&request).await?;
        Ok((name, length))
    }

    /// The upload whose blocks wait below this name, and when it began.
    pub(super) async fn waiting(&self, key: &str) -> Result<Option<(String, Timestamp)>, StoreError> {
        let request = BlobRequest::new(Action::ListUploads, Method::GET, key)
            .query("comp", "blocklist")
            .query("blocklisttype", "uncommitted");
        let response = match self.client.send(&request).await {
            Ok(response) => response,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (mut body, mut read) = (pieces(response), Vec::new());
        while read.len() < SOME_BLOCKS
            && let Some(piece) = body.try_next().await?
        {
            read.extend_from_slice(&piece);
        }
        let list = String::from_utf8_lossy(&read);
        let found = block_names(&list).find_map(|name| upload_of(&name).map(|(id, begun)| (id.to_owned(), begun)));
        Ok(found)
    }
}

fn block(key: &Key, name: String) -> BlobRequest<'_> {
    BlobRequest::new(Action::Put, Method::PUT, key.as_str()).query("comp", "block").query("blockid", name)
}

/// Sets what describes the blob, the same for a single request and for the last of many.
fn described<'a>(request: BlobRequest<'a>, key: &Key, upload: &Upload<'_>) -> BlobRequest<'a> {
    let bytes = upload.bytes.to_string();
    let meta = upload.meta.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    meta.chain([("sha256", upload.sha256), ("bytes", &bytes)])
        .filter_map(|(name, value)| Some((HeaderName::from_bytes(format!("x-ms-meta-{name}").as_bytes()).ok()?, value)))
        .fold(request, |request, (name, value)| request.header(name, value))
        .header(HeaderName::from_static("x-ms-blob-content-type"), CONTENT_TYPE)
        .header(HeaderName::from_static("x-ms-blob-content-disposition"), &disposition(key))
}

/// Removes the blocks that wait below a name: an empty list makes a blob without them, which is deleted. Where a blob is
/// already, they stay until a week has passed.
pub(super) async fn discard(client: &BlobClient, key: &str) -> Result<(), StoreError> {
    let empty = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList></BlockList>";
    let request = BlobRequest::new(Action::Abort, Method::PUT, key)
        .query("comp", "blocklist")
        .header(header::IF_NONE_MATCH, "*")
        .content(Content::Memory(empty.into()));
    let made = match client.send(&request).await {
        Ok(made) => made,
        Err(StoreError::Rejected(answer)) if matches!(answer.status, 409 | 412) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut request = BlobRequest::new(Action::Abort, Method::DELETE, key);
    if let Some(etag) = made.headers().get(header::ETAG) {
        // Only the empty blob: somebody may write the real one meanwhile.
        request.headers.insert(header::IF_MATCH, etag.clone());
    }
    match client.send(&request).await {
        Ok(_) => Ok(()),
        Err(StoreError::Rejected(answer)) if matches!(answer.status, 404 | 412) => Ok(()),
        Err(error) => Err(error),
    }
}

/// An unfinished upload. Dropping it, with the future that sends, discards its blocks.
struct Open {
    client: BlobClient,
    key: String,
    armed: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.armed, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (client, key) = (self.client.clone(), std::mem::take(&mut self.key));
        // Nobody waits for it; if it fails, a successor can discard the blocks by the id that was noted.
        runtime.spawn(async move { discard(&client, &key).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocks_name_says_whose_it_is_and_since_when() {
        let now: Timestamp = "2026-11-26T03:00:00Z".parse().expect("a time");
        let id = new_upload_id(now).expect("an id");
        let names = [MARK, "00000", "48999"].map(|last| block_name(&id, last));
        assert!(names.iter().all(|name| name.len() == names[0].len()), "{names:?}");
        for name in names {
            let name = String::from_utf8(STANDARD.decode(name).expect("base64")).expect("text");
            assert_eq!(upload_of(&name), Some((id.as_str(), now)));
        }
        for foreign in ["00000001", "a-b-c", "1764126000-0011223344556677", "1764126000-00112233-begin", ""] {
            assert_eq!(upload_of(foreign), None, "{foreign}");
        }
    }
}

//! Sends a sealed bundle in a resumable session: a small one as one part, a large one in many. The store makes the object
//! when the last byte is there and the MD5 of all is the announced one.
//! <https://docs.cloud.google.com/storage/docs/performing-resumable-uploads>
//!
//! A session has an address that lets anybody write, so it stays in memory; what is on record is an id of our own. An
//! object is written only over the generation that was seen when the upload began: of two writers one is refused.

use http::{Method, Response, StatusCode, header};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::json;
use url::Url;

use super::{
    GoogleCloudStorage,
    client::{GcsClient, GcsRequest, Resource},
};
use crate::store::{
    Action, Key, StoreError, Upload, UploadHooks,
    rest::{ATTEMPTS, Content, is_attempted_again, md5_of, new_upload_id, pause},
    signed::{CONTENT_TYPE, disposition},
    verify::holds,
};

/// Each part but the last is a multiple of this, bytes.
const UNIT: u64 = 256 << 10;

/// How far a session is.
enum Progress {
    /// The object is made.
    Done,
    /// The store has all bytes before this one.
    At(u64),
}

/// A session that was begun. Dropping it, with the future that sends, cancels it.
struct Session {
    client: GcsClient,
    id: String,
    armed: bool,
}

/// An object that is not as it was seen: another process wrote it, so the next try looks at it again.
fn overtaken(error: StoreError) -> StoreError {
    match error {
        StoreError::Rejected(answer) if answer.status == 412 => StoreError::Unavailable(answer),
        error => error,
    }
}

impl GoogleCloudStorage {
    /// Sends the file.
    pub(super) async fn put(&self, key: &Key, upload: &Upload<'_>, hooks: &dyn UploadHooks) -> Result<(), StoreError> {
        let in_parts = upload.bytes > self.options.single_put;
        let part = if in_parts { (self.options.part / UNIT).max(1) * UNIT } else { upload.bytes.max(1) };
        let mut session = self.begin(key, upload).await.map_err(overtaken)?;
        let sent = async {
            if in_parts {
                hooks.begun(&new_upload_id(Timestamp::now())?).await.map_err(StoreError::NotNoted)?;
            }
            session.send(upload, part, hooks).await
        };
        let sent = sent.await;
        session.armed = false;
        match sent {
            Err(error) if !holds(self, key, upload).await => {
                if let Err(left) = session.cancel().await {
                    // Without its message, in which nothing masks the credential here. The store forgets the session.
                    tracing::warn!(key = %key, reason = left.reason().as_str(), "Could not cancel the upload");
                }
                Err(overtaken(error))
            }
            // The object is there; after an error, only the reply was lost.
            _ => Ok(()),
        }
    }

    async fn begin(&self, key: &Key, upload: &Upload<'_>) -> Result<Session, StoreError> {
        let md5 = md5_of(upload, 0, upload.bytes).await?;
        let bytes = upload.bytes.to_string();
        let mut metadata = upload.meta.clone();
        metadata.insert("sha256".to_owned(), upload.sha256.to_owned());
        metadata.insert("bytes".to_owned(), bytes.clone());
        let described = json!({
            "name": key.as_str(), "contentType": CONTENT_TYPE, "contentDisposition": disposition(key),
            "md5Hash": md5, "metadata": metadata,
        });
        // Generation 0 means: only if there is no object.
        let before = self.object(key).await?.map_or(0, |object| object.generation);
        let mut request = GcsRequest::new(Action::Put, Method::POST, Resource::NewSession)
            .query("uploadType", "resumable")
            .query("name", key.as_str())
            .query("ifGenerationMatch", before.to_string())
            .header(header::CONTENT_TYPE, "application/json; charset=UTF-8")
            .header(header::HeaderName::from_static("x-upload-content-type"), CONTENT_TYPE)
            .header(header::HeaderName::from_static("x-upload-content-length"), &bytes)
            .content(Content::Memory(described.to_string().into()));
        request.query.extend(self.kms_key.as_ref().map(|key| ("kmsKeyName", key.clone())));
        let begun = self.client.send(&request).await?;
        let id = session_id(&begun).ok_or_else(|| StoreError::silent("the store began no session"))?;
        Ok(Session { client: self.client.clone(), id, armed: true })
    }
}

/// The id in the address of a new session. Of the address nothing else counts: requests go where the location says.
fn session_id(begun: &Response<Incoming>) -> Option<String> {
    let address = Url::parse(begun.headers().get(header::LOCATION)?.to_str().ok()?).ok()?;
    address.query_pairs().find(|(name, _)| name == "upload_id").map(|(_, id)| id.into_owned())
}

impl Session {
    /// Sends what the store has not yet. After a failure the store says how far it is.
    async fn send(&self, upload: &Upload<'_>, part: u64, hooks: &dyn UploadHooks) -> Result<(), StoreError> {
        let (mut at, mut failed) = (Some(0), 0);
        loop {
            let (to, progress) = match at {
                Some(from) => {
                    let to = (from + part).min(upload.bytes);
                    (to, self.send_part(upload, from, to).await)
                }
                None => (upload.bytes, self.put(range_of_none(upload), Content::Memory(bytes::Bytes::new())).await),
            };
            let error = match progress {
                Ok(Progress::Done) => {
                    hooks.sent(upload.bytes);
                    return Ok(());
                }
                Ok(Progress::At(next)) if next > to => {
                    return Err(StoreError::silent("the store confirms more than was sent"));
                }
                Ok(Progress::At(next)) => {
                    let goes_on = at.is_none_or(|from| next > from);
                    if at.is_some() && goes_on {
                        failed = 0;
                        hooks.sent(next);
                    }
                    at = Some(next);
                    if goes_on {
                        continue;
                    }
                    StoreError::silent("the store keeps nothing of what was sent")
                }
                Err(error) if is_attempted_again(&error) && !is_gone(&error) => {
                    at = None;
                    error
                }
                Err(error) => return Err(error),
            };
            failed += 1;
            if failed >= ATTEMPTS {
                return Err(error);
            }
            tokio::time::sleep(pause(failed)).await;
        }
    }

    /// Sends the bytes of a part.
    async fn send_part(&self, upload: &Upload<'_>, from: u64, to: u64) -> Result<Progress, StoreError> {
        if from == to {
            return self.put(range_of_none(upload), Content::Memory(bytes::Bytes::new())).await;
        }
        let range = format!("bytes {from}-{}/{}", to - 1, upload.bytes);
        self.put(range, Content::File { upload, from, length: to - from }).await
    }

    async fn put(&self, range: String, content: Content<'_>) -> Result<Progress, StoreError> {
        let request = self.request(Action::Put, Method::PUT).header(header::CONTENT_RANGE, &range).content(content);
        let answer = self.client.send_once(&request).await?;
        if answer.status() != StatusCode::PERMANENT_REDIRECT {
            return Ok(Progress::Done);
        }
        let Some(range) = answer.headers().get(header::RANGE) else { return Ok(Progress::At(0)) };
        let last = range.to_str().ok().and_then(|range| range.rsplit_once('-')).and_then(|(_, last)| last.parse().ok());
        let last: u64 = last.ok_or_else(|| StoreError::silent("the store does not say what it has"))?;
        Ok(Progress::At(last.saturating_add(1)))
    }

    async fn cancel(&self) -> Result<(), StoreError> {
        match self.client.send(&self.request(Action::Abort, Method::DELETE)).await {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn request<'a>(&self, action: Action, method: Method) -> GcsRequest<'a> {
        let request = GcsRequest::new(action, method, Resource::Session);
        request.query("uploadType", "resumable").query("upload_id", self.id.as_str())
    }
}

/// The range by which a request sends nothing and asks how far the session is.
fn range_of_none(upload: &Upload<'_>) -> String {
    format!("bytes */{}", upload.bytes)
}

/// Whether the store knows the session no longer, or never makes an object of it.
fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(answer) if matches!(answer.status, 400 | 404 | 410))
}

impl Drop for Session {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.armed, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let session = Self { client: self.client.clone(), id: std::mem::take(&mut self.id), armed: false };
        // Nobody waits for it; if it fails, the store forgets the session after a week.
        runtime.spawn(async move { session.cancel().await });
    }
}

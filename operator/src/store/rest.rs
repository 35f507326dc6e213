//! What the providers with a REST API share: what a request carries, its further attempts, and answers that are read.

use std::{future::Future, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use debugbundle_format::hex;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::Timestamp;
use md5::{Digest as _, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{
    Answer, Detour, Resolved, StoreError, Upload,
    connect::EndpointAccess,
    transport::{HttpTransport, MOST_ANSWER, RequestBody},
    verify::local,
};
use crate::probe::ProbeStep;

/// How often a request is sent.
pub(super) const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; each further one is four times as long.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a file that are in memory at once, for each request.
const PIECE: usize = 64 << 10;

/// What a query value must not contain as it is.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What a path must not contain as it is.
const IN_PATH: &AsciiSet = &IN_QUERY.remove(b'/');

/// What a request sends.
pub(super) enum Content<'a> {
    /// Bytes in memory.
    Memory(Bytes),
    /// A range of a file.
    File { upload: &'a Upload<'a>, from: u64, length: u64 },
}

impl Content<'_> {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    /// Read from the file as it is sent.
    pub(super) async fn body(&self) -> Result<RequestBody, StoreError> {
        match self {
            Self::Memory(bytes) => Ok(Full::new(bytes.clone()).map_err(Into::into).boxed_unsync()),
            Self::File { upload, from, length } => {
                let mut file = tokio::fs::File::open(upload.file).await.map_err(|error| local(upload, error))?;
                file.seek(std::io::SeekFrom::Start(*from)).await.map_err(|error| local(upload, error))?;
                let pieces = ReaderStream::with_capacity(file.take(*length), PIECE);
                Ok(StreamBody::new(pieces.map_ok(Frame::data).map_err(Into::into)).boxed_unsync())
            }
        }
    }
}

/// Connections to the location's store, and the rules by which they are made.
pub(super) fn transport(
    resolved: &Resolved,
    detour: Option<Arc<dyn Detour>>,
) -> Result<(HttpTransport, EndpointAccess), StoreError> {
    let reach = EndpointAccess::stores(resolved.policy)
        .map_err(|error| StoreError::Unreachable { at: ProbeStep::Connection, why: error.to_string() })?
        .with_detour(detour);
    let transport = HttpTransport::new(resolved.ca_pem.as_deref(), false, reach.clone()).map_err(|_| {
        StoreError::Unreachable { at: ProbeStep::Tls, why: "the location's certificates cannot be used".to_owned() }
    })?;
    Ok((transport, reach))
}

/// Sends until the answer is a success; after the last attempt the error says why it was not. Each attempt is signed
/// anew: after a skewed one by the store's clock.
pub(super) async fn attempted<T, F>(send: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut attempt = 1;
    loop {
        match send().await {
            Err(error) if attempt < ATTEMPTS && is_attempted_again(&error) => {
                tokio::time::sleep(pause(attempt)).await;
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

/// Whether another attempt may succeed within seconds.
pub(super) fn is_attempted_again(error: &StoreError) -> bool {
    error.is_transient() && !matches!(error, StoreError::Full(_))
}

/// The pause after this many failed attempts.
pub(super) fn pause(failed: u32) -> Duration {
    PAUSE * 4_u32.pow(failed.saturating_sub(1))
}

/// Our own id of an upload: when it began, in seconds, and random digits.
pub(super) fn new_upload_id(now: Timestamp) -> Result<String, StoreError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| StoreError::NotNoted("the system has no random numbers".to_owned()))?;
    Ok(format!("{:010}-{}", now.as_second(), hex(&random)))
}

/// The MD5 of a range of the file, in base64.
pub(super) async fn md5_of(upload: &Upload<'_>, from: u64, length: u64) -> Result<String, StoreError> {
    let mut file = tokio::fs::File::open(upload.file).await.map_err(|error| local(upload, error))?;
    file.seek(std::io::SeekFrom::Start(from)).await.map_err(|error| local(upload, error))?;
    let mut file = file.take(length);
    let (mut sum, mut buffer) = (Md5::new(), vec![0; PIECE]);
    loop {
        let read = file.read(&mut buffer).await.map_err(|error| local(upload, error))?;
        if read == 0 && file.limit() > 0 {
            return Err(local(upload, std::io::ErrorKind::UnexpectedEof.into()));
        }
        if read == 0 {
            return Ok(STANDARD.encode(sum.finalize()));
        }
        sum.update(&buffer[..read]);
    }
}

/// The value of a query's parameter, encoded.
pub(super) fn in_query(value: &str) -> String {
    utf8_percent_encode(value, IN_QUERY).to_string()
}

/// A part of a path, encoded; its slashes stay.
pub(super) fn in_path(value: &str) -> String {
    utf8_percent_encode(value, IN_PATH).to_string()
}

/// Adds a header. Characters that headers cannot carry become `_`.
pub(super) fn set_plain(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let plain: String =
        value.chars().map(|letter| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '_' }).collect();
    if let Ok(value) = HeaderValue::from_str(&plain) {
        headers.insert(name, value);
    }
}

/// A 404 is taken for an absent object: an absent bucket is another error.
pub(super) fn is_absent(error: &StoreError) -> bool {
    matches!(error, StoreError::Rejected(answer) if answer.status == 404)
}

/// The length that an answer states.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole of a short answer, as text.
pub(super) async fn text(response: Response<Incoming>) -> Result<String, StoreError> {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await;
    let body = body.map_err(|_| StoreError::Unavailable(Answer::new(status, None)))?.to_bytes();
    String::from_utf8(body.into()).map_err(|_| StoreError::Unavailable(Answer::new(status, None)))
}

/// The content of an answer, as it arrives; an error ends it.
pub(super) fn pieces(response: Response<Incoming>) -> stream::BoxStream<'static, Result<Bytes, StoreError>> {
    let body = response.into_body().into_data_stream();
    body.map_err(|_| StoreError::silent("the response was interrupted")).boxed()
}

/// The header that asks for a range of an object.
pub(super) fn range(from: u64, length: u64) -> String {
    format!("bytes={from}-{}", from + length - 1)
}

/// The content of an answer to a request for a range of this length.
///
/// # Errors
/// `Corrupt`: the answer is longer.
pub(super) async fn ranged(response: Response<Incoming>, length: u64) -> Result<Vec<u8>, StoreError> {
    let (mut body, mut read) = (pieces(response), Vec::new());
    while let Some(piece) = body.try_next().await? {
        read.extend_from_slice(&piece);
        // A store that ignores ranges sends the whole object: it is not read to its end.
        if read.len() as u64 > length {
            return Err(StoreError::Corrupt("the store returned more than the requested range".to_owned()));
        }
    }
    Ok(read)
}

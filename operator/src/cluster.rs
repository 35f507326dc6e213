//! How this operator reads the API server: every call ends, every answer is bounded, lists come in pages and item by
//! item. Nothing is written to the cluster from here.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use debugbundle_diagnosis::{Kind, KindScope, Resource};
use futures::{Stream, StreamExt as _};
use http::Request;
use http_body_util::BodyExt as _;
use kube::{api::ApiResource, client::Body, core::GroupVersionKind};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::shared_answers::SharedAnswers;

/// Items asked for in one page of a list.
pub const PAGE: usize = 500;
/// Largest piece that waits between a connection and the thread that reads it; at most [`PIECES`] wait.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 4;
/// Longest error body that is read, and longest message kept of it (bytes).
const ERROR_BODY: usize = 64 * 1024;
const MESSAGE: usize = 512;
/// How often a list starts again because its continue token expired.
const RESTARTS: usize = 3;

/// Why a request to the API server failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// It refused. `reason` is the machine-readable word of its Status.
    #[error("{code} {reason}: {message}")]
    Status {
        /// HTTP status.
        code: u16,
        /// Such as `Forbidden`.
        reason: String,
        /// Escaped, at most 512 bytes.
        message: String,
    },
    /// No answer began in time.
    #[error("no answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// The connection could not be made or used.
    #[error("connection failed: {0}")]
    Connection(String),
    /// The answer broke off.
    #[error("connection was reset: {0}")]
    Reset(String),
    /// No more bytes of the answer came.
    #[error("no data for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The caller's deadline passed.
    #[error("the time limit was reached")]
    Deadline,
    /// The answer is not JSON, or not of the expected shape.
    #[error("the response cannot be read: {0}")]
    Malformed(String),
    /// The answer is larger than the caller allows (bytes).
    #[error("the response is larger than {0} bytes")]
    TooLarge(usize),
}

impl ClusterError {
    /// The HTTP status, if there was an answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The object, or its kind, does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// The permission is missing.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }
}

/// Foreign text made safe for a message: control and bidi characters escaped, cut at `limit` bytes.
pub fn bounded(text: &str, limit: usize) -> String {
    let mut kept = String::new();
    for c in text.trim().chars() {
        let bidi = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let piece: String = match c {
            '\n' | '\r' | '\t' => " ".to_owned(),
            c if c.is_control() || bidi => c.escape_unicode().collect(),
            c => c.to_string(),
        };
        if kept.len() + piece.len() > limit.saturating_sub(3) {
            kept.push('…');
            break;
        }
        kept.push_str(&piece);
    }
    kept
}

/// An error with all its causes in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    bounded(&text, MESSAGE)
}

/// A kind as the API server serves it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApiKind {
    /// Empty for core.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// The name in URLs.
    pub plural: String,
    /// The name in objects.
    pub kind: String,
    /// Lives in a namespace.
    pub namespaced: bool,
}

impl ApiKind {
    /// A namespaced kind.
    pub fn namespaced(group: &str, version: &str, plural: &str, kind: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced: true,
        }
    }

    /// A kind of the whole cluster.
    pub fn cluster(group: &str, version: &str, plural: &str, kind: &str) -> Self {
        Self { namespaced: false, ..Self::namespaced(group, version, plural, kind) }
    }

    /// A kind that the diagnosis knows; `None` if no API serves it.
    pub fn of(kind: &Kind) -> Option<Self> {
        let Resource { group, version, plural, scope } = kind.resource()?;
        let namespaced = scope != KindScope::Cluster;
        Some(Self { namespaced, ..Self::namespaced(group, version, plural, kind.as_str()) })
    }

    /// The same for kube's client.
    pub fn resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&self.group, &self.version, &self.kind), &self.plural)
    }

    /// `group/version`, or the version alone for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of the list, in the namespace or in the whole cluster.
    pub fn list_path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let place = match namespace {
            Some(namespace) if self.namespaced => format!("/namespaces/{}", segment(namespace)),
            _ => String::new(),
        };
        format!("{root}/{}{place}/{}", self.api_version(), segment(&self.plural))
    }

    /// The path of one object.
    pub fn path(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.list_path(namespace), segment(name))
    }
}

/// Names in objects may contain anything; in a path each must stay one component.
fn segment(name: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    percent_encoding::utf8_percent_encode(name, KEEP).to_string()
}

/// A query parameter's value.
pub fn query_value(value: &str) -> String {
    segment(value)
}

/// What a reader of a list wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More.
    More,
    /// No more.
    Enough,
}

/// Receives the items of a list, on a thread that may block.
pub trait TakeItems: Send + 'static {
    /// One item, in the order of the API server.
    fn take(&mut self, item: Value) -> io::Result<Flow>;
    /// The list starts again; the items taken so far are void.
    fn restart(&mut self);
}

/// How a list ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Items taken.
    pub items: usize,
    /// The `resourceVersion` of the first page.
    pub resource_version: String,
    /// The taker wanted no more before the list ended.
    pub enough: bool,
}

/// Why a list ended early.
#[derive(Debug)]
pub enum ListError {
    /// The API server failed.
    Cluster(ClusterError),
    /// The taker failed.
    Taker(io::Error),
}

/// How the flow from a connection to its reader ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PumpEnd {
    /// The source ended.
    Whole,
    /// The reader wanted no more.
    ReaderGone,
    /// The source broke off.
    Reset(String),
    /// The source sent nothing for so long.
    Stalled(Duration),
    /// The deadline passed.
    Deadline,
}

/// The reading end of a pump, for a thread that may block. End of file does not tell why it ended; [`PumpEnd`] does.
#[derive(Debug)]
pub struct Pieces {
    from: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

/// The two ends of a bounded pipe between async code and a blocking reader: at most 256 KiB wait in it.
pub fn pipe() -> (mpsc::Sender<Bytes>, Pieces) {
    let (to, from) = mpsc::channel(PIECES);
    (to, Pieces { from, piece: Bytes::new() })
}

impl Pieces {
    /// The next piece, or `None` at the end.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        if !self.piece.is_empty() {
            return Some(std::mem::take(&mut self.piece));
        }
        self.from.blocking_recv()
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

/// Copies a body into a pipe until one end closes or the deadline passes. `idle` is the longest silence of the source;
/// a slow reader does not count against it.
pub async fn pump<S, E>(
    body: S,
    to: mpsc::Sender<Bytes>,
    idle: Duration,
    deadline: Instant,
    seen: impl Fn(usize),
) -> PumpEnd
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::error::Error + 'static,
{
    let mut body = std::pin::pin!(body);
    loop {
        let silence = Instant::now() + idle;
        let next = tokio::select! {
            biased;
            next = timeout_at(silence.min(deadline), body.next()) => next,
            // Once the reader is gone, do not wait for a source that may stay silent.
            () = to.closed() => return PumpEnd::ReaderGone,
        };
        let mut data = match next {
            Ok(None) => return PumpEnd::Whole,
            Ok(Some(Ok(data))) => data,
            Ok(Some(Err(error))) => return PumpEnd::Reset(chain(&error)),
            Err(_) if silence <= deadline => return PumpEnd::Stalled(idle),
            Err(_) => return PumpEnd::Deadline,
        };
        seen(data.len());
        while data.has_remaining() {
            let piece = data.split_to(data.len().min(PIECE));
            match timeout_at(deadline, to.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return PumpEnd::ReaderGone,
                Err(_) => return PumpEnd::Deadline,
            }
        }
    }
}

/// A reader of the API server, with time limits.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    answer: Duration,
    idle: Duration,
    /// Answers that bundles share, and the earliest time at which a usable one was read.
    shared: Option<(Arc<SharedAnswers>, Instant)>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("answer", &self.answer).field("idle", &self.idle).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Allows 30 s until an answer begins, and 30 s of silence within it.
    pub fn new(client: kube::Client) -> Self {
        Self { client, answer: Duration::from_secs(30), idle: Duration::from_secs(30), shared: None }
    }

    /// Sets the time until an answer begins, and of silence within it.
    #[must_use]
    pub fn patient(self, answer: Duration, idle: Duration) -> Self {
        Self { answer, idle, ..self }
    }

    /// Uses answers shared with other bundles, if they were read at `since` or later.
    #[must_use]
    pub fn sharing(self, answers: Arc<SharedAnswers>, since: Instant) -> Self {
        Self { shared: Some((answers, since)), ..self }
    }

    /// Divides both times by `part`.
    #[must_use]
    pub fn hurried(self, part: u32) -> Self {
        Self { answer: self.answer / part, idle: self.idle / part, ..self }
    }

    /// The longest silence within an answer.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// Opens a GET; a status of 400 or more is an error.
    pub async fn open(
        &self,
        path: &str,
        accept: &str,
        deadline: Instant,
    ) -> Result<impl Stream<Item = Result<Bytes, kube::Error>> + Send + use<>, ClusterError> {
        let request = Request::get(path)
            .header(http::header::ACCEPT, accept)
            .body(Body::empty())
            .map_err(|error| ClusterError::Malformed(chain(&error)))?;
        let limit = deadline.min(Instant::now() + self.answer);
        let response = match timeout_at(limit, self.client.send(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(kube::Error::Api(status))) => {
                return Err(ClusterError::Status {
                    code: status.code,
                    reason: bounded(&status.reason, 64),
                    message: bounded(&status.message, MESSAGE),
                });
            }
            Ok(Err(error)) => return Err(ClusterError::Connection(chain(&error))),
            Err(_) if limit == deadline => return Err(ClusterError::Deadline),
            Err(_) => return Err(ClusterError::NoAnswer(self.answer)),
        };
        let code = response.status();
        let body = response.into_body().into_data_stream();
        if code.is_success() {
            return Ok(body);
        }
        let text = gather(body, ERROR_BODY, limit).await.unwrap_or_default();
        Err(refusal(code.as_u16(), &text))
    }

    /// A GET whose answer is JSON of at most `limit` bytes.
    pub async fn get(&self, path: &str, limit: usize, deadline: Instant) -> Result<Value, ClusterError> {
        self.get_as(path, "application/json", limit, deadline).await
    }

    /// [`Self::get`] with another `Accept`.
    pub async fn get_as(
        &self,
        path: &str,
        accept: &str,
        limit: usize,
        deadline: Instant,
    ) -> Result<Value, ClusterError> {
        let shared = self.shared.as_ref().filter(|_| SharedAnswers::are_of(path));
        let kept = shared.and_then(|(answers, since)| answers.get(path, accept, *since, Instant::now()));
        let whole = if let Some(kept) = kept {
            kept
        } else {
            let body = self.open(path, accept, deadline).await?;
            let read = gather(body, limit, deadline.min(Instant::now() + self.answer)).await?.into();
            if let Some((answers, _)) = shared {
                answers.keep(path, accept, &read, Instant::now());
            }
            read
        };
        serde_json::from_slice(&whole).map_err(|error| ClusterError::Malformed(chain(&error)))
    }

    /// The UID of the pod that has this name now.
    pub async fn pod_uid(&self, namespace: &str, pod: &str, deadline: Instant) -> Result<String, ClusterError> {
        let path = ApiKind::namespaced("", "v1", "pods", "Pod").path(Some(namespace), pod);
        let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
        let pod = self.get_as(&path, accept, 2 << 20, deadline).await?;
        Ok(pod.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Lists in pages of [`PAGE`] and gives each item to `taker` as soon as it is read: no page is held in memory. When
    /// the continue token expires (410), the list starts again, a few times. Every outcome returns the taker.
    pub async fn list<T: TakeItems>(
        &self,
        path: &str,
        selector: Option<&str>,
        deadline: Instant,
        taker: T,
        seen: impl Fn(usize),
    ) -> (T, Result<Listed, ListError>) {
        self.list_as(path, "application/json", selector, deadline, taker, seen).await
    }

    /// [`Self::list`] with another `Accept`.
    pub async fn list_as<T: TakeItems>(
        &self,
        path: &str,
        accept: &str,
        selector: Option<&str>,
        deadline: Instant,
        mut taker: T,
        seen: impl Fn(usize),
    ) -> (T, Result<Listed, ListError>) {
        let mut restarts = 0;
        'anew: loop {
            let mut listed = Listed::default();
            let mut token = String::new();
            loop {
                let mut query = format!("{path}?limit={PAGE}");
                if let Some(selector) = selector {
                    query.push_str("&labelSelector=");
                    query.push_str(&query_value(selector));
                }
                if !token.is_empty() {
                    query.push_str("&continue=");
                    query.push_str(&query_value(&token));
                }
                let (back, page) = self.page(&query, accept, deadline, taker, &seen).await;
                taker = back;
                match page {
                    Ok(page) => {
                        listed.items += page.items;
                        if listed.resource_version.is_empty() {
                            listed.resource_version = page.resource_version;
                        }
                        if page.enough || page.token.is_empty() {
                            listed.enough = page.enough;
                            return (taker, Ok(listed));
                        }
                        token = page.token;
                    }
                    Err(ListError::Cluster(error)) if error.code() == Some(410) && restarts < RESTARTS => {
                        restarts += 1;
                        taker.restart();
                        continue 'anew;
                    }
                    Err(error) => return (taker, Err(error)),
                }
            }
        }
    }

    async fn page<T: TakeItems>(
        &self,
        path: &str,
        accept: &str,
        deadline: Instant,
        mut taker: T,
        seen: &impl Fn(usize),
    ) -> (T, Result<Page, ListError>) {
        let body = match self.open(path, accept, deadline).await {
            Ok(body) => body,
            Err(error) => return (taker, Err(ListError::Cluster(error))),
        };
        let (to, pieces) = pipe();
        let reading = tokio::task::spawn_blocking(move || {
            let read = read_page(pieces, &mut taker);
            (taker, read)
        });
        let end = pump(body, to, self.idle, deadline, seen).await;
        let (taker, read) = match reading.await {
            Ok(back) => back,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only a runtime that shuts down cancels a blocking task, and only before it has begun.
                Err(_) => std::future::pending().await,
            },
        };
        let read = match (read, end) {
            (Err(ListError::Cluster(_)), PumpEnd::Reset(why)) => Err(ListError::Cluster(ClusterError::Reset(why))),
            (Err(ListError::Cluster(_)), PumpEnd::Stalled(idle)) => {
                Err(ListError::Cluster(ClusterError::Stalled(idle)))
            }
            (Err(ListError::Cluster(_)), PumpEnd::Deadline) => Err(ListError::Cluster(ClusterError::Deadline)),
            (read, _) => read,
        };
        (taker, read)
    }
}

async fn gather<S>(body: S, limit: usize, deadline: Instant) -> Result<Vec<u8>, ClusterError>
where
    S: Stream<Item = Result<Bytes, kube::Error>>,
{
    let mut body = std::pin::pin!(body);
    let mut whole = Vec::new();
    while let Some(data) = timeout_at(deadline, body.next()).await.map_err(|_| ClusterError::Deadline)? {
        let data = data.map_err(|error| ClusterError::Reset(chain(&error)))?;
        if whole.len() + data.len() > limit {
            return Err(ClusterError::TooLarge(limit));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

/// The error in a refusal's body: its Status, else the beginning of its text.
fn refusal(code: u16, body: &[u8]) -> ClusterError {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        reason: String,
        #[serde(default)]
        message: String,
    }
    let (reason, message) = match serde_json::from_slice::<Status>(body) {
        Ok(status) => (status.reason, status.message),
        Err(_) => (String::new(), String::from_utf8_lossy(body).into_owned()),
    };
    let reason = if reason.is_empty() {
        http::StatusCode::from_u16(code).ok().and_then(|code| code.canonical_reason()).unwrap_or("refused").to_owned()
    } else {
        reason
    };
    ClusterError::Status { code, reason: bounded(&reason, 64), message: bounded(&message, MESSAGE) }
}

#[derive(Debug, Default)]
struct Page {
    items: usize,
    token: String,
    resource_version: String,
    enough: bool,
}

fn read_page<T: TakeItems>(pieces: impl Read, taker: &mut T) -> Result<Page, ListError> {
    let mut failed = None;
    let mut json = serde_json::Deserializer::from_reader(io::BufReader::with_capacity(PIECE, pieces));
    let page =
        PageSeed { taker, failed: &mut failed }.deserialize(&mut json).and_then(|page| json.end().map(|()| page));
    match (page, failed) {
        (_, Some(error)) => Err(ListError::Taker(error)),
        (Ok(page), None) => Ok(page),
        (Err(error), None) => Err(ListError::Cluster(ClusterError::Malformed(chain(&error)))),
    }
}

struct PageSeed<'a, T> {
    taker: &'a mut T,
    failed: &'a mut Option<io::Error>,
}

impl<'de, T: TakeItems> DeserializeSeed<'de> for PageSeed<'_, T> {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Page, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: TakeItems> Visitor<'de> for PageSeed<'_, T> {
    type Value = Page;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Meta {
            #[serde(rename = "continue")]
            token: Option<String>,
            resource_version: Option<String>,
        }
        let Self { taker, failed } = self;
        let mut page = Page::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => {
                    let meta = map.next_value::<Option<Meta>>()?.unwrap_or_default();
                    page.token = meta.token.unwrap_or_default();
                    page.resource_version = meta.resource_version.unwrap_or_default();
                }
                "items" => {
                    let taken = map.next_value_seed(ItemsSeed { taker: &mut *taker, failed: &mut *failed })?;
                    page.items = taken.0;
                    page.enough = taken.1;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(page)
    }
}

struct ItemsSeed<'a, T> {
    taker: &'a mut T,
    failed: &'a mut Option<io::Error>,
}

impl<'de, T: TakeItems> DeserializeSeed<'de> for ItemsSeed<'_, T> {
    type Value = (usize, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: TakeItems> Visitor<'de> for ItemsSeed<'_, T> {
    type Value = (usize, bool);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the items of a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok((0, false))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut count = 0;
        while let Some(item) = seq.next_element::<Value>()? {
            match self.taker.take(item) {
                Ok(Flow::More) => count += 1,
                Ok(Flow::Enough) => {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok((count, true));
                }
                Err(error) => {
                    *self.failed = Some(error);
                    return Err(A::Error::custom("the reader of the list failed"));
                }
            }
        }
        Ok((count, false))
    }
}

/// Projects each item to a few fields, and keeps a limited number of them.
#[derive(Debug)]
pub struct Projected<T, F> {
    /// The projected items.
    pub items: Vec<T>,
    most: usize,
    read: F,
}

impl<T, F: FnMut(Value) -> Option<T>> Projected<T, F> {
    /// Keeps at most `most` of the values that `read` returns.
    pub fn new(most: usize, read: F) -> Self {
        Self { items: Vec::new(), most, read }
    }
}

impl<T, F> TakeItems for Projected<T, F>
where
    T: Send + 'static,
    F: FnMut(Value) -> Option<T> + Send + 'static,
{
    fn take(&mut self, item: Value) -> io::Result<Flow> {
        self.items.extend((self.read)(item));
        Ok(if self.items.len() < self.most { Flow::More } else { Flow::Enough })
    }

    fn restart(&mut self) {
        self.items.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Names(Vec<String>, usize);

    impl TakeItems for Names {
        fn take(&mut self, item: Value) -> io::Result<Flow> {
            if self.0.len() == self.1 {
                return Ok(Flow::Enough);
            }
            self.0.push(item["metadata"]["name"].as_str().unwrap_or("?").to_owned());
            Ok(Flow::More)
        }

        fn restart(&mut self) {
            self.0.clear();
        }
    }

    const PAGE_TEXT: &str = r#"{"kind":"WidgetList","apiVersion":"x/v1","metadata":{"resourceVersion":"77","continue":"abc","odd":[1]},
        "items":[{"metadata":{"name":"one"}},{"metadata":{"name":"two"}},7],"more":{"a":[1,2]}}"#;

    #[test]
    fn a_page_is_taken_item_by_item() {
        let mut names = Names(Vec::new(), 10);
        let page = read_page(PAGE_TEXT.as_bytes(), &mut names).unwrap();
        assert_eq!(names.0, ["one", "two", "?"]);
        assert_eq!((page.items, page.token.as_str(), page.resource_version.as_str()), (3, "abc", "77"));
        assert!(!page.enough);
    }

    #[test]
    fn a_taker_that_has_enough_ends_the_list() {
        let mut names = Names(Vec::new(), 1);
        let page = read_page(PAGE_TEXT.as_bytes(), &mut names).unwrap();
        assert_eq!(names.0, ["one"]);
        assert!(page.enough);
    }

    #[test]
    fn null_items_are_none() {
        let mut names = Names(Vec::new(), 1);
        let page = read_page(br#"{"metadata":null,"items":null}"#.as_slice(), &mut names).unwrap();
        assert_eq!((page.items, page.token.as_str()), (0, ""));
    }

    #[test]
    fn a_page_that_breaks_off_is_an_error() {
        for cut in [0, 1, 60, 150, PAGE_TEXT.len() - 1] {
            let mut names = Names(Vec::new(), 10);
            let read = read_page(&PAGE_TEXT.as_bytes()[..cut], &mut names);
            assert!(matches!(read, Err(ListError::Cluster(ClusterError::Malformed(_)))), "{cut}");
        }
    }

    #[test]
    fn paths_keep_hostile_names_in_one_component() {
        let pods = ApiKind::namespaced("", "v1", "pods", "Pod");
        assert_eq!(pods.path(Some("shop"), "a/../../secrets"), "/api/v1/namespaces/shop/pods/a%2F..%2F..%2Fsecrets");
        let backups = ApiKind::namespaced("velero.io", "v1", "backups", "Backup");
        assert_eq!(backups.list_path(Some("v")), "/apis/velero.io/v1/namespaces/v/backups");
        let nodes = ApiKind::cluster("", "v1", "nodes", "Node");
        assert_eq!(nodes.path(None, "n1"), "/api/v1/nodes/n1");
    }

    #[test]
    fn a_refusal_speaks_as_the_api_server_did() {
        let status = br#"{"kind":"Status","reason":"Forbidden","message":"pods is forbidden:\n no","code":403}"#;
        assert_eq!(refusal(403, status).to_string(), "403 Forbidden: pods is forbidden:  no");
        assert_eq!(refusal(502, b"<html>\x1b[1m").to_string(), "502 Bad Gateway: <html>\\u{1b}[1m");
    }

    #[tokio::test]
    async fn a_pump_tells_silence_from_the_end() {
        let piece = || Ok::<_, io::Error>(Bytes::from_static(b"x"));
        let far = Instant::now() + Duration::from_mins(1);
        let (to, mut pieces) = pipe();
        let body = futures::stream::iter([piece()]);
        assert_eq!(pump(body, to, Duration::from_secs(9), far, |_| ()).await, PumpEnd::Whole);
        let read = tokio::task::spawn_blocking(move || pieces.next_piece()).await.unwrap();
        assert_eq!(read.as_deref(), Some(b"x".as_slice()));

        let (to, _pieces) = pipe();
        let body = futures::stream::iter([piece()]).chain(futures::stream::pending());
        let idle = Duration::from_millis(20);
        assert_eq!(pump(body, to, idle, far, |_| ()).await, PumpEnd::Stalled(idle));

        let (to, _pieces) = pipe();
        let soon = Instant::now() + Duration::from_millis(20);
        let body = futures::stream::repeat_with(piece);
        assert_eq!(pump(body, to, Duration::from_secs(9), soon, |_| ()).await, PumpEnd::Deadline);

        let (to, pieces) = pipe();
        drop(pieces);
        let body = futures::stream::repeat_with(piece);
        assert_eq!(pump(body, to, Duration::from_secs(9), far, |_| ()).await, PumpEnd::ReaderGone);

        let (to, mut pieces) = pipe();
        let reader = tokio::task::spawn_blocking(move || pieces.next_piece());
        let body = futures::stream::iter([piece()]).chain(futures::stream::pending());
        assert_eq!(pump(body, to, Duration::from_secs(9), far, |_| ()).await, PumpEnd::ReaderGone, "it has enough");
        assert!(reader.await.unwrap().is_some());

        let (to, _pieces) = pipe();
        let body = futures::stream::iter([piece(), Err(io::Error::other("cut"))]);
        assert_eq!(pump(body, to, Duration::from_secs(9), far, |_| ()).await, PumpEnd::Reset("cut".to_owned()));
    }

    proptest! {
        #[test]
        fn bounded_text_is_short_and_has_no_controls(text in "\\PC*|.{0,900}") {
            let kept = bounded(&text, 100);
            prop_assert!(kept.len() <= 100);
            prop_assert!(!kept.chars().any(char::is_control));
        }
    }
}

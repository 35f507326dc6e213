//! Reads ranges of one stored object through a presigned URL, to the end: resumes broken connections where they broke,
//! renews a URL that stopped working, and refuses an object that changed meanwhile.

use std::{ops::Range, time::Duration};

use debugbundle_format::text::human_bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use super::{
    exit::{CliError, Exit},
    http::{Http, HttpError, PresignedUrl},
};

/// How much of an error's body is searched for the store's error code.
const ERROR_BODY_LIMIT: usize = 8 * 1024;
/// How many times in a row the URL was renewed without a byte of progress.
const RENEWALS: u32 = 2;

/// Takes the bytes in their order.
pub(crate) trait Sink {
    /// The next bytes; an error ends the reading.
    fn take(&mut self, bytes: &[u8]) -> Result<(), CliError>;
    /// Reports a retry or a renewal to the user.
    fn note(&mut self, text: &str);
}

impl<S: Sink> Sink for &mut S {
    fn take(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        (**self).take(bytes)
    }

    fn note(&mut self, text: &str) {
        (**self).note(text);
    }
}

/// When to retry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    /// Failures in a row without a byte of progress.
    pub attempts: u32,
    /// The first pause; each further one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How long the store may be silent.
    pub idle: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 8,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(15),
            idle: Duration::from_mins(1),
        }
    }
}

impl Retry {
    fn pause(&self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.longest)
    }
}

/// A stored object that can be read by ranges.
pub(crate) struct Remote<R> {
    http: Http,
    url: Option<PresignedUrl>,
    renew: R,
    retry: Retry,
    /// The object's length, from the caller or the first response.
    length: Option<u64>,
    /// Set by the first response; all later responses must have the same ETag.
    etag: Option<String>,
}

/// Why an attempt ended before all bytes were read.
enum Stop {
    /// The same request may succeed a little later.
    Again(String),
    /// The store no longer accepts the URL.
    Refused(String),
    /// A retry cannot help.
    Final(CliError),
}

impl<R> Remote<R>
where
    R: AsyncFnMut() -> Result<PresignedUrl, CliError>,
{
    /// Without a URL, `renew` requests the first one; `renew` also replaces each URL that stopped working.
    pub(crate) fn new(http: Http, url: Option<PresignedUrl>, length: Option<u64>, renew: R, retry: Retry) -> Self {
        Self { http, url, renew, retry, length, etag: None }
    }

    /// The object's length, once it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Passes all bytes of the span to the sink, each once and in order.
    pub(crate) async fn read(&mut self, span: Range<u64>, sink: &mut impl Sink) -> Result<(), CliError> {
        let mut at = span.start;
        let (mut failures, mut renewals) = (0, 0);
        while at < span.end {
            let url = match &self.url {
                Some(url) => url.clone(),
                None => self.url.insert((self.renew)().await?).clone(),
            };
            let before = at;
            let Err(stop) = self.attempt(&url, &mut at, span.end, sink).await else {
                continue;
            };
            if at > before {
                (failures, renewals) = (0, 0);
            }
            match stop {
                Stop::Final(error) => return Err(error),
                Stop::Refused(why) if renewals < RENEWALS => {
                    renewals += 1;
                    sink.note(&format!("the store rejects the download URL ({why}); requesting a new one"));
                    self.url = None;
                }
                Stop::Refused(why) => {
                    return Err(CliError::failed(format!(
                        "the object store refuses {url}, even with a new URL: {why}"
                    )));
                }
                Stop::Again(why) if failures < self.retry.attempts => {
                    failures += 1;
                    sink.note(&format!(
                        "{why}, at {} of {}; trying again ({failures} of {})",
                        human_bytes(at),
                        self.length.map_or_else(|| "?".to_owned(), human_bytes),
                        self.retry.attempts
                    ));
                    sleep(self.retry.pause(failures)).await;
                }
                Stop::Again(why) => return Err(unreachable_store(&url, &why)),
            }
        }
        Ok(())
    }

    async fn attempt(
        &mut self,
        url: &PresignedUrl,
        at: &mut u64,
        until: u64,
        sink: &mut impl Sink,
    ) -> Result<(), Stop> {
        let answer = timeout(self.retry.idle, self.http.get(url, *at, until, self.etag.as_deref()))
            .await
            .map_err(|_| Stop::Again("the store does not answer".to_owned()))?
            .map_err(|error| match error {
                HttpError::Untrusted(why) => Stop::Final(untrusted(url, &why)),
                HttpError::Unreachable(why) => Stop::Again(why),
            })?;
        let mut to_skip = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (first, length) = content_range(answer.headers())
                    .ok_or_else(|| Stop::Final(strange(url, "a partial response without a valid Content-Range")))?;
                if first != *at {
                    return Err(Stop::Final(strange(url, "a different range than requested")));
                }
                self.identify(answer.headers(), length)?;
                0
            }
            // The store, or a proxy in front of it, does not support ranges.
            StatusCode::OK => {
                let length = answer.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
                self.identify(answer.headers(), length)?;
                *at
            }
            _ => return Err(self.refusal(url, answer).await),
        };
        let mut body = answer.into_body();
        while *at < until {
            let frame = timeout(self.retry.idle, body.frame())
                .await
                .map_err(|_| Stop::Again("the store stopped sending".to_owned()))?;
            let Some(frame) = frame else {
                return Err(Stop::Again("the response ended early".to_owned()));
            };
            let frame = frame.map_err(|_| Stop::Again("the connection was cut".to_owned()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let skipped = usize::try_from(to_skip).unwrap_or(usize::MAX).min(data.len());
            to_skip -= skipped as u64;
            let room = usize::try_from(until - *at).unwrap_or(usize::MAX);
            let piece = &data[skipped..];
            let piece = &piece[..piece.len().min(room)];
            if !piece.is_empty() {
                sink.take(piece).map_err(Stop::Final)?;
                *at += piece.len() as u64;
            }
        }
        Ok(())
    }

    /// Checks that a response is about the same object as the first response.
    fn identify(&mut self, headers: &HeaderMap, length: Option<u64>) -> Result<(), Stop> {
        if let (Some(known), Some(now)) = (self.length, length)
            && known != now
        {
            return Err(Stop::Final(changed(&format!("it has {now} bytes instead of {known}"))));
        }
        self.length = self.length.or(length);
        let etag = headers
            .get(header::ETAG)
            .and_then(|value| value.to_str().ok())
            .filter(|etag| !etag.starts_with("W/") && etag.len() <= 256);
        match (&self.etag, etag) {
            (Some(known), Some(now)) if known != now => Err(Stop::Final(changed("its ETag has changed"))),
            (None, Some(now)) => {
                self.etag = Some(now.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn refusal(&self, url: &PresignedUrl, answer: Response<Incoming>) -> Stop {
        let status = answer.status();
        let code = timeout(self.retry.idle, error_code(answer.into_body())).await.ok().flatten();
        let why = match &code {
            Some(code) => format!("{} {code}", status.as_u16()),
            None => status.to_string(),
        };
        let expired = code.as_deref().is_some_and(|code| code.contains("Expired") || code.contains("Token"));
        match status.as_u16() {
            401 | 403 => Stop::Refused(why),
            400 if expired => Stop::Refused(why),
            404 | 410 => Stop::Final(
                CliError::new(Exit::NotFound, format!("the bundle is no longer in the object store: {url} ({why})"))
                    .hint("The DebugBundle's time to live may be over, or somebody deleted the object."),
            ),
            412 | 416 => Stop::Final(changed(&format!("the store answered {why}"))),
            408 | 425 | 429 | 500..=599 => Stop::Again(format!("the store answered {why}")),
            300..=399 => Stop::Final(
                CliError::failed(format!("{url} returned a redirect ({why}), which is not followed"))
                    .hint("The location's s3Url or publicUrl should name the store itself, and its region."),
            ),
            _ => Stop::Final(CliError::failed(format!("the object store refuses {url}: {why}"))),
        }
    }
}

/// The code of a store's XML error: the only part of it that certainly repeats nothing of the request.
async fn error_code(mut body: Incoming) -> Option<String> {
    let mut text = Vec::new();
    while text.len() < ERROR_BODY_LIMIT {
        let Some(Ok(frame)) = body.frame().await else {
            break;
        };
        if let Some(data) = frame.data_ref() {
            text.extend_from_slice(&data[..data.len().min(ERROR_BODY_LIMIT - text.len())]);
        }
    }
    let text = String::from_utf8_lossy(&text);
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    (code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric())).then(|| code.to_owned())
}

/// First byte and full length of `Content-Range: bytes 5-9/100`; the length may be unknown.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, length) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let length = match length {
        "*" => None,
        length => Some(length.parse().ok()?),
    };
    Some((first.parse().ok()?, length))
}

fn changed(how: &str) -> CliError {
    CliError::new(Exit::Integrity, format!("the object in the store differs from the one in status: {how}"))
        .hint("Try again: the operator may have stored the bundle again meanwhile.")
}

fn strange(url: &PresignedUrl, what: &str) -> CliError {
    CliError::failed(format!("{url} returned {what}"))
}

fn untrusted(url: &PresignedUrl, why: &str) -> CliError {
    CliError::failed(format!("the certificate of {url} is not trusted: {why}"))
        .hint("Trust the authority's certificate with --ca-file FILE.")
}

fn unreachable_store(url: &PresignedUrl, why: &str) -> CliError {
    let error = CliError::failed(format!("the object store cannot be read: {url}: {why}"));
    if url.is_cluster_internal() {
        error.hint(
            "This host name resolves only inside the cluster, and a port-forward needs a ready pod behind the Service, \
             and the rights get on services, list on pods, get and create on pods/portforward. Without these, set \
             config.publicUrl of the BackupStorageLocation to an address that reaches the store from here.",
        )
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::http::Trust;
    use super::super::stand::{Asked, Body, Stand, cut_after, full, streamed};
    use super::*;

    #[test]
    fn a_content_range_is_read() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, value.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(of("bytes 5-9/100"), Some((5, Some(100))));
        assert_eq!(of("bytes 5-9/*"), Some((5, None)));
        assert_eq!(of("bytes */100"), None);
        assert_eq!(of("items 5-9/100"), None);
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let retry = Retry::default();
        assert_eq!(retry.pause(1), Duration::from_millis(500));
        assert_eq!(retry.pause(2), Duration::from_secs(1));
        assert_eq!(retry.pause(60), Duration::from_secs(15));
    }

    const OBJECT: usize = 200_000;

    fn object() -> Vec<u8> {
        (0..OBJECT).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
    }

    #[derive(Default)]
    struct Memory {
        bytes: Vec<u8>,
        notes: Vec<String>,
    }

    impl Sink for Memory {
        fn take(&mut self, bytes: &[u8]) -> Result<(), CliError> {
            self.bytes.extend_from_slice(bytes);
            Ok(())
        }

        fn note(&mut self, text: &str) {
            self.notes.push(text.to_owned());
        }
    }

    fn quick() -> Retry {
        Retry {
            attempts: 3,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(2),
            idle: Duration::from_secs(10),
        }
    }

    /// A correct answer to a range request.
    fn part(asked: &Asked) -> Response<Body> {
        let (first, last) = asked.bytes();
        answer(206, first, last, full(object()[first..=last].to_vec()))
    }

    fn answer(status: u16, first: usize, last: usize, body: Body) -> Response<Body> {
        Response::builder()
            .status(status)
            .header("etag", "\"one\"")
            .header("content-range", format!("bytes {first}-{last}/{OBJECT}"))
            .body(body)
            .unwrap()
    }

    fn refusal(status: u16, code: &str) -> Response<Body> {
        let text = format!("<Error><Code>{code}</Code><StringToSign>X-Amz-Signature=geheim</StringToSign></Error>");
        Response::builder().status(status).body(full(text)).unwrap()
    }

    async fn read(stand: &Stand, span: Range<u64>) -> (Result<(), CliError>, Memory, u32) {
        let url = |n: u32| PresignedUrl::parse(&format!("http://{}/b/k?X-Amz-Signature=geheim{n}", stand.address));
        let mut renewals = 0;
        let renew = async || {
            renewals += 1;
            url(renewals)
        };
        let http = Http::new(&Trust::default(), None).unwrap();
        let mut memory = Memory::default();
        let mut remote = Remote::new(http, Some(url(0).unwrap()), Some(OBJECT as u64), renew, quick());
        let result = remote.read(span, &mut memory).await;
        drop(remote);
        if let Err(error) = &result {
            assert!(!error.to_string().contains("geheim"), "sec_u7: {error}");
        }
        assert!(!memory.notes.iter().any(|note| note.contains("geheim")), "sec_u7: {:?}", memory.notes);
        (result, memory, renewals)
    }

    /// The n-th request, counted from one, gets the n-th response; later ones get a correct one.
    fn script<F>(answers: Vec<F>) -> impl Fn(&Asked) -> Response<Body> + Send + Sync + 'static
    where
        F: FnOnce(&Asked) -> Response<Body> + Send + 'static,
    {
        let answers = Mutex::new(answers.into_iter());
        move |asked| match answers.lock().unwrap().next() {
            Some(answer) => answer(asked),
            None => part(asked),
        }
    }

    type Scripted = Box<dyn FnOnce(&Asked) -> Response<Body> + Send>;

    #[tokio::test]
    async fn a_range_is_read_by_one_request() {
        let stand = Stand::serve(part).await;
        let (result, memory, _) = read(&stand, 5..1005).await;
        result.unwrap();
        assert_eq!(memory.bytes, object()[5..1005]);
        assert_eq!(stand.asked().len(), 1);
        assert_eq!(stand.asked()[0].range.as_deref(), Some("bytes=5-1004"));
    }

    #[tokio::test]
    async fn a_cut_connection_is_resumed_where_it_broke_and_of_the_same_object() {
        let cut = |asked: &Asked| {
            let (first, last) = asked.bytes();
            answer(206, first, last, cut_after(object()[first..first + 50_000].to_vec()))
        };
        let stand = Stand::serve(script(vec![cut, cut])).await;
        let (result, memory, _) = read(&stand, 0..OBJECT as u64).await;
        result.unwrap();
        assert!(memory.bytes == object());
        let asked = stand.asked();
        let from: Vec<_> = asked.iter().map(|asked| asked.bytes().0).collect();
        assert_eq!(from, [0, 50_000, 100_000]);
        assert_eq!(asked[0].if_match, None);
        assert_eq!(asked[2].if_match.as_deref(), Some("\"one\""));
        assert_eq!(memory.notes.len(), 2);
    }

    #[tokio::test]
    async fn a_store_without_ranges_serves_as_well() {
        let whole = |_: &Asked| Response::builder().body(full(object())).unwrap();
        let stand = Stand::serve(whole).await;
        let (result, memory, _) = read(&stand, 150_000..160_000).await;
        result.unwrap();
        assert!(memory.bytes == object()[150_000..160_000]);
    }

    #[tokio::test]
    async fn a_url_that_ended_is_renewed_and_the_reading_goes_on() {
        for (status, code) in [(403, "AccessDenied"), (400, "ExpiredToken"), (401, "AuthenticationFailed")] {
            let cut: Scripted = Box::new(|asked| {
                let (first, last) = asked.bytes();
                answer(206, first, last, cut_after(object()[first..first + 10].to_vec()))
            });
            let refuse: Scripted = Box::new(move |_| refusal(status, code));
            let stand = Stand::serve(script(vec![cut, refuse])).await;
            let (result, memory, renewals) = read(&stand, 0..OBJECT as u64).await;
            result.unwrap();
            assert!(memory.bytes == object());
            assert_eq!(renewals, 1);
            assert!(stand.asked()[2].target.ends_with("geheim1"), "the new URL is used");
        }
    }

    #[tokio::test]
    async fn a_store_that_refuses_every_url_is_not_asked_for_ever() {
        let stand = Stand::serve(|_| refusal(403, "SignatureDoesNotMatch")).await;
        let (result, _, renewals) = read(&stand, 0..10).await;
        let error = result.unwrap_err();
        assert!(error.to_string().contains("403 SignatureDoesNotMatch"), "{error}");
        assert_eq!(renewals, RENEWALS);
    }

    #[tokio::test]
    async fn a_failing_store_is_asked_again_a_bounded_number_of_times() {
        let stand = Stand::serve(script(vec![|_: &Asked| refusal(503, "SlowDown"); 3])).await;
        let (result, memory, _) = read(&stand, 0..10).await;
        result.unwrap();
        assert_eq!(memory.notes.len(), 3);
        let stand = Stand::serve(|_| refusal(503, "SlowDown")).await;
        let (result, _, _) = read(&stand, 0..10).await;
        assert!(result.unwrap_err().to_string().contains("503 SlowDown"));
        assert_eq!(stand.asked().len(), 4);
    }

    #[tokio::test]
    async fn another_object_in_its_place_is_refused() {
        let other_length = |asked: &Asked| {
            let mut answer = part(asked);
            answer.headers_mut().insert("content-range", "bytes 0-9/77".parse().unwrap());
            answer
        };
        let gone = |_: &Asked| refusal(412, "PreconditionFailed");
        for answer in [Box::new(other_length) as Scripted, Box::new(gone)] {
            let stand = Stand::serve(script(vec![answer])).await;
            let (result, memory, _) = read(&stand, 0..10).await;
            assert_eq!(result.unwrap_err().exit(), Exit::Integrity);
            assert!(memory.bytes.is_empty());
        }
        let another_etag: Scripted = Box::new(|asked| {
            let mut answer = part(asked);
            answer.headers_mut().insert("etag", "\"two\"".parse().unwrap());
            answer
        });
        let cut: Scripted = Box::new(|asked| {
            let (first, last) = asked.bytes();
            answer(206, first, last, cut_after(object()[..1].to_vec()))
        });
        let stand = Stand::serve(script(vec![cut, another_etag])).await;
        assert_eq!(read(&stand, 0..10).await.0.unwrap_err().exit(), Exit::Integrity);
    }

    #[tokio::test]
    async fn another_part_than_asked_for_is_refused() {
        let shifted = |asked: &Asked| {
            let mut answer = part(asked);
            answer.headers_mut().insert("content-range", format!("bytes 1-10/{OBJECT}").parse().unwrap());
            answer
        };
        let stand = Stand::serve(shifted).await;
        let (result, memory, _) = read(&stand, 0..10).await;
        assert!(result.is_err() && memory.bytes.is_empty());
    }

    #[tokio::test]
    async fn sec_n5_a_redirect_is_not_followed_and_an_absent_object_is_not_found() {
        let stand = Stand::serve(|_| {
            Response::builder().status(307).header("location", "http://127.0.0.1:9/").body(full("")).unwrap()
        })
        .await;
        assert!(read(&stand, 0..10).await.0.unwrap_err().to_string().contains("redirect"));
        assert_eq!(stand.asked().len(), 1);
        let stand = Stand::serve(|_| refusal(404, "NoSuchKey")).await;
        assert_eq!(read(&stand, 0..10).await.0.unwrap_err().exit(), Exit::NotFound);
    }

    #[tokio::test]
    async fn a_silent_store_is_given_up() {
        let silent = |asked: &Asked| {
            let (first, last) = asked.bytes();
            answer(206, first, last, streamed(futures::stream::pending()))
        };
        let stand = Stand::serve(silent).await;
        let url = PresignedUrl::parse(&format!("http://{}/b/k", stand.address)).unwrap();
        let retry = Retry { attempts: 1, idle: Duration::from_secs(1), ..quick() };
        let renew = async || Err(CliError::failed("not asked for"));
        let mut remote = Remote::new(Http::new(&Trust::default(), None).unwrap(), Some(url), None, renew, retry);
        let error = remote.read(0..10, &mut Memory::default()).await.unwrap_err();
        assert!(error.to_string().contains("stopped sending"), "{error}");
    }
}

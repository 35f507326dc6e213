//! A container's log and the faults of its delivery, written in one line of a test. `serve` sends it, and `source`
//! applies the query.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use jiff::Timestamp;

use super::growing::Growing;

/// The log of a container, and the faults while it is served.
///
/// [`lines`](Self::lines), [`generated`](Self::generated) and [`file`](Self::file) honour the query as a kubelet
/// does (`tailLines`, `sinceTime`, `limitBytes`, `timestamps`); [`body`](Self::body) and [`status`](Self::status)
/// answer the same to every query.
#[derive(Clone, Debug)]
pub struct LogScript {
    pub(super) content: Content,
    pub(super) faults: Faults,
    /// Set once the faults have happened, if they happen only once.
    spent: Option<Arc<AtomicBool>>,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Lines(Arc<Vec<Line>>),
    Generated(Generated),
    File(PathBuf),
    Body(StatusCode, Bytes),
    Growing(Growing),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) text: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Generated {
    pub(super) lines: u64,
    pub(super) seed: u64,
    pub(super) from: Timestamp,
    pub(super) step: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) bytes_per_second: Option<u64>,
    pub(super) stall_after: Option<u64>,
    pub(super) cut_after: Option<u64>,
    pub(super) reset_after: Option<u64>,
}

impl LogScript {
    /// Length of a generated line, with its newline and without the kubelet's timestamp.
    pub const GENERATED_LINE: u64 = 200;

    /// These lines, one second apart; the last is now.
    pub fn lines<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = L>) -> Self {
        let mut all: Vec<_> =
            lines.into_iter().map(|line| Line { at: Timestamp::UNIX_EPOCH, text: line.as_ref().to_vec() }).collect();
        let mut at = Timestamp::now();
        for line in all.iter_mut().rev() {
            line.at = at;
            at = at.checked_sub(Duration::from_secs(1)).expect("seconds before now exist");
        }
        Self::of(Content::Lines(Arc::new(all)))
    }

    /// These lines, with the times at which the container wrote them.
    pub fn timed_lines<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = (Timestamp, L)>) -> Self {
        let all = lines.into_iter().map(|(at, line)| Line { at, text: line.as_ref().to_vec() }).collect();
        Self::of(Content::Lines(Arc::new(all)))
    }

    /// About this many bytes of lines like Velero's, generated while they are served, so any size needs no memory. The
    /// same seed gives the same lines. They spread over the last hour; see [`between`](Self::between).
    pub fn generated(bytes: u64, seed: u64) -> Self {
        let now = Timestamp::now();
        let script = Generated { lines: bytes.div_ceil(Self::GENERATED_LINE), seed, from: now, step: Duration::ZERO };
        let an_hour_ago = now.checked_sub(Duration::from_hours(1)).expect("an hour ago exists");
        Self::of(Content::Generated(script)).between(an_hour_ago, now)
    }

    /// A file, read anew for each request: the log of a real process. Its times come from its `time="…"` fields.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::of(Content::File(path.into()))
    }

    /// A log that the test continues to write; with `follow=true` it is served until the test ends it.
    pub fn growing(log: &Growing) -> Self {
        Self::of(Content::Growing(log.clone()))
    }

    /// These bytes, for any query.
    pub fn body(bytes: impl Into<Bytes>) -> Self {
        Self::of(Content::Body(StatusCode::OK, bytes.into()))
    }

    /// This status and text, for any query. The API server includes the text in its own error.
    pub fn status(code: u16, text: impl Into<Bytes>) -> Self {
        let code = StatusCode::from_u16(code).expect("a status code of three digits");
        Self::of(Content::Body(code, text.into()))
    }

    /// Spreads generated lines over this time.
    #[must_use]
    pub fn between(mut self, from: Timestamp, to: Timestamp) -> Self {
        if let Content::Generated(generated) = &mut self.content {
            let nanos = to.duration_since(from).unsigned_abs().as_nanos() / u128::from(generated.lines.max(1));
            generated.from = from;
            generated.step = Duration::from_nanos(u64::try_from(nanos).expect("a log does not span centuries"));
        }
        self
    }

    /// At this speed.
    #[must_use]
    pub fn slowly(mut self, bytes_per_second: u64) -> Self {
        self.faults.bytes_per_second = Some(bytes_per_second.max(1));
        self
    }

    /// Sends nothing more after this many bytes, with the connection open.
    #[must_use]
    pub fn stall_after(mut self, bytes: u64) -> Self {
        self.faults.stall_after = Some(bytes);
        self
    }

    /// The connection is closed after this many bytes, in the middle of the body.
    #[must_use]
    pub fn cut_after(mut self, bytes: u64) -> Self {
        self.faults.cut_after = Some(bytes);
        self
    }

    /// The connection is reset (RST) after this many bytes.
    #[must_use]
    pub fn reset_after(mut self, bytes: u64) -> Self {
        self.faults.reset_after = Some(bytes);
        self
    }

    /// The faults happen at the first request only.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.spent = Some(Arc::default());
        self
    }

    /// The faults of the current request.
    pub(super) fn faults_now(&self) -> Faults {
        let over = self.spent.as_ref().is_some_and(|spent| spent.swap(true, Ordering::AcqRel));
        if over { Faults::default() } else { self.faults }
    }

    fn of(content: Content) -> Self {
        Self { content, faults: Faults::default(), spent: None }
    }
}

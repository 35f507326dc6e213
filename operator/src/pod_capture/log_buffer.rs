//! Keeps the last lines of a log in bounded memory, and reads a log over several requests. `follow` makes the requests.

use std::collections::VecDeque;

use jiff::Timestamp;

/// Most bytes kept of one container's log.
pub(super) const RING: usize = 256 << 10;
/// A longer line (bytes) is not kept: when cut, it could show half of a secret that no rule recognizes any more.
const LINE: usize = 32 << 10;
/// Most bytes left out after an overlong line in which a private key begins: no key is longer.
const KEY: usize = 64 << 10;
/// Longest time stamp that a kubelet writes.
const STAMP: usize = 40;

/// Whole lines; the oldest are dropped first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    /// Bytes and lines that were dropped.
    pub(super) left_out: (u64, u64),
    /// The last dropped line was inside a private key. The rest of the key is dropped, too: no rule would recognize it
    /// without its head.
    in_key: bool,
    /// The same for a key that begins in an overlong line: how many bytes after it may still belong to the key.
    skips: usize,
}

impl Ring {
    /// Adds a line, with a line break if it has none.
    pub(super) fn push(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.len() >= LINE {
            self.too_long(line.len() as u64 + 1, key_open(line));
            return;
        }
        if self.skips > 0 {
            self.leave_out(line.len() as u64 + 1);
            self.skips = match key_open(line) {
                Some(true) => KEY,
                Some(false) => 0,
                None => self.skips.saturating_sub(line.len() + 1),
            };
            return;
        }
        while self.bytes.len() + line.len() + 1 > RING {
            self.drop_first();
        }
        let length = self.bytes.len() + line.len() + 1;
        if length > self.bytes.capacity() {
            // Without this the buffer would double beyond the limit.
            let capacity = (self.bytes.capacity() * 2).clamp(length, RING);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend(line);
        self.bytes.push_back(b'\n');
        self.drop_rest_of_key();
    }

    /// Counts an overlong line; `key` is whether a private key is open after it, `None` if none begins or ends in it.
    pub(super) fn too_long(&mut self, bytes: u64, key: Option<bool>) {
        self.leave_out(bytes);
        match key {
            Some(true) => self.skips = KEY,
            Some(false) => (self.skips, self.in_key) = (0, false),
            None => {}
        }
    }

    fn leave_out(&mut self, bytes: u64) {
        self.left_out.0 += bytes;
        self.left_out.1 += 1;
    }

    /// Drops the older half.
    pub(super) fn halve(&mut self) {
        let half = self.bytes.len() / 2;
        while self.bytes.len() > half {
            self.drop_first();
        }
        self.drop_rest_of_key();
        self.bytes.shrink_to_fit();
    }

    /// Memory used, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// The lines that are kept.
    pub(super) fn content(&self) -> Vec<u8> {
        let (a, b) = self.bytes.as_slices();
        [a, b].concat()
    }

    fn drop_first(&mut self) {
        let end = self.bytes.iter().position(|byte| *byte == b'\n').map_or(self.bytes.len(), |at| at + 1);
        let line: Vec<u8> = self.bytes.drain(..end).collect();
        self.leave_out(line.len() as u64);
        self.in_key = key_open(&line).unwrap_or(self.in_key);
    }

    fn drop_rest_of_key(&mut self) {
        while self.in_key && !self.bytes.is_empty() {
            self.drop_first();
        }
    }
}

/// Most bytes between `-----BEGIN` and `PRIVATE KEY`.
const LABEL: usize = 64;

/// Whether a private key is open after these bytes; `None` if none begins or ends in them.
fn key_open(bytes: &[u8]) -> Option<bool> {
    let mut open = None;
    for at in memchr::memmem::find_iter(bytes, b"PRIVATE KEY") {
        let label = &bytes[at.saturating_sub(LABEL)..at];
        let last = |word: &[u8]| memchr::memmem::rfind(label, word);
        let (begin, end) = (last(b"-----BEGIN "), last(b"-----END "));
        if begin.is_some() || end.is_some() {
            open = Some(begin > end);
        }
    }
    open
}

/// The same for bytes that arrive in pieces.
#[derive(Debug, Default)]
struct KeyWatch {
    /// The last bytes: a marker may be split between two pieces.
    tail: Vec<u8>,
    open: Option<bool>,
}

impl KeyWatch {
    fn feed(&mut self, piece: &[u8]) {
        let seen = [self.tail.as_slice(), piece].concat();
        self.open = key_open(&seen).or(self.open);
        self.tail = seen[seen.len().saturating_sub(LABEL + 16)..].to_vec();
    }
}

/// How far a log was read: up to this time, and this many lines of exactly that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogCursor {
    /// `None`: no line was read.
    pub(super) time: Option<Timestamp>,
    lines: u64,
}

#[cfg(test)]
impl LogCursor {
    /// After the first line of this time.
    pub(super) fn at(time: Timestamp) -> Self {
        Self { time: Some(time), lines: 1 }
    }
}

/// A line, or its length.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SplitLine<'a> {
    /// The whole line.
    Whole(&'a [u8]),
    /// The line is too long to be kept.
    TooLong {
        /// Its length.
        bytes: u64,
        /// Whether a private key is open after it; `None` if none begins or ends in it.
        key: Option<bool>,
    },
}

/// Splits the answer to one request into lines, and skips the lines that were read before. A line without a time has
/// the time of the line before it. A last line without a line break is not passed on: it may be incomplete.
#[derive(Debug)]
pub(super) struct LineSplitter {
    before: LogCursor,
    now: LogCursor,
    line: Vec<u8>,
    /// Length of the present line in bytes; `line` holds at most [`LINE`] of them.
    length: u64,
    /// Set for a line that is longer.
    key: Option<KeyWatch>,
}

impl LineSplitter {
    /// Starts with a new request; `before` is how far earlier requests read.
    pub(super) fn after(before: LogCursor) -> Self {
        Self { before, now: LogCursor::default(), line: Vec::new(), length: 0, key: None }
    }

    /// Passes whole new lines to `out`, each with the cursor after it.
    pub(super) fn feed(&mut self, data: &[u8], mut out: impl FnMut(SplitLine<'_>, LogCursor)) {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let (fits, rest) = piece.split_at(piece.len().min(LINE.saturating_sub(self.line.len())));
            self.line.extend_from_slice(fits);
            self.length += piece.len() as u64;
            if !rest.is_empty() {
                let begun = || {
                    let mut watch = KeyWatch::default();
                    watch.feed(&self.line);
                    watch
                };
                self.key.get_or_insert_with(begun).feed(rest);
            }
            if piece.ends_with(b"\n") {
                self.pass(&mut out);
            }
        }
    }

    /// Passes the last line even without a line break: nothing more will come.
    pub(super) fn end(mut self, mut out: impl FnMut(SplitLine<'_>, LogCursor)) {
        if self.length > 0 {
            self.pass(&mut out);
        }
    }

    fn pass(&mut self, out: &mut impl FnMut(SplitLine<'_>, LogCursor)) {
        let time = time_of(&self.line).or(self.now.time);
        let same = time == self.now.time;
        self.now = LogCursor { time, lines: if same { self.now.lines + 1 } else { 1 } };
        let is_new = match (time, self.before.time) {
            (Some(time), Some(before)) => time > before || (time == before && self.now.lines > self.before.lines),
            _ => true,
        };
        if is_new {
            let whole = self.length <= self.line.len() as u64;
            let key = self.key.as_ref().and_then(|watch| watch.open);
            let line =
                if whole { SplitLine::Whole(&self.line) } else { SplitLine::TooLong { bytes: self.length, key } };
            out(line, self.now);
        }
        self.line.clear();
        (self.length, self.key) = (0, None);
    }
}

/// The kubelet's time stamp at the beginning of a line.
fn time_of(line: &[u8]) -> Option<Timestamp> {
    let end = line.iter().take(STAMP).position(|byte| matches!(byte, b' ' | b'\n'))?;
    std::str::from_utf8(&line[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_oldest_lines_go_first_and_are_counted() {
        let mut ring = Ring::default();
        for n in 0..100_000 {
            ring.push(format!("line {n:06}\n").as_bytes());
        }
        let text = String::from_utf8(ring.content()).unwrap();
        let (first, last) = (text.lines().next().unwrap(), text.lines().last().unwrap());
        assert_eq!(last, "line 099999");
        assert_eq!(first, format!("line {:06}", 100_000 - text.lines().count()));
        assert_eq!(ring.left_out, (100_000 * 12 - text.len() as u64, 100_000 - text.lines().count() as u64));
        assert!(ring.memory() <= RING, "{}", ring.memory());
        ring.halve();
        assert!(ring.memory() <= RING / 2 && ring.content().ends_with(b"line 099999\n"));
    }

    #[test]
    fn a_line_too_long_is_left_out_whole() {
        let mut ring = Ring::default();
        ring.push(&vec![b'x'; LINE]);
        ring.push(b"short");
        assert_eq!((ring.content().as_slice(), ring.left_out), (b"short\n".as_slice(), (LINE as u64 + 1, 1)));
    }

    #[test]
    fn a_key_whose_head_went_goes_whole() {
        let mut ring = Ring::default();
        ring.push(b"-----BEGIN RSA PRIVATE KEY-----");
        for _ in 0..3 {
            ring.push(&[b'k'; 60]);
        }
        while ring.left_out.1 == 0 {
            ring.push(&[b'k'; 60]);
        }
        ring.push(b"still of the key");
        assert!(ring.content().is_empty(), "{}", String::from_utf8_lossy(&ring.content()));
        ring.push(b"-----END RSA PRIVATE KEY-----");
        ring.push(b"after it");
        assert_eq!(ring.content(), b"after it\n");
    }

    #[test]
    fn a_key_that_begins_in_a_line_too_long_does_not_come_in() {
        let (head, end) = ("-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----");
        let body = "k".repeat(64);
        // It begins in the held part of the line, on its border, and far behind it.
        for before in [100, LINE - 40, LINE - 12, LINE + 999, 5 * LINE] {
            for chunk in [7, 1000, 70_000] {
                let long = format!("{}{head}{}", "x".repeat(before), "y".repeat(LINE));
                let whole = format!("first\n{long}\n{body}\n{body}\n{end}\nlast\n");
                let (mut lines, mut ring) = (LineSplitter::after(LogCursor::default()), Ring::default());
                for piece in whole.as_bytes().chunks(chunk) {
                    lines.feed(piece, |line, _| match line {
                        SplitLine::Whole(line) => ring.push(line),
                        SplitLine::TooLong { bytes, key } => ring.too_long(bytes, key),
                    });
                }
                let text = String::from_utf8(ring.content()).unwrap();
                assert_eq!(text, "first\nlast\n", "{before} {chunk}");
                assert_eq!(ring.left_out, (whole.len() as u64 - 11, 4));
            }
        }
    }

    #[test]
    fn a_key_without_an_end_costs_what_a_key_may_have_and_one_that_ended_nothing() {
        let mut ring = Ring::default();
        let long = |text: &str| format!("{}{text}", "x".repeat(LINE));
        ring.push(long("-----BEGIN PRIVATE KEY-----kkkk").as_bytes());
        for n in 0..2000 {
            ring.push(format!("line {n:05} {}", "w".repeat(88)).as_bytes());
        }
        let text = String::from_utf8(ring.content()).unwrap();
        let first: usize = text.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!((KEY / 100..KEY / 100 + 2).contains(&first), "{first}");

        let mut ring = Ring::default();
        ring.push(long("-----BEGIN PRIVATE KEY-----kk-----END PRIVATE KEY-----").as_bytes());
        ring.push(b"kept");
        assert_eq!(ring.content(), b"kept\n");
        ring.push(long("-----BEGIN PGP PRIVATE KEY BLOCK-----").as_bytes());
        ring.push(long("-----END PGP PRIVATE KEY BLOCK-----").as_bytes());
        ring.push(b"kept, too");
        assert_eq!(ring.content(), b"kept\nkept, too\n");
    }

    const LOG: &str = "\
2026-03-01T10:00:00.000000001Z one
2026-03-01T10:00:00.000000002Z two
2026-03-01T10:00:00.000000002Z three
\tof three
2026-03-01T10:00:01.000000000Z four
";

    fn read(log: &str, before: LogCursor, chunk: usize) -> (String, LogCursor) {
        let (mut lines, mut kept, mut cursor) = (LineSplitter::after(before), String::new(), before);
        let mut out = |line: SplitLine<'_>, now: LogCursor| {
            let SplitLine::Whole(line) = line else { panic!("{line:?}") };
            kept.push_str(std::str::from_utf8(line).unwrap());
            cursor = now;
        };
        for piece in log.as_bytes().chunks(chunk) {
            lines.feed(piece, &mut out);
        }
        (kept, cursor)
    }

    proptest! {
        #[test]
        fn a_log_read_in_two_requests_is_the_log(cut in 0..LOG.len(), first in 1..70_usize, second in 1..70_usize) {
            let (a, cursor) = read(&LOG[..cut], LogCursor::default(), first);
            // By whole seconds, the kubelet sends all of it again.
            let (b, _) = read(LOG, cursor, second);
            prop_assert_eq!(a + &b, LOG);
        }
    }

    #[test]
    fn the_length_of_a_line_is_told_but_not_held() {
        let mut lines = LineSplitter::after(LogCursor::default());
        let mut told = Vec::new();
        for _ in 0..100 {
            lines.feed(&[b'y'; 1000], |_, _| panic!("no line yet"));
        }
        assert!(lines.line.len() <= LINE);
        lines.feed(b"\nnext", |line, _| told.push(format!("{line:?}")));
        lines.end(|line, _| told.push(format!("{line:?}")));
        assert_eq!(told, ["TooLong { bytes: 100001, key: None }".to_owned(), format!("Whole({:?})", b"next")]);
    }
}

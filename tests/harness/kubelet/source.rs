//! The bytes of a log for one query, in pieces, as a kubelet reads it: first the tail, then the time, then the limit.
//! `serve` adds delays and faults.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::script::{Content, Generated, Line, LogScript};

/// Pieces of a log.
pub(super) type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

const PIECE: usize = 64 << 10;

/// The part of the query that shapes a log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wanted {
    tail: Option<u64>,
    since: Option<Timestamp>,
    limit: Option<u64>,
    timestamps: bool,
    pub(super) follow: bool,
}

impl Wanted {
    pub(super) fn from_query(query: &BTreeMap<String, String>, now: Timestamp) -> Self {
        let number = |name| query.get(name).and_then(|text| text.parse::<u64>().ok());
        let since_seconds =
            number("sinceSeconds").and_then(|seconds| now.checked_sub(Duration::from_secs(seconds)).ok());
        Self {
            tail: number("tailLines"),
            since: query.get("sinceTime").and_then(|text| text.parse().ok()).or(since_seconds),
            limit: number("limitBytes"),
            timestamps: query.get("timestamps").is_some_and(|text| text == "true"),
            follow: query.get("follow").is_some_and(|text| text == "true"),
        }
    }

    /// The query for lines written after the response began, when a log is followed.
    pub(super) fn further(self) -> Self {
        Self { tail: None, ..self }
    }
}

pub(super) fn open(content: &Content, wanted: Wanted) -> io::Result<Pieces> {
    let whole: Pieces = match content {
        Content::Lines(lines) => in_memory(lines.clone(), wanted),
        Content::Growing(growing) => in_memory(Arc::new(growing.lines()), wanted),
        Content::File(path) => in_memory(Arc::new(read(path)?), wanted),
        Content::Generated(generated) => Box::new(Generator::new(*generated, wanted)),
        Content::Body(_, bytes) => return Ok(Box::new(std::iter::once(bytes.clone()))),
    };
    Ok(match wanted.limit {
        Some(limit) => limited(whole, limit),
        None => whole,
    })
}

fn limited(pieces: Pieces, limit: u64) -> Pieces {
    Box::new(pieces.scan(limit, |left, mut piece| {
        piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= piece.len() as u64;
        (!piece.is_empty()).then_some(piece)
    }))
}

pub(super) fn in_memory(lines: Arc<Vec<Line>>, wanted: Wanted) -> Pieces {
    let tail = wanted.tail.map_or(usize::MAX, |tail| usize::try_from(tail).unwrap_or(usize::MAX));
    let mut next = lines.len().saturating_sub(tail);
    Box::new(std::iter::from_fn(move || {
        let mut piece = Vec::new();
        while piece.len() < PIECE && next < lines.len() {
            let line = &lines[next];
            next += 1;
            if wanted.since.is_some_and(|since| line.at < since) {
                continue;
            }
            if wanted.timestamps {
                write!(piece, "{} ", Stamp(line.at)).expect("memory takes all");
            }
            piece.extend_from_slice(&line.text);
            piece.push(b'\n');
        }
        (!piece.is_empty()).then(|| Bytes::from(piece))
    }))
}

/// The lines of a file that a process writes. A line without a time gets the time of the line before.
fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = std::fs::read(path)?;
    let mut at = Timestamp::UNIX_EPOCH;
    let lines = text.strip_suffix(b"\n").unwrap_or(&text).split(|byte| *byte == b'\n').map(|line| {
        at = own_time(line).unwrap_or(at);
        Line { at, text: line.to_vec() }
    });
    Ok(if text.is_empty() { Vec::new() } else { lines.collect() })
}

/// The time in logrus' `time="…"`.
fn own_time(line: &[u8]) -> Option<Timestamp> {
    let rest = line.strip_prefix(b"time=\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// RFC 3339 with nine digits, as the kubelet writes it.
struct Stamp(Timestamp);

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.9}", self.0)
    }
}

/// Lines of a fixed length, so that each can be generated without the lines before it.
struct Generator {
    script: Generated,
    next: u64,
    timestamps: bool,
    second: (i64, String),
    line: String,
}

impl Generator {
    fn new(script: Generated, wanted: Wanted) -> Self {
        let by_tail = wanted.tail.map_or(0, |tail| script.lines.saturating_sub(tail));
        let by_time = wanted.since.map_or(0, |since| {
            let lead = u128::try_from(since.duration_since(script.from).as_nanos()).unwrap_or(0);
            u64::try_from(lead.div_ceil(script.step.as_nanos().max(1))).unwrap_or(u64::MAX)
        });
        let next = by_tail.max(by_time);
        Self { script, next, timestamps: wanted.timestamps, second: (i64::MIN, String::new()), line: String::new() }
    }

    fn write(&mut self, piece: &mut Vec<u8>) {
        let index = self.next;
        self.next += 1;
        let since_start = u128::from(index) * self.script.step.as_nanos();
        let start = self.script.from.as_nanosecond();
        let nanos = start + i128::try_from(since_start).expect("a log does not span centuries");
        let second = i64::try_from(nanos.div_euclid(1_000_000_000)).expect("seconds fit");
        if self.second.0 != second {
            let time = Timestamp::from_second(second).expect("a log's time is a time");
            let mut text = format!("{time:.0}");
            text.pop();
            self.second = (second, text);
        }
        let time = &self.second.1;
        self.line.clear();
        if self.timestamps {
            let _ = write!(self.line, "{time}.{:09}Z ", nanos.rem_euclid(1_000_000_000));
        }
        let stamp = self.line.len();
        let noise = mixed(self.script.seed ^ index);
        let _ = write!(
            self.line,
            "time=\"{time}Z\" level=info msg=\"Backed up item\" backup=velero/nightly logSource=\"pkg/backup/backup.go:{}\" name=item-{index:012} namespace=shop-{:02} resource=configmaps id={noise:016x}",
            400 + noise % 400,
            noise % 37,
        );
        let length = stamp + usize::try_from(LogScript::GENERATED_LINE).expect("a line fits");
        while self.line.len() + 1 < length {
            self.line.push('.');
        }
        self.line.push('\n');
        piece.extend_from_slice(self.line.as_bytes());
    }
}

impl Iterator for Generator {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = Vec::with_capacity(PIECE + 512);
        while piece.len() < PIECE && self.next < self.script.lines {
            self.write(&mut piece);
        }
        (!piece.is_empty()).then(|| Bytes::from(piece))
    }
}

/// A random-looking number that depends only on its argument (splitmix64).
const fn mixed(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(script: &LogScript, query: &[(&str, &str)]) -> String {
        let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let wanted = Wanted::from_query(&query, Timestamp::now());
        let bytes: Vec<u8> = open(&script.content, wanted).unwrap().flatten().collect();
        String::from_utf8(bytes).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn lines_are_cut_by_tail_then_time_then_limit() {
        let script = LogScript::timed_lines([(at(0), "a"), (at(1), "b"), (at(2), "c"), (at(3), "d")]);
        assert_eq!(text(&script, &[]), "a\nb\nc\nd\n");
        assert_eq!(text(&script, &[("tailLines", "3")]), "b\nc\nd\n");
        assert_eq!(text(&script, &[("tailLines", "3"), ("sinceTime", "2027-01-15T08:00:02Z")]), "c\nd\n");
        assert_eq!(text(&script, &[("limitBytes", "3")]), "a\nb");
        assert_eq!(text(&script, &[("timestamps", "true"), ("tailLines", "1")]), "2027-01-15T08:00:03.000000000Z d\n");
    }

    #[test]
    fn a_generated_log_can_be_entered_anywhere() {
        let script = LogScript::generated(1_000_000, 7).between(at(0), at(3600));
        let whole = text(&script, &[]);
        assert_eq!(whole.len(), 1_000_000);
        assert_eq!(text(&script, &[("tailLines", "3")]), whole[whole.len() - 600..]);
        assert_eq!(text(&script, &[("sinceTime", "2027-01-15T08:30:00Z")]), whole[500_000..]);
        let stamped = text(&script, &[("timestamps", "true"), ("tailLines", "2")]);
        let times: Vec<Timestamp> =
            stamped.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(times[0] < times[1] && times[1] < at(3600), "{times:?}");
        assert_ne!(whole[..200], text(&LogScript::generated(1_000_000, 8), &[])[..200]);
    }

    #[test]
    fn a_files_lines_have_the_times_that_they_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("velero.log");
        std::fs::write(&path, "time=\"2027-01-15T08:00:00Z\" level=info msg=a\nplain\n").unwrap();
        assert_eq!(
            text(&LogScript::file(&path), &[("timestamps", "true")]),
            "2027-01-15T08:00:00.000000000Z time=\"2027-01-15T08:00:00Z\" level=info msg=a\n2027-01-15T08:00:00.000000000Z plain\n"
        );
        assert_eq!(text(&LogScript::file(&path), &[("sinceTime", "2027-01-15T08:00:01Z")]), "");
    }
}

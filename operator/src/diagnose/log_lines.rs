//! The error lines of a log, as timeline events with their line numbers. Reads logrus in both its formats and klog,
//! which Velero's programs write, with or without the kubelet's time in front.

use std::{
    collections::VecDeque,
    io::{self, BufRead},
    sync::LazyLock,
};

use debugbundle_format::text::bounded;
use jiff::Timestamp;
use memchr::memmem::Finder;
use serde_json::Value;

use super::timeline::{MomentKind, MomentStep, TimelineEvent};

/// Bytes of a line that are read.
const LINE: usize = 16 * 1024;
/// Longest text of an event (bytes).
const TEXT: usize = 512;

static LEVEL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("level="));

/// The newest `most` error lines of a log. `path` is its path in the bundle, `object` the object that wrote it.
///
/// # Errors
/// The log cannot be read.
pub fn error_lines(mut log: impl BufRead, path: &str, object: &str, most: usize) -> io::Result<Vec<TimelineEvent>> {
    let mut kept: VecDeque<TimelineEvent> = VecDeque::new();
    let mut line = Vec::new();
    let mut number = 0;
    while next_line(&mut log, &mut line)? {
        number += 1;
        if !may_be_error(&line) {
            continue;
        }
        let Some((t, text)) = error(&line) else { continue };
        if kept.len() >= most {
            kept.pop_front();
        }
        let text = bounded(text.trim(), TEXT).into_owned();
        let (object, path, part) = (object.to_owned(), path.to_owned(), String::new());
        let (kind, step) = (MomentKind::Log, MomentStep::Trouble);
        kept.push_back(TimelineEvent { t, kind, object, text, part, step, path, line: Some(number) });
    }
    Ok(kept.into())
}

/// Reads a line and keeps its beginning; `false` at the end of the log.
pub(super) fn next_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let piece = log.fill_buf()?;
        if piece.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = memchr::memchr(b'\n', piece);
        let taken = end.unwrap_or(piece.len());
        let room = LINE.saturating_sub(line.len()).min(taken);
        line.extend_from_slice(&piece[..room]);
        log.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// `false` of most lines, and of none that tells an error: the first byte is that of JSON or klog, or a level is one of an error.
fn may_be_error(line: &[u8]) -> bool {
    let rest = memchr::memchr(b' ', line).map_or(line, |blank| &line[blank + 1..]);
    let is_error = |level: &[u8]| [b"error", b"fatal", b"panic"].iter().any(|error| level.starts_with(*error));
    [line, rest].iter().any(|text| matches!(text.first(), Some(b'{' | b'E' | b'F')))
        || LEVEL.find_iter(line).any(|at| is_error(&line[at + LEVEL.needle().len()..]))
}

/// Time and message of a line, if it reports an error.
fn error(line: &[u8]) -> Option<(Timestamp, String)> {
    let line = String::from_utf8_lossy(line);
    let (stamp, rest) = stamped(line.trim_end());
    let (time, text) = if rest.starts_with('{') {
        of_json(rest)?
    } else if is_klog_error(rest) {
        (None, rest.split_once("] ").map_or(rest, |(_, text)| text).to_owned())
    } else {
        of_logfmt(rest)?
    };
    Some((stamp.or_else(|| time?.parse().ok())?, text))
}

/// The kubelet's time in front of a line, and the rest of the line.
fn stamped(line: &str) -> (Option<Timestamp>, &str) {
    match line.split_once(' ') {
        Some((first, rest)) if first.contains('T') => match first.parse() {
            Ok(at) => (Some(at), rest),
            Err(_) => (None, line),
        },
        _ => (None, line),
    }
}

fn is_error(level: &str) -> bool {
    matches!(level, "error" | "fatal" | "panic")
}

/// `E1122 10:00:00.000000  1 file.go:12] …`; its time has no year, so the kubelet's time is used.
fn is_klog_error(line: &str) -> bool {
    let mut bytes = line.bytes();
    matches!(bytes.next(), Some(b'E' | b'F'))
        && bytes.by_ref().take(4).filter(u8::is_ascii_digit).count() == 4
        && bytes.next() == Some(b' ')
        && line.contains("] ")
}

/// The message of a line, with the reason unless the message contains it.
fn with_why(said: &str, why: &str) -> String {
    if why.is_empty() || said.contains(why) { said.to_owned() } else { format!("{said}: {why}") }
}

fn of_json(line: &str) -> Option<(Option<String>, String)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |names: [&str; 2]| names.iter().find_map(|name| value[*name].as_str()).unwrap_or_default();
    is_error(text(["level", "severity"]))
        .then(|| (Some(text(["time", "ts"]).to_owned()), with_why(text(["msg", "message"]), text(["error", "err"]))))
}

/// `time="…" level=error msg="…" error="…"`
fn of_logfmt(line: &str) -> Option<(Option<String>, String)> {
    if !["level=error", "level=fatal", "level=panic"].iter().any(|level| line.contains(level)) {
        return None;
    }
    let (mut time, mut level, mut said, mut why) = (None, String::new(), String::new(), String::new());
    for (key, value) in Pairs(line) {
        match key {
            "time" => time = Some(value),
            "level" => level = value,
            "msg" => said = value,
            "error" => why = value,
            _ => {}
        }
    }
    is_error(&level).then(|| (time, with_why(&said, &why)))
}

/// `key=value` and `key="quoted value"`, one after the other; words without a value are skipped.
struct Pairs<'a>(&'a str);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, String);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.0.trim_start();
            if line.is_empty() {
                return None;
            }
            let end = line.find([' ', '=']).unwrap_or(line.len());
            let (key, rest) = line.split_at(end);
            let Some(rest) = rest.strip_prefix('=') else {
                self.0 = rest;
                continue;
            };
            let (value, rest) = if let Some(quoted) = rest.strip_prefix('"') {
                unquoted(quoted)
            } else {
                let end = rest.find(' ').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            };
            self.0 = rest;
            return Some((key, value));
        }
    }
}

/// The text up to the closing quote, unescaped as Go quotes it, and the rest. An unclosed quote extends to the end.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            'n' | 't' | 'r' if escaped => value.push(' '),
            c if escaped => value.push(c),
            '\\' => {}
            '"' => return (value, &text[at + 1..]),
            c => value.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(log: &str, most: usize) -> Vec<(String, String, u64)> {
        let found = error_lines(log.as_bytes(), "p", "Pod/v/p", most).unwrap();
        found.into_iter().map(|m| (m.t.to_string(), m.text, m.line.unwrap())).collect()
    }

    #[test]
    fn errors_of_each_format_are_found_with_their_time_and_their_line() {
        let log = concat!(
            "time=\"2026-03-01T10:00:00Z\" level=info msg=\"level=error is a word in here\"\n",
            "time=\"2026-03-01T10:00:01Z\" level=error msg=\"Error \\\"restoring\\\"\\nx\" error=\"no room\" logSource=\"a.go:1\"\n",
            "2026-03-01T10:00:02.5Z {\"level\":\"error\",\"msg\":\"it broke\",\"error\":\"it broke\",\"time\":\"2026-03-01T09:00:00Z\"}\n",
            "2026-03-01T10:00:03Z E0301 10:00:03.000000       1 reflector.go:9] cannot list\n",
            "2026-03-01T10:00:04Z I0301 10:00:04.000000       1 reflector.go:9] fine\n",
            "level=error msg=\"without a time it has no place\"\n",
            "Exception: level=error\n",
            "time=\"2026-03-01T10:00:05Z\" level=fatal msg=\"the end",
        );
        let told = lines(log, 9);
        let told: Vec<(&str, &str, u64)> =
            told.iter().map(|(t, text, line)| (t.as_str(), text.as_str(), *line)).collect();
        assert_eq!(
            told,
            [
                ("2026-03-01T10:00:01Z", "Error \"restoring\" x: no room", 2),
                ("2026-03-01T10:00:02.5Z", "it broke", 3),
                ("2026-03-01T10:00:03Z", "cannot list", 4),
                ("2026-03-01T10:00:05Z", "the end", 8),
            ]
        );
    }

    #[test]
    fn of_too_many_the_newest_stay_and_a_line_of_any_length_is_one_line() {
        let long = format!("time=\"2026-03-01T10:00:00Z\" level=error msg=\"{}\"\n", "x".repeat(1 << 20));
        let many = (0..9).map(|n| format!("time=\"2026-03-01T10:00:0{n}Z\" level=error msg=m{n}\n"));
        let many = many.collect::<Vec<_>>().concat();
        let told = lines(&format!("{long}{many}"), 3);
        assert_eq!(
            told.iter().map(|(_, text, line)| (text.as_str(), *line)).collect::<Vec<_>>(),
            [("m6", 8), ("m7", 9), ("m8", 10)]
        );
        let [(_, text, 1)] = &lines(&long, 3)[..] else { panic!("one line") };
        assert!(text.len() <= TEXT, "{}", text.len());
    }

    proptest! {
        #[test]
        fn no_line_that_tells_an_error_is_passed_over(words in prop::collection::vec(prop::sample::select(vec![
            "2026-03-01T10:00:02.5Z ", "time=\"2026-03-01T10:00:02Z\" ", " ", "level=", "level=error", "error ", "panic", "msg=x",
            "{\"level\":\"error\",\"time\":\"2026-03-01T10:00:02Z\"}", "E0301 10:00:03.000000       1 a.go:9] ", "F0301 ", "] ", "E", "\u{a0}", "\r",
        ]), 0..8)) {
            let line = words.concat();
            prop_assert!(error(line.as_bytes()).is_none() || may_be_error(line.as_bytes()), "{}", line);
        }
    }
}

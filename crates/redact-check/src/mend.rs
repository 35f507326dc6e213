//! Replaces a line in which a shape was found with a marker; of JSON and YAML only the string, so that the file stays
//! readable. It takes the hits from the check and searches nothing itself.

use std::{collections::BTreeMap, io, ops::Range};

use crate::{Cost, Hit};

/// How much of a line is removed with a hit in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The line.
    Lines,
    /// The string.
    Json,
    /// The string, or the scalar without quotes.
    Yaml,
}

impl Form {
    fn of(path: &str) -> Self {
        match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("json" | "jsonl") => Self::Json,
            Some("yaml") => Self::Yaml,
            _ => Self::Lines,
        }
    }
}

/// Takes the lines of one entry in order, and removes from each what must not be sent.
#[derive(Debug)]
pub struct Mender {
    form: Form,
    /// Where each hit lies in the entry, and its rule; the last hit first.
    hits: Vec<(Range<u64>, &'static str)>,
    at: u64,
    /// Lines from which bytes were removed.
    pub lines: u64,
    /// Bytes that were removed.
    pub bytes: u64,
    /// Hits by rule.
    pub rules: BTreeMap<String, u64>,
}

impl Mender {
    /// For the entry at this path and its hits; `None` if one of the hits costs the whole entry.
    pub fn of(path: &str, hits: &[&Hit]) -> Option<Self> {
        let mut places = Vec::with_capacity(hits.len());
        for hit in hits.iter().rev() {
            places.push((hit.offset..hit.offset + hit.length, hit.rule));
            if hit.cost > Cost::Line {
                return None;
            }
        }
        Some(Self { form: Form::of(path), hits: places, at: 0, lines: 0, bytes: 0, rules: BTreeMap::new() })
    }

    /// Mends the next line, its end included.
    ///
    /// # Errors
    /// A hit is not within one value, so that removing it would break the file.
    pub fn line(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        let begin = self.at;
        self.at += line.len() as u64;
        let mut pieces: Vec<(Range<usize>, &'static str)> = Vec::new();
        while let Some((hit, rule)) = self.hits.pop_if(|(hit, _)| hit.start < self.at) {
            *self.rules.entry(rule.to_owned()).or_default() += 1;
            let place = |at: u64| usize::try_from(at - begin).unwrap_or(usize::MAX).min(line.len());
            let hit = place(hit.start)..place(hit.end);
            if pieces.last().is_none_or(|(piece, _)| piece.end <= hit.start) {
                let piece = piece(line, &hit, self.form).ok_or(io::ErrorKind::InvalidData)?;
                pieces.push((piece, rule));
            }
        }
        self.lines += u64::from(!pieces.is_empty());
        for (piece, rule) in pieces.into_iter().rev() {
            self.bytes += piece.len() as u64;
            let marker = match self.form {
                Form::Lines => format!("debugbundle: a line was withheld here, the self-check found {rule} in it"),
                Form::Json | Form::Yaml => format!("withheld by the self-check ({rule})"),
            };
            line.splice(piece, marker.into_bytes());
        }
        Ok(())
    }
}

/// The bytes of the line that are removed with a hit.
fn piece(line: &[u8], hit: &Range<usize>, form: Form) -> Option<Range<usize>> {
    let end = line.trim_ascii_end().len().max(hit.start);
    if form == Form::Lines {
        return Some(behind_stamp(line)..end);
    }
    let mut open = None;
    let mut at = 0;
    while at < hit.start {
        match line[at] {
            b'"' if open.is_some() => open = None,
            b'"' => open = Some(at + 1),
            b'\\' if open.is_some() => at += 1,
            _ => {}
        }
        at += 1;
    }
    let whole = match (open, form) {
        (Some(start), _) => start..closing(line, at, end),
        (None, Form::Yaml) => {
            let start = memchr::memmem::rfind(&line[..hit.start], b": ").map_or_else(|| indent(line), |at| at + 2);
            let next = memchr::memmem::find(&line[hit.start..end], b": ").map(|at| hit.start + at);
            start..next.unwrap_or_else(|| end - usize::from(line[..end].ends_with(b":")))
        }
        (None, _) => return None,
    };
    (whole.start <= hit.start && hit.end <= whole.end).then_some(whole)
}

/// Where the string that is open at `at` ends.
fn closing(line: &[u8], mut at: usize, end: usize) -> usize {
    while at < end && line[at] != b'"' {
        at += if line[at] == b'\\' { 2 } else { 1 };
    }
    at.min(end)
}

/// The first byte after blanks and the dashes of lists.
fn indent(line: &[u8]) -> usize {
    line.iter().position(|byte| !b" -".contains(byte)).unwrap_or(line.len())
}

/// The first byte after the time at the start of a log line. The time stays, because readers sort by it.
fn behind_stamp(line: &[u8]) -> usize {
    let word = memchr::memchr(b' ', &line[..line.len().min(64)]).unwrap_or(0);
    let is_time = str::from_utf8(&line[..word]).is_ok_and(|word| word.parse::<jiff::Timestamp>().is_ok());
    if is_time { word + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::HitPlace;

    const VALUE: &str = "v4lue";

    /// Each occurrence of the value is a hit.
    fn mended(path: &str, text: &str) -> io::Result<(String, u64, u64)> {
        let hits: Vec<Hit> = text
            .match_indices(VALUE)
            .map(|(at, value)| Hit {
                place: HitPlace::Entry(path.to_owned()),
                begin: at as u64,
                offset: at as u64,
                length: value.len() as u64,
                rule: "check-x",
                cost: Cost::Line,
                seen: Zeroizing::default(),
            })
            .collect();
        let mut mender = Mender::of(path, &hits.iter().collect::<Vec<_>>()).expect("lines alone");
        let mut out = String::new();
        for line in text.split_inclusive('\n') {
            let mut line = line.as_bytes().to_vec();
            mender.line(&mut line)?;
            out += str::from_utf8(&line).expect("text");
        }
        Ok((out, mender.lines, mender.rules["check-x"]))
    }

    #[test]
    fn sec_x52_of_a_log_the_line_goes_but_for_its_time() {
        let marker = "debugbundle: a line was withheld here, the self-check found check-x in it";
        let text = "one\n2026-01-01T00:00:00.000000001Z a v4lue and v4lue\r\nthree\nfour v4lue";
        let (out, lines, hits) = mended("a/current.log", text).expect("mended");
        assert_eq!(out, format!("one\n2026-01-01T00:00:00.000000001Z {marker}\r\nthree\n{marker}"));
        assert_eq!((lines, hits), (2, 3));
    }

    #[test]
    fn sec_x52_of_json_and_yaml_the_string_goes_and_the_file_stays_readable() {
        let marker = "withheld by the self-check (check-x)";
        for (path, text, want) in [
            (
                "a.json",
                r#"{"a":"x v4lue","b":["\"v4lue\" v4lue\\","y"]}"#,
                r#"{"a":"#.to_owned() + &format!(r#""{marker}","b":["{marker}","y"]}}"#),
            ),
            ("a.jsonl", "{\"a v4lue\":1}\n{\"b\":2}\n", format!("{{\"{marker}\":1}}\n{{\"b\":2}}\n")),
            ("a.yaml", "- message: pull of v4lue failed\n", format!("- message: {marker}\n")),
            ("a.yaml", "  - v4lue\n", format!("  - {marker}\n")),
            ("a.yaml", "  \"a: b\": \"v4lue: \\\"c\"\n", format!("  \"a: b\": \"{marker}\"\n")),
            ("a.yaml", "  x-v4lue:\n    a: b\n", format!("  {marker}:\n    a: b\n")),
            ("a.yaml", "  x-v4lue: c\n", format!("  {marker}: c\n")),
        ] {
            let (out, lines, _) = mended(path, text).expect("mended");
            assert_eq!((out, lines), (want, 1), "{text}");
        }
        mended("a.json", "{\"a\":v4lue}").expect_err("no JSON, and no string");
    }
}

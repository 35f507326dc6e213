//! Replaces with a marker what the check found in a file: a line, a string of JSON or YAML, a row of a report; or, around
//! keys and known values, an object of a list, a section of a report. It takes the hits from the check and searches
//! nothing itself.

use std::{collections::BTreeMap, io, ops::Range};

use crate::{Cost, Hit};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The line is removed.
    Lines,
    /// The string.
    Json,
    /// The string, or the scalar without quotes; the item of a List.
    Yaml,
    /// The line behind its signs; the section.
    Markdown,
    /// The row of a table or list, else the text between two tags; the section.
    Html,
}

impl Form {
    fn of(path: &str) -> Self {
        match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("json" | "jsonl") => Self::Json,
            Some("yaml") => Self::Yaml,
            Some("md") => Self::Markdown,
            Some("html") => Self::Html,
            _ => Self::Lines,
        }
    }

    /// Replaces part of a line.
    fn marker(self, line: &[u8], rule: &str) -> String {
        match self {
            Self::Lines => format!("debugbundle: a line was withheld here, the self-check found {rule} in it"),
            Self::Html if line.starts_with(b"<tr") => format!("<td>withheld by the self-check ({rule})</td>"),
            Self::Json | Self::Yaml | Self::Markdown | Self::Html => format!("withheld by the self-check ({rule})"),
        }
    }

    /// Replaces all lines of a block.
    fn block_marker(self, rule: &str) -> String {
        let text = format!("was withheld here, the self-check found {rule} in it");
        match self {
            Self::Html => format!("<p>A section {text}.</p>\n"),
            Self::Markdown => format!("A section {text}.\n\n"),
            Self::Json | Self::Yaml | Self::Lines => format!("# debugbundle: an object {text}\n"),
        }
    }
}

/// How the rows of a report begin and end.
const ROWS: [(&[u8], &[u8]); 2] = [(b"<tr", b"</tr>"), (b"<li", b"</li>")];

/// What a [`Mender`] removed.
#[derive(Debug, Default)]
pub struct Taken {
    /// Lines from which bytes were removed.
    pub lines: u64,
    /// Blocks: objects of a list, sections of a report.
    pub blocks: u64,
    /// Bytes.
    pub bytes: u64,
    /// Hits by rule.
    pub rules: BTreeMap<String, u64>,
}

/// Takes the lines of one entry in order, and removes from each what must not be sent.
#[derive(Debug)]
pub struct Mender {
    form: Form,
    /// Where each hit lies in the entry, and its rule; the last hit first.
    hits: Vec<(Range<u64>, &'static str)>,
    /// Hits that cost the block in which they lie, later these blocks; the last one first.
    wide: Vec<(Range<u64>, &'static str)>,
    blocks: Blocks,
    at: u64,
    /// What was removed so far.
    pub taken: Taken,
}

/// Where blocks begin.
#[derive(Debug, Default)]
struct Blocks {
    starts: Vec<u64>,
    at: u64,
    /// Of a List the lines seen: its kind, and the head of its items.
    is_list: bool,
    in_items: bool,
}

impl Mender {
    /// For the entry at this path, which others wrote, and its hits: a shape costs its line, a key or a known value the
    /// object of a List. `None` if one of the hits costs the whole entry.
    pub fn of(path: &str, hits: &[&Hit]) -> Option<Self> {
        let form = Form::of(path);
        let whole = |hit: &&Hit| hit.cost == Cost::Entry || (hit.cost == Cost::Object && form != Form::Yaml);
        if hits.iter().any(whole) {
            return None;
        }
        Some(Self::new(form, hits.iter().copied(), |hit| hit.cost == Cost::Object))
    }

    /// For a file of the operator's own: each hit costs its row.
    pub fn rows(path: &str, hits: &[Hit]) -> Self {
        Self::new(Form::of(path), hits.iter(), |_| false)
    }

    /// For a file of the operator's own: each hit costs its section.
    pub fn sections(path: &str, hits: &[Hit]) -> Self {
        Self::new(Form::of(path), hits.iter(), |_| true)
    }

    fn new<'h>(form: Form, hits: impl Iterator<Item = &'h Hit>, is_wide: impl Fn(&Hit) -> bool) -> Self {
        let (wide, narrow): (Vec<&Hit>, Vec<&Hit>) = hits.partition(|hit| is_wide(hit));
        let end = |hit: &Hit| hit.offset + hit.length;
        Self {
            form,
            hits: narrow.into_iter().rev().map(|hit| (hit.offset..end(hit), hit.rule)).collect(),
            wide: wide.into_iter().map(|hit| (hit.begin..end(hit), hit.rule)).collect(),
            blocks: Blocks::default(),
            at: 0,
            taken: Taken::default(),
        }
    }

    /// Whether all lines must be shown to [`Mender::survey`] before the first one is mended.
    pub fn needs_survey(&self) -> bool {
        !self.wide.is_empty()
    }

    /// Looks at the next line for the beginning of a block.
    pub fn survey(&mut self, line: &[u8]) {
        let blocks = &mut self.blocks;
        let begins = match self.form {
            Form::Yaml => blocks.in_items && line.starts_with(b"- "),
            Form::Markdown => line.starts_with(b"## "),
            Form::Html => [&b"<h2>"[..], b"</body>"].iter().any(|start| line.starts_with(start)),
            Form::Json | Form::Lines => false,
        };
        if begins {
            blocks.starts.push(blocks.at);
        }
        blocks.in_items |= blocks.is_list && line == b"items:\n";
        blocks.is_list |= line == b"kind: List\n";
        blocks.at += line.len() as u64;
    }

    /// Ends the survey.
    ///
    /// # Errors
    /// A hit is in no block.
    pub fn surveyed(&mut self) -> io::Result<()> {
        let starts = std::mem::take(&mut self.blocks).starts;
        let mut blocks: Vec<(Range<u64>, &'static str)> = Vec::new();
        for (hit, rule) in std::mem::take(&mut self.wide) {
            *self.taken.rules.entry(rule.to_owned()).or_default() += 1;
            let first = starts.partition_point(|start| *start <= hit.start);
            let start = first.checked_sub(1).map(|at| starts[at]).ok_or(io::ErrorKind::InvalidData)?;
            let behind = starts.partition_point(|start| *start < hit.end);
            let block = start..starts.get(behind).copied().unwrap_or(u64::MAX);
            match blocks.last_mut() {
                Some((last, _)) if block.start < last.end => last.end = last.end.max(block.end),
                _ => blocks.push((block, rule)),
            }
        }
        blocks.reverse();
        self.wide = blocks;
        Ok(())
    }

    /// Mends the next line, its end included.
    ///
    /// # Errors
    /// A hit is not within one value, so that removing it would break the file.
    pub fn line(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        let begin = self.at;
        self.at += line.len() as u64;
        while self.wide.pop_if(|(block, _)| block.end <= begin).is_some() {}
        let block = self.wide.last().filter(|(block, _)| block.contains(&begin)).cloned();
        let mut pieces: Vec<(Range<usize>, &'static str)> = Vec::new();
        while let Some((hit, rule)) = self.hits.pop_if(|(hit, _)| hit.start < self.at) {
            *self.taken.rules.entry(rule.to_owned()).or_default() += 1;
            if hit.end > self.at {
                self.hits.push((self.at..hit.end, rule));
            }
            let place = |at: u64| usize::try_from(at - begin).unwrap_or(usize::MAX).min(line.len());
            let hit = place(hit.start)..place(hit.end);
            if block.is_none() && pieces.last().is_none_or(|(piece, _)| piece.end <= hit.start) {
                let piece = piece(line, &hit, self.form).ok_or(io::ErrorKind::InvalidData)?;
                pieces.push((piece, rule));
            }
        }
        if let Some((block, rule)) = block {
            let marker = if block.start == begin { self.form.block_marker(rule) } else { String::new() };
            self.taken.blocks += u64::from(block.start == begin);
            self.taken.lines += 1;
            self.taken.bytes += line.len() as u64;
            *line = marker.into_bytes();
            return Ok(());
        }
        self.taken.lines += u64::from(!pieces.is_empty());
        for (piece, rule) in pieces.into_iter().rev() {
            self.taken.bytes += piece.len() as u64;
            let marker = self.form.marker(line, rule);
            line.splice(piece, marker.into_bytes());
        }
        Ok(())
    }
}

/// The bytes of the line that are removed with a hit.
fn piece(line: &[u8], hit: &Range<usize>, form: Form) -> Option<Range<usize>> {
    let end = line.trim_ascii_end().len().max(hit.start);
    let whole = match form {
        Form::Lines => return Some(behind_stamp(line)..end),
        Form::Markdown => {
            let signs = line.iter().position(|byte| !b" *#.0123456789".contains(byte)).unwrap_or(0);
            if signs <= hit.start { signs..end } else { 0..end }
        }
        Form::Html => text_of_html(line, hit)?,
        Form::Json | Form::Yaml => string(line, hit, form)?,
    };
    (whole.start <= hit.start && hit.end <= whole.end).then_some(whole)
}

/// What is in a row, else the text between two tags.
fn text_of_html(line: &[u8], hit: &Range<usize>) -> Option<Range<usize>> {
    if let Some((_, end)) = ROWS.iter().find(|(start, _)| line.starts_with(start)) {
        let start = memchr::memchr(b'>', line)? + 1;
        return Some(start..memchr::memmem::rfind(line, end)?);
    }
    let start = line[..hit.start].iter().rposition(|byte| b"<>".contains(byte)).map_or(0, |at| at + 1);
    let end = line[hit.start..].iter().position(|byte| b"<>\n".contains(byte)).map_or(line.len(), |at| hit.start + at);
    let is_text = start == 0 || line[start - 1] == b'>';
    is_text.then_some(start..end)
}

/// The string of JSON or YAML.
fn string(line: &[u8], hit: &Range<usize>, form: Form) -> Option<Range<usize>> {
    let end = line.trim_ascii_end().len().max(hit.start);
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
    match (open, form) {
        (Some(start), _) => Some(start..closing(line, at, end)),
        (None, Form::Yaml) => {
            let start = memchr::memmem::rfind(&line[..hit.start], b": ").map_or_else(|| indent(line), |at| at + 2);
            let next = memchr::memmem::find(&line[hit.start..end], b": ").map(|at| hit.start + at);
            Some(start..next.unwrap_or_else(|| end - usize::from(line[..end].ends_with(b":"))))
        }
        (None, _) => None,
    }
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
    fn hits(path: &str, text: &str, cost: Cost) -> Vec<Hit> {
        text.match_indices(VALUE)
            .map(|(at, value)| Hit {
                place: HitPlace::Entry(path.to_owned()),
                begin: at as u64,
                offset: at as u64,
                length: value.len() as u64,
                rule: "check-x",
                cost,
                seen: Zeroizing::default(),
            })
            .collect()
    }

    fn by(mender: &mut Mender, text: &str) -> io::Result<String> {
        if mender.needs_survey() {
            text.split_inclusive('\n').for_each(|line| mender.survey(line.as_bytes()));
            mender.surveyed()?;
        }
        let mut out = String::new();
        for line in text.split_inclusive('\n') {
            let mut line = line.as_bytes().to_vec();
            mender.line(&mut line)?;
            out += str::from_utf8(&line).expect("text");
        }
        Ok(out)
    }

    fn mended(path: &str, text: &str) -> io::Result<(String, u64, u64)> {
        let hits = hits(path, text, Cost::Line);
        let mut mender = Mender::of(path, &hits.iter().collect::<Vec<_>>()).expect("lines alone");
        let out = by(&mut mender, text)?;
        Ok((out, mender.taken.lines, mender.taken.rules["check-x"]))
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

    const LIST: &str = "apiVersion: v1\nkind: List\nitems:\n";

    #[test]
    fn sec_x52_of_a_list_the_objects_go_from_what_announces_a_key_to_its_last_line() {
        let item = |name: &str, text: &str| format!("- kind: Event\n  note:\n  - {text}\n  name: {name}\n");
        let marker = "# debugbundle: an object was withheld here, the self-check found check-x in it\n";
        let text = format!("{LIST}{}{}{}{}", item("a", "x"), item("b", "v4lue"), item("c", "v4lue"), item("d", "y"));
        let mend = |hits: &[Hit]| {
            let mut mender = Mender::of("e.yaml", &hits.iter().collect::<Vec<_>>()).expect("a list");
            (by(&mut mender, &text).expect("mended"), mender.taken)
        };
        let mut found = hits("e.yaml", &text, Cost::Object);
        let (out, taken) = mend(&found);
        assert_eq!(out, format!("{LIST}{}{marker}{marker}{}", item("a", "x"), item("d", "y")));
        assert_eq!((taken.lines, taken.blocks, taken.rules["check-x"]), (8, 2, 2));
        found[0].begin = text.find("name: a").expect("there") as u64;
        let (out, taken) = mend(&found[..1]);
        assert_eq!(out, format!("{LIST}{marker}{}{}", item("c", "v4lue"), item("d", "y")));
        assert_eq!((taken.lines, taken.blocks), (8, 1), "one gap");
        found[1].cost = Cost::Line;
        let (out, _) = mend(&found);
        assert_eq!(out.matches("withheld by the self-check (check-x)").count(), 1, "{out}");

        let lone = "kind: Role\nrules:\n- v4lue\nsubjects: x\n";
        let found = hits("e.yaml", lone, Cost::Object);
        let mut mender = Mender::of("e.yaml", &found.iter().collect::<Vec<_>>()).expect("YAML");
        by(&mut mender, lone).expect_err("it is no List, so the file goes");
        let found = hits("e.json", lone, Cost::Object);
        assert!(Mender::of("e.json", &found.iter().collect::<Vec<_>>()).is_none(), "nor is JSON");
    }

    #[test]
    fn sec_x52_of_a_report_the_rows_go_then_the_sections() {
        let marker = "withheld by the self-check (check-x)";
        let page = "<h1>v4lue</h1>\n<h2>A</h2>\n<tr data-kind=\"e\"><td>1</td><td>v4lue</td></tr>\n<tr><td>2</td></tr>\n<h2>B</h2>\n</body></html>\n";
        let found = hits("report.html", page, Cost::Object);
        let out = by(&mut Mender::rows("report.html", &found), page).expect("mended");
        let row = format!("<tr data-kind=\"e\"><td>{marker}</td></tr>\n");
        assert_eq!(
            out,
            page.replace("<h1>v4lue", &format!("<h1>{marker}"))
                .replace("<tr data-kind=\"e\"><td>1</td><td>v4lue</td></tr>\n", &row)
        );
        let out = by(&mut Mender::sections("report.html", &found[1..]), page).expect("mended");
        assert!(
            out.starts_with("<h1>v4lue</h1>\n<p>A section was withheld")
                && out.ends_with(".</p>\n<h2>B</h2>\n</body></html>\n"),
            "{out}"
        );
        by(&mut Mender::sections("report.html", &found), page).expect_err("the title is in no section");
        by(
            &mut Mender::rows("report.html", &hits("report.html", "<meta content=\"v4lue\">\n", Cost::Line)),
            "<meta content=\"v4lue\">\n",
        )
        .expect_err("no text");

        let text = "v4lue\n\n# v4lue\n\n## A\n* `v4lue`\n1. v4lue\n  * b\n## B\n* c\n";
        let found = hits("summary.md", text, Cost::Line);
        let out = by(&mut Mender::rows("summary.md", &found), text).expect("mended");
        assert_eq!(out, format!("{marker}\n\n# {marker}\n\n## A\n* {marker}\n1. {marker}\n  * b\n## B\n* c\n"));
        let out = by(&mut Mender::sections("summary.md", &found[2..]), text).expect("mended");
        assert_eq!(
            out,
            "v4lue\n\n# v4lue\n\nA section was withheld here, the self-check found check-x in it.\n\n## B\n* c\n"
        );
    }
}

//! Restricts the hits of the user's rules in a line of JSON to its texts and numbers: a rule that also matches quotes,
//! brackets or the names of Velero's own fields must not turn a file into something that nobody can read.

use std::ops::Range;

use crate::token::Span;

/// The fields of `results.json` (Velero's `pkg/util/results/result.go`).
const FIELDS: [&[u8]; 5] = [b"errors", b"warnings", b"velero", b"cluster", b"namespaces"];

/// A text without its quotes, or a number, `true`, `false`, `null`.
struct Part {
    at: Range<usize>,
    is_text: bool,
}

/// The parts of these hits that are in texts, each widened to whole escapes and characters, and the whole numbers that
/// they touch. The hits are in order and do not overlap; the line begins outside of a text.
pub(super) fn within(line: &[u8], hits: Vec<Span>) -> Vec<Span> {
    if hits.is_empty() {
        return hits;
    }
    let parts = parts(line);
    let mut found = Vec::new();
    // Where a character begins, in front of all hits that are left: each byte is read once.
    let mut border = 0;
    for hit in hits {
        let first = parts.partition_point(|part| part.at.end <= hit.at.start);
        for Part { at, is_text } in parts[first..].iter().take_while(|part| part.at.start < hit.at.end) {
            let span = |at: Range<usize>| Span::new(at.clone(), hit.rule.clone(), line[at].to_vec());
            if *is_text {
                let within = at.start.max(hit.at.start)..at.end.min(hit.at.end);
                border = border.max(at.start);
                found.push(span(widened(line, &mut border, at.end, within)));
            } else {
                found.push(span(at.clone()).quoted(b"\""));
            }
        }
    }
    found
}

fn parts(line: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < line.len() {
        let from = at;
        match line[at] {
            b'"' => {
                let (start, mut end) = (at + 1, at + 1);
                while end < line.len() && line[end] != b'"' {
                    end += if line[end] == b'\\' { 2 } else { 1 };
                }
                let end = end.min(line.len());
                at = end + 1;
                let is_name = line.get(at..).unwrap_or_default().trim_ascii_start().starts_with(b":");
                if start < end && !(is_name && FIELDS.contains(&&line[start..end])) {
                    parts.push(Part { at: start..end, is_text: true });
                }
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'-' => {
                let plain = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                at += line[at..].iter().take_while(plain).count();
                parts.push(Part { at: from..at, is_text: false });
            }
            _ => at += 1,
        }
    }
    parts
}

/// The range without half an escape or character at its ends. `border`: where a character begins in the text that ends at
/// `end`, in front of the range; it moves to the range's last character.
fn widened(line: &[u8], border: &mut usize, end: usize, wanted: Range<usize>) -> Range<usize> {
    let mut whole = wanted.clone();
    while *border < wanted.end {
        let at = *border;
        let length = match line[at..end] {
            [b'\\', b'u', ..] => 6,
            [b'\\', ..] => 2,
            // A character of UTF-8 and its further bytes.
            [0xc0..=0xff, ref rest @ ..] => 1 + rest.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count(),
            _ => 1,
        };
        let next = (at + length).min(end);
        if at < wanted.start && wanted.start < next {
            whole.start = at;
        }
        if next >= wanted.end {
            whole.end = next;
            break;
        }
        *border = next;
    }
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::{LineRedactor, Redactor, Rules};

    fn masked(rule: &str, json: &str) -> String {
        let redactor = Redactor::new(&[rule.to_owned()], Vec::new()).expect("a rule");
        let mut out = Vec::new();
        let mut put = |line: &[u8]| {
            out.extend_from_slice(line);
            Ok(())
        };
        let mut lines = LineRedactor::new(&redactor, Rules::AllInJson);
        lines.feed(json.as_bytes(), &mut put).expect("memory");
        lines.end(&mut put).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn issue_32_a_rule_that_matches_the_syntax_leaves_json() {
        let results =
            json!({"errors": {"velero": ["the \"plugin\" said orchid\n"], "namespaces": {"orchid": ["no"]}}, "n": 7});
        for rule in [".*", "\"[^\"]*\"", ".", "\"|orchid", "\\[.*\\]", "[0-9]+", "\\\\", "n.*", "errors"] {
            for text in [results.to_string(), serde_json::to_string_pretty(&results).expect("JSON")] {
                let out = masked(rule, &text);
                let read: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{rule}: {error}: {out}"));
                assert!(read["errors"]["velero"][0].is_string(), "{rule}: {out}");
            }
        }
        let out = masked("orchid", &results.to_string());
        assert!(!out.contains("orchid") && out.contains("the \\\"plugin\\\" said [REDACTED:user-0:"), "{out}");
        assert!(!masked("\"plugin.*orchid", &results.to_string()).contains("orchid"));
        assert!(masked("7", "{\"n\":7}").starts_with("{\"n\":\"[REDACTED:user-0:"));
    }

    proptest! {
        #[test]
        fn issue_32_json_stays_json(rule in "[a-c\".*\\[\\]{},:0-9]{1,6}", texts in prop::collection::vec("[a-c\"\\\\\n\u{1}é0-9 ]{0,8}", 0..5), number in any::<i32>()) {
            let rule = if Redactor::new(std::slice::from_ref(&rule), Vec::new()).is_ok() { rule } else { ".".to_owned() };
            let value = json!({"errors": {"velero": texts}, "n": number, "b": true, "z": null});
            let out = masked(&rule, &value.to_string());
            let read: Result<Value, _> = serde_json::from_str(&out);
            prop_assert!(read.is_ok(), "{}: {}", rule, out);
        }
    }
}

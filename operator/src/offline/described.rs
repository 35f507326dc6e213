//! The errors and warnings in what `velero backup describe` and `velero restore describe` print, as Velero's results file
//! contains them: a bundle of `velero debug` lacks that file. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

/// The results, in the form of Velero's results file (`pkg/util/results/result.go`); `None` if the text has no such section.
///
/// Velero prints them by `DescribeResult` (`pkg/cmd/util/output/describe.go`): a heading at the beginning of a line, below
/// it `Velero:`, `Cluster:` and `Namespaces:`, and each text in a column of its own.
pub(super) fn results(text: &str) -> Option<Value> {
    let plain = without_colours(text);
    let of = |heading: &str| section(&plain, heading).map(kinds);
    let (errors, warnings) = (of("Errors:"), of("Warnings:"));
    (errors.is_some() || warnings.is_some())
        .then(|| json!({"errors": errors.unwrap_or_default(), "warnings": warnings.unwrap_or_default()}))
}

/// The text without the colours that Velero prints for terminals.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        let behind = &rest[at + 2..];
        let end = behind.find(|c: char| c.is_ascii_alphabetic()).map_or(behind.len(), |end| end + 1);
        rest = &behind[end..];
    }
    plain + rest
}

/// The lines below a heading, until an empty one.
fn section<'a>(text: &'a str, heading: &str) -> Option<impl Iterator<Item = &'a str>> {
    let mut lines = text.lines();
    lines.by_ref().find(|line| line.trim_end() == heading)?;
    Some(lines.take_while(|line| !line.trim().is_empty()))
}

/// Errors or warnings, as Velero groups them.
#[derive(Default, Serialize)]
struct Texts {
    velero: Vec<String>,
    cluster: Vec<String>,
    namespaces: BTreeMap<String, Vec<String>>,
}

/// Where a text belongs.
enum Of {
    Velero,
    Cluster,
    /// The names follow.
    Namespaces,
    Namespace(String),
}

impl Texts {
    fn list(&mut self, of: &Of) -> Option<&mut Vec<String>> {
        match of {
            Of::Velero => Some(&mut self.velero),
            Of::Cluster => Some(&mut self.cluster),
            Of::Namespaces => None,
            Of::Namespace(name) => Some(self.namespaces.entry(name.clone()).or_default()),
        }
    }
}

fn kinds<'a>(lines: impl Iterator<Item = &'a str>) -> Texts {
    let mut found = Texts::default();
    let mut of = Of::Namespaces;
    for line in lines {
        let content = line.trim();
        let indent = line.len() - line.trim_start().len();
        let text = match heading(indent, content, &of) {
            Some((next, text)) => {
                of = next;
                text.trim()
            }
            None => content,
        };
        let Some(texts) = found.list(&of).filter(|_| !text.is_empty() && text != "<none>") else { continue };
        match texts.last_mut().filter(|_| indent == 0) {
            // A text of several lines: only its first one is indented.
            Some(last) => *last = format!("{last} {text}"),
            None => texts.push(text.to_owned()),
        }
    }
    found
}

/// The place that a line names, and the text behind it.
fn heading<'a>(indent: usize, content: &'a str, before: &Of) -> Option<(Of, &'a str)> {
    let (name, text) = content.split_once(':')?;
    let is_namespace =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match (indent, name) {
        (1..=2, "Velero") => Some((Of::Velero, text)),
        (1..=2, "Cluster") => Some((Of::Cluster, text)),
        (1..=2, "Namespaces") => Some((Of::Namespaces, text)),
        (3..=4, name) if is_namespace && matches!(before, Of::Namespaces | Of::Namespace(_)) => {
            Some((Of::Namespace(name.to_owned()), text))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_warnings_are_read_as_velero_prints_them() {
        let text = "Name:         r1\nPhase:  \u{1b}[31mPartiallyFailed\u{1b}[0m (run 'velero restore logs r1' for more information)\n\n\
            Warnings:\n  Velero:     <none>\n  Cluster:  could not restore, x\n            again: y\n  Namespaces: <none>\n\n\
            \u{1b}[1mErrors:\u{1b}[0m\n  Velero:     of two\nlines\n  Cluster:    <none>\n  Namespaces:\n    \
            app-2:  error restoring pods/app-2/a: forbidden: exceeded quota\n            shop: is no namespace here\n    shop:   boom\n\n\
            Backup:  b1\n  Velero:  not of the results\n";
        let expected = json!({
            "errors": {"velero": ["of two lines"], "cluster": [], "namespaces": {
                "app-2": ["error restoring pods/app-2/a: forbidden: exceeded quota", "shop: is no namespace here"],
                "shop": ["boom"],
            }},
            "warnings": {"velero": [], "cluster": ["could not restore, x", "again: y"], "namespaces": {}},
        });
        assert_eq!(results(text), Some(expected));
        assert_eq!(results("Name:  r1\nErrors:  <error getting errors: timeout>\n"), None);
    }
}

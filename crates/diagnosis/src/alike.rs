//! Texts that say the same of different objects: equal but for names and numbers. They are one finding with a count, and
//! what each of them names instead is kept.

use std::collections::HashMap;

use crate::texts::is_name;

/// Ends of this length (bytes) or less, such as "not found", do not identify an error.
const SHORT: usize = 16;
/// Most bytes kept of what one text names.
const NAMED: usize = 256;
/// What follows one of these words tells errors apart.
const TELLING: [&str; 7] = ["code", "statuscode", "status", "signal", "errno", "kind", "version"];
/// What follows one of these words, or its plural, is a name.
const KINDS: [&str; 15] = [
    "pod",
    "container",
    "node",
    "namespace",
    "volume",
    "persistentvolumeclaim",
    "persistentvolume",
    "pvc",
    "pv",
    "secret",
    "configmap",
    "service",
    "deployment",
    "statefulset",
    "job",
];

/// Texts that are equal but for names and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// The first one.
    pub first: String,
    /// Its place among all texts.
    pub place: usize,
    /// How many more there are.
    pub more: u64,
    /// What these name instead, where that differs.
    pub others: Vec<String>,
}

/// Groups texts, each with how often it was said, in the order of their first ones.
pub fn grouped(texts: impl IntoIterator<Item = (String, u64)>) -> Vec<Alike> {
    let mut groups: Vec<Alike> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (place, (text, times)) in texts.into_iter().enumerate() {
        let number = *known.entry(key(&text)).or_insert(groups.len());
        match groups.get_mut(number) {
            Some(group) => {
                group.more += times;
                group.others.extend(difference(&group.first, &text));
            }
            None => groups.push(Alike { first: text, place, more: times.saturating_sub(1), others: Vec::new() }),
        }
    }
    groups
}

/// What texts have in common that say the same: their end, which is the innermost error, without names and numbers.
pub fn key(text: &str) -> String {
    let end = text.rsplit(": ").next().filter(|end| end.len() > SHORT).unwrap_or(text);
    without_names(end, &[])
}

/// ` (and 41 more like it)`; nothing for none.
pub fn and_more(more: u64) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more like it)") }
}

/// The words of a text that another one lacks.
pub(crate) fn difference(first: &str, other: &str) -> Option<String> {
    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split_whitespace().map(|word| word.trim_matches([',', ':', ';', '"', '(', ')']))
    }
    let known: Vec<&str> = words(first).collect();
    let new: Vec<&str> = words(other).filter(|word| !word.is_empty() && !known.contains(word)).collect();
    let new = new.join(" ");
    (!new.is_empty()).then(|| new[..new.floor_char_boundary(NAMED)].to_owned())
}

/// The text with a mark for each name and number. `names`: what is known to be one.
pub(crate) fn without_names(text: &str, names: &[&str]) -> String {
    let is_part = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.' | '/');
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut before) = (text, "");
    while !rest.is_empty() {
        let token = &rest[..rest.find(|char| !is_part(char)).unwrap_or(rest.len())];
        let after = &rest[token.len()..];
        if token.is_empty() {
            let end = after.find(is_part).unwrap_or(after.len());
            out.push_str(&after[..end]);
            rest = &after[end..];
            continue;
        }
        let word = token.trim_matches(['.', '-', '/']);
        let is_quoted = out.ends_with('"') && after.starts_with('"');
        let before_it = before.to_lowercase();
        let is_telling = TELLING.contains(&before_it.as_str());
        let is_named = KINDS.contains(&before_it.trim_end_matches('s')) && is_name(word);
        let has_sign = word.contains(|char: char| char.is_ascii_digit() || char == '/');
        if names.contains(&word) || (!is_telling && (has_sign || is_quoted || is_named)) {
            out.push('#');
        } else {
            out.push_str(token);
        }
        before = word;
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_alike_if_only_names_and_numbers_differ() {
        for (one, other) in [
            (
                "pods db-0: daemonset pod not found in running state in node n1",
                "pods web-2: daemonset pod not found in running state in node n7",
            ),
            (
                "error restoring configmaps/shop/a: exceeded quota: tight, requested: configmaps=1, used: configmaps=1",
                "error restoring configmaps/shop/b: exceeded quota: tight, requested: configmaps=2, used: configmaps=9",
            ),
            ("pods \"web\" not found", "pods \"api\" not found"),
            ("pods web: gone", "pods api: gone"),
            (
                "dial tcp 10.0.0.1:443: connect: connection refused",
                "dial tcp 10.0.7.1:6443: connect: connection refused",
            ),
        ] {
            assert_eq!(key(one), key(other), "{one}");
        }
        for (one, other) in [
            ("the disk is full", "the disk is lost"),
            ("container a ended with exit code 1", "container a ended with exit code 137"),
            (
                "no matches for kind \"Widget\" in version \"x.io/v1\"",
                "no matches for kind \"Gadget\" in version \"x.io/v1\"",
            ),
            ("secrets \"web\" not found", "pods \"web\" not found"),
            ("StorageClass fast does not exist", "StorageClass slow does not exist"),
        ] {
            assert_ne!(key(one), key(other), "{one}");
        }
        assert_eq!(without_names("é node-a, b: x", &["node-a", "b"]), "é #, #: x");
    }

    #[test]
    fn a_group_has_the_first_text_the_number_of_the_others_and_their_names() {
        let text = |pod: &str, node: &str| format!("pods {pod}: no agent runs on node {node}");
        let all = [(text("db-0", "n1"), 2), ("why".to_owned(), 1), (text("web-1", "n1"), 1), (text("web-2", "n2"), 1)];
        let groups = grouped(all);
        assert_eq!(
            groups,
            [
                Alike {
                    first: text("db-0", "n1"),
                    place: 0,
                    more: 3,
                    others: vec!["web-1".to_owned(), "web-2 n2".to_owned()]
                },
                Alike { first: "why".to_owned(), place: 1, more: 0, others: Vec::new() },
            ]
        );
        assert_eq!(and_more(groups[0].more) + &and_more(groups[1].more), " (and 3 more like it)");
    }
}

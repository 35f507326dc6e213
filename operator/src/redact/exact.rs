//! Values that the operator knows, such as the location's credential, in every form in which they may have been written.
//! Public halves of credentials are not known values: masking them everywhere would blank host names.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use regex::bytes::Regex;
use zeroize::Zeroizing;

use super::token::Span;
use crate::secret::Secret;

/// Shorter values stand in too many words; they count only as a whole value behind a name.
const ANYWHERE: usize = 8;
/// Bytes of a form that tell a line to look at.
const HINT: usize = 12;
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const WITH_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');

/// The known values, ready to be found.
pub(super) struct Exact {
    values: Vec<(&'static str, Zeroizing<Vec<u8>>)>,
    forms: Vec<Form>,
    anywhere: AhoCorasick,
    short: Vec<Short>,
}

struct Form {
    value: usize,
    bytes: Zeroizing<Vec<u8>>,
    /// The base64 digit in front or behind holds a few bits of the value too.
    shared: (bool, bool),
}

struct Short {
    value: usize,
    forms: Vec<Zeroizing<Vec<u8>>>,
    regex: Regex,
}

impl Exact {
    pub(super) fn new(known: Vec<(&'static str, Secret)>) -> Self {
        let mut values = Vec::new();
        let mut forms = Vec::new();
        let mut short = Vec::new();
        for (rule, secret) in known {
            let value = secret.expose().trim_matches(['\n', '\r']).as_bytes();
            if value.is_empty() {
                continue;
            }
            let index = values.len();
            values.push((rule, Zeroizing::new(value.to_vec())));
            if value.len() >= ANYWHERE {
                forms.extend(anywhere(index, value));
            } else {
                short.push(Short::new(index, value));
            }
            // A private key of many lines is never seen whole in one line.
            for line in value.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|_| value.contains(&b'\n')) {
                if line.len() >= ANYWHERE && !line.starts_with(b"-----") {
                    let index = values.len();
                    values.push((rule, Zeroizing::new(line.to_vec())));
                    forms.push(Form { value: index, bytes: Zeroizing::new(line.to_vec()), shared: (false, false) });
                }
            }
        }
        let anywhere = AhoCorasick::new(forms.iter().map(|form| form.bytes.as_slice()))
            .expect("a credential's forms are far from the automaton's limit of two billion states");
        Self { values, forms, anywhere, short }
    }

    /// A line with none of these holds no known value.
    pub(super) fn hints(&self) -> impl Iterator<Item = &[u8]> {
        let short = self.short.iter().flat_map(|short| &short.forms).map(|form| form.as_slice());
        self.forms.iter().map(|form| &form.bytes[..form.bytes.len().min(HINT)]).chain(short)
    }

    pub(super) fn find(&self, line: &[u8], spans: &mut Vec<Span>) {
        let is_digit = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b"+/-_".contains(b));
        for hit in self.anywhere.find_overlapping_iter(line) {
            let form = &self.forms[hit.pattern().as_usize()];
            let (mut from, mut to) = (hit.start(), hit.end());
            if form.shared.0 && from > 0 && is_digit(line.get(from - 1)) {
                from -= 1;
            }
            if form.shared.1 && is_digit(line.get(to)) {
                to += 1;
            }
            spans.push(self.span(from..to, form.value));
        }
        for short in &self.short {
            for hit in short.regex.captures_iter(line) {
                if let Some(value) = hit.name("value") {
                    spans.push(self.span(value.range(), short.value));
                }
            }
        }
    }

    /// A whole string of an object that is a short known value; its key is the name.
    pub(super) fn whole(&self, text: &str) -> Option<Span> {
        let is = |short: &&Short| short.forms.iter().any(|form| form.as_slice() == text.as_bytes());
        self.short.iter().find(is).map(|short| self.span(0..text.len(), short.value))
    }

    fn span(&self, at: std::ops::Range<usize>, value: usize) -> Span {
        let (rule, value) = &self.values[value];
        Span::new(at, *rule, value.to_vec())
    }
}

impl Short {
    fn new(value: usize, plain: &[u8]) -> Self {
        let mut all = escaped_forms(plain);
        all.insert(plain.to_vec());
        all.insert(base64::engine::general_purpose::STANDARD.encode(plain).into_bytes());
        let alternatives: Vec<String> = all.iter().map(|form| regex::escape(&String::from_utf8_lossy(form))).collect();
        let pattern = format!(
            r#"(?:[A-Za-z_][A-Za-z0-9_.-]*\\*["']?\s*(?:=>|[=:]|%3[Dd]|\\+u003d)|--[A-Za-z0-9-]+)\s*\\*["']?(?P<value>{})(?:$|[\s"'&,;)\]}}\\<]|%26)"#,
            alternatives.join("|")
        );
        let regex = Regex::new(&pattern).expect("escaped literals in a pattern of ours");
        Self { value, forms: all.into_iter().map(Zeroizing::new).collect(), regex }
    }
}

/// All forms of a value that is long enough to be looked for anywhere.
fn anywhere(value: usize, plain: &[u8]) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut seen = BTreeSet::new();
    let mut push = |bytes: Vec<u8>, shared| {
        if bytes.len() >= ANYWHERE && !bytes.contains(&b'\n') && seen.insert(bytes.clone()) {
            forms.push(Form { value, bytes: Zeroizing::new(bytes), shared });
        }
    };
    push(plain.to_vec(), (false, false));
    for escaped in escaped_forms(plain) {
        push(escaped, (false, false));
    }
    for (bytes, shared) in aligned(plain) {
        push(bytes, shared);
    }
    let once = base64::engine::general_purpose::STANDARD.encode(plain);
    for (bytes, shared) in aligned(once.as_bytes()) {
        push(bytes, shared);
    }
    forms
}

/// The digits of base64 that a value settles, wherever it stands in a longer text: both alphabets, three alignments.
fn aligned(plain: &[u8]) -> Vec<(Vec<u8>, (bool, bool))> {
    let mut out = Vec::new();
    for before in 0..3 {
        let padded = [vec![0; before], plain.to_vec()].concat();
        let from = (before * 8).div_ceil(6);
        let to = padded.len() * 8 / 6;
        let shared = (before > 0, padded.len() % 3 != 0);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            out.push((engine.encode(&padded).as_bytes()[from..to].to_vec(), shared));
        }
    }
    out
}

/// Percent-encoded and JSON-escaped, as the usual libraries write them.
fn escaped_forms(plain: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for set in [UNRESERVED, WITH_SLASH, NON_ALPHANUMERIC] {
        let upper = percent_encode(plain, set).to_string();
        forms.insert(lower_escapes(&upper).into_bytes());
        forms.insert(upper.replace("%20", "+").into_bytes());
        forms.insert(upper.replace('%', "%25").into_bytes());
        forms.insert(upper.into_bytes());
    }
    let text = String::from_utf8_lossy(plain);
    let json = serde_json::Value::String(text.into_owned()).to_string();
    let json = &json[1..json.len() - 1];
    let go = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    for form in [json.to_owned(), json.replace('/', "\\/"), go] {
        let twice = serde_json::Value::String(form.clone()).to_string();
        forms.insert(twice.as_bytes()[1..twice.len() - 1].to_vec());
        forms.insert(form.into_bytes());
    }
    forms
}

fn lower_escapes(text: &str) -> String {
    let mut lower = 0;
    let change = |c: char| {
        if c == '%' {
            lower = 2;
        } else if lower > 0 {
            lower -= 1;
            return c.to_ascii_lowercase();
        }
        c
    };
    text.chars().map(change).collect()
}

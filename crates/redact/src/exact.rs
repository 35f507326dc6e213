//! Values that the operator knows, such as the location's credential, in every form in which they may be written.
//! Public halves of credentials are not known values: masking them everywhere would blank host names.

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use regex::bytes::Regex;
use zeroize::Zeroizing;

use crate::{Secret, token::Span};

/// Shorter values occur in too many words; they count only as the whole value behind a name.
const ANYWHERE: usize = 8;
/// Bytes of a form that serve as a hint.
const HINT: usize = 12;
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const WITH_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');

/// The known values, prepared for the search. Values, forms and the buffers they are built in are wiped when dropped.
/// The automata (here, in [`Short`], and in `hints` with twelve bytes of each form) keep copies that cannot be wiped
/// from outside: they are freed with the run's redactor.
pub(super) struct Exact {
    values: Vec<(&'static str, Zeroizing<Vec<u8>>)>,
    forms: Vec<Form>,
    anywhere: AhoCorasick,
    short: Vec<Short>,
}

struct Form {
    value: usize,
    bytes: Zeroizing<Vec<u8>>,
    /// The base64 digit in front or behind also encodes a few bits of the value.
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
            // A private key of many lines never appears whole in one line.
            for line in value.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|_| value.contains(&b'\n')) {
                if line.len() >= ANYWHERE && !line.starts_with(b"-----") {
                    let index = values.len();
                    values.push((rule, Zeroizing::new(line.to_vec())));
                    forms.push(Form { value: index, bytes: Zeroizing::new(line.to_vec()), shared: (false, false) });
                }
            }
        }
        // A session token's table of all states takes 10 MiB and longer to build than all lines with a hint to search.
        let anywhere = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(forms.iter().map(|form| form.bytes.as_slice()))
            .expect("a credential's forms are far from the automaton's limit of two billion states");
        Self { values, forms, anywhere, short }
    }

    /// A line with none of these contains no known value.
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

    /// A whole string of an object that equals a short known value; its key serves as the name.
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
        add(&mut all, plain.to_vec());
        add(&mut all, base64::engine::general_purpose::STANDARD.encode(plain).into_bytes());
        let alternatives = all.iter().map(|form| regex::escape(&String::from_utf8_lossy(form))).collect::<Vec<_>>();
        let alternatives = Zeroizing::new(alternatives.join("|"));
        let pattern = Zeroizing::new(format!(
            r#"(?:[A-Za-z_][A-Za-z0-9_.-]*\\*["']?\s*(?:=>|[=:]|%3[Dd]|\\+u003d)|--[A-Za-z0-9-]+)\s*\\*["']?(?P<value>{})(?:$|[\s"'&,;)\]}}\\<]|%26)"#,
            alternatives.as_str()
        ));
        let regex = Regex::new(&pattern).expect("escaped literals in a pattern of ours");
        Self { value, forms: all, regex }
    }
}

/// All forms of a value that is long enough to be looked for anywhere.
fn anywhere(value: usize, plain: &[u8]) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut push = |bytes: Zeroizing<Vec<u8>>, shared| {
        let known = forms.iter().any(|form| form.bytes == bytes);
        if bytes.len() >= ANYWHERE && !bytes.contains(&b'\n') && !known {
            forms.push(Form { value, bytes, shared });
        }
    };
    push(Zeroizing::new(plain.to_vec()), (false, false));
    for escaped in escaped_forms(plain) {
        push(escaped, (false, false));
    }
    for (bytes, shared) in aligned(plain) {
        push(bytes, shared);
    }
    let once = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(plain));
    for (bytes, shared) in aligned(once.as_bytes()) {
        push(bytes, shared);
    }
    forms
}

/// Wiped when dropped.
type Digits = Zeroizing<Vec<u8>>;

/// The base64 digits that a value determines, wherever it stands in a longer text: both alphabets, three alignments.
fn aligned(plain: &[u8]) -> Vec<(Digits, (bool, bool))> {
    let mut out = Vec::new();
    for before in 0..3 {
        let padded = Zeroizing::new([&[0; 2][..before], plain].concat());
        let from = (before * 8).div_ceil(6);
        let to = padded.len() * 8 / 6;
        let shared = (before > 0, padded.len() % 3 != 0);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let digits = Zeroizing::new(engine.encode(padded.as_slice()));
            out.push((Zeroizing::new(digits.as_bytes()[from..to].to_vec()), shared));
        }
    }
    out
}

/// Percent-encoded and JSON-escaped, as common libraries write them.
fn escaped_forms(plain: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms = Vec::new();
    for set in [UNRESERVED, WITH_SLASH, NON_ALPHANUMERIC] {
        let upper = Zeroizing::new(percent_encode(plain, set).to_string());
        add(&mut forms, lower_escapes(&upper).into_bytes());
        add(&mut forms, upper.replace("%20", "+").into_bytes());
        add(&mut forms, upper.replace('%', "%25").into_bytes());
        add(&mut forms, upper.as_bytes().to_vec());
    }
    let text = Zeroizing::new(String::from_utf8_lossy(plain).into_owned());
    let json = in_json(&text);
    let angles = Zeroizing::new(json.replace('<', "\\u003c"));
    let angles = Zeroizing::new(angles.replace('>', "\\u003e"));
    let go = Zeroizing::new(angles.replace('&', "\\u0026"));
    let slashes = Zeroizing::new(json.replace('/', "\\/"));
    for form in [json, slashes, go] {
        add(&mut forms, in_json(&form).as_bytes().to_vec());
        add(&mut forms, form.as_bytes().to_vec());
    }
    forms
}

fn add(forms: &mut Vec<Zeroizing<Vec<u8>>>, form: Vec<u8>) {
    let form = Zeroizing::new(form);
    if !forms.contains(&form) {
        forms.push(form);
    }
}

/// As it is written between the quotes of a JSON string.
fn in_json(text: &str) -> Zeroizing<String> {
    let quoted = Zeroizing::new(serde_json::to_string(text).unwrap_or_default());
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    Zeroizing::new(inner.to_owned())
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

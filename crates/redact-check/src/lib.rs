//! The second check: reads the closed archive back before it may be sent, and searches it for what must not leave.
//! To find mistakes of `redact` it shares neither code nor tables with it. [`Cost`] says what a hit costs.
//!
//! * [`forms`]: the forms in which a known value may be written.
//! * [`shapes`]: the shapes of secrets that the check knows by itself.
//! * [`words`]: tells the base64 of a key from names.
//! * [`tokens`]: the form of redaction's tokens, which the search skips.
//! * [`scan`]: the search in one text of any size.
//! * [`read`]: the archive, segment by segment, on several cores.
//! * [`mend`]: what is left of a line in which a shape was found.
//! * [`quoted`]: a text without the words in which something was found, or that quote it.

mod forms;
mod mend;
mod quoted;
mod read;
mod scan;
mod shapes;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use zeroize::Zeroizing;

pub use mend::{Mender, Taken};
pub use quoted::Quoted;
pub use read::{Archive, CheckError, Clean, Hit, HitPlace, Piece, check, search};

use forms::Needle;
use scan::{Scan, ScanHit};
use shapes::SHAPES;

/// Up to this many bytes of patterns the automaton is a table, which is fast and about five hundred times as large.
const TABLE: usize = 8 << 10;
/// The automaton looks for this many first bytes of a known value's form. At each hit the whole form is compared.
const PREFIX: usize = 8;
/// Most hits of one pass over a text, and most passes over it.
const MOST_OF_TEXT: usize = 64;
const LOOKS: usize = 3;

/// How much is withheld with a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// The line: a shape begins and ends in it.
    Line,
    /// The object of a list, else the entry: where part of a key or a known value came out, the rest may have come out
    /// in another form.
    Object,
    /// The entry: not all hits in it are known.
    Entry,
}

/// Searches for the known values in all forms, and for the shapes.
pub struct Detector {
    /// Finds, in one pass and ignoring case, the shapes' hints (the first patterns) and the first bytes of the known
    /// values' forms (the patterns after them).
    hints: AhoCorasick,
    /// The shape that a hint belongs to.
    shape_of: Vec<usize>,
    /// The forms of the known values, in the order of their patterns.
    known: Vec<Known>,
    /// Bytes of the longest hint or form.
    longest: usize,
}

/// A form of a known value.
struct Known {
    bytes: Zeroizing<Vec<u8>>,
    rule: &'static str,
    lead: usize,
    /// Whether it counts only after a name.
    named: bool,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Detector {
    /// For these values, each with the rule name that its hits report.
    ///
    /// # Panics
    /// Never: an automaton of so few bytes can always be built.
    pub fn new<'a>(known: impl IntoIterator<Item = (&'static str, &'a str)>) -> Self {
        let shape_of: Vec<usize> =
            SHAPES.iter().enumerate().flat_map(|(at, shape)| shape.hints.iter().map(move |_| at)).collect();
        let mut forms = Vec::new();
        for (rule, secret) in known {
            let value = secret.trim_matches(['\n', '\r']).as_bytes();
            let named = value.len() < forms::ANYWHERE;
            let found = match value.len() {
                0..forms::SHORTEST => Vec::new(),
                forms::SHORTEST..forms::ANYWHERE => vec![Needle { bytes: Zeroizing::new(value.to_vec()), lead: 0 }],
                _ => forms::needles(value),
            };
            forms.extend(found.into_iter().map(|Needle { bytes, lead }| Known { bytes, rule, lead, named }));
        }
        let hints = SHAPES.iter().flat_map(|shape| shape.hints).map(|hint| hint.as_bytes());
        let longest =
            hints.clone().map(<[u8]>::len).chain(forms.iter().map(|form| form.bytes.len())).max().unwrap_or(0);
        let patterns: Vec<&[u8]> =
            hints.chain(forms.iter().map(|form| &form.bytes[..form.bytes.len().min(PREFIX)])).collect();
        let bytes: usize = patterns.iter().map(|pattern| pattern.len()).sum();
        let kind = (bytes <= TABLE).then_some(AhoCorasickKind::DFA);
        let automaton = AhoCorasick::builder().ascii_case_insensitive(true).kind(kind).build(patterns);
        let hints = automaton.expect("a credential's forms are far from the automaton's limit of states");
        Self { hints, shape_of, known: forms, longest }
    }

    fn find(&self, text: &[u8]) -> Vec<ScanHit> {
        let mut scan = Scan::new(self, MOST_OF_TEXT);
        scan.feed(text);
        scan.end()
    }

    /// The first rule that finds something in a text, and where.
    pub fn alarm(&self, text: impl AsRef<[u8]>) -> Option<String> {
        self.find(text.as_ref()).first().map(|found| format!("{} at byte {}", found.rule, found.offset))
    }

    /// The text without the words in which something is found; a key or a known value withholds all of it.
    pub fn masked<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut left = Cow::Borrowed(text);
        for _ in 0..LOOKS {
            let found = self.find(left.as_bytes());
            if found.is_empty() {
                return left;
            }
            if found.iter().any(|found| found.cost > Cost::Line) {
                break;
            }
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let hits = found.iter().map(|found| place(found.offset)..place(found.offset + found.length));
            left = Cow::Owned(quoted::without_words(&left, hits));
        }
        Cow::Owned(quoted::WITHHELD.to_owned())
    }
}

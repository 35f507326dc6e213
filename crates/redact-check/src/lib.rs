//! The second check: reads the closed archive back before it may be sent, and searches it for what must not leave.
//! To find mistakes of `redact` it shares neither code nor tables with it. A hit costs a line or a whole file.
//!
//! * [`forms`]: the forms in which a known value may be written.
//! * [`shapes`]: the shapes of secrets that the check knows by itself.
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

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use zeroize::Zeroizing;

pub use mend::Mender;
pub use quoted::Quoted;
pub use read::{Archive, CheckError, Clean, Hit, HitPlace, Piece, check};

use forms::Needle;
use scan::{Scan, ScanHit};
use shapes::SHAPES;

/// Up to this many bytes of patterns the automaton is a table, which is fast and about five hundred times as large.
const TABLE: usize = 8 << 10;
/// Most hits of one pass over a text, and most passes over it.
const MOST_OF_TEXT: usize = 64;
const LOOKS: usize = 3;

/// How much is withheld with a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// The line: a shape begins and ends in it.
    Line,
    /// The whole entry: where part of a key or a known value came out, the rest may have come out in another form.
    Entry,
}

/// Searches for the known values in all forms, and for the shapes.
pub struct Detector {
    hints: AhoCorasick,
    /// The shape that a hint belongs to.
    shape_of: Vec<usize>,
    exact: Option<Exact>,
    /// Bytes of the longest pattern.
    longest: usize,
}

struct Exact {
    automaton: AhoCorasick,
    needles: Vec<Known>,
}

/// Facts about a pattern. Its bytes are in the automaton, which cannot be wiped.
struct Known {
    rule: &'static str,
    lead: usize,
    /// Whether it counts only after a name.
    named: bool,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let needles = self.exact.as_ref().map_or(0, |exact| exact.needles.len());
        f.debug_struct("Detector").field("needles", &needles).finish_non_exhaustive()
    }
}

impl Detector {
    /// For these values, each with the rule name that its hits report.
    ///
    /// # Panics
    /// Never: an automaton of so few bytes can always be built.
    pub fn new<'a>(known: impl IntoIterator<Item = (&'static str, &'a str)>) -> Self {
        let hints: Vec<&str> = SHAPES.iter().flat_map(|shape| shape.hints).copied().collect();
        let shape_of = SHAPES.iter().enumerate().flat_map(|(at, shape)| shape.hints.iter().map(move |_| at)).collect();
        let mut longest = hints.iter().map(|hint| hint.len()).max().unwrap_or(0);
        let hints = built(AhoCorasick::builder().ascii_case_insensitive(true), &hints);

        let mut patterns: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let mut needles = Vec::new();
        for (rule, secret) in known {
            let value = secret.trim_matches(['\n', '\r']).as_bytes();
            let named = value.len() < forms::ANYWHERE;
            let found = match value.len() {
                0..forms::SHORTEST => Vec::new(),
                forms::SHORTEST..forms::ANYWHERE => vec![Needle { bytes: Zeroizing::new(value.to_vec()), lead: 0 }],
                _ => forms::needles(value),
            };
            for Needle { bytes, lead } in found {
                longest = longest.max(bytes.len());
                needles.push(Known { rule, lead, named });
                patterns.push(bytes);
            }
        }
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_slice()).collect();
        let exact =
            (!patterns.is_empty()).then(|| Exact { automaton: built(&mut AhoCorasick::builder(), &patterns), needles });
        Self { hints, shape_of, exact, longest }
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
            if found.iter().any(|found| found.cost == Cost::Entry) {
                break;
            }
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let hits = found.iter().map(|found| place(found.offset)..place(found.offset + found.length));
            left = Cow::Owned(quoted::without_words(&left, hits));
        }
        Cow::Owned(quoted::WITHHELD.to_owned())
    }
}

fn built<P: AsRef<[u8]>>(builder: &mut aho_corasick::AhoCorasickBuilder, patterns: &[P]) -> AhoCorasick {
    let bytes: usize = patterns.iter().map(|pattern| pattern.as_ref().len()).sum();
    let kind = (bytes <= TABLE).then_some(AhoCorasickKind::DFA);
    builder.kind(kind).build(patterns).expect("a credential's forms are far from the automaton's limit of states")
}

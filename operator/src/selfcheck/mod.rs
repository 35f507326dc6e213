//! The second pair of eyes: reads the closed archive back before it may be sent, and searches it for what must not leave.
//! It shares neither code nor tables with `redact`, whose mistakes it is to find; it masks nothing.
//!
//! * [`forms`]: the forms of the values that the operator knows.
//! * [`shapes`]: a few shapes of its own.
//! * [`pairs`]: the value of a field whose name stands in the field beside it.
//! * [`scan`]: the search in one text, whatever its size.
//! * [`read`]: the archive, segment by segment, on several cores.

mod forms;
mod pairs;
mod read;
mod scan;
mod shapes;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::LazyLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use zeroize::Zeroizing;

pub use read::{CheckError, Clean, Hit, Place, check};

use crate::secret::Secret;
use forms::Needle;
use scan::Scan;
use shapes::SHAPES;

/// More hits than this say that the rules are broken as a whole: nothing is sent.
pub const MOST_HITS: usize = 8;
/// Bytes of patterns up to which the automaton is a table, which is fast and takes about five hundred times as much.
const TABLE: usize = 8 << 10;
/// What stands in status and Events in place of a text that the check refuses.
const REFUSED: &str = "a text was withheld here, for the self-check found something like a secret in it";

/// What is looked for: the known values in all forms, and the shapes.
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

/// What is to be known of a pattern. Its bytes are in the automaton, which cannot be wiped.
struct Known {
    rule: &'static str,
    lead: usize,
    /// It counts only behind a name.
    named: bool,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let needles = self.exact.as_ref().map_or(0, |exact| exact.needles.len());
        f.debug_struct("Detector").field("needles", &needles).finish_non_exhaustive()
    }
}

impl Detector {
    /// For these values, each with the name that a hit is told by.
    ///
    /// # Panics
    /// Never: an automaton of that few bytes can be built.
    pub fn new(known: &[(&'static str, Secret)]) -> Self {
        let hints: Vec<&str> = SHAPES.iter().flat_map(|shape| shape.hints).copied().collect();
        let shape_of = SHAPES.iter().enumerate().flat_map(|(at, shape)| shape.hints.iter().map(move |_| at)).collect();
        let mut longest = hints.iter().map(|hint| hint.len()).max().unwrap_or(0);
        let hints = built(AhoCorasick::builder().ascii_case_insensitive(true), &hints);

        let mut patterns: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let mut needles = Vec::new();
        for (rule, secret) in known {
            let value = secret.expose().trim_matches(['\n', '\r']).as_bytes();
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

    /// The rule that finds something in a text, and the first bytes of what it finds.
    fn first(&self, text: &str) -> Option<(&'static str, Zeroizing<Vec<u8>>)> {
        let mut scan = Scan::new(self, 1);
        scan.feed(text.as_bytes());
        scan.end().pop().map(|found| (found.rule, found.seen))
    }

    /// Whether nothing is found in a text.
    pub fn passes(&self, text: &str) -> bool {
        self.first(text).is_none()
    }
}

fn built<P: AsRef<[u8]>>(builder: &mut aho_corasick::AhoCorasickBuilder, patterns: &[P]) -> AhoCorasick {
    let bytes: usize = patterns.iter().map(|pattern| pattern.as_ref().len()).sum();
    let kind = (bytes <= TABLE).then_some(AhoCorasickKind::DFA);
    builder.kind(kind).build(patterns).expect("a credential's forms are far from the automaton's limit of states")
}

/// A text as it may stand in status or in an Event: as it is, or the word that it was withheld. Only shapes are looked
/// for here; who knows the values of a run looks for those before.
pub fn told(text: &str) -> Cow<'_, str> {
    static SHAPES_ALONE: LazyLock<Detector> = LazyLock::new(|| Detector::new(&[]));
    match SHAPES_ALONE.first(text) {
        None => Cow::Borrowed(text),
        Some((rule, _)) => {
            tracing::error!(rule, "A text for status or an Event was withheld by the self-check");
            Cow::Borrowed(REFUSED)
        }
    }
}

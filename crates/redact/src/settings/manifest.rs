//! Whether the `data` in a YAML text belongs to a Secret that was written out there. The caller masks its values.

use super::line::{Pair, YamlItem};

/// Lines below an object's data in which its kind may stand.
const KIND_BELOW: usize = 512;
/// The line between two documents.
pub(super) const BORDER: &str = "---";

/// What the lines of this document say so far.
#[derive(Default)]
pub(super) struct Manifest {
    /// Column of `kind: Secret`.
    secret: Option<usize>,
}

impl Manifest {
    /// Whether this field holds a Secret's values; `below` are the lines behind it.
    pub(super) fn is_data(&mut self, pair: &Pair<'_>, column: usize, below: &str) -> bool {
        if pair.name == "kind" {
            self.secret = (super::unquoted(pair.value) == "Secret").then_some(column);
        }
        matches!(pair.name, "data" | "stringData") && (self.secret == Some(column) || kind_below(below, column))
    }
}

/// Whether the fields further down are those of a Secret: in alphabetical order, the kind follows the data.
fn kind_below(below: &str, column: usize) -> bool {
    for line in below.lines().take(KIND_BELOW).filter(|line| !line.trim().is_empty()) {
        let item = YamlItem::of(line);
        if item.indent > column {
            continue;
        }
        if item.column != column || item.is_element || line.starts_with(BORDER) {
            return false;
        }
        if let Some(pair) = Pair::of(line, &item).filter(|pair| pair.name == "kind") {
            return super::unquoted(pair.value) == "Secret";
        }
    }
    false
}

/// Whether the text may contain a written-out Secret.
pub(crate) fn may_hold_secret(text: &str) -> bool {
    text.contains("kind: Secret") && (text.contains("data:") || text.contains("stringData:"))
}

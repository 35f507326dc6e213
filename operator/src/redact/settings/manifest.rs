//! Whether the `data` in a text of YAML is that of a Secret which somebody has written out there.
//! What becomes of its values is told by the caller.

use super::line::{Item, Pair};

/// Lines below the data of an object in which its kind may stand.
const KIND_BELOW: usize = 512;
/// Between two documents.
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

/// Whether the fields beside this one, further down, are those of a Secret: in the order of their letters the kind comes later.
fn kind_below(below: &str, column: usize) -> bool {
    for line in below.lines().take(KIND_BELOW).filter(|line| !line.trim().is_empty()) {
        let item = Item::of(line);
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

/// Whether a Secret may be written out in a text.
pub(in crate::redact) fn may_hold_secret(text: &str) -> bool {
    text.contains("kind: Secret") && (text.contains("data:") || text.contains("stringData:"))
}

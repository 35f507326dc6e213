//! Masks whole lines that other programs may read but these rules cannot: UTF-16, where every second byte is a NUL, and
//! binary data.

use crate::token::{self, Span};

pub(super) const RULE: &str = "no-text";

/// A line is not text if more than a tenth of it is NUL, as in a ConfigMap; a few may slip in anywhere.
const NULS: usize = 10;
const FEW: usize = 4;

/// Whether a line is not text.
pub(super) fn is_none(line: &[u8]) -> bool {
    let Some(first) = memchr::memchr(0, line) else { return false };
    let nuls = memchr::memchr_iter(0, &line[first..]).count();
    nuls >= FEW && nuls * NULS > line.len()
}

/// Masks the whole line, except for its tokens.
pub(super) fn all(line: &[u8]) -> Vec<Span> {
    token::settled(line, vec![Span::new(0..line.len(), RULE, line.to_vec())])
}

//! Lines that are no text for these rules, though they may be for others: UTF-16, of which each second byte is a NUL, and
//! binary data. No rule sees into them, so that none of them is passed on.

use super::token::{self, Span};

pub(super) const RULE: &str = "no-text";

/// A line of which more than a tenth is NUL is no text, as it is in a ConfigMap; a few of them may have slipped in anywhere.
const NULS: usize = 10;
const FEW: usize = 4;

/// Whether a line is none.
pub(super) fn is_none(line: &[u8]) -> bool {
    let Some(first) = memchr::memchr(0, line) else { return false };
    let nuls = memchr::memchr_iter(0, &line[first..]).count();
    nuls >= FEW && nuls * NULS > line.len()
}

/// All of it, but for a token.
pub(super) fn all(line: &[u8]) -> Vec<Span> {
    token::settled(line, vec![Span::new(0..line.len(), RULE, line.to_vec())])
}

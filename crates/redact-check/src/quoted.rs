//! Masks the words of a text that quote what was found elsewhere, even if they quote only its beginning.

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use aho_corasick::AhoCorasick;

use crate::{Hit, forms::ANYWHERE};

/// Replaces the masked words.
pub(super) const WITHHELD: &str = "[withheld by the self-check]";
/// First bytes of a hit by which a quotation is recognized.
const BEGIN: usize = 12;

/// The beginnings of what was found.
pub struct Quoted(Option<AhoCorasick>);

impl std::fmt::Debug for Quoted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quoted").finish_non_exhaustive()
    }
}

impl Quoted {
    /// The beginnings of these hits. Hits shorter than `ANYWHERE` are ignored: they occur in too many words.
    pub fn of(hits: &[Hit]) -> Self {
        let begins: BTreeSet<&[u8]> = hits
            .iter()
            .map(|hit| &hit.seen[..hit.seen.len().min(BEGIN)])
            .filter(|begin| begin.len() >= ANYWHERE)
            .collect();
        Self(AhoCorasick::new(begins).ok())
    }

    /// The text without the words that quote something.
    pub fn masked<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some(begins) = &self.0 else { return Cow::Borrowed(text) };
        let mut quotes = begins.find_iter(text).map(|quote| quote.range()).peekable();
        if quotes.peek().is_none() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(without_words(text, quotes))
    }
}

/// The text without the words at these places, which must be in order.
pub(super) fn without_words(text: &str, places: impl Iterator<Item = Range<usize>>) -> String {
    let mut out = String::new();
    let mut done = 0;
    for place in places.filter(|place| place.start < text.len()) {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace();
        let start = text.as_bytes()[..place.start].iter().rposition(is_blank).map_or(0, |at| at + 1);
        let behind = place.end.min(text.len());
        let end = text.as_bytes()[behind..].iter().position(is_blank).map_or(text.len(), |at| behind + at);
        if start >= done {
            out.push_str(&text[done..start]);
            out.push_str(WITHHELD);
        }
        done = end.max(done);
    }
    out.push_str(&text[done..]);
    out
}

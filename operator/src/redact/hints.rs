//! The one pass over all bytes: short words of which every line that a rule can hit holds at least one.
//! What a hint means is told by the rule to which it belongs; a line with a hint is only a candidate.

use std::ops::Range;

use aho_corasick::{
    Anchored,
    automaton::{Automaton as _, StateID},
    dfa::DFA,
};

use super::{exact::Exact, names, pem, presigned, shapes, url};

/// Rules that share hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Presigned,
    Exact,
    Names,
    Url,
    Pem,
    /// A row of [`shapes::TABLE`].
    Shape(usize),
}

pub(super) struct Hints {
    words: DFA,
    /// Its state in front of a line.
    start: StateID,
    families: Vec<Family>,
}

/// What one line holds.
#[derive(Default)]
pub(super) struct Found {
    pub(super) presigned: bool,
    pub(super) exact: bool,
    pub(super) pem: bool,
    pub(super) names: Vec<Range<usize>>,
    pub(super) urls: Vec<Range<usize>>,
    /// A bit for each row of [`shapes::TABLE`].
    pub(super) shapes: u64,
}

impl Hints {
    pub(super) fn new(exact: &Exact) -> Self {
        let mut words: Vec<Vec<u8>> = Vec::new();
        let mut families = Vec::new();
        let mut add = |family, hint: &[u8]| {
            words.push(hint.to_vec());
            families.push(family);
        };
        let fixed = [
            (Family::Presigned, presigned::HINTS),
            (Family::Names, names::HINTS),
            (Family::Url, url::HINTS),
            (Family::Pem, pem::HINTS),
        ];
        for (family, hints) in fixed {
            for hint in hints {
                add(family, hint.as_bytes());
            }
        }
        for (index, shape) in shapes::TABLE.iter().enumerate() {
            for hint in shape.hints {
                add(Family::Shape(index), hint.as_bytes());
            }
        }
        exact.hints().for_each(|hint| add(Family::Exact, hint));
        // A prefilter looks for rare bytes; there is none that all these words share.
        let words = DFA::builder().ascii_case_insensitive(true).prefilter(false).build(words);
        let words = words.expect("a credential's forms are far from the automaton's limit of two billion states");
        let start = words.start_state(Anchored::No).expect("it is built for a search anywhere");
        Self { words, start, families }
    }

    /// The state in front of a line.
    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// The state behind one more byte.
    pub(super) fn step(&self, state: StateID, byte: u8) -> StateID {
        self.words.next_state(Anchored::No, state, byte)
    }

    /// Whether a hint ends in this state.
    pub(super) fn is_hit(&self, state: StateID) -> bool {
        // Without a prefilter none but these and the two that are never entered are special: one comparison.
        self.words.is_special(state)
    }

    /// All hints of one line.
    pub(super) fn of(&self, line: &[u8]) -> Found {
        let mut found = Found::default();
        let mut state = self.start;
        for (at, byte) in line.iter().enumerate() {
            state = self.step(state, *byte);
            if !self.is_hit(state) {
                continue;
            }
            for index in 0..self.words.match_len(state) {
                let word = self.words.match_pattern(state, index);
                let range = at + 1 - self.words.pattern_len(word)..at + 1;
                match self.families[word.as_usize()] {
                    Family::Presigned => found.presigned = true,
                    Family::Exact => found.exact = true,
                    Family::Pem => found.pem = true,
                    Family::Names => found.names.push(range),
                    Family::Url => found.urls.push(range),
                    Family::Shape(index) => found.shapes |= 1 << index,
                }
            }
        }
        found
    }
}

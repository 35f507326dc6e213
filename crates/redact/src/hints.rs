//! The one pass over all bytes: short words, at least one of which is in every line that a rule can hit. A line with a
//! hint is only a candidate; the rule that owns the hint decides.

use std::ops::Range;

use aho_corasick::{
    Anchored,
    automaton::{Automaton as _, StateID},
    dfa::DFA,
};

use crate::{
    exact::Exact,
    names, pem,
    presigned::{self, Query},
    shapes, url,
};

/// Rules that share hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Presigned,
    /// One of [`presigned::ACCOUNTS`].
    Account,
    Exact,
    Names,
    Url,
    Pem,
    /// A row of [`shapes::TABLE`].
    Shape(usize),
}

pub(super) struct Hints {
    words: DFA,
    /// The state in front of a line.
    start: StateID,
    families: Vec<Family>,
}

/// The hints in one line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LineHints {
    pub(super) presigned: Option<Query>,
    pub(super) exact: bool,
    pub(super) pem: bool,
    pub(super) names: Vec<Range<usize>>,
    pub(super) urls: Vec<Range<usize>>,
    /// One bit for each row of [`shapes::TABLE`].
    pub(super) shapes: u64,
    pub(super) base64: Base64,
}

/// What is known of the runs of base64 in a line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base64 {
    /// There may be some.
    #[default]
    Any,
    /// There are none.
    None,
    /// There may be some, of a certificate or a public key that began on an earlier line.
    Public,
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
                let family = if presigned::ACCOUNTS.contains(hint) { Family::Account } else { family };
                add(family, hint.as_bytes());
            }
        }
        for (index, shape) in shapes::TABLE.iter().enumerate() {
            for hint in shape.hints {
                add(Family::Shape(index), hint.as_bytes());
            }
        }
        exact.hints().for_each(|hint| add(Family::Exact, hint));
        // A prefilter looks for rare bytes, and these words share none.
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
        // Without a prefilter, only match states and the two states that are never entered are special: one comparison.
        self.words.is_special(state)
    }

    /// Whether the positions of the hints that end in this state matter.
    pub(super) fn has_place(&self, state: StateID) -> bool {
        let mut words = (0..self.words.match_len(state)).map(|index| self.words.match_pattern(state, index));
        words.any(|word| matches!(self.families[word.as_usize()], Family::Names | Family::Url))
    }

    /// All hints of one line.
    pub(super) fn of(&self, line: &[u8]) -> LineHints {
        let mut found = LineHints::default();
        let mut state = self.start;
        for (at, byte) in line.iter().enumerate() {
            state = self.step(state, *byte);
            if self.is_hit(state) {
                found.add(self, state, at);
            }
        }
        found
    }
}

impl LineHints {
    /// Adds the hints whose last byte stands at `at`.
    pub(super) fn add(&mut self, hints: &Hints, state: StateID, at: usize) {
        for index in 0..hints.words.match_len(state) {
            let word = hints.words.match_pattern(state, index);
            // A hint that begins on the previous line does not belong to this line.
            let Some(start) = (at + 1).checked_sub(hints.words.pattern_len(word)) else { continue };
            match hints.families[word.as_usize()] {
                Family::Presigned => {
                    self.presigned.get_or_insert(Query::Any);
                }
                Family::Account => self.presigned = Some(Query::OfAccount),
                Family::Exact => self.exact = true,
                Family::Pem => self.pem = true,
                Family::Names => self.names.push(start..at + 1),
                Family::Url => self.urls.push(start..at + 1),
                Family::Shape(index) => self.shapes |= 1 << index,
            }
        }
    }
}

//! The one pass over all bytes: short words of which every line that a rule can hit holds at least one.
//! What a hint means is told by the rule to which it belongs; a line with a hint is only a candidate.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::{encoded, exact::Exact, names, pem, presigned, shapes, url};

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
    words: AhoCorasick,
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
        let words = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(words)
            .expect("a credential's forms are far from the automaton's limit of two billion states");
        Self { words, families }
    }

    /// Position of the first hint at or behind `from`.
    pub(super) fn first(&self, block: &[u8], from: usize) -> Option<usize> {
        self.words.find(&block[from..]).map(|hit| from + hit.start())
    }

    /// All hints of one line.
    pub(super) fn of(&self, line: &[u8]) -> Found {
        let mut found = Found::default();
        for hit in self.words.find_overlapping_iter(line) {
            match self.families[hit.pattern().as_usize()] {
                Family::Presigned => found.presigned = true,
                Family::Exact => found.exact = true,
                Family::Pem => found.pem = true,
                Family::Names => found.names.push(hit.range()),
                Family::Url => found.urls.push(hit.range()),
                Family::Shape(index) => found.shapes |= 1 << index,
            }
        }
        found
    }
}

/// Where the next candidate of a block of lines stands, whether by a hint, by a run of base64 or by a NUL. Each byte is looked at
/// once, however many candidates there are.
#[derive(Default)]
pub(super) struct Ahead {
    hint: Next,
    run: Next,
    nul: Next,
}

/// What is known of the next place of a kind.
#[derive(Default, Clone, Copy)]
enum Next {
    #[default]
    Unknown,
    At(usize),
    Nowhere,
}

impl Ahead {
    /// The first candidate at or behind `from`, which only grows.
    pub(super) fn first(&mut self, hints: &Hints, block: &[u8], from: usize) -> Option<usize> {
        let hint = self.hint.behind(from, || hints.first(block, from));
        let run = self.run.behind(from, || encoded::next(block, from).map(|run| run.at.start));
        let nul = self.nul.behind(from, || memchr::memchr(0, &block[from..]).map(|at| from + at));
        [hint, run, nul].into_iter().flatten().min()
    }
}

impl Next {
    fn behind(&mut self, from: usize, find: impl FnOnce() -> Option<usize>) -> Option<usize> {
        if matches!(*self, Self::Unknown) || matches!(*self, Self::At(at) if at < from) {
            *self = find().map_or(Self::Nowhere, Self::At);
        }
        match *self {
            Self::At(at) => Some(at),
            Self::Unknown | Self::Nowhere => None,
        }
    }
}

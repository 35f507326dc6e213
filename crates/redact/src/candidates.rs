//! Finds the lines of a block that a rule may hit: those with a hint, a run of base64 or a NUL. All others pass
//! unchanged. `hints` defines the hints; the rules decide what they mask in a candidate.

use std::ops::Range;

use aho_corasick::automaton::StateID;

use crate::{
    encoded,
    hints::{Hints, LineHints},
};

/// Stretches of a block that are searched side by side. Each step of the automaton waits for the one before, so a
/// single stretch would leave a processor idle most of the time.
const ABREAST: usize = 4;
/// Shorter stretches are not split (bytes).
const SHORT: usize = 1 << 10;

/// The candidates ahead in a block of lines. Each byte is read once, however many candidates there are.
#[derive(Default)]
pub(super) struct Ahead {
    hits: Option<Vec<Hit>>,
    /// How many of the hits lie behind the current line.
    passed: usize,
    run: Next,
    nul: Next,
}

/// The end of one or more hints.
#[derive(Clone, Copy)]
struct Hit {
    /// Position of their last byte; a block is far below 4 GiB.
    at: u32,
    state: StateID,
}

/// The next place of one kind, as far as it is known.
#[derive(Default, Clone, Copy)]
enum Next {
    #[default]
    Unknown,
    At(usize),
    Nowhere,
}

impl Ahead {
    /// A place in the first candidate at or behind `from`: the beginning of a line, which only grows from call to call.
    pub(super) fn first(&mut self, hints: &Hints, block: &[u8], from: usize) -> Option<usize> {
        let hint = self.hits(hints, block, from).first().map(|hit| hit.at as usize);
        let run = self.run.behind(from, || encoded::next(block, from).map(|run| run.at.start));
        let nul = self.nul.behind(from, || memchr::memchr(0, &block[from..]).map(|at| from + at));
        [hint, run, nul].into_iter().flatten().min()
    }

    /// The hints of one line, counted from its beginning. Like [`Ahead::first`], call it for one line after the other.
    pub(super) fn of(&mut self, hints: &Hints, block: &[u8], line: Range<usize>) -> LineHints {
        let mut found = LineHints::default();
        let ahead = self.hits(hints, block, line.start);
        for hit in ahead.iter().take_while(|hit| (hit.at as usize) < line.end) {
            found.add(hints, hit.state, hit.at as usize - line.start);
        }
        found
    }

    /// Whether the line contains a run of base64.
    pub(super) fn has_run(&mut self, block: &[u8], line: Range<usize>) -> bool {
        let next = self.run.behind(line.start, || encoded::next(block, line.start).map(|run| run.at.start));
        next.is_some_and(|at| at < line.end)
    }

    /// The hits at or behind `from`.
    fn hits(&mut self, hints: &Hints, block: &[u8], from: usize) -> &[Hit] {
        let all = self.hits.get_or_insert_with(|| Search::hits(hints, block, from));
        while all.get(self.passed).is_some_and(|hit| (hit.at as usize) < from) {
            self.passed += 1;
        }
        &all[self.passed..]
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

/// Lines that are still to be searched. They are whole, except that part of the first may be done already.
#[derive(Clone, Copy)]
struct Stretch {
    at: usize,
    to: usize,
    state: StateID,
}

impl Stretch {
    fn left(&self) -> usize {
        self.to - self.at
    }
}

struct Search<'a> {
    hints: &'a Hints,
    block: &'a [u8],
    /// Sorted within each stretch.
    hits: [Vec<Hit>; ABREAST],
}

impl<'a> Search<'a> {
    /// All hits at or behind `from`, in order.
    fn hits(hints: &'a Hints, block: &'a [u8], from: usize) -> Vec<Hit> {
        let mut search = Self { hints, block, hits: Default::default() };
        let none = Stretch { at: block.len(), to: block.len(), state: hints.start() };
        let mut stretches = [none; ABREAST];
        stretches[0].at = from;
        while search.fill(&mut stretches) {
            search.abreast(&mut stretches);
        }
        for (lane, stretch) in stretches.into_iter().enumerate() {
            search.alone(lane, stretch);
        }
        let mut all = search.hits.concat();
        all.sort_unstable_by_key(|hit| hit.at);
        all
    }

    /// Gives each finished stretch the second half of the longest one; `false` if that is not worth it.
    fn fill(&self, stretches: &mut [Stretch; ABREAST]) -> bool {
        for done in 0..ABREAST {
            if stretches[done].left() > 0 {
                continue;
            }
            let Some(longest) = stretches.iter_mut().max_by_key(|stretch| stretch.left()) else { return false };
            let half = longest.at + longest.left() / 2;
            let Some(end) = memchr::memchr(b'\n', &self.block[half..longest.to]) else { return false };
            let (at, to) = (half + end + 1, longest.to);
            if longest.left() < SHORT || at == to {
                return false;
            }
            longest.to = at;
            stretches[done] = Stretch { at, to, state: self.hints.start() };
        }
        true
    }

    /// Advances all stretches until one of them ends.
    fn abreast(&mut self, stretches: &mut [Stretch; ABREAST]) {
        let hints = self.hints;
        let steps = stretches.iter().map(Stretch::left).min().unwrap_or(0);
        let [first, second, third, fourth] = stretches.map(|stretch| &self.block[stretch.at..stretch.at + steps]);
        let [mut a, mut b, mut c, mut d] = stretches.map(|stretch| stretch.state);
        let bytes = first.iter().zip(second).zip(third.iter().zip(fourth));
        for (step, ((first, second), (third, fourth))) in bytes.enumerate() {
            (a, b) = (hints.step(a, *first), hints.step(b, *second));
            (c, d) = (hints.step(c, *third), hints.step(d, *fourth));
            if hints.is_hit(a) | hints.is_hit(b) | hints.is_hit(c) | hints.is_hit(d) {
                for (lane, state) in [a, b, c, d].into_iter().enumerate() {
                    self.note(lane, stretches[lane].at + step, state);
                }
            }
        }
        for (stretch, state) in stretches.iter_mut().zip([a, b, c, d]) {
            stretch.at += steps;
            stretch.state = state;
        }
    }

    fn alone(&mut self, lane: usize, stretch: Stretch) {
        let mut state = stretch.state;
        for (step, byte) in self.block[stretch.at..stretch.to].iter().enumerate() {
            state = self.hints.step(state, *byte);
            if self.hints.is_hit(state) {
                self.note(lane, stretch.at + step, state);
            }
        }
    }

    #[cold]
    fn note(&mut self, lane: usize, at: usize, state: StateID) {
        if !self.hints.is_hit(state) {
            return;
        }
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        match self.hits[lane].last_mut() {
            // A ruler of `=` hits at each of its bytes; one hit is enough for all of them.
            Some(last) if last.at + 1 == at && last.state == state && !self.hints.has_place(state) => last.at = at,
            _ => self.hits[lane].push(Hit { at, state }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Secret, exact::Exact};

    fn hints() -> Hints {
        Hints::new(&Exact::new(vec![("location-key", Secret::new("the-known-value"))]))
    }

    #[test]
    fn side_by_side_each_line_has_the_hints_that_it_has_alone() {
        let hints = hints();
        let words =
            ["password=x", "the-known-value", "AKIA0", "harmless", "", "pass", "=====", "http://", "x", "-----BEGIN"];
        let mut dice = 7_u64;
        let mut hit = 0;
        for size in [0_usize, 1, 40, 900, 1100, 5000, 70_000, 300_000] {
            for words_in_line in [1_usize, 20, 400] {
                let mut block = Vec::new();
                while block.len() < size {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let pick = usize::try_from(dice >> 40).expect("24 bits");
                    let word = if pick.is_multiple_of(7) { words[pick / 7 % words.len()] } else { "plain text" };
                    block.extend_from_slice(word.as_bytes());
                    block.push(if pick.is_multiple_of(words_in_line + 1) { b'\n' } else { b' ' });
                }
                let (mut ahead, mut at) = (Ahead::default(), 0);
                for line in block.split_inclusive(|byte| *byte == b'\n') {
                    let (want, range) = (hints.of(line), at..at + line.len());
                    let first = ahead.first(&hints, &block, at).filter(|first| range.contains(first));
                    assert_eq!(ahead.of(&hints, &block, range), want, "{}", String::from_utf8_lossy(line));
                    assert!(want == LineHints::default() || first.is_some(), "{}", String::from_utf8_lossy(line));
                    hit += usize::from(want != LineHints::default());
                    at += line.len();
                }
            }
        }
        assert!(hit > 1000, "{hit}");
    }

    #[test]
    fn a_rule_of_equals_signs_is_one_hit() {
        let hints = hints();
        assert_eq!(Search::hits(&hints, &vec![b'='; 1 << 20], 0).len(), 1);
    }
}

//! Which lines of a block a rule may hit: those with a hint, a run of base64 or a NUL. All others pass unseen.
//! What the hints are is told by `hints`; what is masked in a candidate is the rules' business.

use aho_corasick::automaton::StateID;

use super::{encoded, hints::Hints};

/// Stretches of a block that are searched side by side. Each step of the automaton waits for the one before it, so one stretch
/// leaves a processor idle most of the time.
const ABREAST: usize = 4;
/// Shorter stretches are not divided (bytes).
const SHORT: usize = 1 << 10;

/// Where the next candidate of a block of lines stands. Each byte is looked at once, however many candidates there are.
#[derive(Default)]
pub(super) struct Ahead {
    /// Places of hints that are still ahead, at most one of each line, the last one first.
    hints: Option<Vec<usize>>,
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
    /// A place in the first candidate at or behind `from`, which is the beginning of a line and only grows.
    pub(super) fn first(&mut self, hints: &Hints, block: &[u8], from: usize) -> Option<usize> {
        let ahead = self.hints.get_or_insert_with(|| hinted(hints, block, from));
        while ahead.last().is_some_and(|at| *at < from) {
            ahead.pop();
        }
        let hint = ahead.last().copied();
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

/// Where lines with hints have the first one, the last line first.
fn hinted(hints: &Hints, block: &[u8], from: usize) -> Vec<usize> {
    let mut search = Search { hints, block, hits: Vec::new() };
    let none = Stretch { at: block.len(), to: block.len(), state: hints.start() };
    let mut stretches = [none; ABREAST];
    stretches[0].at = from;
    while search.fill(&mut stretches) {
        search.abreast(&mut stretches);
    }
    for stretch in &mut stretches {
        search.alone(stretch);
    }
    search.hits.sort_unstable_by(|one, other| other.cmp(one));
    search.hits
}

/// Whole lines that are still to be searched, but for the first one, of which a part may have been.
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
    hits: Vec<usize>,
}

impl Search<'_> {
    /// Gives each stretch that is done the second half of the longest one; `false` if that is not worth it.
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

    /// Goes on in all stretches until one of them ends, or a hint does.
    fn abreast(&mut self, stretches: &mut [Stretch; ABREAST]) {
        let steps = stretches.iter().map(Stretch::left).min().unwrap_or(0);
        let [first, second, third, fourth] = stretches.map(|stretch| &self.block[stretch.at..stretch.at + steps]);
        let [mut a, mut b, mut c, mut d] = stretches.map(|stretch| stretch.state);
        let mut taken = steps;
        let bytes = first.iter().zip(second).zip(third.iter().zip(fourth));
        for (step, ((first, second), (third, fourth))) in bytes.enumerate() {
            (a, b) = (self.hints.step(a, *first), self.hints.step(b, *second));
            (c, d) = (self.hints.step(c, *third), self.hints.step(d, *fourth));
            if self.hints.is_hit(a) | self.hints.is_hit(b) | self.hints.is_hit(c) | self.hints.is_hit(d) {
                taken = step + 1;
                break;
            }
        }
        for (stretch, state) in stretches.iter_mut().zip([a, b, c, d]) {
            stretch.at += taken;
            stretch.state = state;
            self.noted(stretch);
        }
    }

    fn alone(&mut self, stretch: &mut Stretch) {
        while stretch.left() > 0 {
            let state = &mut stretch.state;
            let hit = self.block[stretch.at..stretch.to].iter().position(|byte| {
                *state = self.hints.step(*state, *byte);
                self.hints.is_hit(*state)
            });
            stretch.at = hit.map_or(stretch.to, |hit| stretch.at + hit + 1);
            self.noted(stretch);
        }
    }

    /// If a hint ends here, the line is a candidate, and the rest of it need not be searched.
    fn noted(&mut self, stretch: &mut Stretch) {
        if !self.hints.is_hit(stretch.state) {
            return;
        }
        self.hits.push(stretch.at - 1);
        // The hint may end with the line.
        let from = stretch.at - 1;
        let end = memchr::memchr(b'\n', &self.block[from..stretch.to]);
        *stretch = Stretch { at: end.map_or(stretch.to, |end| from + end + 1), state: self.hints.start(), ..*stretch };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{redact::exact::Exact, secret::Secret};

    fn hints() -> Hints {
        Hints::new(&Exact::new(vec![("location-key", Secret::new("the-known-value"))]))
    }

    /// Lines with hints, one after the other.
    fn one_by_one(hints: &Hints, block: &[u8]) -> Vec<usize> {
        let (mut from, mut lines) = (0, Vec::new());
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            let mut state = hints.start();
            if line.iter().any(|byte| {
                state = hints.step(state, *byte);
                hints.is_hit(state)
            }) {
                lines.push(from);
            }
            from += line.len();
        }
        lines
    }

    #[test]
    fn side_by_side_the_same_lines_are_found_as_one_by_one() {
        let hints = hints();
        let words =
            ["password=x", "the-known-value", "AKIA0", "harmless", "", "pass", "word", "://", "x", "-----BEGIN"];
        let mut dice = 7_u64;
        for size in [0_usize, 1, 40, 900, 1100, 5000, 70_000, 300_000] {
            for lines in [1_usize, 20, 400] {
                let mut block = Vec::new();
                while block.len() < size {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let pick = usize::try_from(dice >> 40).expect("24 bits");
                    let word = if pick.is_multiple_of(7) { words[pick / 7 % words.len()] } else { "plain text" };
                    block.extend_from_slice(word.as_bytes());
                    block.push(if pick % (lines + 1) == 0 { b'\n' } else { b' ' });
                }
                let found = hinted(&hints, &block, 0);
                let begins = |at: &usize| memchr::memrchr(b'\n', &block[..*at]).map_or(0, |end| end + 1);
                let found: Vec<usize> = found.iter().rev().map(begins).collect();
                assert_eq!(found, one_by_one(&hints, &block), "{size} bytes, a line of about {lines} words");
            }
        }
    }
}

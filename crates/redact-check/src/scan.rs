//! Searches one text, fed in pieces of any size, in bounded memory, for what `forms` and `shapes` describe.

use zeroize::Zeroizing;

use crate::{
    Cost, Detector,
    shapes::{AHEAD, Around, BEHIND, SHAPES},
    tokens,
};

/// Bytes that are gathered before they are judged.
const BLOCK: usize = 256 << 10;
/// Bytes of a hit that are kept, to find texts that quote it.
const SEEN: usize = 16;

/// A hit: where it is, and which rule found it.
pub(super) struct ScanHit {
    /// What announces it, such as the first line of a key; at most [`AHEAD`] bytes in front of it.
    pub(super) begin: u64,
    /// Its first byte, counted from the text's beginning.
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) rule: &'static str,
    pub(super) cost: Cost,
    /// Its first bytes.
    pub(super) seen: Zeroizing<Vec<u8>>,
}

/// The search in one text.
pub(super) struct Scan<'d> {
    detector: &'d Detector,
    /// The text being searched, with redaction's tokens blanked.
    window: Zeroizing<Vec<u8>>,
    /// Where the window begins in the text.
    base: u64,
    /// Hints that begin before this byte of the window have been judged.
    judged: usize,
    most: usize,
    /// In order; none overlaps another.
    found: Vec<ScanHit>,
}

impl<'d> Scan<'d> {
    /// A search that keeps at most `most` hits.
    pub(super) fn new(detector: &'d Detector, most: usize) -> Self {
        let window = Zeroizing::new(Vec::new());
        Self { detector, window, base: 0, judged: 0, most, found: Vec::new() }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let take = data.len().min(BLOCK + AHEAD + BEHIND - self.window.len().min(BLOCK + AHEAD + BEHIND - 1));
            let seen = self.window.len();
            self.window.extend_from_slice(&data[..take]);
            tokens::blank(&mut self.window, seen);
            data = &data[take..];
            if self.window.len() - self.judged >= BLOCK {
                self.judge(self.window.len() - AHEAD);
                let done = self.judged.saturating_sub(BEHIND);
                self.window.drain(..done);
                self.base += done as u64;
                self.judged -= done;
            }
        }
    }

    /// Ends the text and returns its hits in order. The search can be used for another text then.
    pub(super) fn end(&mut self) -> Vec<ScanHit> {
        self.judge(self.window.len());
        self.window.clear();
        (self.base, self.judged) = (0, 0);
        std::mem::take(&mut self.found)
    }

    /// Judges the hints that begin before `limit`; [`AHEAD`] bytes follow each of them, or the text ends earlier.
    fn judge(&mut self, limit: usize) {
        let (from, text) = (self.judged, &self.window[..]);
        let until = text.len().min(limit + self.detector.longest);
        let mut hits = Vec::new();
        for hit in self.detector.hints.find_overlapping_iter(&text[from..until]) {
            let (start, hint) = (from + hit.start(), hit.end() - hit.start());
            if start >= limit {
                continue;
            }
            let first = start.saturating_sub(BEHIND);
            let around = Around { text: &text[first..text.len().min(start + AHEAD)], at: start - first, hint };
            let pattern = hit.pattern().as_usize();
            let Some(shape) = self.detector.shape_of.get(pattern) else {
                let known = &self.detector.known[pattern - self.detector.shape_of.len()];
                if text[start..].starts_with(&known.bytes) {
                    let end = start + known.bytes.len();
                    if !known.named || is_named(around.text, around.at, end - first) {
                        hits.push((start.saturating_sub(known.lead), end, known.rule, Cost::Object, start));
                    }
                }
                continue;
            };
            let shape = &SHAPES[*shape];
            for at in shape.hits(around) {
                hits.push((first + at.start, first + at.end, shape.rule, shape.cost, start));
            }
        }
        hits.sort_unstable();
        for (start, end, rule, cost, hint) in hits {
            let seen = Zeroizing::new(text[start..end.min(start + SEEN)].to_vec());
            let (offset, length) = (self.base + start as u64, (end - start) as u64);
            let begin = self.base + hint.min(start) as u64;
            keep(&mut self.found, self.most, ScanHit { begin, offset, length, rule, cost, seen });
        }
        self.judged = limit;
    }
}

/// Adds a hit in its place; one that overlaps others becomes one with them. A hint may lead to hits before those of an
/// earlier block: the last line of a key leads to all lines, which its first line has found already.
fn keep(found: &mut Vec<ScanHit>, most: usize, mut hit: ScanHit) {
    let end = |one: &ScanHit| one.offset + one.length;
    let first = found.partition_point(|known| end(known) <= hit.offset);
    let behind = first + found[first..].partition_point(|known| known.offset < end(&hit));
    for known in found.drain(first..behind) {
        let until = end(&hit).max(end(&known));
        if known.offset <= hit.offset {
            (hit.rule, hit.seen) = (known.rule, known.seen);
        }
        hit.begin = hit.begin.min(known.begin);
        hit.offset = hit.offset.min(known.offset);
        hit.length = until - hit.offset;
        hit.cost = hit.cost.max(known.cost);
    }
    if found.len() < most {
        found.insert(first, hit);
    }
}

/// A short value counts only whole, after a name that suggests a secret.
fn is_named(text: &[u8], start: usize, end: usize) -> bool {
    const NAMES: [&[u8]; 6] = [b"password", b"passwd", b"pwd", b"secret", b"token", b"key"];
    let whole = text.get(end).is_none_or(|byte| byte.is_ascii_whitespace() || b"\"'&,;)]}\\<".contains(byte));
    let quotes = |byte: &u8| b"\"'\\ ".contains(byte);
    let trimmed = |text: &'_ [u8]| text.iter().rposition(|byte| !quotes(byte)).map_or(0, |at| at + 1);
    let before = &text[..trimmed(&text[..start])];
    let Some(before) = before.strip_suffix(b"=").or_else(|| before.strip_suffix(b":")) else { return false };
    let name = before[..trimmed(before)].to_ascii_lowercase();
    whole && NAMES.iter().any(|word| name.ends_with(word))
}

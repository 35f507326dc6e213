//! Cuts a stream of bytes into lines and judges each whole, in bounded memory; how the stream is split into pieces
//! makes no difference. Nothing is passed on before its line has ended.

use std::io;

use crate::{
    LOOK_AHEAD, MAX_LINE, Redactor, Rules,
    candidates::Ahead,
    hints::{Base64, LineHints},
    multiline,
    pem::{self, PemVerdict},
    token::{LONG, Span, Tally, long_line},
};

/// Bytes processed at once.
const PIECE: usize = 256 << 10;

/// Receives lines; the last one may lack its line end.
pub(super) type Out<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// The state between two pieces of the stream.
pub(super) struct Lines {
    rules: Rules,
    partial: Vec<u8>,
    long: Option<Long>,
    state: State,
}

/// What the lines so far say about the next one.
#[derive(Default)]
struct State {
    pem: pem::PemState,
    spread: multiline::MultilineState,
}

/// A line over [`MAX_LINE`]: the part that may be shown, and how many bytes are masked so far.
struct Long {
    shown: Vec<u8>,
    rest: u64,
}

impl Long {
    fn take(&mut self, by: &Redactor, more: &[u8]) {
        self.rest += more.len() as u64;
        if !by.has(LONG) {
            self.shown.extend_from_slice(more);
        }
    }

    fn closed(mut self, end: &[u8]) -> Vec<u8> {
        self.shown.extend_from_slice(long_line(self.rest).as_bytes());
        self.shown.extend_from_slice(end);
        self.shown
    }
}

impl Lines {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, partial: Vec::new(), long: None, state: State::default() }
    }

    pub(super) fn feed(&mut self, by: &Redactor, data: &[u8], tally: &mut Tally, out: &mut Out<'_>) -> io::Result<()> {
        let mut rest = data;
        while !rest.is_empty() {
            if let Some(long) = &mut self.long {
                let Some(end) = memchr::memchr(b'\n', rest) else {
                    long.take(by, rest);
                    return Ok(());
                };
                long.take(by, &rest[..end]);
                if let Some(long) = self.long.take() {
                    out(&long.closed(b"\n"))?;
                }
                rest = &rest[end + 1..];
            } else if self.partial.is_empty() {
                let piece = &rest[..rest.len().min(PIECE)];
                let end = memchr::memrchr(b'\n', piece).map_or(0, |at| at + 1);
                by.block(&piece[..end], self.rules, &mut self.state, tally, out)?;
                self.partial.extend_from_slice(&piece[end..]);
                rest = &rest[piece.len()..];
            } else {
                let room = MAX_LINE - self.partial.len();
                match memchr::memchr(b'\n', &rest[..rest.len().min(room + 1)]) {
                    Some(end) => {
                        self.partial.extend_from_slice(&rest[..=end]);
                        rest = &rest[end + 1..];
                        by.block(&self.partial, self.rules, &mut self.state, tally, out)?;
                        self.partial.clear();
                    }
                    None if rest.len() <= room => {
                        self.partial.extend_from_slice(rest);
                        return Ok(());
                    }
                    None => {
                        self.partial.extend_from_slice(&rest[..room]);
                        rest = &rest[room..];
                        let held = self.state.pem.end();
                        self.state.spread = multiline::MultilineState::default();
                        by.block(&held, self.rules, &mut self.state, tally, out)?;
                        let spans = by.spans(&self.partial, self.rules);
                        let (shown, taken) = by.first_part(&self.partial, &spans, tally);
                        let mut long = Long { shown, rest: 0 };
                        long.take(by, &self.partial[taken..]);
                        self.long = Some(long);
                        self.partial.clear();
                    }
                }
            }
        }
        Ok(())
    }

    /// Call at the end of the stream, even within a line.
    pub(super) fn end(&mut self, by: &Redactor, tally: &mut Tally, out: &mut Out<'_>) -> io::Result<()> {
        if let Some(long) = self.long.take() {
            return out(&long.closed(b""));
        }
        let last = std::mem::take(&mut self.partial);
        by.block(&last, self.rules, &mut self.state, tally, out)?;
        let held = self.state.pem.end();
        by.block(&held, self.rules, &mut self.state, tally, out)
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    text.strip_suffix(b"\r").filter(|_| text.len() < line.len()).unwrap_or(text)
}

impl Redactor {
    /// Whole lines, none over [`MAX_LINE`]; lines that no rule can hit pass together.
    fn block(
        &self,
        block: &[u8],
        rules: Rules,
        state: &mut State,
        tally: &mut Tally,
        out: &mut Out<'_>,
    ) -> io::Result<()> {
        let mut ahead = Ahead::default();
        let each = rules != Rules::BuiltIn && !self.user.is_empty();
        let mut at = 0;
        while at < block.len() {
            let watched = state.pem.watches() || state.spread.watches();
            let candidate = if each || watched { Some(at) } else { ahead.first(&self.hints, block, at) };
            let Some(candidate) = candidate else {
                return out(&block[at..]);
            };
            let start = memchr::memrchr(b'\n', &block[at..candidate]).map_or(at, |found| at + found + 1);
            let end = memchr::memchr(b'\n', &block[candidate..]).map_or(block.len(), |found| candidate + found + 1);
            if start > at {
                out(&block[at..start])?;
            }
            let line = &block[start..end];
            let mut found = ahead.of(&self.hints, block, start..start + without_end(line).len());
            if !ahead.has_run(block, start..end) {
                found.base64 = Base64::None;
            }
            self.line(line, found, rules, state, tally, out)?;
            at = end;
        }
        Ok(())
    }

    /// One line with its end, and the lines that were held back until it came.
    fn line(
        &self,
        line: &[u8],
        mut found: LineHints,
        rules: Rules,
        state: &mut State,
        tally: &mut Tally,
        out: &mut Out<'_>,
    ) -> io::Result<()> {
        let verdict = state.pem.next(line);
        if matches!(verdict, PemVerdict::Held) {
            return Ok(());
        }
        let text = without_end(line);
        let mut more: Vec<Span> = state.spread.next(text).into_iter().collect();
        match verdict {
            PemVerdict::Release { held, key, public } => {
                for line in held.split_inclusive(|b| *b == b'\n') {
                    let text = without_end(line);
                    let key = key.then(|| pem::span(text, pem::digits(line)));
                    let base64 = if public { Base64::Public } else { Base64::Any };
                    let spans = self.spans_of(text, &LineHints { base64, ..self.hints.of(text) }, rules);
                    self.judged(line, spans, key.into_iter().collect(), tally, out)?;
                }
            }
            PemVerdict::Key(digits) => more.push(pem::span(text, digits)),
            PemVerdict::Plain | PemVerdict::Held => {}
        }
        if state.pem.is_public() && found.base64 == Base64::Any {
            found.base64 = Base64::Public;
        }
        let spans = self.spans_of(text, &found, rules);
        let whole = spans.iter().any(|span| pem::is_whole_line(text, span));
        self.judged(line, spans, more, tally, out)?;
        state.pem.after(line, whole);
        Ok(())
    }

    /// `spans`: found in the line itself; `more`: found because of other lines.
    fn judged(
        &self,
        line: &[u8],
        mut spans: Vec<Span>,
        more: Vec<Span>,
        tally: &mut Tally,
        out: &mut Out<'_>,
    ) -> io::Result<()> {
        let text = without_end(line);
        if !more.is_empty() {
            spans.extend(more);
            spans = self.settled(text, spans);
        }
        if spans.is_empty() {
            return out(line);
        }
        let mut clean = self.rendered(text, &spans, tally);
        clean.extend_from_slice(&line[text.len()..]);
        out(&clean)
    }

    /// The line with tokens in place of the spans; if that is too long, its first part and a count of the rest.
    fn rendered(&self, line: &[u8], spans: &[Span], tally: &mut Tally) -> Vec<u8> {
        let tokens: usize = spans.iter().map(Span::token_len).sum();
        let masked: usize = spans.iter().map(|span| span.at.len()).sum();
        if line.len() - masked + tokens > MAX_LINE {
            let (shown, taken) = self.first_part(line, spans, tally);
            return Long { shown, rest: (line.len() - taken) as u64 }.closed(b"");
        }
        let mut out = Vec::with_capacity(line.len() - masked + tokens);
        let mut from = 0;
        for span in spans {
            out.extend_from_slice(&line[from..span.at.start]);
            span.write_token(&self.key, &mut out);
            tally.add(&span.rule);
            from = span.at.end;
        }
        out.extend_from_slice(&line[from..]);
        out
    }

    /// The part of a too long line that may be shown, and how many of its bytes that covers. It ends before the last
    /// [`LOOK_AHEAD`] bytes, at the border of a hit or of a UTF-8 character, never inside one.
    fn first_part(&self, line: &[u8], spans: &[Span], tally: &mut Tally) -> (Vec<u8>, usize) {
        let most = MAX_LINE - LOOK_AHEAD;
        let mut out = Vec::new();
        let mut from = 0;
        for span in spans {
            if span.at.end > most || out.len() + (span.at.start - from) + span.token_len() > most {
                break;
            }
            out.extend_from_slice(&line[from..span.at.start]);
            span.write_token(&self.key, &mut out);
            tally.add(&span.rule);
            from = span.at.end;
        }
        let next = spans.iter().find(|span| span.at.start >= from).map_or(line.len(), |span| span.at.start);
        let mut to = next.min(most).min(from + (most - out.len()));
        let character = to;
        while to > from && character - to < 4 && line.get(to).is_some_and(|b| b & 0xc0 == 0x80) {
            to -= 1;
        }
        out.extend_from_slice(&line[from..to]);
        tally.add(LONG);
        (out, to)
    }
}

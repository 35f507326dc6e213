//! A sensitive name in text and the value behind it: `password=x`, `"token": "x"`, `--secret-key x`, `<pwd>x</pwd>`, at
//! any depth of escaping. Only the value is masked, so the text around it stays parseable. `names` decides which names
//! are sensitive.

use std::ops::Range;

use percent_encoding::percent_decode;

use crate::{
    elements, inline_collections, multiline,
    names::{self, Strength},
    nested_keys, pem, prose,
    quote::{Quote, joined},
    separators::{separator, skip_colour, skip_space, starts, unquoted_end},
    token::{self, OPEN, Span},
    value::{self, ValueContext},
    wrappers::{self, Wrapped},
};

pub(super) const RULE: &str = "named-value";

/// Most bytes of a name in front of the word that was found.
const NAME: usize = 96;
/// Fewest digits of a checksum in base64, padding included: those of MD5.
const CHECKSUM: usize = 24;
/// Most bytes of a value behind a separator that may also end it.
const GLUED: usize = 128;

/// The values behind the names at `hits`, which are sorted by their ends.
pub(super) fn find(line: &[u8], hits: impl Iterator<Item = Range<usize>>, spans: &mut Vec<Span>) {
    let (mut judged, mut of_flow) = (0, 0);
    for hit in hits.filter(|hit| line.get(hit.end.saturating_sub(1)).is_some()) {
        if hit.end <= judged {
            continue;
        }
        let name = name_around(line, hit);
        judged = name.end;
        let strength = names::judge_within(line, &name);
        let Some(outer) = nested_keys::of(strength, &line[name.clone()]) else { continue };
        if is_kind(line, name.start) || is_restored(line, &name) || ends_base64(line, name.end) {
            continue;
        }
        if let Some(at) = strength.and_then(|strength| elements::secret(line, &name, strength)) {
            judged = at.end;
            spans.push(Span::new(at.clone(), RULE, line[at].to_vec()));
            continue;
        }
        let Some(found) = Assigned::behind(line, &name) else { continue };
        if found.quote.is_none() && !line[found.from..].starts_with(OPEN) {
            // An inner object is already judged; judging each again would take time quadratic in the line's length.
            if found.from < of_flow && matches!(line[found.from..].first(), Some(b'{' | b'<')) {
                continue;
            }
            if let Some(end) = (found.from >= of_flow)
                .then(|| inline_collections::object(line, found.from, found.of_json(), outer, spans))
                .flatten()
            {
                of_flow = end;
                continue;
            }
        }
        if let Some(span) = strength.and_then(|strength| found.span(line, strength, &name)) {
            // Names within a masked value are skipped; otherwise `password=password=…` would take quadratic time.
            judged = span.at.end;
            let half = found.second_half(line, judged);
            spans.push(span);
            if let Some(half) = half {
                judged = half.end;
                spans.push(Span::new(half.clone(), RULE, line[half].to_vec()));
            }
            if found.listed
                && let Some(quote) = found.quote
            {
                judged = more(line, quote, judged, spans);
            }
        }
    }
}

/// Masks the other elements of a list whose first one, in quotes `quote`, ends at `to`; returns the last one's end.
fn more(line: &[u8], quote: Quote, mut to: usize, spans: &mut Vec<Span>) -> usize {
    let behind = |at| Quote::at(line, at).filter(|(found, _)| *found == quote).map(|(_, behind)| behind);
    while let Some(comma) = behind(to).filter(|at| line.get(*at) == Some(&b','))
        && let Some(from) = behind(skip_space(line, comma + 1))
    {
        to = quote.close(line, from);
        let raw = &line[from..to];
        if !raw.is_empty() && token::length(raw) != Some(raw.len()) {
            spans.push(Span::new(from..to, RULE, quote.decoded(raw)));
        }
    }
    to
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn name_around(line: &[u8], hit: Range<usize>) -> Range<usize> {
    let (mut start, mut end) = (hit.start, hit.end);
    while start > 0 && hit.start - start < NAME && is_name(line[start - 1]) {
        start -= 1;
    }
    while end < line.len() && is_name(line[end]) {
        end += 1;
    }
    // `Access Key ID`
    if line.len() >= end + 3 && line[end..end + 3].eq_ignore_ascii_case(b" id") {
        end += 3;
    }
    start += escape_in_front(line, start).min(hit.start - start);
    start..end
}

/// How many bytes at `start` end an escape in front of the name: of `\n`, `\u003c`, `%0a` or a colour code.
fn escape_in_front(line: &[u8], start: usize) -> usize {
    let Some(before) = start.checked_sub(1).map(|at| line[at]) else { return 0 };
    if before == b'\\' && matches!(line[start], b'n' | b'r' | b't') {
        return 1;
    }
    if before == b'\\' && line.len() >= start + 5 && is_code(&line[start..start + 5]) {
        return 5;
    }
    if before == b'%' && line.len() >= start + 2 && line[start..start + 2].iter().all(u8::is_ascii_hexdigit) {
        return 2;
    }
    let parameters = |byte: &&u8| byte.is_ascii_digit() || **byte == b';';
    let front = start - line[..start].iter().rev().take(16).take_while(parameters).count();
    if front >= 2 && line[front - 1] == b'[' && matches!(line[front - 2], 0x1b | b'b' | b'B' | b'3') {
        let digits = line[start..].iter().take_while(parameters).count();
        return digits + usize::from(line.get(start + digits) == Some(&b'm'));
    }
    0
}

/// `u003c`
fn is_code(text: &[u8]) -> bool {
    text[0] == b'u' && text[1..].iter().all(u8::is_ascii_hexdigit)
}

/// `v1/Secret`: a kind, followed by names of objects.
fn is_kind(line: &[u8], start: usize) -> bool {
    let Some(front) = start.checked_sub(1).filter(|at| line[*at] == b'/') else { return false };
    let from = front - line[..front].iter().rev().take(13).take_while(|b| b.is_ascii_alphanumeric()).count();
    line[start].is_ascii_uppercase() && names::is_version(&line[from..front])
}

/// `…+hMrPsk= `: the end of a checksum in base64, and its padding.
fn ends_base64(line: &[u8], end: usize) -> bool {
    let padding = line[end..].iter().take(3).take_while(|byte| **byte == b'=').count();
    let is_digit = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let start = end - line[..end].iter().rev().take(NAME).take_while(is_digit).count();
    let whole = end + padding - start;
    let is_over = line.get(end + padding).is_none_or(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b','));
    matches!(padding, 1 | 2)
        && is_over
        && whole >= CHECKSUM
        && whole.is_multiple_of(4)
        && pem::is_noise(&line[start..end])
}

/// `Attempting to restore Secret: shop-token-x7k2p.`: a kind, followed by the name of an object.
fn is_restored(line: &[u8], name: &Range<usize>) -> bool {
    let front = &line[..name.start];
    let verb = front.ends_with(b" restore ") || front.ends_with(b" restore of ");
    let Some(behind) = line[name.end..].strip_prefix(b": ").filter(|_| verb && line[name.start].is_ascii_uppercase())
    else {
        return false;
    };
    let of_name = |byte: &&u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(**byte, b'-' | b'.');
    let length = behind.iter().take_while(of_name).count();
    length > 0
        && behind
            .get(length)
            .is_none_or(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\\' | b':' | b','))
}

/// The value behind a name.
struct Assigned {
    from: usize,
    place: ValueContext,
    name_quote: Option<Quote>,
    quote: Option<Quote>,
    /// How often separators are percent-encoded here.
    percent: usize,
    /// It stands behind the bracket of a list.
    listed: bool,
    /// `$'…'` of a shell, where a backslash escapes a quote.
    dollar: bool,
    /// The name is the first of its word.
    alone: bool,
}

impl Assigned {
    fn behind(line: &[u8], name: &Range<usize>) -> Option<Self> {
        let flag = line[name.start] == b'-';
        let alone = name.start == 0 || matches!(line[name.start - 1], b' ' | b'\t' | b'"' | b'\'' | b'`' | b'{');
        let mut at = skip_colour(line, name.end);
        let mut name_quote = None;
        let mut quoted = false;
        if let Some((quote, next)) = Quote::at(line, at) {
            (name_quote, quoted, at) = (Some(quote), true, next);
        } else if starts(line, at, b"%22") {
            (quoted, at) = (true, at + 3);
        }
        at += usize::from(line.get(at) == Some(&b']'));
        let gap = at;
        at = skip_space(line, at);
        let spaced = at > gap;
        let (length, colon, percent) = match separator(&line[at..]) {
            Some(found) => found,
            None if flag && quoted && starts(line, at, b",") && is_element(line, name.start, at) => (1, false, 0),
            None if quoted && starts(line, at, b",") && is_set(&line[..name.start]) => (1, false, 0),
            None if flag && spaced => (0, false, 0),
            None if elements::is_tag(line, name.start) => (elements::closes(&line[at..])?, false, 0),
            None => return None,
        };
        at = skip_space(line, skip_colour(line, skip_space(line, at + length)));
        if quoted && spaced && colon && prose::goes_on(&line[at..]) {
            return None;
        }
        while percent > 0 && starts(line, at, b"%20") {
            at += 3;
        }
        if colon {
            at = prose::behind_refusal(line, multiline::behind_properties(line, at))?;
        }
        // A pointer to a list.
        at += usize::from(starts(line, at, b"&["));
        // `[]byte{0x68, 0x75}`
        let go_bytes = [&b"[]byte{"[..], b"[]uint8{"].into_iter().find(|bytes| starts(line, at, bytes));
        let bracket = line.get(at) == Some(&b'[') && !starts(line, at, OPEN) && !starts(line, at, b"[]");
        let listed = bracket || go_bytes.is_some();
        if listed {
            at = skip_space(line, at + go_bytes.map_or(1, <[u8]>::len));
        }
        let place = if colon && !quoted { ValueContext::Prose } else { ValueContext::Structure };
        let mut found =
            Self { from: at, place, name_quote, quote: None, percent, listed, dollar: starts(line, at, b"$'"), alone };
        at += usize::from(found.dollar);
        if let Some((quote, next)) = Quote::at(line, at) {
            (found.quote, found.from) = (Some(quote), next);
        } else if starts(line, at, b"%22") {
            found.from = at + 3;
        } else if let Some(wrapped) = Wrapped::find(line, at) {
            found.listed |= wrapped.listed;
            (found.quote, found.from) =
                Quote::at(line, wrapped.at).map_or((None, at), |(quote, from)| (Some(quote), from));
        } else {
            found.from = wrappers::behind_known(line, at);
        }
        // In such a call, a value without quotes is a variable.
        (found.quote.is_some() || !is_set(&line[..name.start])).then_some(found)
    }

    /// `json` judges the value behind such a name.
    fn of_json(&self) -> bool {
        self.name_quote.is_some_and(|quote| quote.byte == b'"')
    }

    fn span(&self, line: &[u8], strength: Strength, name: &Range<usize>) -> Option<Span> {
        let to = match self.quote {
            Some(quote) => quote.close(line, self.from),
            None => self.glued(line, self.unquoted_end(line, name), strength),
        };
        let raw = &line[self.from..to];
        // A resource in prose, such as `secrets/shop/db-password: admission webhook denied`; also `let it pass: …`.
        let resource = name.start > 0 && line[name.start - 1] == b'/';
        let verb = line[name.clone()].eq_ignore_ascii_case(b"pass");
        let strength = if self.place == ValueContext::Prose && (resource || verb) { Strength::Weak } else { strength };
        // `token: Get("https://…") failed`, `secret: unknown("kind is not registered")`
        let called = self.quote.is_some_and(|quote| line[..self.from - 1 - quote.escapes].ends_with(b"("));
        let is_said = || raw.contains(&b' ') || memchr::memmem::find(raw, b"://").is_some();
        if called && self.place == ValueContext::Prose && strength == Strength::Weak && is_said() {
            return None;
        }
        let number = raw.iter().all(u8::is_ascii_digit);
        let count = || self.name_quote.is_some() && value::is_count(&line[name.clone()], raw);
        if self.quote.is_none()
            && (count()
                || prose::is_number_of(&line[name.clone()], raw, &line[to..])
                || (self.place == ValueContext::Prose && prose::begins_sentence(raw, &line[to..])))
        {
            return None;
        }
        if number && self.name_quote.is_some() && self.quote.is_none() && keeps_number(&line[name.clone()], strength) {
            return None;
        }
        // Tokens do not count: they would make the text next to them look longer than it is.
        let bytes = || {
            self.listed
                && inline_collections::list_end(line, self.from)
                    .is_some_and(|to| inline_collections::is_bytes(&line[self.from..to]))
        };
        if !value::masks(&token::without(raw), strength, self.place, self.quote.is_some()) && !bytes() {
            return None;
        }
        let to = self.all_of(line, to);
        let raw = &line[self.from..to];
        let span = Span::new(self.from..to, RULE, self.decoded(raw));
        match self.name_quote {
            Some(quote) if self.quote.is_none() && self.place == ValueContext::Structure && self.percent == 0 => {
                Some(span.quoted(&quote.bytes()))
            }
            _ => Some(span),
        }
    }

    fn unquoted_end(&self, line: &[u8], name: &Range<usize>) -> usize {
        let to = unquoted_end(line, self.from, self.percent);
        let several = line[name.clone()].last().is_some_and(|byte| byte.eq_ignore_ascii_case(&b's'));
        match self.place {
            ValueContext::Structure if several => inline_collections::several_end(line, to),
            ValueContext::Structure => inline_collections::setting_end(line, name.start, self.from, to),
            ValueContext::Prose => to,
        }
    }

    /// Where a value ends whose part up to `to` is a secret: behind all elements of a list, or behind all parts that a
    /// shell joins (it writes `'` as `'\\''` within single quotes).
    fn all_of(&self, line: &[u8], mut to: usize) -> usize {
        if self.listed && self.quote.is_none() {
            return inline_collections::list_end(line, self.from).unwrap_or(to);
        }
        let Some(quote) = self.quote else { return to };
        while self.dollar && line.get(to) == Some(&b'\'') && line[to - 1] == b'\\' {
            to = quote.close(line, to + 1);
        }
        if quote.byte == b'\'' {
            to = to.max(quote.close_doubled(line, self.from));
        }
        if quote.byte != b'\'' {
            return to;
        }
        while let Some(next) = joined(&line[to.min(line.len())..], quote.escapes) {
            to = quote.close(line, to + next);
        }
        to
    }

    /// `'a'"b"` is one word of a shell: the range of its second half, if the first half ends at `to`.
    fn second_half(&self, line: &[u8], to: usize) -> Option<Range<usize>> {
        let quote = self.quote.filter(|_| self.place == ValueContext::Structure && self.name_quote.is_none())?;
        let (_, behind) = Quote::at(line, to)?;
        let (other, from) = Quote::at(line, behind).filter(|(other, _)| other.byte != quote.byte)?;
        line.get(from).filter(|byte| byte.is_ascii_alphanumeric())?;
        Some(from..other.close(line, from))
    }

    /// `password=a,b`: the value goes to the end of the word, except in a query or a list of pairs.
    fn glued(&self, line: &[u8], to: usize, strength: Strength) -> usize {
        let by_colon = self.place == ValueContext::Prose;
        let whole = self.percent > 0 || self.name_quote.is_some() || (by_colon && line[self.from - 1] != b':');
        if whole || !self.alone || to == self.from || strength == Strength::Weak {
            return to;
        }
        let Some(sign @ (b',' | b';' | b'&')) = line.get(to).filter(|sign| !by_colon || **sign == b',') else {
            return to;
        };
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`\\)]}<>|".contains(byte);
        let rest = &line[to + 1..line.len().min(to + 1 + GLUED)];
        let word = &rest[..rest.iter().position(ends).unwrap_or(rest.len())];
        let plain =
            word.first().is_some_and(u8::is_ascii_alphanumeric) && !word.iter().any(|byte| b"=:/&;".contains(byte));
        // Behind the other two signs, a shell starts the next command.
        let no_command = *sign == b',' || word.iter().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        if plain && no_command && word.len() < GLUED { to + 1 + word.len() } else { to }
    }

    fn decoded(&self, raw: &[u8]) -> Vec<u8> {
        let mut value = self.quote.map_or_else(|| raw.to_vec(), |quote| quote.decoded(raw));
        for _ in 0..self.percent {
            value = percent_decode(&value).collect();
        }
        value
    }
}

/// Whether the flag at `start` is a whole string, and the string behind the comma is no key: `"--password","x"`, and not
/// `"ran mysql --password","message":`.
fn is_element(line: &[u8], start: usize, comma: usize) -> bool {
    let is_whole = start.checked_sub(1).is_some_and(|at| matches!(line[at], b'"' | b'\'' | b'`'));
    let is_key = Quote::at(line, skip_space(line, comma + 1)).is_some_and(|(quote, from)| {
        let behind = Quote::at(line, quote.close(line, from)).map_or(line.len(), |(_, behind)| behind);
        line.get(skip_space(line, behind)) == Some(&b':')
    });
    is_whole && !is_key
}

/// `os.Setenv("`: the name in the quotes is set to the value behind a comma.
fn is_set(front: &[u8]) -> bool {
    const CALLS: &[&[u8]] = &[
        b"setenv(",
        b"putenv(",
        b"setproperty(",
        b"setdefault(",
        b"setenvironmentvariable(",
        b".set(",
        b".put(",
        b".append(",
        b"header(",
    ];
    let Some(quoted) = front.strip_suffix(b"\"").or_else(|| front.strip_suffix(b"'")) else { return false };
    let slashes = quoted.iter().rev().take_while(|byte| **byte == b'\\').count();
    let call = &quoted[..quoted.len() - slashes];
    CALLS.iter().any(|name| call.len() >= name.len() && call[call.len() - name.len()..].eq_ignore_ascii_case(name))
}

/// Whether the name keeps a JSON number: a count under a weak name, or how often one of our own rules hit.
fn keeps_number(name: &[u8], strength: Strength) -> bool {
    strength == Strength::Weak || name.starts_with(b"known-")
}

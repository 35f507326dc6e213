//! Private keys in PEM, and in PuTTY's format: on one line, over many lines, over the texts of an object, and when only
//! their end is seen. Certificates and public keys pass. `lines` splits the stream into lines.

use std::{ops::Range, sync::LazyLock};

use regex::bytes::Regex;

use crate::{base64_runs::Runs, token::Span};

pub(super) const RULE: &str = "pem";

/// A line with none of these neither begins nor ends a private key or something public, in plain text or in base64.
pub(super) const HINTS: &[&str] = &[
    "PRIVATE KEY",
    "PRIVATE%20KEY",
    "PRIVATE+KEY",
    "LS0tLS1CRUdJTi",
    "Private-Lines",
    "Private-MAC",
    "Private-Hash",
    // Of what is public, to leave its lines alone.
    "----BEGIN ",
    "---- BEGIN ",
    "Public-Lines",
];

/// Most bytes of a key, and of the lines held back to see whether they are one.
const LONGEST: usize = 64 << 10;
/// Fewer base64 digits may be a word, except where a key's last line is expected.
const FULL: usize = 16;
/// Most bytes of a field's name, and most lines of others between two lines of one key.
const LEAD: usize = 96;
const OTHERS: usize = 16;

/// Digits of a key behind words, and of a line that nothing around it shows to be one of a key.
const STRAY: usize = 32;
const LINES: [usize; 3] = [64, 70, 76];
/// Digits of a line of any width: fewest and most of one that is the whole text or line, and fewest of a whole message.
const WIDE: std::ops::RangeInclusive<usize> = 48..=128;
const OF_MESSAGE: usize = 24;
/// Fewest digits at the end of a message behind other words.
const BEHIND_WORDS: usize = 40;
/// Fewest digits of a message that is the short last line of a key.
const LAST: usize = 8;
/// Most bytes in front of the digits of a whole line: the runtime's prefix, or a field.
const FRONT: usize = 64;

static BEGIN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        // As it is written, encoded for a URL, and of RFC 4716: four dashes and a blank.
        "-----BEGIN(?: |%20|\\+)(?i:(?:[A-Z0-9 +]|%20){0,40}PRIVATE(?: |%20|\\+)KEY(?:(?: |%20|\\+)BLOCK)?)-----",
        "|---- BEGIN (?i:[A-Z0-9 ]{0,40}PRIVATE KEY) ----",
        // Of PuTTY; the lines above it are public.
        "|(?i:Private-Lines: ?[0-9]{1,4})",
    ))
});
static END: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        "-----END(?: |%20|\\+)(?i:(?:[A-Z0-9 +]|%20){0,40}PRIVATE(?: |%20|\\+)KEY(?:(?: |%20|\\+)BLOCK)?)-----",
        "|---- END (?i:[A-Z0-9 ]{0,40}PRIVATE KEY) ----",
        "|(?i:Private-(?:MAC|Hash): ?)",
    ))
});
/// The first line of a certificate or a public key, if it is not one of a private key.
static PUBLIC: LazyLock<Regex> = LazyLock::new(|| {
    pattern("-----BEGIN [A-Z0-9 ]{1,40}-----|---- BEGIN [A-Z0-9 ]{1,40} ----|Public-Lines: ?[0-9]{1,4}")
});
/// Where something public or a key begins or ends, and most bytes of the first line of either.
static BORDER: LazyLock<Regex> =
    LazyLock::new(|| pattern("-----(?:BEGIN|END)[ %+]|---- (?:BEGIN|END) |(?i:Public-Lines|Private-Lines)"));
const FIRST_LINE: usize = 96;
/// A checksum of PuTTY's, by which guesses of a passphrase can be tested.
static CHECKSUM: LazyLock<Regex> = LazyLock::new(|| pattern("(?i:Private-(?:MAC|Hash): ?)([0-9A-Fa-f]{16,})"));
/// The text between the two on one line: digits, escaped or encoded line ends, headers.
static BODY_IN_FRONT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:[A-Za-z0-9+/=\r\n]|\\+[nr/]|%0[AaDd]|%2[BbFf]|%3[Dd])*$"));
static BODY_BEHIND: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?:\s|\\+[nr])*(?:Proc-Type: 4,ENCRYPTED(?:\s|\\+[nr])*DEK-Info: [A-Z0-9-]+,[0-9A-Fa-f]+(?:\s|\\+[nr])*)?",
        r"(?:[A-Za-z0-9+/=\r\n]|\\+[nr/]|%0[AaDd]|%2[BbFf]|%3[Dd])*",
    ))
});
/// A key in base64 of any length, to the end of the base64 digits.
static ENCODED: LazyLock<Regex> = LazyLock::new(|| pattern("LS0tLS1CRUdJTi[A-Za-z0-9+/_-]*={0,2}"));
/// A colour code at the end of a text, raw or escaped, and most bytes of it.
static COLOUR_BEHIND: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:\x1b|\\+(?:u001[bB]|x1[bB]|033))\[[0-9;]{0,8}m$"));
const COLOUR: usize = 24;
/// The log's prefix of a line: a time, a stream of the container runtime.
static PREFIX: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^\s*(?:[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+(?:Z|[+-][0-9:]+)?\s+)?(?:std(?:out|err) [FP] )?\s*",
        // A colour code.
        r"(?:(?:\x1b|\\+(?:u001[bB]|x1[bB]|033))\[[0-9;]{0,8}m)?",
    ))
});

fn pattern(text: &str) -> Regex {
    Regex::new(&format!("(?-u){text}")).expect("a pattern of ours; the tests build it")
}

/// Finds keys, and parts of keys, within one line.
pub(super) fn find(line: &[u8], spans: &mut Vec<Span>) {
    let ends: Vec<Range<usize>> = END.find_iter(line).map(|hit| hit.range()).collect();
    let mut used = 0;
    let mut done = 0;
    let mut begins = BEGIN.find_iter(line).peekable();
    while let Some(begin) = begins.next() {
        if begin.start() < done {
            continue;
        }
        let end = ends.iter().find(|end| end.start >= begin.end());
        let to = match end {
            Some(end) => end.start,
            None => begin.end() + BODY_BEHIND.find(&line[begin.end()..]).map_or(0, |body| body.end()),
        };
        used = end.map_or(used, |end| end.end);
        done = to;
        mask(line, begin.end()..to, spans);
        if end.is_none() {
            let until = begins.peek().map_or(line.len(), |next| next.start().max(to));
            let body = to - begin.end() >= FULL;
            spans.extend(stray(line, to..until, body).into_iter().map(|digits| span(line, digits)));
        }
    }
    for hit in CHECKSUM.captures_iter(line).filter_map(|hit| hit.get(1)) {
        spans.push(span(line, hit.range()));
    }
    if let Some(end) = ends.iter().find(|end| end.start >= used) {
        let from = BODY_IN_FRONT.find(&line[used..end.start]).map_or(end.start, |body| used + body.start());
        // Do not start in the middle of an escape such as `\u0000`.
        let from = from - line[used..from].iter().rev().take_while(|byte| **byte == b'\\').count();
        mask(line, from..end.start, spans);
        // Lines that were joined with blanks, and whose BEGIN was cut away.
        spans.extend(stray(line, used..from, false).into_iter().map(|digits| span(line, digits)));
    }
    for hit in ENCODED.find_iter(line) {
        let text = crate::encoded::decoded(hit.as_bytes()).unwrap_or_default();
        if BEGIN.is_match(&text) {
            spans.push(Span::new(hit.range(), RULE, text));
        }
    }
}

/// Digits of a key in a text behind a BEGIN: with words in between, and further ones behind blanks or quotes. `body`:
/// the text begins behind digits of the key.
fn stray(line: &[u8], within: Range<usize>, body: bool) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut before = body.then_some(within.start);
    let mut at = within.start;
    while at < within.end {
        let run = run(&line[at..within.end]);
        let digits = at..at + run;
        at = digits.end + 1;
        if run == 0 {
            continue;
        }
        let text = &line[digits.clone()];
        let goes_on = before.is_some_and(|before| {
            let gap = &line[before..digits.start];
            gap.len() <= 4 && gap.iter().all(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b','))
        });
        if (run >= STRAY && is_random(text)) || (goes_on && is_last(text)) {
            before = Some(digits.end);
            found.push(digits);
        }
    }
    found
}

/// Length of the base64 digits, padding included, at the beginning of a text.
fn run(text: &[u8]) -> usize {
    let is_digit = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = text.iter().take_while(is_digit).count();
    digits + text[digits..].iter().take(2).take_while(|byte| digits > 0 && **byte == b'=').count()
}

/// Digits in several places, between capitals and small letters: neither a path nor a name.
fn is_random(run: &[u8]) -> bool {
    let groups =
        run.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).filter(|g| g[0].is_ascii_digit()).count();
    let has = |is: fn(&u8) -> bool| run.iter().any(is);
    has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && (groups > 1 || has(|byte| matches!(byte, b'+' | b'=')))
}

/// Whole groups of digits that are no word.
fn is_last(run: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| run.iter().any(is);
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    run.len() >= LAST && run.len().is_multiple_of(4) && (mixed || run.ends_with(b"="))
}

/// Whether a text of an object is one line of a key, whatever the texts around it are.
pub(super) fn is_line(text: &str) -> bool {
    let text = text.trim_ascii().as_bytes();
    run(text) == text.len() && (is_key_line(text, 0..text.len()) || is_wide(text))
}

/// Whether these digits, which are a whole text or line, are a line of a key of unusual width: neither text in base64
/// nor a checksum with its padding.
fn is_wide(digits: &[u8]) -> bool {
    WIDE.contains(&digits.len())
        && !digits.ends_with(b"=")
        && !digits.starts_with(b"H4sI")
        && is_sheer_noise(digits)
        && !is_text(digits)
}

/// Whether the digits are text in base64.
fn is_text(digits: &[u8]) -> bool {
    crate::encoded::decoded(digits).is_some_and(|text| text.is_ascii())
}

/// Whether these base64 digits, padding included, are one whole line of a key, wherever they stand: nobody else writes
/// as many, and as random ones. An id of a request is as long: of S3, `HostID` and `x-amz-id-2`.
pub(super) fn is_key_line(text: &[u8], digits: Range<usize>) -> bool {
    let line = &text[digits.clone()];
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    if !WIDE.contains(&line.len()) || !line.iter().all(is_digit) {
        return false;
    }
    if !LINES.contains(&line.len()) {
        return is_alone(text, &digits) && is_wide(line);
    }
    // `H4sI` begins data that gzip packed.
    is_noise(line) && is_unnamed(&text[..digits.start]) && !line.starts_with(b"H4sI")
}

/// Whether the text in front of digits does not call them an id.
fn is_unnamed(front: &[u8]) -> bool {
    let front = &front[front.len().saturating_sub(24)..];
    let name = front.iter().rposition(|byte| !matches!(byte, b' ' | b'"' | b'\'' | b':' | b'=' | b'\\' | b'>'));
    let name = name.map_or(&front[..0], |last| &front[..=last]);
    match name.strip_suffix(b"-2").unwrap_or(name) {
        [.., b'I', b'D' | b'd'] => false,
        [before @ .., b'i', b'd'] => before.last().is_some_and(u8::is_ascii_alphanumeric),
        _ => true,
    }
}

/// Whether nothing else stands in the line: only the runtime's prefix, or the name of a log's message and its quotes.
fn is_alone(text: &[u8], digits: &Range<usize>) -> bool {
    const FIELDS: &[&[u8]] = &[b"msg=\"", b"\"msg\":\"", b"\"message\":\"", b"\"log\":\""];
    let front = &text[digits.start.saturating_sub(FRONT)..digits.start];
    let begins = memchr::memrchr(b'\n', front).map(|end| end + 1).or_else(|| (digits.start <= FRONT).then_some(0));
    let behind = text.get(digits.end);
    if behind.is_none_or(u8::is_ascii_whitespace) {
        let Some(front) = begins.map(|begins| &front[begins..]) else { return false };
        return PREFIX.find(front).is_some_and(|prefix| prefix.end() == front.len());
    }
    matches!(behind, Some(b'"' | b'\\')) && FIELDS.iter().any(|field| front.ends_with(field))
}

/// How many of the digits behind `start` may belong to something in front of a line of a key: to an escape (`\n`, `\u0020`,
/// `%20`), a colour code, or a sign such as that of a diff.
pub(super) fn fronts(text: &[u8], start: usize) -> impl Iterator<Item = usize> {
    let (before, run) = (start.checked_sub(1).map(|at| text[at]), &text[start..]);
    let first = run.first().copied().unwrap_or_default();
    let letter = before == Some(b'\\') && matches!(first, b'n' | b'r' | b't');
    let unicode = before == Some(b'\\') && first == b'u';
    let percent = before == Some(b'%') && run.iter().take(2).all(u8::is_ascii_hexdigit);
    let sign = matches!(first, b'+' | b'-' | b'/');
    let parameters = run.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    let colour = matches!(before, Some(b'[' | b';')) && run.get(parameters) == Some(&b'm');
    // An escape is surely none of the digits.
    let surely = usize::from(letter);
    let others = [(unicode, 5), (percent, 2), (sign, 1), (colour, parameters + 1)];
    std::iter::once(surely).chain(others.into_iter().filter(|(is, _)| *is).map(|(_, length)| length))
}

/// Whether these base64 digits are random: neighbours are often of different classes.
pub(super) fn is_noise(digits: &[u8]) -> bool {
    // Of 64 random digits 41 neighbours differ, with a deviation of 4; in names about 20.
    8 * changes(digits) >= 3 * digits.len() && is_random(digits)
}

/// The same for digits whose number says nothing, so that a name of many short words is none.
fn is_sheer_noise(digits: &[u8]) -> bool {
    20 * changes(digits) >= 9 * digits.len() && is_random(digits)
}

/// How many neighbours are of different classes.
fn changes(digits: &[u8]) -> usize {
    let class = |byte: &u8| match byte {
        b'A'..=b'Z' => 0,
        b'a'..=b'z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    digits.windows(2).filter(|pair| class(&pair[0]) != class(&pair[1])).count()
}

/// The short last line of a key behind its whole line that ends at `from`, in the same text.
pub(super) fn last_behind(text: &[u8], from: usize) -> Option<Range<usize>> {
    let gap = |byte: &&u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b',' | b'\\');
    let gap = text[from..].iter().take(8).take_while(gap).count();
    let escape = gap > 0 && text[from + gap - 1] == b'\\' && matches!(text.get(from + gap), Some(b'n' | b'r'));
    let start = from + gap + usize::from(escape);
    let digits = start..start + run(&text[start..]);
    (gap > 0 && digits.len() < LINES[2] && is_last(&text[digits.clone()])).then_some(digits)
}

/// The parts of a text that belong to something public. `before`: the lines in front of it do.
pub(super) fn public_parts(text: &[u8], before: bool) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut begun = before.then_some(0);
    for border in BORDER.find_iter(text) {
        let first_line = &text[border.start()..text.len().min(border.start() + FIRST_LINE)];
        let begins_here = |what: &Regex| what.find(first_line).is_some_and(|hit| hit.start() == 0);
        parts.extend(begun.map(|begun| begun..border.start()));
        begun = (begins_here(&PUBLIC) && !begins_here(&BEGIN)).then_some(border.end());
    }
    parts.extend(begun.map(|begun| begun..text.len()));
    parts
}

fn ends_public(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"-END ").or_else(|| memchr::memmem::find(text, b"---- END ")).is_some()
}

/// The digits in a message that is one line of a key, perhaps the last one: one key may come as many Events, in any
/// order, each of which is seen alone.
pub(super) fn in_message(text: &str) -> Option<Span> {
    let text = text.trim_ascii_end();
    // `(combined from similar events): `
    let from = text.rfind(|c: char| c.is_ascii_whitespace()).map_or(0, |at| at + 1);
    let last = &text[from..];
    let digits = last.as_bytes();
    if run(digits) != digits.len() || digits.starts_with(b"H4sI") {
        return None;
    }
    let alone = from == 0 && digits.len() <= LINES[2] && is_last(digits);
    let of_width = LINES.contains(&digits.len()) && is_noise(digits);
    // A checksum or a public key behind its name ends in padding, or is longer.
    let behind_words = (BEHIND_WORDS..=*WIDE.end()).contains(&digits.len()) && !digits.ends_with(b"=");
    let fits = if from == 0 { digits.len() >= OF_MESSAGE } else { behind_words };
    let noise = (of_width || (fits && is_sheer_noise(digits))) && is_unnamed(&text.as_bytes()[..from]);
    (alone || (noise && !is_text(digits))).then(|| span(text.as_bytes(), from..text.len()))
}

/// The span that masks these digits.
pub(super) fn span(line: &[u8], digits: Range<usize>) -> Span {
    let value = line[digits.clone()].to_vec();
    Span::new(digits, RULE, value)
}

/// Whether this span is a whole line of a key.
pub(super) fn is_whole_line(text: &[u8], span: &Span) -> bool {
    span.rule == RULE && is_key_line(text, span.at.clone())
}

/// Masks the digits without the line ends around them, raw or escaped.
fn mask(line: &[u8], mut at: Range<usize>, spans: &mut Vec<Span>) {
    loop {
        let body = &line[at.clone()];
        let Some(first) = body.first() else { return };
        let escape = body.iter().take_while(|b| **b == b'\\').count();
        if first.is_ascii_whitespace() {
            at.start += 1;
        } else if escape > 0 && matches!(body.get(escape), Some(b'n' | b'r' | b't')) {
            at.start += escape + 1;
        } else {
            break;
        }
    }
    let digits = line[at.clone()].iter().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    let value = digits.copied().collect();
    spans.push(Span::new(at, RULE, value));
}

/// What the lines so far say about the next one.
pub(super) enum PemState {
    /// At the beginning: lines of nothing but base64 are held until it is known whether they end a key.
    Start(Vec<u8>),
    /// In a key: at most this many more bytes, and the column where the digits of its last line began.
    Inside { left: usize, column: Option<usize> },
    /// In a key whose lines each stand in a field of a log line, behind the bytes `lead` (`msg="`, `"message":"`); at
    /// most this many more bytes, and lines of others.
    Framed { left: usize, others: usize, lead: Vec<u8> },
    /// In a certificate or a public key: at most this many more bytes, and lines of others.
    Public { left: usize, others: usize },
    /// Behind a whole line of a key that stood alone: its short last line may follow, behind at most this many lines of
    /// others.
    Below { others: usize },
    /// Not in a key.
    Outside,
}

impl Default for PemState {
    fn default() -> Self {
        Self::Start(Vec::new())
    }
}

/// How to treat a line.
pub(super) enum PemVerdict {
    /// Judge it like any other line.
    Plain,
    /// Hold it back, in the state.
    Held,
    /// Judge it like any other line, after the lines that were held back: as a key, as something public, or as
    /// ordinary lines.
    Release { held: Vec<u8>, key: bool, public: bool },
    /// This part of it is a key.
    Key(Range<usize>),
}

impl PemState {
    /// For texts that are lines of a key only if a BEGIN stands in one in front of them.
    pub(super) const fn outside() -> Self {
        Self::Outside
    }

    /// Whether every line must be shown to [`State::next`].
    pub(super) fn watches(&self) -> bool {
        !matches!(self, Self::Outside)
    }

    /// A line, its end included.
    pub(super) fn next(&mut self, line: &[u8]) -> PemVerdict {
        match self {
            Self::Outside => PemVerdict::Plain,
            Self::Start(held) => {
                let digits = digits(line);
                let whole = PREFIX.find(line).is_some_and(|prefix| digits.start <= prefix.end());
                let some =
                    digits.len() >= FULL || (!held.is_empty() && !digits.is_empty() && digits.len().is_multiple_of(4));
                if whole && some && held.len() + line.len() <= LONGEST {
                    held.extend_from_slice(line);
                    return PemVerdict::Held;
                }
                let held = std::mem::take(held);
                *self = Self::Outside;
                let key = !held.is_empty() && END.is_match(line);
                PemVerdict::Release { held, key, public: !key && ends_public(line) }
            }
            Self::Inside { left, column } => {
                let digits = digits(line);
                let header = line.trim_ascii().is_empty() || is_header(line);
                if *left < line.len() || END.is_match(line) || (digits.is_empty() && !header) {
                    *self = Self::Outside;
                    return PemVerdict::Plain;
                }
                *left -= line.len();
                if header {
                    return PemVerdict::Plain;
                }
                if digits.len() < FULL {
                    // A key's last line may be short, but has whole groups right below the others; a word does not.
                    let below =
                        *column == Some(digits.start) || PREFIX.find(line).is_some_and(|it| it.end() == digits.start);
                    let last = below && digits.len().is_multiple_of(4);
                    *self = Self::Outside;
                    return if last { PemVerdict::Key(digits) } else { PemVerdict::Plain };
                }
                *column = Some(digits.start);
                PemVerdict::Key(digits)
            }
            Self::Public { left, others } => {
                let own =
                    Runs::new(line, 0).any(|run| LINES.iter().any(|whole| (*whole..*whole + 2).contains(&run.len())));
                let less = (left.checked_sub(line.len()), others.checked_sub(usize::from(!own)));
                *self = match less {
                    (Some(left), Some(others)) if !BEGIN.is_match(line) && !ends_public(line) => {
                        Self::Public { left, others }
                    }
                    _ => Self::Outside,
                };
                PemVerdict::Plain
            }
            Self::Below { others } => {
                let digits = digits(line);
                let front = &line[..digits.start];
                let alone = PREFIX.find(front).is_some_and(|prefix| prefix.end() == front.len())
                    || front.ends_with(b"\"")
                    || front.ends_with(b"'");
                if alone && digits.len() < LINES[2] && is_last(&line[digits.clone()]) {
                    *self = Self::Outside;
                    return PemVerdict::Key(digits);
                }
                match others.checked_sub(1) {
                    Some(less) => *others = less,
                    None => *self = Self::Outside,
                }
                PemVerdict::Plain
            }
            Self::Framed { left, others, lead } => {
                let found = Self::framed(line, left, others, lead).filter(|_| !END.is_match(line));
                found.unwrap_or_else(|| {
                    *self = Self::Outside;
                    PemVerdict::Plain
                })
            }
        }
    }

    /// The digits behind the field's name. A line of another writer may have a field of that name, but no digits in it.
    fn framed(line: &[u8], left: &mut usize, others: &mut usize, lead: &[u8]) -> Option<PemVerdict> {
        *left = left.checked_sub(line.len())?;
        if let Some(digits) = field(line, lead) {
            return Some(PemVerdict::Key(digits));
        }
        *others = others.checked_sub(1)?;
        Some(PemVerdict::Plain)
    }

    /// Whether the next line belongs to something public.
    pub(super) fn is_public(&self) -> bool {
        matches!(self, Self::Public { .. })
    }

    /// To be called after a line was judged: it may begin a key that continues on the next line. `whole`: it contains a
    /// whole line of a key.
    pub(super) fn after(&mut self, line: &[u8], whole: bool) {
        let begins = |text: &[u8]| {
            let last = BEGIN.find_iter(text).last().map(|begin| begin.end());
            last.is_some_and(|begin| !END.is_match(&text[begin..]))
        };
        let encoded = || {
            let last = ENCODED.find_iter(line).last().filter(|hit| line[hit.end()..].trim_ascii().is_empty());
            last.and_then(|hit| crate::encoded::decoded(hit.as_bytes())).is_some_and(|text| begins(&text))
        };
        if begins(line) {
            let begin = BEGIN.find_iter(line).last().map_or(0, |begin| begin.start());
            *self = match lead(line, begin) {
                Some(lead) => Self::Framed { left: LONGEST, others: OTHERS, lead },
                None => Self::Inside { left: LONGEST, column: None },
            };
        } else if encoded() {
            *self = Self::Inside { left: LONGEST, column: None };
        } else if matches!(self, Self::Outside | Self::Below { .. }) {
            if public_parts(line, false).last().is_some_and(|part| part.end == line.len()) {
                *self = Self::Public { left: LONGEST, others: OTHERS };
            } else if whole {
                *self = Self::Below { others: OTHERS };
            }
        }
    }

    /// At the end of the stream: lines still held back are not a key.
    pub(super) fn end(&mut self) -> Vec<u8> {
        match std::mem::replace(self, Self::Outside) {
            Self::Start(held) => held,
            Self::Inside { .. } | Self::Framed { .. } | Self::Public { .. } | Self::Below { .. } | Self::Outside => {
                Vec::new()
            }
        }
    }
}

/// Name and separator of the field in which a key begins, if its line contains no more of the key than the BEGIN.
fn lead(line: &[u8], begin: usize) -> Option<Vec<u8>> {
    let field = BEGIN.find_at(line, begin)?;
    let behind = field.end()..line.len();
    let more = memchr::memmem::find(&line[behind.clone()], b"[REDACTED:pem:").is_some();
    let more = more || !stray(line, behind, false).is_empty();
    let alone = !more && matches!(line.get(field.end()), Some(b'"' | b'\'' | b' '));
    let front = &line[begin.saturating_sub(LEAD)..begin];
    // In a field with quotes, words may stand in front of the key.
    let quote = line.get(field.end()).filter(|byte| matches!(byte, b'"' | b'\''));
    let opening = quote.and_then(|quote| front.iter().rposition(|byte| byte == quote)).unwrap_or(front.len());
    let is_separator = |byte: &u8| matches!(byte, b':' | b'=');
    let separator = front[..opening].iter().rposition(is_separator).filter(|_| alone)?;
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'{' | b'[');
    let start = front[..separator].iter().rposition(is_end).map_or(0, |at| at + 1);
    (separator > start).then(|| front[start..=separator].to_vec())
}

/// The digits in that field, if it can be a line of a key: alone, or behind words. The last line may be short, but has
/// whole groups; all lines contain capitals or digits, unlike words.
fn field(line: &[u8], lead: &[u8]) -> Option<Range<usize>> {
    let mut from = memchr::memmem::find(line, lead)? + lead.len();
    from += line[from..].iter().take(8).take_while(|byte| matches!(byte, b' ' | b'\\' | b'"' | b'\'')).count();
    let ends = |byte: &u8| matches!(byte, b'"' | b'\'' | b'\\');
    let rest = &line[from..];
    let content = &rest[..rest.iter().position(ends).unwrap_or(rest.len())];
    let first = from..from + run(content);
    let goes_on = line.get(first.end).is_some_and(|byte| !byte.is_ascii_whitespace() && !b"\"'\\,".contains(byte));
    let mixed = line[first.clone()].iter().any(|byte| !byte.is_ascii_lowercase());
    let fits = |digits: &[u8]| digits.len().is_multiple_of(4) || (digits.len() >= OF_MESSAGE && is_noise(digits));
    if !first.is_empty() && !goes_on && mixed && fits(&line[first.clone()]) {
        return Some(first);
    }
    let content = content.trim_ascii_end();
    let start = content.iter().rposition(u8::is_ascii_whitespace)? + 1;
    let last = &content[start..];
    let of_key = last.len() >= FULL && run(last) == last.len() && (is_last(last) || (fits(last) && is_noise(last)));
    of_key.then_some(from + start..from + content.len())
}

/// The base64 at the end of a line, ignoring a quote, an escaped line end or a colour code behind it.
pub(super) fn digits(line: &[u8]) -> Range<usize> {
    let mut end = line.trim_ascii_end().len();
    loop {
        let rest = &line[..end];
        if let Some(colour) = COLOUR_BEHIND.find(&rest[rest.len().saturating_sub(COLOUR)..]) {
            end -= colour.len();
        } else if rest.ends_with(b"\\n") || rest.ends_with(b"\\r") {
            end -= 2;
        } else if rest.ends_with(b"\"") || rest.ends_with(b"'") || rest.ends_with(b",") {
            end -= 1;
        } else {
            break;
        }
    }
    let padding = line[..end].iter().rev().take(2).take_while(|b| **b == b'=').count();
    let is_digit = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let run = line[..end - padding].iter().rev().take_while(is_digit).count();
    if run == 0 {
        return end..end;
    }
    let start = end - padding - run;
    let colour = fronts(line, start).last().filter(|_| matches!(line[..start].last(), Some(b'[' | b';')));
    start + colour.unwrap_or(0)..end
}

/// `Proc-Type: 4,ENCRYPTED`, `DEK-Info: …` in front of the digits of an encrypted key.
fn is_header(line: &[u8]) -> bool {
    [&b"Proc-Type:"[..], b"DEK-Info:", b"Comment:", b"Version:"]
        .iter()
        .any(|name| memchr::memmem::find(line, name).is_some())
}

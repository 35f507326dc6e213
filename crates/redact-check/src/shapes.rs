//! The few shapes that the check knows by itself, written by hand and stricter than the rules: each hit in redacted
//! text is a mistake of the rules. A secret without a shape is found by its exact value, or not at all.

use std::ops::Range;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use memchr::memmem;

use crate::{Cost, tokens::BLANK, words};

/// Bytes before a hint that a judge may read.
pub(super) const BEHIND: usize = 1 << 10;
/// Bytes from a hint's first byte on that a judge may read.
pub(super) const AHEAD: usize = 8 << 10;

/// A hint and the text around it, with redaction's tokens blanked.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// At most [`BEHIND`] bytes before the hint, and at most [`AHEAD`] bytes from its first byte on.
    pub(super) text: &'a [u8],
    /// Where the hint begins.
    pub(super) at: usize,
    /// Bytes of the hint.
    pub(super) hint: usize,
}

/// Most bytes between two lines of a key.
const NEXT_LINE: usize = 1 << 10;

type Judge = fn(Around<'_>) -> Option<Range<usize>>;

/// A shape: its name in reports, its hints (it contains one of them, in any case of letters), and the judge.
pub(super) struct SecretShape {
    pub(super) rule: &'static str,
    pub(super) hints: &'static [&'static str],
    judge: Judge,
    pub(super) cost: Cost,
}

impl SecretShape {
    /// What must not leave: of a key each line, else one range.
    pub(super) fn hits(&self, around: Around<'_>) -> impl Iterator<Item = Range<usize>> {
        let is_key = self.cost > Cost::Line;
        let next = move |line: &Range<usize>| if is_key { line_of_key(around, line.end) } else { None };
        std::iter::successors((self.judge)(around), next)
    }
}

const fn shape(rule: &'static str, hints: &'static [&'static str], judge: Judge) -> SecretShape {
    SecretShape { rule, hints, judge, cost: Cost::Line }
}

/// A key's shape costs the object: more than what is found of the key may have come out.
const fn key(hints: &'static [&'static str], judge: Judge) -> SecretShape {
    SecretShape { cost: Cost::Object, ..shape("check-pem", hints, judge) }
}

/// Formats: those of the providers' documentation; RFC 7519, 7516, 7468, 3986.
pub(super) static SHAPES: &[SecretShape] = &[
    shape("check-aws-key-id", &["AKIA", "ASIA"], aws_key_id),
    shape("check-aws-session-token", &["FwoG", "IQoJ", "FQoG"], aws_session),
    shape(
        "check-presigned-query",
        &[
            "x-amz-signature",
            "x-amz-credential",
            "x-amz-security-token",
            "x-goog-signature",
            "x-goog-credential",
            "?signature",
            "&signature",
            "u0026signature",
            "%26signature",
            "?sig",
            "&sig",
            "amp;signature",
            "amp;sig",
            "u0026sig",
            "%26sig",
        ],
        presigned,
    ),
    shape("check-azure-key", &["accountkey=", "sharedaccesskey=", "sharedaccesssignature="], azure),
    shape("check-jwt", &["eyJ"], jwt),
    key(
        &["PRIVATE KEY-----", "PRIVATE KEY BLOCK-----", "PRIVATE%20KEY-----", "PRIVATE+KEY-----", "PRIVATE KEY ----"],
        private_key,
    ),
    key(&["LS0tLS1CRUdJTi"], encoded_private_key),
    key(&["Private-Lines: "], |around| line_of_key(around, around.after())),
    shape("check-vendor-token", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], |a| plain(a, 36, 36, b"")),
    shape("check-vendor-token", &["github_pat_"], |a| plain(a, 40, 11, b"_")),
    shape("check-vendor-token", &["glpat-"], |a| plain(a, 20, 20, b"_-")),
    shape("check-vendor-token", &["xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-"], slack),
    shape("check-vendor-token", &["hooks.slack.com/services/", "hooks.slack.com\\/services\\/"], slack_hook),
    shape("check-vendor-token", &["sk_live_", "rk_live_"], |a| plain(a, 20, 20, b"")),
    shape("check-vendor-token", &["npm_"], |a| plain(a, 36, 36, b"")),
    shape("check-url-userinfo", &["://", ":\\/\\/"], userinfo),
    shape("check-url-userinfo", &["@tcp(", "@unix("], source_name),
];

impl<'a> Around<'a> {
    fn hint(&self) -> &'a [u8] {
        &self.text[self.at..self.at + self.hint]
    }

    fn after(&self) -> usize {
        self.at + self.hint
    }

    /// Whether the hint begins a word: after the end of an escape, or after a byte that is not part of a word.
    fn begins(&self) -> bool {
        let before = &self.text[..self.at];
        match before {
            [.., last] if !last.is_ascii_alphanumeric() => !matches!(last, b'+' | b'/' | b'_'),
            [] | [.., b'\\', b'n' | b'r' | b't'] | [.., b'%', _, _] | [.., b'\\', b'u', _, _, _, _] => true,
            // The end of a colour: `ESC [ 3 1 m`.
            [start @ .., b'm'] => {
                let digits = |byte: &u8| byte.is_ascii_digit() || *byte == b';';
                start.iter().rposition(|byte| !digits(byte)).is_some_and(|at| start[at] == b'[')
            }
            _ => false,
        }
    }

    /// Where the run of bytes of this class that begins at `from` ends.
    fn run(&self, from: usize, class: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        from + rest.iter().position(|byte| !class(*byte)).unwrap_or(rest.len())
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-')
}

fn is_digit64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// The bytes of a value in a query: base64 may be percent-encoded there, and JSON may escape its slashes.
fn is_in_query(byte: u8) -> bool {
    is_base64(byte) || matches!(byte, b'%' | b'.' | b'~' | b'\\')
}

fn aws_key_id(around: Around<'_>) -> Option<Range<usize>> {
    let end = around.run(around.after(), |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let exact = matches!(around.hint(), b"AKIA" | b"ASIA");
    (exact && around.begins() && end - around.after() >= 16).then_some(around.at..end)
}

fn aws_session(around: Around<'_>) -> Option<Range<usize>> {
    let end = around.run(around.at, is_in_query);
    let exact = matches!(around.hint(), b"FwoG" | b"IQoJ" | b"FQoG");
    (exact && around.begins() && end - around.at >= 120).then_some(around.at..end)
}

fn presigned(around: Around<'_>) -> Option<Range<usize>> {
    let rest = &around.text[around.after()..];
    let equals = [&b"="[..], b"%3d", b"%253d", b"\\u003d"]
        .into_iter()
        .find(|equals| rest.len() >= equals.len() && rest[..equals.len()].eq_ignore_ascii_case(equals))?;
    let from = around.after() + equals.len();
    let value = from..around.run(from, is_in_query);
    let hint = around.hint().to_ascii_lowercase();
    let enough = if hint.ends_with(b"sig") {
        40
    } else if hint.starts_with(b"x-") {
        16
    } else {
        // Any query may have a signature; one with an access id beside it belongs to a store.
        let text = around.text[around.at.saturating_sub(BEHIND)..(value.end + BEHIND).min(around.text.len())]
            .to_ascii_lowercase();
        let company = [&b"awsaccesskeyid"[..], b"googleaccessid"];
        company.iter().any(|word| memmem::find(&text, word).is_some()).then_some(16)?
    };
    (value.len() >= enough).then_some(value)
}

fn azure(around: Around<'_>) -> Option<Range<usize>> {
    // A shared access signature is a query itself.
    let value = around.after()..around.run(around.after(), |byte| is_in_query(byte) || byte == b'&');
    let enough = if around.hint().to_ascii_lowercase().starts_with(b"account") { 80 } else { 24 };
    (value.len() >= enough).then_some(value)
}

fn jwt(around: Around<'_>) -> Option<Range<usize>> {
    if around.hint() != b"eyJ" || !around.begins() {
        return None;
    }
    let mut end = around.run(around.at, is_digit64);
    if end - around.at < 12 {
        return None;
    }
    let mut long = 0;
    for _ in 0..4 {
        if around.text.get(end) != Some(&b'.') {
            break;
        }
        let next = around.run(end + 1, is_digit64);
        long += usize::from(next - end > 8);
        end = next;
    }
    // Of a JWT claims and signature are long; of a JWE ciphertext and tag are, while its key may be empty.
    (long >= 2).then_some(around.at..end)
}

/// The first base64 of a key after its BEGIN line, or in front of its END line, if it is present and unmasked.
fn private_key(around: Around<'_>) -> Option<Range<usize>> {
    let front = &around.text[..around.at];
    // As they are written, of RFC 4716, and encoded for a URL.
    let begin = [&b"---BEGIN "[..], b"---- BEGIN ", b"---BEGIN%20", b"---BEGIN+"].map(|mark| (mark, true));
    let end = [&b"---END "[..], b"---- END ", b"---END%20", b"---END+"].map(|mark| (mark, false));
    let from = front.len().saturating_sub(48);
    let place = |(mark, begins): (&[u8], bool)| Some((from + memmem::rfind(&front[from..], mark)?, mark.len(), begins));
    let (at, mark, begins) = begin.into_iter().chain(end).filter_map(place).max()?;
    // The words of a label (RFC 7468) and nothing else: a token in its place is no key's beginning.
    let label = &front[at + mark..];
    if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || b" %+".contains(byte)) {
        return None;
    }
    if begins {
        return line_of_key(around, around.after());
    }
    // The first line behind another border, or behind what redaction has masked.
    let border = memmem::rfind(&front[..at], b"----").max(memchr::memrchr(BLANK, &front[..at]));
    line_of_key(around, border.map_or(0, |border| border + 1)).filter(|line| line.end <= at)
}

/// The next line of a key, close behind its first line or another one.
fn line_of_key(around: Around<'_>, mut from: usize) -> Option<Range<usize>> {
    let body = &around.text[from..(from + NEXT_LINE).min(around.text.len())];
    // Behind a stray first line of a key, PuTTY's public lines may follow.
    let stops = [memmem::find(body, b"----"), memchr::memchr(BLANK, body), memmem::find(body, b"Public-Lines")];
    let stop = stops.into_iter().flatten().min().unwrap_or(body.len());
    let stop = from + stop;
    while from < stop {
        // `%2B`, `%2F`: encoded for a URL.
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'%');
        let end = around.run(from, is_digit).min(stop);
        if end - from >= 40 && words::looks_random(&around.text[from..end]) {
            return Some(from..end);
        }
        from = end + 1;
    }
    None
}

fn encoded_private_key(around: Around<'_>) -> Option<Range<usize>> {
    if around.hint() != b"LS0tLS1CRUdJTi" {
        return None;
    }
    let end = around.run(around.at, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    // Its first line and the beginning of its second one.
    let digits = &around.text[around.at..end.min(around.at + 160)];
    let text = STANDARD_NO_PAD.decode(&digits[..digits.len() / 4 * 4]).ok()?;
    let key = memmem::find(&text, b"PRIVATE KEY")?;
    (text.len() - key >= 60).then_some(around.at..end)
}

/// A prefix and at least `least` letters, digits or bytes of `more`; at least `letters` of them are letters or digits.
fn plain(around: Around<'_>, least: usize, letters: usize, more: &[u8]) -> Option<Range<usize>> {
    // In a path or URL: base64 with these two bytes has neither `-` nor `_`, which are part of each hint.
    let in_path = matches!(around.text[..around.at].last(), Some(b'/' | b'+'));
    if around.hint().iter().any(u8::is_ascii_uppercase) || !(around.begins() || in_path) {
        return None;
    }
    let end = around.run(around.after(), |byte| byte.is_ascii_alphanumeric() || more.contains(&byte));
    let value = &around.text[around.after()..end];
    let enough = value.len() >= least && value.iter().filter(|byte| byte.is_ascii_alphanumeric()).count() >= letters;
    enough.then_some(around.at..end)
}

fn slack(around: Around<'_>) -> Option<Range<usize>> {
    plain(around, 20, 16, b"-").filter(|at| around.text[at.clone()].iter().any(u8::is_ascii_digit))
}

fn slack_hook(around: Around<'_>) -> Option<Range<usize>> {
    let value =
        around.after()..around.run(around.after(), |byte| byte.is_ascii_alphanumeric() || b"/\\".contains(&byte));
    (value.len() >= 30).then_some(value)
}

fn userinfo(around: Around<'_>) -> Option<Range<usize>> {
    let from = around.after();
    let ends = |byte: u8| byte.is_ascii_whitespace() || byte.is_ascii_control() || b"\"'`<>\\/?#".contains(&byte);
    let mut end = around.run(from, |byte| !ends(byte));
    // An escaped `&` or `=` does not end a password.
    while let Some(behind) = escaped_sign(&around.text[end..]).filter(|_| end - from < 512) {
        end = around.run(end + behind, |byte| !ends(byte));
    }
    let end = end.min(from + 512);
    let authority = &around.text[from..end];
    let at = memchr::memrchr(b'@', authority)?;
    let colon = memchr::memchr(b':', &authority[..at])?;
    if authority[..colon].contains(&b'@') || authority.get(at + 1).is_none_or(|byte| !byte.is_ascii_alphanumeric()) {
        return None;
    }
    secret(around, from + colon + 1..from + at)
}

/// Bytes of `\u0026` or `\u003d`, with any number of backslashes.
fn escaped_sign(text: &[u8]) -> Option<usize> {
    let slashes = text.iter().take_while(|byte| **byte == b'\\').count();
    let code = text.get(slashes..slashes + 5).filter(|_| slashes > 0)?.to_ascii_lowercase();
    matches!(code.as_slice(), b"u0026" | b"u003d").then_some(slashes + 5)
}

/// `user:password@tcp(host:3306)/database`
fn source_name(around: Around<'_>) -> Option<Range<usize>> {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`\\=".contains(byte);
    let from = around.text[..around.at].iter().rposition(ends).map_or(0, |at| at + 1);
    let colon = from + memchr::memchr(b':', &around.text[from..around.at])?;
    // A list or a token may precede the user.
    let user = around.text[from..colon].rsplit(|byte| matches!(*byte, b'[' | b']' | BLANK)).next().unwrap_or_default();
    let value = colon + 1..around.at;
    let is_user = !user.is_empty() && !user.iter().any(|byte| b"/@".contains(byte));
    let says = around.text[value.clone()].iter().any(u8::is_ascii_alphanumeric);
    secret(around, value).filter(|_| is_user && says)
}

/// A password, unless it is a reference to a variable, or only stars or redaction's tokens.
fn secret(around: Around<'_>, at: Range<usize>) -> Option<Range<usize>> {
    let text = &around.text[at.clone()];
    let mut value = text.iter().copied().filter(|byte| *byte != BLANK);
    let filler = value.clone().all(|byte| matches!(byte, b'*' | b'x' | b'X' | b'.'));
    let reference =
        value.next() == Some(b'$') && value.next().is_some_and(|b| b"({_".contains(&b) || b.is_ascii_alphabetic());
    let tokens = text.iter().take_while(|byte| **byte == BLANK).count();
    (!filler && !reference).then_some(at.start + tokens..at.end)
}

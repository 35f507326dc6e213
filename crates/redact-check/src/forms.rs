//! The forms in which a known value may have been written, as bytes to search for. They are derived here alone: the
//! check must not inherit a mistake of the rules that it checks.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

/// Shorter values occur in too many words; they count only after a name.
pub(super) const ANYWHERE: usize = 8;
/// Values shorter than this are ignored.
pub(super) const SHORTEST: usize = 3;
/// Of a longer form only this many bytes from its middle are searched for: its ends may be the same in all keys.
pub(super) const NEEDLE: usize = 48;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Bytes that give a value away wherever they occur.
pub(super) struct Needle {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Bytes of the form before them.
    pub(super) lead: usize,
}

/// The needles of one value of at least [`ANYWHERE`] bytes.
pub(super) fn needles(value: &[u8]) -> Vec<Needle> {
    let mut forms = BTreeSet::new();
    let mut add = |form: Vec<u8>| {
        if form.len() >= ANYWHERE {
            forms.insert(form);
        }
    };
    for whole in [value, lines_joined(value, b"\\n").as_slice(), lines_joined(value, b"\r\n").as_slice()] {
        add(whole.to_vec());
    }
    for escaped in escapes(value) {
        add(escaped);
    }
    for alphabet in [STANDARD, URL] {
        for skip in 0..3 {
            let once = digits(value, skip, alphabet);
            for outer in [STANDARD, URL] {
                for skip in 0..3 {
                    add(digits(&once, skip, outer));
                }
            }
            add(once);
        }
    }
    if value.contains(&b'\n') {
        let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines.filter(|line| !line.starts_with(b"-----") && line.len() >= 2 * ANYWHERE).for_each(|l| add(l.to_vec()));
    }
    forms.into_iter().map(needle).collect()
}

fn needle(form: Vec<u8>) -> Needle {
    let form = Zeroizing::new(form);
    if form.len() <= NEEDLE {
        return Needle { bytes: form, lead: 0 };
    }
    let lead = (form.len() - NEEDLE) / 2;
    Needle { bytes: Zeroizing::new(form[lead..lead + NEEDLE].to_vec()), lead }
}

fn lines_joined(value: &[u8], with: &[u8]) -> Vec<u8> {
    value.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(with)
}

/// The base64 digits that depend on the value alone, when `skip` bytes precede it.
fn digits(value: &[u8], skip: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bit = |at: usize| value.get(at / 8).map(|byte| usize::from(byte >> (7 - at % 8) & 1));
    let mut out = Vec::new();
    // Digit `n` holds the bits from 6 n on; the value begins at bit 8 * skip.
    let mut start = (8 * skip).next_multiple_of(6) - 8 * skip;
    while let Some(sextet) = (start..start + 6).try_fold(0, |sum, at| bit(at).map(|bit| sum << 1 | bit)) {
        out.push(alphabet[sextet]);
        start += 6;
    }
    out
}

/// The value percent-encoded in the usual ways, and escaped as in JSON, each once and twice.
fn escapes(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for kept in [&b"-._~"[..], b"-._~/", b""] {
        let upper = percent(value, kept, b"0123456789ABCDEF");
        forms.push(replaced(&upper, b"%20", b"+"));
        forms.push(replaced(&upper, b"%", b"%25"));
        forms.push(percent(value, kept, b"0123456789abcdef"));
        forms.push(upper);
    }
    for extra in [&b""[..], b"/", b"<>&"] {
        let once = json(value, extra);
        forms.push(json(&once, b""));
        forms.push(once);
    }
    forms
}

fn percent(value: &[u8], kept: &[u8], hex: &[u8; 16]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in value {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            out.push(*byte);
        } else {
            out.extend([b'%', hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]]);
        }
    }
    out
}

/// `extra` are bytes that some writers escape beyond what JSON asks for: PHP and Python `/`, Go `<`, `>` and `&`.
fn json(value: &[u8], extra: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in value {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            b'/' if extra.contains(byte) => out.extend(b"\\/"),
            _ if *byte < b' ' || extra.contains(byte) => out.extend(format!("\\u{byte:04x}").into_bytes()),
            _ => out.push(*byte),
        }
    }
    out
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut done = 0;
    for at in memchr::memmem::find_iter(text, from) {
        out.extend_from_slice(&text[done..at]);
        out.extend_from_slice(to);
        done = at + from.len();
    }
    out.extend_from_slice(&text[done..]);
    out
}

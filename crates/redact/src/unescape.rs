//! Decodes the text between the quotes of a JSON string and records where each byte of it was written. The callers
//! choose the strings.

/// The decoded text of a string between its quotes, and the place of each of its bytes; one more entry marks the end.
pub(super) fn unescaped(raw: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut out = Vec::with_capacity(raw.len());
    let mut places = Vec::with_capacity(raw.len() + 1);
    let mut at = 0;
    while at < raw.len() {
        let (length, decoded) = match raw[at] {
            b'\\' => escape(&raw[at..]),
            byte => (1, Escaped::Byte(byte)),
        };
        match decoded {
            Escaped::Byte(byte) => {
                out.push(byte);
                places.push(at);
            }
            Escaped::Char(c) => {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    out.push(byte);
                    places.push(at);
                }
            }
        }
        at += length;
    }
    places.push(raw.len());
    (out, places)
}

enum Escaped {
    Byte(u8),
    Char(char),
}

fn escape(rest: &[u8]) -> (usize, Escaped) {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(rest.get(at..at + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    match rest.get(1) {
        Some(b'n') => (2, Escaped::Byte(b'\n')),
        Some(b'r') => (2, Escaped::Byte(b'\r')),
        Some(b't') => (2, Escaped::Byte(b'\t')),
        Some(b'b') => (2, Escaped::Byte(8)),
        Some(b'f') => (2, Escaped::Byte(12)),
        Some(b'u') => match unit(2) {
            Some(high @ 0xd800..0xdc00) if rest.get(6..8) == Some(b"\\u") => match unit(8) {
                Some(low @ 0xdc00..0xe000) => {
                    let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    (12, Escaped::Char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)))
                }
                _ => (6, Escaped::Char(char::REPLACEMENT_CHARACTER)),
            },
            Some(code) => (6, Escaped::Char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))),
            None => (1, Escaped::Byte(b'\\')),
        },
        Some(other @ (b'"' | b'\\' | b'/')) => (2, Escaped::Byte(*other)),
        _ => (1, Escaped::Byte(b'\\')),
    }
}

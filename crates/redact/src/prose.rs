//! Whether the text behind a sensitive name is a sentence, a count or the name of an object, judged by its neighbours.
//! `value` judges the value alone, `assignments` finds its end.

/// Programs that print their own name behind a prompt: `Enter password: mysqldump: Got error: 1045`.
#[rustfmt::skip]
const PROGRAMS: &[&str] = &[
    "mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "mariadb-admin", "xtrabackup", "psql", "pg_dump", "pg_dumpall",
    "pg_restore", "pg_basebackup", "mongodump", "mongorestore", "mongosh", "restic", "kopia", "sudo", "su", "ssh", "curl", "openssl",
];
/// Bytes behind a name that are read to see whether a sentence begins there.
const WORD: usize = 32;

/// `volume "cloud-credentials" : secret "x" not found`: a blank in front of a colon joins two sentences, and the word
/// behind it does not stand alone. `rest` begins behind the colon and its blanks.
pub(super) fn goes_on(rest: &[u8]) -> bool {
    let letters = rest.iter().take(WORD).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let more =
        rest.get(letters + 1).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'"' | b'\\' | b'\''));
    letters > 1 && rest[0].is_ascii_lowercase() && rest.get(letters) == Some(&b' ') && more
}

/// Whether `value` begins a sentence: `password: secrets "x" is forbidden`, `Password: mysqldump: Got error`.
pub(super) fn begins_sentence(value: &[u8], behind: &[u8]) -> bool {
    let is = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
    if ["secret", "secrets", "configmap", "configmaps"].into_iter().any(is) {
        let quote =
            behind.strip_prefix(b" ").map(|text| &text[text.iter().take_while(|byte| **byte == b'\\').count()..]);
        return quote.is_some_and(|text| text.starts_with(b"\""));
    }
    let program = value.strip_suffix(b":").filter(|_| behind.starts_with(b" "));
    program.is_some_and(|name| PROGRAMS.iter().any(|program| name == program.as_bytes()))
}

/// `spec.password: Invalid value: "x": too short`: the value that the API server refuses begins behind these words. `None`:
/// it says only of which type the value was.
pub(super) fn behind_refusal(line: &[u8], at: usize) -> Option<usize> {
    const REFUSALS: &[&[u8]] =
        &[b"Invalid value: ", b"Unsupported value: ", b"Duplicate value: ", b"Invalid type. Given: "];
    const TYPES: &[&[u8]] = &[b"string", b"integer", b"number", b"boolean", b"object", b"array", b"null"];
    let rest = line.get(at..).unwrap_or_default();
    let Some(refusal) = REFUSALS.iter().find(|refusal| rest.starts_with(refusal)) else { return Some(at) };
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | b':' | b',');
    let value = rest[refusal.len()..].split(is_end).find(|part| !part.is_empty()).unwrap_or_default();
    (!TYPES.contains(&value)).then_some(at + refusal.len())
}

/// An unquoted number that is no secret: `pass=3 fail=0`, `first pass=1`, `api key id: 42`.
pub(super) fn is_number_of(name: &[u8], number: &[u8], behind: &[u8]) -> bool {
    if number.is_empty() || number.len() > 4 || !number.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let of_id = name.len() > 3 && name[name.len() - 3..].eq_ignore_ascii_case(b" id");
    of_id || (name.eq_ignore_ascii_case(b"pass") && (number.len() <= 2 || counts(behind)))
}

/// Whether the next name counts items that did not pass, or all.
fn counts(behind: &[u8]) -> bool {
    let name = behind.iter().position(u8::is_ascii_alphabetic).map_or(&[][..], |at| &behind[at..]);
    let is = |word: &&[u8]| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    [&b"fail"[..], b"warn", b"skip", b"error", b"total"].iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_x55_a_sentence_goes_on_behind_its_first_word() {
        for rest in ["secret \"x\" not found", "references non-existent", "driver name a.b not", "secret \\\"x\\\" not"]
        {
            assert!(goes_on(rest.as_bytes()), "{rest}");
        }
        for rest in ["hunter2 x", "hunter", "hunter # x", "Hunter x", "", "h x", "hunter, x"] {
            assert!(!goes_on(rest.as_bytes()), "{rest}");
        }
    }

    #[test]
    fn sec_x55_only_a_small_number_is_a_count() {
        for (name, number, behind, is) in [
            ("pass", "1", " second", true),
            ("PASS", "123", " FAIL=1", true),
            ("pass", "123", " second", false),
            ("pass", "12345", " fail=1", false),
            ("pass", "", " fail=1", false),
            ("password", "1", " fail=1", false),
            ("api key id", "42", "", true),
            ("api key id", "42x", "", false),
        ] {
            assert_eq!(
                is_number_of(name.as_bytes(), number.as_bytes(), behind.as_bytes()),
                is,
                "{name} {number} {behind}"
            );
        }
    }
}

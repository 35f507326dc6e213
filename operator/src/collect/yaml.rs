//! Writes objects as YAML that every reader understands the same way: one line for each value, strings quoted unless
//! every reader of YAML 1.1 or 1.2 takes them for strings.

use std::io::{self, Write};

use serde_json::Value;

/// Writes the head of a List file.
pub(super) fn list_head(into: &mut impl Write) -> io::Result<()> {
    into.write_all(b"apiVersion: v1\nkind: List\nitems:\n")
}

/// Writes one item of a List file.
pub(super) fn list_item(into: &mut impl Write, item: &Value) -> io::Result<()> {
    into.write_all(b"- ")?;
    block(into, item, 2)
}

/// Writes a file of one object.
pub(super) fn document(into: &mut impl Write, object: &Value) -> io::Result<()> {
    block(into, object, 0)
}

/// Writes a value whose first line is already indented, and its last line break.
fn block(into: &mut impl Write, value: &Value, indent: usize) -> io::Result<()> {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (at, (key, value)) in map.iter().enumerate() {
                if at > 0 {
                    blanks(into, indent)?;
                }
                scalar(into, key)?;
                into.write_all(b":")?;
                nested(into, value, indent)?;
            }
            Ok(())
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    blanks(into, indent)?;
                }
                into.write_all(b"- ")?;
                block(into, item, indent + 2)?;
            }
            Ok(())
        }
        other => {
            leaf(into, other)?;
            into.write_all(b"\n")
        }
    }
}

fn blanks(into: &mut impl Write, indent: usize) -> io::Result<()> {
    for _ in 0..indent {
        into.write_all(b" ")?;
    }
    Ok(())
}

fn nested(into: &mut impl Write, value: &Value, indent: usize) -> io::Result<()> {
    match value {
        Value::Object(map) if !map.is_empty() => {
            into.write_all(b"\n")?;
            blanks(into, indent + 2)?;
            block(into, value, indent + 2)
        }
        Value::Array(items) if !items.is_empty() => {
            into.write_all(b"\n")?;
            blanks(into, indent)?;
            block(into, value, indent)
        }
        other => {
            into.write_all(b" ")?;
            leaf(into, other)?;
            into.write_all(b"\n")
        }
    }
}

fn leaf(into: &mut impl Write, value: &Value) -> io::Result<()> {
    match value {
        Value::String(text) => scalar(into, text),
        Value::Object(_) => into.write_all(b"{}"),
        Value::Array(_) => into.write_all(b"[]"),
        other => write!(into, "{other}"),
    }
}

fn scalar(into: &mut impl Write, text: &str) -> io::Result<()> {
    if is_plain(text) {
        return into.write_all(text.as_bytes());
    }
    into.write_all(b"\"")?;
    let mut done = 0;
    for (at, c) in text.char_indices() {
        let escape = match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            // Characters that YAML counts as unprintable, and the line breaks that only YAML 1.1 knows.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                format!("\\u{:04x}", u32::from(c))
            }
            _ => continue,
        };
        into.write_all(&text.as_bytes()[done..at])?;
        into.write_all(escape.as_bytes())?;
        done = at + c.len_utf8();
    }
    into.write_all(&text.as_bytes()[done..])?;
    into.write_all(b"\"")
}

/// Words that some reader takes for a boolean, a null or a number.
const WORDS: [&str; 11] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"];

/// Whether the text begins with a letter, contains nothing special in YAML, and is not one of [`WORDS`].
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !first.is_ascii_alphabetic() || matches!(last, b' ' | b':') || bytes.len() > 1024 {
        return false;
    }
    for (at, byte) in bytes.iter().enumerate() {
        let fine = match byte {
            b':' => bytes.get(at + 1).is_some_and(|next| *next != b' '),
            b' ' => bytes.get(at + 1) != Some(&b'#'),
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'/'
            | b'('
            | b')'
            | b'+'
            | b'='
            | b'@'
            | b','
            | b';' => true,
            _ => false,
        };
        if !fine {
            return false;
        }
    }
    !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn list(items: &[Value]) -> String {
        let mut text = Vec::new();
        list_head(&mut text).unwrap();
        for item in items {
            list_item(&mut text, item).unwrap();
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_list_looks_as_kubectl_writes_it() {
        let items = [
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "herd-1", "labels": {}},
                "spec": {"containers": [{"name": "cow", "args": ["-c", "12:30"]}, {"name": "calf"}], "nodes": [[1, [2]], []]}}),
            json!({"apiVersion": "v1"}),
        ];
        let expected = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata:
    name: herd-1
    labels: {}
  spec:
    containers:
    - name: cow
      args:
      - \"-c\"
      - \"12:30\"
    - name: calf
    nodes:
    - - 1
      - - 2
    - []
- apiVersion: v1
";
        assert_eq!(list(&items), expected);
    }

    #[test]
    fn what_yaml_1_1_could_misread_is_quoted() {
        for text in [
            "on",
            "No",
            "y",
            "NULL",
            "~",
            "",
            "1e3",
            "0x1f",
            "012",
            "12:30",
            "2026-01-01",
            ".inf",
            "=",
            "<<",
            "- a",
            "a: b",
            "a #b",
            "a:",
            " a",
            "a ",
            "#a",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "[a]",
            "{a}",
            "a\nb",
            "?",
            "\u{85}",
        ] {
            assert!(!is_plain(text), "{text:?}");
        }
        for text in ["velero", "velero/velero:v1.18.3", "Back-off pulling image", "a=b", "x(y)"] {
            assert!(is_plain(text), "{text:?}");
        }
    }

    #[test]
    fn keys_are_quoted_like_values() {
        let text = list(&[json!({"data": {"on": "x", "12:30": null, "a b: c": [true]}})]);
        assert!(text.contains("    \"on\": x\n    \"12:30\": null\n    \"a b: c\":\n    - true\n"), "{text}");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[a-zA-Z0-9:# .-]{0,12}", "\\PC{0,9}", ".{0,9}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{1,8}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(items in prop::collection::vec(any_json(), 1..4)) {
            let text = list(&items);
            let back: Value = serde_saphyr::from_str(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
            prop_assert_eq!(&back["items"], &Value::from(items), "{}", text);
        }
    }
}

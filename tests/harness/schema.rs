//! Validates manifests against the published JSON Schema of `manifest.json`: types, no unknown key, and keys in the
//! schema's order. It supports only the features of JSON Schema that the file uses, and refuses all others.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

static PUBLISHED: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../docs/manifest.schema.json")).expect("docs/manifest.schema.json is JSON")
});

/// Parses a manifest for a test; fails the test if it violates `docs/manifest.schema.json`. That file is edited by
/// hand, together with `docs/bundle-format.md`.
pub fn checked(manifest: &[u8]) -> Value {
    let manifest = std::str::from_utf8(manifest).expect("manifest.json is UTF-8");
    let value: Value = serde_json::from_str(manifest).expect("manifest.json is JSON");
    let wrong = errors(&value);
    assert!(wrong.is_empty(), "manifest.json is not as docs/manifest.schema.json says: {wrong:#?}");
    let lines: BTreeSet<&str> = manifest.lines().map(|line| line.trim_end_matches([',', ']'])).collect();
    for key in ["entries", "missing", "trimmed", "permissions"] {
        for item in value[key].as_array().into_iter().flatten().map(Value::to_string) {
            assert!(lines.contains(item.trim_end_matches(']')), "{key} has one item a line: {item}");
        }
    }
    value
}

/// The manifest's violations of the schema.
pub fn errors(manifest: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    look(&PUBLISHED, manifest, "", &mut wrong);
    wrong
}

fn look(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
        let holds = match keyword.as_str() {
            "$schema"
            | "$id"
            | "$defs"
            | "title"
            | "description"
            | "required"
            | "additionalProperties"
            | "propertyNames"
            | "then" => true,
            "$ref" => {
                let place = wanted.as_str().and_then(|reference| PUBLISHED.pointer(reference.trim_start_matches('#')));
                look(place.expect("references lead somewhere"), value, at, wrong);
                true
            }
            "type" => is_a(wanted.as_str().expect("one type"), value),
            "const" => value == wanted,
            "enum" => wanted.as_array().expect("a list").contains(value),
            "minimum" => value.as_i64() >= wanted.as_i64(),
            "maxLength" => value.as_str().map(|text| text.chars().count() as u64) <= wanted.as_u64(),
            "pattern" => {
                let pattern = Regex::new(wanted.as_str().expect("a pattern")).expect("a regular expression");
                value.as_str().is_some_and(|text| pattern.is_match(text))
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.for_each(|(n, item)| look(wanted, item, &format!("{at}/{n}"), wrong));
                true
            }
            "properties" => {
                properties(schema, value, at, wrong);
                true
            }
            "anyOf" => {
                wanted.as_array().expect("a list").iter().any(|one| fits(one, value)) || {
                    // The errors of the richest alternative explain most.
                    wanted.as_array().into_iter().flatten().last().iter().for_each(|one| look(one, value, at, wrong));
                    false
                }
            }
            "not" => !fits(wanted, value),
            "if" => !fits(wanted, value) || fits(&schema["then"], value),
            other => panic!("docs/manifest.schema.json uses {other}, which the tests do not know"),
        };
        if !holds {
            wrong.push(format!("{at}: {keyword} {wanted} does not hold for {value}"));
        }
    }
    if schema["properties"].is_null() && value.is_object() {
        for (key, value) in value.as_object().into_iter().flatten() {
            for (keyword, of) in [("propertyNames", Value::from(key.as_str())), ("additionalProperties", value.clone())]
            {
                if schema[keyword].is_object() {
                    look(&schema[keyword], &of, &format!("{at}/{key}"), wrong);
                }
            }
        }
        for key in required(schema).filter(|key| value.get(key).is_none()) {
            wrong.push(format!("{at}: lacks {key}"));
        }
    }
}

fn fits(schema: &Value, value: &Value) -> bool {
    let mut wrong = Vec::new();
    look(schema, value, "", &mut wrong);
    wrong.is_empty()
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Other readers ignore an unknown key; here it is an undocumented key.
fn properties(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let (Some(known), Some(fields)) = (schema["properties"].as_object(), value.as_object()) else { return };
    // A schema without a type is a condition on these keys alone.
    let whole = schema["type"] == "object";
    let mut last = 0;
    for (key, value) in fields {
        match known.keys().position(|other| other == key) {
            Some(place) => {
                if place < last {
                    wrong.push(format!("{at}: {key} stands behind a key that it should stand in front of"));
                }
                last = place;
                look(&known[key], value, &format!("{at}/{key}"), wrong);
            }
            None if whole => wrong.push(format!("{at}: {key} is not in the schema")),
            None => {}
        }
    }
    for key in required(schema).filter(|key| !fields.contains_key(*key)) {
        wrong.push(format!("{at}: lacks {key}"));
    }
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("docs/manifest.schema.json uses the type {other}, which the tests do not know"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(source: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        look(&PUBLISHED["$defs"]["source"], source, "", &mut wrong);
        wrong
    }

    fn missing(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut missing = json!({"what": "a", "path": "a", "code": "Gone", "severity": "note", "why": "", "cure": ""});
        change(&mut missing);
        let mut wrong = Vec::new();
        look(&PUBLISHED["$defs"]["missing"], &missing, "", &mut wrong);
        wrong
    }

    #[test]
    fn what_is_not_as_the_schema_says_is_seen() {
        assert_eq!(source(&json!({"kind": "List", "path": "/api", "items": 3})), Vec::<String>::new());
        for bad in [
            json!({"kind": "Lost"}),
            json!({"path": "/api"}),
            json!({"kind": "List", "items": -1}),
            json!({"kind": "List", "items": "3"}),
            json!({"kind": "List", "colour": "red"}),
            json!({"path": "/api", "kind": "List"}),
            json!({"kind": "PodLog", "firstLine": "2026-03-01T10:00:00.5Z"}),
        ] {
            assert_ne!(source(&bad), Vec::<String>::new(), "{bad}");
        }
        assert_eq!(missing(|_| ()), Vec::<String>::new());
        assert_ne!(missing(|missing| missing["severity"] = "fatal".into()), Vec::<String>::new());
        assert_ne!(errors(&json!({})), Vec::<String>::new());
    }
}

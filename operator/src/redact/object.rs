//! API objects before they are written: what is known by its place in the object goes first, then each string is judged as text.
//! Which kinds are read is the plan's business; a Secret that slips into a list is dropped here all the same.

use serde_json::{Map, Value};

use super::{
    Redactor, config_map,
    token::{Span, Tally},
};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// In place; `false`: the object must not be collected.
pub(super) fn clean(by: &Redactor, object: &mut Value, tally: &mut Tally) -> bool {
    if object.as_object().is_some_and(is_secret_kind) {
        tally.add("secret-object");
        return false;
    }
    walk(by, object, tally);
    true
}

/// As [`clean`], but of a ConfigMap the values stay, masked.
pub(super) fn clean_config_map(by: &Redactor, object: &mut Value, tally: &mut Tally) -> bool {
    match object.as_object_mut().filter(|map| config_map::is_config_map(map)) {
        Some(map) => {
            config_map::masked(by, map, tally);
            below(by, map, tally);
            true
        }
        None => clean(by, object, tally),
    }
}

fn walk(by: &Redactor, value: &mut Value, tally: &mut Tally) {
    match value {
        Value::Object(map) => fields(by, map, tally),
        Value::Array(items) => {
            let before = items.len();
            items.retain(|item| !item.as_object().is_some_and(carries_secret));
            (items.len()..before).for_each(|_| tally.add("secret-object"));
            for item in items {
                walk(by, item, tally);
            }
        }
        Value::String(text) => string(by, text, tally),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn fields(by: &Redactor, map: &mut Map<String, Value>, tally: &mut Tally) {
    if config_map::is_config_map(map) {
        config_map::keys_only(map);
    }
    below(by, map, tally);
}

fn below(by: &Redactor, map: &mut Map<String, Value>, tally: &mut Tally) {
    if map.get("managedFields").is_some_and(Value::is_array) {
        map.shift_remove("managedFields");
    }
    if map.get(LAST_APPLIED).is_some_and(Value::is_string) {
        map.shift_remove(LAST_APPLIED);
    }
    let is_list = map.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    if is_list && let Some(Value::Array(items)) = map.get_mut("items") {
        let before = items.len();
        items.retain(|item| !item.as_object().is_some_and(is_secret_kind));
        (items.len()..before).for_each(|_| tally.add("secret-object"));
    }
    if map.get("kind").and_then(Value::as_str) == Some("ConfigMapList") {
        // The items of a typed list do not say what they are.
        let items = map.get_mut("items").and_then(Value::as_array_mut);
        items.into_iter().flatten().filter_map(Value::as_object_mut).for_each(config_map::keys_only);
    }
    for (key, value) in map.iter_mut() {
        match value {
            Value::String(url) if key.eq_ignore_ascii_case("downloadURL") => {
                download_url(by, url, tally);
            }
            Value::Object(inner) if carries_secret(inner) => {
                let text = Value::Object(std::mem::take(inner)).to_string();
                *value = Value::String(masked(by, &text, "secret-object", tally));
            }
            Value::Object(inner) if key == "redaction" => {
                // The rules may quote the very value that they hide.
                if let Some(rules) = inner.get_mut("rules")
                    && let Some(count) = rules.as_array().map(Vec::len)
                {
                    *rules = count.into();
                }
                fields(by, inner, tally);
            }
            other => walk(by, other, tally),
        }
    }
}

/// As an object of its own.
fn is_secret_kind(map: &Map<String, Value>) -> bool {
    matches!(map.get("kind").and_then(Value::as_str), Some("Secret" | "SecretList"))
}

/// Inside another object: a reference to a Secret has no data and stays.
fn carries_secret(map: &Map<String, Value>) -> bool {
    is_secret_kind(map) && ["data", "stringData", "items"].iter().any(|key| map.contains_key(*key))
}

/// Scheme, host and path tell where; the query, and credentials in front of the host, are what must go.
fn download_url(by: &Redactor, text: &mut String, tally: &mut Tally) {
    let Ok(mut url) = url::Url::parse(text) else {
        if !text.is_empty() {
            *text = masked(by, text, "download-url", tally);
        }
        return;
    };
    let query = url.query().map(str::to_owned);
    let named = !url.username().is_empty() || url.password().is_some();
    if query.is_none() && !named && url.fragment().is_none() {
        string(by, text, tally);
        return;
    }
    if query.as_deref().is_some_and(|query| query.starts_with("[REDACTED:")) {
        return;
    }
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that cannot have a user, and those have none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let mut shown = url.to_string();
    string(by, &mut shown, tally);
    let token = masked(by, query.as_deref().unwrap_or_default(), "download-url", tally);
    *text = format!("{shown}?{token}");
}

fn string(by: &Redactor, text: &mut String, tally: &mut Tally) {
    if let Some(span) = by.exact.whole(text) {
        *text = span.token(&by.key);
        tally.add(&span.rule);
    } else if let Some(clean) = by.counted_text(text, tally) {
        *text = clean;
    }
}

pub(super) fn masked(by: &Redactor, value: &str, rule: &str, tally: &mut Tally) -> String {
    tally.add(rule);
    Span::new(0..value.len(), rule, value.as_bytes().to_vec()).token(&by.key)
}

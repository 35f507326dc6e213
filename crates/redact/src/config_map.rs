//! ConfigMaps: only keys and sizes, unless the caller wants the values; then each value is masked as the file that it
//! is. The plan decides which ConfigMaps to read with values.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::{
    Redactor, names, object, settings,
    token::{Tally, hex},
    value,
};

/// A value that is more than a tenth NUL is not text: the text rules cannot read UTF-16.
const NULS: usize = 10;

/// Most digits in the size of a value; no object exceeds 1.5 MiB.
const SIZE: usize = 8;

pub(super) fn is_config_map(map: &Map<String, Value>) -> bool {
    map.get("kind").and_then(Value::as_str) == Some("ConfigMap")
}

/// Replaces each value by its size. Binary values join the others: no key is in both maps.
pub(super) fn keys_only(map: &mut Map<String, Value>) {
    for value in data(map) {
        // Also values that already look like our placeholder: anybody may have written them.
        if let Some(text) = value.as_str() {
            *value = Value::String(format!("[LEFT OUT: {} bytes]", text.len()));
        }
    }
    binary(map);
    copies(map);
}

/// Keeps the values, masked by the names in them; the text rules follow later.
pub(super) fn masked(by: &Redactor, map: &mut Map<String, Value>, tally: &mut Tally) {
    copies(map);
    for (key, value) in map.get_mut("data").and_then(Value::as_object_mut).into_iter().flatten() {
        let Value::String(text) = value else { continue };
        let nuls = text.bytes().filter(|byte| *byte == 0).count();
        if nuls * NULS > text.len() {
            *text = left_out(text.as_bytes());
        } else if by.has(settings::RULE) && is_secret(key, text) {
            object::mask(by, text, settings::RULE, tally);
        } else if let Some(clean) = settings::mask(by, text, tally) {
            *text = clean;
        }
    }
    // Last, so that the steps above never take a placeholder in the input for one of ours.
    binary(map);
}

/// Whether the key makes the value a secret, as in any object. A value that looks like [`left_out`] counts too.
fn is_secret(key: &str, text: &str) -> bool {
    let strength = names::judge(key.as_bytes());
    strength.is_some_and(|strength| is_left_out(text) || value::masks_whole(text, strength))
}

/// Some tools keep a copy of the whole object in an annotation; such copies are dropped.
fn copies(map: &mut Map<String, Value>) {
    let annotations = map.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.retain(|_, value| !value.as_str().is_some_and(|text| text.trim_start().starts_with(['{', '['])));
    }
}

fn data(map: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    map.get_mut("data").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
}

fn binary(map: &mut Map<String, Value>) {
    let Some(Value::Object(values)) = map.shift_remove("binaryData") else { return };
    let Some(data) = map.entry("data").or_insert_with(|| Value::Object(Map::new())).as_object_mut() else { return };
    for (key, value) in values {
        let text = value.as_str().unwrap_or_default();
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text);
        let said = bytes.map_or_else(|_| format!("[LEFT OUT: {} bytes]", text.len()), |bytes| left_out(&bytes));
        data.insert(key, Value::String(said));
    }
}

fn left_out(bytes: &[u8]) -> String {
    format!("[LEFT OUT: {} bytes, sha256 {}]", bytes.len(), hex(&Sha256::digest(bytes)))
}

/// Whether the text is a placeholder that this module writes in place of a value.
pub(super) fn is_left_out(text: &str) -> bool {
    let inner = text.strip_prefix("[LEFT OUT: ").and_then(|text| text.strip_suffix(']'));
    inner.is_some_and(|inner| {
        let (size, rest) = inner.split_once(" bytes").unwrap_or((inner, "?"));
        let digest = rest.strip_prefix(", sha256 ").unwrap_or(rest);
        let sized = (1..=SIZE).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_digit());
        sized && (rest.is_empty() || (digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "agents", "annotations": {"who": "me", "kapp.k14s.io/original": "{\"data\":{\"a\":\"hunter2\"}}"}},
            "data": {"config.yaml": "user: cow\npassword: hunter2\n", "password": "hunter2", "plain": "https://u:p@h/?X-Amz-Signature=0a1b2c3d4e5f60718293"},
            "binaryData": {"logo.png": "AAEC"}})
    }

    #[test]
    fn sec_x17_unless_asked_for_only_keys_and_sizes_stay() {
        let by = Redactor::new(&[], Vec::new()).unwrap();
        let mut object = config_map();
        assert!(by.object(&mut object));
        assert_eq!(object["data"]["config.yaml"], "[LEFT OUT: 28 bytes]");
        assert_eq!(
            object["data"]["logo.png"],
            "[LEFT OUT: 3 bytes, sha256 ae4b3280e56e2faf83f414a6e3dabe9d5fbe18976544c05fed121accb85b53fc]"
        );
        assert!(object["binaryData"].is_null() && object["metadata"]["annotations"]["who"] == "me");
        assert!(!object.to_string().contains("hunter2"), "{object}");
    }

    #[test]
    fn sec_x17_what_only_looks_like_our_words_is_not_believed() {
        let by = Redactor::new(&[], Vec::new()).unwrap();
        let said = left_out(b"hunter2");
        let mut object =
            json!({"kind": "ConfigMap", "data": {"a": said, "password": said, "token": "[LEFT OUT: 1 bytes]x"}});
        let mut whole = object.clone();
        assert!(by.object(&mut object));
        assert_eq!(object["data"]["a"], format!("[LEFT OUT: {} bytes]", said.len()));
        assert!(by.counted_config_map(&mut whole, &mut Tally::default()));
        assert!(whole["data"]["password"].as_str().unwrap().starts_with("[REDACTED:by-name:"), "{whole}");
        assert!(whole["data"]["token"].as_str().unwrap().starts_with("[REDACTED:by-name:"), "{whole}");
        assert!(!is_left_out("[LEFT OUT: 482910337 bytes]"), "no object is that large");
    }

    #[test]
    fn sec_x17_in_lists_and_in_other_objects_too() {
        let by = Redactor::new(&[], Vec::new()).unwrap();
        let mut untyped = config_map();
        untyped.as_object_mut().unwrap().remove("kind");
        for mut object in [
            json!({"kind": "ConfigMapList", "items": [untyped]}),
            json!({"kind": "List", "items": [config_map()]}),
            json!({"kind": "Package", "spec": {"objects": [config_map()]}}),
        ] {
            assert!(by.object(&mut object));
            assert!(!object.to_string().contains("hunter2"), "{object}");
        }
    }

    #[test]
    fn asked_for_the_values_stay_without_what_is_secret() {
        let by = Redactor::new(&[], Vec::new()).unwrap();
        let mut object = config_map();
        object["data"]["utf16"] = "p\0w\0=\0x\0".into();
        assert!(by.counted_config_map(&mut object, &mut Tally::default()));
        let text = object.to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("0a1b2c3d4e5f60718293") && !text.contains("AAEC"),
            "{text}"
        );
        assert!(
            object["data"]["config.yaml"].as_str().unwrap().starts_with("user: cow\npassword: \"[REDACTED:by-name:")
        );
        assert!(object["data"]["utf16"].as_str().unwrap().starts_with("[LEFT OUT: 8 bytes, sha256"));
        let mut secret = json!({"kind": "Secret", "data": {"a": "b"}});
        assert!(!by.counted_config_map(&mut secret, &mut Tally::default()), "a Secret is none");
    }

    #[test]
    fn what_is_said_in_place_of_a_value_stays_under_any_name() {
        let by = Redactor::new(&[], Vec::new()).unwrap();
        let said = json!({"password": "[LEFT OUT: 7 bytes]", "token": left_out(b"hunter2")});
        let mut object =
            json!({"kind": "ConfigMap", "data": {"password": "hunter2"}, "binaryData": {"token": "aHVudGVyMg=="}});
        assert!(by.object(&mut object));
        assert_eq!(object["data"], said);
        let line = object.to_string();
        assert_eq!(by.text(&line), line, "as it passes the writer");
    }

    #[test]
    fn the_values_also_pass_the_rules_for_text() {
        let by = Redactor::new(&[], Vec::new()).unwrap();
        let jwt = ["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJjb3cifQ", &"SflKxwRJ".repeat(5)].join(".");
        let pem = ["-----BEGIN RSA PRIVATE ", "KEY-----\n", &"MIIEowIBAAKCAQEAx7Jd0a5lJ2v1\n".repeat(5)].concat();
        let mut object = json!({"kind": "ConfigMap", "data": {
            "a": format!("first: line\nheader: {jwt}\n"),
            "b": format!("first: line\n{pem}"),
            "c": "args:\n- mysqldump -u cow -phunter2\n",
            "d": "cacheLimitMB: 100\nkeepLatestMaintenanceJobs: 3\ncaPassword: hunter2\n",
        }});
        assert!(by.counted_config_map(&mut object, &mut Tally::default()));
        let text = object.to_string();
        for secret in [jwt.as_str(), "MIIEowIBAAKCAQEAx7Jd0a5lJ2v1", "hunter2"] {
            assert!(!text.contains(secret), "{text}");
        }
        let plain = object["data"]["d"].as_str().unwrap();
        assert!(plain.starts_with("cacheLimitMB: 100\nkeepLatestMaintenanceJobs: 3\ncaPassword: \"[REDACTED:by-name:"));
        assert_eq!(by.text(&text), text, "as it passes the writer");
    }
}

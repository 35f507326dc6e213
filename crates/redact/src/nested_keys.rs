//! What a sensitive key says about the fields of its object: `password: {value: x}` is a password, and
//! `password: {secretKeyRef: …}` refers to one. The callers parse the objects.

use crate::names::{self, Strength};

/// Last words of fields that describe a value or refer to it: those of Kubernetes, of schemas, of certificates.
#[rustfmt::skip]
const DESCRIBE: &[&str] = &[
    "ref", "refs", "from", "name", "namespace", "kind", "type", "path", "file", "optional", "id", "ids",
    "algorithm", "size", "encoding", "policy", "format", "length", "ttl", "mode", "duration", "enabled", "version",
    "description", "title", "pattern", "required", "properties", "items", "of", "example", "labels", "annotations", "selector",
    "user", "username", "provider", "method", "url", "host", "port", "audience", "audiences", "group", "time", "at", "seconds",
    "expiration", "status", "state", "reason", "message", "usages", "count",
];
/// The same, but only as the whole name: `userKey` is a value.
const DESCRIBE_ALONE: &[&str] = &["key", "keys"];
/// Fields that contain the value itself, if any field does.
#[rustfmt::skip]
const HOLD: &[&str] = &["value", "values", "data", "plain", "plaintext", "content", "raw", "literal", "inline"];
/// A field with this prefix names something that already exists: `existingSecretPasswordKey`.
const EXISTING: &[u8] = b"existing";
/// The end of a name for several passwords.
const EACH: &[u8] = b"passwords";
/// Below several passwords, these field names may be names of people.
const WHO: &[&str] = &["user", "username", "provider", "group", "host", "example", "message"];
/// In front of `secrets`: the values below are names of objects.
const OF_OBJECTS: &[&str] = &["pull", "existing", "image"];

/// How the key in front of it classifies an object, also within an array. The `secrets` of a call to a CSI driver are
/// secrets, although a text under that key is the name of an object.
pub(super) fn holds(key: &[u8]) -> Option<Strength> {
    of(names::judge(key), key)
}

/// [`holds`] for a key that is already judged.
pub(super) fn of(judged: Option<Strength>, key: &[u8]) -> Option<Strength> {
    if let Some(strength) = judged {
        let several = strength == Strength::Strong && key.len() >= EACH.len();
        let each = several && key[key.len() - EACH.len()..].eq_ignore_ascii_case(EACH);
        return Some(if each { Strength::Each } else { strength });
    }
    let (last, before) = names::last_words(key);
    let named = OF_OBJECTS.iter().any(|word| before.eq_ignore_ascii_case(word.as_bytes()));
    (last.eq_ignore_ascii_case(b"secrets") && !named).then_some(Strength::Strong)
}

/// Classifies a field whose own name says nothing, within an object that is taken for a secret.
pub(super) fn field(outer: Strength, name: &[u8]) -> Option<Strength> {
    let (last, before) = names::last_words(name);
    if name.len() > EXISTING.len() && name[..EXISTING.len()].eq_ignore_ascii_case(EXISTING) {
        return None;
    }
    let is_in = |words: &[&str]| words.iter().any(|word| last.eq_ignore_ascii_case(word.as_bytes()));
    match outer {
        Strength::Each if before.is_empty() && is_in(WHO) => Some(Strength::Strong),
        Strength::Strong | Strength::Each if is_in(DESCRIBE) || (before.is_empty() && is_in(DESCRIBE_ALONE)) => None,
        Strength::Strong | Strength::Each => Some(Strength::Strong),
        Strength::Weak => is_in(HOLD).then_some(Strength::Weak),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_x10_what_is_below_a_sensitive_key_is_a_value_or_tells_of_one() {
        for (key, name, is) in [
            ("password", "value", true),
            ("password", "admin", true),
            ("password", "secretKeyRef", false),
            ("privateKey", "algorithm", false),
            ("privateKey", "rotationPolicy", false),
            ("token", "value", true),
            ("token", "ttl", false),
            ("auth", "ldap", false),
            ("password", "key", false),
            ("secrets", "userKey", true),
            ("node_stage_secrets", "encryptionPassphrase", true),
            ("secrets", "adminSecret", true),
            ("passwords", "user", true),
            ("userPasswords", "admin", true),
            ("passwords", "secretKeyRef", false),
            ("passwords", "policy", false),
            ("password", "user", false),
            ("password", "existingSecret", false),
            ("password", "existingSecretPasswordKey", false),
            ("password", "existing", true),
            ("secrets", "user", false),
        ] {
            let outer = holds(key.as_bytes()).expect("sensitive");
            assert_eq!(field(outer, name.as_bytes()).is_some(), is, "{key}.{name}");
        }
        for key in ["imagePullSecrets", "secretName", "config", "existingSecret"] {
            assert_eq!(holds(key.as_bytes()), None, "{key}");
        }
    }
}

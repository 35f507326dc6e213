//! Which Secrets the location of an S3 store names, even if it cannot be used, and which values in them must be masked.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_redact::Secret;
use k8s_openapi::ByteString;
use serde_json::Value;

use super::{
    CredentialSource, CustomerKey, Encryption, S3Config,
    credential::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN, source},
};
use crate::location::{
    Location,
    deployment::{EnvValue, Server},
};

/// The most Secrets that are read for one location.
const MOST_SECRETS: usize = 8;
/// The most values of a Secret that are masked.
const MOST_VALUES: usize = 64;
/// Shorter values are not keys; masking them would blank ordinary words.
const SHORTEST: usize = 8;
/// Keys of a credentials file whose values are public.
const PUBLIC: [&str; 6] =
    ["aws_access_key_id", "region", "output", "role_arn", "role_session_name", "web_identity_token_file"];

const CREDENTIAL: &str = "credential";
const CERTIFICATES: &str = "caCertRef";
const CUSTOMER_KEY: &str = "customerKeyEncryption";

/// Name, use and wanted key of each Secret.
pub(in crate::store) fn named(
    location: &Location,
    deployment: Option<&Value>,
) -> Vec<(String, &'static str, Option<String>)> {
    let config = S3Config::parse(location).ok();
    let mut all: Vec<(String, &'static str, Option<String>)> = Vec::new();
    let mut add = |name: &str, used_for, key: Option<&str>| {
        let one = (name.to_owned(), used_for, key.map(ToOwned::to_owned));
        if all.len() < MOST_SECRETS && !all.contains(&one) {
            all.push(one);
        }
    };
    match source(location, deployment).ok() {
        Some(CredentialSource::File(place)) => add(&place.name, CREDENTIAL, Some(&place.key)),
        Some(CredentialSource::Environment { access_key_id, secret_access_key, session_token }) => {
            for value in [Some(access_key_id), Some(secret_access_key), session_token].into_iter().flatten() {
                if let EnvValue::Secret(place) = value {
                    add(&place.name, CREDENTIAL, Some(&place.key));
                }
            }
        }
        Some(CredentialSource::EnvironmentOf(sets)) => {
            for set in sets {
                add(&set.name, CREDENTIAL, None);
            }
        }
        Some(CredentialSource::Ambient) | None => {}
    }
    if let Some(reference) = &location.ca_cert_ref {
        add(&reference.name, CERTIFICATES, Some(&reference.key));
    }
    match config.map(|config| config.encryption) {
        Some(Encryption::CustomerKey(CustomerKey::Secret { name, key })) => add(&name, CUSTOMER_KEY, Some(&key)),
        Some(Encryption::CustomerKey(CustomerKey::File(path))) => {
            if let Some(place) = deployment.and_then(Server::of).and_then(|server| server.mounted(&path)) {
                add(&place.name, CUSTOMER_KEY, Some(&place.key));
            }
        }
        _ => {}
    }
    all
}

/// The values of a Secret that must be masked. Too many cost only readability; too few would leak.
pub(in crate::store) fn values(
    data: &BTreeMap<String, ByteString>,
    wanted: Option<&str>,
    used_for: &str,
) -> Vec<(&'static str, Secret)> {
    if used_for == CERTIFICATES {
        return Vec::new();
    }
    let mut values = Vec::new();
    for (key, value) in data {
        let text = std::str::from_utf8(&value.0).ok().map(str::trim);
        if used_for == CUSTOMER_KEY {
            if wanted == Some(key.as_str()) {
                values.extend(text.map(|text| ("known-sse-c-key", Secret::new(text))));
                values.push(("known-sse-c-key", Secret::new(STANDARD.encode(&value.0))));
            }
            continue;
        }
        let Some(text) = text else { continue };
        let bare = [SECRET_ACCESS_KEY, SESSION_TOKEN].iter().any(|name| name.ends_with(key.as_str()));
        let of_its_own = bare || (wanted == Some(key.as_str()) && !text.contains('\n') && !text.contains('='));
        if of_its_own && !ACCESS_KEY_ID.ends_with(key.as_str()) {
            values.push(("known-secret-key", Secret::new(text)));
        }
        values.extend(
            text.lines()
                .filter_map(|line| line.split_once('='))
                .filter(|(name, _)| !PUBLIC.contains(&name.trim().to_ascii_lowercase().as_str()))
                .map(|(_, value)| ("known-secret-key", Secret::new(value.trim()))),
        );
    }
    values.retain(|(_, value)| value.expose().len() >= SHORTEST);
    values.truncate(MOST_VALUES);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn location(spec: &Value) -> Location {
        let mut whole =
            json!({"metadata": {"name": "offsite"}, "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}}});
        for (key, value) in spec.as_object().expect("an object") {
            whole["spec"][key] = value.clone();
        }
        Location::parse(&whole).expect("valid")
    }

    #[test]
    fn secrets_are_found_even_where_the_config_is_wrong() {
        let broken =
            location(&json!({"credential": {"name": "keys", "key": "cloud"}, "config": {"s3url": "http://x"}}));
        assert_eq!(named(&broken, None), [("keys".to_owned(), CREDENTIAL, Some("cloud".to_owned()))]);
        let sound = location(&json!({
            "credential": {"name": "keys", "key": "cloud"}, "config": {"customerKeyEncryptionSecret": "ssec/k"},
        }));
        assert_eq!(named(&sound, None)[1], ("ssec".to_owned(), CUSTOMER_KEY, Some("k".to_owned())));
    }

    #[test]
    fn the_values_of_a_broken_file_are_masked_and_its_public_ones_are_not() {
        let data = |pairs: &[(&str, &str)]| -> BTreeMap<String, ByteString> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect()
        };
        let told = |data: &BTreeMap<String, ByteString>, wanted, used_for| -> Vec<String> {
            values(data, wanted, used_for).into_iter().map(|(_, value)| value.expose().to_owned()).collect()
        };
        let file = data(&[(
            "cloud",
            "[wrong]\naws_access_key_id = AKIAEXAMPLE1\naws_secret_access_key = hunter2hunter2\nregion=eu-west-1-long\n",
        )]);
        assert_eq!(told(&file, Some("cloud"), CREDENTIAL), ["hunter2hunter2"]);
        let env = data(&[("AWS_SECRET_ACCESS_KEY", "hunter2hunter2"), ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE1")]);
        assert_eq!(told(&env, None, CREDENTIAL), ["hunter2hunter2"]);
        assert_eq!(told(&data(&[("k", "0123456789abcdef")]), Some("k"), CUSTOMER_KEY).len(), 2);
        assert!(told(&file, Some("cloud"), CERTIFICATES).is_empty());
    }
}

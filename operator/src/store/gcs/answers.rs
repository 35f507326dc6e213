//! The answers of Cloud Storage that are JSON: an object, a page of a list, the reason of a refusal.
//! <https://docs.cloud.google.com/storage/docs/json_api/v1/objects>

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use crate::store::StoreError;

/// An object's own description. Numbers of 64 bits are texts in JSON.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GcsObject {
    pub(super) name: String,
    #[serde(default, deserialize_with = "number")]
    pub(super) size: u64,
    /// The number of this content; each write makes a new one.
    #[serde(default, deserialize_with = "number")]
    pub(super) generation: u64,
    #[serde(default)]
    pub(super) updated: Option<Timestamp>,
    #[serde(default)]
    pub(super) etag: Option<String>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

/// A page of a list.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct GcsPage {
    #[serde(default)]
    pub(super) items: Vec<GcsObject>,
    /// The names of folders, whole, with a slash at their ends.
    #[serde(default)]
    pub(super) prefixes: Vec<String>,
    /// Where the list continues.
    #[serde(default, rename = "nextPageToken", deserialize_with = "not_empty")]
    pub(super) next: Option<String>,
}

/// Numbers come as texts; emulators send some as numbers.
fn number<'de, D: Deserializer<'de>>(json: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Number(u64),
    }
    match Number::deserialize(json)? {
        Number::Text(text) => text.parse().map_err(de::Error::custom),
        Number::Number(number) => Ok(number),
    }
}

fn not_empty<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(json)?.filter(|token| !token.is_empty()))
}

/// Reads the description of an object.
pub(super) fn object(json: &str) -> Result<GcsObject, StoreError> {
    serde_json::from_str(json).map_err(|_| StoreError::silent("the store cut the description of an object"))
}

/// Reads a page. A page that was cut is no JSON.
pub(super) fn page(json: &str) -> Result<GcsPage, StoreError> {
    serde_json::from_str(json).map_err(|_| StoreError::silent("the store cut the list of its objects"))
}

/// The reason in a refusal: the one of Google's APIs (`SERVICE_DISABLED`) if there is one, else the storage's own
/// (`forbidden`). <https://docs.cloud.google.com/storage/docs/json_api/v1/status-codes>
pub(super) fn reason(json: &str) -> Option<String> {
    let refusal: serde_json::Value = serde_json::from_str(json).ok()?;
    let error = refusal.get("error")?;
    let of = |list: &str| error.get(list)?.as_array()?.iter().find_map(|entry| entry.get("reason")?.as_str());
    of("details").or_else(|| of("errors")).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_and_a_cut_one_is_an_error() {
        let json = r#"{"kind":"storage#objects","nextPageToken":"t","prefixes":["p/backups/"],
            "items":[{"name":"p/a&b","size":"7","updated":"2026-11-26T03:06:49.123Z"},{"name":"p/c","size":8}]}"#;
        let got = page(json).expect("whole");
        assert_eq!((got.next.as_deref(), got.prefixes), (Some("t"), vec!["p/backups/".to_owned()]));
        let items: Vec<_> = got.items.iter().map(|item| (item.name.as_str(), item.size, item.updated)).collect();
        let updated = "2026-11-26T03:06:49.123Z".parse().ok();
        assert_eq!(items, [("p/a&b", 7, updated), ("p/c", 8, None)]);
        assert_eq!(page("{}").expect("an empty list"), GcsPage::default());
        assert_eq!(page(r#"{"nextPageToken":""}"#).expect("the last page").next, None);
        for cut in [&json[..json.len() - 3], "", "7", r#"{"items":[{"name":"p/a","size":"many"}]}"#] {
            assert!(page(cut).expect_err(cut).is_transient());
        }
    }

    #[test]
    fn the_reason_of_a_refusal_is_google_s_most_exact_one() {
        let disabled = r#"{"error":{"code":403,"message":"hunter2","errors":[{"reason":"accessNotConfigured"}],
            "details":[{"@type":"a"},{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED"}]}}"#;
        for (json, expected) in [
            (disabled, Some("SERVICE_DISABLED")),
            (r#"{"error":{"errors":[{"domain":"global","reason":"forbidden"}]}}"#, Some("forbidden")),
            (r#"{"error":"invalid_grant"}"#, None),
            ("Not Found", None),
        ] {
            assert_eq!(reason(json).as_deref(), expected);
        }
    }
}

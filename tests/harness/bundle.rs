//! A finished bundle as its user downloads it: through its URL or from the bucket, unpacked in memory by ordinary tar
//! and gzip, and compared with its own manifest. It shares no code with the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::time::Duration;

use debugbundle_crd::{DebugBundle, DebugBundleStatus, Phase};
use flate2::read::GzDecoder;
use http_body_util::BodyExt as _;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Context, schema, until};

/// An unpacked bundle; each check of [`Unpacked::of`] has passed.
#[derive(Debug)]
pub struct Unpacked {
    /// The archive as it was downloaded.
    pub archive: Vec<u8>,
    /// Its one top directory.
    pub root: String,
    /// `manifest.json`.
    pub manifest: Value,
    files: BTreeMap<String, Vec<u8>>,
}

/// An item that the manifest lists as missing.
#[derive(Debug, Clone)]
pub struct Absent {
    /// The path that the item would have.
    pub path: String,
    /// The reason, from the closed vocabulary.
    pub code: String,
    /// `note` or `error`.
    pub severity: String,
    /// The reason, in words.
    pub why: String,
}

/// The spec of a DebugBundle about this target.
pub fn spec_about(kind: &str, name: &str) -> Value {
    json!({"target": {"kind": kind, "name": name}})
}

impl Context {
    /// Waits until a DebugBundle has ended, in any phase.
    pub async fn until_bundle_ended(&self, name: &str) -> DebugBundleStatus {
        let api = self.api::<DebugBundle>();
        until(Duration::from_mins(3), &format!("DebugBundle {name} has ended"), || async {
            let bundle = api.get(name).await.map_err(|error| error.to_string())?;
            let status = bundle.status.clone().unwrap_or_default();
            if status.phase.is_some_and(Phase::is_terminal) {
                Ok(status)
            } else {
                Err(format!("{} {status:?}", bundle.name_any()))
            }
        })
        .await
    }

    /// Creates a DebugBundle with this spec, waits for its end, and downloads it.
    pub async fn bundle(&self, name: &str, spec: Value) -> (DebugBundleStatus, Unpacked) {
        self.debug_bundle(name, spec).await;
        let status = self.until_bundle_ended(name).await;
        let unpacked = self.download(&status).await;
        (status, unpacked)
    }

    /// Downloads a finished DebugBundle through the URL in its status, as a person would.
    pub async fn download(&self, status: &DebugBundleStatus) -> Unpacked {
        let url = status.download_url.as_deref().unwrap_or_else(|| panic!("no URL: {:?}", status.conditions));
        let archive = get(url).await.unwrap_or_else(|why| panic!("the download URL does not work: {why}"));
        Unpacked::of(archive, status)
    }
}

/// GET of a URL without further credentials.
pub async fn get(url: &str) -> Result<Vec<u8>, String> {
    let uri = url.parse().map_err(|error| format!("{error}"))?;
    let answer = crate::https::client().get(uri).await.map_err(|error| format!("{error}"))?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| format!("{error}"))?.to_bytes();
    if status.is_success() { Ok(body.to_vec()) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body))) }
}

impl Unpacked {
    /// Unpacks an archive and compares it with status and manifest: size and digest of the whole; each listed entry
    /// exists with its size and digest, no other entry exists, and no path is both present and missing.
    pub fn of(archive: Vec<u8>, status: &DebugBundleStatus) -> Self {
        let told = status.bundle.as_ref().expect("a stored bundle is described in status");
        assert_eq!(hex(&archive), told.sha256, "sha256 of the archive");
        assert_eq!(archive.len(), size(told.bytes), "size of the archive");
        let (root, mut files) = unpack(&archive);
        let manifest = files.remove("manifest.json").expect("there is a manifest.json");
        assert_eq!(files.len(), size(told.entries), "files in the archive, besides the manifest");
        let manifest = schema::checked(&manifest);
        let this = Self { archive, root, manifest, files };
        this.check();
        this
    }

    fn check(&self) {
        assert_eq!(self.manifest["bundle"]["root"], self.root.as_str());
        let mut listed = BTreeSet::new();
        for entry in array(&self.manifest["entries"]) {
            let path = text(&entry["path"]);
            assert!(listed.insert(path.clone()), "{path} is listed twice");
            let body = self.bytes(&path);
            assert_eq!(entry["bytes"], body.len(), "size of {path}");
            assert_eq!(entry["sha256"], hex(body), "sha256 of {path}");
        }
        let there: BTreeSet<String> = self.files.keys().cloned().collect();
        assert_eq!(there, listed, "the archive holds what its manifest lists, and nothing else");
        let mut places = listed;
        let empty = array(&self.manifest["empty"]).map(text);
        let missing: Vec<String> = self.missing().into_iter().map(|absent| absent.path).collect();
        for path in empty.chain(missing.iter().cloned()) {
            assert!(places.insert(path.clone()), "{path} stands in more than one of entries, empty and missing");
        }
        let trimmed = || array(&self.manifest["trimmed"]);
        places.extend(trimmed().map(|trimmed| text(&trimmed["path"])));
        let wanted = self.manifest["totals"]["wanted"].as_u64().expect("a number of wanted items");
        assert!(places.len() as u64 >= wanted, "{wanted} items were wanted, {} places are told", places.len());
        let errors = self.errors();
        let cut = array(&self.manifest["entries"]).filter(|entry| {
            matches!(entry["truncated"]["reason"].as_str(), Some("Reset" | "Stalled" | "Deadline" | "Withheld"))
        });
        let of_target = trimmed().filter(|trimmed| trimmed["rule"] == "TargetLists");
        let outcome =
            if errors.is_empty() && cut.count() + of_target.count() == 0 { "Completed" } else { "PartiallyFailed" };
        assert_eq!(self.manifest["outcome"], outcome, "{errors:#?}");
    }

    /// The paths of its files, without the top directory and the manifest.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether the file exists.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// The bytes of a file.
    pub fn bytes(&self, path: &str) -> &[u8] {
        let known = || self.paths().collect::<Vec<_>>().join("\n");
        self.files.get(path).unwrap_or_else(|| panic!("no {path}; missing {:#?}; there:\n{}", self.missing(), known()))
    }

    /// A file as text.
    pub fn file(&self, path: &str) -> String {
        String::from_utf8_lossy(self.bytes(path)).into_owned()
    }

    /// The findings of `analysis/diagnosis.json`.
    pub fn findings(&self) -> Vec<Value> {
        self.diagnosis("findings")
    }

    /// The objects from the target to the cause, from `analysis/diagnosis.json`.
    pub fn cause_tree(&self) -> Vec<Value> {
        self.diagnosis("tree")
    }

    fn diagnosis(&self, list: &str) -> Vec<Value> {
        let document: Value =
            serde_json::from_str(&self.file("analysis/diagnosis.json")).expect("analysis/diagnosis.json");
        document[list].as_array().expect("a list").clone()
    }

    /// A file that is YAML (or JSON).
    pub fn yaml(&self, path: &str) -> Value {
        serde_saphyr::from_str(&self.file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The items of a List.
    pub fn items(&self, path: &str) -> Vec<Value> {
        array(&self.yaml(path)["items"]).cloned().collect()
    }

    /// The names in the List of a namespace's objects, such as `core/pods`.
    pub fn names_in(&self, namespace: &str, kind: &str) -> Vec<String> {
        self.names(&format!("namespaces/{namespace}/{kind}.yaml"))
    }

    /// The names in a List, sorted.
    pub fn names(&self, path: &str) -> Vec<String> {
        let mut names: Vec<_> = self.items(path).iter().map(|item| text(&item["metadata"]["name"])).collect();
        names.sort_unstable();
        names
    }

    /// The archive's paths in order, directories with a trailing `/`, without the top directory.
    pub fn order(&self) -> Vec<String> {
        let mut tar = tar::Archive::new(GzDecoder::new(self.archive.as_slice()));
        let entries = tar.entries().expect("the archive is a tar").map(|entry| entry.expect("the tar is whole"));
        let paths = entries.map(|entry| {
            let slash = if entry.header().entry_type().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.path().expect("paths are paths").to_string_lossy().trim_end_matches('/'))
        });
        paths
            .filter_map(|path| path.split_once('/').map(|(_, below)| below.to_owned()))
            .filter(|p| !p.is_empty())
            .collect()
    }

    /// Whether the path was read and had no item.
    pub fn is_empty(&self, path: &str) -> bool {
        array(&self.manifest["empty"]).any(|empty| empty == path)
    }

    /// The missing items.
    pub fn missing(&self) -> Vec<Absent> {
        let told = array(&self.manifest["missing"]).map(|missing| Absent {
            path: text(&missing["path"]),
            code: text(&missing["code"]),
            severity: text(&missing["severity"]),
            why: text(&missing["why"]),
        });
        told.collect()
    }

    /// The missing items with severity `error`.
    pub fn errors(&self) -> Vec<Absent> {
        self.missing().into_iter().filter(|absent| absent.severity == "error").collect()
    }

    /// Each place that contains one of these values: a body, a path, or the archive's own bytes.
    pub fn find(&self, values: &[&str]) -> Vec<String> {
        let manifest = self.manifest.to_string();
        let bodies = self.files.iter().map(|(path, body)| (path.as_str(), body.as_slice()));
        let all = bodies.chain([("manifest.json", manifest.as_bytes()), ("(archive)", self.archive.as_slice())]);
        let mut found = Vec::new();
        for (path, body) in all {
            for value in values {
                if contains(body, value.as_bytes()) || path.contains(value) {
                    found.push(format!("{value} in {path}"));
                }
            }
        }
        found
    }
}

/// The top directory and the files below it, of a `.tar.gz` with one top directory.
pub fn unpack(archive: &[u8]) -> (String, BTreeMap<String, Vec<u8>>) {
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    let mut files = BTreeMap::new();
    let mut root = String::new();
    for entry in tar.entries().expect("the archive is a tar") {
        let mut entry = entry.expect("the tar is whole");
        let path = entry.path().expect("paths are paths").to_string_lossy().into_owned();
        let (top, rest) = path.split_once('/').unwrap_or((&path, ""));
        assert!(root.is_empty() || root == top, "two top directories: {root} and {top}");
        top.clone_into(&mut root);
        if entry.header().entry_type().is_file() {
            let mut body = Vec::new();
            entry.read_to_end(&mut body).expect("the tar is whole");
            assert!(files.insert(rest.to_owned(), body).is_none(), "{rest} is there twice");
        }
    }
    (root, files)
}

fn contains(body: &[u8], value: &[u8]) -> bool {
    body.windows(value.len()).any(|window| window == value)
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn size(number: i64) -> usize {
    usize::try_from(number).expect("sizes are not negative")
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}

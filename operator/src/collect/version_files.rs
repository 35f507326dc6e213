//! Writes the files with the versions and the time that a bundle is about. Everything in them was read before: nothing
//! is requested from the cluster here.

use std::io::Write as _;

use debugbundle_format::{
    BundlePath,
    manifest::{Source, SourceKind},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Outcome,
    entry::{EntryContext, LazyEntry, WriteError},
};
use crate::{
    discovery::Snapshot,
    velero::{PodRole, Workload},
};

/// Name of the server's container in every way to install Velero.
const SERVER: &str = "velero";

/// This build's version, with its commit if the build knows it.
pub(crate) fn operator_version() -> String {
    match option_env!("DEBUGBUNDLE_COMMIT").filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Writes `version`, `timestamp` and `velero/version.json`. Blocks.
pub(super) fn write(
    context: &EntryContext,
    snapshot: &Snapshot,
    server: Option<&(String, String)>,
    (from, to): (Timestamp, Timestamp),
) -> Result<Outcome, WriteError> {
    let versions = serde_json::to_vec_pretty(&versions(snapshot, server)).unwrap_or_default();
    let mut outcome = Outcome::default();
    for (path, text) in [
        (BundlePath::new(["version"]), format!("debugbundle\n{}\n", operator_version()).into_bytes()),
        (BundlePath::new(["timestamp"]), format!("{from}\n{to}\n").into_bytes()),
        (BundlePath::new(["velero", "version.json"]), versions),
    ] {
        let mut entry = LazyEntry::new(context, path, None);
        entry.write_all(&text)?;
        if let Some(segment) = entry.finish()? {
            outcome.push(segment, Source { kind: SourceKind::Generated, ..Source::default() }, None);
        }
    }
    Ok(outcome)
}

/// The content of `velero/version.json`. It must be right even when no server runs: then it comes from the Deployment.
fn versions(snapshot: &Snapshot, log: Option<&(String, String)>) -> Value {
    let running = |role: fn(PodRole) -> bool| -> Vec<Value> {
        let pods = snapshot.installation.pods.iter().filter(|pod| role(pod.role));
        pods.flat_map(|pod| {
            pod.containers.iter().map(|container| {
                json!({"pod": pod.name, "node": pod.node, "container": container.name,
                    "image": container.image, "imageID": container.image_id})
            })
        })
        .collect()
    };
    let is_server = |workload: &&Workload| workload.containers.iter().any(|(name, ..)| name == SERVER);
    let workload =
        snapshot.installation.servers.iter().find(is_server).or_else(|| snapshot.installation.servers.first());
    let containers = workload.map(|workload| workload.containers.as_slice()).unwrap_or_default();
    let server = containers.iter().find(|(name, ..)| name == SERVER);
    let arguments = server.map(|(_, _, arguments)| arguments.as_slice()).unwrap_or_default();
    let newest = snapshot.installation.pods.iter().filter(|pod| pod.role == PodRole::Server);
    let newest = newest.max_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    let image_id = |name: &str| {
        let container = newest?.containers.iter().find(|container| container.name == name)?;
        Some(container.image_id.as_str()).filter(|id| !id.is_empty())
    };
    let plugins: Vec<Value> = containers
        .iter()
        .filter(|(name, ..)| name != SERVER)
        .map(|(name, image, _)| json!({"name": name, "image": image, "imageID": image_id(name)}))
        .collect();
    let tag = server.and_then(|(_, image, _)| image_tag(image));
    let (version, commit, from) = match (log, &snapshot.installation.reported_version, tag) {
        (Some((version, commit)), ..) => (Some(version.clone()), Some(commit.clone()), Some("server log")),
        (None, Some(version), _) => (Some(version.clone()), None, Some("ServerStatusRequest")),
        (None, None, Some(tag)) => (Some(tag), None, Some("image tag")),
        (None, None, None) => (None, None, None),
    };
    let mut all = Map::new();
    all.insert(
        "server".to_owned(),
        json!({"version": version, "commit": commit, "from": from,
            "image": server.map(|(_, image, _)| image), "imageID": image_id(SERVER), "arguments": arguments,
            "features": flag(arguments, "features"), "pods": running(|role| role == PodRole::Server)}),
    );
    all.insert("plugins".to_owned(), Value::from(plugins));
    all.insert("nodeAgents".to_owned(), Value::from(running(|role| matches!(role, PodRole::NodeAgent { .. }))));
    all.insert("kubernetes".to_owned(), snapshot.installation.kubernetes.clone().unwrap_or(Value::Null));
    Value::Object(all)
}

/// The value of `--name=value`, or of `--name` followed by the value.
fn flag<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = |argument: &'a String| argument.strip_prefix("--")?.strip_prefix(name);
    let found = arguments
        .iter()
        .position(|argument| at(argument).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))?;
    match at(&arguments[found])?.strip_prefix('=') {
        Some(value) => Some(value),
        None => arguments.get(found + 1).map(String::as_str),
    }
}

/// The tag of `registry:5000/velero/velero:v1.18.3@sha256:…`.
fn image_tag(image: &str) -> Option<String> {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map(|(_, tag)| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::fixture::{pod, snapshot};

    fn deployment(arguments: &[&str]) -> Workload {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Workload {
            name: "velero".into(),
            selector: kube::core::Selector::default(),
            containers: vec![
                ("aws".into(), "velero/velero-plugin-for-aws:v1.14.3".into(), vec![]),
                ("velero".into(), "velero/velero:v1.18.3".into(), arguments),
            ],
        }
    }

    #[test]
    fn the_version_comes_from_the_log_else_from_a_request_else_from_the_image() {
        let mut snapshot = snapshot();
        assert_eq!(versions(&snapshot, None)["server"]["version"], Value::Null, "nothing is made up");
        snapshot.installation.servers = vec![deployment(&["server", "--features", "EnableCSI"])];
        let of = |snapshot: &Snapshot, log: Option<&(String, String)>| {
            let server = versions(snapshot, log)["server"].clone();
            (server["version"].clone(), server["from"].clone())
        };
        assert_eq!(of(&snapshot, None), (json!("v1.18.3"), json!("image tag")));
        snapshot.installation.reported_version = Some("v1.18.4".into());
        assert_eq!(of(&snapshot, None), (json!("v1.18.4"), json!("ServerStatusRequest")));
        let log = ("v1.18.5".to_owned(), "0abc".to_owned());
        assert_eq!(of(&snapshot, Some(&log)), (json!("v1.18.5"), json!("server log")));
    }

    #[test]
    fn a_server_that_does_not_run_is_told_by_its_deployment() {
        let mut snapshot = snapshot();
        snapshot.installation.servers = vec![deployment(&["server", "--features=EnableCSI,EnableAPIGroupVersions"])];
        let told = versions(&snapshot, None);
        assert_eq!(told["server"]["features"], "EnableCSI,EnableAPIGroupVersions");
        assert_eq!(told["server"]["pods"], json!([]));
        assert_eq!(
            told["plugins"][0],
            json!({"name": "aws", "image": "velero/velero-plugin-for-aws:v1.14.3", "imageID": null})
        );
    }

    #[test]
    fn images_are_those_of_the_newest_server_and_of_each_node() {
        let mut snapshot = snapshot();
        snapshot.installation.servers = vec![deployment(&["server", "--features", "EnableCSI"])];
        let with = |name: &str, role, created: &str, id: &str| {
            let mut pod = pod(name, role, "n1", &[("velero", 0)]);
            pod.created = created.parse().ok();
            pod.containers[0].image_id = id.to_owned();
            pod
        };
        snapshot.installation.pods = vec![
            with("velero-b", PodRole::Server, "2026-03-01T00:00:00Z", "velero@sha256:2"),
            with("velero-a", PodRole::Server, "2026-02-01T00:00:00Z", "velero@sha256:1"),
            with("node-agent-x", PodRole::NodeAgent { involved: false }, "2026-02-01T00:00:00Z", "velero@sha256:3"),
        ];
        let told = versions(&snapshot, None);
        assert_eq!(
            (&told["server"]["imageID"], &told["server"]["features"]),
            (&json!("velero@sha256:2"), &json!("EnableCSI"))
        );
        assert_eq!(told["server"]["pods"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            (&told["nodeAgents"][0]["node"], &told["nodeAgents"][0]["imageID"]),
            (&json!("n1"), &json!("velero@sha256:3"))
        );
    }

    #[test]
    fn flags_come_in_one_word_or_in_two() {
        let all = ["--features-x=1", "--a", "b", "--features", "c"].map(str::to_owned);
        assert_eq!((flag(&all, "features"), flag(&all, "a"), flag(&all, "none")), (Some("c"), Some("b"), None));
        assert_eq!(flag(&all[3..4], "features"), None);
    }

    #[test]
    fn tags_are_found_behind_ports_and_before_digests() {
        assert_eq!(image_tag("registry:5000/velero/velero:v1.18.3@sha256:00").as_deref(), Some("v1.18.3"));
        assert_eq!(image_tag("registry:5000/velero/velero"), None);
        assert_eq!(image_tag("velero/velero@sha256:00"), None);
        assert_eq!(image_tag("velero:main").as_deref(), Some("main"));
    }
}

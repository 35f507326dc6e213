//! The files that say which versions and which time a bundle is about. Everything in them was read before; nothing is
//! asked of the cluster here.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Outcome,
    entry::{Desk, LazyEntry, WriteError},
};
use crate::{
    archive::{
        BundlePath,
        manifest::{Source, SourceKind},
    },
    inventory::{Inventory, PodRole, Workload},
};

/// This build's version, with its commit where the build knows it.
pub(crate) fn operator_version() -> String {
    match option_env!("DEBUGBUNDLE_COMMIT") {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Writes `version`, `timestamp` and `velero/version.json`. Blocks.
pub(super) fn write(
    desk: &Desk,
    inventory: &Inventory,
    server: Option<&(String, String)>,
    (from, to): (Timestamp, Timestamp),
) -> Result<Outcome, WriteError> {
    let versions = serde_json::to_vec_pretty(&versions(inventory, server)).unwrap_or_default();
    let mut outcome = Outcome::default();
    for (path, text) in [
        (BundlePath::new(["version"]), format!("debugbundle\n{}\n", operator_version()).into_bytes()),
        (BundlePath::new(["timestamp"]), format!("{from}\n{to}\n").into_bytes()),
        (BundlePath::new(["velero", "version.json"]), versions),
    ] {
        let mut entry = LazyEntry::new(desk, path, None);
        entry.write_all(&text)?;
        if let Some(segment) = entry.finish()? {
            outcome.push(segment, Source { kind: SourceKind::Generated, ..Source::default() }, None);
        }
    }
    Ok(outcome)
}

/// What `velero/version.json` says.
fn versions(inventory: &Inventory, server: Option<&(String, String)>) -> Value {
    let running = |role: fn(PodRole) -> bool| -> Vec<Value> {
        let pods = inventory.pods.iter().filter(|pod| role(pod.role));
        pods.flat_map(|pod| {
            pod.containers.iter().map(|container| {
                json!({"pod": pod.name, "node": pod.node, "container": container.name,
                    "image": container.image, "imageID": container.image_id})
            })
        })
        .collect()
    };
    let server_container = |workload: &&Workload| workload.containers.iter().any(|(name, ..)| name == "velero");
    let workload = inventory.servers.iter().find(server_container).or_else(|| inventory.servers.first());
    let arguments: Vec<&String> = workload
        .iter()
        .flat_map(|workload| workload.containers.iter().filter(|(name, ..)| name == "velero"))
        .flat_map(|(_, _, arguments)| arguments)
        .collect();
    let image = workload.and_then(|workload| workload.containers.iter().find(|(name, ..)| name == "velero"));
    let plugins: Vec<Value> = workload
        .iter()
        .flat_map(|workload| workload.containers.iter().filter(|(name, ..)| name != "velero"))
        .map(|(name, image, _)| json!({"name": name, "image": image}))
        .collect();
    let (version, commit, source) = match (server, image.and_then(|(_, image, _)| image_tag(image))) {
        (Some((version, commit)), _) => (Some(version.clone()), Some(commit.clone()), Some("server log")),
        (None, Some(tag)) => (Some(tag), None, Some("image tag")),
        (None, None) => (None, None, None),
    };
    let mut all = Map::new();
    all.insert(
        "server".to_owned(),
        json!({"version": version, "commit": commit, "from": source,
            "image": image.map(|(_, image, _)| image), "arguments": arguments,
            "features": arguments.iter().find_map(|argument| argument.strip_prefix("--features=")),
            "pods": running(|role| role == PodRole::Server)}),
    );
    all.insert("plugins".to_owned(), Value::from(plugins));
    all.insert("nodeAgents".to_owned(), Value::from(running(|role| matches!(role, PodRole::NodeAgent { .. }))));
    all.insert("kubernetes".to_owned(), inventory.kubernetes.clone().unwrap_or(Value::Null));
    Value::Object(all)
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

    #[test]
    fn tags_are_found_behind_ports_and_before_digests() {
        assert_eq!(image_tag("registry:5000/velero/velero:v1.18.3@sha256:00").as_deref(), Some("v1.18.3"));
        assert_eq!(image_tag("registry:5000/velero/velero"), None);
        assert_eq!(image_tag("velero/velero@sha256:00"), None);
        assert_eq!(image_tag("velero:main").as_deref(), Some("main"));
    }
}

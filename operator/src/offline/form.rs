//! Which collector made a tree of files, and what the file at a path contains. Pure.

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::Kind;
use debugbundle_format::{StoreFile, layout};

/// The collector that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// `oc adm inspect`, or a must-gather built on it.
    MustGather,
    /// `velero debug`.
    VeleroDebug,
    /// This tool.
    DebugBundle,
}

impl Form {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::MustGather => "a tree of oc adm inspect or of a must-gather",
            Self::VeleroDebug => "a bundle of velero debug",
            Self::DebugBundle => "a debug bundle",
        }
    }
}

/// What a file contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Objects: one, or those of a List.
    Objects {
        /// The kind that its path says, for Lists whose items lack it.
        kind: Option<&'static Kind>,
        /// The path in a bundle of ours of the List with all objects of this kind and namespace.
        list: Option<String>,
        /// The collector that lays its files out like this.
        form: Form,
    },
    /// The log of a container.
    Log {
        /// The pod's namespace and name.
        pod: (String, String),
        /// The container.
        container: String,
        /// Of the instance before.
        is_previous: bool,
    },
    /// A file that Velero wrote about a Backup or Restore.
    Store(TargetKind, String, StoreFile),
    /// What `velero describe` printed of one.
    Description(TargetKind, String),
    /// The manifest of a bundle of ours.
    Manifest,
    /// The times of the collection, as `oc adm inspect` writes them.
    Times,
}

/// What the file at this path contains; `None`: nothing that is of use.
pub(super) fn content(path: &str) -> Option<Content> {
    let parts: Vec<&str> = path.split('/').collect();
    let roots = ["namespaces", "cluster-scoped-resources", "kubecapture"];
    match parts.iter().position(|part| roots.contains(part)) {
        Some(at) => match (parts[at], &parts[at + 1..]) {
            ("namespaces", below) => of_namespace(below),
            ("kubecapture", below) => of_kubecapture(below),
            (_, below) => of_cluster(below),
        },
        None => beside(&parts),
    }
}

/// Files beside the trees of objects; at most two folders are above them.
fn beside(parts: &[&str]) -> Option<Content> {
    match parts {
        ["manifest.json"] | [_, "manifest.json"] => Some(Content::Manifest),
        ["timestamp"] | [_, "timestamp"] | [_, _, "timestamp"] => Some(Content::Times),
        [.., "velero", folder @ ("backups" | "restores"), name, file] if parts.len() <= 5 => {
            let kind = if *folder == "backups" { TargetKind::Backup } else { TargetKind::Restore };
            let is_it = |known: &StoreFile| known.bundle_name(kind) == *file;
            let known = [StoreFile::Log, StoreFile::Results, StoreFile::VolumeInfo].into_iter().find(is_it)?;
            Some(Content::Store(kind, (*name).to_owned(), known))
        }
        [file] | [_, file] => of_velero_debug(file),
        _ => None,
    }
}

/// `backup_describe_b1.txt`, `restore_r1.log`.
fn of_velero_debug(file: &str) -> Option<Content> {
    for (kind, word) in [(TargetKind::Backup, "backup_"), (TargetKind::Restore, "restore_")] {
        let Some(rest) = file.strip_prefix(word) else { continue };
        let described = rest.strip_prefix("describe_").and_then(|rest| rest.strip_suffix(".txt"));
        if let Some(name) = described {
            return Some(Content::Description(kind, name.to_owned()));
        }
        return rest.strip_suffix(".log").map(|name| Content::Store(kind, name.to_owned(), StoreFile::Log));
    }
    None
}

fn of_namespace(below: &[&str]) -> Option<Content> {
    let target = |folder: &str| match folder {
        "backups" => Some(TargetKind::Backup),
        "restores" => Some(TargetKind::Restore),
        _ => None,
    };
    match below {
        [namespace, "pods", pod, container, _, "logs", file @ ("current.log" | "previous.log")] => Some(Content::Log {
            pod: ((*namespace).to_owned(), (*pod).to_owned()),
            container: (*container).to_owned(),
            is_previous: *file == "previous.log",
        }),
        // As OADP's must-gather writes them.
        [_, "velero.io", folder, file] if target(folder).is_some() && file.strip_suffix(".yaml").is_none() => {
            let kind = target(folder)?;
            if let Some(name) = file.strip_suffix(".log") {
                return Some(Content::Store(kind, name.to_owned(), StoreFile::Log));
            }
            let name = file.strip_prefix("describe-")?.strip_suffix(".txt")?;
            Some(Content::Description(kind, name.to_owned()))
        }
        [namespace, file] => {
            let is_it = file.strip_suffix(".yaml") == Some(*namespace);
            is_it.then_some(Content::Objects { kind: Some(&Kind::Namespace), list: None, form: Form::MustGather })
        }
        [_, "pods", pod, file] => {
            let is_it = file.strip_suffix(".yaml") == Some(*pod);
            is_it.then_some(Content::Objects { kind: Some(&Kind::Pod), list: None, form: Form::MustGather })
        }
        [namespace, group, rest @ ..] => objects(group, rest, Some(namespace), ".yaml", Form::MustGather),
        _ => None,
    }
}

fn of_cluster(below: &[&str]) -> Option<Content> {
    let (group, rest) = below.split_first()?;
    objects(group, rest, None, ".yaml", Form::MustGather)
}

/// `plural.yaml` or `plural/plural.yaml` is a List, `plural/name.yaml` one object.
fn objects(group: &str, rest: &[&str], namespace: Option<&str>, end: &str, form: Form) -> Option<Content> {
    let group = if group == "core" { "" } else { group };
    let (plural, is_list) = match rest {
        [file] => (file.strip_suffix(end)?, true),
        [plural, file] => (*plural, file.strip_suffix(end)? == *plural),
        _ => return None,
    };
    let kind = Kind::served_as(group, plural);
    let list = is_list.then(|| layout::list(group, plural, namespace).as_str().to_owned());
    Some(Content::Objects { kind, list, form })
}

/// `velero.io_v1/velero/restores-2026-11-23T11-02-03Z.1234.json`, `core_v1/velero/pod/container/container.log`.
fn of_kubecapture(below: &[&str]) -> Option<Content> {
    match below {
        [_, namespace, pod, container, file] if file.strip_suffix(".log") == Some(*container) => Some(Content::Log {
            pod: ((*namespace).to_owned(), (*pod).to_owned()),
            container: (*container).to_owned(),
            is_previous: false,
        }),
        [version, namespace, file] => {
            let (group, _) = version.rsplit_once('_')?;
            let plural = file.strip_suffix(".json")?.split('-').next()?;
            objects(group, &[&format!("{plural}.json")], Some(namespace), ".json", Form::VeleroDebug)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(path: &str) -> String {
        match content(path) {
            Some(Content::Objects { list: Some(list), .. }) => list,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn each_collector_s_lists_are_known_by_one_path() {
        for path in [
            "debugbundle-restore-r1-0b5e/namespaces/velero/velero.io/restores.yaml",
            "clusters/1a2b/namespaces/velero/velero.io/restores/restores.yaml",
            "velero-bundle/kubecapture/velero.io_v1/velero/restores-2026-11-23T11-02-03Z.1234.json",
        ] {
            assert_eq!(list(path), "namespaces/velero/velero.io/restores.yaml", "{path}");
        }
        for path in [
            "namespaces/velero/core/pods.yaml",
            "must-gather.local.1/quay-io-x/namespaces/velero/core/pods.yaml",
            "velero-bundle/kubecapture/core_v1/velero/pods-2026-11-23T11-02-03Z.1234.json",
        ] {
            assert_eq!(list(path), "namespaces/velero/core/pods.yaml", "{path}");
        }
        let nodes = list("x/cluster-scoped-resources/core/nodes.yaml");
        assert_eq!(nodes, "cluster-scoped-resources/core/nodes.yaml");
        for one in [
            "namespaces/shop/pods/db-0/db-0.yaml",
            "cluster-scoped-resources/core/nodes/n1.yaml",
            "namespaces/velero/velero.io/restores/r1.yaml",
            "namespaces/shop/shop.yaml",
        ] {
            assert!(matches!(content(one), Some(Content::Objects { list: None, kind: Some(_), .. })), "{one}");
        }
    }

    #[test]
    fn logs_and_velero_s_own_files_are_known_by_their_paths() {
        let log = |is_previous| {
            Some(Content::Log {
                pod: ("velero".to_owned(), "velero-1".to_owned()),
                container: "velero".to_owned(),
                is_previous,
            })
        };
        let folder = "namespaces/velero/pods/velero-1/velero/velero/logs";
        assert_eq!(content(&format!("r/{folder}/current.log")), log(false));
        assert_eq!(content(&format!("{folder}/previous.log")), log(true));
        assert_eq!(content("velero-bundle/kubecapture/core_v1/velero/velero-1/velero/velero.log"), log(false));
        let of_r1 = |file| Some(Content::Store(TargetKind::Restore, "r1".to_owned(), file));
        assert_eq!(content("root/velero/restores/r1/restore.log"), of_r1(StoreFile::Log));
        assert_eq!(content("root/velero/restores/r1/results.json"), of_r1(StoreFile::Results));
        assert_eq!(content("velero-bundle/restore_r1.log"), of_r1(StoreFile::Log));
        assert_eq!(content("clusters/1/namespaces/v/velero.io/restores/r1.log"), of_r1(StoreFile::Log));
        let described = Some(Content::Description(TargetKind::Backup, "b_1".to_owned()));
        assert_eq!(content("velero-bundle/backup_describe_b_1.txt"), described);
        assert_eq!(content("c/1/namespaces/v/velero.io/backups/describe-b_1.txt"), described);
        assert_eq!(content("root/manifest.json"), Some(Content::Manifest));
        assert_eq!(content("must-gather.local.1/quay-io-x/timestamp"), Some(Content::Times));
        for other in
            ["", "a", "../../etc/passwd", "root/summary.md", "namespaces", "namespaces/a/b/c/d/e/f", "kubecapture/x"]
        {
            assert_eq!(content(other), None, "{other}");
        }
    }
}

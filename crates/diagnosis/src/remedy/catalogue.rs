//! What to do about texts that name what to change: a row for each, and how a row is read.

use crate::graph::text;
use crate::kind::Kind;
use crate::kinds;
use crate::texts::is_name;

use super::command::Kubectl;
use super::{Advice, Case, known};

/// A text, and what a person can do about it.
///
/// In `says`, `{word}` stands for a valid name of an object, `{Word}` for letters and digits, and `…` for anything. In
/// `sentence` and `commands`, what was found takes the word's place. So do the words of [`around`], which need no place in
/// the text. A row fits only if its sentence can be filled; a command that cannot be filled is left out.
struct Row {
    says: &'static str,
    sentence: &'static str,
    commands: &'static [&'static str],
}

/// Lists the webhooks by the configurations that contain them.
const WEBHOOKS: &str = "get validatingwebhookconfigurations,mutatingwebhookconfigurations -o custom-columns=IN:.metadata.name,WEBHOOKS:.webhooks[*].name";
const BACKUP: &str = "-n {velero} get backups.velero.io {backup} -o yaml";
const LOCATION: &str = "-n {velero} get backupstoragelocations.velero.io {location} -o yaml";
const PLUGIN_ENDED: &str = "find out why the process of a plugin ended: the container of Deployment {velero}/{server} may have too \
     little memory (resources.limits.memory) for it, or the plugin has a bug that the server's log shows";
const PLUGIN_COMMANDS: [&str; 2] = ["-n {velero} describe deployment {server}", "-n {velero} get pods -o wide"];

/// Answers of Kubernetes, to requests of any program.
const OF_ALL: [Row; 9] = [
    Row {
        says: "error restoring {resource}/{space}/{name}: …admission webhook \"{webhook}\" denied the request",
        sentence: "let admission webhook {webhook} (its configuration was not read) admit {resource} {space}/{name}: \
                   change what it refuses, or take the namespace out of the webhook's namespaceSelector",
        commands: &[WEBHOOKS],
    },
    Row {
        says: "admission webhook \"{webhook}\" denied the request",
        sentence: "let admission webhook {webhook} (its configuration was not read) admit the object: change what it \
                   refuses, or take the namespace out of the webhook's namespaceSelector",
        commands: &[WEBHOOKS],
    },
    Row {
        says: "failed calling webhook \"{webhook}\"…Post \"https://{service}.{space}.svc",
        sentence: "make Service {space}/{service} answer, which is behind webhook {webhook} (its configuration was not read)",
        commands: &["-n {space} get endpoints {service}", "-n {space} get pods -o wide", WEBHOOKS],
    },
    Row {
        says: "failed calling webhook \"{webhook}\"",
        sentence: "make the program behind webhook {webhook} answer (its configuration was not read)",
        commands: &[WEBHOOKS],
    },
    Row {
        says: "violates PodSecurity \"",
        sentence: "lower the label pod-security.kubernetes.io/enforce of namespace {namespace}, or give the pod a \
                   securityContext that it admits",
        commands: &["get namespace {namespace} --show-labels"],
    },
    Row {
        says: "no matches for kind \"{Kind}\" in version \"velero.io/{version}\"",
        sentence: "install the CustomResourceDefinition that serves {Kind} in velero.io/{version} (velero install \
                   --crds-only): this cluster serves none",
        commands: &["get customresourcedefinitions", "api-resources"],
    },
    Row {
        says: "no matches for kind \"{Kind}\" in version \"{group}/{version}\"",
        sentence: "install the CustomResourceDefinition that serves {Kind} in {group}/{version}: this cluster serves none",
        commands: &["get customresourcedefinitions", "api-resources"],
    },
    // `pkg/restore/restore.go`.
    Row {
        says: "the CRD {definition} is not available to use for custom resources",
        sentence: "install CustomResourceDefinition {definition}, or see in its status why it is not established: the Backup \
                   may not contain it",
        commands: &["get customresourcedefinitions {definition} -o yaml"],
    },
    Row {
        says: "error restoring services/{space}/{name}: …provided port is already allocated",
        sentence: "let the restored Service {space}/{name} get another node port (spec.preserveNodePorts: false, or velero \
                   restore create --preserve-nodeports=false), or take the port from the Service that has it",
        commands: &["get services --all-namespaces", "-n {space} get services"],
    },
];

/// Texts of Velero and of what it works with.
const OF_VELERO: [Row; 9] = [
    // `pkg/nodeagent/node_agent.go`.
    Row {
        says: "daemonset not found",
        sentence: "install DaemonSet node-agent in namespace {velero} (velero install --use-node-agent)",
        commands: &["-n {velero} get daemonsets"],
    },
    // Kopia's answer to another password (`https://velero.io/docs/v1.18/file-system-backup/`).
    Row {
        says: "invalid repository password",
        sentence: "give the key repository-password of Secret {velero}/velero-repo-credentials the value with which the \
                   repository was made, as the cluster has it that wrote the Backups",
        commands: &[
            "-n {velero} get backuprepositories.velero.io {repository} -o yaml",
            "-n {velero} get secret velero-repo-credentials",
        ],
    },
    // `pkg/cmd/cli/nodeagent/server.go`.
    Row {
        says: "unexpected directory structure for host-pods volume",
        sentence: "let volume host-pods (hostPath.path) of DaemonSet {velero}/node-agent be the folder pods below the \
                   kubelet's root folder (velero install --kubelet-root-dir)",
        commands: &["-n {velero} describe daemonset node-agent"],
    },
    // `pkg/util/csi/volume_snapshot.go`.
    Row {
        says: "failed to get VolumeSnapshotClass for provisioner {driver}: ",
        sentence: "label one VolumeSnapshotClass whose driver is {driver} with velero.io/csi-volumesnapshot-class: \"true\", or \
                   create one",
        commands: &["get volumesnapshotclasses.snapshot.storage.k8s.io --show-labels"],
    },
    // `pkg/controller/restore_controller.go`.
    Row {
        says: "error downloading backup: …NoSuchKey",
        sentence: "the store no longer has the contents of Backup {backup} ({backup}.tar.gz), so nothing can be restored \
                   from it: look for a lifecycle rule of the bucket that removes objects, and for a prefix that was changed in \
                   spec.objectStorage.prefix of its BackupStorageLocation",
        commands: &[BACKUP, LOCATION],
    },
    // `pkg/controller/backup_controller.go`.
    Row {
        says: "backup already exists in object storage",
        sentence: "give the Backup another name, or give BackupStorageLocation {location} a prefix of its own \
                   (spec.objectStorage.prefix): the bucket has a Backup of this name, from another cluster or an earlier \
                   installation",
        commands: &[LOCATION],
    },
    // `pkg/podvolume/backupper.go`.
    Row {
        says: "Skip pod volume …, name={name}, namespace={space}, phase=",
        sentence: "create a new Backup while pod {space}/{name} runs: Velero reads the files of a volume through a running pod",
        commands: &["-n {space} describe pod {name}"],
    },
    // `pkg/plugin/clientmgmt/process/restartable_process.go`.
    Row { says: "exceeded maximum number of reset failures", sentence: PLUGIN_ENDED, commands: &PLUGIN_COMMANDS },
    Row {
        says: "code = Unavailable desc = error reading from server: EOF",
        sentence: PLUGIN_ENDED,
        commands: &PLUGIN_COMMANDS,
    },
];

/// What to do about a text, whatever it is about; `None` if no row fits.
pub(super) fn of_all(text: &str, case: &Case<'_>) -> Option<Advice> {
    OF_ALL.iter().find_map(|row| row.advice(text, case))
}

/// The same for a text about Velero's own objects.
pub(super) fn of_velero(text: &str, case: &Case<'_>) -> Option<Advice> {
    OF_VELERO.iter().find_map(|row| row.advice(text, case))
}

impl Row {
    fn advice(&self, text: &str, case: &Case<'_>) -> Option<Advice> {
        let found = found(self.says, text)?;
        let word = |name: &str| {
            let captured = found.iter().find(|(word, _)| *word == name).map(|(_, value)| (*value).to_owned());
            captured.or_else(|| around(name, text, case))
        };
        let sentence: Option<String> = pieces(self.sentence)
            .map(|piece| match piece {
                Piece::Word(name) => word(name),
                Piece::Text(text) => Some(text.to_owned()),
                Piece::Any => Some("…".to_owned()),
            })
            .collect();
        let commands = self.commands.iter().map(|command| {
            command.split(' ').fold(Kubectl::of_cluster(), |command, one| {
                match one.strip_prefix('{').and_then(|one| one.strip_suffix('}')) {
                    Some(name) => command.name(&word(name).unwrap_or_default()),
                    None => command.ours(one),
                }
            })
        });
        Advice::new(sentence?, commands)
    }
}

/// What a row may name although the text does not.
fn around(name: &str, text_of_it: &str, case: &Case<'_>) -> Option<String> {
    let target = case.view.target();
    let found = match name {
        "velero" => case.velero().to_owned(),
        "namespace" => known::namespace(text_of_it, case)?.to_owned(),
        "location" => known::location(case)?.name,
        "server" => kinds::server_of(None, &case.view)?.name,
        "repository" if case.last.kind == Kind::BackupRepository => case.last.name.clone(),
        "backup" if target.kind == Kind::Backup => target.name.clone(),
        "backup" => text(&case.graph.object(target)?["spec"]["backupName"]).to_owned(),
        _ => return None,
    };
    is_name(&found).then_some(found)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Word(&'a str),
    Any,
}

/// The pieces of a row's text.
fn pieces(mut text: &str) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        if let Some(rest) = text.strip_prefix('…') {
            text = rest;
            return Some(Piece::Any);
        }
        if let Some((word, rest)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            text = rest;
            return Some(Piece::Word(word));
        }
        let (piece, rest) = text.split_at(text.find(['{', '…']).unwrap_or(text.len()));
        text = rest;
        (!piece.is_empty()).then_some(Piece::Text(piece))
    })
}

/// The words of a pattern, where a text contains it.
fn found<'a>(says: &'static str, text: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
    let mut all = pieces(says);
    let Some(Piece::Text(first)) = all.next() else { return None };
    let rest: Vec<Piece<'static>> = all.collect();
    text.match_indices(first).find_map(|(at, _)| follow(&rest, &text[at + first.len()..]))
}

/// The words of the pieces, from the beginning of a text.
fn follow<'a>(pieces: &[Piece<'static>], mut text: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
    let mut words = Vec::new();
    let mut pieces = pieces.iter().peekable();
    while let Some(piece) = pieces.next() {
        let next = match pieces.peek() {
            Some(Piece::Text(next)) => Some(*next),
            _ => None,
        };
        match (piece, next) {
            (Piece::Text(this), _) => text = text.strip_prefix(this)?,
            (Piece::Any, Some(next)) => text = &text[text.find(next)?..],
            (Piece::Any, None) => {}
            (Piece::Word(word), next) => {
                let end = next.map_or(text.len(), |next| text.find(next).unwrap_or(text.len()));
                let (value, after) = text.split_at(end);
                let is_kind = word.starts_with(|first: char| first.is_ascii_uppercase());
                let is_valid = if is_kind {
                    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
                } else {
                    is_name(value)
                };
                if !is_valid {
                    return None;
                }
                words.push((*word, value));
                text = after;
            }
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_gives_the_words_in_its_places() {
        let of = |says, text| found(says, text);
        assert_eq!(
            of("class {class} of {Kind}", "the class fast of Claim"),
            Some(vec![("class", "fast"), ("Kind", "Claim")])
        );
        assert_eq!(of("a \"{a}\"…b={b}!", "a \"x y\" a \"x\" c b=z! b=?"), Some(vec![("a", "x"), ("b", "z")]));
        assert_eq!(of("it is {a}", "it is a-1"), Some(vec![("a", "a-1")]));
        for (says, text) in
            [("a {a} b", "a $(id) b"), ("a {Kind} b", "a x;y b"), ("a {a} b", "a x"), ("a …b", "a x"), ("a", "")]
        {
            assert_eq!(of(says, text), None, "{says}: {text}");
        }
    }

    #[test]
    fn each_row_names_only_words_that_it_can_have() {
        let around = ["velero", "namespace", "location", "server", "repository", "backup"];
        let words = |text: &'static str| {
            pieces(text).filter_map(|piece| if let Piece::Word(word) = piece { Some(word) } else { None })
        };
        for row in OF_ALL.iter().chain(&OF_VELERO) {
            assert!(matches!(pieces(row.says).next(), Some(Piece::Text(_))), "{}", row.says);
            let known: Vec<&str> = words(row.says).chain(around).collect();
            let all = row.commands.iter().flat_map(|command| words(command)).chain(words(row.sentence));
            all.for_each(|word| assert!(known.contains(&word), "{}: {word}", row.says));
        }
    }
}

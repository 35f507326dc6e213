//! The oracle: Velero's own `velero debug` runs on the same stand at the same moment, and our bundle must contain each
//! object, log line and fact that it collected.

use std::collections::{BTreeMap, BTreeSet};

use debugbundle_crd::parse_duration;
use harness::bundle::{Unpacked, unpack};
use harness::velero_objects::{data_download, data_upload, schedule, velero_object};
use harness::{LogScript, Operator, Velero, pod, with_namespace};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The content of `velero debug`'s file, by path below its top directory.
type Theirs = BTreeMap<String, Vec<u8>>;

/// The target that both collect.
struct Asked {
    backup: &'static str,
    restore: Option<&'static str>,
}

const ALL: [Asked; 4] = [
    Asked { backup: "r1-source", restore: Some("r1") },
    Asked { backup: "r-stuck-source", restore: Some("r-stuck") },
    Asked { backup: "r-failed-source", restore: Some("r-failed") },
    Asked { backup: "b-partial", restore: None },
];

#[tokio::test]
async fn sec_x61_all_that_velero_debug_collects_of_a_real_velero_is_in_our_bundle_and_no_line_of_it_masked() {
    with_namespace("oracle", |context| async move {
        let velero = Velero::of(&context).fs_timeout("4h").start().await;
        velero.partially_failed_backup("b-partial").await;
        velero.partially_failed_restore("r1").await;
        velero.failed_restore("r-failed").await;
        velero.stuck_restore("r-stuck").await;
        something_of_each_kind(&velero).await;
        let _operator = Operator::of(&context).ready().await;
        let mut lacking = Vec::new();
        let (mut first, mut kinds) = (None, BTreeSet::new());
        for asked in &ALL {
            let name = asked.restore.unwrap_or(asked.backup);
            let kind = if asked.restore.is_some() { "Restore" } else { "Backup" };
            let theirs = velero_debug(&velero, asked).await;
            // `velero debug` takes logs whole, so our bundle must as well.
            let spec = json!({"target": {"kind": kind, "name": name}, "logs": {"window": {"since": "24h"}}});
            context.debug_bundle(name, spec).await;
            let status = context.until_bundle_ended(name).await;
            let ours = context.download(&status).await;
            lacking.extend(
                lacks(&context.namespace, asked, &theirs, &ours).into_iter().map(|what| format!("{name}: {what}")),
            );
            let (lines, masked) = of_velero(&ours);
            assert!(lines > 100, "{name}: {lines} lines of Velero's own logs");
            assert!(masked.is_empty(), "{name}: no line of these holds a secret: {masked:#?}");
            kinds.extend(theirs.keys().filter(|path| path.contains("velero.io_")).map(|path| plural_of(path)));
            // The comparison itself detects differences: the bundle of another target fails it.
            let of_the_first = first.get_or_insert(theirs);
            let is_first = asked.backup == ALL[0].backup;
            assert!(is_first || !lacks(&context.namespace, &ALL[0], of_the_first, &ours).is_empty());
        }
        assert_eq!(kinds.len(), 13, "kinds of which velero debug had an object: {kinds:?}");
        println!("what velero debug has and our bundles lack ({}): {lacking:#?}", lacking.len());
        assert!(lacking.is_empty(), "velero debug has what our bundles lack: {lacking:#?}");
    })
    .await;
}

/// `backups` of `…/backups-2026-11-21T12-35-33Z.9861.json`.
fn plural_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split_once('-').expect("plural and time").0.to_owned()
}

async fn velero_debug(velero: &Velero, asked: &Asked) -> Theirs {
    let file = velero.context.folder("debug").join(format!("{}.tar.gz", asked.backup));
    let output = file.to_str().expect("the stand's folder has a plain name");
    let mut args = vec!["debug", "--output", output, "--backup", asked.backup];
    args.extend(asked.restore.into_iter().flat_map(|restore| ["--restore", restore]));
    let ended = velero.cli(args).await;
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "velero debug: {said}");
    let archive = std::fs::read(&file).unwrap_or_else(|error| panic!("velero debug wrote nothing ({error}): {said}"));
    unpack(&archive).1
}

/// Each item of theirs that ours lacks, in words. An unknown file counts as lacking.
fn lacks(space: &str, asked: &Asked, theirs: &Theirs, ours: &Unpacked) -> Vec<String> {
    let mut lacking = Vec::new();
    let mut seen = Vec::new();
    for (path, body) in theirs {
        let text = String::from_utf8_lossy(body);
        let parts: Vec<&str> = path.split('/').collect();
        let missing = match parts.as_slice() {
            ["version.txt"] => version(&text, ours),
            ["kubecapture", group, namespace, file] => {
                seen.push((*group).to_owned());
                assert_eq!(*namespace, space);
                objects(group, namespace, file, &text, ours)
            }
            ["kubecapture", "core_v1", namespace, pod, container, _] => {
                seen.push("log".to_owned());
                log(&format!("namespaces/{namespace}/pods/{pod}/{container}/{container}/logs/current.log"), &text, ours)
            }
            [file] if *file == format!("backup_{}.log", asked.backup) => {
                target_log(&format!("velero/backups/{}/backup.log", asked.backup), &text, ours)
            }
            [file] if *file == format!("backup_describe_{}.txt", asked.backup) => {
                Described::new(space, "backups", asked.backup, ours).lacks(&text)
            }
            [file] if asked.restore.is_some_and(|restore| *file == format!("restore_{restore}.log")) => {
                let restore = asked.restore.unwrap_or_default();
                target_log(&format!("velero/restores/{restore}/restore.log"), &text, ours)
            }
            [file] if asked.restore.is_some_and(|restore| *file == format!("restore_describe_{restore}.txt")) => {
                Described::new(space, "restores", asked.restore.unwrap_or_default(), ours).lacks(&text)
            }
            _ => vec!["a file that this test does not know".to_owned()],
        };
        lacking.extend(missing.into_iter().map(|what| format!("{path}: {what}")));
    }
    for group in ["velero.io_v1", "velero.io_v2alpha1", "core_v1", "log"] {
        assert!(seen.iter().any(|found| found == group), "velero debug itself has no {group}: {:?}", theirs.keys());
    }
    lacking
}

/// `Client:` describes the local program; the server's version is a fact of the installation.
fn version(text: &str, ours: &Unpacked) -> Vec<String> {
    let (_, server) = text.split_once("Server:").unwrap_or_else(|| panic!("no server in {text}"));
    let (_, version) = server.split_once("Version:").unwrap_or_else(|| panic!("no version in {text}"));
    let ours = &ours.yaml("velero/version.json")["server"]["version"];
    if *ours == version.trim() { Vec::new() } else { vec![format!("server {} is {ours}", version.trim())] }
}

/// A List of theirs: each object and each field of it.
fn objects(group: &str, namespace: &str, file: &str, text: &str, ours: &Unpacked) -> Vec<String> {
    let plural = plural_of(file);
    let (group, _) = group.split_once('_').expect("group and version");
    let path = format!("namespaces/{namespace}/{group}/{plural}.yaml");
    if !ours.has(&path) {
        return vec![format!("no {path}")];
    }
    let list: Value = serde_json::from_str(text).expect("kubecapture is JSON");
    let items = ours.items(&path);
    let mut lacking = Vec::new();
    for item in list["items"].as_array().expect("a List") {
        let name = &item["metadata"]["name"];
        let Some(found) = items.iter().find(|found| found["metadata"]["name"] == *name) else {
            lacking.push(format!("no {name}"));
            continue;
        };
        for (pointer, value) in leaves(item) {
            let other = found.pointer(&pointer).unwrap_or(&Value::Null);
            if !left_out_or_moving(&pointer) && *other != value && !is_masked(&pointer, &value, other) {
                lacking.push(format!("{name} {pointer}: {value} is {other}"));
            }
        }
    }
    lacking
}

/// Dropped on purpose (bundle.md of every reader: docs/bundle-format.md), or changed by Velero between the two
/// readings: every few seconds it validates and syncs the location, and refreshes repositories.
fn left_out_or_moving(pointer: &str) -> bool {
    let dropped =
        ["/metadata/managedFields/", "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"];
    let moving =
        ["/metadata/resourceVersion", "/metadata/generation", "/status/lastValidationTime", "/status/lastSyncedTime"];
    dropped.iter().any(|dropped| pointer.starts_with(dropped)) || moving.contains(&pointer)
}

/// A live URL keeps the part that shows where it leads.
fn is_masked(pointer: &str, theirs: &Value, ours: &Value) -> bool {
    let (Some(theirs), Some(ours)) = (theirs.as_str(), ours.as_str()) else { return false };
    let bare = |url: &str| url.split('?').next().unwrap_or_default().to_owned();
    pointer == "/status/downloadURL" && bare(theirs) == bare(ours) && ours.contains("?[REDACTED:")
}

fn leaves(value: &Value) -> Vec<(String, Value)> {
    fn walk(value: &Value, at: &str, all: &mut Vec<(String, Value)>) {
        let step = |key: &str| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| walk(value, &step(key), all)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, value)| walk(value, &step(&index.to_string()), all));
            }
            leaf => all.push((at.to_owned(), leaf.clone())),
        }
    }
    let mut all = Vec::new();
    walk(value, "", &mut all);
    all
}

/// A container's log: each line of theirs, in order, after ours' timestamp.
fn log(path: &str, theirs: &str, ours: &Unpacked) -> Vec<String> {
    if !ours.has(path) {
        return vec![format!("no {path}, for {} lines", theirs.lines().count())];
    }
    let text = ours.file(path);
    let lines = text.lines().map(|line| {
        let (time, line) = line.split_once(' ').unwrap_or((line, ""));
        assert!(time.parse::<Timestamp>().is_ok(), "no time in front: {time} {line}");
        line
    });
    in_order(theirs, lines)
}

/// The log of a Backup or Restore. Without a log, theirs contains the reason; ours reports it in the manifest.
fn target_log(path: &str, theirs: &str, ours: &Unpacked) -> Vec<String> {
    let none = ["Logs for restore", "file not found", "Logs for backup"];
    if theirs.lines().count() == 1 && none.iter().any(|none| theirs.contains(none)) {
        let told = ours.missing().iter().any(|missing| missing.path == path && missing.severity == "note");
        return if told { Vec::new() } else { vec![format!("{path} is not told as missing: {theirs}")] };
    }
    if !ours.has(path) {
        return vec![format!("no {path}, for {} lines", theirs.lines().count())];
    }
    in_order(theirs, ours.file(path).lines())
}

/// The number of lines of the server's and the targets' logs in a bundle, and the lines with a masked part (X61).
fn of_velero(ours: &Unpacked) -> (usize, Vec<String>) {
    let server = format!("/pods/{}/velero/", harness::velero::POD);
    let logs = ours.paths().filter(|path| std::path::Path::new(path).extension().is_some_and(|end| end == "log"));
    let logs = logs
        .filter(|path| path.contains(&server) || path.contains("velero/backups/") || path.contains("velero/restores/"));
    let text: String = logs.map(|path| ours.file(path)).collect();
    let masked = text.lines().filter(|line| line.contains("[REDACTED:")).map(str::to_owned).collect();
    (text.lines().count(), masked)
}

fn in_order<'a>(theirs: &str, mut ours: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lost = theirs.lines().find(|line| !ours.any(|other| same(line, other)));
    lost.map(|line| format!("no line {line:?}")).into_iter().collect()
}

/// Whether the texts are equal except for masks: the text around the masks occurs in theirs, in order.
fn same(theirs: &str, ours: &str) -> bool {
    if theirs == ours || !ours.contains("[REDACTED:") {
        return theirs == ours;
    }
    let mut rest = theirs;
    ours.split("[REDACTED:").enumerate().all(|(index, piece)| {
        let piece = if index == 0 { piece } else { piece.split_once(']').map_or("", |(_, behind)| behind) };
        match rest.find(piece) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                index > 0 || at == 0
            }
            None => false,
        }
    })
}

/// The facts of `velero backup describe --details` and `velero restore describe --details`, from our files alone.
struct Described<'a> {
    ours: &'a Unpacked,
    folder: String,
    object: Value,
    volumes: Vec<Value>,
}

impl<'a> Described<'a> {
    fn new(space: &str, plural: &str, name: &str, ours: &'a Unpacked) -> Self {
        let items = ours.items(&format!("namespaces/{space}/velero.io/{plural}.yaml"));
        let object = items.into_iter().find(|item| item["metadata"]["name"] == name).unwrap_or_default();
        let moved = if plural == "backups" { "podvolumebackups" } else { "podvolumerestores" };
        let path = format!("namespaces/{space}/velero.io/{moved}.yaml");
        let label = format!("velero.io/{}-name", plural.trim_end_matches('s'));
        let volumes = if ours.has(&path) { ours.items(&path) } else { Vec::new() };
        let volumes = volumes.into_iter().filter(|volume| volume["metadata"]["labels"][&label] == name).collect();
        Self { ours, folder: format!("velero/{plural}/{name}"), object, volumes }
    }

    fn lacks(&self, text: &str) -> Vec<String> {
        let mut lacking = Vec::new();
        let mut facts = 0;
        for (path, value) in rows(text) {
            facts += 1;
            let labels: Vec<&str> = path.iter().map(String::as_str).collect();
            match self.tells(&labels, &value) {
                Some(true) => {}
                Some(false) => lacking.push(format!("{} {value:?} is not what our files say", path.join("/"))),
                None => lacking.push(format!("{} {value:?}: where it stands in ours is not known", path.join("/"))),
            }
        }
        assert!(facts > 20, "describe told {facts} facts: {text}");
        lacking
    }

    /// Whether our files contain the fact; `None`: the table does not cover this line.
    fn tells(&self, labels: &[&str], value: &str) -> Option<bool> {
        let is = |other: String| Some(other == value);
        let field = |pointer: &str| self.object.pointer(pointer).unwrap_or(&Value::Null);
        let or = |pointer: &str, none: &str| match field(pointer) {
            Value::Null => none.to_owned(),
            Value::String(text) if text.is_empty() => none.to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let list = |pointer: &str, none: &str| match field(pointer).as_array() {
            Some(all) if !all.is_empty() => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            _ => none.to_owned(),
        };
        let pair = |pointer: &str| match field(pointer).as_object() {
            Some(all) if !all.is_empty() => {
                Some(all.iter().any(|(key, other)| value == format!("{key}={}", other.as_str().unwrap_or_default())))
            }
            _ => is("<none>".to_owned()),
        };
        let none_of = |pointer: &str| match field(pointer) {
            Value::Null => is("<none>".to_owned()),
            Value::Object(fields) if fields.is_empty() => is("<none>".to_owned()),
            _ => None,
        };
        let restore = self.folder.contains("/restores/");
        match labels {
            ["Name"] => is(or("/metadata/name", "")),
            ["Namespace"] => is(or("/metadata/namespace", "")),
            ["Labels"] => pair("/metadata/labels"),
            ["Annotations"] => pair("/metadata/annotations"),
            // An advice or the reason follows it.
            ["Phase"] => {
                let (phase, rest) = value.split_once(' ').unwrap_or((value, ""));
                let reason = rest.trim_matches(['(', ')']);
                let told = rest.is_empty()
                    || reason.contains("for more information")
                    || reason == or("/status/failureReason", "");
                Some(phase == or("/status/phase", "New") && told)
            }
            ["Failure Reason" | "Failure reason"] => is(or("/status/failureReason", "")),
            ["Namespaces", "Included"] => match list("/spec/includedNamespaces", "*").as_str() {
                "*" if restore => is("all namespaces found in the backup".to_owned()),
                names => is(names.to_owned()),
            },
            ["Namespaces", "Excluded"] => is(list("/spec/excludedNamespaces", "<none>")),
            ["Resources", "Included"] => is(list("/spec/includedResources", "*")),
            ["Resources", "Excluded"] => is(list("/spec/excludedResources", "<none>")),
            ["Resources", "Cluster-scoped"] => is(or("/spec/includeClusterResources", "auto")),
            ["Resources", "Included cluster-scoped"] => is(list("/spec/includedClusterScopedResources", "<none>")),
            ["Resources", "Excluded cluster-scoped"] => is(list("/spec/excludedClusterScopedResources", "<none>")),
            ["Resources", "Included namespace-scoped"] => is(list("/spec/includedNamespaceScopedResources", "*")),
            ["Resources", "Excluded namespace-scoped"] => is(list("/spec/excludedNamespaceScopedResources", "<none>")),
            ["Label selector"] => none_of("/spec/labelSelector"),
            ["Or label selector"] => none_of("/spec/orLabelSelectors"),
            ["Storage Location"] => is(or("/spec/storageLocation", "")),
            ["Velero-Native Snapshot PVs"] => is(or("/spec/snapshotVolumes", "auto")),
            ["File System Backup (Default)"] => is(or("/spec/defaultVolumesToFsBackup", "false")),
            ["Snapshot Move Data"] => is(or("/spec/snapshotMoveData", "auto")),
            ["Data Mover"] => is(or("/spec/datamover", "velero")),
            // In the long form: 720h becomes 720h0m0s.
            ["TTL"] => {
                Some(parse_duration(value).is_some() && parse_duration(value) == parse_duration(&or("/spec/ttl", "")))
            }
            ["CSISnapshotTimeout"] => is(or("/spec/csiSnapshotTimeout", "")),
            ["ItemOperationTimeout"] => is(or("/spec/itemOperationTimeout", "")),
            ["Hooks"] => none_of("/spec/hooks"),
            ["Backup Format Version"] => is(or("/status/formatVersion", "")),
            ["Started"] => is(time(&or("/status/startTimestamp", ""))),
            ["Completed"] => is(time(&or("/status/completionTimestamp", ""))),
            ["Expiration"] => is(time(&or("/status/expiration", ""))),
            ["Total items to be backed up" | "Total items to be restored" | "Estimated total items to be restored"] => {
                is(or("/status/progress/totalItems", "0"))
            }
            ["Items backed up"] => is(or("/status/progress/itemsBackedUp", "0")),
            ["Items restored" | "Items restored so far"] => is(or("/status/progress/itemsRestored", "0")),
            ["HooksAttempted"] => is(or("/status/hookStatus/hooksAttempted", "0")),
            ["HooksFailed"] => is(or("/status/hookStatus/hooksFailed", "0")),
            ["Backup"] => is(or("/spec/backupName", "")),
            ["Namespace mappings"] => pair("/spec/namespaceMapping"),
            ["Restore PVs"] => is(or("/spec/restorePVs", "auto")),
            ["Preserve Service NodePorts"] => is(or("/spec/preserveNodePorts", "auto")),
            ["Existing Resource Policy"] => is(or("/spec/existingResourcePolicy", "<none>")),
            ["Errors" | "Warnings", ..] => self.tells_of_results(labels, value),
            ["Resource List", ..] => Some(self.tells_of_resources(labels.get(1).copied(), value)),
            _ => self.tells_of_volumes(labels, value),
        }
    }

    fn json(&self, file: &str) -> Value {
        let path = format!("{}/{file}", self.folder);
        if self.ours.has(&path) { self.ours.yaml(&path) } else { Value::Null }
    }

    fn tells_of_results(&self, labels: &[&str], value: &str) -> Option<bool> {
        let kind = labels[0].to_lowercase();
        let all = &self.json("results.json")[&kind];
        let of = match labels {
            [_] => &self.object["status"][&kind],
            [_, "Velero"] => &all["velero"],
            [_, "Cluster"] => &all["cluster"],
            [_, "Namespaces"] => &all["namespaces"],
            [_, "Namespaces", namespace, ..] => &all["namespaces"][*namespace],
            _ => return None,
        };
        let said = of.as_array().into_iter().flatten().filter_map(Value::as_str);
        Some(match value {
            "<none>" => of.is_null(),
            value => said.into_iter().any(|line| line.trim().contains(value)) || of.as_u64() == value.parse().ok(),
        })
    }

    fn tells_of_resources(&self, kind: Option<&str>, value: &str) -> bool {
        let list = self.json("resource-list.json");
        let Some(kind) = kind else { return value.ends_with("resource list not found>") && list.is_null() };
        list[kind].as_array().is_some_and(|all| all.iter().any(|item| item == value))
    }

    /// Volumes by the way their data was moved.
    fn tells_of_volumes(&self, labels: &[&str], value: &str) -> Option<bool> {
        let infos = self.json("volumeinfo.json");
        let none = |method: &str| {
            let of = |info: &Value| info["backupMethod"] == method || info["restoreMethod"] == method;
            !infos.as_array().into_iter().flatten().any(of)
        };
        match (labels, value) {
            (["Backup Volumes", "Velero-Native Snapshots"], "<none included>") => Some(none("NativeSnapshot")),
            (["Backup Volumes", "CSI Snapshots"] | ["CSI Snapshot Restores"], "<none included>") => {
                Some(none("CSISnapshot"))
            }
            (["Backup Volumes", "Pod Volume Backups"], "<none included>") => Some(self.volumes.is_empty()),
            (["Backup Volumes", way, phase, pod] | [way, phase, pod], volume)
                if way.starts_with("Pod Volume Backups - ") || way.ends_with(" Restores") =>
            {
                let text = |volume: &Value, pointer: &str, none: &str| {
                    volume.pointer(pointer).and_then(Value::as_str).unwrap_or(none).to_owned()
                };
                Some(self.volumes.iter().any(|ours| {
                    way.contains(&text(ours, "/spec/uploaderType", "restic"))
                        && text(ours, "/status/phase", "New") == *phase
                        && *pod
                            == format!("{}/{}", text(ours, "/spec/pod/namespace", ""), text(ours, "/spec/pod/name", ""))
                        && text(ours, "/spec/volume", "") == volume
                }))
            }
            _ => None,
        }
    }
}

/// RFC 3339 as describe writes it.
fn time(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => "<n/a>".to_owned(),
    }
}

/// The lines of a description as (labels from the outermost on, value), without colours and without lines that are only
/// a label; a line without a label belongs to the label above.
fn rows(text: &str) -> Vec<(Vec<String>, String)> {
    let plain = crate::support::text::without_colours(text);
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut rows = Vec::new();
    for line in plain.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        let labelled = line.split_once(':').filter(|(label, behind)| {
            !line.starts_with("- ") && !label.contains(['<', '=']) && (behind.is_empty() || behind.starts_with(' '))
        });
        let value = match labelled {
            Some((label, value)) => {
                above.retain(|(other, _)| *other < indent);
                above.push((indent, label.to_owned()));
                value.trim()
            }
            None => line.trim_start_matches("- "),
        };
        if !value.is_empty() {
            rows.push((above.iter().map(|(_, label)| label.clone()).collect(), value.to_owned()));
        }
    }
    rows
}

/// Objects of Velero's kinds that the recipes do not create, and pods with every sort of container.
async fn something_of_each_kind(velero: &Velero) {
    let context = &velero.context;
    let shop = format!("{}-r1-source", context.namespace);
    let template = json!({"includedNamespaces": [shop], "storageLocation": "default", "ttl": "1h"});
    let yearly = schedule("nightly").spec("schedule", "@yearly").spec("paused", true);
    context.create_velero(yearly.spec("template", template)).await;
    let location =
        json!({"metadata": {"name": "zone-a"}, "spec": {"provider": "aws", "config": {"region": "us-east-1"}}});
    context.create_velero(velero_object("VolumeSnapshotLocation", location)).await;
    let late = json!({"metadata": {"name": "late"}, "spec": {"backupName": "never-made"}});
    context.create_velero(velero_object("DeleteBackupRequest", late)).await;
    let upload = data_upload("r1-source-x1").of_claim(&shop, "data").labelled("velero.io/backup-name", "r1-source");
    context.create_velero(upload.failed().status("message", "no appropriate node to run data upload")).await;
    let download = data_download("r1-x1").of_claim(&shop, "data").from_namespace(&shop).phase("Canceled");
    let download = download.labelled("velero.io/restore-name", "r1");
    context.create_velero(download.status("message", "found in a cancelled state")).await;
    let lines =
        |of: &str| LogScript::lines([format!("level=info msg=\"{of} one\""), format!("level=error msg=\"{of} two\"")]);
    context.log("node-agent-k4w9z", "node-agent", lines("node-agent"));
    context.log(harness::velero::POD, "velero-velero-plugin-for-aws", lines("plugin"));
    let node = velero.node();
    let every = pod("ui-0").on_node(node).with_init("setup").with_container("ui").with_container("proxy");
    context.pod(every.with_ephemeral("debugger")).await;
    for container in ["setup", "ui", "proxy", "debugger"] {
        context.log("ui-0", container, lines(container));
    }
}

//! The kinds of findings: id, severity, what to do about one, and the page of Velero's documentation about it. No kind
//! explains known failure messages.

use std::collections::BTreeSet;

use debugbundle_crd::Severity;
use serde::{Serialize, Serializer};

/// Documentation of the Velero that the tests run: `site/content/docs/v1.18` in Velero's repository.
const SITE: &str = "https://velero.io/docs/v1.18/";

/// The page about a finding.
#[derive(Clone, Copy)]
enum Page {
    None,
    /// The same for each object.
    At(&'static str),
    /// About debugging a Backup or Restore.
    Debugging,
    /// About the way in which the volume's data moves.
    Moving,
    /// About the fields of a Backup or Restore.
    Fields,
}

/// What belongs to a kind of finding.
struct Row {
    id: &'static str,
    severity: Severity,
    page: Page,
    remedy: &'static str,
}

/// Defines the kinds: a new one is a row here.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $id:literal, $severity:ident, $page:expr, $remedy:literal;)*) => {
        /// A kind of finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FindingKind {
            $($(#[$doc])* $name,)*
        }

        impl FindingKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row { id: $id, severity: Severity::$severity, page: $page, remedy: $remedy },)*
                }
            }
        }
    };
}

kinds! {
    /// A volume's data does not move, with the object that it waits for or the reason for its failure.
    DataHeldUp: "data-held-up", Error, Page::Moving,
        "fix the problem of the last object on the way to the cause; data that waits then continues by itself, failed \
         data needs a new Backup or Restore";
    /// A Backup or Restore failed that the bundle is not about.
    FailedBefore: "failed-before", Warning, Page::Debugging,
        "create a bundle about it (kubectl debugbundle create --backup or --restore): this bundle does not contain its log";
    /// `status.failureReason` of the target.
    FailureReason: "failure-reason", Error, Page::Debugging,
        "remove the named cause, then create a new Backup or Restore: Velero does not retry a failed one";
    /// One of `status.validationErrors` of the target.
    ValidationError: "validation-error", Error, Page::Fields,
        "correct the named field in a new Backup or Restore: Velero does not process this one again";
    /// An error in the target's results.
    ResultsError: "results-error", Error, Page::Debugging,
        "look at the named object and at the log lines around it; the Backup or Restore continued with all other objects";
    /// A warning in the target's results.
    ResultsWarning: "results-warning", Warning, Page::Debugging,
        "compare it with what you expected: a warning does not fail a Backup or Restore, and often only reports that an \
         object existed already";
    /// The number of further errors or warnings in the target's results.
    ResultsMore: "results-more", Info, Page::Debugging,
        "read results.json: it contains all of them";
    /// The target's results could not be read, or not to their end.
    ResultsUnreadable: "results-unreadable", Warning, Page::At("output-file-format/"),
        "compare the file with the object in the store: the object is damaged, or another program wrote it";
    /// A node-agent could not prepare a hosting pod.
    DataMoverNotPrepared: "data-mover-not-prepared", Warning, Page::At("csi-snapshot-data-movement/#troubleshooting"),
        "look at the named pod, claim or snapshot, and at its Events";
    /// Velero reports a BackupStorageLocation as Unavailable.
    LocationUnavailable: "location-unavailable", Error,
        Page::At("troubleshooting/#troubleshooting-backupstoragelocation-and-volumesnapshotlocation-credentials"),
        "read velero/locations/ in this bundle: the first failed step says what to fix";
    /// The location of a Backup that Velero has not begun is read-only.
    LocationReadOnly: "location-read-only", Error, Page::At("api-types/backupstoragelocation/"),
        "set the location's accessMode to ReadWrite, or create a new Backup that names another location";
    /// A hook of the target failed.
    HookFailed: "hook-failed", Error, Page::At("backup-hooks/"),
        "run the named command in the named container (kubectl exec) and see what it needs; then create a new Backup or \
         Restore";
    /// A repository with volume data is not ready.
    RepositoryNotReady: "repository-not-ready", Error, Page::At("file-system-backup/#troubleshooting"),
        "fix what the BackupRepository's message names; Velero tries the repository again by itself, then create a new \
         Backup or Restore";
    /// The newest maintenance of a repository failed.
    MaintenanceFailed: "maintenance-failed", Error, Page::At("repository-maintenance/"),
        "fix what the newest entry of the BackupRepository's status.recentMaintenance names; until then the repository only \
         grows";
    /// The node-agent of the installation is not ready on all of its nodes.
    NodeAgentNotReady: "node-agent-not-ready", Error, Page::At("file-system-backup/#troubleshooting"),
        "look at the named pod of the DaemonSet, or at its Events; on such a node no data of a volume moves";
    /// A VolumeSnapshot of the target is not ready to use.
    SnapshotFailed: "snapshot-failed", Error, Page::At("csi/"),
        "look at the VolumeSnapshot and its VolumeSnapshotContent: the error is the CSI driver's; then create a new Backup";
    /// A Restore cannot create anything in a namespace that is being deleted.
    NamespaceTerminating: "namespace-terminating", Error, Page::Debugging,
        "find the objects that are left in the namespace and the controllers of their finalizers; when the namespace is \
         gone, create a new Restore";
    /// Velero's server ended while it ran the target.
    ServerEnded: "server-ended", Error, Page::Debugging,
        "fix what ended the server, for example with a higher memory limit, then create a new Backup or Restore";
    /// A Restore completed, and a pod that it made is not ready.
    RestoredNotWell: "restored-not-well", Error, Page::Debugging,
        "fix what the pod's container names; the Restore itself needs no repetition if its data is complete";
    /// A Backup completed without a volume that it should contain.
    VolumeSkipped: "volume-skipped", Error, Page::At("file-system-backup/"),
        "create a new Backup while the named pod runs";
    /// A Backup has no data of a volume, and nobody said that it should have none.
    VolumeNotProtected: "volume-not-protected", Warning, Page::At("csi/"),
        "if its data is wanted, let Velero back it up in the way that the reason misses (a VolumeSnapshotLocation, CSI \
         snapshots with --features=EnableCSI, or the file system with --default-volumes-to-fs-backup); then create a new Backup";
    /// A Backup has no data of a volume, as a policy, a label, an annotation or the spec wants it.
    VolumeExcluded: "volume-excluded", Info, Page::At("file-system-backup/"),
        "nothing, if its data is not wanted; else change the policy, label, annotation or field that the reason names, and create \
         a new Backup";
    /// Velero's server is not ready, or processes no object of the target's kind.
    ServerIdle: "server-idle", Error, Page::Debugging,
        "make sure that Velero's server is ready, and started without the named flag; waiting work then continues by itself";
    /// Velero processes other objects before the target.
    WaitsBehind: "waits-behind", Error, Page::Debugging,
        "look at the object in front; if it makes no progress, create a bundle about it (kubectl debugbundle create). When \
         that object has ended, Velero starts the next one";
    /// The operator may not read Velero's repository password, so that the password is not masked by its value.
    RepositoryPasswordNotMasked: "repository-password-not-masked", Warning, Page::None,
        "look for the password in this bundle before you pass it on, and grant the permission";
    /// Entries were left out because the self-check found something in them.
    WithheldBySelfCheck: "withheld-by-self-check", Warning, Page::None,
        "report it as SECURITY.md describes: each hit is a bug in the operator's redaction";
}

impl FindingKind {
    /// Its stable id in `analysis/diagnosis.json` and status.
    pub const fn id(self) -> &'static str {
        self.row().id
    }

    /// How severe it is.
    pub const fn severity(self) -> Severity {
        self.row().severity
    }

    /// How to fix it, in one sentence.
    pub const fn remedy(self) -> &'static str {
        self.row().remedy
    }

    /// The page about it, for a finding about `object` (`Kind/namespace/name`).
    pub fn link(self, object: &str) -> Option<String> {
        let kind = object.split('/').next().unwrap_or_default();
        let page = match self.row().page {
            Page::None => return None,
            Page::At(page) => page,
            Page::Debugging => debugging(kind),
            Page::Moving => moving(kind),
            Page::Fields if kind == "Restore" => "api-types/restore/",
            Page::Fields => "api-types/backup/",
        };
        Some(format!("{SITE}{page}"))
    }
}

impl Serialize for FindingKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.id())
    }
}

/// All pages that a finding may link to, so that a test can compare them with the pages that Velero publishes.
pub fn links() -> BTreeSet<String> {
    let kinds = ["Backup", "Restore", "PodVolumeBackup", "PodVolumeRestore", "DataUpload", "DataDownload"];
    let of = |found: FindingKind| kinds.iter().filter_map(move |kind| found.link(&format!("{kind}/v/x")));
    FindingKind::ALL.iter().copied().flat_map(of).collect()
}

/// The troubleshooting page for the way the volume's data moves.
fn moving(kind: &str) -> &'static str {
    match kind {
        "DataUpload" | "DataDownload" => "csi-snapshot-data-movement/#troubleshooting",
        _ => "file-system-backup/#troubleshooting",
    }
}

fn debugging(kind: &str) -> &'static str {
    match kind {
        "Restore" => "debugging-restores/",
        _ => "troubleshooting/#general-troubleshooting-information",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_finding_has_an_id_and_a_remedy_and_its_page_is_of_the_right_way() {
        let ids: BTreeSet<&str> = FindingKind::ALL.iter().map(|kind| kind.id()).collect();
        assert_eq!(ids.len(), FindingKind::ALL.len());
        let without_page = [FindingKind::RepositoryPasswordNotMasked, FindingKind::WithheldBySelfCheck];
        for kind in FindingKind::ALL.iter().copied() {
            let (id, link) = (kind.id(), kind.link("Restore/v/r1"));
            assert!(kind.remedy().len() > 20, "{id}");
            assert!(link.is_some_and(|link| link.starts_with(SITE)) || without_page.contains(&kind), "{id}");
        }
        let page = |kind: &str| FindingKind::DataHeldUp.link(&format!("{kind}/v/x")).unwrap();
        assert!(page("DataUpload").contains("csi-snapshot") && page("PodVolumeRestore").contains("file-system"));
    }
}

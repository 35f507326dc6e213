//! The kinds of findings: id, severity, what to do about one, and the page of Velero's documentation about it. No kind
//! explains known failure messages.

use std::collections::BTreeSet;

use debugbundle_crd::Severity;
use serde::{Serialize, Serializer};

/// Documentation of the Velero that the tests run: `site/content/docs/v1.18` in Velero's repository.
const SITE: &str = "https://velero.io/docs/v1.18/";

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A volume's data does not move, with the object that it waits for or the reason for its failure.
    DataHeldUp,
    /// A Backup or Restore failed that the bundle is not about.
    FailedBefore,
    /// `status.failureReason` of the target.
    FailureReason,
    /// One of `status.validationErrors` of the target.
    ValidationError,
    /// An error in the target's results.
    ResultsError,
    /// A warning in the target's results.
    ResultsWarning,
    /// The number of further errors or warnings in the target's results.
    ResultsMore,
    /// The target's results could not be read, or not to their end.
    ResultsUnreadable,
    /// A node-agent could not prepare a hosting pod.
    DataMoverNotPrepared,
    /// Velero reports a BackupStorageLocation as Unavailable.
    LocationUnavailable,
    /// The location of a Backup that Velero has not begun is read-only.
    LocationReadOnly,
    /// Velero's server processes no object of the target's kind.
    ServerIdle,
    /// Velero processes other objects before the target.
    WaitsBehind,
    /// The operator may not read Velero's repository password, so that the password is not masked by its value.
    RepositoryPasswordNotMasked,
    /// Entries were left out because the self-check found something in them.
    WithheldBySelfCheck,
}

impl FindingKind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::DataHeldUp,
        Self::FailedBefore,
        Self::FailureReason,
        Self::ValidationError,
        Self::ResultsError,
        Self::ResultsWarning,
        Self::ResultsMore,
        Self::ResultsUnreadable,
        Self::DataMoverNotPrepared,
        Self::LocationUnavailable,
        Self::LocationReadOnly,
        Self::ServerIdle,
        Self::WaitsBehind,
        Self::RepositoryPasswordNotMasked,
        Self::WithheldBySelfCheck,
    ];

    /// Its stable id in `analysis/findings.json` and status.
    pub const fn id(self) -> &'static str {
        match self {
            Self::DataHeldUp => "data-held-up",
            Self::FailedBefore => "failed-before",
            Self::FailureReason => "failure-reason",
            Self::ValidationError => "validation-error",
            Self::ResultsError => "results-error",
            Self::ResultsWarning => "results-warning",
            Self::ResultsMore => "results-more",
            Self::ResultsUnreadable => "results-unreadable",
            Self::DataMoverNotPrepared => "data-mover-not-prepared",
            Self::LocationUnavailable => "location-unavailable",
            Self::LocationReadOnly => "location-read-only",
            Self::ServerIdle => "server-idle",
            Self::WaitsBehind => "waits-behind",
            Self::RepositoryPasswordNotMasked => "repository-password-not-masked",
            Self::WithheldBySelfCheck => "withheld-by-self-check",
        }
    }

    /// How severe it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::DataHeldUp
            | Self::FailureReason
            | Self::ValidationError
            | Self::ResultsError
            | Self::LocationUnavailable
            | Self::LocationReadOnly
            | Self::ServerIdle
            | Self::WaitsBehind => Severity::Error,
            Self::FailedBefore
            | Self::ResultsWarning
            | Self::ResultsUnreadable
            | Self::DataMoverNotPrepared
            | Self::RepositoryPasswordNotMasked
            | Self::WithheldBySelfCheck => Severity::Warning,
            Self::ResultsMore => Severity::Info,
        }
    }

    /// How to fix it, in one sentence.
    pub fn remedy(self) -> &'static str {
        self.advice("").0
    }

    /// The page about it, for a finding about `object` (`Kind/namespace/name`).
    pub fn link(self, object: &str) -> Option<String> {
        let kind = object.split('/').next().unwrap_or_default();
        self.advice(kind).1.map(|page| format!("{SITE}{page}"))
    }

    /// What to do, and the page for an object of this kind.
    fn advice(self, kind: &str) -> (&'static str, Option<&'static str>) {
        match self {
            Self::DataHeldUp => (
                "mend what the last object of the trail says; what waits goes on by itself, what failed needs a new \
                 Backup or Restore",
                Some(moving(kind)),
            ),
            Self::FailedBefore => (
                "make a bundle about it (kubectl debugbundle create --backup or --restore): this one has no log of it",
                Some(debugging(kind)),
            ),
            Self::FailureReason => (
                "remove the cause that is named, then make a new Backup or Restore: one that failed is not taken up again",
                Some(debugging(kind)),
            ),
            Self::ValidationError => (
                "correct the field that is named, in a new Backup or Restore: this one stays as it is",
                Some(if kind == "Restore" { "api-types/restore/" } else { "api-types/backup/" }),
            ),
            Self::ResultsError => (
                "look at the object that is named and at the lines of the log around it; everything else in the \
                 Backup or Restore went on",
                Some(debugging(kind)),
            ),
            Self::ResultsWarning => (
                "compare it with what you expected: a warning does not fail a Backup or Restore, and often only says \
                 what was there already",
                Some(debugging(kind)),
            ),
            Self::ResultsMore => ("read results.json: it has all of them", Some(debugging(kind))),
            Self::ResultsUnreadable => (
                "compare the file with what the store holds: it was stored damaged, or something else lies there",
                Some("output-file-format/"),
            ),
            Self::DataMoverNotPrepared => (
                "look at the pod, claim or snapshot that is named, and at the events about it",
                Some("csi-snapshot-data-movement/#troubleshooting"),
            ),
            Self::LocationUnavailable => (
                "read velero/locations/ in this bundle: the first step that failed says what to mend",
                Some("troubleshooting/#troubleshooting-backupstoragelocation-and-volumesnapshotlocation-credentials"),
            ),
            Self::LocationReadOnly => (
                "set the location's accessMode to ReadWrite, or make a new Backup that names another location",
                Some("api-types/backupstoragelocation/"),
            ),
            Self::ServerIdle => (
                "see to it that the server runs and is started without what is named: it takes up by itself what waits",
                Some(debugging(kind)),
            ),
            Self::WaitsBehind => (
                "look at the one in front, with a bundle about it if it does not move (kubectl debugbundle create): \
                 what waits is taken up when that has ended",
                Some(debugging(kind)),
            ),
            Self::RepositoryPasswordNotMasked => {
                ("look for the password in this bundle before you hand it on, and give the right", None)
            }
            Self::WithheldBySelfCheck => {
                ("report it as SECURITY.md says: each hit is a bug of the operator's redaction", None)
            }
        }
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
    FindingKind::ALL.into_iter().flat_map(of).collect()
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
        let ids: BTreeSet<&str> = FindingKind::ALL.into_iter().map(FindingKind::id).collect();
        assert_eq!(ids.len(), FindingKind::ALL.len());
        let without_page = [FindingKind::RepositoryPasswordNotMasked, FindingKind::WithheldBySelfCheck];
        for kind in FindingKind::ALL {
            let (id, link) = (kind.id(), kind.link("Restore/v/r1"));
            assert!(kind.remedy().len() > 20, "{id}");
            assert!(link.is_some_and(|link| link.starts_with(SITE)) || without_page.contains(&kind), "{id}");
        }
        let page = |kind: &str| FindingKind::DataHeldUp.link(&format!("{kind}/v/x")).unwrap();
        assert!(page("DataUpload").contains("csi-snapshot") && page("PodVolumeRestore").contains("file-system"));
    }
}

//! What to do about each kind of finding, and the page of Velero's documentation about it. It does not explain known
//! failure messages.

use std::collections::BTreeSet;

use super::{
    DATA_HELD_UP, FAILED_BEFORE, FAILURE_REASON, LOCATION_READ_ONLY, LOCATION_UNAVAILABLE, MOVER_NOT_PREPARED,
    PASSWORD_NOT_MASKED, RESULTS_ERROR, RESULTS_MORE, RESULTS_UNREADABLE, RESULTS_WARNING, SERVER_IDLE,
    VALIDATION_ERROR, WAITS_BEHIND, WITHHELD,
};

/// Documentation of the Velero that the tests run: `site/content/docs/v1.18` in Velero's repository.
const SITE: &str = "https://velero.io/docs/v1.18/";

/// All kinds of findings.
const IDS: [&str; 15] = [
    DATA_HELD_UP,
    FAILED_BEFORE,
    FAILURE_REASON,
    VALIDATION_ERROR,
    RESULTS_ERROR,
    RESULTS_WARNING,
    RESULTS_MORE,
    RESULTS_UNREADABLE,
    MOVER_NOT_PREPARED,
    LOCATION_UNAVAILABLE,
    LOCATION_READ_ONLY,
    SERVER_IDLE,
    WAITS_BEHIND,
    PASSWORD_NOT_MASKED,
    WITHHELD,
];

/// All pages that a finding may link to, so that a test can compare them with the pages that Velero publishes.
pub fn links() -> BTreeSet<String> {
    let kinds = ["Backup", "Restore", "PodVolumeBackup", "PodVolumeRestore", "DataUpload", "DataDownload"];
    IDS.iter().flat_map(|id| kinds.iter().filter_map(|kind| of(id, &format!("{kind}/v/x")).link)).collect()
}

/// What to do, and where to read more.
pub(super) struct Remedy {
    pub(super) words: &'static str,
    pub(super) link: Option<String>,
}

/// The remedy for a finding of this kind about `object` (`Kind/namespace/name`).
pub(super) fn of(id: &str, object: &str) -> Remedy {
    let kind = object.split('/').next().unwrap_or_default();
    let (words, page) = match id {
        DATA_HELD_UP => (
            "fix the problem of the last object in analysis/cause-trail.json; data that waits then continues by \
             itself, failed data needs a new Backup or Restore",
            Some(moving(kind)),
        ),
        FAILED_BEFORE => (
            "create a bundle about it (kubectl debugbundle create --backup or --restore): this bundle does not \
             contain its log",
            Some(debugging(kind)),
        ),
        FAILURE_REASON => (
            "remove the named cause, then create a new Backup or Restore: Velero does not retry a failed one",
            Some(debugging(kind)),
        ),
        VALIDATION_ERROR => (
            "correct the named field in a new Backup or Restore: Velero does not process this one again",
            Some(if kind == "Restore" { "api-types/restore/" } else { "api-types/backup/" }),
        ),
        RESULTS_ERROR => (
            "look at the named object and at the log lines around it; the Backup or Restore continued with all \
             other objects",
            Some(debugging(kind)),
        ),
        RESULTS_WARNING => (
            "compare it with what you expected: a warning does not fail a Backup or Restore, and often only reports \
             that an object existed already",
            Some(debugging(kind)),
        ),
        RESULTS_MORE => ("read results.json: it contains all of them", Some(debugging(kind))),
        RESULTS_UNREADABLE => (
            "compare the file with the object in the store: the object is damaged, or another program wrote it",
            Some("output-file-format/"),
        ),
        MOVER_NOT_PREPARED => (
            "look at the named pod, claim or snapshot, and at its Events",
            Some("csi-snapshot-data-movement/#troubleshooting"),
        ),
        LOCATION_UNAVAILABLE => (
            "read velero/locations/ in this bundle: the first failed step says what to fix",
            Some("troubleshooting/#troubleshooting-backupstoragelocation-and-volumesnapshotlocation-credentials"),
        ),
        LOCATION_READ_ONLY => (
            "set the location's accessMode to ReadWrite, or create a new Backup that names another location",
            Some("api-types/backupstoragelocation/"),
        ),
        SERVER_IDLE => (
            "make sure that Velero's server is ready, and started without the named flag; waiting work then \
             continues by itself",
            Some(debugging(kind)),
        ),
        WAITS_BEHIND => (
            "look at the object in front; if it makes no progress, create a bundle about it (kubectl debugbundle \
             create). When that object has ended, Velero starts the next one",
            Some(debugging(kind)),
        ),
        PASSWORD_NOT_MASKED => {
            ("look for the password in this bundle before you pass it on, and grant the permission", None)
        }
        WITHHELD => ("report it as SECURITY.md describes: each hit is a bug in the operator's redaction", None),
        _ => ("", None),
    };
    Remedy { words, link: page.map(|page| format!("{SITE}{page}")) }
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
    fn every_kind_of_finding_has_a_remedy_and_its_page_is_of_the_right_way() {
        for id in IDS {
            let Remedy { words, link } = of(id, "Restore/v/r1");
            assert!(words.len() > 20, "{id}");
            assert!(
                link.is_some_and(|link| link.starts_with(SITE)) || [PASSWORD_NOT_MASKED, WITHHELD].contains(&id),
                "{id}"
            );
        }
        let page = |kind: &str| of(DATA_HELD_UP, &format!("{kind}/v/x")).link.unwrap();
        assert!(page("DataUpload").contains("csi-snapshot") && page("PodVolumeRestore").contains("file-system"));
    }
}

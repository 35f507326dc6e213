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
            "mend what the last object of the trail says; what waits goes on by itself, what failed needs a new Backup or \
             Restore",
            Some(moving(kind)),
        ),
        FAILED_BEFORE => (
            "make a bundle about it (kubectl debugbundle create --backup or --restore): this one has no log of it",
            Some(debugging(kind)),
        ),
        FAILURE_REASON => (
            "remove the cause that is named, then make a new Backup or Restore: one that failed is not taken up again",
            Some(debugging(kind)),
        ),
        VALIDATION_ERROR => (
            "correct the field that is named, in a new Backup or Restore: this one stays as it is",
            Some(if kind == "Restore" { "api-types/restore/" } else { "api-types/backup/" }),
        ),
        RESULTS_ERROR => (
            "look at the object that is named and at the lines of the log around it; everything else in the Backup or Restore \
             went on",
            Some(debugging(kind)),
        ),
        RESULTS_WARNING => (
            "compare it with what you expected: a warning does not fail a Backup or Restore, and often only says what was \
             there already",
            Some(debugging(kind)),
        ),
        RESULTS_MORE => ("read results.json: it has all of them", Some(debugging(kind))),
        RESULTS_UNREADABLE => (
            "compare the file with what the store holds: it was stored damaged, or something else lies there",
            Some("output-file-format/"),
        ),
        MOVER_NOT_PREPARED => (
            "look at the pod, claim or snapshot that is named, and at the events about it",
            Some("csi-snapshot-data-movement/#troubleshooting"),
        ),
        LOCATION_UNAVAILABLE => (
            "read velero/locations/ in this bundle: the first step that failed says what to mend",
            Some("troubleshooting/#troubleshooting-backupstoragelocation-and-volumesnapshotlocation-credentials"),
        ),
        LOCATION_READ_ONLY => (
            "set the location's accessMode to ReadWrite, or make a new Backup that names another location",
            Some("api-types/backupstoragelocation/"),
        ),
        SERVER_IDLE => (
            "see to it that the server runs and is started without what is named: it takes up by itself what waits",
            Some(debugging(kind)),
        ),
        WAITS_BEHIND => (
            "look at the one in front, with a bundle about it if it does not move (kubectl debugbundle create): what waits is \
             taken up when that has ended",
            Some(debugging(kind)),
        ),
        PASSWORD_NOT_MASKED => ("look for the password in this bundle before you hand it on, and give the right", None),
        WITHHELD => ("report it as SECURITY.md says: each hit is a bug of the operator's redaction", None),
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

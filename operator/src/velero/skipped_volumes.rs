//! The volumes whose data a Backup left out, from its volume info, and why Velero did so.

use std::io::Read;

use debugbundle_format::text::bounded;
use serde::Deserialize;

use crate::json_stream::{Shallow, each};

/// Most volumes that are kept.
const VOLUMES: usize = 500;
/// Most bytes read of one text.
const TEXT: usize = 1024;

/// What Velero writes as the reason if the user wants it so: a resource policy, a label, an annotation or the spec
/// (`trackSkippedPV` in Velero 1.18's `pkg/backup/item_backupper.go`).
const WANTED: [&str; 5] =
    ["resource polic", "item has label ", "opted out due to annotation", "VolumePolicy", "the volume policy"];

/// A volume without data in a Backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedVolume {
    /// Namespace and name of its claim; empty if it has none.
    pub claim: (String, String),
    /// The PersistentVolume; may be empty.
    pub volume: String,
    /// Velero's words: `volumeSnapshot: no applicable volumesnapshotter found`.
    pub why: String,
    /// The user wants it so, whichever way Velero tried.
    pub is_wanted: bool,
}

/// A volume in `volumeinfo.json` (Velero's `internal/volume/volumes_information.go`).
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    pvc_name: Option<String>,
    pvc_namespace: Option<String>,
    pv_name: Option<String>,
    skipped: bool,
    skipped_reason: Option<String>,
}

impl SkippedVolume {
    /// Those of a Backup's volume info, as far as it can be read.
    pub fn read(from: impl Read) -> Vec<Self> {
        let mut found = Vec::new();
        let _ = each(Shallow::new(from, TEXT), |volume: Volume| {
            if volume.skipped && found.len() < VOLUMES {
                found.push(Self::of(volume));
            }
            Ok(())
        });
        found
    }

    fn of(volume: Volume) -> Self {
        let text = |text: Option<String>| bounded(text.unwrap_or_default().trim(), TEXT).into_owned();
        let reason = text(volume.skipped_reason);
        let reasons: Vec<&str> = reason.split(';').map(str::trim).filter(|one| !one.is_empty()).collect();
        Self {
            claim: (text(volume.pvc_namespace), text(volume.pvc_name)),
            volume: text(volume.pv_name),
            is_wanted: !reasons.is_empty() && reasons.iter().all(|one| WANTED.iter().any(|word| one.contains(word))),
            why: reasons.join("; "),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn skipped_volumes_have_their_reason_and_whether_the_user_wants_it() {
        let volume = |pvc: &str, why: &str| {
            json!({"pvcName": pvc, "pvcNamespace": "shop", "pvName": format!("pv-{pvc}"), "skipped": true,
                "skippedReason": why, "pvInfo": {"labels": null}})
        };
        let info = json!([
            volume("policy", "any: skipped due to resource policy ;volumeSnapshot: matched action is 'skip' in chosen resource policies;"),
            volume("no-way", "csiSnapshot: skipped b/c it's not a CSI volume;volumeSnapshot: no applicable volumesnapshotter found;"),
            volume("half", "podvolume: opted out due to annotation in pod db-0;volumeSnapshot: no applicable volumesnapshotter found;"),
            {"pvName": "pv-x", "skipped": true},
            {"pvcName": "data", "pvcNamespace": "shop", "backupMethod": "CSISnapshot", "skipped": false, "result": "succeeded"}]);
        let found = SkippedVolume::read(info.to_string().as_bytes());
        let told: Vec<_> = found.iter().map(|one| (one.claim.1.as_str(), one.why.as_str(), one.is_wanted)).collect();
        assert_eq!(
            told,
            [
                (
                    "policy",
                    "any: skipped due to resource policy; volumeSnapshot: matched action is 'skip' in chosen resource policies",
                    true
                ),
                (
                    "no-way",
                    "csiSnapshot: skipped b/c it's not a CSI volume; volumeSnapshot: no applicable volumesnapshotter found",
                    false
                ),
                (
                    "half",
                    "podvolume: opted out due to annotation in pod db-0; volumeSnapshot: no applicable volumesnapshotter found",
                    false
                ),
                ("", "", false),
            ]
        );
        let broken = info.to_string();
        assert_eq!(SkippedVolume::read(&broken.as_bytes()[..broken.len() - 90]), found, "what was read counts");
    }
}

//! Volumes whose data a Backup left out: worth knowing for a Restore that makes them empty, and never a cause.

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::alike::{Alike, and_more, grouped};
use debugbundle_format::{StoreFile, layout};
use serde_json::Value;

use super::{Evidence, Finding, FindingKind, finding::Proof, reference};
use crate::velero::SkippedVolume;

/// Adds findings about the volumes that a Backup skipped: one for each reason; reasons that nobody asked for come first.
/// Returns the number of volumes.
pub fn skipped_volumes(evidence: &Evidence, findings: &mut Vec<Finding>) -> usize {
    let Some(target) = &evidence.target else { return 0 };
    let is_restore = target["kind"] == "Restore";
    let backup = if is_restore { &target["spec"]["backupName"] } else { &target["metadata"]["name"] };
    let backup = backup.as_str().unwrap_or_default();
    let path = layout::store_file(TargetKind::Backup, backup, StoreFile::VolumeInfo);
    let volumes: Vec<&SkippedVolume> =
        evidence.skipped.iter().filter(|one| !is_restore || restores(target, &one.claim.0)).collect();
    for (kind, is_wanted) in [(FindingKind::VolumeNotProtected, false), (FindingKind::VolumeExcluded, true)] {
        let of_kind = volumes.iter().filter(|one| one.is_wanted == is_wanted);
        for Alike { first, more, others, .. } in grouped(of_kind.map(|one| (sentence(one, backup), 1))) {
            let proof = Proof::new(path.as_str().to_owned(), &first);
            let title = first + &and_more(more);
            findings.push(Finding::new(kind, &title, &reference(target), proof).like(&others));
        }
    }
    volumes.len()
}

fn sentence(volume: &SkippedVolume, backup: &str) -> String {
    let (namespace, claim) = &volume.claim;
    let name = match (claim.as_str(), volume.volume.as_str()) {
        ("", volume) => format!("PersistentVolume {volume}"),
        (claim, _) => format!("PersistentVolumeClaim {namespace}/{claim}"),
    };
    let why = if volume.why.is_empty() { "Velero gives no reason" } else { volume.why.as_str() };
    format!("Backup {backup} has no data of {name}, which it skipped: {why}")
}

/// Whether a Restore covers a namespace of its Backup. A pattern may cover any.
fn restores(restore: &Value, namespace: &str) -> bool {
    let names = |field: &str| restore["spec"][field].as_array().cloned().unwrap_or_default();
    let covers = |all: &[Value]| all.iter().filter_map(Value::as_str).any(|one| one == namespace || one.contains('*'));
    let (included, excluded) = (names("includedNamespaces"), names("excludedNamespaces"));
    namespace.is_empty() || (included.is_empty() || covers(&included)) && !excluded.iter().any(|one| one == namespace)
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::Severity;
    use serde_json::json;

    use super::*;
    use crate::diagnose::diagnose;

    fn volume(namespace: &str, claim: &str, why: &str, is_wanted: bool) -> SkippedVolume {
        let claim = (namespace.to_owned(), claim.to_owned());
        SkippedVolume { claim, volume: "pv-1".to_owned(), why: why.to_owned(), is_wanted }
    }

    #[test]
    fn a_restore_tells_which_volumes_its_backup_skipped_and_names_no_cause() {
        let no_way = "volumeSnapshot: no applicable volumesnapshotter found";
        let evidence = Evidence {
            target: Some(json!({"kind": "Restore", "metadata": {"namespace": "velero", "name": "r1"},
                "spec": {"backupName": "seed", "includedNamespaces": ["shop"]}, "status": {"phase": "Completed"}})),
            skipped: vec![
                volume("shop", "cache", "volumeSnapshot: matched action is 'skip' in chosen resource policies", true),
                volume("shop", "data-db-0", no_way, false),
                volume("shop", "data-db-1", no_way, false),
                volume("other", "data", no_way, false),
            ],
            ..Evidence::default()
        };
        let found = diagnose(&evidence, None);
        let told: Vec<_> = found.findings.iter().map(|one| (one.severity, one.title.as_str())).collect();
        assert_eq!(
            told,
            [
                (
                    Severity::Warning,
                    "Backup seed has no data of PersistentVolumeClaim shop/data-db-0, which it skipped: volumeSnapshot: no \
                     applicable volumesnapshotter found (and 1 more like it)"
                ),
                (
                    Severity::Info,
                    "Backup seed has no data of PersistentVolumeClaim shop/cache, which it skipped: volumeSnapshot: matched \
                     action is 'skip' in chosen resource policies"
                ),
            ]
        );
        assert_eq!(found.findings[0].alike, ["shop/data-db-1"]);
        assert_eq!(found.findings[0].evidence[0].path, "velero/backups/seed/volumeinfo.json");
        assert_eq!(found.cause, None);
        assert!(
            found.looked_at_words().ends_with("3 volumes have no data in the Backup"),
            "{}",
            found.looked_at_words()
        );
    }
}

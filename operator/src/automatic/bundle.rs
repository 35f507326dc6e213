//! The DebugBundle that the operator creates for a Backup or Restore: its name, its labels, its spec.

use std::{collections::BTreeMap, sync::LazyLock};

use debugbundle_crd::{
    DebugBundle, DebugBundleSpec, SCHEDULE_LABEL, TARGET_KIND_LABEL, TARGET_NAME_LABEL, TARGET_UID_LABEL,
    TRIGGER_LABEL, Trigger,
};
use debugbundle_format::hex_digest;

use super::{
    rules::Rules,
    watched::{Group, Watched},
};
use crate::velero::valid_label;

/// Velero leaves objects with this label out of Backups (`pkg/apis/velero/v1/labels_annotations.go`).
const EXCLUDE_FROM_BACKUP: &str = "velero.io/exclude-from-backup";
/// Longest name of an object.
const NAME: usize = 253;
/// Digits of the digest in a name: it distinguishes the bundles of one target, and of targets with the same name.
const DIGITS: usize = 10;

/// The DebugBundle for this target and trigger. Its name depends on both, so that it is created only once.
pub(super) fn of(target: &Watched, trigger: Trigger, rules: &Rules) -> DebugBundle {
    let template = rules.template().clone();
    let spec = DebugBundleSpec {
        storage_location: template.storage_location,
        logs: template.logs,
        redaction: template.redaction,
        ttl: template.ttl,
        download_url: template.download_url,
        ..DebugBundleSpec::about(target.kind, &target.name)
    };
    let mut bundle = DebugBundle::new(&name(target, trigger), spec);
    let mut labels = BTreeMap::from([
        (TRIGGER_LABEL.to_owned(), trigger.as_str().to_owned()),
        (TARGET_KIND_LABEL.to_owned(), target.kind.as_str().to_owned()),
        (TARGET_NAME_LABEL.to_owned(), valid_label(&target.name)),
        (TARGET_UID_LABEL.to_owned(), target.uid.clone()),
        (EXCLUDE_FROM_BACKUP.to_owned(), "true".to_owned()),
    ]);
    if let Group::Schedule(name) = target.group() {
        labels.insert(SCHEDULE_LABEL.to_owned(), valid_label(&name));
    }
    bundle.metadata.labels = Some(labels);
    bundle
}

fn name(target: &Watched, trigger: Trigger) -> String {
    let digest = hex_digest(format!("{}/{trigger}", target.uid).as_bytes());
    let kind = target.kind.as_str().to_ascii_lowercase();
    let room = NAME - kind.len() - DIGITS - 2;
    let cut = target.name.get(..room).unwrap_or(&target.name).trim_end_matches(['.', '-']);
    format!("{kind}-{cut}-{}", &digest[..DIGITS])
}

/// Part of the further names: nobody can compute them, and this process finds what it created under one of them.
static SECRET: LazyLock<[u8; 16]> = LazyLock::new(|| {
    let mut random = [0; 16];
    // It works on Linux once a process runs in a pod. Otherwise the further names can be computed as well.
    let _ = getrandom::fill(&mut random);
    random
});

/// The name to take when a DebugBundle of somebody else has `name`; always the same in one process.
pub(super) fn beside(name: &str) -> String {
    let digest = hex_digest(&[name.as_bytes(), SECRET.as_slice()].concat());
    let stem = name.get(..name.len().saturating_sub(DIGITS)).unwrap_or_default();
    format!("{stem}{}", &digest[..DIGITS])
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::TargetKind;

    use super::{super::watched::tests::restore, *};

    #[test]
    fn a_name_says_the_target_and_differs_by_uid_and_trigger() {
        let target = restore("Failed", "2026-11-23T03:07:00Z", None);
        let failed = name(&target, Trigger::Failed);
        assert!(failed.starts_with("restore-r1-") && failed.len() == "restore-r1-".len() + DIGITS, "{failed}");
        assert_eq!(failed, name(&target, Trigger::Failed));
        assert_ne!(failed, name(&target, Trigger::Stuck));
        let other = beside(&failed);
        assert_eq!(other, beside(&failed), "a creation whose answer was lost is found again");
        assert!(other.starts_with("restore-r1-") && other.len() == failed.len() && other != failed, "{other}");
        assert_ne!(failed, name(&Watched { uid: "7".into(), ..target.clone() }, Trigger::Failed));
        let long = Watched { name: format!("{}.{}", "r".repeat(231), "1".repeat(21)), ..target };
        assert_eq!(long.name.len(), 253);
        let cut = name(&long, Trigger::Failed);
        assert!(cut.len() <= NAME && !cut.contains(".-"), "{cut}");
    }

    #[test]
    fn labels_name_the_target_and_keep_the_bundle_out_of_backups() {
        let mut target = restore("Failed", "2026-11-23T03:07:00Z", None);
        target.name = "r".repeat(253);
        target.schedule = Some("nightly".to_owned());
        let bundle = of(&target, Trigger::Failed, &Rules::default());
        let labels = bundle.metadata.labels.unwrap();
        assert!(labels.values().all(|value| value.len() <= 63), "{labels:?}");
        assert_eq!(labels[TRIGGER_LABEL], "Failed");
        assert!(!labels.contains_key(SCHEDULE_LABEL), "a Restore of a Schedule's Backup is a target of its own");
        let backup = Watched { kind: TargetKind::Backup, ..target };
        let of_backup = of(&backup, Trigger::Failed, &Rules::default()).metadata.labels.unwrap();
        assert_eq!(of_backup[SCHEDULE_LABEL], "nightly");
        assert_eq!(labels[EXCLUDE_FROM_BACKUP], "true");
        assert_eq!(bundle.spec.download_url.policy, debugbundle_crd::UrlPolicy::OnRequest);
    }
}

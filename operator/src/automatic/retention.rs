//! Which automatic DebugBundles are deleted because there are too many: of one target, and in all.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;

use crate::observed::{AutomaticOrigin, Observed};

/// A DebugBundle that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Surplus {
    pub(super) name: String,
    pub(super) uid: String,
    /// It has not ended: nothing of it is stored.
    pub(super) is_unfinished: bool,
}

impl Surplus {
    fn of(seen: &Observed) -> Self {
        Self { name: seen.name_any(), uid: seen.uid().to_owned(), is_unfinished: !seen.phase.is_terminal() }
    }
}

/// The oldest automatic DebugBundles beyond either limit. `seen` contains all DebugBundles. `ours` contains the UIDs of
/// the automatic ones; their labels do not count, because a user may copy them.
pub(super) fn beyond<'a>(
    seen: impl IntoIterator<Item = &'a Observed>,
    ours: &BTreeSet<String>,
    per_target: usize,
    total: usize,
) -> Vec<Surplus> {
    let mut newest: Vec<(&AutomaticOrigin, &Observed)> = seen
        .into_iter()
        .filter(|seen| !seen.deleting && ours.contains(seen.uid()))
        .filter_map(|seen| Some((seen.automatic.as_ref()?, seen)))
        .collect();
    newest.sort_by(|(_, a), (_, b)| (b.created, b.uid()).cmp(&(a.created, a.uid())));
    let mut of_target: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kept = 0;
    let mut beyond = BTreeSet::new();
    for (origin, seen) in newest {
        let of_target = of_target.entry(&origin.group).or_default();
        if *of_target >= per_target || kept >= total {
            beyond.insert(Surplus::of(seen));
        } else {
            *of_target += 1;
            kept += 1;
        }
    }
    beyond.into_iter().collect()
}

/// The oldest automatic DebugBundle that has ended, among those with these UIDs.
pub(super) fn oldest<'a>(seen: impl IntoIterator<Item = &'a Observed>, ours: &BTreeSet<String>) -> Option<Surplus> {
    let ours = seen.into_iter().filter(|seen| ours.contains(seen.uid()));
    let ended = ours.filter(|seen| !seen.deleting && seen.phase.is_terminal());
    ended.min_by(|a, b| (a.created, a.uid()).cmp(&(b.created, b.uid()))).map(Surplus::of)
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::{
        DebugBundle, DebugBundleSpec, SCHEDULE_LABEL, TARGET_KIND_LABEL, TARGET_NAME_LABEL, TRIGGER_LABEL, TargetKind,
    };
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn bundle(name: &str, target: Option<&str>, schedule: Option<&str>, second: i64) -> Observed {
        let mut bundle = DebugBundle::new(name, DebugBundleSpec::about(TargetKind::Backup, "b"));
        bundle.metadata.uid = Some(format!("uid-{name}"));
        bundle.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(second).unwrap()));
        if let Some(target) = target {
            let labels = bundle.labels_mut();
            labels.insert(TRIGGER_LABEL.into(), "Failed".into());
            labels.insert(TARGET_KIND_LABEL.into(), "Backup".into());
            labels.insert(TARGET_NAME_LABEL.into(), target.into());
            labels.extend(schedule.map(|name| (SCHEDULE_LABEL.to_owned(), name.to_owned())));
        }
        Observed::of(&bundle)
    }

    fn names(beyond: Vec<Surplus>) -> Vec<String> {
        assert!(beyond.iter().all(|surplus| surplus.is_unfinished), "none has ended");
        beyond.into_iter().map(|surplus| surplus.name).collect()
    }

    #[test]
    fn the_oldest_go_and_a_schedule_counts_as_one_target() {
        let all = [
            bundle("asked", None, None, 0),
            bundle("n1", Some("nightly-1"), Some("nightly"), 1),
            bundle("n2", Some("nightly-2"), Some("nightly"), 2),
            bundle("n3", Some("nightly-3"), Some("nightly"), 3),
            bundle("b1", Some("b"), None, 4),
        ];
        let ours: BTreeSet<String> = all.iter().skip(1).map(|seen| seen.uid().to_owned()).collect();
        assert_eq!(names(beyond(&all, &ours, 2, 50)), ["n1"]);
        assert_eq!(names(beyond(&all, &ours, 3, 50)), [""; 0]);
        assert_eq!(names(beyond(&all, &ours, 3, 2)), ["n1", "n2"]);
        assert_eq!(names(beyond(&all, &ours, 1, 1)), ["n1", "n2", "n3"]);
    }

    #[test]
    fn copied_labels_count_for_nothing() {
        let real = bundle("real", Some("b"), None, 1);
        let copies = (0..60).map(|n| bundle(&format!("copy-{n}"), Some("b"), None, 2));
        let all: Vec<_> = copies.chain([real]).collect();
        let ours = BTreeSet::from(["uid-real".to_owned()]);
        assert_eq!(names(beyond(&all, &ours, 1, 1)), [""; 0]);
    }
}

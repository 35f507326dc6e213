//! Which entries are left out or shortened when a bundle would be too large, in which order, and to which size.
//! Pure; `collect` shortens and drops the entries, and records it in `trimmed[]`.

use crate::plan::{Item, Priority, SourceClass};

/// The most bytes of a bundle, compressed, unless the operator is configured otherwise.
pub const DEFAULT: u64 = 512 << 20;
/// Kept free of these, and of the spool, for what is written about the entries: summary, analysis, descriptions,
/// locations, log, manifest (bytes, compressed).
const RESERVED: u64 = 16 << 20;
/// What one entry takes besides its body: its header in the archive and its line in the manifest (bytes, compressed).
/// Its digest alone takes 32 of them, because it does not compress.
pub const PER_ENTRY: u64 = 512;
/// What a manifest line about a missing item takes (bytes, compressed).
pub const PER_LINE: u64 = 256;

/// How many bytes (compressed) each part may take, so that a bundle can always be sealed.
///
/// At worst, sealing keeps every body on disk twice: as it was collected, and copied. `room` holds what is collected
/// and `own` what is written about it: twice their sum and the manifest fit into the spool, and once their sum fits
/// into the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// For the collected entries, once they are read.
    pub room: u64,
    /// For what is written about them, except the manifest.
    pub own: u64,
    /// The part of the spool that entries being read may not use.
    pub held_back: u64,
}

impl Shares {
    /// The shares for a bundle of at most `limit` bytes and a spool of `spool` bytes.
    pub fn of(limit: u64, spool: u64) -> Self {
        let of_bundle = RESERVED.min(limit / 4);
        let held_back = RESERVED.min(spool / 4);
        // Half of the rest of the spool: sealing copies what is collected.
        let room = (limit - of_bundle).min((spool - held_back) / 2);
        Self { room, own: of_bundle.min(held_back) / 4, held_back }
    }

    /// Bytes of the spool that entries of `used` bytes need until they are sealed.
    pub fn to_seal(&self, used: u64) -> u64 {
        2 * (used + self.own) + self.held_back / 2
    }

    /// The shares while the entries may use only `spool` bytes until they are sealed.
    #[must_use]
    pub fn within(&self, spool: u64) -> Self {
        let room = (spool.saturating_sub(self.held_back / 2) / 2).saturating_sub(self.own);
        Self { room: self.room.min(room), ..*self }
    }
}

/// How much an entry matters when something has to be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Explains the failure and is small: stays.
    Stays,
    /// The target's own log.
    TargetLog,
    /// A List that contains the target, or what belongs to it.
    TargetList,
    /// A log of a pod that worked on the target, or of an unhealthy pod.
    Log,
    /// The previous log of a pod that is healthy now.
    OldLog,
    /// The log of a healthy pod that has nothing to do with the target.
    HealthyLog,
    /// What the API server serves.
    Discovery,
    /// Further files of a Restore's Backup, logs of maintenance.
    Extra,
    /// All other objects.
    Objects,
    /// CustomResourceDefinitions.
    Definitions,
}

impl Class {
    /// The class of an entry at `path` that `item` produced; `healthy`: its pod, if it has one, is healthy.
    pub fn of(item: &Item, path: &str, healthy: bool) -> Self {
        let (log, previous, list) = match item.source.class() {
            SourceClass::ContainerLog { previous, .. } => (true, previous, false),
            SourceClass::List => (false, false, true),
            SourceClass::Object | SourceClass::StoreFile | SourceClass::Discovery => (false, false, false),
        };
        let in_veleros_folder = path.starts_with("velero/");
        let text = path.rsplit_once('.').is_some_and(|(_, extension)| extension == "log");
        match item.priority {
            // The lines about the target, extracted from the server's log.
            Priority::P2 if log && in_veleros_folder => Self::TargetLog,
            Priority::P1 if in_veleros_folder && text => Self::TargetLog,
            Priority::P1 if list => Self::TargetList,
            Priority::P1 | Priority::P2 if log => Self::worth(previous, healthy),
            Priority::P0 | Priority::P1 | Priority::P2 => Self::Stays,
            Priority::P3 if path.contains("/customresourcedefinitions") => Self::Definitions,
            Priority::P3 if log => Self::worth(previous, healthy),
            Priority::P3 => Self::Objects,
            Priority::P4 => Self::Extra,
            Priority::P5 if log => Self::HealthyLog,
            Priority::P5 => Self::Discovery,
        }
    }

    const fn worth(previous: bool, healthy: bool) -> Self {
        if previous && healthy { Self::OldLog } else { Self::Log }
    }
}

/// How an entry is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimAction {
    /// Its middle is removed until so many uncompressed bytes are left.
    Shorten(u64),
    /// The whole entry is left out.
    Drop,
    /// Only the target's own objects stay in the List.
    OwnObjects,
}

/// The steps, in their order: each begins when the one before has nothing left to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrimStep {
    /// Logs of healthy pods, to 1 MiB.
    HealthyLogs,
    /// Logs of healthy pods, entirely.
    AllHealthyLogs,
    /// Previous logs of pods that are healthy now.
    OldLogs,
    /// Discovery.
    Discovery,
    /// Further files of a Restore's Backup, logs of maintenance.
    Extras,
    /// Logs that explain, to 8 MiB.
    Logs,
    /// Logs that explain, to 2 MiB.
    ShortLogs,
    /// Objects that are not about the target.
    Objects,
    /// CustomResourceDefinitions.
    Definitions,
    /// The target's log, to 64 MiB.
    TargetLog,
    /// The target's log, to 16 MiB.
    ShortTargetLog,
    /// Logs that explain, to 256 KiB: there must be thousands of them.
    LeastLogs,
    /// Lists that contain the target; the bundle is PartiallyFailed.
    TargetLists,
}

impl TrimStep {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::HealthyLogs,
        Self::AllHealthyLogs,
        Self::OldLogs,
        Self::Discovery,
        Self::Extras,
        Self::Logs,
        Self::ShortLogs,
        Self::Objects,
        Self::Definitions,
        Self::TargetLog,
        Self::ShortTargetLog,
        Self::LeastLogs,
        Self::TargetLists,
    ];

    /// Its word in `trimmed[].rule`.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::HealthyLogs | Self::AllHealthyLogs => "HealthyLogs",
            Self::OldLogs => "PreviousLogsOfHealthyPods",
            Self::Discovery => "Discovery",
            Self::Extras => "BackupFilesAndMaintenance",
            Self::Logs | Self::ShortLogs | Self::LeastLogs => "Logs",
            Self::Objects => "Objects",
            Self::Definitions => "Definitions",
            Self::TargetLog | Self::ShortTargetLog => "TargetLogs",
            Self::TargetLists => TARGET_LISTS,
        }
    }

    /// What it does to entries of this class.
    pub const fn cut(self, class: Class) -> Option<TrimAction> {
        match (self, class) {
            (Self::HealthyLogs, Class::HealthyLog) => Some(TrimAction::Shorten(1 << 20)),
            (Self::AllHealthyLogs, Class::HealthyLog)
            | (Self::OldLogs, Class::OldLog)
            | (Self::Discovery, Class::Discovery)
            | (Self::Extras, Class::Extra)
            | (Self::Objects, Class::Objects)
            | (Self::Definitions, Class::Definitions) => Some(TrimAction::Drop),
            (Self::Logs, Class::Log) => Some(TrimAction::Shorten(8 << 20)),
            (Self::ShortLogs, Class::Log) => Some(TrimAction::Shorten(2 << 20)),
            (Self::LeastLogs, Class::Log) => Some(TrimAction::Shorten(256 << 10)),
            (Self::TargetLog, Class::TargetLog) => Some(TrimAction::Shorten(64 << 20)),
            (Self::ShortTargetLog, Class::TargetLog) => Some(TrimAction::Shorten(16 << 20)),
            (Self::TargetLists, Class::TargetList) => Some(TrimAction::OwnObjects),
            _ => None,
        }
    }
}

/// The rule that makes a bundle PartiallyFailed: something that belongs to the target was left out.
pub const TARGET_LISTS: &str = "TargetLists";

/// An entry's class and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// Its class.
    pub class: Class,
    /// Uncompressed bytes.
    pub bytes: u64,
    /// Bytes in the spool.
    pub compressed: u64,
}

/// The entries that `step` cuts, by their index in `entries`, and how; the largest first.
pub fn victims(step: TrimStep, entries: &[Weighed]) -> Vec<(usize, TrimAction)> {
    let mut found: Vec<(usize, TrimAction)> = entries
        .iter()
        .enumerate()
        .filter_map(|(at, entry)| Some((at, step.cut(entry.class)?)))
        .filter(|(at, cut)| !matches!(cut, TrimAction::Shorten(most) if entries[*at].bytes <= *most))
        .collect();
    found.sort_by_key(|(at, _)| (std::cmp::Reverse(entries[*at].compressed), *at));
    found
}

/// The first step that cuts entries of this class.
pub fn first(class: Class) -> Option<TrimStep> {
    TrimStep::ALL.into_iter().find(|step| step.cut(class).is_some())
}

/// The order in which whole entries are dropped when all steps were not enough, by their index in `entries`: those that
/// explain least first, and of these the largest.
pub fn least_first(entries: &[Weighed]) -> Vec<usize> {
    let worth = |class| match class {
        Class::HealthyLog => 0,
        Class::OldLog => 1,
        Class::Discovery => 2,
        Class::Extra => 3,
        Class::Definitions => 4,
        Class::Objects => 5,
        Class::Log => 6,
        Class::TargetLog => 7,
        Class::TargetList => 8,
        Class::Stays => 9,
    };
    let mut places: Vec<usize> = (0..entries.len()).collect();
    places.sort_by_key(|at| (worth(entries[*at].class), std::cmp::Reverse(entries[*at].compressed), *at));
    places
}

/// The step that dropped this whole class, if `begun` comes after it: further entries of the class need not be read.
pub fn closed(class: Class, begun: Option<TrimStep>) -> Option<TrimStep> {
    let begun = begun?;
    TrimStep::ALL.into_iter().find(|step| *step < begun && step.cut(class) == Some(TrimAction::Drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ApiKind;
    use crate::plan::ItemSource;
    use debugbundle_format::BundlePath;

    const CLASSES: [Class; 10] = [
        Class::Stays,
        Class::TargetLog,
        Class::TargetList,
        Class::Log,
        Class::OldLog,
        Class::HealthyLog,
        Class::Discovery,
        Class::Extra,
        Class::Objects,
        Class::Definitions,
    ];

    #[test]
    fn the_room_is_what_the_bundle_may_have_without_the_reserve_and_never_more_than_half_the_spool() {
        let room = |limit, spool| Shares::of(limit, spool).room;
        assert_eq!(room(DEFAULT, 1 << 30), 496 << 20);
        assert_eq!(room(DEFAULT, 64 << 20), 24 << 20);
        assert_eq!(room(4 << 20, 1 << 30), 3 << 20);
        assert_eq!(room(0, 0), 0);
    }

    #[test]
    fn what_was_collected_and_what_is_said_of_it_can_always_be_sealed() {
        let sizes = || (0..44).flat_map(|bits| [1_u64 << bits, (1 << bits) + 3, (1 << bits) * 3 / 2]);
        for (limit, spool) in sizes().flat_map(|limit| sizes().map(move |spool| (limit, spool))) {
            let Shares { room, own, held_back } = Shares::of(limit, spool);
            let twice = 2 * (room + own);
            assert!(twice + held_back / 2 <= spool, "{limit} {spool}: nothing is left for the manifest");
            assert!(room + own <= limit, "{limit} {spool}");
            assert!(room + own + held_back <= spool, "{limit} {spool}: written before the copying begins");
            let shares = Shares { room, own, held_back };
            let waiting = shares.to_seal(room / 2);
            assert!(waiting <= spool && shares.within(waiting).room >= room / 2, "{limit} {spool}: what waits fits");
            assert_eq!(shares.within(spool).room, room, "{limit} {spool}");
        }
    }

    fn log(priority: Priority, path: &str, previous: bool) -> Item {
        let source = ItemSource::PodLog {
            namespace: "vault-ns".into(),
            pod: "herd".into(),
            uid: "u".into(),
            container: "cow".into(),
            previous,
            instead_of: None,
            limit: 1,
            tail_only: false,
            server: None,
        };
        item(priority, path, source)
    }

    fn list(priority: Priority, path: &str) -> Item {
        let kind = ApiKind::namespaced("", "v1", "events", "Event");
        item(priority, path, ItemSource::List { kind, namespace: None, want: crate::plan::Want::All })
    }

    fn item(priority: Priority, path: &str, source: ItemSource) -> Item {
        Item { what: "it".into(), path: BundlePath::new(path.split('/')), source, priority, node: None }
    }

    #[test]
    fn each_entry_is_of_the_class_that_its_priority_and_its_pod_give_it() {
        let current = "namespaces/vault-ns/pods/herd/cow/cow/logs/current.log";
        let of = |item: &Item, healthy| Class::of(item, item.path.as_str(), healthy);
        assert_eq!(of(&log(Priority::P2, current, false), false), Class::Log);
        assert_eq!(of(&log(Priority::P2, current, false), true), Class::Log, "the server is well and explains");
        assert_eq!(of(&log(Priority::P2, current, true), true), Class::OldLog);
        assert_eq!(of(&log(Priority::P2, current, true), false), Class::Log);
        assert_eq!(of(&log(Priority::P5, current, false), true), Class::HealthyLog);
        assert_eq!(of(&log(Priority::P4, current, false), true), Class::Extra);
        let server = log(Priority::P2, current, false);
        assert_eq!(Class::of(&server, "velero/restores/r1/restore.from-server.log", true), Class::TargetLog);
        let store = |file| list(Priority::P1, file);
        assert_eq!(of(&store("velero/restores/r1/restore.log"), true), Class::TargetLog);
        assert_eq!(of(&list(Priority::P1, "namespaces/vault-ns/core/events.yaml"), true), Class::TargetList);
        assert_eq!(of(&list(Priority::P3, "namespaces/vault-ns/apps/deployments.yaml"), true), Class::Objects);
        let crd = "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions/a.b.yaml";
        assert_eq!(of(&list(Priority::P3, crd), true), Class::Definitions);
        let discovery = item(Priority::P5, "aggregated-discovery-api.yaml", ItemSource::Discovery { path: "/api" });
        assert_eq!(of(&discovery, true), Class::Discovery);
    }

    #[test]
    fn the_healthy_go_before_the_unhealthy_and_what_is_not_the_targets_before_what_is() {
        let order = [
            Class::HealthyLog,
            Class::OldLog,
            Class::Discovery,
            Class::Extra,
            Class::Log,
            Class::Objects,
            Class::Definitions,
            Class::TargetLog,
            Class::TargetList,
        ];
        assert!(order.is_sorted_by_key(|class| first(*class)), "{:?}", order.map(first));
        assert_eq!(first(Class::Stays), None);
        assert!(TrimStep::ALL.is_sorted());
        for class in CLASSES {
            let limits: Vec<_> = TrimStep::ALL.into_iter().filter_map(|step| step.cut(class)).collect();
            let shorter = |a: &TrimAction, b: &TrimAction| match (a, b) {
                (TrimAction::Shorten(a), TrimAction::Shorten(b)) => a > b,
                (_, last) => *last == TrimAction::Drop,
            };
            assert!(limits.is_sorted_by(shorter), "{class:?}: {limits:?}");
        }
    }

    #[test]
    fn the_published_schema_knows_each_rule_and_no_other() {
        let schema = include_str!("../../docs/manifest.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let published = schema.pointer("/properties/trimmed/items/properties/rule/enum").unwrap().as_array().unwrap();
        let mut published: Vec<_> = published.iter().filter_map(serde_json::Value::as_str).collect();
        let mut rules = TrimStep::ALL.map(TrimStep::rule).to_vec();
        published.sort_unstable();
        rules.sort_unstable();
        rules.dedup();
        assert_eq!(published, rules);
    }

    #[test]
    fn within_a_step_the_largest_goes_first_and_what_is_short_enough_does_not_go() {
        let log = |bytes, compressed| Weighed { class: Class::Log, bytes, compressed };
        let entries = [
            log(9 << 20, 10),
            log(8 << 20, 99),
            Weighed { class: Class::HealthyLog, bytes: 9 << 20, compressed: 99 },
            log(10 << 20, 11),
            log(12 << 20, 10),
        ];
        let cut: Vec<_> = victims(TrimStep::Logs, &entries).into_iter().map(|(at, _)| at).collect();
        assert_eq!(cut, [3, 0, 4]);
        assert_eq!(victims(TrimStep::AllHealthyLogs, &entries), [(2, TrimAction::Drop)]);
    }

    #[test]
    fn a_class_is_closed_once_a_later_step_was_begun() {
        assert_eq!(closed(Class::HealthyLog, None), None);
        assert_eq!(closed(Class::HealthyLog, Some(TrimStep::AllHealthyLogs)), None, "the next one may be small enough");
        assert_eq!(closed(Class::HealthyLog, Some(TrimStep::OldLogs)), Some(TrimStep::AllHealthyLogs));
        assert_eq!(closed(Class::Log, Some(TrimStep::TargetLists)), None, "shortened, never dropped");
        assert_eq!(closed(Class::Definitions, Some(TrimStep::TargetLog)), Some(TrimStep::Definitions));
    }
}

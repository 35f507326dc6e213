//! Which items a bundle wants, where each goes, and in which order they are read. Pure: from the spec and the
//! snapshot. `collect` reads the items, and reports the ones that it cannot read.

mod cluster;
mod config_maps;
mod credentials;
mod first;
mod item;
mod kinds;
mod logs;
mod namespaces;
mod target;
#[cfg(test)]
mod tests;
mod velero;

use std::collections::BTreeSet;

use debugbundle_crd::DebugBundleSpec;
use debugbundle_format::{
    BundlePath, layout,
    manifest::{Missing, MissingCode, MissingSeverity},
};
use jiff::Timestamp;

use crate::{
    cluster::ApiKind,
    discovery::{Cut, Snapshot},
};

pub use config_maps::Bodies;
pub use debugbundle_format::StoreFile;
pub use item::{
    First, Item, ItemSource, LogLimits, Only, Plan, Priority, ServerLines, ServerLog, SourceClass, TimeWindow, Want,
};
pub use kinds::{extra_rule, further_rule};
pub use logs::window;
pub use target::store_limit;

/// Plans the bundle that `spec` asks for.
pub fn plan(spec: &DebugBundleSpec, snapshot: &Snapshot, now: Timestamp) -> Plan {
    let mut planner = Planner { snapshot, items: Vec::new(), missing: Vec::new() };
    planner.target();
    planner.velero_namespace();
    planner.other_namespaces();
    planner.cluster();
    planner.definitions();
    planner.logs(&spec.logs);
    for Cut { plural, namespace, told } in &snapshot.gaps.cut {
        if namespace.is_empty() {
            let why = "the cluster has more of them than a bundle collects".to_owned();
            let cure = format!("kubectl get {plural} -o yaml shows the others");
            planner.note(format!("{plural}: {told}"), plural.clone(), MissingCode::NotLooked, why, &cure);
            continue;
        }
        let listed = *namespace == snapshot.installation.namespace
            || snapshot
                .namespaces
                .candidates
                .iter()
                .any(|candidate| candidate.whole && candidate.namespace == *namespace);
        let (rest, cure) = if listed {
            ("all of these objects are in the bundle", "")
        } else {
            ("the others are not in the bundle", "name the namespace in spec.namespaces")
        };
        let why = format!("there are more than the operator follows to pods, claims, nodes and logs; {rest}");
        let (what, path) = (format!("{plural} in {namespace}: {told}"), format!("{plural}/{namespace}"));
        planner.note(what, path, MissingCode::NotLooked, why, cure);
    }
    planner.items.sort_by_key(|item| item.priority);
    let mut seen = BTreeSet::new();
    planner.items.retain(|item| seen.insert(item.path.clone()));
    let cut = bounded(&mut planner.items, MOST_ITEMS);
    planner.missing.extend(cut);
    Plan {
        items: planner.items,
        logs: LogLimits {
            window: window(&spec.logs, snapshot.target.object.as_ref(), now),
            tail_lines: spec.logs.tail_lines.filter(|lines| *lines > 0),
        },
        missing: planner.missing,
        config_maps: config_maps::bodies(spec.redaction.config_maps, snapshot),
    }
}

/// Drops the items after the first `most`, which matter most, and reports how many.
fn bounded(items: &mut Vec<Item>, most: usize) -> Option<Missing> {
    let beyond = items.len().saturating_sub(most);
    items.truncate(most);
    (beyond > 0).then(|| Missing {
        what: format!("the last {beyond} of {} files", beyond + most),
        path: String::new(),
        code: MissingCode::TooLarge,
        severity: MissingSeverity::Error,
        why: format!(
            "a bundle has at most {MOST_ENTRIES} files; those that are least related to the target were left out"
        ),
        need: None,
        rule: None,
        cure: "name fewer namespaces in spec.namespaces".to_owned(),
    })
}

/// The most files of a bundle.
const MOST_ENTRIES: usize = 50_000;
/// The most of them that are planned: the others are for our own files and for data movers, which are not planned.
const MOST_ITEMS: usize = MOST_ENTRIES - 1000;
/// The most Events of a namespace.
const EVENTS: usize = 5000;

struct Planner<'a> {
    snapshot: &'a Snapshot,
    items: Vec<Item>,
    missing: Vec<Missing>,
}

fn core(plural: &str, kind: &str) -> ApiKind {
    ApiKind::namespaced("", "v1", plural, kind)
}

/// The path of a kind's List, in a namespace or in the whole cluster.
pub fn list_path(kind: &ApiKind, namespace: Option<&str>) -> BundlePath {
    layout::list(&kind.group, &kind.plural, namespace.filter(|_| kind.namespaced))
}

impl Planner<'_> {
    /// Adds an item; every item with a kind enters the plan here.
    fn add(&mut self, priority: Priority, what: impl Into<String>, path: BundlePath, source: ItemSource) {
        if source.kind().is_some_and(credentials::holds) {
            let why = "kinds that contain credentials are never requested".to_owned();
            return self.note(what.into(), path.as_str().to_owned(), MissingCode::NotLooked, why, "");
        }
        self.items.push(Item { what: what.into(), path, source, priority, node: None });
    }

    fn list(&mut self, priority: Priority, namespace: &str, kind: ApiKind) {
        let path = list_path(&kind, Some(namespace));
        let what = format!("{} in {namespace}", kind.plural);
        let want = match kind.plural.as_str() {
            "events" => Want::Newest(EVENTS),
            _ if namespace == self.snapshot.installation.namespace => self.first(&kind),
            "snapshots" => self.first_beside(),
            _ => Want::All,
        };
        self.add(priority, what, path, ItemSource::List { kind, namespace: Some(namespace.to_owned()), want });
    }

    fn cluster_list(&mut self, kind: ApiKind, want: Want) {
        let path = list_path(&kind, None);
        self.add(Priority::P3, kind.plural.clone(), path, ItemSource::List { kind, namespace: None, want });
    }

    fn note(&mut self, what: String, path: String, code: MissingCode, why: String, cure: &str) {
        self.missing.push(Missing {
            what,
            path,
            code,
            severity: MissingSeverity::Note,
            why,
            need: None,
            rule: None,
            cure: cure.to_owned(),
        });
    }
}

//! From the target down to the roots: the objects in trouble none of whose needs is unmet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::alike::{difference, grouped, without_names};
use crate::graph::{Graph, Id, Seen, View, Wanted};
use crate::kind::Kind;
use crate::kinds::{self, Met, Need, State};
use crate::leads;
use crate::reason::RootReason;
use crate::say::of_one;
use crate::texts::{readable, unwrapped};

/// Most objects on one way; deeper ones are not followed.
const DEPTH: usize = 12;

/// How sure a root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// Its own words, or no more than that it did not happen in time.
    Unknown,
    /// Something on the way was not read, or a step rests on time or on how things usually are.
    Likely,
    /// Each step is a reference by name, and all of it was read.
    Certain,
}

/// How the target depends on the next object of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// The root is the target itself: its own words.
    Itself,
    /// The root is the target itself: a hook of it failed.
    Hook,
    /// It moves the data of a volume of the target.
    Data,
    /// It works on the target, or for the installation.
    Server,
    /// It is the node-agent of the installation.
    Agent,
    /// It worked on the target, and ended meanwhile.
    EndedServer,
    /// Velero takes it up before the target.
    Ahead,
    /// The target is, or would be, in it.
    Location,
    /// The target restores it.
    Backup,
    /// It has the data of the target's volumes.
    Repository,
    /// It is a snapshot of one of the target's volumes.
    Snapshot,
    /// The target restores into it.
    Namespace,
    /// The target made it.
    Restored,
    /// An error of the target names it.
    Named,
    /// The root is the target itself: it completed without something that it should contain.
    Incomplete,
    /// Any step behind the first.
    Further,
}

/// One object on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waypoint {
    /// The object.
    pub id: Id,
    /// How it stands, in a few words, such as `Init:0/1 for 14 min`; may be empty.
    pub stands: String,
}

/// Where a way ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// From the target to the object that needs no further question.
    pub way: Vec<Waypoint>,
    /// The first step of the way.
    pub relation: Relation,
    /// What is wrong there: a clause about the object on the way that the line names last, or one with its own subject.
    /// What clients wrap around the words of others is taken off.
    pub words: String,
    /// The same for programs.
    pub reason: RootReason,
    /// How sure that is.
    pub confidence: Confidence,
    /// How many more say the same of other objects.
    pub more: u64,
    /// What these name instead, where that differs.
    pub others: Vec<String>,
}

/// What the walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What stops the target or made it fail, or which parts of the installation are in trouble; none: nothing points to
    /// a failure.
    pub roots: Vec<Root>,
    /// The objects that were asked: a target, and all that it or the installation depends on as far as they are known.
    pub checked: BTreeSet<Id>,
    /// What would have to be read to know more.
    pub wants: BTreeSet<Wanted>,
}

/// Walks from a target, or from [`Id::installation`].
pub fn walk(graph: &Graph<'_>, target: &Id) -> Explanation {
    let view = View::of(graph, target);
    let mut walk = Walk {
        view,
        on_the_way: Vec::new(),
        checked: BTreeSet::new(),
        relation: Relation::Itself,
        has_unread: false,
        is_uncertain: false,
        is_led: false,
    };
    let mut roots = walk.below(target, None);
    let mut said = BTreeSet::new();
    // What says why comes before what only did not happen in time.
    roots.sort_by_key(|root| std::cmp::Reverse(root.confidence));
    roots.retain(|root| said.insert((root.words.clone(), root.way.last().map(|step| step.id.clone()))));
    for root in &mut roots {
        count(root, &walk.view);
    }
    Explanation { roots: merged(roots), checked: walk.checked, wants: walk.view.into_wants() }
}

/// Counts what says the same as the target's own words.
fn count(root: &mut Root, view: &View<'_>) {
    let said: Vec<(String, u64)> = match (root.relation, &root.reason) {
        (Relation::Itself, RootReason::Said(_)) => {
            view.counted_errors().map(|(error, times)| (readable(error), times)).collect()
        }
        (Relation::Hook, RootReason::Hook(_)) => {
            view.failed_hooks().iter().map(|hook| (hook.words.clone(), 1)).collect()
        }
        _ => return,
    };
    if said.first().is_some_and(|(first, _)| *first == root.words)
        && let Some(alike) = grouped(said).into_iter().next()
    {
        (root.more, root.others) = (alike.more, alike.others);
    }
}

/// Roots that say the same of different objects are one.
fn merged(roots: Vec<Root>) -> Vec<Root> {
    let mut merged: Vec<Root> = Vec::new();
    let mut known = BTreeMap::new();
    for root in roots {
        // Of what does not exist the name is the cause.
        let absent = root.way.last().filter(|_| root.reason == RootReason::Absent).map(|last| last.id.name.clone());
        let names = root.way.iter().flat_map(|step| [step.id.namespace.as_str(), step.id.name.as_str()]);
        let words = without_names(&root.words, &names.collect::<Vec<_>>());
        let kinds: Vec<Kind> = root.way.iter().map(|step| step.id.kind.clone()).collect();
        let number = *known.entry((root.relation, root.confidence, kinds, absent, words)).or_insert(merged.len());
        match merged.get_mut(number) {
            Some(first) => {
                first.more += 1;
                first.others.extend(difference(&of_one(first), &of_one(&root)));
            }
            None => merged.push(root),
        }
    }
    merged
}

struct Walk<'a> {
    view: View<'a>,
    on_the_way: Vec<Waypoint>,
    checked: BTreeSet<Id>,
    relation: Relation,
    has_unread: bool,
    /// A step on the way rests on time, or on how things usually are.
    is_uncertain: bool,
    /// A step on the way is a lead.
    is_led: bool,
}

impl Walk<'_> {
    /// The roots at or below an object. `held`: why the object before it has not what it needs of this one.
    fn below(&mut self, id: &Id, held: Option<(&str, &RootReason)>) -> Vec<Root> {
        if self.on_the_way.len() >= DEPTH || self.on_the_way.iter().any(|step| step.id == *id) {
            return Vec::new();
        }
        let object = match self.view.get(id) {
            Seen::Found(object) => object,
            Seen::Absent => {
                let words = format!("{id} does not exist");
                return vec![self.root(id, String::new(), held.unwrap_or((&words, &RootReason::Absent)), false)];
            }
            Seen::Unread => {
                self.has_unread = true;
                return held.map(|why| self.root(id, String::new(), why, false)).into_iter().collect();
            }
        };
        // The installation is no object.
        if id.kind != Kind::Installation {
            self.checked.insert(id.clone());
        }
        let stands = kinds::stands(id, object, self.view.now());
        let report = kinds::report(id, object, &self.view);
        let (unread_before, relation_before, uncertain_before) = (self.has_unread, self.relation, self.is_uncertain);
        self.on_the_way.push(Waypoint { id: id.clone(), stands: stands.clone() });
        let mut roots = Vec::new();
        for need in &report.needs {
            roots.extend(self.needed(need, uncertain_before));
        }
        if roots.is_empty() && !self.is_led {
            let unread_by_name = self.has_unread;
            self.is_led = true;
            for need in leads(id, object, &report.state, &self.view) {
                roots.extend(self.needed(&need, uncertain_before));
            }
            self.is_led = false;
            // What an object says itself is true whether or not what it names could be read.
            self.has_unread = unread_by_name;
        }
        (self.relation, self.is_uncertain) = (relation_before, uncertain_before);
        self.on_the_way.pop();
        if roots.is_empty() {
            match report.state {
                State::Says { words, reason, is_consequence } => {
                    roots.push(self.root(id, stands, (&words, &reason), is_consequence));
                }
                State::Hook(hook) => {
                    let root = self.root(id, stands, (&hook.words.clone(), &RootReason::Hook(hook)), false);
                    roots.push(Root { relation: Relation::Hook, ..root });
                }
                State::Incomplete { words, text } => {
                    let root = self.root(id, stands, (&words, &RootReason::Said(text)), false);
                    roots.push(Root { relation: Relation::Incomplete, ..root });
                }
                State::Well => {
                    roots.extend(held.map(|why| self.root(id, stands, why, false)));
                }
            }
        }
        self.has_unread = unread_before;
        roots
    }

    /// The roots of a need of the object that was reached last.
    fn needed(&mut self, need: &Need, was_uncertain: bool) -> Vec<Root> {
        if self.on_the_way.len() == 1 {
            self.relation = need.relation;
        }
        self.is_uncertain = was_uncertain || need.is_uncertain;
        match &need.met {
            Met::See => self.below(&need.to, None),
            Met::No(why, reason) => self.below(&need.to, Some((why, reason))),
        }
    }

    fn root(&self, id: &Id, stands: String, (words, reason): (&str, &RootReason), is_consequence: bool) -> Root {
        let mut way = self.on_the_way.clone();
        way.push(Waypoint { id: id.clone(), stands });
        let confidence = match (is_consequence, self.has_unread || self.is_uncertain) {
            (true, _) => Confidence::Unknown,
            (false, true) => Confidence::Likely,
            (false, false) => Confidence::Certain,
        };
        let (words, reason) = (unwrapped(words), reason.clone());
        Root { way, relation: self.relation, words, reason, confidence, more: 0, others: Vec::new() }
    }
}

/// What an error of Velero's own names: what refused it, by a name that Kubernetes fixes, and leads.
fn leads(id: &Id, object: &Value, state: &State, view: &View<'_>) -> Vec<Need> {
    let is_of_velero = matches!(id.kind, Kind::Backup | Kind::Restore) || Kind::DATA.contains(&id.kind);
    let State::Says { reason: RootReason::Said(error), .. } = state else { return Vec::new() };
    if !is_of_velero {
        return Vec::new();
    }
    let refusing = kinds::refusing_quota(error, id, object, view);
    match refusing.or_else(|| kinds::lacking_definition(error, object, view)) {
        Some(one) => vec![one],
        None => leads::of(error, id, object, view),
    }
}

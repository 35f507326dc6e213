//! From the target down to the roots: the objects in trouble none of whose needs is unmet.

use std::collections::BTreeSet;

use crate::graph::{Graph, Id, Kind, Seen, View, Wanted};
use crate::kinds::{self, Met, State};
use crate::reason::RootReason;

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
    pub words: String,
    /// The same for programs.
    pub reason: RootReason,
    /// How sure that is.
    pub confidence: Confidence,
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
    };
    let mut roots = walk.below(target, None);
    let mut said = BTreeSet::new();
    // What says why comes before what only did not happen in time.
    roots.sort_by_key(|root| std::cmp::Reverse(root.confidence));
    roots.retain(|root| said.insert((root.words.clone(), root.way.last().map(|step| step.id.clone()))));
    Explanation { roots, checked: walk.checked, wants: walk.view.into_wants() }
}

struct Walk<'a> {
    view: View<'a>,
    on_the_way: Vec<Waypoint>,
    checked: BTreeSet<Id>,
    relation: Relation,
    has_unread: bool,
    /// A step on the way rests on time, or on how things usually are.
    is_uncertain: bool,
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
                return vec![self.root(
                    id,
                    String::new(),
                    (&format!("{id} does not exist"), &RootReason::Absent),
                    false,
                )];
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
            if self.on_the_way.len() == 1 {
                self.relation = need.relation;
            }
            self.is_uncertain = uncertain_before || need.is_uncertain;
            match &need.met {
                Met::See => roots.extend(self.below(&need.to, None)),
                Met::No(why, reason) => roots.extend(self.below(&need.to, Some((why, reason)))),
            }
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

    fn root(&self, id: &Id, stands: String, (words, reason): (&str, &RootReason), is_consequence: bool) -> Root {
        let mut way = self.on_the_way.clone();
        way.push(Waypoint { id: id.clone(), stands });
        let confidence = match (is_consequence, self.has_unread || self.is_uncertain) {
            (true, _) => Confidence::Unknown,
            (false, true) => Confidence::Likely,
            (false, false) => Confidence::Certain,
        };
        Root { way, relation: self.relation, words: words.to_owned(), reason: reason.clone(), confidence }
    }
}

//! What was read of the cluster so far, redacted, and the graph of it. Pure.

use std::collections::BTreeMap;

use debugbundle_diagnosis::{FailedHook, Graph, Id, Kind, Known, ResultText, Wanted};
use jiff::Timestamp;
use serde_json::Value;

/// Most bytes of the objects that are kept (as written).
const BYTES: usize = 20 << 20;

/// The answer to a want.
#[derive(Debug)]
pub(super) enum Reply {
    /// These objects; of one object that does not exist, none.
    Objects(Vec<Value>),
    /// The last words of a container; none if it said nothing.
    Words(Option<String>),
    /// Errors.
    Texts(Vec<ResultText>),
    /// Hooks that failed.
    Hooks(Vec<FailedHook>),
    /// It may not be read: a sentence.
    Forbidden(String),
    /// It could not be read: a sentence.
    Failed(String),
}

/// What was read.
#[derive(Debug)]
pub(super) struct Answers {
    velero: String,
    read_at: Timestamp,
    objects: BTreeMap<Id, Value>,
    replies: BTreeMap<Wanted, Reply>,
    bytes: usize,
    is_full: bool,
}

impl Answers {
    /// Nothing was read. `velero`: Velero's namespace.
    pub(super) fn new(velero: &str) -> Self {
        Self {
            velero: velero.to_owned(),
            read_at: Timestamp::now(),
            objects: BTreeMap::new(),
            replies: BTreeMap::new(),
            bytes: 0,
            is_full: false,
        }
    }

    /// Adds the answer to a want.
    pub(super) fn add(&mut self, want: Wanted, mut reply: Reply) {
        if let Reply::Objects(objects) = &mut reply {
            let found = std::mem::take(objects);
            if let (Wanted::Object(id), true) = (&want, found.is_empty()) {
                // It may have been listed a moment ago.
                self.objects.remove(id);
            }
            for object in found {
                let bytes = object.to_string().len();
                if self.bytes + bytes > BYTES {
                    self.is_full = true;
                    break;
                }
                self.bytes += bytes;
                // A list may contain only parts of its objects.
                self.objects.entry(Id::of(&object)).or_insert(object);
            }
        }
        self.replies.insert(want, reply);
    }

    /// An object that was read.
    pub(super) fn object(&self, id: &Id) -> Option<&Value> {
        self.objects.get(id)
    }

    /// The objects of these kinds.
    pub(super) fn of_kinds<'a>(&'a self, kinds: &'a [Kind]) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(|(id, _)| kinds.contains(&id.kind)).map(|(_, object)| object)
    }

    pub(super) fn read_at(&self) -> Timestamp {
        self.read_at
    }

    /// Whether something was left out because of a limit.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Why this object could not be read.
    pub(super) fn why_unread(&self, id: &Id) -> Option<String> {
        match self.replies.get(&Wanted::Object(id.clone())) {
            Some(Reply::Forbidden(why) | Reply::Failed(why)) => Some(why.clone()),
            _ => None,
        }
    }

    /// A sentence for each thing that could not be read.
    pub(super) fn unread(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .replies
            .values()
            .filter_map(|reply| match reply {
                Reply::Forbidden(why) | Reply::Failed(why) => Some(why.clone()),
                _ => None,
            })
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// All of it, for the walk.
    pub(super) fn graph(&self) -> Graph<'_> {
        let mut graph = Graph::new(&self.velero, self.read_at);
        for object in self.objects.values() {
            graph.add(object);
        }
        for (want, reply) in &self.replies {
            match (want, reply) {
                (Wanted::Object(id), Reply::Objects(_)) if !self.objects.contains_key(id) => {
                    graph.answer(id.clone(), Known::Absent);
                }
                (Wanted::Object(id), Reply::Forbidden(_)) => graph.answer(id.clone(), Known::Forbidden),
                (Wanted::Object(id), Reply::Failed(_)) => graph.answer(id.clone(), Known::NotHere),
                (Wanted::List(kind, namespace), Reply::Objects(_)) => graph.listed(kind.clone(), namespace),
                (Wanted::Labelled(kind, label, value), Reply::Objects(_)) => graph.labelled(kind.clone(), label, value),
                (Wanted::Warnings(id), Reply::Objects(_)) => graph.warned(id.clone()),
                (Wanted::LastWords(pod, container, is_previous), Reply::Words(words)) => {
                    graph.said(pod.clone(), container, *is_previous, words.clone());
                }
                (Wanted::Results, Reply::Texts(texts)) => graph.results(texts.iter().cloned()),
                (Wanted::FailedHooks, Reply::Hooks(hooks)) => graph.failed_hooks(hooks.iter().cloned()),
                _ => {}
            }
        }
        graph
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_without_an_answer_is_absent_and_one_that_may_not_be_read_is_not() {
        let mut answers = Answers::new("velero");
        let id = |name: &str| Id::new(Kind::Pod, "shop", name);
        let pod = json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": "a"}});
        answers.add(Wanted::Object(id("a")), Reply::Objects(vec![pod]));
        answers.add(Wanted::Object(id("b")), Reply::Objects(Vec::new()));
        answers.add(Wanted::Object(id("c")), Reply::Forbidden("you may not get pods in namespace shop".to_owned()));
        assert!(answers.object(&id("a")).is_some() && answers.graph().object(&id("b")).is_none());
        assert_eq!(answers.why_unread(&id("c")).as_deref(), Some("you may not get pods in namespace shop"));
        assert_eq!((answers.why_unread(&id("b")), answers.unread().len()), (None, 1));
    }

    #[test]
    fn what_is_kept_is_limited() {
        let mut answers = Answers::new("velero");
        let text = "x".repeat(BYTES / 2);
        let pods = (0..3)
            .map(|n| json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": format!("p{n}")}, "text": text}));
        answers.add(Wanted::List(Kind::Pod, "shop".to_owned()), Reply::Objects(pods.collect()));
        assert!(answers.is_full() && answers.of_kinds(&[Kind::Pod]).count() == 1);
    }
}

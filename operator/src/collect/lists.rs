//! Writes lists of objects, one file each: the target's objects first, the newest first, or a chosen few. Lists are
//! read page by page; `object_writer` writes the objects.

use std::{collections::BTreeMap, io, sync::Arc};

use debugbundle_format::manifest::{MissingCode, MissingSeverity, Source, SourceKind, TruncationReason};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Outcome, Work,
    captured::Unlisted,
    entry::WriteError,
    missing::missing,
    object_buffer::{Newest, ObjectBuffer},
    object_writer::{OBJECT, Writer, close, object_path, shorten},
    on_a_thread,
};
use crate::{
    cluster::{ApiKind, ClusterError, Flow, ListError, Listed, TakeItems},
    plan::{First, Item, Only, Want},
    velero::ObjectName,
};

/// Up to this many objects are requested one by one; more are picked from a list.
const HANDFUL: usize = 8;
/// To find named objects, this many objects of a list are read per wanted one, at least `PAGES`; after that, requesting
/// the rest one by one is cheaper.
const LOOKED_AT: usize = 20;
const PAGES: usize = 1000;
/// Most of the target's objects that are requested one by one if the lists did not contain them.
const SINGLY: usize = 64;

/// What is done with the items of a list.
enum Mode {
    /// All are written in their order.
    Straight,
    /// At most this many are written.
    AtMost(usize),
    /// The target's objects are written, the others wait.
    Waiting(First, ObjectBuffer),
    /// Too many waited: the target's objects are written, the others are skipped.
    OnlyFirst(First),
    /// The chosen ones are written.
    Chosen(Only),
    /// The newest wait.
    Newest(Newest),
    /// Objects of these names are written and removed from the map; this many are looked at.
    Named(BTreeMap<String, ObjectName>, usize),
}

struct ListFilter {
    writer: Writer,
    mode: Mode,
    /// The buffer was too small for all objects that had to wait.
    overflowed: bool,
    /// Names of objects that have another UID than expected.
    replaced: Vec<String>,
    /// Captured objects that the list does not contain.
    unlisted: Unlisted,
}

impl ListFilter {
    fn new(writer: Writer, mode: Mode) -> Self {
        Self { writer, mode, overflowed: false, replaced: Vec::new(), unlisted: Unlisted::default() }
    }

    /// Writes the objects that waited. `true`: there were more than are kept.
    fn settle(&mut self) -> io::Result<bool> {
        let Self { writer, mode, .. } = self;
        let mut cut = false;
        let mut write = |object: Value| {
            cut = writer.list_item(object)? == Flow::Enough;
            Ok(!cut)
        };
        match mode {
            Mode::Waiting(_, held) => held.drain(&mut write)?,
            Mode::Newest(newest) => {
                let left_out = newest.left_some_out();
                newest.drain(&mut write)?;
                cut |= left_out;
            }
            _ => {}
        }
        Ok(cut)
    }

    fn named(&mut self, object: Value) -> io::Result<Flow> {
        let Mode::Named(wanted, left) = &mut self.mode else { return Ok(Flow::Enough) };
        *left = left.saturating_sub(1);
        let more = *left > 0;
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if let Some(known) = wanted.remove(text("/metadata/name")) {
            if known.uid.as_deref().is_some_and(|uid| uid != text("/metadata/uid")) {
                self.replaced.push(known.name);
            }
            let all = wanted.is_empty();
            let flow = self.writer.list_item(object)?;
            return Ok(if all { Flow::Enough } else { flow });
        }
        Ok(if more { Flow::More } else { Flow::Enough })
    }
}

impl TakeItems for ListFilter {
    fn take(&mut self, mut item: Value) -> io::Result<Flow> {
        shorten(&self.writer.kind, &mut item);
        self.unlisted.listed(&item);
        match &mut self.mode {
            Mode::AtMost(most) if self.writer.written >= *most => Ok(Flow::Enough),
            Mode::Straight | Mode::AtMost(_) => self.writer.list_item(item),
            Mode::OnlyFirst(first) | Mode::Waiting(first, _) if first.has(&item) => self.writer.list_item(item),
            Mode::Waiting(_, held) => {
                self.overflowed = !held.push(&item)?;
                Ok(if self.overflowed { Flow::Enough } else { Flow::More })
            }
            Mode::Chosen(only) if only.wants(&item) => self.writer.list_item(item),
            Mode::OnlyFirst(_) | Mode::Chosen(_) => Ok(Flow::More),
            Mode::Newest(newest) => {
                newest.offer(&item)?;
                Ok(Flow::More)
            }
            Mode::Named(..) => self.named(item),
        }
    }

    /// Written objects stay written; the writer recognizes them by name when they come again.
    fn restart(&mut self) {
        self.unlisted.restart();
        match &mut self.mode {
            Mode::Waiting(_, held) => held.clear(),
            Mode::Newest(newest) => newest.clear(),
            _ => {}
        }
    }
}

/// Writes objects of a kind into one List file.
pub(super) async fn list(
    work: &Arc<Work>,
    item: &Item,
    kind: &ApiKind,
    namespace: Option<&str>,
    want: &Want,
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    let path = kind.list_path(namespace);
    let mode = match want {
        Want::All => Mode::Straight,
        Want::First(first) => Mode::Waiting(first.clone(), ObjectBuffer::new()),
        Want::Newest(most) => Mode::Newest(Newest::new(*most)),
        Want::AtMost(most) => Mode::AtMost(*most),
        Want::Only(only) => Mode::Chosen(only.clone()),
    };
    let seen = |bytes| work.progress.read(bytes);
    let filter = ListFilter {
        unlisted: work.captured.unlisted(kind, namespace),
        ..ListFilter::new(Writer::new(work, item, kind), mode)
    };
    let (mut filter, mut listed) = work.cluster.list(&path, None, deadline, filter, seen).await;
    if let (true, Want::First(first), Ok(_)) = (filter.overflowed, want, &listed) {
        let unlisted = std::mem::take(&mut filter.unlisted);
        filter = first_of_many(work, &path, kind, namespace, first, filter.writer, deadline).await?;
        filter.unlisted = unlisted;
        filter.unlisted.restart();
        (filter, listed) = work.cluster.list(&path, None, deadline, filter, seen).await;
    }
    let whole = listed.as_ref().is_ok_and(|listed| !listed.enough);
    let (filter, cut, added) = on_a_thread(move || {
        let cut = filter.settle()?;
        let gone = if whole { filter.unlisted.objects() } else { Vec::new() };
        let added = gone.len();
        gone.into_iter().try_for_each(|object| filter.writer.list_item(object).map(|_| ()))?;
        Ok::<_, io::Error>((filter, cut, added))
    })
    .await?;
    let writer = filter.writer;
    let source = |listed: &Listed| Source {
        kind: SourceKind::List,
        path: Some(path.clone()),
        items: Some(writer.written as u64),
        resource_version: Some(listed.resource_version.clone()).filter(|version| !version.is_empty()),
        warning: (added > 0)
            .then(|| format!("{added} of these objects were gone when the list was read; they are as last seen")),
        ..Source::default()
    };
    match listed {
        Ok(listed) if writer.is_untouched() && !listed.enough => {
            Ok(Outcome { empty: Some(item.path.as_str().to_owned()), ..Outcome::default() })
        }
        Ok(listed) => {
            let why = (listed.enough || cut).then_some(TruncationReason::Limit);
            let source = source(&listed);
            close(item, writer, source, why).await
        }
        Err(ListError::Taker(error)) => Err(error.into()),
        Err(ListError::Cluster(error)) if writer.written == 0 => {
            Ok(work.objects_missing(item, &error, "list", kind, namespace))
        }
        Err(ListError::Cluster(error)) => {
            let why = match error {
                ClusterError::Stalled(_) | ClusterError::NoAnswer(_) => TruncationReason::Stalled,
                ClusterError::Deadline => TruncationReason::Deadline,
                _ => TruncationReason::Reset,
            };
            let source = Source { warning: Some(error.to_string()), ..source(&Listed::default()) };
            close(item, writer, source, Some(why)).await
        }
    }
}

/// Writes the target's objects when there are too many to buffer: by its labels, else by name. Objects that cannot be
/// read here come with the full list.
async fn first_of_many(
    work: &Arc<Work>,
    path: &str,
    kind: &ApiKind,
    namespace: Option<&str>,
    first: &First,
    writer: Writer,
    deadline: Instant,
) -> Result<ListFilter, WriteError> {
    let seen = |bytes| work.progress.read(bytes);
    let mut filter = ListFilter::new(writer, Mode::OnlyFirst(first.clone()));
    let narrow = first.narrow.as_ref().filter(|_| first.names.iter().any(|name| !filter.writer.has(name)));
    for (key, value) in first.labels.iter().chain(narrow) {
        let selector = format!("{key}={value}");
        let listed;
        (filter, listed) = work.cluster.list(path, Some(&selector), deadline, filter, seen).await;
        if let Err(ListError::Taker(error)) = listed {
            return Err(error.into());
        }
    }
    // Labels find every object that still exists.
    let singly = if first.labels.is_empty() { SINGLY } else { 0 };
    let rest: Vec<&String> = first.names.iter().filter(|name| !filter.writer.has(name)).take(singly).collect();
    for name in rest {
        if let Ok(object) = work.cluster.get(&kind.path(namespace, name), OBJECT, deadline).await {
            filter = on_a_thread(move || filter.writer.list_item(object).map(|_| filter)).await?;
        }
    }
    filter.mode = Mode::Straight;
    Ok(filter)
}

/// Writes some objects of a kind into one List file. Objects that are gone become notes.
pub(super) async fn named(
    work: &Arc<Work>,
    item: &Item,
    kind: &ApiKind,
    objects: &[ObjectName],
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    let namespace = objects.first().map(|one| one.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let mut wanted: BTreeMap<String, ObjectName> =
        objects.iter().map(|object| (object.name.clone(), object.clone())).collect();
    let mut outcome = Outcome::default();
    let path = kind.list_path(namespace);
    let mut filter = ListFilter::new(Writer::new(work, item, kind), Mode::Straight);
    // Objects that a complete list does not contain are gone.
    let mut gone = None;
    if wanted.len() > HANDFUL {
        let looked_at = (wanted.len() * LOOKED_AT).max(PAGES);
        filter.mode = Mode::Named(wanted, looked_at);
        let listed;
        (filter, listed) = work.cluster.list(&path, None, deadline, filter, |bytes| work.progress.read(bytes)).await;
        let Mode::Named(rest, _) = std::mem::replace(&mut filter.mode, Mode::Straight) else { return Ok(outcome) };
        wanted = rest;
        match listed {
            Ok(listed) if !listed.enough => gone = Some("it is not in the list"),
            Err(ListError::Taker(error)) => return Err(error.into()),
            Err(ListError::Cluster(error)) if error.is_forbidden() => {
                return Ok(work.objects_missing(item, &error, "list", kind, namespace));
            }
            // The single requests report why not.
            Ok(_) | Err(ListError::Cluster(_)) => {}
        }
    }
    let note = |outcome: &mut Outcome, name: &str, why: &str| {
        let (what, path) = (format!("{} {name}", kind.kind), object_path(item, name));
        outcome.missing.push(missing(&what, &path, MissingCode::Gone, MissingSeverity::Note, why, ""));
    };
    if let Some(why) = gone {
        for name in std::mem::take(&mut wanted).into_keys() {
            note(&mut outcome, &name, why);
        }
    }
    let all = std::mem::take(&mut wanted);
    for (name, known) in all {
        match work.cluster.get(&kind.path(namespace, &name), OBJECT, deadline).await {
            Ok(object) => {
                filter.mode = Mode::Named([(name, known)].into(), 1);
                filter = on_a_thread(move || filter.take(object).map(|_| filter)).await?;
            }
            Err(error) if error.is_not_found() => note(&mut outcome, &name, &error.to_string()),
            Err(error) => {
                let mut lost = work.objects_missing(item, &error, "get", kind, namespace);
                if filter.writer.written > 0 {
                    lost.missing.iter_mut().for_each(|lost| lost.path = object_path(item, &name));
                }
                outcome.missing.extend(lost.missing);
                // If one is forbidden or too late, all are.
                if error.is_forbidden() || error == ClusterError::Deadline {
                    break;
                }
            }
        }
    }
    let ListFilter { writer, replaced, .. } = filter;
    for name in replaced {
        let why = "an object with the same name and another UID has replaced it, and is in the bundle instead";
        note(&mut outcome, &name, why);
    }
    if writer.is_untouched() && outcome.missing.iter().all(|lost| lost.path != item.path.as_str()) {
        // Besides a line for each object, one for their List.
        let why = "none of these objects exists any more";
        let path = item.path.as_str();
        outcome.missing.push(missing(&item.what, path, MissingCode::Gone, MissingSeverity::Note, why, ""));
        return Ok(outcome);
    }
    let items = Some(writer.written as u64);
    let source = Source { kind: SourceKind::List, path: Some(path), items, ..Source::default() };
    let closed = close(item, writer, source, None).await?;
    Ok(outcome.and(closed))
}

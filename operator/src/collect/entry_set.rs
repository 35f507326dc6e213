//! The entries read so far, kept within the bundle's budget: above it, entries are shortened and dropped in the order
//! of [`crate::budget`], while others are still being read.
//!
//! Items are read in the order of their priority. Once the budget is used up, an item that ranks below all present
//! entries would be dropped at the end anyway: it is not read, and `trimmed[]` reports it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead as _, BufReader, Write as _},
};

use debugbundle_archive::{Entry, RulesOver};
use debugbundle_format::{
    BundlePath,
    manifest::{Missing, MissingCode, MissingSeverity, Trimmed, Truncation, TruncationReason},
};
use jiff::Timestamp;

use super::{
    EntryBody,
    entry::{EntryContext, LazyEntry, WriteError},
    missing::{LARGER, missing},
};
use crate::{
    budget::{self, Class, TrimAction, TrimStep, Weighed},
    discovery::Snapshot,
    plan::{Item, SourceClass},
};

/// Entries, their size, and what was left out of them.
#[derive(Debug, Default)]
pub(super) struct BudgetedEntries {
    /// Most bytes of all entries, as stored in the spool.
    limit: u64,
    used: u64,
    /// In order of arrival.
    kept: BTreeMap<usize, KeptEntry>,
    next: usize,
    /// The last trimming step that was begun.
    begun: Option<TrimStep>,
    trimmed: BTreeMap<String, Trimmed>,
    /// Healthy pods, by namespace and name; pods whose health is unknown are absent.
    healthy: BTreeSet<(String, String)>,
    /// UIDs and names of the target and its Backup.
    own: Vec<String>,
}

/// An entry, and what was trimmed of it.
#[derive(Debug)]
pub(super) struct KeptEntry {
    pub(super) entry: Entry,
    class: Class,
    /// The last step that left out a part of it, and how much is left out so far (bytes, uncompressed).
    trimmed: Option<(TrimStep, u64)>,
    /// A copy, used only if no better log of its path arrives.
    stands_in: bool,
}

impl KeptEntry {
    fn weighed(&self) -> Weighed {
        let segment = &self.entry.segment;
        Weighed { class: self.class, bytes: segment.bytes(), compressed: segment.compressed_bytes() }
    }

    /// Bytes it uses of the budget.
    fn takes(&self) -> u64 {
        self.entry.segment.compressed_bytes() + budget::PER_ENTRY
    }
}

impl BudgetedEntries {
    pub(super) fn new(limit: u64, snapshot: &Snapshot) -> Self {
        let healthy = snapshot.installation.pods.iter().filter(|pod| pod.is_healthy());
        let targets = [&snapshot.target.object, &snapshot.target.backup].into_iter().flatten();
        Self {
            limit,
            healthy: healthy.map(|pod| (pod.namespace.clone(), pod.name.clone())).collect(),
            own: targets.flat_map(|one| [one.uid.clone(), one.name.clone()]).filter(|id| !id.is_empty()).collect(),
            ..Self::default()
        }
    }

    fn class(&self, item: &Item, path: &str) -> Class {
        let healthy = match item.source.class() {
            SourceClass::ContainerLog { namespace, pod, .. } => {
                self.healthy.contains(&(namespace.to_owned(), pod.to_owned()))
            }
            SourceClass::List | SourceClass::Object | SourceClass::StoreFile | SourceClass::Discovery => false,
        };
        Class::of(item, path, healthy)
    }

    /// Whether reading the item is pointless by now; if so, it is reported as trimmed.
    pub(super) fn refuses(&mut self, item: &Item) -> bool {
        let path = item.path.as_str();
        let Some(step) = budget::closed(self.class(item, path), self.begun) else { return false };
        self.tell(path, step, 0, 0);
        true
    }

    /// Takes the entries of an item. If their class is no longer kept, it only adds a line to `trimmed[]`.
    pub(super) fn take(&mut self, item: &Item, bodies: Vec<EntryBody>, read_at: Timestamp, ms: u64) {
        for (segment, source, truncated) in bodies {
            let class = self.class(item, segment.path().as_str());
            if let Some(step) = budget::closed(class, self.begun) {
                self.tell(segment.path().as_str(), step, segment.bytes(), 0);
                continue;
            }
            self.put_new(Entry { segment, source, truncated, read_at, ms }, class, false);
        }
    }

    /// Takes the log of a pod that did a part of the work and is gone. A log that `stands_in` is used only if no better
    /// one arrives; until then it uses its share of the budget.
    pub(super) fn take_log(&mut self, entry: Entry, stands_in: bool) {
        self.put_new(entry, Class::Log, stands_in);
    }

    /// Removes and returns the logs that stand in for others; the caller puts back the ones to use.
    pub(super) fn stand_ins(&mut self) -> Vec<KeptEntry> {
        let places: Vec<usize> = self.kept.iter().filter(|(_, kept)| kept.stands_in).map(|(place, _)| *place).collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// Removes and returns the entries at these paths whose source broke off.
    pub(super) fn take_broken_off(&mut self, at: impl Fn(&str) -> bool) -> Vec<KeptEntry> {
        let broke_off = |kept: &KeptEntry| {
            let reason = kept.entry.truncated.as_ref().map(|truncated| truncated.reason);
            matches!(reason, Some(TruncationReason::Reset | TruncationReason::Stalled))
        };
        let found = self.kept.iter().filter(|(_, kept)| broke_off(kept) && at(kept.entry.segment.path().as_str()));
        let places: Vec<usize> = found.map(|(place, _)| *place).collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// Lowers the limit of all entries.
    pub(super) fn limit_to(&mut self, limit: u64) {
        self.limit = self.limit.min(limit);
    }

    /// Puts one of them back for good.
    pub(super) fn adopt(&mut self, kept: KeptEntry) {
        self.put(KeptEntry { stands_in: false, ..kept });
    }

    /// The paths of all entries.
    pub(super) fn paths(&self) -> BTreeSet<BundlePath> {
        self.kept.values().map(|kept| kept.entry.segment.path().clone()).collect()
    }

    /// Drops entries without reporting them: another entry contains the same.
    pub(super) fn forget(&mut self, needless: impl Fn(&BundlePath) -> bool) {
        let found = self.kept.iter().filter(|(_, kept)| needless(kept.entry.segment.path()));
        let places: Vec<usize> = found.map(|(place, _)| *place).collect();
        for place in places {
            self.remove(place);
        }
    }

    /// An entry that was cut because the spool was full counts as trimmed already.
    fn put_new(&mut self, entry: Entry, class: Class, stands_in: bool) {
        let cut = entry.truncated.as_ref().filter(|cut| cut.reason == TruncationReason::Budget);
        let trimmed = cut.and_then(|cut| Some((budget::first(class)?, cut.left_out_bytes)));
        self.put(KeptEntry { entry, class, trimmed, stands_in });
    }

    fn put(&mut self, kept: KeptEntry) {
        self.used += kept.takes();
        self.kept.insert(self.next, kept);
        self.next += 1;
    }

    fn remove(&mut self, place: usize) -> Option<KeptEntry> {
        let kept = self.kept.remove(&place)?;
        self.used -= kept.takes();
        Some(kept)
    }

    /// Whether the entries exceed the budget.
    pub(super) fn is_over(&self) -> bool {
        self.used > self.limit
    }

    /// Trims step by step, until the rest fits or nothing more can be trimmed. Blocks.
    pub(super) fn fit(mut self, context: &EntryContext) -> Result<Self, WriteError> {
        for step in TrimStep::ALL {
            if !self.is_over() {
                break;
            }
            self.begun = self.begun.max(Some(step));
            let (places, weighed): (Vec<usize>, Vec<Weighed>) =
                self.kept.iter().map(|(place, kept)| (*place, kept.weighed())).unzip();
            for (at, cut) in budget::victims(step, &weighed) {
                if !self.is_over() {
                    break;
                }
                if let Some(kept) = self.remove(places[at]) {
                    self.cut(places[at], kept, cut, step, context)?;
                }
            }
        }
        Ok(self)
    }

    fn cut(
        &mut self,
        place: usize,
        kept: KeptEntry,
        cut: TrimAction,
        step: TrimStep,
        context: &EntryContext,
    ) -> Result<(), WriteError> {
        let KeptEntry { entry, class, trimmed, stands_in } = kept;
        let (path, before) = (entry.segment.path().as_str().to_owned(), entry.segment.bytes());
        let left = match cut {
            TrimAction::Drop => Ok(None),
            TrimAction::Shorten(most) => shortened(entry, most, context).map(Some),
            TrimAction::OwnObjects => own_objects(entry, &self.own, context),
        };
        let left = match left.map_err(WriteError::from) {
            Ok(left) => left,
            // Items read at the same time have just filled the spool: freeing room matters more than this entry.
            Err(WriteError::Spool(error)) if error.is_full() => None,
            // It was read in time, and is written once more: the user's rules have no time for that.
            Err(WriteError::Entry(error)) if RulesOver::is(&error) => None,
            Err(error) => return Err(error),
        };
        let dropped = trimmed.map_or(0, |(_, dropped)| dropped);
        let Some(entry) = left else {
            self.tell(&path, step, dropped + before, 0);
            return Ok(());
        };
        let after = entry.segment.bytes();
        let trimmed = if after == before { trimmed } else { Some((step, dropped + before.saturating_sub(after))) };
        let kept = KeptEntry { entry, class, trimmed, stands_in };
        self.used += kept.takes();
        self.kept.insert(place, kept);
        Ok(())
    }

    /// Adds to the line of this path, which counts everything that was left out of it.
    fn tell(&mut self, path: &str, step: TrimStep, dropped_bytes: u64, kept_bytes: u64) {
        let line = self.trimmed.entry(path.to_owned()).or_default();
        path.clone_into(&mut line.path);
        step.rule().clone_into(&mut line.rule);
        line.dropped_bytes += dropped_bytes;
        line.kept_bytes = kept_bytes;
    }

    /// Returns the entries, what was trimmed, and what is missing because trimming was not enough: then whole entries
    /// go, those that explain least first. `told` is the number of other missing items: their lines need room, too.
    pub(super) fn close(mut self, told: usize) -> Closed {
        let mut missing = Vec::new();
        let (places, weighed): (Vec<usize>, Vec<Weighed>) =
            self.kept.iter().map(|(place, kept)| (*place, kept.weighed())).unzip();
        for at in budget::least_first(&weighed) {
            let lines = (told + missing.len() + self.trimmed.len()) as u64;
            if self.used + lines * budget::PER_LINE <= self.limit {
                break;
            }
            if let Some(kept) = self.remove(places[at]) {
                missing.push(no_room_at_all(&kept.entry, self.limit));
            }
        }
        let mut entries = Vec::new();
        for kept in std::mem::take(&mut self.kept).into_values() {
            if let Some((step, dropped)) = kept.trimmed {
                self.tell(kept.entry.segment.path().as_str(), step, dropped, kept.entry.segment.bytes());
            }
            entries.push(kept.entry);
        }
        Closed { entries, trimmed: self.trimmed.into_values().collect(), missing }
    }
}

/// What [`BudgetedEntries::close`] returns.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) entries: Vec<Entry>,
    pub(super) trimmed: Vec<Trimmed>,
    pub(super) missing: Vec<Missing>,
}

fn no_room_at_all(entry: &Entry, limit: u64) -> Missing {
    let (path, takes) = (entry.segment.path().as_str(), entry.segment.compressed_bytes());
    let why = format!("it takes {takes} bytes, and all entries together may take {limit} bytes");
    missing(path, path, MissingCode::TooLarge, MissingSeverity::Error, &why, LARGER)
}

/// Keeps head and tail of a log, and notes why the middle is missing.
fn shortened(entry: Entry, most: u64, context: &EntryContext) -> io::Result<Entry> {
    let Entry { segment, source, truncated, read_at, ms } = entry;
    let segment = segment.shrink(&context.spool, most)?;
    // If its source broke off, that stays the reason: it is worse.
    let reason = truncated.as_ref().map(|before| before.reason).filter(|reason| reason.is_error());
    let truncated = segment.truncated(reason.unwrap_or(TruncationReason::Budget)).or(truncated);
    Ok(Entry { segment, source, truncated, read_at, ms })
}

/// Whether the text contains this name or UID as a whole word, not as part of a longer one.
fn names(text: &[u8], id: &str) -> bool {
    let inside =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    memchr::memmem::find_iter(text, id.as_bytes()).any(|at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        !inside(before) && !inside(text.get(at + id.len()))
    })
}

/// Keeps only the objects of a List that name one of `own`; `None` if there are none.
fn own_objects(entry: Entry, own: &[String], context: &EntryContext) -> io::Result<Option<Entry>> {
    let Entry { segment, mut source, read_at, ms, .. } = entry;
    let before = segment.bytes();
    let mut kept = LazyEntry::new(context, segment.path().clone(), None);
    let (mut items, mut lines_left_out) = (0, 0);
    let mut object = Vec::new();
    let mut lines = BufReader::new(segment.reader()?);
    loop {
        let start = object.len();
        let ended = lines.read_until(b'\n', &mut object)? == 0;
        // An object of a List begins with a dash in the first column; no other line does.
        if ended || object[start..].starts_with(b"- ") {
            let next = object.split_off(start);
            let is_head = !object.starts_with(b"- ");
            if is_head || own.iter().any(|id| names(&object, id)) {
                kept.write_all(&object)?;
                items += u64::from(!is_head);
            } else {
                lines_left_out += memchr::memchr_iter(b'\n', &object).count() as u64;
            }
            object = next;
        }
        if ended {
            break;
        }
    }
    if items == 0 {
        return Ok(None);
    }
    let Some(segment) = kept.finish()? else { return Ok(None) };
    source.items = Some(items);
    let truncated = Truncation {
        reason: TruncationReason::Budget,
        kept_head: segment.bytes(),
        kept_tail: 0,
        left_out_bytes: before.saturating_sub(segment.bytes()),
        left_out_lines: lines_left_out,
    };
    Ok(Some(Entry { segment, source, truncated: Some(truncated), read_at, ms }))
}

#[cfg(test)]
mod tests;

//! A bounded cache of hosting pods and their logs: pods that ended first are dropped first. Pure: `watch` and `follow`
//! fill it, `collect` chooses what goes into a bundle.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    CapturedLog, CapturedPod, NotCaptured,
    log_buffer::{LogCursor, Ring, SplitLine},
    pod_snapshot::{PodSnapshot, State},
    saved::SavedPod,
};

/// Most pods kept at once.
pub const PODS: usize = 64;
/// Most bytes of all pods together: objects, Events, logs.
pub(super) const MEMORY: usize = 8 << 20;
/// Most Events kept of one pod.
const EVENTS: usize = 32;
/// Most names kept of pods for which the cache had no place.
const TURNED_AWAY: usize = 256;
/// How long a pod is kept after its end: users look into a failed Restore the same day.
const KEPT: SignedDuration = SignedDuration::from_hours(6);

/// Hosting pods, by UID.
#[derive(Debug, Default)]
pub(super) struct CaptureCache {
    held: BTreeMap<String, Held>,
    /// Pods for which there was no place, by UID: name, and when they were seen.
    turned_away: BTreeMap<String, (String, Timestamp)>,
}

#[derive(Debug)]
struct Held {
    snapshot: PodSnapshot,
    seen: Timestamp,
    /// When it was first seen to have ended, or to be gone.
    ended: Option<Timestamp>,
    events: BTreeMap<String, Arc<[u8]>>,
    logs: BTreeMap<String, Log>,
    /// Its present state is not on disk.
    unsaved: bool,
    /// An earlier process saw it; the log was lost with that process.
    of_before: bool,
}

#[derive(Debug, Default)]
struct Log {
    ring: Ring,
    cursor: LogCursor,
    reading: Reading,
    /// All places were taken when it was to be followed.
    not_followed: bool,
    /// The API server refused the last request for it.
    refused: bool,
}

/// Whether a log is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    Nobody,
    /// A reader waits until fewer logs of its node are followed.
    Waiting,
    Somebody,
    /// It was read to its end.
    Done,
}

/// The work that follows from a new snapshot of a pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Todo {
    /// Containers whose logs are to be read: name, and whether the log still grows.
    pub(super) logs: Vec<(String, bool)>,
    /// Its Events may contain something new.
    pub(super) events: bool,
}

impl Held {
    fn memory(&self) -> usize {
        let events: usize = self.events.values().map(|event| event.len()).sum();
        let logs: usize = self.logs.values().map(|log| log.ring.memory()).sum();
        self.snapshot.object.len() + events + logs
    }

    /// Containers that ran and ended before a line of their log was read, and why none was. A reader that waits for a
    /// slot or for the answer may come too late, so its log counts.
    fn unread(&self) -> impl Iterator<Item = (String, NotCaptured)> {
        let unread =
            |log: &Log| (log.not_followed || log.reading != Reading::Done) && log.cursor == LogCursor::default();
        let logs = self.logs.iter().filter(move |(_, log)| self.ended.is_some() && unread(log));
        let why = |log: &Log| match log {
            _ if self.of_before => NotCaptured::Restarted,
            Log { refused: true, .. } => NotCaptured::Refused,
            Log { not_followed: true, .. } => NotCaptured::PassedOver,
            _ => NotCaptured::Gone,
        };
        logs.map(move |(name, log)| (name.clone(), why(log)))
    }

    /// Sort key: pods that ended well are dropped first; among the others, those that ended first.
    fn worth(&self) -> (bool, Timestamp) {
        (self.snapshot.ended == Some(true) || !self.snapshot.trouble.is_empty(), self.ended.unwrap_or(Timestamp::MAX))
    }
}

impl CaptureCache {
    /// Takes a new snapshot of a pod. A pod for which there is no place is not kept: it is tried again with its next
    /// change.
    pub(super) fn see(&mut self, snapshot: PodSnapshot, now: Timestamp) -> Todo {
        self.expire(now);
        if !self.held.contains_key(&snapshot.uid) && !self.make_place() {
            self.turn_away(snapshot, now);
            return Todo::default();
        }
        self.turned_away.remove(&snapshot.uid);
        let uid = snapshot.uid.clone();
        let held = self.held.entry(uid).or_insert_with(|| Held {
            snapshot: PodSnapshot { trouble: String::new(), ended: None, ..snapshot.clone() },
            seen: now,
            ended: None,
            events: BTreeMap::new(),
            logs: BTreeMap::new(),
            unsaved: true,
            of_before: false,
        });
        let events = held.snapshot.trouble != snapshot.trouble || held.snapshot.ended != snapshot.ended;
        if snapshot.ended.is_some() {
            held.ended.get_or_insert(now);
        }
        held.seen = now;
        held.snapshot = snapshot;
        (held.unsaved, held.of_before) = (true, false);
        let mut logs = Vec::new();
        for (name, state) in held.snapshot.containers.iter().filter(|(_, state)| *state != State::Waiting) {
            let grows = *state == State::Running;
            match held.logs.entry(name.clone()).or_default().reading {
                Reading::Nobody => logs.push((name.clone(), grows)),
                // A log that has ended need not wait.
                Reading::Waiting if !grows => logs.push((name.clone(), grows)),
                _ => {}
            }
        }
        self.fit();
        Todo { logs, events }
    }

    /// Takes the last snapshot of a pod that is gone. It replaces no kept pod: only its object could still be read.
    pub(super) fn see_last(&mut self, snapshot: PodSnapshot, now: Timestamp) {
        if self.held.contains_key(&snapshot.uid) || self.held.len() < PODS {
            self.see(snapshot, now);
        } else {
            self.turn_away(snapshot, now);
        }
    }

    /// A pod is gone.
    pub(super) fn gone(&mut self, uid: &str, now: Timestamp) {
        if let Some(held) = self.held.get_mut(uid) {
            held.ended.get_or_insert(now);
        }
    }

    /// Marks pods with this label that are not among `there` as gone.
    pub(super) fn all_of(&mut self, label: &str, there: &BTreeSet<String>, now: Timestamp) {
        for (uid, held) in &mut self.held {
            if held.snapshot.labels.contains_key(label) && !there.contains(uid) {
                held.ended.get_or_insert(now);
            }
        }
    }

    /// Adds Events of a pod; newer ones replace older ones of the same UID.
    pub(super) fn add_events(&mut self, uid: &str, events: impl IntoIterator<Item = (String, Arc<[u8]>)>) {
        let Some(held) = self.held.get_mut(uid) else { return };
        for (event, json) in events {
            if held.events.len() < EVENTS || held.events.contains_key(&event) {
                held.events.insert(event, json);
            }
        }
        self.fit();
    }

    /// A reader begins to wait until it may follow a log; `false`: another reader waits, reads or has read it.
    pub(super) fn wait_for_log(&mut self, uid: &str, container: &str) -> bool {
        let Some(log) = self.log_of(uid, container).filter(|log| log.reading == Reading::Nobody) else { return false };
        log.reading = Reading::Waiting;
        true
    }

    /// A reader begins to read a log: returns how far it was read before, or `None` if it is being read or was read to
    /// its end.
    pub(super) fn begin_log(&mut self, uid: &str, container: &str) -> Option<LogCursor> {
        let is_free = |log: &&mut Log| matches!(log.reading, Reading::Nobody | Reading::Waiting);
        let log = self.log_of(uid, container).filter(is_free)?;
        log.reading = Reading::Somebody;
        Some(log.cursor)
    }

    /// The reader that waited gives up: the most allowed logs are followed.
    pub(super) fn pass_over(&mut self, uid: &str, container: &str) {
        if let Some(log) = self.log_of(uid, container).filter(|log| log.reading == Reading::Waiting) {
            (log.not_followed, log.reading) = (true, Reading::Nobody);
        }
    }

    /// The API server refuses this log.
    pub(super) fn refuse(&mut self, uid: &str, container: &str) {
        if let Some(log) = self.log_of(uid, container) {
            log.refused = true;
        }
    }

    /// Adds a line of a log; returns whether the pod is still kept.
    pub(super) fn line(&mut self, uid: &str, container: &str, line: &SplitLine<'_>, cursor: LogCursor) -> bool {
        let Some(log) = self.log_of(uid, container) else { return false };
        let before = log.ring.memory();
        match line {
            SplitLine::Whole(line) => log.ring.push(line),
            SplitLine::TooLong { bytes, key } => log.ring.too_long(*bytes, *key),
        }
        log.cursor = cursor;
        if log.ring.memory() > before {
            self.fit();
        }
        true
    }

    /// The whole log was read, even if empty.
    pub(super) fn read_whole(&mut self, uid: &str, container: &str) {
        if let Some(log) = self.log_of(uid, container) {
            (log.not_followed, log.refused) = (false, false);
        }
    }

    /// How far a log was read; `None` if the pod is no longer kept.
    pub(super) fn cursor(&self, uid: &str, container: &str) -> Option<LogCursor> {
        Some(self.held.get(uid)?.logs.get(container)?.cursor)
    }

    /// Whether a log no longer grows: its container ended, or the pod is gone.
    pub(super) fn is_whole(&self, uid: &str, container: &str) -> bool {
        self.held.get(uid).is_none_or(|held| {
            let ended = |(name, state): &(String, State)| name == container && *state == State::Ended;
            held.ended.is_some() || held.snapshot.containers.iter().any(ended)
        })
    }

    /// Reading this log has ended; `to_its_end`: it need not be read again.
    pub(super) fn end_log(&mut self, uid: &str, container: &str, to_its_end: bool) {
        if let Some(log) = self.log_of(uid, container) {
            log.reading = if to_its_end { Reading::Done } else { Reading::Nobody };
        }
    }

    /// All pods that are kept, without the logs.
    pub(super) fn pods(&self) -> Vec<CapturedPod> {
        let captured = |held: &Held| CapturedPod {
            uid: held.snapshot.uid.clone(),
            name: held.snapshot.name.clone(),
            node: held.snapshot.node.clone(),
            labels: held.snapshot.labels.clone(),
            seen: held.seen,
            object: held.snapshot.object.clone(),
            events: held.events.iter().map(|(uid, json)| (uid.clone(), json.clone())).collect(),
            containers: held.logs.keys().cloned().collect(),
            unread: held.unread().collect(),
        };
        self.held.values().map(captured).collect()
    }

    /// Names of pods that were not kept for want of a place.
    pub(super) fn turned_away(&self) -> BTreeSet<String> {
        self.turned_away.values().map(|(name, _)| name.clone()).collect()
    }

    /// A log, if at least one line of it was read.
    pub(super) fn log(&self, uid: &str, container: &str) -> Option<CapturedLog> {
        let Log { ring, .. } = self.held.get(uid)?.logs.get(container)?;
        let content = ring.content();
        let (left_out_bytes, left_out_lines) = ring.left_out;
        (!content.is_empty()).then_some(CapturedLog { content, left_out_bytes, left_out_lines })
    }

    fn log_of(&mut self, uid: &str, container: &str) -> Option<&mut Log> {
        self.held.get_mut(uid)?.logs.get_mut(container)
    }

    /// Keeps the pod's name; the oldest is dropped.
    fn turn_away(&mut self, snapshot: PodSnapshot, now: Timestamp) {
        self.turned_away.insert(snapshot.uid, (snapshot.name, now));
        if self.turned_away.len() > TURNED_AWAY {
            let first = self.turned_away.iter().min_by_key(|(_, (_, seen))| *seen).map(|(uid, _)| uid.clone());
            first.and_then(|uid| self.turned_away.remove(&uid));
        }
    }

    /// Restores a pod that an earlier process saved, if there is room for it.
    pub(super) fn restore(&mut self, saved: SavedPod, now: Timestamp) {
        let SavedPod { uid, seen, ended, pod } = saved;
        let Some(snapshot) = PodSnapshot::of(pod).filter(|snapshot| snapshot.uid == uid) else { return };
        // A time in the future must not keep the pod for longer.
        let ended = ended.min(now);
        if self.held.len() >= PODS || self.held.contains_key(&uid) || now.duration_since(ended) >= KEPT {
            return;
        }
        let ran = snapshot.containers.iter().filter(|(_, state)| *state != State::Waiting);
        let logs = ran.map(|(name, _)| (name.clone(), Log::default())).collect();
        let (ended, events) = (Some(ended), BTreeMap::new());
        self.held.insert(uid, Held { snapshot, seen, ended, events, logs, unsaved: false, of_before: true });
    }

    /// The pods that ended and whose present state is not on disk; they count as saved from now on.
    pub(super) fn unsaved(&mut self) -> Vec<SavedPod> {
        let ended = self.held.iter_mut().filter(|(_, held)| held.unsaved && held.ended.is_some());
        let saved = |(uid, held): (&String, &mut Held)| {
            held.unsaved = false;
            let pod = serde_json::from_slice(&held.snapshot.object).ok()?;
            Some(SavedPod { uid: uid.clone(), seen: held.seen, ended: held.ended?, pod })
        };
        ended.filter_map(saved).collect()
    }

    /// The UIDs of all pods that are kept.
    pub(super) fn uids(&self) -> BTreeSet<String> {
        self.held.keys().cloned().collect()
    }

    /// Drops pods and names that were kept for long enough.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.turned_away.retain(|_, (_, seen)| now.duration_since(*seen) < KEPT);
        self.held.retain(|_, held| held.ended.is_none_or(|ended| now.duration_since(ended) < KEPT));
    }

    /// Makes a place for one more pod; never drops a pod that lives.
    fn make_place(&mut self) -> bool {
        self.held.len() < PODS || self.drop_one()
    }

    fn drop_one(&mut self) -> bool {
        let ended = self.held.iter().filter(|(_, held)| held.ended.is_some());
        let Some(uid) = ended.min_by_key(|(_, held)| held.worth()).map(|(uid, _)| uid.clone()) else { return false };
        self.held.remove(&uid);
        true
    }

    /// Keeps to [`MEMORY`]: pods that ended are dropped first, then the longest logs are halved.
    fn fit(&mut self) {
        while self.held.values().map(Held::memory).sum::<usize>() > MEMORY {
            if self.drop_one() {
                continue;
            }
            let logs = self.held.values_mut().flat_map(|held| held.logs.values_mut());
            let Some(longest) = logs.max_by_key(|log| log.ring.memory()).filter(|log| log.ring.memory() > 0) else {
                // Objects and Events alone exceed the limit: 64 pods with the most of both.
                self.held.pop_first();
                continue;
            };
            longest.ring.halve();
        }
    }
}

#[cfg(test)]
mod tests;

//! The operator's record of stored bundles: an annotation of its Lease, which each instance may read and write already.
//! A sweep deletes the object of a DebugBundle that is gone only if the record has it: nothing that the operator does
//! not know is deleted. What was seen as deleted stays in the record until its object is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use debugbundle_crd::DebugBundle;
use debugbundle_format::hex_digest;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{election::annotate, observed, store::Key};

/// The annotation with the record as JSON.
const ANNOTATION: &str = "debugbundle.io/stored";
/// The most bundles in the record, at about 70 bytes each: the annotations of an object may have 256 KiB together.
pub const MOST: usize = 1000;
/// Digits of the digest that stands for a key.
const DIGEST: usize = 16;
/// The word at an entry whose DebugBundle was seen as deleted.
const GONE: &str = "gone";

/// One stored bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBundle {
    /// Name of its location.
    location: String,
    /// Stands for its key.
    digest: String,
    /// When its DebugBundle was created, in seconds since 1970.
    created: i64,
    /// The deletion of its DebugBundle was seen.
    gone: bool,
}

impl StoredBundle {
    /// Of a DebugBundle that has, or announces, an object in a store.
    fn of(bundle: &DebugBundle) -> Option<Self> {
        let stored = bundle.status.as_ref()?.bundle.as_ref().filter(|stored| !stored.key.is_empty())?;
        (!observed::is_restored(bundle)).then(|| Self {
            location: stored.storage_location.clone(),
            digest: digest(&stored.key),
            created: bundle.metadata.creation_timestamp.as_ref().map_or(0, |created| created.0.as_second()),
            gone: false,
        })
    }

    /// Whether its DebugBundle was deleted by itself. A DebugBundle that is older than its definition went when the
    /// definition was removed; the definition has been installed again since.
    pub fn is_younger_than(&self, definition: Timestamp) -> bool {
        self.created >= definition.as_second()
    }

    /// Whether the deletion of its DebugBundle was seen.
    pub const fn was_seen_deleted(&self) -> bool {
        self.gone
    }

    #[cfg(test)]
    pub(super) fn created_at(created: Timestamp, gone: bool) -> Self {
        Self { location: "eu-1".to_owned(), digest: digest("key"), created: created.as_second(), gone }
    }
}

/// As the annotation has it. An entry is a UID, a digest, a time and perhaps [`GONE`], with spaces between them.
#[derive(Serialize, Deserialize, Default)]
struct RecordText {
    installation: String,
    /// The entries by location.
    bundles: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default)]
struct Entries {
    by_uid: BTreeMap<String, StoredBundle>,
    /// UIDs of removed entries that the Lease may still have.
    removed: BTreeSet<String>,
    /// UIDs of DebugBundles whose objects this process is deleting.
    under_way: BTreeSet<String>,
}

impl Entries {
    /// Returns whether this changed anything.
    fn add(&mut self, uid: &str, new: StoredBundle) -> bool {
        let known = self.by_uid.get(uid);
        if known.is_none() && self.by_uid.len() >= MOST {
            return false;
        }
        let gone = new.gone || known.is_some_and(|known| known.gone);
        let new = StoredBundle { gone, ..new };
        self.by_uid.insert(uid.to_owned(), new.clone()).as_ref() != Some(&new)
    }

    fn remove(&mut self, uid: &str) -> bool {
        let known = self.by_uid.remove(uid).is_some();
        if known {
            self.removed.insert(uid.to_owned());
        }
        known
    }

    /// Adds what the Lease has, except for removed entries and for those of another installation.
    fn join(&mut self, text: &str, installation: &str) {
        let read: RecordText = serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(%error, annotation = ANNOTATION, "The Lease's annotation cannot be read");
            RecordText::default()
        });
        if read.installation != installation {
            return;
        }
        for (location, entries) in read.bundles {
            for entry in entries {
                let mut words = entry.split(' ');
                if let (Some(uid), Some(digest), Some(Ok(created))) =
                    (words.next(), words.next(), words.next().map(str::parse))
                    && !self.removed.contains(uid)
                {
                    let gone = words.next() == Some(GONE);
                    let location = location.clone();
                    self.add(uid, StoredBundle { location, digest: digest.to_owned(), created, gone });
                }
            }
        }
    }

    fn text(&self, installation: &str) -> Result<String, serde_json::Error> {
        let mut text = RecordText { installation: installation.to_owned(), ..RecordText::default() };
        for (uid, StoredBundle { location, digest, created, gone }) in &self.by_uid {
            let gone = if *gone { format!(" {GONE}") } else { String::new() };
            text.bundles.entry(location.clone()).or_default().push(format!("{uid} {digest} {created}{gone}"));
        }
        serde_json::to_string(&text)
    }
}

/// The record, in memory and in the Lease.
pub struct Record {
    leases: Api<Lease>,
    entries: Mutex<Entries>,
    changed: Notify,
}

impl Record {
    /// Uses the operator's Lease in this namespace; [`Self::sync`] reads it.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { leases: Api::namespaced(client, namespace), entries: Mutex::default(), changed: Notify::new() }
    }

    /// The watch reports a DebugBundle.
    pub fn seen(&self, bundle: &DebugBundle) {
        let (Some(uid), Some(stored)) = (bundle.metadata.uid.as_deref(), StoredBundle::of(bundle)) else { return };
        if self.lock().add(uid, stored) {
            self.changed.notify_one();
        }
    }

    /// The watch reports that a DebugBundle is gone: this process deletes its object, until [`Self::ended`].
    pub fn seen_deleted(&self, uid: &str) {
        let mut entries = self.lock();
        entries.under_way.insert(uid.to_owned());
        if let Some(entry) = entries.by_uid.get_mut(uid) {
            entry.gone = true;
            self.changed.notify_one();
        }
    }

    /// This process has deleted the object, or leaves it to a sweep.
    pub fn ended(&self, uid: &str) {
        self.lock().under_way.remove(uid);
    }

    /// Whether this process is deleting the object of the DebugBundle with this UID.
    pub fn is_under_way(&self, uid: &str) -> bool {
        self.lock().under_way.contains(uid)
    }

    /// Its object is gone.
    pub fn done(&self, uid: &str) {
        if self.lock().remove(uid) {
            self.changed.notify_one();
        }
    }

    /// Whether it has the bundle of the DebugBundle with this UID.
    pub fn has(&self, uid: &str) -> bool {
        self.lock().by_uid.contains_key(uid)
    }

    /// Whether it has no bundle.
    pub fn is_empty(&self) -> bool {
        self.lock().by_uid.is_empty()
    }

    /// The entry of the object with this key.
    pub fn of(&self, location: &str, key: &Key) -> Option<StoredBundle> {
        let entry = self.lock().by_uid.get(key.uid()?)?.clone();
        (entry.location == location && entry.digest == digest(key.as_str())).then_some(entry)
    }

    /// Removes entries that no sweep needs any more: of DebugBundles that are gone, if their location was listed and
    /// does not have their object, or if they are older than the definition.
    pub fn tidy(&self, living: &BTreeSet<String>, listed: &BTreeMap<&str, BTreeSet<&str>>, defined: Option<Timestamp>) {
        let mut entries = self.lock();
        let useless = entries.by_uid.iter().filter(|(uid, entry)| {
            let absent = listed.get(entry.location.as_str()).is_some_and(|uids| !uids.contains(uid.as_str()));
            !living.contains(*uid) && (absent || defined.is_some_and(|defined| !entry.is_younger_than(defined)))
        });
        let useless: Vec<String> = useless.map(|(uid, _)| uid.clone()).collect();
        for uid in &useless {
            entries.remove(uid);
        }
        if !useless.is_empty() {
            self.changed.notify_one();
        }
    }

    /// Waits for the next change that the Lease does not have.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Adds what the Lease has to the record, and writes the result into the Lease.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn sync(&self, installation: &str) -> Result<(), kube::Error> {
        let mut removed = BTreeSet::new();
        annotate(&self.leases, ANNOTATION, |there| {
            let mut entries = self.lock();
            if let Some(text) = there {
                entries.join(text, installation);
            }
            removed.clone_from(&entries.removed);
            entries.text(installation)
        })
        .await?;
        self.lock().removed.retain(|uid| !removed.contains(uid));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(key: &str) -> String {
    let mut digest = hex_digest(key.as_bytes());
    digest.truncate(DIGEST);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "6d6f6465-2222-4222-8333-444455556666";

    fn entry(location: &str, number: usize) -> StoredBundle {
        let digest = digest(&number.to_string());
        StoredBundle { location: location.to_owned(), digest, created: 1_800_000_000, gone: false }
    }

    fn uid(number: usize) -> String {
        format!("00000000-0000-4000-8000-{number:012}")
    }

    #[test]
    fn a_thousand_bundles_fit_into_the_annotations_of_a_lease_and_no_more_are_taken() {
        let mut entries = Entries::default();
        for number in 0..=MOST {
            let gone = StoredBundle { gone: true, ..entry(["eu-1", "us-1"][number % 2], number) };
            assert_eq!(entries.add(&uid(number), gone), number < MOST);
        }
        let text = entries.text(HERE).unwrap();
        println!("{MOST} bundles: {} bytes", text.len());
        assert!(text.len() < 80 << 10, "{}", text.len());
        let mut again = Entries::default();
        again.join(&text, HERE);
        assert_eq!(again.by_uid, entries.by_uid);
    }

    #[test]
    fn two_instances_join_their_records_and_what_is_removed_stays_removed() {
        let (mut one, mut other) = (Entries::default(), Entries::default());
        one.add(&uid(1), entry("eu-1", 1));
        one.add(&uid(2), entry("eu-1", 2));
        other.join(&one.text(HERE).unwrap(), HERE);
        other.by_uid.get_mut(&uid(2)).unwrap().gone = true;
        other.add(&uid(3), entry("eu-1", 3));
        assert!(one.remove(&uid(1)) && !one.remove(&uid(1)));
        one.join(&other.text(HERE).unwrap(), HERE);
        let left: Vec<_> = one.by_uid.iter().map(|(uid, entry)| (uid.clone(), entry.gone)).collect();
        assert_eq!(left, [(uid(2), true), (uid(3), false)]);
    }

    #[test]
    fn a_record_of_another_installation_or_one_that_cannot_be_read_adds_nothing() {
        let (mut one, mut other) = (Entries::default(), Entries::default());
        one.add(&uid(1), entry("eu-1", 1));
        other.join(&one.text(HERE).unwrap(), "another namespace of that name");
        for broken in ["", "{", "[]", r#"{"installation":"x","bundles":{"a":["b","b c","b c d"]}}"#] {
            other.join(broken, "x");
        }
        assert!(other.by_uid.is_empty(), "{:?}", other.by_uid);
    }
}

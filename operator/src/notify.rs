//! Kubernetes Events for the milestones of a DebugBundle, at most a handful each, and for sweeps of a location.
//! `status.progress` reports what happens between milestones.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use debugbundle_crd::{DebugBundle, Reason, Target};
use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1 as events},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, Resource as _,
    api::{ObjectMeta, PostParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{location::Location, metrics::Metrics, self_redaction};

/// The API's limit of an Event's note, in bytes.
const NOTE_LIMIT: usize = 1024;
/// How long publishing one Event may take: nothing waits longer for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest name of an object that kube's recorder can publish an Event about: it names the Event by the object's
/// name, a dot and 16 digits, and a name has at most 253 characters.
const LONGEST_FOR_RECORDER: usize = 253 - 17;

/// How long a recorder is kept after its last Event; kube's recorder forgets its Event sooner and begins a new one.
const KEPT: Duration = Duration::from_mins(10);
/// The most recorders that are kept, however many DebugBundles there are. Each keeps one Event.
const RECORDERS: usize = 200;

/// What makes two Events equal, so that the second one raises the count of the first: object (UID, else name), reason
/// and note.
type Text = (String, &'static str, String);

/// Publishes Events; a failure to publish is only logged.
///
/// kube's recorder joins all Events of one object and reason, and keeps the note of the first. So each text has a
/// recorder of its own: a new text becomes a new Event, and only the same text again raises a count.
pub struct Notifier {
    client: Client,
    reporter: Reporter,
    metrics: Metrics,
    recorders: Mutex<HashMap<Text, (Recorder, Instant)>>,
}

impl Notifier {
    /// `instance` is the name of the operator's Pod; `metrics` counts the Events.
    pub fn new(client: Client, instance: String, metrics: Metrics) -> Self {
        let reporter = Reporter { controller: "debugbundle.io/operator".to_owned(), instance: Some(instance) };
        Self { client, reporter, metrics, recorders: Mutex::default() }
    }

    /// The recorder of this text.
    fn recorder(&self, text: Text) -> Recorder {
        let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
        recorders.retain(|_, (_, used)| used.elapsed() < KEPT);
        if recorders.len() >= RECORDERS
            && !recorders.contains_key(&text)
            && let Some(oldest) = recorders.iter().min_by_key(|(_, (_, used))| *used).map(|(text, _)| text.clone())
        {
            recorders.remove(&oldest);
        }
        let entry = recorders
            .entry(text)
            .or_insert_with(|| (Recorder::new(self.client.clone(), self.reporter.clone()), Instant::now()));
        entry.1 = Instant::now();
        entry.0.clone()
    }

    /// A milestone was reached.
    pub async fn normal(&self, bundle: &DebugBundle, reason: Reason, note: &str) {
        self.publish(&bundle.object_ref(&()), EventType::Normal, reason, note).await;
    }

    /// Something the user should know.
    pub async fn warning(&self, bundle: &DebugBundle, reason: Reason, note: &str) {
        self.publish(&bundle.object_ref(&()), EventType::Warning, reason, note).await;
    }

    /// Something the user should know, published on another object than a DebugBundle.
    pub async fn warning_about(&self, object: &ObjectReference, reason: Reason, note: &str) {
        self.publish(object, EventType::Warning, reason, note).await;
    }

    async fn publish(&self, object: &ObjectReference, type_: EventType, reason: Reason, note: &str) {
        let event = event(type_, reason, note);
        let published = async {
            let name = object.name.as_deref().unwrap_or_default();
            if name.len() <= LONGEST_FOR_RECORDER {
                let subject = object.uid.as_deref().unwrap_or(name).to_owned();
                let text = (subject, reason.as_str(), event.note.clone().unwrap_or_default());
                return self.recorder(text).publish(&event, object).await;
            }
            let event = self.of_long_name(&event, object, Timestamp::now());
            let namespace = object.namespace.as_deref().unwrap_or("default");
            let events: Api<events::Event> = Api::namespaced(self.client.clone(), namespace);
            events.create(&PostParams::default(), &event).await.map(|_| ())
        };
        let published = tokio::time::timeout(PATIENCE, published).await;
        let failure = match published {
            Ok(Ok(())) => return self.metrics.event(reason),
            Ok(Err(error)) => crate::error::api_sentence(&error),
            Err(_) => "the API server did not answer".to_owned(),
        };
        tracing::warn!(failure, reason = reason.as_str(), "Event was not published");
    }

    /// The Event that the recorder would create, except that its name contains only the first part of the object's
    /// name.
    fn of_long_name(&self, event: &Event, object: &ObjectReference, now: Timestamp) -> events::Event {
        let name = object.name.as_deref().unwrap_or_default();
        let cut = name.get(..LONGEST_FOR_RECORDER).unwrap_or(name).trim_end_matches(['.', '-']);
        events::Event {
            metadata: ObjectMeta {
                name: Some(format!("{cut}.{:x}", now.as_nanosecond())),
                namespace: object.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(format!("{:?}", event.type_)),
            reason: Some(event.reason.clone()),
            note: event.note.clone(),
            action: Some(event.action.clone()),
            regarding: Some(object.clone()),
            reporting_controller: Some(self.reporter.controller.clone()),
            reporting_instance: self.reporter.instance.clone(),
            ..events::Event::default()
        }
    }
}

/// Names a Backup or Restore, for Events about it.
pub fn target_reference(target: &Target, namespace: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("velero.io/v1".to_owned()),
        kind: Some(target.kind.as_str().to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(target.name.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// Names a location, for Events about it.
pub fn location_reference(location: &Location, namespace: &str) -> ObjectReference {
    location_named(&location.name, location.uid.clone(), namespace)
}

/// Names the location with this name.
pub fn location_named(name: &str, uid: Option<String>, namespace: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("velero.io/v1".to_owned()),
        kind: Some("BackupStorageLocation".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid,
        ..ObjectReference::default()
    }
}

fn event(type_: EventType, reason: Reason, note: &str) -> Event {
    Event {
        type_,
        reason: reason.as_str().to_owned(),
        note: Some(self_redaction::sanitize_line(note, NOTE_LIMIT)),
        action: "Run".to_owned(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_x6_l2_a_note_passes_redaction_and_is_one_bounded_line() {
        let note = |text: &str| event(EventType::Warning, Reason::ApiError, text).note.expect("a note");
        let leak = note("pulled from https://robot:hunter2-x7@example.com/\n\u{1b}[31mwith password=hunter2-x7");
        assert!(!leak.contains("hunter2") && !leak.contains(['\n', '\u{1b}']), "{leak}");
        assert_eq!(leak.matches("[REDACTED:").count(), 2, "{leak}");
        assert_eq!(note("2.1 MB stored in eu-1"), "2.1 MB stored in eu-1");
        assert!(note(&"é".repeat(2000)).len() <= NOTE_LIMIT);
    }
}

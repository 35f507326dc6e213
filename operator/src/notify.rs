//! Kubernetes Events for the milestones of a DebugBundle, at most a handful each, and for sweeps of a location.
//! `status.progress` reports what happens between milestones.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
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

use crate::{location::Location, self_redaction};

/// The API's limit of an Event's note, in bytes.
const NOTE_LIMIT: usize = 1024;
/// How long publishing one Event may take: nothing waits longer for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest name of an object that kube's recorder can publish an Event about: it names the Event by the object's
/// name, a dot and 16 digits, and a name has at most 253 characters.
const LONGEST_FOR_RECORDER: usize = 253 - 17;

/// Events that one recorder publishes. kube's recorder keeps each for minutes, so that equal ones become a series; a
/// new recorder from time to time bounds its memory, however many DebugBundles there are.
const OF_ONE_RECORDER: usize = 200;

/// Publishes Events; a failure to publish is only logged.
pub struct Notifier {
    client: Client,
    reporter: Reporter,
    recorder: Mutex<(Recorder, usize)>,
}

impl Notifier {
    /// `instance` is the name of the operator's Pod.
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: "debugbundle.io/operator".to_owned(), instance: Some(instance) };
        let recorder = Mutex::new((Recorder::new(client.clone(), reporter.clone()), 0));
        Self { client, reporter, recorder }
    }

    fn recorder(&self) -> Recorder {
        let mut current = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1 >= OF_ONE_RECORDER {
            *current = (Recorder::new(self.client.clone(), self.reporter.clone()), 0);
        }
        current.1 += 1;
        current.0.clone()
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
                return self.recorder().publish(&event, object).await;
            }
            let event = self.of_long_name(&event, object, Timestamp::now());
            let namespace = object.namespace.as_deref().unwrap_or("default");
            let events: Api<events::Event> = Api::namespaced(self.client.clone(), namespace);
            events.create(&PostParams::default(), &event).await.map(|_| ())
        };
        let published = tokio::time::timeout(PATIENCE, published).await;
        let failure = match published {
            Ok(Ok(())) => return,
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

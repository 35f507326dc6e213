//! Kubernetes Events for the milestones of a DebugBundle, at most a handful each.
//! What goes on between milestones is told by status.progress, not here.

use std::time::Duration;

use debugbundle_crd::{DebugBundle, Reason};
use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{selfcheck, text};

/// The API's limit of an Event's note, in bytes.
const NOTE_LIMIT: usize = 1024;
/// How long the API server may take for one: nothing waits for Events longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Publishes Events; one that cannot be published is a line in the log and nothing more.
#[derive(Clone)]
pub struct Notifier {
    recorder: Recorder,
}

impl Notifier {
    /// `instance` is the name of the operator's Pod.
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: "debugbundle.io/operator".to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// A milestone was reached.
    pub async fn normal(&self, bundle: &DebugBundle, reason: Reason, note: &str) {
        self.publish(bundle, EventType::Normal, reason, note).await;
    }

    /// Something the user should know of.
    pub async fn warning(&self, bundle: &DebugBundle, reason: Reason, note: &str) {
        self.publish(bundle, EventType::Warning, reason, note).await;
    }

    async fn publish(&self, bundle: &DebugBundle, type_: EventType, reason: Reason, note: &str) {
        let event = Event {
            type_,
            reason: reason.as_str().to_owned(),
            note: Some(text::bounded(&text::escape_for_terminal(&selfcheck::told(note)), NOTE_LIMIT).into_owned()),
            action: "Run".to_owned(),
            secondary: None,
        };
        let reference = bundle.object_ref(&());
        let published = tokio::time::timeout(PATIENCE, self.recorder.publish(&event, &reference)).await;
        let failure = match published {
            Ok(Ok(())) => return,
            Ok(Err(error)) => crate::error::api_sentence(&error),
            Err(_) => "the API server did not answer".to_owned(),
        };
        tracing::warn!(failure, reason = reason.as_str(), "Event was not published");
    }
}

//! Watches the hosting pods of Velero's namespace, label by label, and starts the reading of their logs and Events. It
//! never fails anything: without the permission it logs that once, and the operator works without it.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use serde_json::Value;
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    PodCapture,
    follow::{Which, follow},
    follow_slots::FollowSlots,
    pod_snapshot::{LABELS, PodSnapshot, event},
};
use crate::cluster::{ApiKind, Cluster, ClusterError, query_value};

/// Concurrent reads of Event lists, and of logs of containers that ended before they were followed.
const LOOKS: usize = 4;
/// Pods in one page of the watch's first list.
const PAGE: u32 = 50;
/// Most bytes of the answer with a pod's Events, and the timeout for it.
const EVENTS: usize = 512 << 10;
const EVENTS_TIME: Duration = Duration::from_secs(15);
/// The longest pause between two saves. Each save also removes the files of pods that are no longer kept.
const SAVE_EVERY: Duration = Duration::from_mins(10);

/// Shared by all tasks of the watch.
pub(super) struct CaptureTask {
    pub(super) cluster: Cluster,
    pub(super) namespace: String,
    pub(super) pod_capture: PodCapture,
    slots: FollowSlots,
    looks: Semaphore,
    changed: Notify,
    refusal_told: AtomicBool,
    log_refusal_told: AtomicBool,
    shutdown: CancellationToken,
}

/// Captures the data of hosting pods until `shutdown` is cancelled.
pub async fn watch(client: Client, namespace: String, pod_capture: PodCapture, shutdown: CancellationToken) {
    let pods: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &ApiResource::erase::<Pod>(&()));
    let task = Arc::new(CaptureTask {
        cluster: Cluster::new(client),
        namespace,
        pod_capture,
        slots: FollowSlots::default(),
        looks: Semaphore::new(LOOKS),
        changed: Notify::new(),
        refusal_told: AtomicBool::new(false),
        log_refusal_told: AtomicBool::new(false),
        shutdown: shutdown.clone(),
    });
    let labels = LABELS.map(|label| task.label(pods.clone(), label));
    let all = futures::future::join(task.save_changes(), futures::future::join_all(labels));
    shutdown.run_until_cancelled(all).await;
}

impl CaptureTask {
    /// Watches the pods that have this label: a selector cannot say "this label or that".
    async fn label(self: &Arc<Self>, pods: Api<DynamicObject>, label: &'static str) {
        let config = watcher::Config::default().labels(label).page_size(PAGE);
        let mut changes = pin!(watcher(pods, config).default_backoff());
        let mut listed = BTreeSet::new();
        while let Some(change) = changes.next().await {
            match change {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(pod)) => {
                    listed.extend(pod.metadata.uid.clone());
                    self.see(pod);
                }
                Ok(watcher::Event::InitDone) => {
                    self.pod_capture.cache().all_of(label, &std::mem::take(&mut listed), Timestamp::now());
                    self.changed.notify_one();
                }
                Ok(watcher::Event::Apply(pod)) => self.see(pod),
                Ok(watcher::Event::Delete(pod)) => self.gone(pod),
                Err(error) => self.interrupted(&error),
            }
        }
    }

    /// Saves the pods that ended, after each change and at least once in [`SAVE_EVERY`].
    async fn save_changes(&self) {
        loop {
            // At the end of the pause it saves without a change, too.
            let _ = tokio::time::timeout(SAVE_EVERY, self.changed.notified()).await;
            let pod_capture = self.pod_capture.clone();
            // A panic in it was logged, and only this save is lost.
            let _ = tokio::task::spawn_blocking(move || pod_capture.save()).await;
        }
    }

    fn see(self: &Arc<Self>, pod: DynamicObject) {
        let Some(snapshot) = serde_json::to_value(pod).ok().and_then(PodSnapshot::of) else { return };
        let (uid, name, node) = (snapshot.uid.clone(), snapshot.name.clone(), snapshot.node.clone());
        let todo = self.pod_capture.cache().see(snapshot, Timestamp::now());
        self.changed.notify_one();
        if todo.events {
            self.spawn_events(uid.clone());
        }
        for (container, grows) in todo.logs {
            self.spawn_log(&uid, &name, node.as_deref(), container, grows);
        }
    }

    /// Takes the last snapshot: the deletion event contains the pod's last state.
    fn gone(self: &Arc<Self>, pod: DynamicObject) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if let Some(snapshot) = serde_json::to_value(pod).ok().and_then(PodSnapshot::of) {
            self.pod_capture.cache().see_last(snapshot, Timestamp::now());
        }
        self.pod_capture.cache().gone(&uid, Timestamp::now());
        self.changed.notify_one();
        self.spawn_events(uid);
    }

    /// A growing log waits for a slot at its node, or is read once it has ended. While the most allowed logs are
    /// followed, it waits for a later snapshot, at the latest the one after its end.
    fn spawn_log(self: &Arc<Self>, uid: &str, pod: &str, node: Option<&str>, container: String, grows: bool) {
        if grows && !self.pod_capture.cache().wait_for_log(uid, &container) {
            return;
        }
        let (task, uid, pod) = (Arc::clone(self), uid.to_owned(), pod.to_owned());
        let node = node.unwrap_or_default().to_owned();
        self.spawn(async move {
            let slot = if grows { task.slots.at(&node).await } else { None };
            if grows && slot.is_none() {
                task.pod_capture.cache().pass_over(&uid, &container);
                return;
            }
            let Some(cursor) = task.pod_capture.cache().begin_log(&uid, &container) else { return };
            let which = Which { uid: &uid, pod: &pod, container: &container };
            let whole = follow(&task, which, cursor, grows).await;
            task.pod_capture.cache().end_log(&uid, &container, whole);
            drop(slot);
        });
    }

    /// A permit to read Events, or a log that no longer grows.
    pub(super) async fn look(&self) -> Option<SemaphorePermit<'_>> {
        self.looks.acquire().await.ok()
    }

    fn spawn_events(self: &Arc<Self>, uid: String) {
        let task = Arc::clone(self);
        self.spawn(async move {
            let _place = task.look().await;
            let events = ApiKind::namespaced("", "v1", "events", "Event").list_path(Some(&task.namespace));
            let selector = query_value(&format!("involvedObject.uid={uid}"));
            let path = format!("{events}?fieldSelector={selector}&limit={PAGE}");
            match task.cluster.get(&path, EVENTS, Instant::now() + EVENTS_TIME).await {
                Ok(mut list) => {
                    let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
                    let typed = items.into_iter().map(|mut item: Value| {
                        // Items of a list lack their type.
                        item["apiVersion"] = "v1".into();
                        item["kind"] = "Event".into();
                        item
                    });
                    task.pod_capture.cache().add_events(&uid, typed.filter_map(event));
                }
                Err(error) => tracing::debug!(%error, uid, "Events of a data mover's pod were not read"),
            }
        });
    }

    /// Logs once that the permission to read logs is missing.
    pub(super) fn log_refused(&self, error: &ClusterError) {
        if !self.log_refusal_told.swap(true, Ordering::Relaxed) {
            let cure = "grant get of pods/log in Velero's namespace (rule R6)";
            tracing::warn!(%error, cure, "Logs of data movers' pods cannot be read, so bundles do not contain them");
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move { shutdown.run_until_cancelled(work).await });
    }

    /// Logs once that the permission is missing; any other error passes by itself.
    fn interrupted(&self, error: &watcher::Error) {
        let refused = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status))
            | watcher::Error::WatchError(status) => status.is_forbidden(),
            _ => false,
        };
        if !refused {
            tracing::debug!(%error, "Watch of data movers' pods was interrupted");
        } else if !self.refusal_told.swap(true, Ordering::Relaxed) {
            let cure = "grant get, list and watch of pods in Velero's namespace (rule R5)";
            tracing::warn!(%error, cure, "Data movers' pods cannot be watched, so bundles lack their last logs and Events");
        }
    }
}

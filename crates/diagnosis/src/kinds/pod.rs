//! A pod waits for the scheduler, its claims, its volumes and its node; otherwise its containers say what is wrong.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Need, Report, State, container, leaving};
use crate::graph::{Id, Seen, View, age, condition, items, text, time};
use crate::kind::Kind;
use crate::reason::RootReason;

pub(super) fn report(id: &Id, pod: &Value, view: &View<'_>) -> Report {
    let status = &pod["status"];
    let scheduled = condition(pod, "PodScheduled");
    let is_unscheduled = scheduled.is_some_and(|condition| condition["status"] == "False");
    let warned = view.warnings(id).into_iter().find(|event| is_unscheduled || event["reason"] != "FailedScheduling");
    let warned = warned.map(|event| format!("{}: {}", text(&event["reason"]), text(&event["message"]).trim()));
    let all = ["initContainerStatuses", "containerStatuses"].into_iter().flat_map(|field| items(&status[field]));
    let in_trouble = all.into_iter().find_map(|one| container::trouble(one, (id, pod), warned.as_deref(), view));
    if status["phase"] == "Failed" {
        let words = [text(&status["reason"]), text(&status["message"])].map(str::trim);
        let words = words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(": ");
        let words = if words.is_empty() { "it says nothing".to_owned() } else { words };
        let (words, reason) = in_trouble.unwrap_or((words, RootReason::PodFailed));
        return Report::of(State::says(words, reason));
    }
    let is_pending = status["phase"] == "Pending";
    let state = if let Some(leaving) = leaving::of_pod(pod, view).filter(|_| status["phase"] != "Succeeded") {
        leaving
    } else if let Some((words, reason)) = in_trouble {
        State::says(words, reason)
    } else if let Some(why) = scheduled.filter(|_| is_unscheduled && is_pending) {
        State::says(format!("cannot be scheduled: {}", shortened(text(&why["message"]))), RootReason::Unscheduled)
    } else if let Some(words) = warned.filter(|_| is_pending && !waits_for_restore(pod)) {
        State::says(words.clone(), RootReason::Said(words))
    } else {
        State::Well
    };
    let mut needs = if is_pending { of_volumes(id, pod, view) } else { Vec::new() };
    let node = text(&pod["spec"]["nodeName"]);
    if !node.is_empty() {
        needs.push(Need::see(Id::of_cluster(Kind::Node, node)));
    }
    Report::needing(state, needs)
}

/// A pod that began so shortly ago may still start as it should: Velero's server needs seconds, and an image minutes.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// Whether the pod began a short time ago. What it says about a start that fails counts nevertheless.
pub(super) fn is_starting(pod: &Value, view: &View<'_>) -> bool {
    let began = [&pod["status"]["startTime"], &pod["metadata"]["creationTimestamp"]].into_iter().find_map(time);
    is_recent(began, view)
}

/// Whether this time is known and as recent as the start of a pod that may still succeed.
pub(super) fn is_recent(since: Option<Timestamp>, view: &View<'_>) -> bool {
    since.is_some_and(|since| view.now().duration_since(since) <= PATIENCE)
}

/// Its init container waits for the data of its volumes, as it should.
fn waits_for_restore(pod: &Value) -> bool {
    let init = items(&pod["status"]["initContainerStatuses"]);
    init.iter().any(|one| one["name"] == "restore-wait" && one["state"]["running"].is_object())
}

/// What the scheduler says in front of its words about preemption.
fn shortened(message: &str) -> &str {
    message.split(" preemption: ").next().unwrap_or(message).trim().trim_end_matches('.')
}

/// Its claims, and the attachments that hold its volumes on other nodes.
fn of_volumes(id: &Id, pod: &Value, view: &View<'_>) -> Vec<Need> {
    let node = text(&pod["spec"]["nodeName"]);
    let mut needs = Vec::new();
    for volume in items(&pod["spec"]["volumes"]) {
        let name = text(&volume["persistentVolumeClaim"]["claimName"]);
        if name.is_empty() {
            continue;
        }
        let claim = Id::new(Kind::PersistentVolumeClaim, &id.namespace, name);
        if let Seen::Found(found) = view.get(&claim)
            && !node.is_empty()
            && let Some(held) = held_elsewhere(&claim, found, node, view)
        {
            needs.push(held);
        }
        needs.push(Need::see(claim));
    }
    needs
}

/// The attachment that holds a claim's volume on another node, where only one node may hold it.
fn held_elsewhere(claim: &Id, found: &Value, node: &str, view: &View<'_>) -> Option<Need> {
    let volume = text(&found["spec"]["volumeName"]);
    let is_shared =
        items(&found["spec"]["accessModes"]).iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany");
    if volume.is_empty() || is_shared {
        return None;
    }
    let attachment = view.list(Kind::VolumeAttachment, "").find(|attachment| {
        attachment["spec"]["source"]["persistentVolumeName"] == volume
            && attachment["spec"]["nodeName"] != node
            && attachment["status"]["attached"] == true
    })?;
    let other = text(&attachment["spec"]["nodeName"]);
    let is_user = |pod: &&Value| {
        let mut volumes = items(&pod["spec"]["volumes"]).iter();
        pod["spec"]["nodeName"] == other
            && volumes.any(|one| one["persistentVolumeClaim"]["claimName"] == claim.name.as_str())
    };
    let user = view.list(Kind::Pod, &claim.namespace).find(is_user);
    let user = user.map(Id::of);
    let runs = user.as_ref().map(|pod| format!(", where pod {}/{} still runs", pod.namespace, pod.name));
    let why = format!("its volume {volume} is attached to node {other}{}", runs.unwrap_or_default());
    Some(Need::no(Id::of(attachment), why, RootReason::Held(user)))
}

/// `Init:0/1 for 14 min`, as kubectl writes it.
pub(super) fn stands(pod: &Value, now: Timestamp) -> String {
    let status = &pod["status"];
    let init = items(&status["initContainerStatuses"]);
    let done = init.iter().filter(|one| one["state"]["terminated"]["exitCode"] == 0).count();
    let scheduled = condition(pod, "PodScheduled").is_some_and(|condition| condition["status"] == "True");
    let phase = if status["phase"] == "Pending" && scheduled && done < init.len() {
        format!("Init:{done}/{}", init.len())
    } else {
        text(&status["phase"]).to_owned()
    };
    let since = time(&status["startTime"])
        .or_else(|| condition(pod, "PodScheduled").and_then(|condition| time(&condition["lastTransitionTime"])));
    let age = age(since.filter(|_| status["phase"] == "Pending"), now);
    format!("{phase} {age}").trim_end().to_owned()
}

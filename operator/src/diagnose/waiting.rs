//! Findings about a target that Velero has not begun: a server that does not process its kind, a read-only location,
//! and the objects ahead of it. A bundle about such an object shows why it does not end.

use serde_json::Value;

use super::{
    Evidence, Finding, FindingKind, IdleServer, Proof,
    object::{path, reference},
};

/// Most objects ahead that are quoted.
const QUOTED: usize = 5;

/// What keeps Velero from beginning, most certain first.
pub(super) fn waiting(target: &Value, evidence: &Evidence, findings: &mut Vec<Finding>) {
    let phase = match text(&target["status"]["phase"]) {
        "" => "New",
        phase => phase,
    };
    if !matches!(phase, "New" | "Queued" | "ReadyToStart") {
        return;
    }
    let object = reference(target);
    let (kind, name) = (text(&target["kind"]), text(&target["metadata"]["name"]));
    let subject = format!("{kind} {name} is {phase}");
    let mut add = |kind: FindingKind, title: &str, proofs: Vec<Proof>| {
        let mut proofs = proofs.into_iter();
        let first = proofs.next().unwrap_or_else(|| Proof::new(path(target), title));
        let mut finding = Finding::new(kind, title, &object, first);
        finding.evidence.extend(proofs);
        findings.push(finding);
    };
    if let Some(idle) = &evidence.idle {
        add(FindingKind::ServerIdle, &format!("{subject}: {}", idle_words(idle, kind)), Vec::new());
    }
    if let Some(location) = read_only(target, evidence) {
        let named = text(&location["metadata"]["name"]);
        let title = format!("{subject}, and BackupStorageLocation {named} is ReadOnly: Velero creates no Backup in it");
        add(FindingKind::LocationReadOnly, &title, vec![Proof::new(path(location), "accessMode: ReadOnly")]);
    }
    if let Some(first) = evidence.ahead.first() {
        let place = target["status"]["queuePosition"].as_u64().filter(|place| *place > 0);
        let place = place.map(|place| format!(" at position {place}")).unwrap_or_default();
        let others = evidence.ahead.len() - 1 + evidence.ahead_beyond;
        let others = if others > 0 { format!(", and {others} more") } else { String::new() };
        let ahead = format!("{kind} {}, which {}", text(&first["metadata"]["name"]), stands(first));
        let proofs =
            evidence.ahead.iter().take(QUOTED).map(|one| {
                Proof::new(path(one), &format!("{kind} {} {}", text(&one["metadata"]["name"]), stands(one)))
            });
        add(FindingKind::WaitsBehind, &format!("{subject}{place} behind {ahead}{others}"), proofs.collect());
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `is InProgress since 2026-03-01T03:00:00Z`.
fn stands(object: &Value) -> String {
    let status = &object["status"];
    let since = status["startTimestamp"].as_str().map(|at| format!(" since {at}")).unwrap_or_default();
    format!("is {}{since}", text(&status["phase"]))
}

fn idle_words(idle: &IdleServer, kind: &str) -> String {
    match idle {
        IdleServer::NotReady(None) => "no pod of Velero's server is ready".to_owned(),
        IdleServer::NotReady(Some(what)) => format!("no pod of Velero's server is ready: {what}"),
        IdleServer::RestoreOnly => {
            format!("Velero's server was started with --restore-only, so it processes no {kind}")
        }
        IdleServer::Disabled(controller) => {
            format!("Velero's server was started with --disable-controllers={controller}, so it processes no {kind}")
        }
    }
}

/// The location of a Backup (the default one if it names none), if it is read-only.
fn read_only<'a>(target: &Value, evidence: &'a Evidence) -> Option<&'a Value> {
    let named = text(&target["spec"]["storageLocation"]);
    let its_own = |location: &&Value| match named {
        "" => location["spec"]["default"] == true,
        named => location["metadata"]["name"] == named,
    };
    let found = evidence.of_kind("BackupStorageLocation").find(its_own).filter(|_| target["kind"] == "Backup");
    found.filter(|location| location["spec"]["accessMode"] == "ReadOnly")
}

#[cfg(test)]
mod tests {
    use super::*;
    use debugbundle_crd::Severity;
    use serde_json::json;

    fn backup(name: &str, status: &Value) -> Value {
        json!({"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": {"namespace": "v", "name": name},
            "spec": {"storageLocation": "attic"}, "status": status})
    }

    fn found(status: &Value, evidence: &Evidence) -> Vec<(String, String)> {
        let mut findings = Vec::new();
        waiting(&backup("b9", status), evidence, &mut findings);
        assert!(findings.iter().all(|one| one.object == "Backup/v/b9" && one.severity == Severity::Error));
        findings.into_iter().map(|one| (one.kind.id().to_owned(), one.title)).collect()
    }

    #[test]
    fn what_is_in_front_is_named_with_its_phase_and_time_and_the_others_are_counted() {
        let at_work = json!({"phase": "InProgress", "startTimestamp": "2026-03-01T03:00:00Z"});
        let ahead = vec![backup("b1", &at_work), backup("b2", &json!({"phase": "Queued"}))];
        let mut evidence = Evidence { ahead, ahead_beyond: 3, ..Evidence::default() };
        let queued = json!({"phase": "Queued", "queuePosition": 2});
        let title = "Backup b9 is Queued at position 2 behind Backup b1, which is InProgress since 2026-03-01T03:00:00Z, \
            and 4 more";
        assert_eq!(found(&queued, &evidence), [("waits-behind".to_owned(), title.to_owned())]);
        (evidence.ahead, evidence.ahead_beyond) = (vec![backup("b1", &at_work)], 0);
        let title = "Backup b9 is New behind Backup b1, which is InProgress since 2026-03-01T03:00:00Z";
        assert_eq!(found(&json!({}), &evidence), [("waits-behind".to_owned(), title.to_owned())]);
        for begun in ["InProgress", "Completed", "FailedValidation", "Finalizing"] {
            assert_eq!(found(&json!({"phase": begun}), &evidence), [], "{begun}");
        }
    }

    #[test]
    fn a_server_that_takes_up_none_and_a_location_that_is_read_only_are_named() {
        let location = |name: &str, mode: &str| {
            json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
                "metadata": {"namespace": "v", "name": name}, "spec": {"accessMode": mode}})
        };
        let objects = vec![location("other", "ReadOnly"), location("attic", "ReadWrite")];
        let ready = json!({"phase": "ReadyToStart"});
        let mut evidence = Evidence { objects, ..Evidence::default() };
        assert_eq!(found(&ready, &evidence), []);
        evidence.objects[1]["spec"]["accessMode"] = "ReadOnly".into();
        for (idle, words) in [
            (IdleServer::NotReady(None), "no pod of Velero's server is ready"),
            (
                IdleServer::NotReady(Some("container velero of pod v-1 is not ready".to_owned())),
                "no pod of Velero's server is ready: container velero of pod v-1 is not ready",
            ),
            (IdleServer::RestoreOnly, "Velero's server was started with --restore-only, so it processes no Backup"),
            (
                IdleServer::Disabled("backup-queue"),
                "Velero's server was started with --disable-controllers=backup-queue, so it processes no Backup",
            ),
        ] {
            evidence.idle = Some(idle);
            let all = found(&ready, &evidence);
            assert_eq!(all[0], ("server-idle".to_owned(), format!("Backup b9 is ReadyToStart: {words}")));
            let title = "Backup b9 is ReadyToStart, and BackupStorageLocation attic is ReadOnly: Velero creates no \
                         Backup in it";
            assert_eq!(all[1], ("location-read-only".to_owned(), title.to_owned()));
        }
    }
}

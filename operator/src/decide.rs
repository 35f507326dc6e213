//! What to do with a DebugBundle now: one pure function from the observed state and the time to a step.
//! The controller observes the state and carries out the step.

use std::time::Duration;

use debugbundle_crd::{DebugBundle, DebugBundleSpec, Phase, Reason, UrlPolicy, parse_duration};
use jiff::Timestamp;

use crate::observed::{Observed, Renewal};

/// How often a collection is started before it is given up: more would be a crash loop.
pub const MAX_ATTEMPTS: i64 = 5;
/// The same for a sealed bundle: uploading it again costs little, and its contents can no longer be collected.
pub const MAX_ATTEMPTS_TO_SEND: i64 = 20;
/// The shortest time between two answers to requests for a URL.
pub const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// What the controller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Remove the finalizer of earlier versions: without an operator it would block a deletion.
    Release,
    /// Delete the resource: its ttl is over.
    Expire,
    /// End it without a run.
    Settle(Reason),
    /// Wait for a slot, claim the resource, run.
    Run {
        /// Number of this attempt, from 1.
        attempt: i64,
        /// An earlier run was interrupted; what it sealed may still be in the spool.
        resume: bool,
    },
    /// Report in its status that it cannot be read.
    Malformed,
    /// Remove the expired URL from status.
    ClearUrl,
    /// Sign a URL, or report why not.
    AnswerRenewal(Renewal),
    /// Nothing until then, or until something changes.
    Rest(Option<Timestamp>),
}

/// Whether an instance may carry out a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayAct {
    /// Yes.
    Granted,
    /// Another instance does it.
    Denied,
    /// Only if the pod of this name, which works on the DebugBundle, is gone.
    IfGone(String),
}

/// Whether `instance` may carry out `step`. A claimed DebugBundle belongs to its holder until its run has ended, even
/// if the holder leads no longer; everything else belongs to the leader.
pub fn may_act(seen: &Observed, step: &Step, instance: &str, leads: bool) -> MayAct {
    let runs = matches!(step, Step::Run { .. } | Step::Settle(Reason::Interrupted));
    match holder(seen).filter(|_| runs) {
        Some(holder) if holder == instance => MayAct::Granted,
        _ if !leads => MayAct::Denied,
        Some(holder) => MayAct::IfGone(holder.to_owned()),
        None => MayAct::Granted,
    }
}

/// The instance that works on it. The process of that instance may have ended.
pub fn holder(seen: &Observed) -> Option<&str> {
    matches!(seen.phase, Phase::Collecting | Phase::Uploading).then_some(seen.holder.as_deref()).flatten()
}

/// When the next request for a URL may be answered, if not now. An answer in the future is forged, and ignored.
pub fn renewal_due(answered: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let answered = answered?;
    let due = answered.checked_add(RENEWAL_PAUSE).ok()?;
    (answered <= now && now < due).then_some(due)
}

/// Decides. `now` is the cluster's time as the operator knows it.
pub fn decide(seen: &Observed, now: Timestamp) -> Step {
    if seen.has_finalizer {
        return Step::Release;
    }
    if seen.deleting {
        return Step::Rest(None);
    }
    if seen.malformed {
        return Step::Malformed;
    }
    let next = seen.attempts.saturating_add(1);
    if seen.restored {
        // Its URL and key belong to the object that was backed up: neither is touched.
        return match seen.phase {
            Phase::Failed => Step::Rest(None),
            _ => Step::Settle(Reason::RestoredFromBackup),
        };
    }
    match seen.phase {
        Phase::New | Phase::Queued => Step::Run { attempt: next, resume: false },
        Phase::Collecting if seen.attempts >= MAX_ATTEMPTS => Step::Settle(Reason::Interrupted),
        Phase::Uploading if seen.attempts >= MAX_ATTEMPTS_TO_SEND => Step::Settle(Reason::Interrupted),
        Phase::Collecting | Phase::Uploading => Step::Run { attempt: next, resume: true },
        Phase::Completed | Phase::PartiallyFailed | Phase::Failed => after_the_run(seen, now),
    }
}

fn after_the_run(seen: &Observed, now: Timestamp) -> Step {
    if seen.expiration.is_some_and(|end| now >= end) {
        return Step::Expire;
    }
    if seen.url_end.is_some_and(|end| now >= end) {
        return Step::ClearUrl;
    }
    let asked = seen.asked.as_ref().filter(|asked| seen.phase != Phase::Failed && seen.answered != Some(asked.mark()));
    let due = asked.and_then(|_| renewal_due(seen.answered_at, now));
    match asked {
        Some(asked) if due.is_none() => Step::AnswerRenewal(asked.clone()),
        _ => Step::Rest([seen.expiration, seen.url_end, due].into_iter().flatten().min()),
    }
}

/// Whether the recorded attempt is the last one allowed.
pub fn is_last_attempt(bundle: &DebugBundle) -> bool {
    let status = bundle.status.as_ref();
    let most = match status.and_then(|s| s.phase) {
        Some(Phase::Uploading) => MAX_ATTEMPTS_TO_SEND,
        _ => MAX_ATTEMPTS,
    };
    status.and_then(|s| s.attempts).is_some_and(|attempts| attempts >= most)
}

/// When bundle and resource are deleted: the ttl after `completed`, the end of the run or its deadline.
pub fn expiration(bundle: &DebugBundle, completed: Timestamp) -> Timestamp {
    completed.checked_add(ttl(&bundle.spec)).unwrap_or(Timestamp::MAX)
}

/// How long a bundle is kept.
pub fn ttl(spec: &DebugBundleSpec) -> Duration {
    parse_duration(&spec.ttl).unwrap_or(Duration::from_hours(720))
}

/// Time for the whole collection.
pub fn timeout(bundle: &DebugBundle) -> Duration {
    parse_duration(&bundle.spec.timeout).unwrap_or(Duration::from_mins(15))
}

/// Until when the upload of a sealed bundle is tried. The time counts from the recorded moment at which the upload was
/// first announced, so that no restart extends it. A moment in the future is not the operator's and counts as now.
pub fn send_until(bundle: &DebugBundle, now: Timestamp, timeout: Duration) -> Timestamp {
    let announced = bundle.status.as_ref().and_then(|s| s.upload.as_ref()).and_then(|u| u.started.as_ref());
    let since = announced.map_or(now, |started| started.0.min(now));
    since.checked_add(timeout).unwrap_or(Timestamp::MAX)
}

/// How long a URL shall work, and whether the operator's limit made that shorter than requested; `None` if no URL is to
/// be signed.
pub fn url_ttl(bundle: &DebugBundle, most: Duration) -> Option<(Duration, bool)> {
    (bundle.spec.download_url.policy != UrlPolicy::Never).then(|| {
        let asked = parse_duration(&bundle.spec.download_url.ttl).unwrap_or(Duration::from_hours(1));
        (asked.min(most), asked > most)
    })
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::{DebugBundleStatus, RENEW_URL_ANNOTATION, RENEW_URL_LIMIT, RESTORED_BY_LABEL, TargetKind};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::ResourceExt as _;

    use super::*;
    use crate::observed::is_restored;

    fn decide(bundle: &DebugBundle, now: Timestamp) -> Step {
        super::decide(&Observed::of(bundle), now)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn bundle(status: Option<DebugBundleStatus>) -> DebugBundle {
        let mut bundle = DebugBundle::new("night-owl", DebugBundleSpec::about(TargetKind::Restore, "r1"));
        bundle.status = status;
        bundle
    }

    fn in_phase(phase: Phase, attempts: i64) -> DebugBundle {
        bundle(Some(DebugBundleStatus { phase: Some(phase), attempts: Some(attempts), ..Default::default() }))
    }

    const NOW: &str = "2026-09-08T03:04:12Z";

    #[test]
    fn sec_u1_a_url_lives_as_long_as_is_asked_and_the_operator_allows() {
        let mut asking = bundle(None);
        asking.spec.download_url.ttl = "168h".to_owned();
        let hours = Duration::from_hours;
        assert_eq!(url_ttl(&asking, hours(168)), Some((hours(168), false)));
        assert_eq!(url_ttl(&asking, hours(2)), Some((hours(2), true)));
        asking.spec.download_url.policy = UrlPolicy::Never;
        assert_eq!(url_ttl(&asking, hours(2)), None);
    }

    #[test]
    fn a_fresh_one_is_run_and_an_interrupted_one_is_resumed() {
        for (seen, step) in [
            (bundle(None), Step::Run { attempt: 1, resume: false }),
            (in_phase(Phase::Queued, 0), Step::Run { attempt: 1, resume: false }),
            (in_phase(Phase::Collecting, 1), Step::Run { attempt: 2, resume: true }),
            (in_phase(Phase::Collecting, MAX_ATTEMPTS), Step::Settle(Reason::Interrupted)),
            (in_phase(Phase::Uploading, MAX_ATTEMPTS), Step::Run { attempt: MAX_ATTEMPTS + 1, resume: true }),
            (in_phase(Phase::Uploading, MAX_ATTEMPTS_TO_SEND), Step::Settle(Reason::Interrupted)),
            (in_phase(Phase::Collecting, i64::MAX), Step::Settle(Reason::Interrupted)),
            (in_phase(Phase::Queued, i64::MAX), Step::Run { attempt: i64::MAX, resume: false }),
            (in_phase(Phase::Failed, 1), Step::Rest(None)),
        ] {
            assert_eq!(decide(&seen, at(NOW)), step);
        }
    }

    #[test]
    fn a_claimed_one_belongs_to_its_holder_until_the_pod_is_gone_and_all_else_to_the_leader() {
        let held = |phase, by: &str| {
            let mut seen = in_phase(phase, 1);
            seen.status.as_mut().unwrap().holder = Some(by.into());
            seen
        };
        let mut restored = held(Phase::Collecting, "pod-b");
        restored.labels_mut().insert(RESTORED_BY_LABEL.into(), "r7".into());
        let mut given_up = held(Phase::Collecting, "pod-b");
        given_up.status.as_mut().unwrap().attempts = Some(MAX_ATTEMPTS);
        let if_gone = MayAct::IfGone("pod-b".into());
        for (seen, leader, standby) in [
            (bundle(None), MayAct::Granted, MayAct::Denied),
            (in_phase(Phase::Queued, 0), MayAct::Granted, MayAct::Denied),
            (in_phase(Phase::Collecting, 1), MayAct::Granted, MayAct::Denied),
            (held(Phase::Collecting, "pod-a"), MayAct::Granted, MayAct::Granted),
            (held(Phase::Uploading, "pod-a"), MayAct::Granted, MayAct::Granted),
            (held(Phase::Uploading, "pod-b"), if_gone.clone(), MayAct::Denied),
            (given_up, if_gone, MayAct::Denied),
            (restored, MayAct::Granted, MayAct::Denied),
            (held(Phase::Collecting, "../secrets/x"), MayAct::Granted, MayAct::Denied),
            (held(Phase::Completed, "pod-b"), MayAct::Granted, MayAct::Denied),
        ] {
            let (observed, step) = (Observed::of(&seen), decide(&seen, at(NOW)));
            assert_eq!(may_act(&observed, &step, "pod-a", true), leader, "leads: {:?}", seen.status);
            assert_eq!(may_act(&observed, &step, "pod-a", false), standby, "stands by: {:?}", seen.status);
        }
    }

    #[test]
    fn the_time_to_send_begins_once() {
        let hour = Duration::from_hours(1);
        let announced = |started: &str| {
            let mut seen = in_phase(Phase::Uploading, 3);
            let upload = debugbundle_crd::UploadState { started: Some(Time(at(started))), ..Default::default() };
            seen.status.as_mut().unwrap().upload = Some(upload);
            send_until(&seen, at(NOW), hour)
        };
        assert_eq!(send_until(&bundle(None), at(NOW), hour), at("2026-09-08T04:04:12Z"));
        assert_eq!(announced("2026-09-08T02:30:00Z"), at("2026-09-08T03:30:00Z"));
        assert_eq!(announced("2036-09-08T02:30:00Z"), at("2026-09-08T04:04:12Z"), "forged");
    }

    #[test]
    fn the_finalizer_of_earlier_versions_goes_first_from_any_object() {
        let mut deleted = in_phase(Phase::Collecting, 1);
        deleted.metadata.deletion_timestamp = Some(Time(at(NOW)));
        let mut copy = bundle(None);
        copy.labels_mut().insert(RESTORED_BY_LABEL.into(), "r7".into());
        let mut malformed = Observed::of(&in_phase(Phase::Failed, 1));
        malformed.malformed = true;
        let others = [
            (bundle(None), Step::Run { attempt: 1, resume: false }),
            (in_phase(Phase::Completed, 1), Step::Rest(None)),
        ];
        let all = [(deleted, Step::Rest(None)), (copy, Step::Settle(Reason::RestoredFromBackup))];
        let all = all.into_iter().chain(others).map(|(seen, step)| (Observed::of(&seen), step));
        for (mut seen, step) in all.chain([(malformed, Step::Malformed)]) {
            assert_eq!(super::decide(&seen, at(NOW)), step, "without it");
            seen.has_finalizer = true;
            assert_eq!(super::decide(&seen, at(NOW)), Step::Release);
        }
    }

    #[test]
    fn a_restored_copy_is_never_run() {
        let mut seen = bundle(None);
        seen.labels_mut().insert(RESTORED_BY_LABEL.into(), "r7".into());
        assert_eq!(decide(&seen, at(NOW)), Step::Settle(Reason::RestoredFromBackup));
        seen.status = in_phase(Phase::Failed, 0).status;
        assert_eq!(decide(&seen, at(NOW)), Step::Rest(None));
    }

    #[test]
    fn a_label_put_on_later_does_not_make_it_a_copy() {
        let mut seen = in_phase(Phase::Completed, 1);
        seen.labels_mut().insert(RESTORED_BY_LABEL.into(), "r7".into());
        seen.metadata.uid = Some("0a1b".into());
        let key =
            |uid: &str| debugbundle_crd::Bundle { key: format!("x/night-owl-{uid}.tar.gz"), ..Default::default() };
        seen.status.as_mut().unwrap().bundle = Some(key("0a1b"));
        assert!(!is_restored(&seen));
        seen.status.as_mut().unwrap().bundle = Some(key("7777"));
        assert!(is_restored(&seen));
    }

    #[test]
    fn after_the_run_the_clock_and_the_annotation_decide() {
        let mut seen = in_phase(Phase::Completed, 1);
        let status = seen.status.as_mut().unwrap();
        status.expiration = Some(Time(at("2026-10-08T00:00:00Z")));
        status.download_url = Some("https://store/x".into());
        status.download_url_expiration = Some(Time(at("2026-09-08T04:00:00Z")));
        assert_eq!(decide(&seen, at(NOW)), Step::Rest(Some(at("2026-09-08T04:00:00Z"))));
        assert_eq!(decide(&seen, at("2026-09-08T04:00:00Z")), Step::ClearUrl);
        assert_eq!(decide(&seen, at("2026-10-08T00:00:00Z")), Step::Expire);

        seen.annotations_mut().insert(RENEW_URL_ANNOTATION.into(), "7".into());
        assert_eq!(decide(&seen, at(NOW)), Step::AnswerRenewal(Renewal::Url("7".into())));
        seen.status.as_mut().unwrap().renewed_url = Some("7".into());
        assert_eq!(decide(&seen, at(NOW)), Step::Rest(Some(at("2026-09-08T04:00:00Z"))));
    }

    /// A stored bundle whose annotation has this value; the request before it was answered at `answered`.
    fn asking(value: &str, answered: Option<&str>) -> DebugBundle {
        let mut seen = in_phase(Phase::Completed, 1);
        seen.annotations_mut().insert(RENEW_URL_ANNOTATION.into(), value.into());
        let status = seen.status.as_mut().unwrap();
        status.renewed_url = answered.map(|_| "the one before".to_owned());
        status.renewed_url_timestamp = answered.map(|answered| Time(at(answered)));
        seen
    }

    #[test]
    fn sec_u6_requests_within_ten_seconds_of_an_answer_wait_and_the_newest_is_answered() {
        let answer = |value: &str| Step::AnswerRenewal(Renewal::Url(value.to_owned()));
        let answered = Some("2026-09-08T03:04:05Z");
        assert_eq!(decide(&asking("1", answered), at(NOW)), Step::Rest(Some(at("2026-09-08T03:04:15Z"))));
        assert_eq!(decide(&asking("2", answered), at("2026-09-08T03:04:15Z")), answer("2"));
        assert_eq!(decide(&asking("1", None), at(NOW)), answer("1"), "the first one does not wait");
        assert_eq!(decide(&asking("1", Some("2036-01-01T00:00:00Z")), at(NOW)), answer("1"), "forged");
        let mut stripped = asking("1", answered);
        stripped.status.as_mut().unwrap().renewed_url = None;
        assert_eq!(decide(&stripped, at(NOW)), Step::Rest(Some(at("2026-09-08T03:04:15Z"))));
        let mut sooner = asking("1", answered);
        sooner.status.as_mut().unwrap().expiration = Some(Time(at("2026-09-08T03:04:13Z")));
        assert_eq!(decide(&sooner, at(NOW)), Step::Rest(Some(at("2026-09-08T03:04:13Z"))));
    }

    #[test]
    fn sec_u6_a_value_that_is_too_long_is_refused_once_and_status_stays_short() {
        assert_eq!(Renewal::of(&asking(&"é".repeat(64), None)), Some(Renewal::Url("é".repeat(64))));
        let mut seen = asking(&"x".repeat(65), None);
        let Step::AnswerRenewal(refused) = decide(&seen, at(NOW)) else { panic!("{:?}", decide(&seen, at(NOW))) };
        assert!(matches!(refused, Renewal::TooLong { length: 65, .. }), "{refused:?}");
        let fold = crate::status::StatusBuilder::new(seen.status.as_ref(), None, at(NOW));
        let status = fold.answered(&refused).done();
        assert_eq!(status.renewed_url.as_ref().map(|mark| mark.chars().count()), Some(RENEW_URL_LIMIT));
        assert_eq!(status.renewed_url_timestamp, Some(Time(at(NOW))));
        seen.status.as_mut().unwrap().renewed_url = status.renewed_url;
        assert_eq!(decide(&seen, at(NOW)), Step::Rest(None));
    }
}

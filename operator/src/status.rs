//! Builds a DebugBundle's status from what happened, and derives its phase from the conditions.
//! Pure; the controller writes the status to the cluster.

use debugbundle_crd::{
    Bundle, ConditionType, DebugBundle, DebugBundleStatus, Phase, Progress, Reason, Severity, Trigger,
};
use debugbundle_diagnosis::Kind;
use debugbundle_format::text::bounded;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{observed::Renewal, self_redaction};

/// The most bytes of a condition's message; the API allows 32768, a terminal less.
const MESSAGE_LIMIT: usize = 1024;
/// The most bytes of `status.cause`.
pub const CAUSE_LIMIT: usize = 512;
/// Longest cause in a column (bytes).
const BRIEF_LIMIT: usize = 80;

/// What a run uploaded.
#[derive(Clone, Debug)]
pub struct UploadedBundle {
    /// The stored object.
    pub bundle: Bundle,
    /// Wanted items that are not in it.
    pub missing: i64,
    /// Errors met while collecting.
    pub errors: i64,
    /// Warnings met while collecting.
    pub warnings: i64,
}

/// Builds the next status: start from the one seen, record what happened, take the result.
#[derive(Clone, Debug)]
pub struct StatusBuilder {
    status: DebugBundleStatus,
    now: Timestamp,
    generation: Option<i64>,
}

impl StatusBuilder {
    /// Starts from the DebugBundle seen.
    pub fn of(seen: &DebugBundle, now: Timestamp) -> Self {
        let mut builder = Self::new(seen.status.as_ref(), seen.metadata.generation, now);
        builder.status.trigger = Some(seen.trigger());
        builder
    }

    /// Why the DebugBundle exists.
    #[must_use]
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.status.trigger = Some(trigger);
        self
    }

    /// Starts from the status seen (or none).
    pub fn new(seen: Option<&DebugBundleStatus>, generation: Option<i64>, now: Timestamp) -> Self {
        Self { status: seen.cloned().unwrap_or_default(), now: whole_seconds(now), generation }
    }

    /// It waits for a slot.
    #[must_use]
    pub fn queued(mut self, running: usize) -> Self {
        let message = format!("waits for one of the operator's {running} collection slots");
        self.set(ConditionType::Ready, false, Reason::Queued, &message);
        self
    }

    /// The claim: this holder begins, or begins again.
    #[must_use]
    pub fn claimed(mut self, attempt: i64, holder: &str) -> Self {
        let lost = what_was_lost(self.status.holder.as_deref(), holder).map_or(String::new(), |lost| lost + "; ");
        self.taken(attempt, holder);
        let message = if attempt == 1 {
            "evidence is being read".to_owned()
        } else {
            format!("attempt {attempt}: {lost}evidence is being read")
        };
        self.set(ConditionType::Ready, false, Reason::Collecting, &message);
        self.set(ConditionType::Collected, false, Reason::Collecting, &message);
        self
    }

    /// The claim of a sealed bundle: only the upload is left.
    #[must_use]
    pub fn resumed(mut self, attempt: i64, holder: &str, outcome: &UploadedBundle) -> Self {
        self.taken(attempt, holder);
        self.uploading(outcome)
    }

    /// The attempt failed for a reason that may go away by itself; another attempt follows.
    #[must_use]
    pub fn to_be_tried_again(mut self, error: &str) -> Self {
        let attempt = self.status.attempts.unwrap_or(1);
        if let Some(ready) = self.status.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str()) {
            let reason =
                if ready.reason == Reason::Uploading.as_str() { Reason::Uploading } else { Reason::Collecting };
            self.set(
                ConditionType::Ready,
                false,
                reason,
                &format!("attempt {attempt} failed: {error}; another attempt follows"),
            );
        }
        self
    }

    /// The progress of the run.
    #[must_use]
    pub fn progress(mut self, mut progress: Progress) -> Self {
        progress.message = self_redaction::sanitize(&progress.message);
        self.status.progress = Some(progress);
        self
    }

    /// The diagnosis.
    #[must_use]
    pub fn found(mut self, cause: Option<&str>, findings: Vec<debugbundle_crd::FindingSummary>) -> Self {
        self.status.cause = cause.map(|cause| self_redaction::sanitize_line(cause, CAUSE_LIMIT));
        self.status.cause_brief = self.status.cause.as_deref().map(brief);
        let first = findings.iter().find(|finding| finding.severity == Severity::Error);
        self.status.confidence = cause.and(first).and_then(|finding| finding.confidence);
        self.status.findings = findings;
        self.status.findings.truncate(20);
        for found in &mut self.status.findings {
            for text in [&mut found.title, &mut found.object, &mut found.evidence] {
                *text = self_redaction::sanitize(text);
            }
        }
        self
    }

    /// Sealed. Written before the upload, so that the next holder knows which object must end up in the store.
    #[must_use]
    pub fn uploading(mut self, outcome: &UploadedBundle) -> Self {
        self.collected(outcome);
        self.status.bundle = Some(outcome.bundle.clone());
        // The recorded progress was about reading items.
        self.status.progress = None;
        // The id of an earlier process's upload stays recorded until that upload is known to have ended.
        let was_sealed = phase(&self.status.conditions) == Phase::Uploading;
        let upload = self.status.upload.get_or_insert_default();
        upload.started.get_or_insert(Time(self.now));
        if !was_sealed {
            upload.last_error = None;
        }
        let message = format!("uploading {} to {}", outcome.bundle.size, outcome.bundle.storage_location);
        self.set(ConditionType::Ready, false, Reason::Uploading, &message);
        self.set(ConditionType::Uploaded, false, Reason::Uploading, &message);
        self
    }

    /// The store returned an upload id; recorded before the first part is sent.
    #[must_use]
    pub fn upload_begun(mut self, upload_id: &str) -> Self {
        self.status.upload.get_or_insert_default().upload_id = Some(upload_id.to_owned());
        self
    }

    /// An upload failed and is tried again until then; its id stays recorded: the upload may still be open.
    #[must_use]
    pub fn upload_retried(mut self, reason: Reason, error: &str, until: Timestamp) -> Self {
        let upload = self.status.upload.get_or_insert_default();
        upload.last_error = Some(self_redaction::sanitize_line(error, MESSAGE_LIMIT));
        let message = retry_note(error, until);
        self.set(ConditionType::Ready, false, Reason::Uploading, &message);
        self.set(ConditionType::Uploaded, false, reason, &message);
        self
    }

    /// The bundle waits unsealed until the store with Velero's files answers, and at most until `until`. The time to
    /// send the bundle counts from here.
    #[must_use]
    pub fn waits_unsealed(mut self, reason: Reason, error: &str, until: Timestamp) -> Self {
        let upload = self.status.upload.get_or_insert_default();
        upload.started.get_or_insert(Time(self.now));
        upload.last_error = Some(self_redaction::sanitize_line(error, MESSAGE_LIMIT));
        let message = unsealed_note(error, until);
        self.set(ConditionType::Ready, false, Reason::Collecting, &message);
        self.set(ConditionType::Collected, false, reason, &message);
        self
    }

    /// It will be stored elsewhere than announced.
    #[must_use]
    pub fn moved(mut self, bundle: &Bundle) -> Self {
        self.status.bundle = Some(bundle.clone());
        self
    }

    /// Stored and verified. `assumption`: what was assumed about the credential, a clause; empty if nothing was.
    #[must_use]
    pub fn finished(mut self, outcome: &UploadedBundle, assumption: &str, expiration: Timestamp) -> Self {
        self.collected(outcome);
        let stored = format!("{} in {}{assumption}", outcome.bundle.size, outcome.bundle.storage_location);
        self.set(ConditionType::Uploaded, true, Reason::Uploaded, &stored);
        if outcome.missing == 0 {
            self.set(ConditionType::Ready, true, Reason::Completed, &stored);
        } else {
            let message = format!("{stored}; {}", missing_sentence(outcome.missing));
            self.set(ConditionType::Ready, true, Reason::PartiallyCollected, &message);
        }
        self.status.bundle = Some(outcome.bundle.clone());
        self.end(expiration);
        self
    }

    /// Ended without a bundle.
    #[must_use]
    pub fn failed(mut self, reason: Reason, message: &str, expiration: Timestamp) -> Self {
        self.set(ConditionType::Ready, false, reason, message);
        if !self.has(ConditionType::Collected, true) {
            self.set(ConditionType::Collected, false, reason, message);
        }
        if self.status.bundle.take().is_some() {
            self.set(ConditionType::Uploaded, false, reason, message);
        }
        self.end(expiration);
        self
    }

    /// An upload could not be ended in the store: its id stays recorded, for the deletion.
    #[must_use]
    pub fn leaving(mut self, upload: Option<debugbundle_crd::UploadState>) -> Self {
        self.status.upload = upload;
        self
    }

    /// A URL was signed.
    #[must_use]
    pub fn url(mut self, url: String, expires: Timestamp, note: &str) -> Self {
        self.status.download_url = Some(url);
        self.status.download_url_expiration = Some(Time(whole_seconds(expires)));
        let message = format!("works until {}{note}", whole_seconds(expires));
        self.set(ConditionType::DownloadReady, true, Reason::UrlIssued, &message);
        self
    }

    /// No URL, for this reason.
    #[must_use]
    pub fn no_url(mut self, reason: Reason, message: &str) -> Self {
        self.status.download_url = None;
        self.status.download_url_expiration = None;
        self.set(ConditionType::DownloadReady, false, reason, message);
        self
    }

    /// This request for a URL was answered.
    #[must_use]
    pub fn answered(mut self, request: &Renewal) -> Self {
        self.status.renewed_url = Some(request.mark());
        self.status.renewed_url_timestamp = Some(Time(self.now));
        self
    }

    /// The next status, its phase derived from the conditions.
    pub fn done(mut self) -> DebugBundleStatus {
        self.status.observed_generation = self.generation;
        self.status.phase = Some(phase(&self.status.conditions));
        self.status
    }

    fn taken(&mut self, attempt: i64, holder: &str) {
        self.status.attempts = Some(attempt);
        self.status.holder = Some(holder.to_owned());
        self.status.start_timestamp.get_or_insert(Time(self.now));
        self.status.completion_timestamp = None;
        self.status.progress = None;
    }

    fn collected(&mut self, outcome: &UploadedBundle) {
        self.status.missing = Some(outcome.missing);
        self.status.errors = Some(outcome.errors);
        self.status.warnings = Some(outcome.warnings);
        if outcome.missing == 0 {
            self.set(ConditionType::Collected, true, Reason::Collected, "everything that was wanted is in the bundle");
        } else {
            self.set(ConditionType::Collected, false, Reason::PartiallyCollected, &missing_sentence(outcome.missing));
        }
    }

    fn end(&mut self, expiration: Timestamp) {
        self.status.upload = None;
        self.status.progress = None;
        self.status.holder = None;
        self.status.completion_timestamp.get_or_insert(Time(self.now));
        self.status.expiration.get_or_insert(Time(whole_seconds(expiration)));
    }

    fn has(&self, type_: ConditionType, status: bool) -> bool {
        self.status.conditions.iter().any(|c| c.type_ == type_.as_str() && c.status == word(status))
    }

    /// Keeps `lastTransitionTime` while the status of the condition stays, as `meta.SetStatusCondition` of
    /// k8s.io/apimachinery does.
    fn set(&mut self, type_: ConditionType, status: bool, reason: Reason, message: &str) {
        let seen = self.status.conditions.iter().position(|c| c.type_ == type_.as_str());
        let since = seen
            .map(|at| &self.status.conditions[at])
            .filter(|c| c.status == word(status))
            .map_or(Time(self.now), |c| c.last_transition_time.clone());
        let condition = Condition {
            type_: type_.as_str().to_owned(),
            status: word(status).to_owned(),
            reason: reason.as_str().to_owned(),
            message: self_redaction::sanitize_line(message, MESSAGE_LIMIT),
            last_transition_time: since,
            observed_generation: self.generation,
        };
        match seen {
            Some(at) => self.status.conditions[at] = condition,
            None => self.status.conditions.push(condition),
        }
        self.status.conditions.sort_by_key(|c| ConditionType::ALL.iter().position(|t| t.as_str() == c.type_));
    }
}

/// The phase that the conditions add up to.
pub fn phase(conditions: &[Condition]) -> Phase {
    let Some(ready) = conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str()) else { return Phase::New };
    match (ready.status.as_str(), ready.reason.as_str()) {
        ("True", reason) if reason == Reason::Completed.as_str() => Phase::Completed,
        ("True", _) => Phase::PartiallyFailed,
        (_, reason) if reason == Reason::Queued.as_str() => Phase::Queued,
        (_, reason) if reason == Reason::Collecting.as_str() => Phase::Collecting,
        (_, reason) if reason == Reason::Uploading.as_str() => Phase::Uploading,
        _ => Phase::Failed,
    }
}

/// What a new holder reports about the lost work of an earlier holder's pod; `None` if the holder is the same.
pub fn what_was_lost(before: Option<&str>, holder: &str) -> Option<String> {
    let gone = before.filter(|before| *before != holder)?;
    Some(format!("pod {gone} is gone, and what it had collected went with it"))
}

/// Why the upload of a sealed bundle is retried, and until when.
pub fn retry_note(error: &str, until: Timestamp) -> String {
    format!("{error}; the operator keeps the sealed bundle and retries the upload until {}", whole_seconds(until))
}

/// Why a bundle is not sealed yet, and until when.
pub fn unsealed_note(error: &str, until: Timestamp) -> String {
    format!(
        "{error}; Velero's files could not be read: the operator keeps the collected evidence in its spool and tries the \
         store until {}",
        whole_seconds(until)
    )
}

fn missing_sentence(missing: i64) -> String {
    match missing {
        1 => "1 item is missing; manifest.json in the bundle says what and why".to_owned(),
        n => format!("{n} items are missing; manifest.json in the bundle says what and why"),
    }
}

fn word(status: bool) -> &'static str {
    if status { "True" } else { "False" }
}

/// Rounded down: a published end must not be later than the true one.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    time.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor)).unwrap_or(time)
}

/// The cause for a column. A long one lacks its end, and its first clause if that only names the target or an object of
/// it: the columns beside say that. The colon of a quoted text parts no clauses.
fn brief(cause: &str) -> String {
    let names = |clause: &str| {
        let kind = Kind::of(clause.split(' ').next().unwrap_or_default());
        !matches!(kind, Kind::Other(_)) || clause.starts_with("error restoring ")
    };
    let rest = cause.split_once(": ").filter(|(clause, _)| cause.len() > BRIEF_LIMIT && names(clause));
    bounded(rest.map_or(cause, |(_, rest)| rest), BRIEF_LIMIT).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn outcome(missing: i64) -> UploadedBundle {
        let bundle = Bundle { storage_location: "eu-1".into(), size: "2.1 MB".into(), ..Default::default() };
        UploadedBundle { bundle, missing, errors: missing, warnings: 0 }
    }

    #[test]
    fn the_phase_follows_the_conditions() {
        let (t0, t1) = (at("2026-09-08T03:04:12Z"), at("2026-10-08T03:04:12Z"));
        let claimed = StatusBuilder::new(None, Some(1), t0).claimed(1, "pod-a").done();
        assert_eq!(claimed.phase, Some(Phase::Collecting));
        let uploading = StatusBuilder::new(Some(&claimed), Some(1), t0).uploading(&outcome(0)).done();
        assert_eq!(uploading.phase, Some(Phase::Uploading));
        let done = StatusBuilder::new(Some(&uploading), Some(1), t0).finished(&outcome(0), "", t1).done();
        assert_eq!(done.phase, Some(Phase::Completed));
        assert_eq!(
            done.conditions.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(),
            ["Ready", "Collected", "Uploaded"]
        );
        let partial = StatusBuilder::new(Some(&uploading), Some(1), t0).finished(&outcome(2), "", t1).done();
        assert_eq!(partial.phase, Some(Phase::PartiallyFailed));
        let failed = StatusBuilder::new(Some(&uploading), Some(1), t0).failed(Reason::UploadDenied, "no", t1).done();
        assert_eq!(failed.phase, Some(Phase::Failed));
        assert_eq!(failed.bundle, None);
    }

    #[test]
    fn a_new_holder_says_what_was_lost_with_the_pod_of_the_one_before() {
        let t0 = at("2026-09-08T03:04:12Z");
        let first = StatusBuilder::new(None, Some(1), t0).claimed(1, "pod-a").done();
        let message = |holder: &str| {
            let again = StatusBuilder::new(Some(&first), Some(1), t0).claimed(2, holder).done();
            assert_eq!(again.holder.as_deref(), Some(holder));
            again.conditions[0].message.clone()
        };
        assert_eq!(message("pod-a"), "attempt 2: evidence is being read");
        let lost = "attempt 2: pod pod-a is gone, and what it had collected went with it; evidence is being read";
        assert_eq!(message("pod-b"), lost);
    }

    #[test]
    fn an_upload_id_stays_on_record_until_the_end() {
        let t0 = at("2026-09-08T03:04:12Z");
        let sent =
            StatusBuilder::new(None, Some(1), t0).claimed(1, "a").uploading(&outcome(0)).upload_begun("id-1").done();
        let again =
            StatusBuilder::new(Some(&sent), Some(1), t0).upload_retried(Reason::StoreUnreachable, "DNS: no", t0).done();
        let ready = &again.conditions[0];
        assert_eq!(again.phase, Some(Phase::Uploading));
        let expected =
            "DNS: no; the operator keeps the sealed bundle and retries the upload until 2026-09-08T03:04:12Z";
        assert_eq!((ready.reason.as_str(), ready.message.as_str()), ("Uploading", expected));
        let resumed = StatusBuilder::new(Some(&again), Some(1), t0).resumed(2, "b", &outcome(0)).done();
        assert_eq!(resumed.upload.as_ref().and_then(|u| u.upload_id.as_deref()), Some("id-1"));
        assert_eq!((resumed.phase, resumed.attempts), (Some(Phase::Uploading), Some(2)));
        assert_eq!(StatusBuilder::new(Some(&resumed), Some(1), t0).finished(&outcome(0), "", t0).done().upload, None);
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let first = StatusBuilder::new(None, Some(1), at("2026-09-08T03:04:12Z")).claimed(1, "pod-a").done();
        let second = StatusBuilder::new(Some(&first), Some(1), at("2026-09-08T03:09:00Z")).claimed(2, "pod-a").done();
        assert_eq!(first.conditions[0].last_transition_time, second.conditions[0].last_transition_time);
        assert_ne!(first.conditions[0].message, second.conditions[0].message);
    }

    #[test]
    fn the_end_of_a_url_is_not_told_later_than_it_is() {
        let status = StatusBuilder::new(None, None, at("2026-09-08T03:04:12Z")).url(
            "u".into(),
            at("2026-09-08T04:04:12.9Z"),
            "",
        );
        assert_eq!(status.done().download_url_expiration, Some(Time(at("2026-09-08T04:04:12Z"))));
    }

    #[test]
    fn sec_x6_each_text_of_a_status_passes_redaction() {
        let t0 = at("2026-09-08T03:04:12Z");
        let new = || StatusBuilder::new(None, None, t0);
        for leak in [
            "https://robot:hunter2-x7@registry.example.com/ said no",
            "the hook ran PGPASSWORD=hunter2-x7 pg_dump shop",
        ] {
            let finding = debugbundle_crd::FindingSummary {
                id: "x".into(),
                severity: debugbundle_crd::Severity::Error,
                title: leak.into(),
                object: leak.into(),
                evidence: leak.into(),
                confidence: Some(debugbundle_crd::CauseConfidence::Likely),
            };
            for (fold, texts) in [
                (new().failed(Reason::ApiError, leak, Timestamp::MAX), 2),
                (new().claimed(1, "a").to_be_tried_again(leak), 1),
                (new().upload_retried(Reason::ApiError, leak, t0), 3),
                (new().found(Some(leak), vec![finding.clone()]), 5),
                (new().progress(Progress { message: leak.into(), ..Progress::default() }), 1),
                (new().no_url(Reason::ObjectMissing, leak), 1),
                (new().url("https://store.example.com/b".into(), t0, leak), 1),
            ] {
                let status = serde_json::to_string(&fold.done()).unwrap();
                assert_eq!(status.matches("[REDACTED:").count(), texts, "{status}");
                assert!(!status.contains("hunter2"), "{status}");
            }
        }
    }

    #[test]
    fn a_brief_cause_begins_with_what_the_columns_beside_it_do_not_say() {
        assert_eq!(brief("quota: the disk is full"), "quota: the disk is full");
        let quota = "error restoring configmaps/shop/prices: configmaps \"prices\" is forbidden: exceeded quota: tight, \
                     requested: configmaps=1, used: configmaps=1, limited: configmaps=1";
        let expected = "configmaps \"prices\" is forbidden: exceeded quota: tight, requested: configmap…";
        assert_eq!(brief(quota), expected);
        assert!(expected.len() <= BRIEF_LIMIT);
        let quoted = format!("shop Phase: Completed {}", "x".repeat(BRIEF_LIMIT));
        assert!(brief(&quoted).starts_with("shop Phase: Completed"), "the colon is of the quoted text");
    }

    #[test]
    fn sec_l2_foreign_text_is_one_bounded_line() {
        let nasty = format!("a\nb\u{1b}[31m{}", "é".repeat(2000));
        let status = StatusBuilder::new(None, None, at("2026-09-08T03:04:12Z"))
            .failed(Reason::ApiError, &nasty, Timestamp::MAX)
            .done();
        let message = &status.conditions[0].message;
        assert!(message.len() <= MESSAGE_LIMIT && !message.contains('\n') && !message.contains('\u{1b}'));
    }
}

//! The report on the way to a location's store: a verdict for each step, and the facts found. It only interprets
//! answers; `run::locations` and `store` send the requests.

use jiff::Timestamp;
use serde::Serialize;

use super::ProbeStep;
use crate::{
    certificate::Certificate,
    location::{AccessMode, Location, SecretFacts, Words, shown},
};

/// The folders that Velero accepts below a location's prefix (pkg/persistence/object_store_layout.go).
pub const VALID_FOLDERS: [&str; 6] = ["backups", "restores", "restic", "metadata", "plugins", "kopia"];
/// The most folders that are listed and reported.
pub const MOST_FOLDERS: usize = 1000;
/// A larger difference of the clocks (seconds) gets a remark.
const WORTH_TELLING: i64 = 5 * 60;
/// Stores refuse a larger difference of the clocks (seconds).
const TOO_FAR: i64 = 15 * 60;
/// A certificate that ends sooner (days) gets a remark.
const ENDS_SOON: i64 = 14;

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StepState {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Failed,
    /// A step before it failed, or the time was over.
    NotReached,
}

/// A step's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepVerdict {
    /// The step.
    pub step: ProbeStep,
    /// Its outcome.
    pub state: StepState,
    /// A sentence.
    pub text: String,
    /// What fixes it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A folder below the prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundFolder {
    /// Its name, without slashes.
    pub name: String,
    /// Whether Velero accepts it.
    pub valid: bool,
}

/// Another location in the same bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Neighbour {
    /// Its name.
    pub location: String,
    /// Its prefix.
    pub prefix: String,
    /// Whether its endpoint is written in the same way; otherwise it may be another store.
    pub same_endpoint: bool,
    /// Whether the prefixes are equal or one lies below the other: then one location sees the other's folders.
    pub overlaps: bool,
}

/// The location's own fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    provider: String,
    bucket: String,
    prefix: String,
    endpoint: Option<String>,
    region: Option<String>,
    access_mode: &'static str,
    default: bool,
    /// What Velero found at its last check.
    velero_phase: Option<String>,
    velero_message: Option<String>,
}

/// The server's certificate, and whether it was trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsFacts {
    /// Whether it was verified.
    pub verified: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Its content; `None` if the server sent no readable one.
    pub certificate: Option<Certificate>,
    /// Whole days until its end.
    pub days_left: Option<i64>,
}

/// The whole report, the content of `velero/locations/<name>.json`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// The location's name.
    pub name: String,
    /// What this bundle uses it for.
    pub used_for: Vec<&'static str>,
    /// When it was probed.
    pub looked_at: Timestamp,
    /// Whether the store answered.
    pub reachable: bool,
    /// The first step that failed; `None` if all is well.
    pub failed_at: Option<ProbeStep>,
    /// A verdict for each step, in order.
    pub steps: Vec<StepVerdict>,
    /// The location's own fields.
    pub location: Described,
    /// The Secrets that it names: whether they exist, and the names of their keys.
    pub secret_names: Vec<SecretFacts>,
    /// Absent on plain http, and if no handshake took place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFacts>,
    /// By how many seconds the store's clock is ahead of the operator's.
    pub clock_ahead_seconds: Option<i64>,
    /// The folders below the prefix; `None` if they could not be listed.
    pub folders: Option<Vec<FoundFolder>>,
    /// Whether there are more folders than are reported.
    pub more_folders: bool,
    /// Other locations in the same bucket.
    pub shared_with: Vec<Neighbour>,
}

impl ProbeReport {
    /// A report without verdicts yet. `all` are the locations of the namespace.
    pub fn of(location: &Location, all: &[Location], used_for: Vec<&'static str>, now: Timestamp) -> Self {
        let config = |key: &str| location.config.get(key).filter(|value| !value.is_empty()).cloned();
        Self {
            name: location.name.clone(),
            used_for,
            looked_at: now,
            reachable: false,
            failed_at: None,
            steps: Vec::new(),
            location: Described {
                provider: location.provider.clone(),
                bucket: location.bucket.clone(),
                prefix: location.prefix.clone(),
                endpoint: location.server().map(ToOwned::to_owned),
                region: config("region"),
                access_mode: match location.access {
                    AccessMode::ReadWrite => "ReadWrite",
                    AccessMode::ReadOnly => "ReadOnly",
                },
                default: location.default,
                velero_phase: location.phase.clone(),
                velero_message: location.message.clone(),
            },
            secret_names: Vec::new(),
            tls: None,
            clock_ahead_seconds: None,
            folders: None,
            more_folders: false,
            shared_with: neighbours(location, all),
        }
    }

    /// The step is as it should be.
    pub fn ok(&mut self, step: ProbeStep, text: impl Into<String>) {
        self.say(step, StepState::Ok, text.into(), None);
    }

    /// The step is not as it should be.
    pub fn failed(&mut self, step: ProbeStep, text: impl Into<String>, remedy: Option<&str>) {
        self.failed_at = Some(self.failed_at.map_or(step, |first| first.min(step)));
        self.say(step, StepState::Failed, text.into(), remedy);
    }

    fn say(&mut self, step: ProbeStep, state: StepState, text: String, remedy: Option<&str>) {
        if self.verdict(step).is_none() {
            self.steps.push(StepVerdict { step, state, text, remedy: remedy.map(ToOwned::to_owned) });
        }
    }

    /// The verdict of a step, if there is one yet.
    pub fn verdict(&self, step: ProbeStep) -> Option<&StepVerdict> {
        self.steps.iter().find(|verdict| verdict.step == step)
    }

    /// The time was over: marks the first step without a verdict as failed.
    pub fn gave_up(&mut self, seconds: u64) {
        if let Some(step) = ProbeStep::ALL.into_iter().find(|step| self.verdict(*step).is_none()) {
            self.failed(step, format!("no answer within {seconds} s"), None);
        }
    }

    /// Records the TLS handshake's outcome. `verified` is false where the location asks for no verification.
    pub fn tls(&mut self, verified: Result<bool, String>, certificate: Option<Certificate>, words: &Words) {
        let days_left = certificate.as_ref().map(|certificate| certificate.days_left(self.looked_at));
        let ends = certificate.as_ref().map_or(String::new(), |c| {
            format!("; the certificate of {} is valid from {} to {}", shown(&c.subject), c.not_before, c.not_after)
        });
        match &verified {
            Ok(true) => match days_left.filter(|days| *days < ENDS_SOON) {
                Some(days) => self.say(
                    ProbeStep::Tls,
                    StepState::Ok,
                    format!("verified, and expires in {days} days{ends}"),
                    Some("renew the store's certificate"),
                ),
                None => self.ok(ProbeStep::Tls, format!("verified{ends}")),
            },
            Ok(false) => self.ok(ProbeStep::Tls, format!("not verified, because insecureSkipTLSVerify is set{ends}")),
            Err(why) => {
                let remedy = if why.contains("expired") || why.contains("not valid yet") {
                    "renew the store's certificate, and check the clocks".to_owned()
                } else if why.contains("another host name") {
                    format!("set {} to a host name that the certificate contains", words.server)
                } else {
                    "set objectStorage.caCert (or caCertRef) to the authority that signed the store's certificate"
                        .to_owned()
                };
                self.failed(ProbeStep::Tls, format!("{why}{ends}"), Some(&remedy));
            }
        }
        self.tls = Some(TlsFacts { verified: verified == Ok(true), why_not: verified.err(), certificate, days_left });
    }

    /// Records by how many seconds the store's clock is ahead of ours; `None` if the store does not tell.
    pub fn clock(&mut self, ahead: Option<i64>) {
        const REMEDY: &str = "synchronize the clocks of the store and of the operator's node, for example with NTP";
        self.clock_ahead_seconds = ahead;
        match ahead {
            None => self.ok(ProbeStep::Clock, "the store's response contains no time"),
            Some(ahead) if ahead.abs() > TOO_FAR => {
                self.failed(
                    ProbeStep::Clock,
                    format!("{}; stores refuse such requests", clock_words(ahead)),
                    Some(REMEDY),
                );
            }
            Some(ahead) if ahead.abs() > WORTH_TELLING => {
                let text = format!("{}; stores refuse requests from 15 min on", clock_words(ahead));
                self.say(ProbeStep::Clock, StepState::Ok, text, Some(REMEDY));
            }
            Some(_) => self.ok(ProbeStep::Clock, "the clocks agree"),
        }
    }

    /// Records a refusal, and the step at which it came. The steps that the store must have passed before it could refuse count as ok.
    pub fn refused(&mut self, at: Option<ProbeStep>, message: String, words: &Words) {
        let failed = at.unwrap_or(ProbeStep::Answer);
        if failed > ProbeStep::Answer {
            self.ok(ProbeStep::Answer, "the endpoint responds like an object store");
        }
        for (step, text) in [
            (ProbeStep::Clock, "the clocks agree"),
            (ProbeStep::Identity, "the store accepts the credential"),
            (ProbeStep::Bucket, "the bucket exists"),
        ] {
            if failed > step {
                self.ok(step, text);
            }
        }
        let remedy = match failed {
            ProbeStep::Identity => Some(words.accept.to_owned()),
            ProbeStep::Bucket => Some(format!("correct the location's {}", words.place)),
            ProbeStep::Permission => Some(words.allow.to_owned()),
            _ => None,
        };
        self.failed(failed, message, remedy.as_deref());
    }

    /// Records the folders below the prefix.
    pub fn listed(&mut self, names: Vec<String>, more: bool) {
        let folders: Vec<FoundFolder> = names
            .into_iter()
            .take(MOST_FOLDERS)
            .map(|name| FoundFolder { valid: VALID_FOLDERS.contains(&name.as_str()), name })
            .collect();
        let foreign: Vec<&str> = folders.iter().filter(|f| !f.valid).take(3).map(|f| f.name.as_str()).collect();
        if foreign.is_empty() {
            self.ok(ProbeStep::Layout, "Velero accepts all folders below the prefix");
        } else {
            let count = folders.iter().filter(|folder| !folder.valid).count();
            let some = foreign.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ");
            let text = format!(
                "Velero marks the location Unavailable, because it accepts only the folders {} below the prefix; \
                 {count} other: {some}",
                VALID_FOLDERS.join(", ")
            );
            let remedy = "move the other folders elsewhere, or give the location a prefix of its own";
            self.failed(ProbeStep::Layout, text, Some(remedy));
        }
        self.folders = Some(folders);
        self.more_folders = more;
    }

    /// Closes the report: steps without a verdict become `NotReached`.
    #[must_use]
    pub fn closed(mut self) -> Self {
        self.reachable = self.verdict(ProbeStep::Answer).is_some_and(|verdict| verdict.state == StepState::Ok);
        for step in ProbeStep::ALL {
            self.say(step, StepState::NotReached, String::new(), None);
        }
        self.steps.sort_by_key(|verdict| verdict.step);
        self
    }
}

/// How far a store's clock is from ours, in words; `ahead` in seconds.
pub(crate) fn clock_words(ahead: i64) -> String {
    let (seconds, side) = (ahead.unsigned_abs(), if ahead < 0 { "behind" } else { "ahead of" });
    let far = if seconds < 120 { format!("{seconds} s") } else { format!("{} min", (seconds + 30) / 60) };
    format!("the store's clock is {far} {side} the operator's")
}

fn neighbours(location: &Location, all: &[Location]) -> Vec<Neighbour> {
    let others = all.iter().filter(|other| other.name != location.name && other.bucket == location.bucket);
    others
        .map(|other| Neighbour {
            location: other.name.clone(),
            prefix: other.prefix.clone(),
            same_endpoint: other.server() == location.server(),
            overlaps: below(&other.prefix, &location.prefix) || below(&location.prefix, &other.prefix),
        })
        .collect()
}

/// Whether the prefix `inner` is `outer` or lies below it.
fn below(inner: &str, outer: &str) -> bool {
    outer.is_empty() || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WORDS: Words = Words {
        place: "bucket and account",
        besides_bucket: "account",
        server: "account",
        accept: "correct the key",
        allow: "allow it",
    };

    fn location(name: &str, prefix: &str) -> Location {
        Location::parse(&json!({
            "metadata": {"name": name},
            "spec": {"provider": "aws", "objectStorage": {"bucket": "b", "prefix": prefix}},
        }))
        .expect("valid")
    }

    fn report() -> ProbeReport {
        ProbeReport::of(&location("offsite", "a"), &[], vec!["upload"], Timestamp::UNIX_EPOCH)
    }

    fn states(report: &ProbeReport) -> Vec<(ProbeStep, StepState)> {
        report.steps.iter().map(|verdict| (verdict.step, verdict.state)).collect()
    }

    #[test]
    fn a_refusal_says_what_was_right_before_it() {
        let mut denied = report();
        denied.ok(ProbeStep::Configuration, "x");
        let message = "the store refused s3:ListBucket on b/a/: 403 AccessDenied";
        denied.refused(Some(ProbeStep::Permission), message.to_owned(), &WORDS);
        let denied = denied.closed();
        assert!(denied.reachable && denied.failed_at == Some(ProbeStep::Permission));
        assert_eq!(
            states(&denied)[5..10].iter().map(|(_, state)| *state).collect::<Vec<_>>(),
            [StepState::Ok, StepState::Ok, StepState::Ok, StepState::Ok, StepState::Failed]
        );
        assert_eq!(states(&denied)[10], (ProbeStep::Layout, StepState::NotReached));
        assert!(denied.verdict(ProbeStep::Permission).is_some_and(|v| v.text == message));

        let mut away = report();
        away.refused(Some(ProbeStep::Dns), "DNS resolution failed: x".to_owned(), &WORDS);
        let away = away.closed();
        assert!(!away.reachable && away.failed_at == Some(ProbeStep::Dns));
        assert_eq!(away.steps.len(), ProbeStep::ALL.len());
        assert_eq!(away.steps.iter().filter(|verdict| verdict.state == StepState::NotReached).count(), 10);
    }

    #[test]
    fn clocks_are_judged_at_five_and_fifteen_minutes() {
        for (ahead, state, words) in [
            (Some(20), StepState::Ok, "the clocks agree"),
            (Some(-400), StepState::Ok, "7 min behind"),
            (Some(1200), StepState::Failed, "20 min ahead of the operator's"),
            (None, StepState::Ok, "contains no time"),
        ] {
            let mut report = report();
            report.clock(ahead);
            let verdict = report.verdict(ProbeStep::Clock).expect("a verdict");
            assert_eq!(verdict.state, state, "{ahead:?}");
            assert!(verdict.text.contains(words), "{}", verdict.text);
        }
    }

    #[test]
    fn only_the_six_folders_may_stand() {
        let mut report = report();
        report.listed(["backups", "kopia", "lost+found"].map(ToOwned::to_owned).to_vec(), false);
        let verdict = report.verdict(ProbeStep::Layout).expect("a verdict");
        assert_eq!(verdict.state, StepState::Failed);
        assert!(verdict.text.ends_with("; 1 other: \"lost+found\""), "{}", verdict.text);
        let mut good = self::report();
        good.listed(VALID_FOLDERS.map(ToOwned::to_owned).to_vec(), false);
        assert_eq!(good.closed().failed_at, None);
    }

    #[test]
    fn whoever_shares_the_bucket_is_named() {
        let all = [location("offsite", "a"), location("root", ""), location("below", "a/b"), location("twin", "ab")];
        let report = ProbeReport::of(&all[0], &all, Vec::new(), Timestamp::UNIX_EPOCH);
        let told: Vec<_> = report.shared_with.iter().map(|n| (n.location.as_str(), n.overlaps)).collect();
        assert_eq!(told, [("root", true), ("below", true), ("twin", false)]);
    }

    #[test]
    fn the_step_that_took_the_time_is_named() {
        let mut report = report();
        report.ok(ProbeStep::Configuration, "x");
        report.ok(ProbeStep::Credential, "x");
        report.gave_up(20);
        assert_eq!(report.closed().failed_at, Some(ProbeStep::Dns));
    }
}

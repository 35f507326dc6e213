//! Keeps the Lease: reads, takes, renews and at the end releases it. Each call has a deadline and is not retried,
//! because a late answer is useless.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    LEASE, Leadership, Term,
    rules::{Candidate, RENEW_DEADLINE, pause},
};
use crate::{error::api_sentence, observed::is_pod_name};

/// Timeout for one answer of the API server; two calls fit into the time in which a leader must renew.
const ONE_CALL: Duration = Duration::from_secs(4);
/// How long an instance that stops tries to release the Lease. After that the others wait until the Lease expires.
const TO_RELEASE: Duration = Duration::from_secs(5);
/// The pause between two tries to release it.
const RELEASE_PAUSE: Duration = Duration::from_millis(200);

/// One instance's part in the election; [`Election::run`] does the work.
pub struct Election {
    api: Api<Lease>,
    pods: Api<Pod>,
    candidate: Candidate,
    term: watch::Sender<Option<Term>>,
    shutdown: CancellationToken,
    /// The API server has accepted a write.
    accepted: bool,
    /// The last failure or other holder in the log, so that each is logged once.
    logged: String,
}

/// Prepares the election of this instance. `client` should neither limit nor retry its requests. Terms end when
/// `shutdown` is cancelled; the Lease itself is kept until [`Election::run`] is asked to release it.
pub fn election(
    client: Client,
    namespace: &str,
    instance: &str,
    shutdown: CancellationToken,
) -> (Election, Leadership) {
    let (term, seen) = watch::channel(None);
    let election = Election {
        api: Api::namespaced(client.clone(), namespace),
        pods: Api::namespaced(client, namespace),
        candidate: Candidate::new(instance.to_owned()),
        term,
        shutdown: shutdown.clone(),
        accepted: false,
        logged: String::new(),
    };
    (election, Leadership { term: seen, shutdown })
}

impl Election {
    /// Takes part until `release` is cancelled, then releases the Lease: cancel it when all guarded work has ended.
    ///
    /// # Errors
    /// The API server refuses this account the Lease; the message names the rule that is missing.
    pub async fn run(mut self, release: CancellationToken) -> Result<(), String> {
        while !release.is_cancelled() {
            let ends = self.ends();
            let tried = match ends {
                Some(ends) => timeout_at(ends, self.try_once()).await.unwrap_or_else(|_| Err(silent(RENEW_DEADLINE))),
                None => self.try_once().await,
            };
            if let Err(error) = tried {
                self.failed(&error)?;
            }
            let (leads, mut random) = (self.ends().is_some(), [0]);
            // Without random numbers the pauses are only less spread.
            let _ = getrandom::fill(&mut random);
            tokio::select! {
                () = release.cancelled() => {}
                () = sleep(pause(leads, random[0])) => {}
                () = at(self.ends()) => {}
            }
        }
        // A Lease that cannot be released expires.
        let _ = timeout(TO_RELEASE, self.release()).await;
        Ok(())
    }

    /// When the present term ends; ends it if that time has come.
    fn ends(&self) -> Option<Instant> {
        let ends = self.term.borrow().as_ref().map(|term| term.ends)?;
        if Instant::now() < ends {
            return Some(ends);
        }
        self.lose("the Lease was not renewed in time");
        None
    }

    /// Renews or takes the Lease, or learns which instance holds it.
    async fn try_once(&mut self) -> Result<(), kube::Error> {
        // A leader writes over the Lease that it wrote last. If that fails, somebody else may have changed it.
        if self.ends().is_some()
            && let Some(next) = self.candidate.next(Instant::now(), Timestamp::now())
            && self.write(next).await.is_ok()
        {
            return Ok(());
        }
        let Some(lease) = in_time(self.api.get_opt(LEASE)).await? else {
            let asked = Instant::now();
            let first = self.candidate.first(Timestamp::now());
            let created = in_time(self.api.create(&PostParams::default(), &first)).await?;
            self.written(created, asked);
            return Ok(());
        };
        let now = Instant::now();
        self.candidate.note(lease, now);
        // After an uninstallation nobody releases the Lease: the operator's permissions go before its pod ends.
        if !self.accepted && self.candidate.may_be_gone(now) && self.is_holder_gone().await {
            self.candidate.holder_is_gone();
        }
        if let Some(next) = self.candidate.next(Instant::now(), Timestamp::now()) {
            return self.write(next).await;
        }
        self.stand_by();
        Ok(())
    }

    /// Whether the API server says that the holder's pod does not exist. Only an instance that has not led yet asks, so
    /// that instances without pods do not take the Lease from each other in turn.
    async fn is_holder_gone(&self) -> bool {
        let Some(holder) = self.candidate.holder() else { return false };
        is_pod_name(holder) && matches!(in_time(self.pods.get_metadata_opt(holder)).await, Ok(None))
    }

    async fn write(&mut self, next: Lease) -> Result<(), kube::Error> {
        let asked = Instant::now();
        let written = in_time(self.api.replace(LEASE, &PostParams::default(), &next)).await?;
        self.written(written, asked);
        Ok(())
    }

    /// Records that the Lease names this instance. The term counts from the start of the request, so that it never ends
    /// later than other instances expect.
    fn written(&mut self, lease: Lease, asked: Instant) {
        self.candidate.note(lease, Instant::now());
        self.accepted = true;
        self.logged.clear();
        if self.ends().is_none() {
            tracing::info!("Leads");
        }
        let ends = asked + RENEW_DEADLINE;
        self.term.send_if_modified(|term| {
            let begins = term.is_none();
            term.get_or_insert_with(|| Term { ends, over: self.shutdown.child_token() }).ends = ends;
            begins
        });
    }

    /// Records that the Lease names another instance.
    fn stand_by(&mut self) {
        self.lose("the Lease names another instance");
        let holder = self.candidate.holder().unwrap_or_default().to_owned();
        if self.logged != holder {
            tracing::info!(holder, "Standing by: another instance leads");
            self.logged = holder;
        }
    }

    fn lose(&self, why: &str) {
        let lost = self.term.send_replace(None);
        if let Some(term) = lost {
            term.over.cancel();
            tracing::warn!(why, "Leads no longer");
        }
    }

    /// Handles a failure. Before the first write, a refusal is a mistake of the installation, which only a person can
    /// fix. A later refusal may pass, and ending would stop work that is under way.
    fn failed(&mut self, error: &kube::Error) -> Result<(), String> {
        let sentence = api_sentence(error);
        match error {
            kube::Error::Api(status) if status.code == 403 && !self.accepted => Err(format!(
                "the operator may not use the Lease {LEASE} in its namespace: {sentence}; grant it rule R11 of its Role"
            )),
            // Another instance was faster, or somebody changed a label.
            kube::Error::Api(status) if status.code == 409 => Ok(()),
            _ => {
                if self.logged != sentence {
                    tracing::warn!(failure = sentence, "The Lease cannot be read or written; trying again");
                    self.logged = sentence;
                }
                Ok(())
            }
        }
    }

    async fn release(&mut self) {
        while let Some(released) = self.candidate.released(Timestamp::now()) {
            match in_time(self.api.replace(LEASE, &PostParams::default(), &released)).await {
                Ok(lease) => {
                    self.candidate.note(lease, Instant::now());
                    tracing::info!("Released the Lease");
                }
                Err(_) => sleep(RELEASE_PAUSE).await,
            }
            match in_time(self.api.get_opt(LEASE)).await {
                Ok(Some(lease)) => self.candidate.note(lease, Instant::now()),
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }
}

/// Ends the term, also after a panic: work that only the leader may do must stop.
impl Drop for Election {
    fn drop(&mut self) {
        if let Some(term) = self.term.send_replace(None) {
            term.over.cancel();
        }
    }
}

async fn at(ends: Option<Instant>) {
    match ends {
        Some(ends) => sleep_until(ends).await,
        None => std::future::pending().await,
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    timeout(ONE_CALL, call).await.unwrap_or_else(|_| Err(silent(ONE_CALL)))
}

fn silent(limit: Duration) -> kube::Error {
    let why = format!("no answer within {} s", limit.as_secs());
    kube::Error::Service(std::io::Error::new(std::io::ErrorKind::TimedOut, why).into())
}

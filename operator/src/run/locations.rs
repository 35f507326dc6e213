//! `velero/locations/<name>.json`: what the operator meets on the way to the stores of a run, probed beside the
//! collection and for a bounded time. It never fails a run; `probe::ProbeReport` interprets the answers.

use std::{io::Write as _, sync::Arc, time::Duration};

use debugbundle_archive::{Entry, EntryWriter, Spool};
use debugbundle_format::{
    layout,
    manifest::{Source, SourceKind},
};
use debugbundle_redact::Redactor;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::{Engine, Subject, destination::Survey};
use crate::{
    location::{
        Location, LocationError,
        deployment::{FileKey, Server},
    },
    probe::{ProbeReport, ProbeStep},
    store,
};

/// Timeout for probing all locations together.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most locations that are probed.
const MOST_LOCATIONS: usize = 16;
/// Locations that are probed at the same time.
const AT_ONCE: usize = 4;

impl Engine {
    /// Probes the bundle's location and the target's; without a target all locations, these two first.
    pub(super) async fn look_at_locations(
        &self,
        subject: &Subject,
        survey: Option<&Survey>,
        deadline: Instant,
    ) -> Vec<ProbeReport> {
        let Some(survey) = survey else { return Vec::new() };
        let until = deadline.min(Instant::now() + PATIENCE);
        let mut looks: Vec<BoxFuture<'_, ProbeReport>> = Vec::new();
        for (location, uses) in looked_at(subject, survey) {
            let report = ProbeReport::of(location, &survey.all, uses, Timestamp::now());
            looks.push(self.look_until(until, subject, survey, location, report).boxed());
        }
        stream::iter(looks).buffered(AT_ONCE).collect().await
    }

    async fn look_until(
        &self,
        until: Instant,
        subject: &Subject,
        survey: &Survey,
        location: &Location,
        mut report: ProbeReport,
    ) -> ProbeReport {
        if timeout_at(until, self.look_at(subject, survey, location, &mut report)).await.is_err() {
            report.gave_up(PATIENCE.as_secs());
        }
        report.closed()
    }

    async fn look_at(&self, subject: &Subject, survey: &Survey, location: &Location, report: &mut ProbeReport) {
        let (namespace, server, policy) = (&self.options.namespace, survey.server.as_ref(), self.options.endpoints);
        let examined = store::examine(&self.client, namespace, location, server).await;
        report.secret_names = examined.into_iter().map(|examined| examined.facts).collect();
        let config = match store::configured(location, policy) {
            Ok(config) => config,
            Err(error) => {
                return report.failed(
                    ProbeStep::Configuration,
                    error.to_string(),
                    Some("correct spec.config of the location"),
                );
            }
        };
        let (words, meaning) = (config.words(), config.meaning());
        let (resolved, usable) = match store::resolve(&self.client, namespace, location, server, policy).await {
            Ok(resolved) => (resolved, true),
            Err(error) => {
                let at_fault = if matches!(error, LocationError::Invalid { .. }) {
                    ProbeStep::Configuration
                } else {
                    ProbeStep::Credential
                };
                report.failed(at_fault, error.to_string(), None);
                // The way to the store can be probed all the same; with made-up keys the probe stops before the
                // bucket's content.
                (config.of_nobody(location, policy), false)
            }
        };
        report.ok(ProbeStep::Configuration, meaning);
        if usable {
            let note = FileKey::of(location, server.and_then(Server::of)).note();
            report.ok(ProbeStep::Credential, format!("{}{note}", resolved.credential_words()));
        }
        let store = match resolved.open(store::Options::default(), self.detour.clone()).await {
            Ok(store) => store,
            Err(error) => return report.refused(error.step(), error.message(), words),
        };
        if !store::look_at_the_way(&*store, words, report).await || !usable {
            return;
        }
        match self.key(subject, location) {
            Ok(key) => store::look_inside(&*store, &key, words, report).await,
            Err(error) => report.failed(ProbeStep::Layout, error.to_string(), None),
        }
    }
}

/// The locations that a run probes, and what it uses each for.
pub(super) fn looked_at<'a>(subject: &Subject, survey: &'a Survey) -> Vec<(&'a Location, Vec<&'static str>)> {
    let upload = survey.chosen.as_ref().ok().map(|location| location.name.as_str());
    let uses = |location: &Location| -> Vec<&'static str> {
        let uses = [("upload", upload), ("target", survey.of_target.as_deref())];
        uses.into_iter().filter(|(_, name)| *name == Some(location.name.as_str())).map(|(use_, _)| use_).collect()
    };
    let mut wanted: Vec<(&Location, Vec<&'static str>)> =
        survey.all.iter().map(|location| (location, uses(location))).collect();
    if subject.spec.target.is_some() && wanted.iter().any(|(_, uses)| !uses.is_empty()) {
        wanted.retain(|(_, uses)| !uses.is_empty());
    }
    wanted.sort_by_key(|(_, uses)| uses.is_empty());
    wanted.truncate(MOST_LOCATIONS);
    wanted
}

/// Writes the entry of a report: `redactor` masks its texts, and `own` its lines, which are the operator's. Blocks.
pub(super) fn write(
    report: &ProbeReport,
    spool: &Arc<Spool>,
    (redactor, own): (&Redactor, &Arc<Redactor>),
) -> std::io::Result<Entry> {
    let path = layout::location_report(&redactor.path_component(&report.name));
    let mut writer = EntryWriter::new(path, Arc::clone(own), Arc::clone(spool));
    let mut value = serde_json::to_value(report)?;
    // It has only names and sentences; if redaction withholds it, an empty object shows that.
    if !redactor.object(&mut value) || !writer.object(&mut value) {
        value = serde_json::json!({});
    }
    writer.write_all(&serde_json::to_vec_pretty(&value)?)?;
    writer.write_all(b"\n")?;
    let segment = writer.finish()?;
    let source = Source { kind: SourceKind::Generated, ..Source::default() };
    Ok(Entry { segment, source, truncated: None, read_at: report.looked_at, ms: 0 })
}

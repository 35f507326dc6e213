//! A bundle without an operator: the first half of a run in a temporary spool, its archive moved to where the user
//! wants it. Nothing is written to the cluster and nothing is uploaded.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use debugbundle_crd::{Phase, Reason, parse_duration};
use tokio::time::Instant;

use super::{Engine, Options, Origin, Store, Subject, Tracker};
use crate::{
    archive::Spool,
    cli::collect::{EngineError, Request, Summary},
    error::Fault,
    location::EndpointPolicy,
};

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// The most bytes that are kept on disk meanwhile.
const SPOOL: u64 = 4 << 30;

/// Makes the bundle that `request` asks for.
///
/// # Errors
/// The run's fault, or that the file could not be written.
pub async fn collect_to_file(request: Request) -> Result<Summary, EngineError> {
    let options = Options {
        namespace: request.namespace.clone(),
        spool_limit: SPOOL,
        version: crate::VERSION.to_owned(),
        allowed_namespaces: None,
        // The user's own machine may well reach the store through a forwarded port.
        endpoints: EndpointPolicy { allow_loopback: true, require_verified_tls: false },
        multipart_threshold: u64::MAX,
    };
    let engine = Engine::new(request.client.clone(), options);
    let folder = request.output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    // Beside the file, so that the move at the end is a rename.
    let spool = Leftover(folder.join(format!(".debugbundle-{}", std::process::id())));
    let subject = subject(&request);
    let timeout = parse_duration(&request.spec.timeout).unwrap_or(Duration::from_mins(15));
    let tracker = Arc::new(Tracker::default());

    let pack = engine.pack(&subject, Store::Optional, &spool.0, &tracker, Instant::now() + timeout, &request.cancel);
    let mut pack = std::pin::pin!(pack);
    let mut tick = tokio::time::interval(SHOW_EVERY);
    let packed = loop {
        tokio::select! {
            packed = &mut pack => break packed?,
            _ = tick.tick() => (request.progress)(tracker.snapshot()),
        }
    };
    let sealed = packed.sealed();
    std::fs::rename(&sealed.file, &request.output).map_err(|error| {
        Fault::terminal(Reason::SpoolFull, format!("{} cannot be written: {error}", request.output.display()))
    })?;
    Ok(Summary {
        phase: if packed.missing == 0 { Phase::Completed } else { Phase::PartiallyFailed },
        cause: packed.cause.clone(),
        findings: packed.findings.clone(),
        bytes: sealed.bytes,
        sha256: sealed.sha256.clone(),
        entries: sealed.entries,
        missing: u64::try_from(packed.missing).unwrap_or(0),
    })
}

fn subject(request: &Request) -> Subject {
    let name = match &request.spec.target {
        Some(target) => format!("{}-{}", target.kind.as_str().to_lowercase(), target.name),
        None => "installation".to_owned(),
    };
    // There is no resource, hence no UID; the time and the process keep two bundles apart.
    let uid = format!("{:08x}", std::process::id());
    Subject {
        name,
        namespace: request.namespace.clone(),
        uid,
        attempt: 1,
        origin: Origin::Cli,
        spec: request.spec.clone(),
    }
}

/// The spool goes in any case.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        let _ = Spool::remove(&self.0);
        let _ = std::fs::remove_dir(&self.0);
    }
}

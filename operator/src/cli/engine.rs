//! Makes a bundle without an operator: runs the first half of a run in a temporary spool and moves the archive to the
//! user's path. It writes nothing to the cluster and uploads nothing. `prune` uses the engine to open the stores.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use debugbundle_crd::{Phase, parse_duration};
use tokio::time::Instant;

use super::{
    collect::{EngineError, Request, Summary},
    port_forward::PortForward,
};
use crate::{
    budget,
    location::{EndpointPolicy, IdentityPolicy},
    run::{Engine, EngineOptions, Origin, StoreNeed, Subject, Tracker},
    store::InstallationId,
};

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// Limit of the bytes on disk during the run.
const SPOOL: u64 = 4 << 30;

/// The user's own machine may reach the store through a port that the user forwards.
pub(super) const ENDPOINTS: EndpointPolicy =
    EndpointPolicy { allow_loopback: true, require_verified_tls: false, identities: IdentityPolicy::STRICT };

/// Makes the bundle that `request` asks for.
///
/// # Errors
/// The run's error, or a failure to write the file.
pub async fn collect_to_file(request: Request) -> Result<Summary, EngineError> {
    let token = token()?;
    let workshop = TempDir::beside(&request.output, &token)?;
    let engine = of_user(request.client.clone(), &request.namespace).with_installation(InstallationId::of_nobody());
    let subject = subject(&request, token);
    let timeout = parse_duration(&request.spec.timeout).unwrap_or(Duration::from_mins(15));
    let tracker = Arc::new(Tracker::default());

    let pack =
        engine.pack(&subject, StoreNeed::Optional, &workshop.0, &tracker, Instant::now() + timeout, &request.cancel);
    let mut pack = std::pin::pin!(pack);
    let mut tick = tokio::time::interval(SHOW_EVERY);
    let packed = loop {
        tokio::select! {
            packed = &mut pack => break packed?,
            _ = tick.tick() => (request.progress)(tracker.snapshot()),
        }
    };
    let sealed = packed.sealed();
    request.publish(&sealed.file)?;
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

/// An engine that works with the user's own rights.
pub(super) fn of_user(client: kube::Client, namespace: &str) -> Engine {
    let options = EngineOptions {
        namespace: namespace.to_owned(),
        spool_limit: SPOOL,
        bundle_limit: budget::DEFAULT,
        version: crate::VERSION.to_owned(),
        allowed_namespaces: None,
        cluster_read: true,
        endpoints: ENDPOINTS,
        multipart_threshold: u64::MAX,
    };
    let forward = PortForward::new(client.clone(), namespace);
    Engine::new(client, options).with_detour(forward)
}

fn subject(request: &Request, token: String) -> Subject {
    let name = match &request.spec.target {
        Some(target) => format!("{}-{}", target.kind.as_str().to_lowercase(), target.name),
        None => "installation".to_owned(),
    };
    Subject {
        name,
        namespace: request.namespace.clone(),
        // Without a resource there is no UID. A unique value keeps two bundles from unpacking into one folder.
        uid: token,
        attempt: 1,
        asked: jiff::Timestamp::now(),
        origin: Origin::Cli,
        target_uid: None,
        spec: request.spec.clone(),
        recorded_key: None,
    }
}

/// Sixteen random hexadecimal digits.
fn token() -> Result<String, EngineError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

/// The folder for the data of a run; dropping it removes it.
struct TempDir(PathBuf);

impl TempDir {
    /// Lies beside the file, so that the final move stays within one file system. Made before the collection, so that a
    /// path that cannot be written fails at once. Its name is random, so that it cannot exist already.
    fn beside(output: &Path, token: &str) -> Result<Self, EngineError> {
        let folder = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let path = folder.join(format!(".debugbundle-{token}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(format!("{} cannot be written: {error}", output.display()).into()),
        }
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A sealing thread does not see the cancellation and may still create a file; without the folder it cannot.
        for _ in 0..100 {
            match fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folder_for_the_meantime_is_private_and_goes_with_all_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let workshop = TempDir::beside(&dir.path().join("b.tar.gz"), "0f").unwrap();
        let made = dir.path().join(".debugbundle-0f");
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(made.join("sealing.part"), "x").unwrap();
        drop(workshop);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let error = TempDir::beside(&dir.path().join("new/b.tar.gz"), "0f").err().unwrap();
        assert!(error.to_string().contains("new/b.tar.gz cannot be written"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_lies_there_already_is_neither_used_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join(".debugbundle-0f");
        fs::create_dir(&theirs).unwrap();
        assert!(TempDir::beside(&dir.path().join("b.tar.gz"), "0f").is_err());
        assert!(theirs.exists());
    }
}

//! A bundle without an operator: the first half of a run in a temporary spool, its archive moved to where the user
//! wants it. Nothing is written to the cluster and nothing is uploaded.

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

use super::collect::{EngineError, Request, Summary};
use crate::{
    budget,
    location::EndpointPolicy,
    run::{Engine, Options, Origin, Store, Subject, Tracker},
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
        bundle_limit: budget::DEFAULT,
        version: crate::VERSION.to_owned(),
        allowed_namespaces: None,
        cluster_read: true,
        // The user's own machine may well reach the store through a forwarded port.
        endpoints: EndpointPolicy { allow_loopback: true, require_verified_tls: false },
        multipart_threshold: u64::MAX,
    };
    let token = token()?;
    let workshop = TempDir::beside(&request.output, &token)?;
    let engine = Engine::new(request.client.clone(), options);
    let subject = subject(&request, token);
    let timeout = parse_duration(&request.spec.timeout).unwrap_or(Duration::from_mins(15));
    let tracker = Arc::new(Tracker::default());

    let pack = engine.pack(&subject, Store::Optional, &workshop.0, &tracker, Instant::now() + timeout, &request.cancel);
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

fn subject(request: &Request, token: String) -> Subject {
    let name = match &request.spec.target {
        Some(target) => format!("{}-{}", target.kind.as_str().to_lowercase(), target.name),
        None => "installation".to_owned(),
    };
    Subject {
        name,
        namespace: request.namespace.clone(),
        // There is no resource, hence no UID; it must differ all the same, or one bundle unpacks into another's folder.
        uid: token,
        attempt: 1,
        asked: jiff::Timestamp::now(),
        origin: Origin::Cli,
        spec: request.spec.clone(),
    }
}

/// Sixteen hexadecimal digits that nobody had before.
fn token() -> Result<String, EngineError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

/// The folder for what is collected meanwhile; it goes in any case.
struct TempDir(PathBuf);

impl TempDir {
    /// Beside the file, so that the move at the end stays within a file system. Made before anything is read: that the
    /// file cannot be written is told at once. The name is nobody's guess, so that nothing can lie there already.
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
        // A thread that seals does not see the cancel and may still make a file; without the folder it cannot.
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

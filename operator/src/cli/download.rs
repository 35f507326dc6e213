//! `download`: saves the stored bundle as a local file that is complete and verified, or does not exist. Bytes received
//! before an interruption stay in `<file>.partial`, and the next attempt continues there.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use debugbundle_crd::DebugBundle;
use debugbundle_format::text::{escape_for_terminal, human_bytes};
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _};
use sha2::{Digest as _, Sha256};

use super::{
    args::Download,
    exit::{CliError, Exit},
    fetch::{Remote, Retry, Sink},
    http::{Http, PresignedUrl},
    port_forward::PortForward,
    progress::Meter,
    trust, url,
};

/// Downloads, verifies and prints the file's path.
pub(crate) async fn run(
    args: &Download,
    namespace: &str,
    client: Client,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let api: Api<DebugBundle> = Api::namespaced(client.clone(), namespace);
    let bundle = api.get(&args.name).await?;
    let stored = url::stored(&bundle)?;
    let job = Job {
        target: target(args.output.as_deref(), &default_name(&bundle)),
        bytes: stored.bytes,
        sha256: stored.bundle.sha256.clone(),
        force: args.force,
    };
    job.refuse_to_replace()?;
    let forward = PortForward::new(client.clone(), namespace);
    let trust = trust(&args.store, client, namespace, &stored.bundle.storage_location).await?;
    let renew = async || url::renew(&api, &args.name, args.store.url_timeout, |text| eprintln!("{text}")).await;
    let mut remote = Remote::new(
        Http::new(&trust, Some(forward))?,
        url::current(&bundle, now),
        Some(job.bytes),
        renew,
        Retry::default(),
    );
    job.save(&mut remote, Meter::bytes(job.bytes)).await?;
    writeln!(
        out,
        "{}",
        escape_for_terminal(&format!("{} ({}, sha256 verified)", job.target.display(), human_bytes(job.bytes)))
    )
    .map_err(CliError::stdout)?;
    Ok(Exit::Done)
}

/// `debugbundle-<name>-<uid>.tar.gz`: a later bundle of the same name gets another file.
fn default_name(bundle: &DebugBundle) -> String {
    let uid: String = bundle.uid().unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("debugbundle-{}-{uid}.tar.gz", bundle.name_any())
}

/// The file to write: a directory gets a file of the default name.
pub(crate) fn target(output: Option<&Path>, default_name: &str) -> PathBuf {
    match output {
        None => PathBuf::from(default_name),
        Some(path) if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") => path.join(default_name),
        Some(path) => path.to_owned(),
    }
}

/// Refuses an existing target unless `force`; refuses a device, pipe or socket even with `force`.
pub(crate) fn refuse_to_replace(target: &Path, force: bool) -> Result<(), CliError> {
    match target.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(meta) if !meta.is_file() && !meta.is_symlink() => {
            Err(CliError::failed(format!("{} exists and is not a regular file", target.display())))
        }
        Ok(_) if force => Ok(()),
        Ok(_) => Err(CliError::failed(format!("{} exists", target.display()))
            .hint("Replace it with --force, or choose another file with -o FILE.")),
    }
}

/// The file that must be on disk in the end.
#[derive(Debug)]
struct Job {
    target: PathBuf,
    bytes: u64,
    /// Hexadecimal.
    sha256: String,
    force: bool,
}

impl Job {
    fn refuse_to_replace(&self) -> Result<(), CliError> {
        refuse_to_replace(&self.target, self.force)
    }

    fn partial(&self) -> PathBuf {
        let mut name = self.target.clone().into_os_string();
        name.push(".partial");
        PathBuf::from(name)
    }

    /// Continues an earlier attempt's file, verifies the result and gives it its final name. An attempt that received
    /// no byte leaves no file.
    async fn save<R>(&self, remote: &mut Remote<R>, meter: Meter) -> Result<(), CliError>
    where
        R: AsyncFnMut() -> Result<PresignedUrl, CliError>,
    {
        let path = self.partial();
        let cannot = |error: io::Error| CliError::caused(format_args!("cannot write {}", path.display()), &error);
        let file = open_partial(&path)?;
        let mut had = file.metadata().map_err(cannot)?.len();
        if had > self.bytes {
            file.set_len(0).map_err(cannot)?;
            had = 0;
        }
        if had > 0 {
            meter.note(&format!("continuing {} at {}", path.display(), human_bytes(had)));
        }
        let mut sink = FileSink { file, path: &path, meter, at: had };
        loop {
            sink.seek_to(had)?;
            if let Err(error) = remote.read(had..self.bytes, &mut sink).await {
                if sink.at == 0 {
                    let _ = std::fs::remove_file(&path);
                }
                return Err(error);
            }
            sink.file.sync_all().map_err(cannot)?;
            if digest(&path).await?.eq_ignore_ascii_case(&self.sha256) {
                break;
            }
            sink.file.set_len(0).map_err(cannot)?;
            if had == 0 {
                // The file is useless now; a failure to remove it changes nothing.
                let _ = std::fs::remove_file(&path);
                return Err(CliError::new(
                    Exit::Integrity,
                    "the sha256 of the downloaded file differs from the one in status",
                )
                .hint("The file was removed. Try again: the operator may have stored the bundle again meanwhile."));
            }
            sink.meter.note("the partial file belongs to another bundle; starting over");
            had = 0;
        }
        publish(&path, &self.target, self.force)
    }
}

/// Moves the finished file to its name; replaces another file only with `--force`.
pub(crate) fn publish(whole: &Path, target: &Path, force: bool) -> Result<(), CliError> {
    let cannot = |error: io::Error| CliError::caused(format_args!("cannot write {}", target.display()), &error);
    if force {
        refuse_to_replace(target, force)?;
    } else {
        match std::fs::hard_link(whole, target) {
            Ok(()) => return std::fs::remove_file(whole).map_err(cannot),
            // Without hard links: another process may create the file between this check and the rename.
            Err(_) => refuse_to_replace(target, force)?,
        }
    }
    std::fs::rename(whole, target).map_err(cannot)
}

/// Only the owner may read the file: a bundle may hold secrets that redaction did not recognise. The lock keeps a
/// second download from writing into the same file; it ends with this process.
fn open_partial(path: &Path) -> Result<File, CliError> {
    let cannot = |error: io::Error| CliError::caused(format_args!("cannot write {}", path.display()), &error);
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)
        .map_err(cannot)?;
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(CliError::failed(format!("another download is writing {}", path.display())))
        }
        // Without file locks the download still works.
        Ok(()) | Err(std::fs::TryLockError::Error(_)) => Ok(file),
    }
}

struct FileSink<'a> {
    file: File,
    path: &'a Path,
    meter: Meter,
    at: u64,
}

impl FileSink<'_> {
    fn seek_to(&mut self, at: u64) -> Result<(), CliError> {
        self.at = at;
        self.meter.at(at);
        match self.file.seek(SeekFrom::Start(at)) {
            Ok(_) => Ok(()),
            Err(error) => Err(CliError::caused(format_args!("cannot write {}", self.path.display()), &error)),
        }
    }
}

impl Sink for FileSink<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file
            .write_all(bytes)
            .map_err(|error| CliError::caused(format_args!("cannot write {}", self.path.display()), &error))?;
        self.at += bytes.len() as u64;
        self.meter.at(self.at);
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.meter.note(text);
    }
}

/// The SHA-256 of the bytes on disk, rather than of the bytes that were written.
async fn digest(path: &Path) -> Result<String, CliError> {
    let path = path.to_owned();
    let cannot = format!("cannot read {}", path.display());
    let digest = tokio::task::spawn_blocking(move || -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut sum = Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex(&sum.finalize())),
                n => sum.update(&buffer[..n]),
            }
        }
    });
    match digest.await {
        Ok(Ok(digest)) => Ok(digest),
        Ok(Err(error)) => Err(CliError::caused(cannot, &error)),
        Err(error) => Err(CliError::caused(cannot, &error)),
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::super::display::tests::{bundle, stored};
    use super::super::http::Trust;
    use super::super::stand::{Asked, Body, Stand, cut_after, full, json, part_of};
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser as _;

    fn object() -> Vec<u8> {
        (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
    }

    fn sha256(bytes: &[u8]) -> String {
        hex(&Sha256::digest(bytes))
    }

    struct Lab {
        dir: tempfile::TempDir,
        stand: Stand,
        job: Job,
    }

    impl Lab {
        async fn new(answer: impl Fn(&Asked) -> http::Response<Body> + Send + Sync + 'static) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let job = Job {
                target: dir.path().join("bundle.tar.gz"),
                bytes: object().len() as u64,
                sha256: sha256(&object()),
                force: false,
            };
            Self { dir, stand: Stand::serve(answer).await, job }
        }

        async fn save(&self) -> Result<(), CliError> {
            let url = PresignedUrl::parse(&format!("http://{}/b/k", self.stand.address)).unwrap();
            let renew = async || Err(CliError::failed("not asked for"));
            let retry = Retry { attempts: 0, idle: Duration::from_secs(10), ..Retry::default() };
            let http = Http::new(&Trust::default(), None).unwrap();
            let mut remote = Remote::new(http, Some(url), Some(self.job.bytes), renew, retry);
            self.job.save(&mut remote, Meter::quiet()).await
        }

        fn files(&self) -> Vec<String> {
            let files = std::fs::read_dir(self.dir.path()).unwrap();
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    #[tokio::test]
    async fn the_file_is_whole_private_and_alone() {
        let lab = Lab::new(|asked| part_of(&object(), asked)).await;
        lab.save().await.unwrap();
        assert!(std::fs::read(&lab.job.target).unwrap() == object());
        assert_eq!(lab.files(), ["bundle.tar.gz"]);
        assert_eq!(lab.job.target.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn what_an_earlier_attempt_left_is_not_read_again() {
        let lab = Lab::new(|asked| part_of(&object(), asked)).await;
        std::fs::write(lab.job.partial(), &object()[..123_456]).unwrap();
        lab.save().await.unwrap();
        assert!(std::fs::read(&lab.job.target).unwrap() == object());
        let asked = lab.stand.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].bytes().0, 123_456);
    }

    #[tokio::test]
    async fn a_cut_leaves_what_came_and_no_file() {
        let lab = Lab::new(|asked| {
            let (first, _) = asked.bytes();
            let mut answer = part_of(&object(), asked);
            *answer.body_mut() = cut_after(object()[first..first + 70_000].to_vec());
            answer
        })
        .await;
        let error = lab.save().await.unwrap_err();
        assert!(error.to_string().contains("cut"), "{error}");
        assert_eq!(lab.files(), ["bundle.tar.gz.partial"]);
        assert!(std::fs::read(lab.job.partial()).unwrap() == object()[..70_000]);
    }

    #[tokio::test]
    async fn a_refusal_leaves_nothing() {
        let lab = Lab::new(|_| http::Response::builder().status(404).body(full("")).unwrap()).await;
        assert_eq!(lab.save().await.unwrap_err().exit(), Exit::NotFound);
        assert_eq!(lab.files(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_remainder_of_another_bundle_is_found_out_and_read_anew() {
        for left in [vec![7; 1000], vec![7; object().len()], vec![7; object().len() + 5]] {
            let lab = Lab::new(|asked| part_of(&object(), asked)).await;
            std::fs::write(lab.job.partial(), left).unwrap();
            lab.save().await.unwrap();
            assert!(std::fs::read(&lab.job.target).unwrap() == object());
        }
    }

    #[tokio::test]
    async fn damage_is_found_and_leaves_nothing() {
        let lab = Lab::new(|asked| {
            let mut bytes = object();
            bytes[55_555] ^= 1;
            part_of(&bytes, asked)
        })
        .await;
        assert_eq!(lab.save().await.unwrap_err().exit(), Exit::Integrity);
        assert_eq!(lab.files(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_file_is_replaced_only_by_force() {
        let mut lab = Lab::new(|asked| part_of(&object(), asked)).await;
        std::fs::write(&lab.job.target, "precious").unwrap();
        assert!(lab.job.refuse_to_replace().is_err());
        assert!(lab.save().await.unwrap_err().to_string().contains("exists"), "also when it appears meanwhile");
        assert_eq!(std::fs::read(&lab.job.target).unwrap(), b"precious");
        lab.job.force = true;
        lab.save().await.unwrap();
        assert!(std::fs::read(&lab.job.target).unwrap() == object());
    }

    #[test]
    fn what_is_no_file_is_not_replaced_by_force() {
        assert!(refuse_to_replace(Path::new("/dev/null"), true).is_err());
    }

    #[tokio::test]
    async fn two_downloads_do_not_write_into_one_file() {
        let lab = Lab::new(|asked| part_of(&object(), asked)).await;
        let _other = open_partial(&lab.job.partial()).unwrap();
        assert!(lab.save().await.unwrap_err().to_string().contains("another download"));
    }

    #[test]
    fn sec_t8_a_planted_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert!(open_partial(&link).is_err());
    }

    #[tokio::test]
    async fn the_command_goes_from_the_name_to_the_file() {
        let store = Stand::serve(|asked| part_of(&object(), asked)).await;
        let address = store.address.clone();
        let cluster = Stand::serve(move |asked| {
            if asked.target.contains("backupstoragelocations") {
                return json(
                    403,
                    &serde_json::json!({"kind": "Status", "code": 403, "message": "no", "reason": "Forbidden"}),
                );
            }
            let mut status = stored();
            status["downloadURL"] = format!("http://{address}/b/k?X-Amz-Signature=geheim").into();
            status["downloadURLExpiration"] = "2026-09-08T04:04:31Z".into();
            status["bundle"]["bytes"] = object().len().into();
            status["bundle"]["sha256"] = sha256(&object()).into();
            json(200, &serde_json::to_value(bundle(status)).unwrap())
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let line = ["kubectl-debugbundle", "download", "restore-r1-1a2b", "-o"].map(str::to_owned);
        let cli = Cli::try_parse_from(line.into_iter().chain([dir.path().display().to_string()])).unwrap();
        let Command::Download(args) = cli.command else { panic!("{cli:?}") };
        let mut out = Vec::new();
        let now = "2026-09-08T03:07:31Z".parse().unwrap();
        run(&args, "velero-2", cluster.client(), now, &mut out).await.unwrap();
        let file = dir.path().join("debugbundle-restore-r1-1a2b-0f3c9d11.tar.gz");
        assert!(std::fs::read(&file).unwrap() == object());
        assert_eq!(String::from_utf8(out).unwrap(), format!("{} (400.0 kB, sha256 verified)\n", file.display()));
        let error = run(&args, "velero-2", cluster.client(), now, &mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(store.asked().len(), 1, "refused before anything is asked for");
    }
}

//! The programs that the tests need from the system: the readers that people open bundles with, the parts of a real
//! node, and Go. Before the first test the harness installs missing programs from Debian's packages, or one sentence
//! says how to install them.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::tools::{self, cache_folder, say};

/// A Debian package, and how its presence shows.
struct Package {
    name: &'static str,
    presence: Presence,
}

/// What a package brings.
#[derive(Clone, Copy, Debug)]
enum Presence {
    /// A program in PATH.
    Program(&'static str),
    /// A module of the system's Python.
    PythonModule(&'static str),
}

const PACKAGES: [Package; 8] = [
    Package { name: "libarchive-tools", presence: Presence::Program("bsdtar") },
    Package { name: "busybox", presence: Presence::Program("busybox") },
    Package { name: "python3", presence: Presence::Program("python3") },
    Package { name: "python3-pip", presence: Presence::PythonModule("pip") },
    Package { name: "nodejs", presence: Presence::Program("node") },
    Package { name: "npm", presence: Presence::Program("npm") },
    Package { name: "chromium", presence: Presence::Program("chromium") },
    Package { name: "bsdutils", presence: Presence::Program("script") },
];

/// What a node needs from the system, and an image of it.
const OF_A_NODE: [Package; 4] = [
    Package { name: "buildah", presence: Presence::Program("buildah") },
    Package { name: "busybox", presence: Presence::Program("busybox") },
    Package { name: "iproute2", presence: Presence::Program("ip") },
    Package { name: "runc", presence: Presence::Program("runc") },
];

/// Why the tests cannot run on this machine.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Packages are missing, and this process cannot install them.
    #[error(
        "the tests need the Debian packages {0}; install them as root with: apt-get install --no-install-recommends {0}"
    )]
    Missing(String),
    /// `apt-get` failed.
    #[error("apt-get could not install {packages}: {said}")]
    AptGet {
        /// The packages.
        packages: String,
        /// The end of its output.
        said: String,
    },
    /// Go is missing or too old.
    #[error("the tests cannot run: {0}")]
    Go(#[from] tools::GoError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] tools::Error),
    /// The lock or `apt-get` cannot be used.
    #[error("missing packages cannot be installed: {0}")]
    Io(#[from] io::Error),
}

/// Checks once per process that the system's programs are present, and installs the missing ones if it can.
///
/// If the check fails, it ends the process: no test runs, and one sentence is all that is printed.
pub fn require() {
    static PRESENT: OnceLock<()> = OnceLock::new();
    PRESENT.get_or_init(|| {
        check_or_exit(&PACKAGES);
    });
}

/// The same for a real node.
pub fn require_node() {
    check_or_exit(&OF_A_NODE);
}

fn check_or_exit(packages: &[Package]) {
    if let Err(error) = check(packages) {
        say(&error.to_string());
        std::process::exit(1);
    }
}

/// [`require`] for asynchronous tests.
pub(crate) async fn required() {
    tokio::task::spawn_blocking(require).await.expect("the check does not panic");
}

fn check(packages: &[Package]) -> Result<(), Error> {
    tools::check_go()?;
    if missing(packages, is_present).is_empty() {
        return Ok(());
    }
    let cache = cache_folder()?;
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("packages.lock"))?;
    lock.lock()?;
    // The previous holder of the lock may have installed them.
    let missing = missing(packages, is_present);
    let can_install = rustix::process::geteuid().is_root() && is_in_path("apt-get");
    match packages_to_install(&missing, can_install)? {
        Some(packages) => install(&packages),
        None => Ok(()),
    }
}

fn missing(packages: &[Package], is_present: impl Fn(Presence) -> bool) -> Vec<&'static str> {
    packages.iter().filter(|package| !is_present(package.presence)).map(|package| package.name).collect()
}

/// The packages that this process installs, in one line; an error if it would have to and cannot.
fn packages_to_install(missing: &[&str], can_install: bool) -> Result<Option<String>, Error> {
    match (missing, can_install) {
        ([], _) => Ok(None),
        (_, true) => Ok(Some(missing.join(" "))),
        (_, false) => Err(Error::Missing(missing.join(" "))),
    }
}

fn is_present(presence: Presence) -> bool {
    match presence {
        Presence::Program(name) => is_in_path(name),
        Presence::PythonModule(name) => Command::new("python3")
            .args(["-m", name, "--version"])
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success()),
    }
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| is_file(&folder.join(program)))
}

fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file())
}

fn install(packages: &str) -> Result<(), Error> {
    say(&format!("installing {packages} with apt-get"));
    let names: Vec<&str> = packages.split(' ').collect();
    apt_get(packages, &["update", "-qq"])?;
    apt_get(packages, &[&["install", "-y", "-qq", "--no-install-recommends"], names.as_slice()].concat())
}

fn apt_get(packages: &str, args: &[&str]) -> Result<(), Error> {
    let output = Command::new("apt-get")
        // Another process of this machine may run apt-get now.
        .args(["-o", "DPkg::Lock::Timeout=600"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gives no reason").to_owned();
    Err(Error::AptGet { packages: packages.to_owned(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_missing_whose_program_or_module_is_absent() {
        assert!(missing(&PACKAGES, |_| true).is_empty());
        let without = |absent: &'static [&str]| {
            missing(&PACKAGES, |presence| {
                let (Presence::Program(name) | Presence::PythonModule(name)) = presence;
                !absent.contains(&name)
            })
        };
        assert_eq!(without(&["node", "bsdtar"]), ["libarchive-tools", "nodejs"]);
        assert_eq!(without(&["pip"]), ["python3-pip"]);
        assert_eq!(without(&["script"]), ["bsdutils"]);
    }

    #[test]
    fn root_with_apt_get_installs_and_others_get_one_sentence_with_the_command() {
        assert_eq!(packages_to_install(&[], false).unwrap(), None);
        let missing = ["busybox", "nodejs"];
        assert_eq!(packages_to_install(&missing, true).unwrap().as_deref(), Some("busybox nodejs"));
        let sentence = packages_to_install(&missing, false).unwrap_err().to_string();
        assert_eq!(
            sentence,
            "the tests need the Debian packages busybox nodejs; \
             install them as root with: apt-get install --no-install-recommends busybox nodejs"
        );
    }
}

//! Readers that are Python packages: installed once by pip into the cache of tools, at the versions and digests of
//! `tests/tools/<name>/requirements.txt`. Python and pip themselves are the system's,
//! see [`packages`](crate::packages).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::tools::{cache_folder, say};

/// The folder for `PYTHONPATH`. The first call installs the packages, which takes seconds.
pub fn packages(name: &str) -> PathBuf {
    crate::packages::require();
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(name).join("requirements.txt");
    let text = fs::read(&requirements).unwrap_or_else(|error| panic!("{}: {error}", requirements.display()));
    let digest = Sha256::new().chain_update(text).chain_update(version()).finalize();
    let key = digest.iter().take(8).fold(String::new(), |key, byte| format!("{key}{byte:02x}"));
    let cache = cache_folder().unwrap_or_else(|error| panic!("{error}"));
    let home = cache.join(format!("{name}-{key}"));
    if !home.is_dir() {
        let installed = install(&requirements, &cache, name, &home);
        installed.unwrap_or_else(|error| panic!("the cache of tools, {}: {error}", cache.display()));
    }
    home
}

/// A wheel may support only one version of Python.
fn version() -> Vec<u8> {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.version_info[:2], sys.platform)"]).output();
    asked.unwrap_or_else(|error| panic!("python3 cannot be run: {error}")).stdout
}

fn install(requirements: &Path, cache: &Path, name: &str, home: &Path) -> io::Result<()> {
    fs::create_dir_all(cache)?;
    let lock = File::create(cache.join(format!("{name}.lock")))?;
    lock.lock()?;
    // The previous holder of the lock may have installed it.
    if home.is_dir() {
        return Ok(());
    }
    say(&format!("installing {name} with pip, once per version"));
    let unfinished = home.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    let ended = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"])
        .args(["--require-hashes", "--root-user-action=ignore", "--target"])
        .args([&unfinished, Path::new("--requirement"), requirements])
        .output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "pip cannot install {name}: {said}");
    fs::rename(&unfinished, home)
}

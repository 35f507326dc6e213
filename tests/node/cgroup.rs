//! The cgroup of the node's pods. Unlike all else it does not end with the namespaces, so it is removed when they end, or
//! by the next run.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The variable with its name, for the kubelet's configuration.
pub(crate) const VARIABLE: &str = "DEBUGBUNDLE_NODE_CGROUP";

const PREFIX: &str = "debugbundle-node-";

/// Makes it, and removes those of runs that were killed; its name.
pub(crate) fn make() -> io::Result<String> {
    let name = format!("{PREFIX}{}", std::process::id());
    for hierarchy in hierarchies()? {
        for folder in folders(&hierarchy) {
            let process = folder.file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX));
            if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
                remove_all(&folder);
            }
        }
        let made = hierarchy.join(&name);
        fs::create_dir(&made)?;
        // With cgroup v1 a new one has no processors and no memory.
        for setting in ["cpuset.cpus", "cpuset.mems"] {
            if made.join("cgroup.clone_children").is_file() && made.join(setting).is_file() {
                fs::write(made.join(setting), fs::read(hierarchy.join(setting))?)?;
            }
        }
    }
    Ok(name)
}

/// Removes it with all below, when nothing runs in it any more.
pub(crate) fn remove(name: &str) {
    for hierarchy in hierarchies().unwrap_or_default() {
        remove_all(&hierarchy.join(name));
    }
}

/// One with cgroup v2, else one for each controller.
fn hierarchies() -> io::Result<Vec<PathBuf>> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let unified = root.join("cgroup.controllers").is_file();
    fs::read_dir(&root)?;
    Ok(if unified { vec![root] } else { folders(&root) })
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn remove_all(folder: &Path) {
    for below in folders(folder) {
        remove_all(&below);
    }
    if let Err(error) = fs::remove_dir(folder) {
        eprintln!("{}: {error}", folder.display());
    }
}

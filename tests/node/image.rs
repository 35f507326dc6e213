//! The one image of the node beside the operator's: Velero, its restore helper, its plugin and busybox, from the files of
//! this machine. It is also the sandbox of each pod.

use std::{fs, path::Path, process::Command};

use harness::tools::{self, Tool};

use crate::{run, write};

/// Its name in the node's containerd.
pub(crate) const NAME: &str = "localhost/stand:1";

/// As a container of Velero's plugin it copies the plugin, as their images do; as a sandbox it waits.
const DOCKERFILE: &str = r#"FROM scratch
COPY root/ /
ENV PATH=/bin
WORKDIR /tmp
ENTRYPOINT ["/bin/sh", "-c", "if [ -d /target ]; then exec cp /plugins/* /target/; fi; exec sleep 2147483647"]
"#;

/// Writes it to `stand.tar` in this folder, as an OCI archive.
pub(crate) async fn of_stand(folder: &Path) {
    let root = folder.join("image/root");
    let busybox = run(Command::new("sh").args(["-c", "command -v busybox"]));
    // Debian has a busybox with libraries and one without.
    let listed = Command::new("ldd").arg(busybox.trim()).output().expect("ldd can be run").stdout;
    for library in String::from_utf8_lossy(&listed).split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(library), &root.join(&library[1..]));
    }
    for name in ["sh", "cp", "gzip", "sleep", "tar", "wc", "wget"] {
        copy(Path::new(busybox.trim()), &root.join("bin").join(name));
    }
    for (tool, place) in [
        (Tool::Velero, "velero"),
        (Tool::VeleroRestoreHelper, "velero-restore-helper"),
        (Tool::VeleroPluginForAws, "plugins/velero-plugin-for-aws"),
    ] {
        copy(&tools::path(tool).await.expect("it was found before"), &root.join(place));
    }
    copy(Path::new("/etc/ssl/certs/ca-certificates.crt"), &root.join("etc/ssl/certs/ca-certificates.crt"));
    let context = folder.join("image");
    write(&context.join("Dockerfile"), DOCKERFILE);
    let store = folder.join("buildah");
    let buildah = |args: &[&str]| {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
        run(command.args(["--storage-driver", "vfs"]).args(args));
    };
    buildah(&["build", "--quiet", "--isolation", "chroot", "--tag", NAME, &context.display().to_string()]);
    buildah(&["push", "--quiet", NAME, &format!("oci-archive:{}:{NAME}", folder.join("stand.tar").display())]);
    for done in [context, store] {
        fs::remove_dir_all(done).expect("it was made here");
    }
}

fn copy(from: &Path, to: &Path) {
    let folder = to.parent().expect("a folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(from, to))
        .unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

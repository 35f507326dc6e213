//! The pinned servers and programs that are written in Go: found, or built once and kept in a cache.
//! Their versions are those of `tests/tools/*/go.mod`; nothing is downloaded but Go modules, by `go` itself.
//!
//! Order of search: the folder `DEBUGBUNDLE_TOOLS`; for Kubernetes' own parts `KUBEBUILDER_ASSETS`; the cache
//! `$XDG_CACHE_HOME/debugbundle/tools` (or `~/.cache/…`), keyed by the content of go.mod and go.sum; building.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// A program that the stands need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tool {
    /// The store of the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Of its controllers the stand runs one at most: the one that counts ResourceQuotas.
    KubeControllerManager,
    /// The command line tool that users have.
    Kubectl,
    /// An S3 server that checks signatures; a folder is a bucket.
    Versitygw,
    /// An emulator of Google Cloud Storage.
    FakeGcsServer,
    /// Velero's server and CLI.
    Velero,
    /// Velero's plugin for S3.
    VeleroPluginForAws,
    /// Velero's plugin for Google Cloud Storage.
    VeleroPluginForGcp,
    /// Velero's plugin for Azure Blob Storage.
    VeleroPluginForMicrosoftAzure,
    /// A scanner that finds secrets in files, as people run it before they publish files.
    Gitleaks,
    /// Installs the chart for users; the tests only render it.
    Helm,
    /// Runs pods on a real node.
    Kubelet,
    /// Gives pods to nodes.
    KubeScheduler,
    /// Runs containers for the kubelet; `ctr` and the shim are beside it.
    Containerd,
    /// Connects pods; `loopback` and `host-local` are beside it.
    CniBridge,
    /// Runs as an init container in restored pods, until Velero has restored their volumes.
    VeleroRestoreHelper,
    /// Scrapes the operator, as it does for an on-call.
    Prometheus,
    /// Checks rules and metrics, and asks Prometheus.
    Promtool,
}

/// Why a tool is not available.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Go is missing or too old.
    #[error("{tool} is not here and cannot be built: {source}, or set {env} to a folder that holds {tool}", env = OVERRIDE)]
    Go {
        /// The tool.
        tool: &'static str,
        /// The obstacle.
        source: GoError,
    },
    /// Go could not build it.
    #[error("`go build` of {family} failed; its output is above")]
    Build {
        /// The folder below `tests/tools`.
        family: &'static str,
    },
    /// The cache cannot be read or written.
    #[error("the cache of tools, {path}: {source}")]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is no home directory for a cache.
    #[error("neither XDG_CACHE_HOME nor HOME is set: there is no place for the cache of tools")]
    NoHome,
}

/// Why Go cannot build a tool.
#[derive(Debug, thiserror::Error)]
pub enum GoError {
    /// There is none.
    #[error("there is no `go` in PATH; install Go {GO_MAJOR}.{GO_MINOR} or newer")]
    Missing,
    /// It is too old for the tools' modules.
    #[error("{found} is too old; install Go {GO_MAJOR}.{GO_MINOR} or newer")]
    TooOld {
        /// As it calls itself, such as `go1.22.1`.
        found: String,
    },
}

/// The oldest Go that builds all tools.
const GO_MAJOR: u32 = 1;
const GO_MINOR: u32 = 26;

/// A folder that holds the tools; it comes first in the search.
pub const OVERRIDE: &str = "DEBUGBUNDLE_TOOLS";

/// A Go module of `tests/tools`, built as one.
struct Family {
    name: &'static str,
    packages: &'static [&'static str],
    /// The module whose version the programs report.
    module: &'static str,
    /// The linker flags that set the version; `{v}`, `{major}` and `{minor}` are filled in.
    version_flags: &'static str,
    /// Build tags, separated by commas.
    tags: &'static str,
    /// Build time on two cores with an empty build cache.
    takes: &'static str,
}

static ETCD: Family = Family {
    name: "etcd",
    packages: &["go.etcd.io/etcd/server/v3"],
    module: "go.etcd.io/etcd/server/v3",
    version_flags: "",
    tags: "",
    takes: "half a minute",
};
// Without its version the server reports v0.0.0, and clients misjudge it.
const KUBERNETES: Family = Family {
    name: "kubernetes",
    packages: &[
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kubectl",
    ],
    module: "k8s.io/kubernetes",
    version_flags: " -X k8s.io/component-base/version.gitVersion={v} -X k8s.io/component-base/version.gitMajor={major} -X k8s.io/component-base/version.gitMinor={minor}",
    tags: "",
    takes: "6 minutes",
};
static VERSITYGW: Family = Family {
    name: "versitygw",
    packages: &["github.com/versity/versitygw/cmd/versitygw"],
    module: "github.com/versity/versitygw",
    version_flags: "",
    tags: "",
    takes: "a minute",
};
static FAKE_GCS_SERVER: Family = Family {
    name: "fake-gcs-server",
    packages: &["github.com/fsouza/fake-gcs-server"],
    module: "github.com/fsouza/fake-gcs-server",
    version_flags: "",
    tags: "",
    takes: "a minute",
};
const VELERO: Family = Family {
    name: "velero",
    packages: &["github.com/vmware-tanzu/velero/cmd/velero"],
    module: "github.com/vmware-tanzu/velero",
    version_flags: " -X github.com/vmware-tanzu/velero/pkg/buildinfo.Version={v}",
    tags: "",
    takes: "3 minutes",
};
static AWS_PLUGIN: Family = Family {
    name: "velero-plugin-for-aws",
    packages: &["github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws"],
    module: "github.com/vmware-tanzu/velero-plugin-for-aws",
    version_flags: "",
    tags: "",
    takes: "4 minutes",
};
static GCP_PLUGIN: Family = Family {
    name: "velero-plugin-for-gcp",
    packages: &["github.com/vmware-tanzu/velero-plugin-for-gcp/velero-plugin-for-gcp"],
    module: "github.com/vmware-tanzu/velero-plugin-for-gcp",
    version_flags: "",
    tags: "",
    takes: "a minute",
};
static AZURE_PLUGIN: Family = Family {
    name: "velero-plugin-for-microsoft-azure",
    packages: &["github.com/vmware-tanzu/velero-plugin-for-microsoft-azure/velero-plugin-for-microsoft-azure"],
    module: "github.com/vmware-tanzu/velero-plugin-for-microsoft-azure",
    version_flags: "",
    tags: "",
    takes: "a minute",
};
static GITLEAKS: Family = Family {
    name: "gitleaks",
    packages: &["github.com/zricethezav/gitleaks/v8"],
    module: "github.com/zricethezav/gitleaks/v8",
    version_flags: " -X github.com/zricethezav/gitleaks/v8/version.Version={v}",
    tags: "",
    takes: "two minutes",
};

static HELM: Family = Family {
    name: "helm",
    packages: &["helm.sh/helm/v3/cmd/helm"],
    module: "helm.sh/helm/v3",
    version_flags: " -X helm.sh/helm/v3/internal/version.version={v}",
    tags: "",
    takes: "3 minutes",
};
// Apart from `kubernetes` and `velero`, because few need them; the folders are links to the same modules.
static KUBERNETES_NODE: Family = Family {
    name: "kubernetes-node",
    packages: &["k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/cmd/kube-scheduler"],
    takes: "3 minutes",
    ..KUBERNETES
};
static VELERO_RESTORE_HELPER: Family = Family {
    name: "velero-restore-helper",
    packages: &["github.com/vmware-tanzu/velero/cmd/velero-restore-helper"],
    takes: "a minute",
    ..VELERO
};
static CONTAINERD: Family = Family {
    name: "containerd",
    packages: &[
        "github.com/containerd/containerd/v2/cmd/containerd",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        "github.com/containerd/containerd/v2/cmd/ctr",
    ],
    module: "github.com/containerd/containerd/v2",
    version_flags: " -X github.com/containerd/containerd/v2/version.Version={v}",
    tags: "",
    takes: "a minute",
};
static CNI: Family = Family {
    name: "cni",
    packages: &[
        "github.com/containernetworking/plugins/plugins/main/bridge",
        "github.com/containernetworking/plugins/plugins/main/loopback",
        "github.com/containernetworking/plugins/plugins/ipam/host-local",
    ],
    module: "github.com/containernetworking/plugins",
    version_flags: "",
    tags: "",
    takes: "half a minute",
};

// Without the discovery of targets in clouds, which no test needs.
static PROMETHEUS: Family = Family {
    name: "prometheus",
    packages: &["github.com/prometheus/prometheus/cmd/prometheus", "github.com/prometheus/prometheus/cmd/promtool"],
    module: "github.com/prometheus/prometheus",
    version_flags: "",
    tags: "remove_all_sd",
    takes: "4 minutes",
};

impl Tool {
    const fn file_name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Versitygw => "versitygw",
            Self::FakeGcsServer => "fake-gcs-server",
            Self::Velero => "velero",
            Self::VeleroPluginForAws => "velero-plugin-for-aws",
            Self::VeleroPluginForGcp => "velero-plugin-for-gcp",
            Self::VeleroPluginForMicrosoftAzure => "velero-plugin-for-microsoft-azure",
            Self::Gitleaks => "gitleaks",
            Self::Helm => "helm",
            Self::Kubelet => "kubelet",
            Self::KubeScheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::CniBridge => "bridge",
            Self::VeleroRestoreHelper => "velero-restore-helper",
            Self::Prometheus => "prometheus",
            Self::Promtool => "promtool",
        }
    }

    fn family(self) -> &'static Family {
        match self {
            Self::Etcd => &ETCD,
            Self::KubeApiserver | Self::KubeControllerManager | Self::Kubectl => &KUBERNETES,
            Self::Versitygw => &VERSITYGW,
            Self::FakeGcsServer => &FAKE_GCS_SERVER,
            Self::Velero => &VELERO,
            Self::VeleroPluginForAws => &AWS_PLUGIN,
            Self::VeleroPluginForGcp => &GCP_PLUGIN,
            Self::VeleroPluginForMicrosoftAzure => &AZURE_PLUGIN,
            Self::Gitleaks => &GITLEAKS,
            Self::Helm => &HELM,
            Self::Kubelet | Self::KubeScheduler => &KUBERNETES_NODE,
            Self::Containerd => &CONTAINERD,
            Self::CniBridge => &CNI,
            Self::VeleroRestoreHelper => &VELERO_RESTORE_HELPER,
            Self::Prometheus | Self::Promtool => &PROMETHEUS,
        }
    }

    /// Whether envtest's folder contains it.
    const fn is_kubebuilder_asset(self) -> bool {
        matches!(self, Self::Etcd | Self::KubeApiserver | Self::Kubectl)
    }
}

/// The program's path. The first call may build it, which takes minutes and is announced on standard error.
pub async fn path(tool: Tool) -> Result<PathBuf, Error> {
    tokio::task::spawn_blocking(move || find(tool)).await.expect("the search for tools does not panic")
}

fn find(tool: Tool) -> Result<PathBuf, Error> {
    static FOUND: Mutex<Option<HashMap<Tool, PathBuf>>> = Mutex::new(None);
    // One search at a time: a build takes all cores anyway.
    let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let found = found.get_or_insert_default();
    if let Some(path) = found.get(&tool) {
        return Ok(path.clone());
    }
    let given = given(tool, OVERRIDE)
        .or_else(|| tool.is_kubebuilder_asset().then(|| given(tool, "KUBEBUILDER_ASSETS")).flatten());
    let path = match given {
        Some(path) => path,
        None => cached_or_built(tool)?,
    };
    found.insert(tool, path.clone());
    Ok(path)
}

fn given(tool: Tool, variable: &str) -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os(variable)?).join(tool.file_name());
    path.is_file().then_some(path)
}

fn cached_or_built(tool: Tool) -> Result<PathBuf, Error> {
    let family = tool.family();
    let recipe = Recipe::of(family)?;
    let cache = cache_folder()?;
    let home = cache.join(format!("{}-{}", family.name, recipe.key));
    let program = home.join(tool.file_name());
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&cache).map_err(at(&cache))?;
    let lock_path = cache.join(format!("{}.lock", family.name));
    let lock = File::create(&lock_path).map_err(at(&lock_path))?;
    lock.lock().map_err(at(&lock_path))?;
    // The previous holder of the lock may have built it.
    if !program.is_file() {
        let unfinished = cache.join(format!("{}-{}.unfinished", family.name, recipe.key));
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir_all(&unfinished).map_err(at(&unfinished))?;
        build(tool, family, &recipe, &unfinished)?;
        let _ = fs::remove_dir_all(&home);
        fs::rename(&unfinished, &home).map_err(at(&home))?;
    }
    Ok(program)
}

/// The inputs of a build.
struct Recipe {
    folder: PathBuf,
    flags: String,
    version: String,
    key: String,
}

impl Recipe {
    fn of(family: &Family) -> Result<Self, Error> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(family.name);
        let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(at(&folder.join(name)));
        let (module, sums) = (read("go.mod")?, read("go.sum")?);
        let version = version_of(family.module, &module).unwrap_or_else(|| "v0.0.0".to_owned());
        let mut parts = version.trim_start_matches('v').split('.');
        let (major, minor) = (parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
        let version_flags =
            family.version_flags.replace("{v}", &version).replace("{major}", major).replace("{minor}", minor);
        let flags = format!("-s -w{version_flags}");
        let digest = Sha256::new()
            .chain_update(&module)
            .chain_update(&sums)
            .chain_update(&flags)
            .chain_update(family.tags)
            .finalize();
        let key = digest.iter().take(8).fold(String::new(), |key, byte| format!("{key}{byte:02x}"));
        Ok(Self { folder, flags, version, key })
    }
}

/// The version of a module in the text of a go.mod.
fn version_of(module: &str, go_mod: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(module)).then(|| words.next().map(str::to_owned)).flatten()
    })
}

/// Checks that there is a Go and that it is new enough.
pub(crate) fn check_go() -> Result<(), GoError> {
    // GOTOOLCHAIN=local: the Go that is installed, in place of one that a go.mod names.
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .output()
        .map_err(|_| GoError::Missing)?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if is_new_enough(&found) { Ok(()) } else { Err(GoError::TooOld { found }) }
}

/// Whether a version such as `go1.26.1`, `go1.27rc1` or `devel go1.28-0a1b2c3` is one that builds all tools.
fn is_new_enough(version: &str) -> bool {
    let number = |text: &str| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..digits].parse::<u32>().ok()
    };
    let Some((_, version)) = version.split_once("go") else { return false };
    let Some((major, minor)) = version.split_once('.') else { return false };
    number(major).zip(number(minor)).is_some_and(|found| found >= (GO_MAJOR, GO_MINOR))
}

fn build(tool: Tool, family: &'static Family, recipe: &Recipe, into: &Path) -> Result<(), Error> {
    check_go().map_err(|source| Error::Go { tool: tool.file_name(), source })?;
    let began = Instant::now();
    say(&format!(
        "building {} {} with go: about {} on two cores, once per version",
        family.name, recipe.version, family.takes
    ));
    // A package at a module's root would be named after the major version.
    let target = if family.packages.len() == 1 { into.join(tool.file_name()) } else { into.join("") };
    let mut go = Command::new("go")
        .args(["build", "-trimpath", "-tags", family.tags, "-ldflags", &recipe.flags, "-o"])
        .arg(target)
        .args(family.packages)
        .current_dir(&recipe.folder)
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .spawn()
        .map_err(|_| Error::Go { tool: tool.file_name(), source: GoError::Missing })?;
    let (done, ended) = channel::<()>();
    let clock = std::thread::spawn(move || {
        while matches!(ended.recv_timeout(Duration::from_secs(20)), Err(RecvTimeoutError::Timeout)) {
            say(&format!("still building {}: {} s of about {}", family.name, began.elapsed().as_secs(), family.takes));
        }
    });
    let status = go.wait().map_err(at(into));
    drop(done);
    let _ = clock.join();
    if !status?.success() {
        return Err(Error::Build { family: family.name });
    }
    say(&format!("built {} in {} s", family.name, began.elapsed().as_secs()));
    Ok(())
}

/// Prints a line on standard error that the test runner does not capture.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "harness: {line}");
}

/// Where built and installed tools are kept.
pub(crate) fn cache_folder() -> Result<PathBuf, Error> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache"))).ok_or(Error::NoHome)?;
    Ok(cache.join("debugbundle").join("tools"))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Cache { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_is_compared_by_its_numbers() {
        for version in ["go1.26", "go1.26.0", "go1.100.2", "go1.27rc1", "devel go1.28-0a1b2c3 2026-01-01", "go2.0"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["go1.9.4", "go1.25.9", "go0.99", "gccgo", "1.26", ""] {
            assert!(!is_new_enough(version), "{version}");
        }
    }

    #[test]
    fn every_family_says_the_version_that_it_builds() {
        let node = [&KUBERNETES_NODE, &VELERO_RESTORE_HELPER, &CONTAINERD, &CNI];
        for family in [
            &ETCD,
            &KUBERNETES,
            &VERSITYGW,
            &FAKE_GCS_SERVER,
            &VELERO,
            &AWS_PLUGIN,
            &GCP_PLUGIN,
            &AZURE_PLUGIN,
            &GITLEAKS,
            &HELM,
            &PROMETHEUS,
        ]
        .into_iter()
        .chain(node)
        {
            let recipe = Recipe::of(family).expect("tests/tools has go.mod and go.sum");
            assert!(recipe.version != "v0.0.0", "{}: no version of {} in go.mod", family.name, family.module);
            assert!(!recipe.flags.contains('{'), "{}: {}", family.name, recipe.flags);
            assert_eq!(recipe.key.len(), 16, "{}", family.name);
        }
    }
}

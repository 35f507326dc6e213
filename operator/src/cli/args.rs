//! The command line: its flags and the values they accept. Values obey the same limits as in the API server's schema,
//! so a typo costs no round trip.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use debugbundle_crd::{ByteSize, UrlPolicy, parse_duration};

use super::exit::Exit;
use crate::store::InstallationId;

/// Create, list, explain, download and read debug bundles of Velero backups and restores.
///
/// A DebugBundle collects everything that explains what happened to a Velero Backup or Restore, removes secrets, and is
/// stored as one tar.gz in the backup storage location.
#[derive(Parser, Debug)]
#[command(
    name = "kubectl-debugbundle",
    bin_name = "kubectl debugbundle",
    version,
    after_help = Exit::table(),
    after_long_help = Exit::table(),
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Global {
    /// Path of the kubeconfig file; default: KUBECONFIG (several files, as kubectl merges them), then ~/.kube/config
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,

    /// Name of the kubeconfig context
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// Velero's namespace; default: the namespace of the kubeconfig's context, else velero
    #[arg(short, long, global = true, env = "VELERO_NAMESPACE", value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,

    /// How long the API server may take to answer, such as 30s; 0: no limit
    #[arg(long, global = true, default_value = "0", value_name = "DURATION", value_parser = request_timeout)]
    pub request_timeout: RequestTimeout,
}

/// `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestTimeout(pub Option<Duration>);

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Ask the operator for a bundle
    Create(Create),
    /// List bundles
    #[command(visible_alias = "ls")]
    List(List),
    /// Explain a Backup, a Restore or Velero itself on the spot: cause, way to it, what was looked at; needs neither
    /// bundle nor operator
    Explain(Explain),
    /// Show one bundle: phase, cause, findings, what is missing, where it is stored
    Get(Get),
    /// Download a bundle; resumes, verifies, and renews the URL by itself
    Download(Download),
    /// Open the report of a bundle in the browser, without downloading the rest
    Open(Open),
    /// Print one file of a bundle, without downloading the rest
    Cat(Cat),
    /// Delete bundles; the operator deletes their stored objects
    Delete(Delete),
    /// Make a bundle without the operator, with your own permissions, and write it to a local file
    Collect(Collect),
    /// List stored bundles that belong to no DebugBundle, and remove them with --delete
    Prune(Prune),
    /// Print the shell's completion script
    Completion(Completion),
    /// Answers kubectl when it completes `kubectl debugbundle`
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete(Complete),
}

#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Target")]
pub(crate) struct TargetArgs {
    /// The Restore to explain; without --restore and --backup the bundle covers the whole installation
    #[arg(long, value_name = "NAME", value_parser = object_name, conflicts_with = "backup")]
    pub restore: Option<String>,

    /// The Backup to explain
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    pub backup: Option<String>,
}

#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Content")]
pub(crate) struct ContentArgs {
    /// Further namespaces to collect in full; namespaces that the target touched are found automatically
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,

    /// Time limit of the collection, 30s to 6h; items not read by then are listed as missing
    #[arg(long, value_name = "DURATION", value_parser = collection_timeout)]
    pub timeout: Option<String>,

    /// Only log lines younger than this, 1s to 8760h; default: from 10 minutes before the target's start to 10 after
    /// its end
    #[arg(long, value_name = "DURATION", value_parser = since)]
    pub since: Option<String>,

    /// Only the last lines of each container's log
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    pub tail_lines: Option<i64>,

    /// Maximum size to keep of one container's log, 4Ki to 1Gi; default: 32Mi
    #[arg(long, value_name = "SIZE", value_parser = container_bytes)]
    pub max_bytes_per_container: Option<ByteSize>,
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Name of the DebugBundle; default: <kind>-<target>-<random>
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    pub name: Option<String>,

    /// BackupStorageLocation to store the bundle in; default: the target's location, else the default location
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    pub storage_location: Option<String>,

    /// How long the bundle is kept, 1h to 2160h; default: 720h
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    pub ttl: Option<String>,

    /// When to sign a download URL; everyone who may get the DebugBundle can use it
    #[arg(long, value_name = "POLICY", value_enum)]
    pub url_policy: Option<UrlPolicyArg>,

    /// How long a download URL works, 1m to 168h; default: 1h
    #[arg(long, value_name = "DURATION", value_parser = url_ttl)]
    pub url_ttl: Option<String>,

    /// Wait until the bundle is stored or has failed
    #[arg(long)]
    pub wait: bool,

    /// How long to wait for the bundle
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = any_duration, requires = "wait")]
    pub wait_timeout: Duration,

    /// Print the DebugBundle without creating it
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,

    /// Output format of --dry-run
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = DocumentFormat::Yaml, requires = "dry_run")]
    pub output: DocumentFormat,

    // Last: the heading of a flattened group also applies to the arguments after it.
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub content: ContentArgs,
}

/// `downloadURL.policy` on the command line, spelled as in the resource.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub(crate) enum UrlPolicyArg {
    /// As soon as the bundle is stored
    OnCompletion,
    /// On request; download and cat request it by themselves
    OnRequest,
    /// Never
    Never,
}

impl From<UrlPolicyArg> for UrlPolicy {
    fn from(arg: UrlPolicyArg) -> Self {
        match arg {
            UrlPolicyArg::OnCompletion => Self::OnCompletion,
            UrlPolicyArg::OnRequest => Self::OnRequest,
            UrlPolicyArg::Never => Self::Never,
        }
    }
}

/// A whole object as text.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentFormat {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// A list as text.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListFormat {
    /// A table with all columns
    Wide,
    /// YAML
    Yaml,
    /// JSON
    Json,
    /// debugbundle.debugbundle.io/NAME
    Name,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only bundles about this Restore
    #[arg(long, value_name = "NAME", value_parser = object_name, conflicts_with = "backup")]
    pub restore: Option<String>,

    /// Only bundles about this Backup
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    pub backup: Option<String>,

    /// In all namespaces, for clusters with several Velero installations
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// Output format; default: a table
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub output: Option<ListFormat>,

    /// Keep download URLs in YAML and JSON; everyone who sees a URL can use it
    #[arg(long)]
    pub url: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Name of the DebugBundle
    #[arg(
        value_name = "NAME",
        value_parser = object_name,
        required_unless_present_any = ["restore", "backup"],
        conflicts_with_all = ["restore", "backup"]
    )]
    pub name: Option<String>,

    /// The newest bundle about this Restore
    #[arg(long, value_name = "NAME", value_parser = object_name, conflicts_with = "backup")]
    pub restore: Option<String>,

    /// The newest bundle about this Backup
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    pub backup: Option<String>,

    /// Output format; default: an explanation in plain text
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub output: Option<DocumentFormat>,

    /// Print the download URL too; everyone who sees it can use it
    #[arg(long)]
    pub url: bool,
}

#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Object store")]
pub(crate) struct StoreArgs {
    /// Certificates (PEM) to trust besides the system's; the location's own caCert is trusted automatically
    #[arg(long, visible_alias = "cacert", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,

    /// Do not verify the store's certificate; the bundle's sha256 is still verified
    #[arg(long)]
    pub insecure_skip_tls_verify: bool,

    /// How long the operator may take to sign a new download URL
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = any_duration)]
    pub url_timeout: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct Download {
    /// Name of the DebugBundle
    #[arg(value_name = "NAME", value_parser = object_name)]
    pub name: String,

    /// File or directory to write to; default: debugbundle-<name>-<uid>.tar.gz here
    #[arg(short, long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub output: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Open {
    /// Name of the DebugBundle
    #[arg(value_name = "NAME", value_parser = object_name)]
    pub name: Option<String>,

    /// Open the report of a local bundle instead of a stored one
    #[arg(long, value_name = "BUNDLE", value_hint = clap::ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// Start no browser; only print where the report was written
    #[arg(long)]
    pub print_only: bool,

    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Cat {
    /// NAME of the DebugBundle and PATH in it (its root directory may be left out); with --file only PATH
    #[arg(value_names = ["NAME", "PATH"], num_args = 0..=2)]
    pub names: Vec<String>,

    /// Read a local bundle instead of a stored one
    #[arg(long, value_name = "BUNDLE", value_hint = clap::ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// List the files and their sizes, and what is missing
    #[arg(long)]
    pub list: bool,

    /// Do not escape control characters on a terminal
    #[arg(long)]
    pub raw: bool,

    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// Explain what this file contains instead of the cluster: a debug bundle, a bundle of `velero debug`, or a folder or
    /// archive of `oc adm inspect` or a must-gather; the target is the one that it is about, unless one is named
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub file: Option<PathBuf>,

    /// Write the report of the file as a page
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath, requires = "file")]
    pub report: Option<PathBuf>,

    /// The Restore to explain; without --restore and --backup: Velero itself, with its locations, node-agent and
    /// repositories
    #[arg(long, value_name = "NAME", value_parser = object_name, group = "target")]
    pub restore: Option<String>,

    /// The Backup to explain
    #[arg(long, value_name = "NAME", value_parser = object_name, group = "target")]
    pub backup: Option<String>,

    /// Explain again every few seconds, until the Backup or Restore has ended
    #[arg(long, requires = "target", conflicts_with = "file")]
    pub watch: bool,

    /// Do not show the cause that an earlier DebugBundle of it found
    #[arg(long)]
    pub live: bool,

    /// Output format; default: an explanation in plain text
    #[arg(short, long, value_name = "FORMAT", value_enum, conflicts_with = "watch")]
    pub output: Option<DocumentFormat>,
}

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Names of the DebugBundles
    #[arg(value_name = "NAME", value_parser = object_name, required = true)]
    pub names: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Collect {
    /// File or directory to write to; default: debugbundle-<target>-<time>.tar.gz here
    #[arg(short, long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub output: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,

    // Last: the heading of a flattened group also applies to the arguments after it.
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub content: ContentArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Prune {
    /// Remove what is listed
    #[arg(long)]
    pub delete: bool,

    /// Only this BackupStorageLocation; default: all of the namespace
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    pub storage_location: Option<String>,

    /// Bundles of another installation, by the UID of its namespace; none: bundles of versions without installation
    /// ids. The command cannot check whether their DebugBundles still exist in another cluster
    #[arg(long, value_name = "ID", value_parser = installation)]
    pub installation: Option<String>,

    /// Count the bundles of each installation that uses the locations; removes nothing
    #[arg(long, conflicts_with_all = ["delete", "installation"])]
    pub all_installations: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Completion {
    /// The shell; kubectl: a script for `kubectl debugbundle`, to be saved as `kubectl_complete-debugbundle` in PATH
    #[arg(value_enum)]
    pub shell: CompletionShell,
}

/// The shells that completions exist for.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompletionShell {
    /// GNU bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
    /// kubectl's own completion of plugins, in every shell
    Kubectl,
}

#[derive(Args, Debug)]
pub(crate) struct Complete {
    /// The words so far; the last one is the one to complete
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// A DNS-1123 subdomain, as Kubernetes names objects.
fn object_name(text: &str) -> Result<String, String> {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = (1..=253).contains(&text.len())
        && text.chars().all(|c| ends(c) || c == '-' || c == '.')
        && text.starts_with(ends)
        && text.ends_with(ends);
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be a DNS-1123 subdomain: lower-case letters, digits, '-' and '.'".to_owned())
    }
}

/// The UID of a namespace, as the store's folders are named.
fn installation(text: &str) -> Result<String, String> {
    let message = "must be 1 to 64 letters, digits and '-', as --all-installations lists them, or none";
    InstallationId::new(text).map(|id| id.as_str().to_owned()).map_err(|_| message.to_owned())
}

/// A DNS-1123 label, as Kubernetes names namespaces.
fn namespace(text: &str) -> Result<String, String> {
    if text.len() <= 63 && !text.contains('.') && object_name(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err("must be a DNS-1123 label: at most 63 lower-case letters, digits and '-'".to_owned())
    }
}

fn duration_between(text: &str, least: u64, most: u64, range: &str) -> Result<String, String> {
    match parse_duration(text) {
        Some(duration) if (least..=most).contains(&duration.as_secs()) => Ok(text.to_owned()),
        _ => Err(format!("must be a duration between {range}, such as 1h30m")),
    }
}

fn collection_timeout(text: &str) -> Result<String, String> {
    duration_between(text, 30, 6 * 3600, "30s and 6h")
}

fn ttl(text: &str) -> Result<String, String> {
    duration_between(text, 3600, 2160 * 3600, "1h and 2160h")
}

fn url_ttl(text: &str) -> Result<String, String> {
    duration_between(text, 60, 168 * 3600, "1m and 168h")
}

fn since(text: &str) -> Result<String, String> {
    duration_between(text, 1, 8760 * 3600, "1s and 8760h")
}

fn any_duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|duration| !duration.is_zero() && duration.as_secs() <= 8760 * 3600)
        .ok_or_else(|| "must be a duration, such as 90s, 30m or 1h30m".to_owned())
}

fn request_timeout(text: &str) -> Result<RequestTimeout, String> {
    if text == "0" {
        return Ok(RequestTimeout(None));
    }
    any_duration(text).map(|duration| RequestTimeout(Some(duration)))
}

fn container_bytes(text: &str) -> Result<ByteSize, String> {
    let size = ByteSize(text.to_owned());
    match size.bytes() {
        Some(4096..=1_073_741_824) => Ok(size),
        _ => Err("must be a quantity between 4Ki and 1Gi, such as 32Mi".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("kubectl-debugbundle").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_speaks_of_the_plugin_and_tells_the_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("kubectl debugbundle"), "{help}");
        assert!(help.contains("Exit codes:") && help.contains("6   the data read"), "{help}");
        assert!(!help.contains("__complete"), "{help}");
        let mut command = Cli::command();
        let create = command.find_subcommand_mut("create").unwrap().render_help().to_string();
        let (own, grouped) = create.split_once("Target:").unwrap();
        assert!(own.contains("--ttl") && !grouped.contains("--ttl"), "each flag stands under its heading: {create}");
    }

    #[test]
    fn values_are_held_to_the_limits_of_the_resource() {
        for good in [
            "create --restore r1 --timeout 30s --ttl 2160h --url-ttl 168h --since 2h --max-bytes-per-container 4Ki",
            "create --backup b.1 --namespaces a,b --namespaces c --tail-lines 1000000",
            "create --wait --wait-timeout 2h",
            "create --dry-run -o json --name x --url-policy OnRequest",
            "list -A -o wide",
            "-n velero-2 list",
            "get x --url -n other",
            "download x -o /tmp/ --force --cacert ca.pem",
            "explain --restore r1 --live -o json",
            "explain --backup b1 --watch",
            "explain -o yaml",
            "cat x summary.md --request-timeout 5s",
            "cat --file b.tar.gz --list",
            "prune --delete --storage-location offsite --installation none",
            "prune --all-installations",
            "collect -o out.tar.gz",
            "completion zsh",
            "__complete list --names",
        ] {
            assert!(parse(good).is_ok(), "{good}: {}", parse(good).unwrap_err());
        }
        for bad in [
            "",
            "create --restore r1 --backup b1",
            "create --restore R1",
            "create --timeout 29s",
            "create --ttl 2161h",
            "create --url-ttl 59s",
            "create --tail-lines 0",
            "create --max-bytes-per-container 2Gi",
            "create --namespaces a.b",
            "create --wait-timeout 2h",
            "create --wait --dry-run",
            "create --output json",
            "explain --watch",
            "explain --restore r1 --backup b1",
            "explain --restore r1 --watch -o json",
            "get",
            "get ../x",
            "prune --all-installations --delete",
            "prune --installation ../x",
            "cat a b c",
            "-n Velero list",
            "list --request-timeout soon",
        ] {
            let error = parse(bad).expect_err(bad);
            assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{bad}");
        }
    }

    #[test]
    fn lists_may_be_given_in_one_word_or_several() {
        let Command::Create(create) = parse("create --namespaces a,b --namespaces c").unwrap().command else {
            panic!("not create")
        };
        assert_eq!(create.content.namespaces, ["a", "b", "c"]);
    }
}

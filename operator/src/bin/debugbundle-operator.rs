//! The operator's program: reads its flags, checks its spool folder, and runs the controller until it is asked to stop.
//! The library does the work.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::PathBuf,
    pin::pin,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clap::Parser;
use debugbundle_operator::{
    budget, client,
    controller::{self, Settings, share_mib},
    election::{Leadership, election},
    health::{self, Health, Heartbeat},
    location::{EndpointPolicy, IdentityPolicy},
    metrics::Metrics,
    notify::Notifier,
    pod_capture::{self, PodCapture},
    proxy::Proxies,
    run::{Engine, EngineOptions},
    runlog, self_redaction,
    sweep::{Sweeper, record::Record},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// glibc's allocator keeps what bundles have freed; this one returns it to the system within seconds.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Makes, explains and delivers debug bundles of Velero backups and restores.
#[derive(Parser, Debug)]
#[command(name = "debugbundle-operator", version)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct Flags {
    /// Velero's namespace; DebugBundles in other namespaces are ignored.
    #[arg(long, env = "VELERO_NAMESPACE", default_value = "velero", value_parser = namespace)]
    namespace: String,

    /// Folder for collected data until the bundle is stored; an absolute path of an existing, writable folder.
    #[arg(long, env = "DEBUGBUNDLE_SPOOL", default_value = "/spool", value_parser = absolute)]
    spool: PathBuf,

    /// Bundles that are collected at the same time; bundles that wait for their store do not count.
    #[arg(long, env = "DEBUGBUNDLE_MAX_CONCURRENT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    max_concurrent: u16,

    /// Maximum MiB that all bundles together keep in the spool; set it below 80 % of the volume's size.
    #[arg(long, env = "DEBUGBUNDLE_SPOOL_LIMIT_MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    spool_limit_mib: u32,

    /// Maximum size of one bundle in MiB, compressed. Of a larger bundle, logs of healthy pods are shortened and
    /// dropped first; the manifest lists what was left out.
    #[arg(long, env = "DEBUGBUNDLE_BUNDLE_LIMIT_MIB", default_value_t = budget::DEFAULT >> 20, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    bundle_limit_mib: u64,

    /// How many minutes the operator waits for a store that does not answer, or a location that cannot be used, to read
    /// Velero's files and to send the bundle.
    #[arg(long, env = "DEBUGBUNDLE_UPLOAD_TIMEOUT_MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    upload_timeout_minutes: u64,

    /// How many seconds the operator retries to delete the stored bundle of a deleted DebugBundle; after that the next
    /// sweep tries again.
    #[arg(long, env = "DEBUGBUNDLE_DELETE_TIMEOUT_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    delete_timeout_seconds: u64,

    /// Seconds between two sweeps for stored bundles whose DebugBundles are gone; for tests.
    #[arg(long, hide = true, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    sweep_seconds: u64,

    /// Maximum lifetime of a download URL in minutes. A DebugBundle that asks for more gets this maximum, and its
    /// status says so. Stores allow a week at most.
    #[arg(long, env = "DEBUGBUNDLE_MAX_URL_TTL_MINUTES", default_value_t = 10_080, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    max_url_ttl_minutes: u64,

    /// Namespaces that may be read, separated by commas; default: all that the API server allows.
    #[arg(long, env = "DEBUGBUNDLE_ALLOWED_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    allowed_namespaces: Option<Vec<String>>,

    /// What the operator may read: `cluster-read` or `namespaced`. With `namespaced`, data outside Velero's and the
    /// allowed namespaces is a note in the bundle instead of an error.
    #[arg(long, env = "DEBUGBUNDLE_ACCESS", default_value = "cluster-read", value_parser = ["cluster-read", "namespaced"])]
    access: String,

    /// Maximum number of requests per second to the API server, for all bundles together. Creating DebugBundles by
    /// itself, and the election, have limits of their own.
    #[arg(long, env = "DEBUGBUNDLE_CLIENT_QPS", default_value = "200")]
    client_qps: NonZeroU32,

    /// Bundles of this size (MiB) and larger are uploaded in parts.
    #[arg(long, env = "DEBUGBUNDLE_MULTIPART_MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(5..=5120))]
    multipart_mib: u64,

    /// Create DebugBundles for Backups and Restores that end PartiallyFailed, Failed or FailedValidation, or hang. A
    /// DebugBundlePolicy changes the details; `false` switches it off.
    #[arg(long, env = "DEBUGBUNDLE_AUTOMATIC", default_value_t = true, action = clap::ArgAction::Set)]
    automatic: bool,

    /// Address and port for the probes /livez and /readyz and for /metrics, such as `[::]:8080`; default: no port is
    /// opened.
    #[arg(long, env = "DEBUGBUNDLE_HTTP_ADDRESS")]
    http_address: Option<SocketAddr>,

    /// Allow locations whose endpoint is on loopback; for tests.
    #[arg(long)]
    allow_loopback_endpoints: bool,

    /// Refuse plain http and insecureSkipTLSVerify, even if a location asks for them.
    #[arg(long, env = "DEBUGBUNDLE_REQUIRE_VERIFIED_TLS")]
    require_verified_tls: bool,

    /// Use the identity that the machine's metadata service gives, where a location names no other credential: GKE's
    /// Workload Identity and Azure's managed identities need it. On machines without these it is the node's identity.
    #[arg(long, env = "DEBUGBUNDLE_ALLOW_INSTANCE_METADATA")]
    allow_instance_metadata: bool,

    /// Send client secrets to any login host that a location of Azure names, and not to Microsoft's alone.
    #[arg(long, env = "DEBUGBUNDLE_ALLOW_ANY_LOGIN_HOST")]
    allow_any_login_host: bool,

    /// Name of this instance, unique in the namespace; in a cluster the Pod's name.
    #[arg(long, env = "POD_NAME", default_value = "debugbundle-operator")]
    instance: String,
}

fn namespace(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits { Ok(text.to_owned()) } else { Err("must be a DNS-1123 label".to_owned()) }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("must be an absolute path".to_owned()) }
}

/// The most requests per second by which the operator creates DebugBundles itself.
const AUTOMATIC_QPS: NonZeroU32 = NonZeroU32::new(50).expect("it is not zero");
/// How long the end of the operator waits for threads that are in the middle of something.
const AT_THE_END: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let flags = Flags::parse();
    // Two threads decrypt TLS faster than an API server sends logs; more threads on a node with many cores would only cost
    // memory.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(operate(flags));
            runtime.shutdown_timeout(AT_THE_END);
            code
        }
        Err(error) => {
            eprintln!("debugbundle-operator: cannot start threads: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn operate(flags: Flags) -> ExitCode {
    let filter = EnvFilter::try_from_env("DEBUGBUNDLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(self_redaction::Log);
    // Libraries log tokens and signatures of requests and answers, so their debug levels cannot be enabled.
    let ours = |of: &tracing::Metadata<'_>| of.target().starts_with("debugbundle");
    let quiet = filter_fn(move |of| ours(of) || *of.level() <= tracing::Level::INFO);
    tracing_subscriber::registry().with(lines.with_filter(filter.and(quiet))).with(runlog::layer()).init();
    self_redaction::log_panics();
    let shutdown = CancellationToken::new();
    if let Err(message) = stop_on_signals(&shutdown) {
        tracing::warn!(why = %message, "Cannot listen for stop signals");
    }
    match start(flags, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            tracing::error!(why = message, "Cannot start");
            eprintln!("debugbundle-operator: {}", self_redaction::sanitize(&message));
            ExitCode::FAILURE
        }
    }
}

async fn start(flags: Flags, shutdown: CancellationToken) -> Result<(), String> {
    let spool = flags.spool.clone();
    probe(&spool).map_err(|e| format!("--spool {}: {e}; it must be an existing, writable folder", spool.display()))?;
    let health = Health { heartbeat: Heartbeat::default(), shutdown: shutdown.clone(), metrics: Metrics::default() };
    let metrics = health.metrics.clone();
    let _serving = match flags.http_address {
        Some(address) => Some(probes(address, health.clone()).await?),
        None => None,
    };
    debugbundle_operator::install_crypto_provider();
    let config = api_server().await?;
    let unusable = |e: kube::Error| format!("no configuration for the API server: {e}");
    let for_election = client::for_election(config.clone()).map_err(unusable)?;
    // A failure must not wait behind the requests of the bundles that are being collected.
    let for_automatic =
        flags.automatic.then(|| client::client(config.clone(), AUTOMATIC_QPS, metrics.clone()).map_err(unusable));
    let for_automatic = for_automatic.transpose()?;
    let client = client::client(config, flags.client_qps, metrics.clone()).map_err(unusable)?;

    let options = EngineOptions {
        namespace: flags.namespace.clone(),
        spool_limit: u64::from(share_mib(usize::from(flags.max_concurrent), flags.spool_limit_mib)) << 20,
        bundle_limit: flags.bundle_limit_mib << 20,
        version: debugbundle_operator::VERSION.to_owned(),
        allowed_namespaces: flags.allowed_namespaces,
        cluster_read: flags.access == "cluster-read",
        endpoints: EndpointPolicy {
            allow_loopback: flags.allow_loopback_endpoints,
            require_verified_tls: flags.require_verified_tls,
            identities: IdentityPolicy {
                instance_metadata: flags.allow_instance_metadata,
                any_login_host: flags.allow_any_login_host,
            },
        },
        multipart_threshold: flags.multipart_mib << 20,
    };
    let settings = Settings {
        namespace: flags.namespace,
        instance: flags.instance,
        spool: flags.spool,
        max_concurrent: usize::from(flags.max_concurrent),
        spool_limit_mib: flags.spool_limit_mib,
        upload_timeout: Duration::from_secs(flags.upload_timeout_minutes * 60),
        delete_timeout: Duration::from_secs(flags.delete_timeout_seconds),
        max_url_ttl: Duration::from_secs(flags.max_url_ttl_minutes * 60),
    };
    tracing::info!(version = debugbundle_operator::VERSION, namespace = settings.namespace, "Started");
    let (election, leadership) = election(for_election, &settings.namespace, &settings.instance, shutdown.clone());
    let pod_capture = PodCapture::saved_in(settings.spool.join("pods"));
    let watching =
        tokio::spawn(capture_pods(client.clone(), settings.namespace.clone(), pod_capture.clone(), leadership.clone()));
    let engine =
        Arc::new(Engine::new(client.clone(), options).with_pod_capture(pod_capture).with_metrics(metrics.clone()));
    let record = Arc::new(Record::new(client.clone(), &settings.namespace));
    let sweeper = Sweeper {
        client: client.clone(),
        engine: Arc::clone(&engine),
        namespace: settings.namespace.clone(),
        notifier: Notifier::new(client.clone(), settings.instance.clone(), metrics),
        leadership: leadership.clone(),
        record: Arc::clone(&record),
        logged: AtomicBool::new(false),
    };
    let sweeping = tokio::spawn(sweeper.run(Duration::from_secs(flags.sweep_seconds)));
    let release = CancellationToken::new();
    let mut electing = tokio::spawn(election.run(release.clone()));
    let mut working = pin!(controller::run(client, for_automatic, engine, record, leadership, settings, health));
    let elected = tokio::select! {
        () = &mut working => {
            // Only now: the next leader must not begin before this one has ended.
            release.cancel();
            electing.await
        }
        ended = &mut electing => {
            shutdown.cancel();
            working.await;
            ended
        }
    };
    shutdown.cancel();
    let _ = sweeping.await;
    // Both end with the token; a panic in them was logged when it happened and cost no bundle.
    let _ = watching.await;
    tracing::info!("Stopped");
    elected.unwrap_or_else(|_| Err("the election of the leader ended by a panic".to_owned()))
}

/// Answers the kubelet's probes until the handle is dropped.
async fn probes(address: SocketAddr, health: Health) -> Result<AbortOnDropHandle<()>, String> {
    let listener = health::listen(address)
        .await
        .map_err(|e| format!("--http-address {address}: {e}; it must be a free port of this machine"))?;
    Ok(AbortOnDropHandle::new(tokio::spawn(health::serve(listener, health))))
}

/// Captures pods while this instance leads; an instance that stands by watches nothing.
async fn capture_pods(client: kube::Client, namespace: String, pod_capture: PodCapture, leadership: Leadership) {
    let watch = |over| pod_capture::watch(client.clone(), namespace.clone(), pod_capture.clone(), over);
    leadership.in_each_term(watch).await;
}

/// Configuration for the API server: a kubeconfig's, else the pod's own. Only the former can be behind a proxy.
async fn api_server() -> Result<kube::Config, String> {
    let proxies = Proxies::from_env().map_err(|e| e.to_string())?;
    match kube::Config::from_kubeconfig(&kube::config::KubeConfigOptions::default()).await {
        Ok(mut config) => {
            proxies.before_api_server(&mut config);
            Ok(config)
        }
        Err(kubeconfig) => kube::Config::incluster().map_err(|pod| {
            format!("no configuration for the API server: in a pod: {pod}; from a kubeconfig: {kubeconfig}")
        }),
    }
}

/// Checks that the folder is writable: at startup rather than in the middle of the first bundle.
fn probe(spool: &std::path::Path) -> std::io::Result<()> {
    let probe = spool.join(format!(".probe-{}", std::process::id()));
    std::fs::File::create(&probe)?;
    std::fs::remove_file(&probe)
}

/// Cancels the token at SIGTERM or SIGINT. From the return of this function on, a signal no longer kills the process.
fn stop_on_signals(shutdown: &CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("Received a stop signal");
        shutdown.cancel();
    });
    Ok(())
}

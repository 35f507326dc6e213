//! `create`: makes a DebugBundle from the flags, and with `--wait` follows it to its end. `args` checks the values'
//! limits.

use std::{io::Write, time::Duration};

use debugbundle_crd::{DebugBundle, DebugBundleSpec, DownloadUrl, LogWindow, Logs, Phase, Target, TargetKind};
use futures::StreamExt as _;
use kube::{
    Api, Client, ResourceExt as _,
    api::PostParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{
    args::{ContentArgs, Create, DocumentFormat, TargetArgs},
    display, document,
    exit::{CliError, Exit},
    progress::{Meter, ProgressSnapshot},
};
use crate::error::is_quota_uncounted;

/// How long a new DebugBundle may stay untouched before the user is warned that no operator seems to run.
const SILENCE: Duration = Duration::from_secs(20);
const NO_OPERATOR: &str =
    "no operator has picked it up yet: debugbundle-operator is not running, or works in another namespace";
/// How long a new quota may stay uncounted, and how often to ask.
const COUNTED_WITHIN: Duration = Duration::from_mins(6);
const UNCOUNTED_PAUSE: Duration = Duration::from_secs(1);
/// How much of a generated name the API server keeps before its five random characters.
const GENERATED_PREFIX: usize = 58;

/// Creates the DebugBundle and prints its outcome.
pub(crate) async fn run(
    args: &Create,
    namespace: &str,
    connect: impl AsyncFnOnce() -> Result<Client, CliError>,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let bundle = manifest(args, namespace);
    if args.dry_run {
        let text = document(&bundle, args.output == DocumentFormat::Json)?;
        out.write_all(text.as_bytes()).map_err(CliError::stdout)?;
        return Ok(Exit::Done);
    }
    let client = connect().await?;
    if let Some(target) = &bundle.spec.target {
        exists(&client, namespace, target).await?;
    }
    let api: Api<DebugBundle> = Api::namespaced(client, namespace);
    let created = created(&api, &bundle).await?;
    let name = created.name_any();
    writeln!(out, "debugbundle.debugbundle.io/{name} created").map_err(CliError::stdout)?;
    out.flush().map_err(CliError::stdout)?;
    if !args.wait {
        eprintln!("Follow it with: {}", display::command(namespace, "get", &name));
        return Ok(Exit::Done);
    }
    let ended = until_terminal(api, &name, &mut Meter::steps(), args.wait_timeout, SILENCE).await?;
    out.write_all(display::ending(&ended).as_bytes()).map_err(CliError::stdout)?;
    Ok(ended.status.and_then(|status| status.phase).map_or(Exit::Failed, Exit::of_phase))
}

/// Fails if there is no such target. A user who may not look can still create the DebugBundle.
async fn exists(client: &Client, namespace: &str, target: &Target) -> Result<(), CliError> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("velero.io", "v1", target.kind.as_str()));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    match api.get_metadata_opt(&target.name).await {
        Ok(None) => Err(CliError::new(
            Exit::NotFound,
            format!("there is no {} {} in namespace {namespace}", target.kind, target.name),
        )
        .hint(format!("All of them:\n  kubectl -n {namespace} get {}.velero.io", kind.plural))),
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

/// Creates it. Shortly after the installation it waits until the cluster has counted the quota of DebugBundles.
async fn created(api: &Api<DebugBundle>, bundle: &DebugBundle) -> Result<DebugBundle, kube::Error> {
    let until = Instant::now() + COUNTED_WITHIN;
    let mut announced = false;
    loop {
        match api.create(&PostParams::default(), bundle).await {
            Err(error) if is_quota_uncounted(&error) && Instant::now() < until => {
                if !std::mem::replace(&mut announced, true) {
                    eprintln!(
                        "the cluster has not counted its quota of DebugBundles yet; after the installation this takes up \
                         to 5 minutes; waiting"
                    );
                }
                sleep(UNCOUNTED_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// The DebugBundle that the flags describe.
fn manifest(args: &Create, namespace: &str) -> DebugBundle {
    let mut spec = spec(&args.target, &args.content);
    spec.storage_location.clone_from(&args.storage_location);
    if let Some(ttl) = &args.ttl {
        spec.ttl.clone_from(ttl);
    }
    let default = DownloadUrl::default();
    spec.download_url = DownloadUrl {
        policy: args.url_policy.map_or(default.policy, Into::into),
        ttl: args.url_ttl.clone().unwrap_or(default.ttl),
    };
    let mut bundle = DebugBundle::new("", spec);
    bundle.metadata.namespace = Some(namespace.to_owned());
    bundle.metadata.name.clone_from(&args.name);
    if args.name.is_none() {
        bundle.metadata.generate_name = Some(generate_name(&bundle.spec));
    }
    bundle
}

/// The part of the spec that `create` and `collect` have in common.
pub(crate) fn spec(target: &TargetArgs, content: &ContentArgs) -> DebugBundleSpec {
    let mut spec = match (&target.restore, &target.backup) {
        (Some(name), _) => DebugBundleSpec::about(TargetKind::Restore, name),
        (None, Some(name)) => DebugBundleSpec::about(TargetKind::Backup, name),
        (None, None) => DebugBundleSpec::installation(),
    };
    spec.namespaces.clone_from(&content.namespaces);
    spec.namespaces.sort();
    spec.namespaces.dedup();
    if let Some(timeout) = &content.timeout {
        spec.timeout.clone_from(timeout);
    }
    let window = content.since.clone().map(|since| LogWindow { since: Some(since), ..LogWindow::default() });
    spec.logs = Logs { window, tail_lines: content.tail_lines, ..Logs::default() };
    if let Some(size) = &content.max_bytes_per_container {
        spec.logs.max_bytes_per_container = size.clone();
    }
    spec
}

/// `restore-<name>-`, short enough that the API server does not cut it.
fn generate_name(spec: &DebugBundleSpec) -> String {
    let mut name = match &spec.target {
        Some(target) => format!("{}-{}", target.kind.as_str().to_ascii_lowercase(), target.name),
        None => "installation".to_owned(),
    };
    name.truncate(name.floor_char_boundary(GENERATED_PREFIX - 1));
    let end = name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len();
    name.truncate(end);
    name.push('-');
    name
}

/// Watches the status until it is final. `silence`: when to warn that no operator has picked the bundle up.
pub(crate) async fn until_terminal(
    api: Api<DebugBundle>,
    name: &str,
    meter: &mut Meter,
    limit: Duration,
    silence: Duration,
) -> Result<DebugBundle, CliError> {
    let begun = Instant::now();
    let namespace = api.namespace().unwrap_or_default().to_owned();
    let mut seen = std::pin::pin!(watcher::watch_object(api, name).default_backoff());
    let mut untouched = Some(begun + silence);
    let mut phase = Phase::New;
    loop {
        let next = timeout_at(begun + limit, async {
            match untouched {
                Some(at) => tokio::select! {
                    next = seen.next() => Some(next),
                    () = sleep_until(at) => None,
                },
                None => Some(seen.next().await),
            }
        });
        let next = next.await.map_err(|_| {
            let after = format!("{name} is {phase} after {}s", limit.as_secs());
            if phase == Phase::New {
                return CliError::new(Exit::Timeout, format!("{after}: {NO_OPERATOR}")).hint(format!(
                    "The operator of this namespace would be listed by:\n  kubectl -n {namespace} get deployments,pods -l \
                     app.kubernetes.io/name=debugbundle"
                ));
            }
            let again = display::command(&namespace, "get", name);
            CliError::new(Exit::Timeout, after)
                .hint(format!("The operator continues without this command; look again with:\n  {again}"))
        })?;
        match next {
            None => {
                untouched = None;
                meter.note(&format!("{NO_OPERATOR}; still waiting"));
            }
            Some(Some(Ok(Some(bundle)))) => {
                meter.show(&ProgressSnapshot::of_status(bundle.status.as_ref()));
                if let Some(now) = bundle.status.as_ref().and_then(|status| status.phase) {
                    untouched = None;
                    phase = now;
                    if now.is_terminal() {
                        return Ok(bundle);
                    }
                }
            }
            Some(Some(Ok(None))) => {
                return Err(CliError::new(Exit::NotFound, format!("{name} was deleted")));
            }
            Some(Some(Err(error))) => {
                if let Some(refused) = refusal(&error) {
                    return Err(refused);
                }
                meter.note(&format!("the watch was interrupted: {}; trying again", super::exit::chain(&error)));
            }
            Some(None) => return Err(CliError::failed("the watch ended")),
        }
    }
}

/// An error from which a watch cannot recover: 401 or 403.
pub(crate) fn refusal(error: &watcher::Error) -> Option<CliError> {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return None;
    };
    matches!(status.code, 401 | 403).then(|| {
        CliError::failed(format!("the API server answered {}: {}", status.code, status.message))
            .hint("Waiting needs permission to get, list and watch debugbundles.debugbundle.io.")
    })
}

#[cfg(test)]
mod tests {
    use super::super::display::tests::bundle;
    use super::super::stand::{Stand, json, streamed};
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser as _;

    fn create(line: &str) -> Create {
        let words = ["kubectl-debugbundle", "create"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Create(create) => create,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_the_spec() {
        let made = manifest(
            &create(
                "--restore r1 --namespaces shop,db,shop --timeout 30m --since 2h --tail-lines 500 \
                 --max-bytes-per-container 1Mi --storage-location east --ttl 48h --url-policy OnRequest --url-ttl 10m",
            ),
            "velero-2",
        );
        assert_eq!(
            serde_json::to_value(&made).unwrap(),
            serde_json::json!({
                "apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundle",
                "metadata": {"generateName": "restore-r1-", "namespace": "velero-2"},
                "spec": {
                    "target": {"kind": "Restore", "name": "r1"}, "storageLocation": "east", "namespaces": ["db", "shop"],
                    "logs": {"window": {"since": "2h"}, "tailLines": 500, "maxBytesPerContainer": "1Mi", "previous": true},
                    "redaction": {"configMaps": "Masked"}, "timeout": "30m", "ttl": "48h",
                    "downloadURL": {"policy": "OnRequest", "ttl": "10m"},
                },
            })
        );
    }

    #[test]
    fn without_flags_it_is_the_installation_with_the_defaults_of_the_resource() {
        let made = manifest(&create("--name mine"), "velero");
        assert_eq!(made.metadata.name.as_deref(), Some("mine"));
        assert_eq!(made.metadata.generate_name, None);
        assert_eq!(made.spec, DebugBundleSpec::installation());
    }

    fn event(status: &serde_json::Value) -> bytes::Bytes {
        let mut object = serde_json::to_value(bundle(status.clone())).unwrap();
        object["metadata"]["resourceVersion"] = serde_json::json!("2");
        format!("{}\n", serde_json::json!({"type": "MODIFIED", "object": object})).into()
    }

    /// An API server with one bundle that no operator has picked up, and a watch that reports these states.
    async fn cluster(states: Vec<serde_json::Value>) -> (Stand, Api<DebugBundle>) {
        let stand = Stand::serve(move |asked| {
            if asked.target.contains("watch=") {
                let events: Vec<_> = states.iter().map(|status| Ok(event(status))).collect();
                return http::Response::new(streamed(futures::stream::iter(events).chain(futures::stream::pending())));
            }
            json(200, &serde_json::json!({
                "apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundleList", "metadata": {"resourceVersion": "1"},
                "items": [bundle(serde_json::json!(null))],
            }))
        })
        .await;
        let api = Api::namespaced(stand.client(), "velero-2");
        (stand, api)
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn waiting_ends_with_the_phase() {
        for (phase, exit) in
            [("Completed", Exit::Done), ("PartiallyFailed", Exit::PartiallyFailed), ("Failed", Exit::Failed)]
        {
            let states = ["Queued", "Collecting", "Uploading", phase].map(|phase| serde_json::json!({"phase": phase}));
            let (_stand, api) = cluster(states.to_vec()).await;
            let ended = until_terminal(api, "restore-r1-1a2b", &mut Meter::quiet(), LONG, LONG).await.unwrap();
            assert_eq!(ended.status.unwrap().phase.map(Exit::of_phase), Some(exit));
        }
    }

    #[tokio::test]
    async fn waiting_has_an_end_and_says_where_things_stand() {
        let (_stand, api) = cluster(vec![serde_json::json!({"phase": "Collecting"})]).await;
        let limit = Duration::from_millis(300);
        let error = until_terminal(api, "restore-r1-1a2b", &mut Meter::quiet(), limit, LONG).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Timeout);
        assert!(error.to_string().contains("kubectl debugbundle -n velero-2 get restore-r1-1a2b"), "{error}");
    }

    #[tokio::test]
    async fn waiting_where_no_operator_runs_says_so() {
        let (_stand, api) = cluster(vec![]).await;
        let limit = Duration::from_millis(300);
        let error = until_terminal(api, "restore-r1-1a2b", &mut Meter::quiet(), limit, LONG).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(NO_OPERATOR) && text.contains("kubectl -n velero-2 get deployments,pods"), "{text}");
    }

    #[tokio::test]
    async fn waiting_without_the_permission_to_watch_ends_at_once() {
        let stand = Stand::serve(|_| {
            json(403, &serde_json::json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "debugbundles is forbidden"}))
        })
        .await;
        let api = Api::namespaced(stand.client(), "velero-2");
        let error = until_terminal(api, "x", &mut Meter::quiet(), LONG, LONG).await.unwrap_err();
        assert!(error.to_string().contains("permission to get, list and watch"), "{error}");
    }

    #[tokio::test]
    async fn the_command_creates_and_says_what() {
        let stand = Stand::serve(|asked| {
            if asked.method == "GET" {
                assert_eq!(asked.target, "/apis/velero.io/v1/namespaces/velero/backups/b1");
                return json(403, &serde_json::json!({"kind": "Status", "status": "Failure", "code": 403}));
            }
            let mut object: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
            object["metadata"]["name"] =
                format!("{}abcde", object["metadata"]["generateName"].as_str().unwrap()).into();
            json(201, &object)
        })
        .await;
        let mut out = Vec::new();
        let exit = run(&create("--backup b1"), "velero", async || Ok(stand.client()), &mut out).await.unwrap();
        assert_eq!(exit, Exit::Done);
        assert_eq!(String::from_utf8(out).unwrap(), "debugbundle.debugbundle.io/backup-b1-abcde created\n");
        assert_eq!(stand.asked()[1].method, "POST");
    }

    #[tokio::test]
    async fn issue_34_a_target_that_does_not_exist_is_refused_before_anything_is_created() {
        let stand = Stand::serve(|_| {
            let status = serde_json::json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound",
                "message": "restores.velero.io \"nope\" not found", "details": {"name": "nope"}});
            json(404, &status)
        })
        .await;
        let error =
            run(&create("--restore nope"), "velero", async || Ok(stand.client()), &mut Vec::new()).await.unwrap_err();
        assert_eq!((error.exit(), stand.asked().len()), (Exit::NotFound, 1));
        assert!(error.to_string().starts_with("there is no Restore nope in namespace velero\n"), "{error}");
        assert!(error.to_string().contains("kubectl -n velero get restores.velero.io"), "{error}");
    }

    #[tokio::test]
    async fn a_quota_that_is_not_counted_yet_is_waited_for() {
        let refused = std::sync::atomic::AtomicBool::new(false);
        let stand = Stand::serve(move |asked| {
            if !refused.swap(true, std::sync::atomic::Ordering::Relaxed) {
                let message = "debugbundles.debugbundle.io \"b\" is forbidden: status unknown for quota: debugbundles";
                return json(
                    403,
                    &serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "code": 403, "reason": "Forbidden", "message": message}),
                );
            }
            json(201, &serde_json::from_str(&asked.body).unwrap())
        })
        .await;
        let exit = run(&create("--name b"), "velero", async || Ok(stand.client()), &mut Vec::new()).await.unwrap();
        assert_eq!((exit, stand.asked().len()), (Exit::Done, 2));
    }

    #[tokio::test]
    async fn a_dry_run_asks_nobody() {
        let mut out = Vec::new();
        let nobody = async || Err(CliError::failed("asked"));
        run(&create("--restore r1 --dry-run"), "velero", nobody, &mut out).await.unwrap();
        let made: DebugBundle = serde_saphyr::from_str(&String::from_utf8(out).unwrap()).unwrap();
        assert_eq!(made.spec, DebugBundleSpec::about(TargetKind::Restore, "r1"));
    }

    #[test]
    fn generated_names_are_valid_whatever_the_target() {
        let of = |name: &str| generate_name(&DebugBundleSpec::about(TargetKind::Backup, name));
        assert_eq!(of("daily-20261121"), "backup-daily-20261121-");
        assert_eq!(generate_name(&DebugBundleSpec::installation()), "installation-");
        let long = of(&format!("{}.{}", "x".repeat(49), "y".repeat(200)));
        assert_eq!(long, format!("backup-{}-", "x".repeat(49)));
        assert!(long.len() <= GENERATED_PREFIX);
    }
}

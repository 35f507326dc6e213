//! `list` and `get`: read DebugBundles from the cluster and print them through `display`. A download URL is printed
//! only with `--url`.

use std::fmt::Write as _;
use std::io::Write;

use debugbundle_crd::{DebugBundle, TargetKind};
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::args::{DocumentFormat, Get, List, ListFormat};
use super::exit::{CliError, Exit};
use super::{display, document};

/// Prints the list, newest first.
pub(crate) async fn list(
    args: &List,
    namespace: &str,
    client: Client,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let api: Api<DebugBundle> = if args.all_namespaces { Api::all(client) } else { Api::namespaced(client, namespace) };
    let mut bundles = read_all(&api).await?;
    bundles.retain(|bundle| is_about(bundle, args.restore.as_deref(), args.backup.as_deref()));
    bundles.sort_by_key(|bundle| (std::cmp::Reverse(bundle.creation_timestamp()), bundle.name_any()));
    let text = match args.output {
        None | Some(ListFormat::Wide) if bundles.is_empty() => {
            eprintln!(
                "No DebugBundles found{}.",
                if args.all_namespaces { String::new() } else { format!(" in namespace {namespace}") }
            );
            String::new()
        }
        None | Some(ListFormat::Wide) => {
            let columns = display::Columns { wide: args.output.is_some(), namespace: args.all_namespaces };
            display::list(&bundles, columns, now)
        }
        Some(ListFormat::Name) => bundles.iter().fold(String::new(), |mut text, bundle| {
            let _ = writeln!(text, "debugbundle.debugbundle.io/{}", bundle.name_any());
            text
        }),
        Some(format @ (ListFormat::Yaml | ListFormat::Json)) => {
            if !args.url {
                bundles.iter_mut().for_each(hide_url);
            }
            document(&json!({"apiVersion": "v1", "kind": "List", "items": bundles}), format == ListFormat::Json)?
        }
    };
    out.write_all(text.as_bytes()).map_err(CliError::stdout)?;
    Ok(Exit::Done)
}

/// Prints one DebugBundle.
pub(crate) async fn get(
    args: &Get,
    namespace: &str,
    client: Client,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let api: Api<DebugBundle> = Api::namespaced(client, namespace);
    let mut bundle = match &args.name {
        Some(name) => api.get(name).await?,
        None => newest_about(&api, args).await?,
    };
    let text = match args.output {
        None => display::story(&bundle, args.url, now),
        Some(format) => {
            if !args.url {
                hide_url(&mut bundle);
            }
            document(&bundle, format == DocumentFormat::Json)?
        }
    };
    out.write_all(text.as_bytes()).map_err(CliError::stdout)?;
    Ok(Exit::Done)
}

/// Reads all DebugBundles, page by page; a list whose continue token expires is restarted once.
pub(crate) async fn read_all(api: &Api<DebugBundle>) -> Result<Vec<DebugBundle>, CliError> {
    let mut restarted = false;
    let mut all = Vec::new();
    let mut params = ListParams::default().limit(500);
    loop {
        let page = match api.list(&params).await {
            Err(kube::Error::Api(status)) if status.code == 410 && !restarted => {
                restarted = true;
                all.clear();
                params.continue_token = None;
                continue;
            }
            page => page?,
        };
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}

async fn newest_about(api: &Api<DebugBundle>, args: &Get) -> Result<DebugBundle, CliError> {
    let all = read_all(api).await?.into_iter();
    let about = all.filter(|bundle| is_about(bundle, args.restore.as_deref(), args.backup.as_deref()));
    about.max_by_key(|bundle| (bundle.creation_timestamp(), bundle.name_any())).ok_or_else(|| {
        let (kind, name) = match (&args.restore, &args.backup) {
            (Some(name), _) => (TargetKind::Restore, name.as_str()),
            (None, name) => (TargetKind::Backup, name.as_deref().unwrap_or_default()),
        };
        let option = kind.as_str().to_ascii_lowercase();
        let message = format!("there is no DebugBundle about {kind} {name}");
        CliError::new(Exit::NotFound, message)
            .hint(format!("ask for one: kubectl debugbundle create --{option} {name}"))
    })
}

pub(super) fn is_about(bundle: &DebugBundle, restore: Option<&str>, backup: Option<&str>) -> bool {
    let wanted = match (restore, backup) {
        (Some(name), _) => (TargetKind::Restore, name),
        (None, Some(name)) => (TargetKind::Backup, name),
        (None, None) => return true,
    };
    bundle.spec.target.as_ref().is_some_and(|target| (target.kind, target.name.as_str()) == wanted)
}

/// A URL in a pasted YAML would be a leak.
fn hide_url(bundle: &mut DebugBundle) {
    bundle.metadata.managed_fields = None;
    if let Some(status) = &mut bundle.status
        && status.download_url.is_some()
    {
        status.download_url = Some("hidden; --url shows it".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::display::tests::{bundle, stored};
    use super::super::stand::{Stand, json as json_answer};
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser as _;

    fn now() -> Timestamp {
        "2026-09-08T03:07:31Z".parse().unwrap()
    }

    fn named(name: &str, target: &str, created: &str) -> DebugBundle {
        let mut one = bundle(stored());
        one.metadata.name = Some(name.to_owned());
        one.metadata.creation_timestamp = serde_json::from_value(json!(created)).unwrap();
        one.spec.target.as_mut().unwrap().name = target.to_owned();
        one
    }

    /// Serves three bundles in two pages.
    async fn cluster() -> Stand {
        Stand::serve(|asked| {
            let (items, token) = if asked.target.contains("continue=") {
                (vec![named("c", "r1", "2026-09-08T03:00:00Z")], "")
            } else {
                (vec![named("a", "r1", "2026-09-08T01:00:00Z"), named("b", "r2", "2026-09-08T02:00:00Z")], "more")
            };
            let list = json!({"apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundleList",
                "metadata": {"resourceVersion": "1", "continue": token}, "items": items});
            if asked.target.contains("/restore-r1-1a2b") {
                json_answer(200, &json!(bundle(stored())))
            } else {
                json_answer(200, &list)
            }
        })
        .await
    }

    async fn printed(line: &str) -> String {
        let stand = cluster().await;
        let mut out = Vec::new();
        match Cli::try_parse_from(std::iter::once("kubectl-debugbundle").chain(line.split(' '))).unwrap().command {
            Command::List(args) => list(&args, "velero-2", stand.client(), now(), &mut out).await.unwrap(),
            Command::Get(args) => get(&args, "velero-2", stand.client(), now(), &mut out).await.unwrap(),
            other => panic!("{other:?}"),
        };
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn all_pages_are_listed_the_youngest_first() {
        assert_eq!(
            printed("list -o name").await,
            "debugbundle.debugbundle.io/c\ndebugbundle.debugbundle.io/b\ndebugbundle.debugbundle.io/a\n"
        );
        assert_eq!(printed("list -o name --restore r2").await, "debugbundle.debugbundle.io/b\n");
        assert_eq!(printed("list --backup r2").await, "", "of another kind");
        assert!(printed("get --restore r1").await.contains("/c\n"), "the newest one");
    }

    #[tokio::test]
    async fn sec_u2_documents_hold_the_url_only_when_asked_for() {
        for line in [
            "list -o json",
            "list -o yaml",
            "get restore-r1-1a2b -o yaml",
            "get restore-r1-1a2b -o json",
            "get restore-r1-1a2b",
        ] {
            assert!(!printed(line).await.contains("geheim"), "{line}");
            assert!(printed(&format!("{line} --url")).await.contains("geheim"), "{line} --url");
        }
    }
}

//! `kubectl debugbundle`: the operator's resource for people at a terminal, and the same engine without the operator.
//! The engine is in `run`; these modules read flags, talk to the API server and the store, and print.
//!
//! | module | what it does |
//! |---|---|
//! | [`args`] | the command line |
//! | [`exit`] | exit codes and errors |
//! | [`connect`] | kubeconfig and context |
//! | [`create`], [`list`], [`download`], [`open`], [`cat`], [`delete`], [`explain`], [`collect`], [`prune`], [`completion`] | the commands (`get` is in `list`) |
//! | [`display`] | a DebugBundle in words and tables |
//! | [`progress`] | the bar |
//! | [`url`] | download URLs: the one in status, or a new one |
//! | [`fetch`], [`http`] | reading ranges of the stored object |
//! | [`port_forward`] | a way to stores whose names only the cluster resolves |
//! | [`engine`] | the operator's engine: its first half for `collect`, its stores for `prune` |
//! | [`extract`] | one entry out of its segment |

mod args;
mod cat;
pub mod collect;
mod completion;
mod connect;
mod create;
mod delete;
mod display;
mod download;
pub mod engine;
pub mod exit;
mod explain;
mod extract;
mod fetch;
mod http;
mod list;
mod open;
mod port_forward;
mod progress;
mod prune;
#[cfg(test)]
mod stand;
mod url;

use std::io::Write;

use base64::Engine as _;
use clap::Parser as _;
use debugbundle_diagnosis::Kind;
use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde::Serialize;

pub use args::Cli;
use args::{Command, Global, StoreArgs};
use collect::{EngineError, Request, Summary};
use exit::{CliError, Exit};
use http::Trust;

use crate::cluster::ApiKind;

/// Reads the command line, runs the command and prints errors. Ends the process itself only for `--help`, `--version`
/// and a command line that cannot be parsed.
pub async fn main(engine: impl AsyncFnOnce(Request) -> Result<Summary, EngineError>) -> Exit {
    // Other code in the process may have installed the same provider already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    match run(&cli, Timestamp::now(), engine, &mut std::io::stdout().lock()).await {
        Ok(exit) => exit,
        Err(error) => {
            if !error.is_silent() {
                eprintln!("error: {error}");
            }
            error.exit()
        }
    }
}

async fn run(
    cli: &Cli,
    now: Timestamp,
    engine: impl AsyncFnOnce(Request) -> Result<Summary, EngineError>,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let namespace = connect::namespace(&cli.global);
    let namespace = namespace.as_str();
    let client = || client(&cli.global);
    let exit = match &cli.command {
        Command::Create(args) => create::run(args, namespace, client, out).await,
        Command::List(args) => list::list(args, namespace, client().await?, now, out).await,
        Command::Get(args) => list::get(args, namespace, client().await?, now, out).await,
        Command::Download(args) => download::run(args, namespace, client().await?, now, out).await,
        Command::Open(args) => Box::pin(open::run(args, namespace, client, now, out)).await,
        Command::Cat(args) => cat::run(args, namespace, client, now, out).await,
        Command::Delete(args) => delete::run(args, namespace, client().await?, out).await,
        Command::Explain(args) => Box::pin(explain::run(args, namespace, client, out)).await,
        Command::Collect(args) => collect::run(args, namespace, client().await?, now, engine, out).await,
        Command::Prune(args) => Box::pin(prune::run(args, namespace, client().await?, out)).await,
        Command::Completion(args) => completion::print(args, out),
        Command::Complete(args) => completion::answer(args, out).await,
    }?;
    out.flush().map_err(CliError::stdout)?;
    Ok(exit)
}

async fn client(global: &Global) -> Result<Client, CliError> {
    let (client, warning) = connect::connect(global).await?;
    if let Some(warning) = warning {
        eprintln!("{warning}");
    }
    Ok(client)
}

/// YAML or JSON for machines.
fn document<T: Serialize>(value: &T, json: bool) -> Result<String, CliError> {
    let cannot = |error: &(dyn std::error::Error + 'static)| CliError::caused("the object cannot be written", error);
    let value = serde_json::to_value(value).map_err(|error| cannot(&error))?;
    if json {
        serde_json::to_string_pretty(&value).map(|text| text + "\n").map_err(|error| cannot(&error))
    } else {
        serde_saphyr::to_string(&value).map_err(|error| cannot(&error))
    }
}

/// The certificates to trust for the store: the system's, `--ca-file`, and the BackupStorageLocation's.
async fn trust(args: &StoreArgs, client: Client, namespace: &str, location: &str) -> Result<Trust, CliError> {
    let mut trust = Trust { extra: Vec::new(), anybody: args.insecure_skip_tls_verify };
    if trust.anybody {
        eprintln!("warning: the store's certificate is not verified (--insecure-skip-tls-verify)");
        return Ok(trust);
    }
    if let Some(path) = &args.ca_file {
        trust.add_file(path)?;
    }
    // Users who may not read locations can still pass the flag.
    trust.extra.extend(location_ca(client, namespace, location).await);
    Ok(trust)
}

async fn location_ca(client: Client, namespace: &str, location: &str) -> Option<Vec<u8>> {
    let kind = ApiKind::of(&Kind::BackupStorageLocation)?.resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind);
    let location = api.get_opt(location).await.ok()??;
    let encoded = location.data.pointer("/spec/objectStorage/caCert")?.as_str()?;
    base64::engine::general_purpose::STANDARD.decode(encoded).ok()
}

#[cfg(test)]
mod tests {
    use super::stand::{Stand, client_of_nothing, json};
    use super::*;

    #[tokio::test]
    async fn the_location_says_whom_to_trust() {
        let encoded = base64::engine::general_purpose::STANDARD.encode("-----BEGIN CERTIFICATE-----");
        let stand = Stand::serve(move |asked| {
            assert_eq!(asked.target, "/apis/velero.io/v1/namespaces/velero/backupstoragelocations/east");
            json(
                200,
                &serde_json::json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
                "metadata": {"name": "east"}, "spec": {"objectStorage": {"caCert": encoded}}}),
            )
        })
        .await;
        let trust = trust(&StoreArgs::default(), stand.client(), "velero", "east").await.unwrap();
        assert_eq!(trust.extra, [b"-----BEGIN CERTIFICATE-----".to_vec()]);
    }

    #[tokio::test]
    async fn without_an_answer_about_the_location_the_system_is_trusted() {
        let trust = trust(&StoreArgs::default(), client_of_nothing(), "velero", "east").await.unwrap();
        assert!(trust.extra.is_empty() && !trust.anybody);
    }
}

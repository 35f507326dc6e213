//! Makes a client of the cluster from the command line; finds the kubeconfig by kubectl's rules. It never impersonates
//! and sends no request to the API server.

use std::path::PathBuf;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::args::Global;
use super::exit::CliError;
use crate::proxy::Proxies;

/// Velero's namespace by default.
const VELERO: &str = "velero";

/// A client for the requested context, and a warning to print.
pub(crate) async fn connect(global: &Global) -> Result<(Client, Option<&'static str>), CliError> {
    let mut config = config(global).await?;
    if let Some(timeout) = global.request_timeout.0 {
        config.connect_timeout = Some(timeout);
        config.read_timeout = Some(timeout);
        config.reset_reader_on_write = true;
    }
    let warning = config
        .accept_invalid_certs
        .then_some("warning: this kubeconfig does not verify the API server's certificate (insecure-skip-tls-verify)");
    let client = Client::try_from(config).map_err(|error| CliError::caused("cannot create a client", &error))?;
    Ok((client, warning))
}

/// The requested namespace, else the context's namespace, as in kubectl, else Velero's usual one. A kubeconfig that
/// cannot be read is reported when it is needed.
pub(crate) fn namespace(global: &Global) -> String {
    let of_context = || {
        let kubeconfig = match &global.kubeconfig {
            Some(path) => Kubeconfig::read_from(path).ok()?,
            None => merged(&candidates()).ok()??,
        };
        let name = global.context.as_ref().or(kubeconfig.current_context.as_ref())?;
        let context = kubeconfig.contexts.iter().find(|context| context.name == *name)?;
        context.context.as_ref()?.namespace.clone().filter(|namespace| !namespace.is_empty())
    };
    global.namespace.clone().or_else(of_context).unwrap_or_else(|| VELERO.to_owned())
}

async fn config(global: &Global) -> Result<Config, CliError> {
    let unusable = |error: KubeconfigError| CliError::caused("the kubeconfig cannot be used", &error);
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let kubeconfig = match &global.kubeconfig {
        Some(path) => Some(Kubeconfig::read_from(path).map_err(unusable)?),
        None => merged(&candidates()).map_err(unusable)?,
    };
    match kubeconfig {
        Some(kubeconfig) => {
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)?;
            let proxies = Proxies::from_env().map_err(|error| CliError::failed(error.to_string()))?;
            proxies.before_api_server(&mut config);
            Ok(config)
        }
        None if options.context.is_none() => Config::incluster().map_err(|_| {
            CliError::failed("no kubeconfig found, and this program does not run in a pod")
                .hint("Set --kubeconfig FILE or the environment variable KUBECONFIG.")
        }),
        None => Err(CliError::failed("no kubeconfig found, so the context does not exist")),
    }
}

/// Where kubectl looks when no `--kubeconfig` is given.
fn candidates() -> Vec<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let listed: Vec<_> = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if listed.is_empty() {
        std::env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect()
    } else {
        listed
    }
}

/// Merges the files; the first to set a value wins. Files that do not exist are skipped, as in kubectl. `None`: no file
/// exists.
fn merged(paths: &[PathBuf]) -> Result<Option<Kubeconfig>, KubeconfigError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths {
        let next = match Kubeconfig::read_from(path) {
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == std::io::ErrorKind::NotFound => {
                continue;
            }
            read => read?,
        };
        merged = Some(match merged {
            Some(before) => before.merge(next)?,
            None => next,
        });
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_kubeconfigs_are_merged_and_absent_ones_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let first = write("first", "current-context: a\ncontexts: [{name: a, context: {cluster: ca, user: ua}}]\n");
        let second = write(
            "second",
            "current-context: b\nclusters: [{name: ca, cluster: {server: 'https://a.example'}}]\ncontexts: [{name: b, context: {cluster: ca}}]\n",
        );
        let absent = dir.path().join("absent");
        let config = merged(&[first, absent.clone(), second]).unwrap().unwrap();
        assert_eq!(config.current_context.as_deref(), Some("a"));
        assert_eq!(config.contexts.len(), 2);
        assert_eq!(config.clusters.len(), 1);
        assert!(merged(&[absent]).unwrap().is_none());
        let broken = write("broken", "contexts: {");
        assert!(merged(&[broken]).is_err());
    }
}

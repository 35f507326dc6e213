//! The API server's clients: one that the whole operator shares, which limits its requests per second as Velero's own
//! server does, and one for the election, which neither waits nor retries. [`in_time`] limits the time of one answer.

use std::{num::NonZeroU32, time::Duration};

use kube::{Client, Config, client::ClientBuilder};
use tower::{limit::RateLimitLayer, util::MapResultLayer};

use crate::metrics::Metrics;

/// Timeout for one answer of the API server.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that sends at most `qps` requests per second; further requests wait in order. A watch is one request.
/// Velero's server has a flag of the same name. `metrics` counts the answers.
///
/// # Errors
/// The configuration names files, keys or addresses that cannot be used.
pub fn client(config: Config, qps: NonZeroU32, metrics: Metrics) -> Result<Client, kube::Error> {
    let limit = RateLimitLayer::new(u64::from(qps.get()), Duration::from_secs(1));
    let counted = MapResultLayer::new(move |answer: Result<http::Response<_>, _>| {
        metrics.api_request(answer.as_ref().ok().map(|answer| answer.status().as_u16()));
        answer
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&counted).with_layer(&limit).build())
}

/// Limits the time of a call to the API server: the client itself would wait forever for a silent server.
///
/// # Errors
/// The errors of the call, and a timeout.
pub async fn in_time<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| {
        let why = format!("no answer within {} s", PATIENCE.as_secs());
        Err(kube::Error::Service(std::io::Error::new(std::io::ErrorKind::TimedOut, why).into()))
    })
}

/// A client for the election alone: the renewal of the Lease must not wait for other requests, and the election itself
/// decides what to do after a failure.
///
/// # Errors
/// As [`client`].
pub fn for_election(mut config: Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.build())
}

//! What can fail on the wire to any store, in our own words, and the step at which it failed. Both `connect` and the
//! providers' transports report it.

use std::{
    io,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rustls::CertificateError as Bad;

use crate::{probe::ProbeStep, proxy::ProxyError};

/// Timeout of TCP and TLS together.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(15);
/// A connection on which nothing moves for this long, in either direction, is given up. A slow store is not idle.
pub(super) const IDLE: Duration = Duration::from_mins(1);

/// Why a connection failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WireError {
    /// No store may have this address.
    #[error("address {0} is not allowed for endpoints")]
    NotAllowed(IpAddr),
    /// The name has no address.
    #[error("DNS resolution failed: {0}")]
    Dns(String),
    /// The host has no address here, and the other way to it failed.
    #[error("no connection to {host}, which resolves only inside the cluster: {why}")]
    Detour {
        /// The host.
        host: String,
        /// A sentence.
        why: String,
    },
    /// Nobody listens.
    #[error("connection refused: {0}")]
    Refused(String),
    /// No answer to the connection attempt.
    #[error("connection timed out: {0}")]
    TimedOut(String),
    /// TLS could not be agreed on.
    #[error("TLS with {host} failed: {why}")]
    Tls {
        /// The host.
        host: String,
        /// The reason in our own words, without bytes of the store.
        why: String,
    },
    /// Nothing moved on the connection.
    #[error("no data on the connection for {} s", IDLE.as_secs())]
    Stalled,
    /// The proxy before the store does not let us through.
    #[error("{0}")]
    Proxy(ProxyError),
    /// Anything else.
    #[error("connection failed: {host}: {kind}")]
    Other {
        /// The step that failed.
        at: ProbeStep,
        /// The host.
        host: String,
        /// The kind.
        kind: io::ErrorKind,
    },
}

impl WireError {
    /// The step that failed.
    pub(super) const fn step(&self) -> ProbeStep {
        match self {
            Self::Dns(_) => ProbeStep::Dns,
            Self::NotAllowed(_) | Self::Refused(_) | Self::TimedOut(_) | Self::Proxy(_) | Self::Detour { .. } => {
                ProbeStep::Connection
            }
            Self::Tls { .. } => ProbeStep::Tls,
            Self::Stalled => ProbeStep::Answer,
            Self::Other { at, .. } => *at,
        }
    }
}

/// The `WireError` in a chain of errors; hyper and rustls wrap it in `io::Error`s, which hide it from `source`.
pub(super) fn wire_error(error: &(dyn std::error::Error + 'static)) -> Option<WireError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<WireError>() {
            return Some(found.clone());
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

pub(super) fn io_kind(error: &(dyn std::error::Error + 'static)) -> io::ErrorKind {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return found.kind();
        }
        next = error.source();
    }
    io::ErrorKind::ConnectionAborted
}

/// Why a handshake failed, from the error of the one who shook hands.
pub(super) fn handshake_error(error: &(dyn std::error::Error + 'static), host: String) -> WireError {
    if let Some(found) = wire_error(error) {
        return found;
    }
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return WireError::Tls { host, why: tls_reason(tls) };
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    WireError::Other { at: ProbeStep::Tls, host, kind: io_kind(error) }
}

/// The common reasons, in words; the others only by their kind.
fn tls_reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "certificate signed by unknown authority; set caCert",
            // The authority has this name, but another key: caCert dates from before its renewal.
            Bad::BadSignature => {
                "certificate signed by another authority with the same name as the one in caCert; renew caCert"
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "certificate has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "certificate is not valid yet",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "certificate is for another host name",
            Bad::Revoked => "certificate was revoked",
            _ => "certificate cannot be used",
        }
        .to_owned(),
        rustls::Error::InvalidMessage(_) => "the port does not answer with TLS; is it an http port?".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("the store sent alert {alert:?}"),
        _ => "the handshake failed".to_owned(),
    }
}

/// By how many seconds the clock behind this `Date` header is ahead of ours.
pub(super) fn ahead(date: &str) -> Option<i64> {
    let store = jiff::fmt::rfc2822::parse(date).ok()?;
    let ours = jiff::Timestamp::try_from(SystemTime::now()).ok()?;
    Some(store.timestamp().as_second().saturating_sub(ours.as_second()))
}

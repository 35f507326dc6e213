//! The steps on the way to a location's store, in order. Each report of a failure names the step that failed.

use serde::Serialize;

/// A step on the way to a store; each needs the steps before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeStep {
    /// Provider, bucket, endpoint and config keys are understood.
    Configuration,
    /// The Secret or the identity that the location names is there and can be read.
    Credential,
    /// The endpoint's name has an address.
    Dns,
    /// The endpoint takes connections.
    Connection,
    /// The server's certificate is trusted.
    Tls,
    /// The endpoint answers as a store does.
    Answer,
    /// The store's clock agrees with ours.
    Clock,
    /// The store accepts the credential.
    Identity,
    /// The bucket is there, and in this region.
    Bucket,
    /// The credential may do what is asked.
    Permission,
    /// Velero accepts the folders below the prefix.
    Layout,
}

impl ProbeStep {
    /// All steps, in order.
    pub const ALL: [Self; 11] = [
        Self::Configuration,
        Self::Credential,
        Self::Dns,
        Self::Connection,
        Self::Tls,
        Self::Answer,
        Self::Clock,
        Self::Identity,
        Self::Bucket,
        Self::Permission,
        Self::Layout,
    ];

    /// The word that a condition's message begins with.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            // A reader fixes the same thing, whether the Secret is missing or the store refuses its content.
            Self::Credential | Self::Identity => "credential",
            Self::Dns => "DNS",
            Self::Connection => "connection",
            Self::Tls => "TLS",
            Self::Answer => "answer",
            Self::Clock => "clock",
            Self::Bucket => "bucket",
            Self::Permission => "permission",
            Self::Layout => "layout",
        }
    }
}

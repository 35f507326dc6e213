//! The steps on the way to a location's store, in their order: whoever tells of a failure names the step that failed.
//! What a step found is not here: that is `report`'s and the store's error.

use serde::Serialize;

/// A step on the way to a store; each needs those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeStep {
    /// Provider, bucket, endpoint and config keys are understood.
    Configuration,
    /// The Secret or the identity that the location names is there and can be read.
    Credential,
    /// The endpoint's name has an address.
    Dns,
    /// Somebody listens there.
    Connection,
    /// The server's certificate is believed.
    Tls,
    /// It answers as a store does.
    Answer,
    /// Its clock agrees with ours.
    Clock,
    /// It takes the credential for somebody's.
    Identity,
    /// The bucket is there, and in this region.
    Bucket,
    /// The credential may do what is asked.
    Permission,
    /// Velero lets stand what lies below the prefix.
    Layout,
}

impl ProbeStep {
    /// All of them, in their order.
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
            // A reader mends the same thing, whether the Secret is missing or the store refuses what is in it.
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

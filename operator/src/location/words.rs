//! The words in which the users of a provider speak of its stores, for messages that are the same for all providers.

/// A provider's own words.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// The location's fields that say where its objects are, to be checked when they are not there.
    pub place: &'static str,
    /// What a location and Velero must name alike, after the bucket.
    pub besides_bucket: &'static str,
    /// The config key that names the server.
    pub server: &'static str,
    /// What cures a credential that is not accepted.
    pub accept: &'static str,
    /// What cures a permission that is lacking.
    pub allow: &'static str,
}

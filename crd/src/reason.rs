//! The closed vocabulary of condition reasons, Event reasons and metric labels. Sentences for people belong in
//! messages.

/// The reason of a condition, an Event or a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The bundle waits for a collection slot of the operator.
    Queued,
    /// Evidence is being read.
    Collecting,
    /// Everything that was wanted is in the bundle.
    Collected,
    /// A bundle exists, but lacks something that was wanted.
    PartiallyCollected,
    /// The sealed bundle is being uploaded to the object store.
    Uploading,
    /// The bundle is in the object store and was verified there.
    Uploaded,
    /// Everything is done.
    Completed,
    /// A URL was signed.
    UrlIssued,
    /// The URL has expired.
    UrlExpired,
    /// The policy signs a URL only on request.
    OnRequest,
    /// The policy never signs a URL.
    Never,
    /// The store, or the credential, cannot sign.
    SigningUnsupported,
    /// The object is no longer in the store, or was replaced.
    ObjectMissing,
    /// The Backup or Restore does not exist.
    TargetNotFound,
    /// The namespace has no Velero.
    VeleroNotFound,
    /// No BackupStorageLocation exists, or the named one does not.
    LocationNotFound,
    /// Several locations qualify.
    LocationAmbiguous,
    /// The location is read-only.
    LocationReadOnly,
    /// The operator cannot use the location's provider or configuration.
    LocationInvalid,
    /// The location has no usable credential.
    CredentialInvalid,
    /// The operator may not read a Secret of the location.
    SecretForbidden,
    /// The spec cannot be fulfilled.
    InvalidSpec,
    /// An annotation's value is not allowed and is ignored.
    InvalidAnnotation,
    /// The resource could not be read at all.
    Malformed,
    /// The resource was restored from a backup and does not run again.
    RestoredFromBackup,
    /// The store refused the request.
    UploadDenied,
    /// The store could not be reached, or failed.
    StoreUnreachable,
    /// The object in the store differs from the bytes sent.
    StoredObjectCorrupt,
    /// The self-check found values in the sealed bundle that redaction should have masked.
    RedactionSelfCheck,
    /// The spool is full.
    SpoolFull,
    /// The operator was interrupted too often during the run.
    Interrupted,
    /// The resource is gone, but its object in the store could not be deleted.
    NotDeleted,
    /// The object was deleted in a bucket that keeps versions: it is hidden, and its versions stay.
    Hidden,
    /// A sweep would have removed suspiciously many objects, so it removed none.
    SweepStopped,
    /// The bundle's time to live has ended.
    Expired,
    /// The API server answered with an error.
    ApiError,
    /// A bundle explains what happened to the Backup or Restore.
    Explained,
    /// The operator created as many DebugBundles by itself as it may within an hour.
    RateLimited,
    /// A ResourceQuota allows no further DebugBundle.
    QuotaExceeded,
    /// The policy allows no DebugBundle at present.
    Suspended,
    /// The policy does not select the Backup or Restore.
    NotSelected,
    /// A label on the Backup, the Restore or its Schedule says that no DebugBundle is wanted.
    Skipped,
    /// The API server refused the DebugBundle.
    Refused,
    /// An automatic DebugBundle was deleted before it was stored: newer ones took its place.
    Superseded,
    /// The operator may not read what a decision depends on.
    PermissionMissing,
    /// The operator follows the policy.
    InForce,
}

impl Reason {
    /// The word as used in conditions, Events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::Collecting => "Collecting",
            Self::Collected => "Collected",
            Self::PartiallyCollected => "PartiallyCollected",
            Self::Uploading => "Uploading",
            Self::Uploaded => "Uploaded",
            Self::Completed => "Completed",
            Self::UrlIssued => "UrlIssued",
            Self::UrlExpired => "UrlExpired",
            Self::OnRequest => "OnRequest",
            Self::Never => "Never",
            Self::SigningUnsupported => "SigningUnsupported",
            Self::ObjectMissing => "ObjectMissing",
            Self::TargetNotFound => "TargetNotFound",
            Self::VeleroNotFound => "VeleroNotFound",
            Self::LocationNotFound => "LocationNotFound",
            Self::LocationAmbiguous => "LocationAmbiguous",
            Self::LocationReadOnly => "LocationReadOnly",
            Self::LocationInvalid => "LocationInvalid",
            Self::CredentialInvalid => "CredentialInvalid",
            Self::SecretForbidden => "SecretForbidden",
            Self::InvalidSpec => "InvalidSpec",
            Self::InvalidAnnotation => "InvalidAnnotation",
            Self::Malformed => "Malformed",
            Self::RestoredFromBackup => "RestoredFromBackup",
            Self::UploadDenied => "UploadDenied",
            Self::StoreUnreachable => "StoreUnreachable",
            Self::StoredObjectCorrupt => "StoredObjectCorrupt",
            Self::RedactionSelfCheck => "RedactionSelfCheck",
            Self::SpoolFull => "SpoolFull",
            Self::Interrupted => "Interrupted",
            Self::NotDeleted => "NotDeleted",
            Self::Hidden => "Hidden",
            Self::SweepStopped => "SweepStopped",
            Self::Expired => "Expired",
            Self::ApiError => "ApiError",
            Self::Explained => "Explained",
            Self::RateLimited => "RateLimited",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::Suspended => "Suspended",
            Self::NotSelected => "NotSelected",
            Self::Skipped => "Skipped",
            Self::Refused => "Refused",
            Self::Superseded => "Superseded",
            Self::PermissionMissing => "PermissionMissing",
            Self::InForce => "InForce",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

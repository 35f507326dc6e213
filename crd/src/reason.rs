//! The closed vocabulary in which a DebugBundle says why: condition reason, Event reason and metric label alike.
//! Prose for people belongs in messages, not here.

/// Why a condition, an Event or a metric is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The bundle waits for one of the operator's places.
    Queued,
    /// Evidence is being read.
    Collecting,
    /// All that was wanted is in the bundle.
    Collected,
    /// The bundle is there, and something wanted is not in it.
    PartiallyCollected,
    /// The sealed bundle is on its way to the object store.
    Uploading,
    /// The bundle is in the object store and was verified there.
    Uploaded,
    /// All done.
    Completed,
    /// A URL was signed.
    UrlIssued,
    /// The URL's time is over.
    UrlExpired,
    /// The policy is to sign a URL only when asked.
    OnRequest,
    /// The policy is never to sign a URL.
    Never,
    /// The store, or the credential, cannot sign.
    SigningUnsupported,
    /// The object is no longer in the store, or is another one.
    ObjectMissing,
    /// The Backup or Restore does not exist.
    TargetNotFound,
    /// The namespace has no Velero.
    VeleroNotFound,
    /// No BackupStorageLocation, or not the one that was named.
    LocationNotFound,
    /// Several locations could be meant.
    LocationAmbiguous,
    /// The location is read-only.
    LocationReadOnly,
    /// The location's provider or configuration is not one the operator can use.
    LocationInvalid,
    /// No usable credential for the location.
    CredentialInvalid,
    /// The spec asks for what cannot be done.
    InvalidSpec,
    /// The value of an annotation is not one that is allowed; it is ignored.
    InvalidAnnotation,
    /// The resource could not be read at all.
    Malformed,
    /// The resource came out of a backup and is not run again.
    RestoredFromBackup,
    /// The store refused the request.
    UploadDenied,
    /// The store could not be reached, or failed.
    StoreUnreachable,
    /// The object in the store is not what was sent.
    StoredObjectCorrupt,
    /// The self-check found in the sealed bundle what redaction should have masked.
    RedactionSelfCheck,
    /// There is no room in the spool.
    SpoolFull,
    /// The operator stopped in the middle, too often.
    Interrupted,
    /// The resource is gone, what is in the store could not be deleted.
    NotDeleted,
    /// The time to live is over.
    Expired,
    /// The API server answered with an error.
    ApiError,
}

impl Reason {
    /// The word as it stands in conditions, Events and metrics.
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
            Self::Expired => "Expired",
            Self::ApiError => "ApiError",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

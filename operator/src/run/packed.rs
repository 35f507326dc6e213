//! A packed bundle: the sealed file in the spool and the few facts for status. Both survive a crash of the process.

use std::path::Path;

use debugbundle_archive::{OWNER_NOTE, Sealed};
use debugbundle_crd::{Bundle, FindingSummary};
use debugbundle_format::text;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Destination, Subject, destination::notes};
use crate::{status::UploadedBundle, store::Upload};

/// A sealed bundle and the facts for its status.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Packed {
    /// The archive.
    #[serde(skip)]
    pub(super) sealed: Option<Sealed>,
    /// Its top directory.
    pub root: String,
    /// The location it is meant for; empty if it is not uploaded.
    pub location: String,
    pub(super) bucket: String,
    pub(super) key: String,
    /// Number of wanted items that it lacks.
    pub missing: i64,
    pub(super) warnings: i64,
    /// The cause of the target's end.
    pub cause: Option<String>,
    /// The findings.
    pub findings: Vec<FindingSummary>,
}

impl Packed {
    /// The id of the finding that is the cause.
    pub fn cause_id(&self) -> Option<&str> {
        self.cause.as_ref().and(self.findings.first()).map(|finding| finding.id.as_str())
    }

    /// The bundle that an earlier process packed in this folder, if it is complete.
    pub fn reopen(dir: &Path) -> Option<Self> {
        let sealed = Sealed::reopen(dir)?;
        let note = std::fs::read(dir.join(OWNER_NOTE)).ok()?;
        let packed: Self = serde_json::from_slice(&note).ok()?;
        Some(Self { sealed: Some(sealed), ..packed })
    }

    /// The archive.
    ///
    /// # Panics
    /// Never: both makers of a `Packed` set it.
    pub fn sealed(&self) -> &Sealed {
        self.sealed.as_ref().expect("pack and reopen set it")
    }

    /// The facts for status.
    pub fn outcome(&self) -> UploadedBundle {
        let sealed = self.sealed();
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let bundle = Bundle {
            storage_location: self.location.clone(),
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            bytes: number(sealed.bytes),
            size: text::human_bytes(sealed.bytes),
            sha256: sealed.sha256.clone(),
            entries: number(sealed.entries),
            manifest_offset: number(sealed.manifest_offset),
            manifest_length: number(sealed.manifest_length),
        };
        UploadedBundle { bundle, missing: self.missing, errors: self.missing, warnings: self.warnings }
    }

    /// The same bundle with this place: its location may have been mended since it was sealed.
    #[must_use]
    pub fn at(&self, destination: &Destination) -> Self {
        Self {
            location: destination.location.name.clone(),
            bucket: destination.bucket().to_owned(),
            key: destination.key.as_str().to_owned(),
            ..self.clone()
        }
    }

    /// Whether it was meant for this place.
    pub fn is_for(&self, destination: &Destination) -> bool {
        self.bucket == destination.bucket() && self.key == destination.key.as_str()
    }

    /// The upload of this bundle; its time to live begins now.
    pub fn upload(&self, subject: &Subject, now: Timestamp) -> Upload<'_> {
        let sealed = self.sealed();
        Upload {
            file: &sealed.file,
            bytes: sealed.bytes,
            sha256: &sealed.sha256,
            meta: notes(subject, self.missing > 0, now),
        }
    }
}

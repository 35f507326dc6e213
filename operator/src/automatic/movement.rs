//! Reads when something below a Backup or Restore last moved: Velero's data movements that carry the target's label.

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::Kind;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
};

use super::watched::{Watched, moved};
use crate::{
    access::{ReadScope, need},
    client::in_time,
    cluster::ApiKind,
    error::api_sentence,
};

/// Objects in one page.
const PAGE: u32 = 200;
/// Most pages of one kind; further objects of the target are not read.
const PAGES: usize = 50;

/// The label with a target's UID (`pkg/apis/velero/v1/labels_annotations.go`).
const fn uid_label(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Backup => "velero.io/backup-uid",
        TargetKind::Restore => "velero.io/restore-uid",
    }
}

/// Why the objects below a target could not be read.
pub(super) enum Unread {
    /// The API server did not answer, or failed: a sentence.
    Failed(String),
    /// A permission is missing: a sentence that names the rule.
    NotAllowed(String),
}

impl Unread {
    fn of(error: &kube::Error, namespace: &str, kind: &ApiKind) -> Self {
        if !matches!(error, kube::Error::Api(status) if status.is_forbidden()) {
            return Self::Failed(api_sentence(error));
        }
        let (need, plural) = (need("list", kind, "", Some(namespace)), &kind.plural);
        let cure = ReadScope::new(namespace, false, &[]).forbidden(plural, "", "", need).cure;
        Self::NotAllowed(format!("the operator may not list {plural}.velero.io: {cure}"))
    }
}

/// When an object below the target last moved; `None` if no such object exists. The first movement after `enough` ends
/// the search.
///
/// # Errors
/// The API server refuses or does not answer: the objects that were read do not show that the others stand still. A kind
/// that it does not serve is no error.
pub(super) async fn last_below(
    client: &Client,
    namespace: &str,
    target: &Watched,
    enough: Timestamp,
) -> Result<Option<Timestamp>, Unread> {
    let (label, kinds) = (uid_label(target.kind), Kind::data_of(&Kind::of(target.kind.as_str())));
    let mut last = None;
    for kind in kinds.iter().filter_map(ApiKind::of) {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource());
        let mut page = ListParams::default().labels(&format!("{label}={}", target.uid)).limit(PAGE);
        for _ in 0..PAGES {
            let listed = match in_time(api.list_metadata(&page)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => break,
                listed => listed.map_err(|error| Unread::of(&error, namespace, &kind))?,
            };
            last = last.max(listed.items.iter().map(|object| moved(&object.metadata)).max());
            if last > Some(enough) {
                return Ok(last);
            }
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(last)
}

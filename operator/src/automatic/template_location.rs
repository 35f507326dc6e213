//! Whether the location exists that the policy's template names. It is a warning only: cause and findings of a bundle are
//! published in any case, and its upload waits for the location.

use std::time::Duration;

use debugbundle_diagnosis::Kind;
use kube::{Api, api::DynamicObject};
use tokio::time::Instant;

use super::Automatic;
use crate::{client::in_time, cluster::ApiKind, location::shown};

/// How often it is read.
const EVERY: Duration = Duration::from_mins(1);

/// What is known of the location.
#[derive(Default)]
pub(super) struct TemplateLocation {
    read: Option<Instant>,
    warning: Option<String>,
}

impl TemplateLocation {
    /// Reads the location, unless it was read within the last minute.
    pub(super) async fn look(&mut self, automatic: &Automatic, name: &str) {
        if self.read.is_some_and(|read| read.elapsed() < EVERY) {
            return;
        }
        self.read = Some(Instant::now());
        let Some(resource) = ApiKind::of(&Kind::BackupStorageLocation).map(|kind| kind.resource()) else { return };
        let api: Api<DynamicObject> = Api::namespaced_with(automatic.client.clone(), &automatic.namespace, &resource);
        let found = match in_time(api.get_opt(name)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, name, "The location of the policy's template was not read");
                return;
            }
        };
        let is_read_only = |location: &DynamicObject| location.data["spec"]["accessMode"] == "ReadOnly";
        self.warning = match found {
            None => Some(format!(
                "spec.template.storageLocation: BackupStorageLocation {} not found: the upload of bundles waits for it",
                shown(name)
            )),
            Some(location) if is_read_only(&location) => Some(format!(
                "spec.template.storageLocation: BackupStorageLocation {} is ReadOnly: nothing is uploaded",
                shown(name)
            )),
            Some(_) => None,
        };
    }

    /// A sentence for the policy's status.
    pub(super) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

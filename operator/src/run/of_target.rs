//! The location of Velero's files of a target: its Backup's, however a Restore names that; if the Backup is gone, that
//! of the Restore's own data. `destination` decides where a bundle goes.

use std::ops::ControlFlow;

use debugbundle_crd::{Target, TargetKind};
use kube::{
    Api,
    api::ListParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::Value;

use super::Engine;
use crate::{
    error::Fault,
    inventory::{self, TargetObject, valid_label},
};

impl Engine {
    /// The location of the target's Backup.
    ///
    /// # Errors
    /// The API server fails. A missing Backup, or missing data, is no error: the default location is left.
    pub(super) async fn location_of(&self, target: &Target) -> Result<Option<String>, Fault> {
        let (backup, restore) = match target.kind {
            TargetKind::Backup => (Some(target.name.clone()), None),
            TargetKind::Restore => {
                let restore = there(&self.velero("Restore", "restores"), &target.name).await?;
                let restore = restore.map(|object| TargetObject::read(TargetKind::Restore, as_value(&object)));
                let backup = match &restore {
                    Some(restore) => self.backup_of(restore).await?,
                    None => None,
                };
                (backup, restore)
            }
        };
        let Some(backup) = backup else { return Ok(None) };
        match (there(&self.velero("Backup", "backups"), &backup).await?, restore) {
            (Some(backup), _) => Ok(TargetObject::read(TargetKind::Backup, as_value(&backup)).storage_location),
            (None, Some(restore)) => Ok(self.location_of_data(&restore).await),
            (None, None) => Ok(None),
        }
    }

    /// The Backup that a Restore names, or that Velero chooses from the Schedule that it names.
    async fn backup_of(&self, restore: &TargetObject) -> Result<Option<String>, Fault> {
        let Some(selector) = restore.schedule_selector() else { return Ok(restore.backup_name.clone()) };
        let mut candidates = Vec::new();
        let api = self.velero("Backup", "backups");
        let listed = each(&api, Some(&selector), |backup| {
            let backup = TargetObject::read(TargetKind::Backup, as_value(&backup));
            candidates.push(TargetObject::candidate(backup));
            ControlFlow::Continue(())
        });
        match listed.await {
            Ok(()) => Ok(restore.newest_of_schedule(candidates)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(Fault::api(error)),
        }
    }

    /// The location of a Restore's own data, if its Backup is gone. Checked by UID: an earlier Restore may have had the
    /// same name. A failure to read it is no error.
    async fn location_of_data(&self, restore: &TargetObject) -> Option<String> {
        let selector = format!("velero.io/restore-name={}", valid_label(&restore.name));
        for (version, kind, plural) in
            [("v1", "PodVolumeRestore", "podvolumerestores"), ("v2alpha1", "DataDownload", "datadownloads")]
        {
            let mut found = None;
            let api = self.velero_of(version, kind, plural);
            let listed = each(&api, Some(&selector), |object| {
                let object = as_value(&object);
                let location = object["spec"]["backupStorageLocation"].as_str();
                let location = location.filter(|name| inventory::is_dns_name(name));
                match location.filter(|_| inventory::is_data_of(&object, "restore", &restore.uid)) {
                    Some(location) => {
                        found = Some(location.to_owned());
                        ControlFlow::Break(())
                    }
                    None => ControlFlow::Continue(()),
                }
            });
            // Even if the list broke off, a found location is the Restore's own.
            let _ = listed.await;
            if found.is_some() {
                return found;
            }
        }
        None
    }

    pub(super) fn velero(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        self.velero_of("v1", kind, plural)
    }

    fn velero_of(&self, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("velero.io", version, kind), plural);
        Api::namespaced_with(self.client.clone(), &self.options.namespace, &resource)
    }
}

/// The object, if it exists and its kind is served: for an unknown kind the API server answers 404 as plain text, not
/// as a status `NotFound`. A Restore may name any text as its Backup; a name that no object can have is not requested,
/// since in a path it could lead elsewhere.
async fn there(api: &Api<DynamicObject>, name: &str) -> Result<Option<DynamicObject>, Fault> {
    if !inventory::is_dns_name(name) {
        return Ok(None);
    }
    match api.get(name).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(Fault::api(error)),
    }
}

/// All objects, page by page.
pub(super) async fn every(api: &Api<DynamicObject>) -> Result<Vec<DynamicObject>, kube::Error> {
    let mut all = Vec::new();
    each(api, None, |object| {
        all.push(object);
        ControlFlow::Continue(())
    })
    .await?;
    Ok(all)
}

/// Passes all objects, or those that match a selector, to `take`, page by page, until it has enough: a Schedule or its
/// data may have thousands.
async fn each(
    api: &Api<DynamicObject>,
    selector: Option<&str>,
    mut take: impl FnMut(DynamicObject) -> ControlFlow<()>,
) -> Result<(), kube::Error> {
    let mut params = ListParams { label_selector: selector.map(str::to_owned), ..ListParams::default().limit(500) };
    loop {
        let page = api.list(&params).await?;
        let enough = page.items.into_iter().try_for_each(&mut take).is_break();
        match page.metadata.continue_.filter(|token| !enough && !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

pub(super) fn as_value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

//! The installation that this process works for: its id, which is a folder in each bundle's key, and whether it is
//! being removed, or was removed and installed again. After the removal of Velero's namespace or of the definition of DebugBundles, the stored bundles
//! stay.

use debugbundle_crd::Reason;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, api::ObjectMeta};

use super::Engine;
use crate::{access::rules::DEFINITION, client::in_time, error::Fault, store::InstallationId};

/// Whether the installation stays, or its removal explains that a DebugBundle was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Namespace and definition exist, and neither is being deleted, as far as the operator may read them.
    Stands {
        /// When the definition was installed; `None` if the operator may not read it: then it may be in deletion, and
        /// only what has expired may be deleted.
        defined: Option<Timestamp>,
    },
    /// The whole installation is being removed; the text is the evidence for it.
    Removed(String),
}

impl Standing {
    /// What this means for a DebugBundle that was created then. No DebugBundle is older than its definition: if it is,
    /// the definition was removed, and the DebugBundle with it, and was installed again since.
    #[must_use]
    pub fn of_bundle_created(self, created: Option<Timestamp>) -> Self {
        match self {
            Self::Stands { defined: Some(defined) } if created.is_some_and(|created| created < defined) => {
                Self::Removed(format!("the CustomResourceDefinition {DEFINITION} was installed again at {defined}"))
            }
            other => other,
        }
    }
}

impl Engine {
    /// Uses this id instead of reading it.
    #[must_use]
    pub fn with_installation(self, id: InstallationId) -> Self {
        // A new engine has no id yet.
        let _ = self.installation.set(id);
        self
    }

    /// The id of the installation.
    ///
    /// # Errors
    /// [`Self::read_installation`] has not succeeded yet.
    pub fn installation(&self) -> Result<&InstallationId, Fault> {
        self.installation.get().ok_or_else(|| self.unreadable("it was not read yet"))
    }

    /// Reads the id, once per process: a bundle's key must never change.
    ///
    /// # Errors
    /// The namespace cannot be read.
    pub async fn read_installation(&self) -> Result<(), Fault> {
        if self.installation.get().is_some() {
            return Ok(());
        }
        let meta = self.namespace().await?.ok_or_else(|| self.unreadable("it does not exist"))?;
        let id = InstallationId::new(&meta.uid.unwrap_or_default());
        // Another task may have been faster; both read the same namespace.
        let _ = self.installation.set(id.map_err(|error| self.unreadable(&error.to_string()))?);
        Ok(())
    }

    /// Whether the installation stays. The answer is needed before an object is deleted because its DebugBundle is
    /// gone.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn standing(&self) -> Result<Standing, Fault> {
        let name = &self.options.namespace;
        let id = self.installation()?;
        match self.namespace().await? {
            None => return Ok(Standing::Removed(format!("namespace {name} does not exist any more"))),
            Some(meta) if meta.deletion_timestamp.is_some() => {
                return Ok(Standing::Removed(format!("namespace {name} is being deleted")));
            }
            Some(meta) if meta.uid.as_deref() != Some(id.as_str()) => {
                return Ok(Standing::Removed(format!("namespace {name} is another one than at the operator's start")));
            }
            Some(_) => {}
        }
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        match in_time(definitions.get_metadata_opt(DEFINITION)).await {
            Ok(Some(found)) if found.metadata.deletion_timestamp.is_none() => {
                let defined = found.metadata.creation_timestamp.map_or(Timestamp::MAX, |created| created.0);
                Ok(Standing::Stands { defined: Some(defined) })
            }
            Ok(_) => {
                let why = format!("the CustomResourceDefinition {DEFINITION} is being deleted, or is gone");
                Ok(Standing::Removed(why))
            }
            // Nothing else shows it: DebugBundles can be listed while their definition is being deleted.
            Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Standing::Stands { defined: None }),
            Err(error) => Err(Fault::api(error)),
        }
    }

    async fn namespace(&self) -> Result<Option<ObjectMeta>, Fault> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        match in_time(namespaces.get_metadata_opt(&self.options.namespace)).await {
            Ok(found) => Ok(found.map(|found| found.metadata)),
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                let cure = "grant the operator rule R17 of its Role, with the namespace's name in resourceNames";
                Err(self.unreadable(&format!("{}; {cure}", status.message)))
            }
            Err(error) => Err(Fault::api(error)),
        }
    }

    fn unreadable(&self, why: &str) -> Fault {
        let message =
            format!("namespace {}, whose UID is part of each key, cannot be read: {why}", self.options.namespace);
        Fault::transient(Reason::ApiError, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debug_bundle_that_is_older_than_its_definition_went_with_an_earlier_one() {
        let second = |second: i64| Timestamp::from_second(1_800_000_000 + second).expect("a time");
        let stands = |created| {
            let standing = Standing::Stands { defined: Some(second(0)) }.of_bundle_created(Some(second(created)));
            matches!(standing, Standing::Stands { .. })
        };
        assert!(!stands(-1) && stands(0) && stands(1));
        let unknown = Standing::Stands { defined: None };
        assert_eq!(unknown.clone().of_bundle_created(Some(second(-1))), unknown);
    }
}

//! Velero's repository password: read by name, only to mask it. If it may not be read, the bundle says so, with the
//! rule and the cure. What the password opens is never read.

use debugbundle_crd::Reason;
use debugbundle_format::manifest::{Missing, MissingSeverity, Permission};
use debugbundle_redact::Secret;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::Api;
use zeroize::{Zeroize as _, Zeroizing};

use super::{Engine, destination::PATIENCE};
use crate::{
    access::{self, ReadScope},
    cluster::ApiKind,
    diagnose::{Diagnosis, FindingKind},
    error::{Fault, api_sentence},
};

/// Where Velero keeps the password (pkg/repository/keys).
const SECRET: &str = "velero-repo-credentials";
/// The key in the Secret.
const KEY: &str = "repository-password";
/// The redaction rule that masks it.
const MASKED_BY: &str = "known-repository-password";

/// The result of reading it.
pub(super) struct RepositoryPassword {
    /// The value, with the rule that masks it; `None` if there is none, or it may not be read.
    pub(super) known: Option<(&'static str, Secret)>,
    /// The API server's message, if it may not be read.
    refused: Option<String>,
}

impl RepositoryPassword {
    /// The line of `permissions[]`, from the read itself. The permission check's answer may be a minute old, and
    /// masking must not depend on it.
    pub(super) fn permission(&self, velero: &str, read_scope: &ReadScope) -> Permission {
        let need = access::need("get", &kind(), "", Some(velero));
        let rule = read_scope.forbidden("", "", "", need.clone()).rule.unwrap_or_default();
        Permission {
            verb: need.verb,
            group: need.group,
            resource: need.resource,
            subresource: need.subresource,
            namespace: need.namespace,
            allowed: self.refused.is_none(),
            needed_for: format!("masking Velero's repository password, Secret {SECRET}"),
            rule,
        }
    }

    /// The line of `missing[]`, if it may not be read. A note: the bundle lacks nothing that belongs in it.
    pub(super) fn missing(&self, velero: &str, read_scope: &ReadScope) -> Option<Missing> {
        let why = self.refused.as_ref()?;
        let what =
            format!("Velero's repository password (Secret {SECRET}), which is therefore not masked by its value");
        let told = read_scope.forbidden(&what, "", why, access::need("get", &kind(), "", Some(velero)));
        let cure = format!("{}, with {SECRET} among its resourceNames", told.cure);
        Some(Missing { severity: MissingSeverity::Note, cure, ..told })
    }

    /// Adds a warning, where a person who passes the bundle on looks first.
    pub(super) fn warn(&self, velero: &str, diagnosis: &mut Diagnosis) {
        if let Some(why) = &self.refused {
            let title = "Velero's repository password could not be read, so the bundle may contain it";
            diagnosis.add(FindingKind::RepositoryPasswordNotMasked, title, &format!("Secret/{velero}/{SECRET}"), why);
        }
    }
}

impl Engine {
    /// Reads the password.
    ///
    /// # Errors
    /// Transient while the API server does not answer whether there is one: no data is collected that could not be
    /// masked.
    pub(super) async fn repository_password(&self) -> Result<RepositoryPassword, Fault> {
        let api: Api<KubeSecret> = Api::namespaced(self.client.clone(), &self.options.namespace);
        match tokio::time::timeout(PATIENCE, api.get_opt(SECRET)).await {
            Ok(Ok(found)) => Ok(RepositoryPassword { known: found.and_then(value), refused: None }),
            Ok(Err(error @ kube::Error::Api(_))) if is_forbidden(&error) => {
                tracing::warn!(name = SECRET, "This Secret may not be read, so its value is not masked");
                Ok(RepositoryPassword { known: None, refused: Some(api_sentence(&error)) })
            }
            Ok(Err(error)) => Err(Fault::api(error)),
            Err(_) => {
                let message = format!("Secret {SECRET} could not be read within {} s", PATIENCE.as_secs());
                Err(Fault::transient(Reason::ApiError, message))
            }
        }
    }
}

fn kind() -> ApiKind {
    ApiKind::namespaced("", "v1", "secrets", "Secret")
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

fn value(mut found: KubeSecret) -> Option<(&'static str, Secret)> {
    let mut data = found.data.take().unwrap_or_default();
    let password = data.remove(KEY).map(|bytes| Zeroizing::new(bytes.0));
    for other in data.values_mut() {
        other.0.zeroize();
    }
    let text = password.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.map(|text| (MASKED_BY, Secret::new(text)))
}

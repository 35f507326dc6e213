//! The credentials file of a location whose provider has one: the Secret that holds it, and how its values are masked.

use debugbundle_redact::Secret;
use serde_json::Value;

use crate::location::{
    Location, LocationError,
    deployment::{EnvValue, FileKey, SecretKey, Server, mounted},
};

/// What a location uses a Secret for: its credential.
pub(super) const CREDENTIAL: &str = "credential";
/// What a location uses a Secret for: certificates.
pub(super) const CERTIFICATES: &str = "caCertRef";
/// Shorter values are not keys; masking them would blank ordinary words.
const SHORTEST: usize = 8;
/// The most values of a Secret that are masked.
const MOST_VALUES: usize = 64;

/// Where the file is: `spec.credential`, else what config key `credentialsFile` or the variable of the Velero server's
/// pod template names; `None` if nothing names one.
pub(super) fn source(
    location: &Location,
    variable: &str,
    deployment: Option<&Value>,
) -> Result<Option<SecretKey>, LocationError> {
    if let Some(key) = &location.credential {
        return Ok(Some(key.clone()));
    }
    let server = deployment.and_then(Server::of);
    if let Some(path) = FileKey::of(location, server).path() {
        return mounted(location, server, "config key credentialsFile", path).map(Some);
    }
    match server.and_then(|server| server.env(variable)) {
        Some(EnvValue::Literal(path)) => mounted(location, server, variable, path.expose()).map(Some),
        Some(EnvValue::Secret(_)) => Err(location
            .credential_error(format!("the Velero server's {variable} is not a plain path; set spec.credential"))),
        None => Ok(None),
    }
}

/// Nothing names a credentials file. `wanted` says what the file must contain, or what else can be done.
pub(super) fn none_named(location: &Location, variable: &str, wanted: &str) -> LocationError {
    location.credential_error(format!(
        "no credential found: spec.credential is not set, and Velero's Deployment has no {variable}; set spec.credential \
         to {wanted}{}",
        FileKey::hint(location)
    ))
}

/// Name, use and wanted key of each Secret that the location names, even if it cannot be used.
pub(super) fn named(
    location: &Location,
    variable: &str,
    deployment: Option<&Value>,
) -> Vec<(String, &'static str, Option<String>)> {
    let credential = source(location, variable, deployment).ok().flatten().map(|place| (place, CREDENTIAL));
    let certificates = location.ca_cert_ref.clone().map(|place| (place, CERTIFICATES));
    let all = credential.into_iter().chain(certificates);
    all.map(|(place, used_for)| (place.name, used_for, Some(place.key))).collect()
}

/// The values that are masked, with the rule that counts them. Too many cost only readability; too few would leak.
pub(super) fn masked(mut values: Vec<Secret>) -> Vec<(&'static str, Secret)> {
    values.retain(|value| value.expose().len() >= SHORTEST);
    values.truncate(MOST_VALUES);
    values.into_iter().map(|value| ("known-secret-key", value)).collect()
}

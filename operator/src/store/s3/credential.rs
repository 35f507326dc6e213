//! Where a location's credential is, in Velero's own order, and its form once it has been read.
//! A location that names a Secret never falls back to another identity: a wrong key is an error, not another account.

use std::path::PathBuf;

use debugbundle_redact::Secret;
use serde_json::Value;

use super::ini::{Identity, PROJECTED_TOKEN};
use crate::location::{
    Location, LocationError,
    deployment::{EnvFrom, EnvValue, FileKey, SecretKey, Server, mounted},
};

/// The environment variables of the AWS tools.
pub(crate) const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
pub(crate) const SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
pub(crate) const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
const SHARED_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";

/// Where the credential of a location is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// An AWS credentials file in a Secret of Velero's namespace.
    File(SecretKey),
    /// Environment variables of the Velero server, set one by one.
    Environment {
        /// `AWS_ACCESS_KEY_ID`
        access_key_id: EnvValue,
        /// `AWS_SECRET_ACCESS_KEY`
        secret_access_key: EnvValue,
        /// `AWS_SESSION_TOKEN`
        session_token: Option<EnvValue>,
    },
    /// Secrets that the Velero server takes as environment variables; one of them may contain the keys. If none does,
    /// the ambient identity is used.
    EnvironmentOf(Vec<EnvFrom>),
    /// The identity of the operator's own pod.
    Ambient,
}

/// Decides where the credential is: `spec.credential`, else what the Velero server's pod template names, else ambient.
///
/// # Errors
/// `Credential`, if Velero reads it from a place that the operator cannot read.
pub fn source(location: &Location, deployment: Option<&Value>) -> Result<CredentialSource, LocationError> {
    if let Some(key) = &location.credential {
        return Ok(CredentialSource::File(key.clone()));
    }
    let server = deployment.and_then(Server::of);
    if let Some(path) = FileKey::of(location, server).path() {
        return mounted(location, server, "config key credentialsFile", path).map(CredentialSource::File);
    }
    let Some(server) = server else {
        return Ok(CredentialSource::Ambient);
    };
    match server.env(SHARED_FILE) {
        Some(EnvValue::Literal(path)) => {
            return mounted(location, Some(server), SHARED_FILE, path.expose()).map(CredentialSource::File);
        }
        Some(EnvValue::Secret(_)) => {
            return Err(location.credential_error(format!(
                "the Velero server's {SHARED_FILE} is not a plain path; set spec.credential"
            )));
        }
        None => {}
    }
    if let (Some(access_key_id), Some(secret_access_key)) = (server.env(ACCESS_KEY_ID), server.env(SECRET_ACCESS_KEY)) {
        return Ok(CredentialSource::Environment {
            access_key_id,
            secret_access_key,
            session_token: server.env(SESSION_TOKEN),
        });
    }
    let mut from = server.env_from();
    // With another prefix none of a Secret's keys becomes a variable of the AWS tools.
    from.retain(|set| [ACCESS_KEY_ID, SECRET_ACCESS_KEY].iter().any(|name| name.starts_with(&set.prefix)));
    Ok(if from.is_empty() { CredentialSource::Ambient } else { CredentialSource::EnvironmentOf(from) })
}

/// A credential that has been read.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Keys.
    Keys {
        /// The public half.
        access_key_id: String,
        /// The secret half.
        secret_access_key: Secret,
        /// Of a temporary credential.
        session_token: Option<Secret>,
    },
    /// A role assumed with a token that Kubernetes projects into the operator's own pod (IRSA).
    WebIdentity {
        /// The role.
        role_arn: String,
        /// Name of the session, if it was given.
        session_name: Option<String>,
        /// The token, in the operator's pod.
        token_file: PathBuf,
    },
    /// The container credential endpoint of the operator's own pod (EKS Pod Identity).
    Container,
}

impl From<Identity> for Credential {
    fn from(identity: Identity) -> Self {
        match identity {
            Identity::Keys { access_key_id, secret_access_key, session_token } => {
                Self::Keys { access_key_id, secret_access_key, session_token }
            }
            Identity::WebIdentity { role_arn, session_name } => {
                Self::WebIdentity { role_arn, session_name, token_file: PathBuf::from(PROJECTED_TOKEN) }
            }
        }
    }
}

impl Credential {
    /// The identity of the operator's own pod, as its environment describes it.
    pub fn ambient(env: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        if let (Some(role_arn), Some(token_file)) = (env("AWS_ROLE_ARN"), env("AWS_WEB_IDENTITY_TOKEN_FILE")) {
            return Some(Self::WebIdentity {
                role_arn,
                session_name: env("AWS_ROLE_SESSION_NAME"),
                token_file: token_file.into(),
            });
        }
        (env("AWS_CONTAINER_CREDENTIALS_FULL_URI").is_some() || env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").is_some())
            .then_some(Self::Container)
    }

    /// Whether it is an identity of the operator's own pod.
    pub(in crate::store) const fn is_of_pod(&self) -> bool {
        !matches!(self, Self::Keys { .. })
    }

    /// Where it is from, in words.
    pub(in crate::store) const fn words(&self) -> &'static str {
        match self {
            Self::Keys { .. } => "keys from a Secret, or from the Velero server's environment",
            Self::WebIdentity { .. } => "a role, assumed with the operator's own token (IRSA)",
            Self::Container => "the identity of the operator's own pod (EKS Pod Identity)",
        }
    }

    /// The values that must not be shown, each with the rule under which the redaction counts it.
    pub(crate) fn known_values(&self) -> Vec<(&'static str, Secret)> {
        match self {
            Self::Keys { secret_access_key, session_token, .. } => {
                let token = session_token.clone().map(|token| ("known-session-token", token));
                std::iter::once(("known-secret-key", secret_access_key.clone())).chain(token).collect()
            }
            Self::WebIdentity { .. } | Self::Container => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use debugbundle_crd::Reason;
    use serde_json::json;

    fn location(spec: &Value) -> Location {
        let mut whole =
            json!({"metadata": {"name": "offsite"}, "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}}});
        for (key, value) in spec.as_object().expect("an object") {
            whole["spec"][key] = value.clone();
        }
        Location::parse(&whole).expect("valid")
    }

    fn deployment(container: &Value, volumes: &Value) -> Value {
        json!({"spec": {"template": {"spec": {"containers": [container], "volumes": volumes}}}})
    }

    fn key(name: &str, key: &str) -> SecretKey {
        SecretKey { name: name.to_owned(), key: key.to_owned() }
    }

    /// As `velero install` writes it.
    fn installed() -> Value {
        deployment(
            &json!({
                "name": "velero",
                "env": [{"name": SHARED_FILE, "value": "/credentials/cloud"}],
                "envFrom": [{"secretRef": {"name": "extra"}}],
                "volumeMounts": [{"name": "creds", "mountPath": "/credentials"}],
            }),
            &json!([{"name": "creds", "secret": {"secretName": "server-keys"}}]),
        )
    }

    #[test]
    fn sec_c2_the_locations_own_credential_comes_first() {
        let location =
            location(&json!({"credential": {"name": "own", "key": "cloud"}, "config": {"credentialsFile": "/x"}}));
        assert_eq!(source(&location, Some(&installed())).expect("found"), CredentialSource::File(key("own", "cloud")));
    }

    #[test]
    fn then_the_servers_file() {
        let location = location(&json!({}));
        assert_eq!(
            source(&location, Some(&installed())).expect("found"),
            CredentialSource::File(key("server-keys", "cloud"))
        );
    }

    #[test]
    fn sec_d8_a_path_is_followed_to_its_secret_or_refused() {
        let location = location(&json!({"config": {"credentialsFile": "/credentials/other"}}));
        assert_eq!(
            source(&location, Some(&installed())).expect("found"),
            CredentialSource::File(key("server-keys", "other"))
        );
        let error = source(&location, None).expect_err("no Deployment");
        assert_eq!(error.reason(), Reason::CredentialInvalid);
        assert!(
            error.to_string().contains("config key credentialsFile is \"/credentials/other\"")
                && error.to_string().contains("set spec.credential"),
            "{error}"
        );
    }

    #[test]
    fn then_the_servers_environment() {
        let location = location(&json!({}));
        let env = json!({"name": "velero", "env": [
            {"name": ACCESS_KEY_ID, "value": "AK"},
            {"name": SECRET_ACCESS_KEY, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]});
        assert_eq!(
            source(&location, Some(&deployment(&env, &json!([])))).expect("found"),
            CredentialSource::Environment {
                access_key_id: EnvValue::Literal(Secret::new("AK")),
                secret_access_key: EnvValue::Secret(key("s", "k")),
                session_token: None,
            }
        );
        let whole = json!({"name": "velero", "envFrom": [{"secretRef": {"name": "extra"}}]});
        assert_eq!(
            source(&location, Some(&deployment(&whole, &json!([])))).expect("found"),
            CredentialSource::EnvironmentOf(vec![EnvFrom { name: "extra".to_owned(), prefix: String::new() }])
        );
    }

    #[test]
    fn the_ambient_identity_comes_last() {
        let location = location(&json!({}));
        let bare = deployment(&json!({"name": "velero"}), &json!([]));
        assert_eq!(source(&location, Some(&bare)).expect("found"), CredentialSource::Ambient);
        assert_eq!(source(&location, None).expect("found"), CredentialSource::Ambient);
    }

    #[test]
    fn sec_c7_the_own_pod_s_environment_tells_the_ambient_identity() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        assert!(Credential::ambient(env(&[])).is_none());
        assert!(Credential::ambient(env(&[("AWS_ROLE_ARN", "r")])).is_none());
        assert!(Credential::ambient(env(&[(ACCESS_KEY_ID, "x"), (SECRET_ACCESS_KEY, "y")])).is_none());
        let irsa = Credential::ambient(env(&[("AWS_ROLE_ARN", "r"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")]));
        assert!(matches!(irsa, Some(Credential::WebIdentity { role_arn, .. }) if role_arn == "r"));
        let pod = Credential::ambient(env(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1")]));
        assert!(matches!(pod, Some(Credential::Container)));
    }
}

//! Finds, in the pod template of Velero's Deployment, the Secret behind a path or an environment variable.
//! `secrets` reads the Secrets.

use debugbundle_redact::Secret;
use serde_json::Value;

use super::{Location, LocationError, shown};

/// A key of a Secret in Velero's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: String,
}

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// Written in the pod template.
    Literal(Secret),
    /// From a Secret.
    Secret(SecretKey),
}

/// All keys of a Secret as environment variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFrom {
    /// Name of the Secret.
    pub name: String,
    /// The prefix of each variable's name.
    pub prefix: String,
}

/// The container of the Velero server in the pod template of its Deployment.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    container: &'a Value,
    volumes: &'a [Value],
}

impl<'a> Server<'a> {
    /// The container named `velero`, else the first one.
    pub fn of(deployment: &'a Value) -> Option<Self> {
        let pod = deployment.pointer("/spec/template/spec")?;
        let containers = pod.get("containers")?.as_array()?;
        let container =
            containers.iter().find(|container| container["name"] == "velero").or_else(|| containers.first())?;
        Some(Self { container, volumes: list(pod, "volumes") })
    }

    /// The environment variable `name`, if `env` sets it.
    pub fn env(self, name: &str) -> Option<EnvValue> {
        // Of two entries with the same name the kubelet takes the last.
        let entry = list(self.container, "env").iter().rfind(|entry| entry["name"] == name)?;
        if let Some(value) = text(entry, "/value").filter(|value| !value.is_empty()) {
            return Some(EnvValue::Literal(Secret::new(value)));
        }
        Some(EnvValue::Secret(SecretKey {
            name: text(entry, "/valueFrom/secretKeyRef/name")?.to_owned(),
            key: text(entry, "/valueFrom/secretKeyRef/key")?.to_owned(),
        }))
    }

    /// Major and minor version, if the tag of the image says it.
    fn version(self) -> Option<(u32, u32)> {
        let image = text(self.container, "/image")?.split('@').next()?.rsplit('/').next()?;
        let mut numbers = image.split_once(':')?.1.trim_start_matches('v').split(['.', '-', '+']);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// The Secrets in `envFrom`: all their keys become environment variables.
    pub fn env_from(self) -> Vec<EnvFrom> {
        list(self.container, "envFrom")
            .iter()
            .filter_map(|entry| {
                let name = text(entry, "/secretRef/name")?.to_owned();
                Some(EnvFrom { name, prefix: text(entry, "/prefix").unwrap_or_default().to_owned() })
            })
            .collect()
    }

    /// The Secret that is mounted at `path`.
    pub fn mounted(self, path: &str) -> Option<SecretKey> {
        let (mount, below) = list(self.container, "volumeMounts")
            .iter()
            .filter_map(|mount| {
                let at = text(mount, "/mountPath")?.trim_end_matches('/');
                let below = path.strip_prefix(at)?;
                (below.is_empty() || below.starts_with('/')).then(|| (mount, below.trim_start_matches('/'), at.len()))
            })
            // The deepest mount hides the others.
            .max_by_key(|(.., depth)| *depth)
            .map(|(mount, below, _)| (mount, below))?;
        let file = match text(mount, "/subPath").filter(|sub| !sub.is_empty()) {
            Some(sub) if below.is_empty() => sub.trim_matches('/').to_owned(),
            Some(sub) => format!("{}/{below}", sub.trim_matches('/')),
            None => below.to_owned(),
        };
        let wanted = text(mount, "/name")?;
        let volume = self.volumes.iter().find(|volume| volume["name"] == wanted)?;
        if let Some(name) = text(volume, "/secret/secretName") {
            return found(name, volume.get("secret")?, &file);
        }
        list(volume.get("projected")?, "sources").iter().find_map(|source| {
            let secret = source.get("secret")?;
            found(text(secret, "/name")?, secret, &file)
        })
    }
}

/// What the config key `credentialsFile` of a location is worth. Up to 1.18 Velero reads the file that it names; since 1.19
/// Velero ignores it (`pkg/persistence/object_store.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKey<'a> {
    /// It names no file, or `spec.credential` counts.
    Unset,
    /// Velero reads this file.
    Used(&'a str),
    /// The server's version is not known: taken for one that reads this file.
    Assumed(&'a str),
    /// The server ignores it.
    Ignored,
}

impl<'a> FileKey<'a> {
    /// By the version of the server that the tag of its image says.
    pub(crate) fn of(location: &'a Location, server: Option<Server<'_>>) -> Self {
        let path = location.config.get("credentialsFile").map(String::as_str).filter(|path| !path.is_empty());
        match (path, &location.credential, server.and_then(Server::version)) {
            (None, ..) | (_, Some(_), _) => Self::Unset,
            (Some(path), None, None) => Self::Assumed(path),
            (Some(path), None, Some(version)) if version < (1, 19) => Self::Used(path),
            (Some(_), None, Some(_)) => Self::Ignored,
        }
    }

    /// The file to read.
    pub(crate) fn path(self) -> Option<&'a str> {
        match self {
            Self::Used(path) | Self::Assumed(path) => Some(path),
            Self::Unset | Self::Ignored => None,
        }
    }

    /// For a location that has no usable credential: what became of the file that it names.
    pub(crate) fn hint(location: &Location) -> &'static str {
        let names_one = location.config.get("credentialsFile").is_some_and(|path| !path.is_empty());
        if names_one && location.credential.is_none() { Self::Ignored.note() } else { "" }
    }

    /// What was assumed of a server whose version is not known: a clause for a condition, an Event or an error. Empty if
    /// nothing was.
    pub(crate) const fn assumption(self) -> &'static str {
        match self {
            Self::Assumed(_) => self.note(),
            Self::Unset | Self::Used(_) | Self::Ignored => "",
        }
    }

    /// What is said beside the credential that is used; nothing if there is nothing to say.
    pub(crate) const fn note(self) -> &'static str {
        match self {
            Self::Unset | Self::Used(_) => "",
            Self::Assumed(_) => {
                "; config key credentialsFile counts, as up to Velero 1.18, because the server's version is not known"
            }
            Self::Ignored => {
                "; config key credentialsFile does not count since Velero 1.19: move it to spec.credential"
            }
        }
    }
}

/// The Secret behind a path in the Velero server's pod. `what` names the path.
///
/// # Errors
/// `Credential`, if no Secret is mounted there.
pub(crate) fn mounted(
    location: &Location,
    server: Option<Server<'_>>,
    what: &str,
    path: &str,
) -> Result<SecretKey, LocationError> {
    server.and_then(|server| server.mounted(path)).ok_or_else(|| {
        location.credential_error(format!(
            "{what} is {}, a path in the Velero server's pod where no Secret is mounted; set spec.credential to a key of a Secret",
            shown(path)
        ))
    })
}

/// The key of a Secret that its volume mounts as the file `path`.
fn found(name: &str, volume: &Value, path: &str) -> Option<SecretKey> {
    let key = match volume.get("items").and_then(Value::as_array).filter(|items| !items.is_empty()) {
        Some(items) => {
            let item = items.iter().find(|item| text(item, "/path").is_some_and(|at| at.trim_matches('/') == path))?;
            text(item, "/key")?
        }
        None => path,
    };
    (!key.is_empty() && !key.contains('/')).then(|| SecretKey { name: name.to_owned(), key: key.to_owned() })
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Value {
        json!({"spec": {"template": {"spec": {
            "containers": [
                {"name": "sidecar", "env": [{"name": "AWS_SHARED_CREDENTIALS_FILE", "value": "/wrong"}]},
                {
                    "name": "velero",
                    "env": [
                        {"name": "TWICE", "value": "first"},
                        {"name": "TWICE", "value": "second"},
                        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "id"}}},
                        {"name": "FIELD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    ],
                    "envFrom": [{"configMapRef": {"name": "x"}}, {"secretRef": {"name": "extra"}, "prefix": "P_"}],
                    "volumeMounts": [
                        {"name": "root", "mountPath": "/"},
                        {"name": "plain", "mountPath": "/credentials"},
                        {"name": "items", "mountPath": "/items/"},
                        {"name": "plain", "mountPath": "/one/file.txt", "subPath": "cloud"},
                        {"name": "projected", "mountPath": "/projected"},
                        {"name": "scratch", "mountPath": "/scratch"},
                    ],
                },
            ],
            "volumes": [
                {"name": "root", "emptyDir": {}},
                {"name": "plain", "secret": {"secretName": "cloud-credentials"}},
                {"name": "items", "secret": {"secretName": "itemised", "items": [{"key": "k", "path": "deep/cloud"}]}},
                {"name": "projected", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"secret": {"name": "from-projection", "items": [{"key": "k2", "path": "cloud"}]}},
                ]}},
                {"name": "scratch", "emptyDir": {}},
            ],
        }}}})
    }

    #[test]
    fn the_config_key_credentials_file_counts_as_the_server_s_version_has_it() {
        let location = |spec: Value| {
            let whole = json!({"metadata": {"name": "offsite"}, "spec": spec});
            Location::parse(&whole).expect("a location")
        };
        let bucket = json!({"bucket": "b"});
        let named =
            location(json!({"provider": "aws", "objectStorage": bucket, "config": {"credentialsFile": "/c/x"}}));
        for (image, expected) in [
            ("velero/velero:v1.18.3", FileKey::Used("/c/x")),
            ("registry:5000/velero/velero:v1.9.0@sha256:00", FileKey::Used("/c/x")),
            ("velero/velero:v1.19.0-rc.1", FileKey::Ignored),
            ("velero/velero:v2.0.0", FileKey::Ignored),
            ("velero/velero:main", FileKey::Assumed("/c/x")),
            ("velero/velero@sha256:00", FileKey::Assumed("/c/x")),
        ] {
            let mut deployment = deployment();
            deployment["spec"]["template"]["spec"]["containers"][1]["image"] = json!(image);
            assert_eq!(FileKey::of(&named, Server::of(&deployment)), expected, "{image}");
        }
        assert_eq!(FileKey::of(&named, None), FileKey::Assumed("/c/x"));
        let other = json!({"provider": "aws", "objectStorage": bucket, "config": {"credentialsFile": "/c/x"},
            "credential": {"name": "own", "key": "cloud"}});
        assert_eq!(FileKey::of(&location(other), None), FileKey::Unset);
    }

    #[test]
    fn a_path_leads_to_the_secret_that_is_mounted_there() {
        let deployment = deployment();
        let server = Server::of(&deployment).expect("a server");
        for (path, expected) in [
            ("/credentials/cloud", Some(("cloud-credentials", "cloud"))),
            ("/items/deep/cloud", Some(("itemised", "k"))),
            ("/items/cloud", None),
            ("/one/file.txt", Some(("cloud-credentials", "cloud"))),
            ("/projected/cloud", Some(("from-projection", "k2"))),
            ("/projected/token", None),
            ("/scratch/cloud", None),
            ("/credentials-other/cloud", None),
            ("/credentials", None),
        ] {
            let got = server.mounted(path);
            let got = got.as_ref().map(|found| (found.name.as_str(), found.key.as_str()));
            assert_eq!(got, expected, "{path}");
        }
    }

    #[test]
    fn environment_variables_are_followed_to_their_secret() {
        let deployment = deployment();
        let server = Server::of(&deployment).expect("a server");
        assert_eq!(server.env("TWICE"), Some(EnvValue::Literal(Secret::new("second"))));
        assert_eq!(
            server.env("KEY"),
            Some(EnvValue::Secret(SecretKey { name: "keys".to_owned(), key: "id".to_owned() }))
        );
        assert_eq!(server.env("FIELD"), None);
        assert_eq!(server.env("AWS_SHARED_CREDENTIALS_FILE"), None);
        assert_eq!(server.env_from(), [EnvFrom { name: "extra".to_owned(), prefix: "P_".to_owned() }]);
    }

    #[test]
    fn anything_else_is_no_deployment() {
        for odd in [json!(null), json!({"spec": 5}), json!({"spec": {"template": {"spec": {"containers": []}}}})] {
            assert!(Server::of(&odd).is_none(), "{odd}");
        }
    }
}

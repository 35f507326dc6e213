//! The configuration keys of Velero's AWS plugin: each honoured, or refused by name.
//! `credential` decides where the credential comes from.

use crate::{
    location::{Endpoint, EndpointPolicy, Location, LocationError, shown},
    store::config_keys::{all_known, boolean},
};

/// The keys that the plugin knows (`velero-plugin-for-aws/object_store.go`).
const KEYS: [&str; 18] = [
    "region",
    "s3Url",
    "publicUrl",
    "kmsKeyId",
    "customerKeyEncryptionFile",
    "customerKeyEncryptionSecret",
    "s3ForcePathStyle",
    "signatureVersion",
    "credentialsFile",
    "profile",
    "serverSideEncryption",
    "insecureSkipTLSVerify",
    "enableSharedConfig",
    "tagging",
    "checksumAlgorithm",
    // Velero adds these three before it hands the config to the plugin; it also accepts them from a user.
    "bucket",
    "prefix",
    "caCert",
];

/// What the location's `spec.config` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Config {
    /// `region`; if it and `s3Url` are unset, AWS is asked for the bucket's region.
    pub region: Option<String>,
    /// `s3Url`; `None` means AWS.
    pub endpoint: Option<Endpoint>,
    /// `publicUrl`: the endpoint that download URLs are signed for.
    pub public_endpoint: Option<Endpoint>,
    /// `s3ForcePathStyle`
    pub path_style: bool,
    /// `insecureSkipTLSVerify`
    pub skip_tls_verify: bool,
    /// `profile`, else `default`.
    pub profile: String,
    /// `kmsKeyId`, `serverSideEncryption`, `customerKeyEncryption…`
    pub encryption: Encryption,
    /// `tagging`: `k=v&k2=v2`.
    pub tagging: Option<String>,
    /// `checksumAlgorithm`; by default CRC32 on AWS, none where `s3Url` is set: many stores refuse it.
    pub checksum: Option<Checksum>,
}

/// How the store is to encrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket is configured.
    Bucket,
    /// `aws:kms` with this key.
    Kms(String),
    /// Another method by name, such as `AES256`.
    Managed(String),
    /// With a key of our own (SSE-C), read from this place.
    CustomerKey(CustomerKey),
}

/// Where the SSE-C key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomerKey {
    /// A key of a Secret in Velero's namespace.
    Secret {
        /// Name of the Secret.
        name: String,
        /// Key in it.
        key: String,
    },
    /// A path in the Velero server's pod.
    File(String),
}

/// An additional checksum of what is uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// CRC32
    Crc32,
    /// CRC32C
    Crc32c,
    /// SHA1
    Sha1,
    /// SHA256
    Sha256,
}

impl Checksum {
    fn parse(text: &str) -> Result<Option<Self>, String> {
        Ok(Some(match text {
            "" => return Ok(None),
            "CRC32" => Self::Crc32,
            "CRC32C" => Self::Crc32c,
            "SHA1" => Self::Sha1,
            "SHA256" => Self::Sha256,
            other => {
                return Err(format!(
                    "config key checksumAlgorithm is {}; allowed: \"\", CRC32, CRC32C, SHA1, SHA256",
                    shown(other)
                ));
            }
        }))
    }
}

impl S3Config {
    /// Reads the location's config.
    ///
    /// # Errors
    /// `Invalid`, with a sentence for the first thing that is wrong.
    pub fn parse(location: &Location) -> Result<Self, LocationError> {
        Self::read(location).map_err(|why| location.invalid(why))
    }

    /// The same, and checks it against what the operator's admin allows.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(in crate::store) fn checked(location: &Location, policy: EndpointPolicy) -> Result<Self, LocationError> {
        let config = Self::parse(location)?;
        for endpoint in config.endpoint.iter().chain(&config.public_endpoint) {
            endpoint.judge(policy).map_err(|why| location.invalid(why))?;
        }
        if policy.require_verified_tls && config.skip_tls_verify {
            return Err(location.invalid("insecureSkipTLSVerify is refused by --require-verified-tls".to_owned()));
        }
        Ok(config)
    }

    /// What the config means, as a sentence without its end.
    pub(in crate::store) fn meaning(&self) -> String {
        let mut text = match &self.endpoint {
            Some(endpoint) => format!("the store is at {}", endpoint.as_str()),
            None => "the store is AWS".to_owned(),
        };
        if self.endpoint.as_ref().is_some_and(Endpoint::is_plain_http) {
            text.push_str("; plain http: anyone on the network path can read the traffic");
        }
        if self.skip_tls_verify {
            text.push_str("; insecureSkipTLSVerify: the store's identity is not verified");
        }
        text
    }

    fn read(location: &Location) -> Result<Self, String> {
        let config = &location.config;
        all_known(config, &KEYS)?;
        let get = |key: &str| config.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let endpoint = get("s3Url").map(|value| Endpoint::parse("s3Url", value)).transpose()?;
        let checksum = match config.get("checksumAlgorithm") {
            Some(text) => Checksum::parse(text)?,
            None if endpoint.is_none() => Some(Checksum::Crc32),
            None => None,
        };
        // Read for its error only: the plugin accepts the key and ignores it.
        boolean(config.get("enableSharedConfig"), "enableSharedConfig")?;
        Ok(Self {
            region: get("region").map(region).transpose()?,
            public_endpoint: get("publicUrl").map(|value| Endpoint::parse("publicUrl", value)).transpose()?,
            endpoint,
            path_style: boolean(config.get("s3ForcePathStyle"), "s3ForcePathStyle")?,
            skip_tls_verify: boolean(config.get("insecureSkipTLSVerify"), "insecureSkipTLSVerify")?,
            profile: get("profile").unwrap_or("default").to_owned(),
            encryption: encryption(get)?,
            tagging: get("tagging").map(tagging).transpose()?,
            checksum,
        })
    }
}

fn region(value: &str) -> Result<String, String> {
    let plain =
        value.len() <= 64 && value.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter));
    if plain {
        Ok(value.to_owned())
    } else {
        Err(format!("config key region is {}; it must be a region's name, such as us-east-1", shown(value)))
    }
}

fn encryption<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Encryption, String> {
    let methods: Vec<&str> = ["kmsKeyId", "customerKeyEncryptionFile", "customerKeyEncryptionSecret"]
        .into_iter()
        .filter(|key| get(key).is_some())
        .collect();
    if methods.len() > 1 {
        return Err(format!("only one of config keys {} may be set", methods.join(", ")));
    }
    if let Some(key) = get("kmsKeyId") {
        return Ok(Encryption::Kms(key.to_owned()));
    }
    if let Some(path) = get("customerKeyEncryptionFile") {
        return Ok(Encryption::CustomerKey(CustomerKey::File(path.to_owned())));
    }
    if let Some(reference) = get("customerKeyEncryptionSecret") {
        return match reference.split_once('/') {
            Some((name, key)) if !name.is_empty() && !key.is_empty() && !key.contains('/') => {
                Ok(Encryption::CustomerKey(CustomerKey::Secret { name: name.to_owned(), key: key.to_owned() }))
            }
            _ => Err(format!(
                "config key customerKeyEncryptionSecret is {}; it must be <Secret>/<key>",
                shown(reference)
            )),
        };
    }
    Ok(get("serverSideEncryption").map_or(Encryption::Bucket, |method| Encryption::Managed(method.to_owned())))
}

fn tagging(value: &str) -> Result<String, String> {
    const MOST: usize = 10;
    let tags: Vec<&str> = value.split('&').collect();
    let sound = |tag: &&str| tag.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.contains('='));
    if tags.len() <= MOST && tags.iter().all(sound) && value.chars().all(|letter| letter.is_ascii_graphic()) {
        Ok(value.to_owned())
    } else {
        Err(format!("config key tagging is {}; it must be k=v&k=v, at most {MOST}", shown(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(config: &serde_json::Value) -> Result<S3Config, String> {
        let location = Location::parse(&json!({
            "metadata": {"name": "offsite"},
            "spec": {"provider": "velero.io/aws", "objectStorage": {"bucket": "b"}, "config": config},
        }))
        .expect("a location");
        S3Config::parse(&location).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_of_the_plugin_is_honoured() {
        let got = config(&json!({
            "region": "eu-central-1", "s3Url": "https://s3.example.com", "publicUrl": "http://public.example.com:9000",
            "kmsKeyId": "alias/x", "s3ForcePathStyle": "T", "signatureVersion": "4", "credentialsFile": "/credentials/x",
            "profile": "ops", "serverSideEncryption": "AES256", "insecureSkipTLSVerify": "1", "enableSharedConfig": "true",
            "tagging": "a=b&c=", "checksumAlgorithm": "SHA256", "bucket": "b", "prefix": "p", "caCert": "x",
        }))
        .expect("valid");
        assert_eq!(
            got,
            S3Config {
                region: Some("eu-central-1".to_owned()),
                endpoint: Some(Endpoint::parse("s3Url", "https://s3.example.com").expect("valid")),
                public_endpoint: Some(Endpoint::parse("publicUrl", "http://public.example.com:9000").expect("valid")),
                path_style: true,
                skip_tls_verify: true,
                profile: "ops".to_owned(),
                encryption: Encryption::Kms("alias/x".to_owned()),
                tagging: Some("a=b&c=".to_owned()),
                checksum: Some(Checksum::Sha256),
            }
        );
    }

    #[test]
    fn checksums_are_on_by_default_for_aws_alone() {
        assert_eq!(config(&json!({})).expect("valid").checksum, Some(Checksum::Crc32));
        assert_eq!(config(&json!({"s3Url": "http://minio:9000"})).expect("valid").checksum, None);
        assert_eq!(config(&json!({"checksumAlgorithm": ""})).expect("valid").checksum, None);
        let asked = json!({"s3Url": "http://minio:9000", "checksumAlgorithm": "CRC32C"});
        assert_eq!(config(&asked).expect("valid").checksum, Some(Checksum::Crc32c));
    }

    #[test]
    fn encryption_is_one_thing() {
        assert_eq!(config(&json!({})).expect("valid").encryption, Encryption::Bucket);
        assert_eq!(
            config(&json!({"serverSideEncryption": "AES256"})).expect("valid").encryption,
            Encryption::Managed("AES256".to_owned())
        );
        assert_eq!(
            config(&json!({"customerKeyEncryptionSecret": "ssec/key"})).expect("valid").encryption,
            Encryption::CustomerKey(CustomerKey::Secret { name: "ssec".to_owned(), key: "key".to_owned() })
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (input, expected) in [
            (
                json!({"s3url": "http://x"}),
                "BackupStorageLocation \"offsite\": config key \"s3url\" is unknown (did you mean s3Url?)",
            ),
            (json!({"foo": "x"}), "config key \"foo\" is unknown; known keys: region, s3Url"),
            (json!({"s3ForcePathStyle": "yes"}), "config key s3ForcePathStyle is \"yes\"; it must be true or false"),
            (json!({"s3Url": "minio:9000"}), "config key s3Url is \"minio:9000\"; it must be http(s)://host[:port]"),
            (json!({"publicUrl": "ftp://x"}), "config key publicUrl is \"ftp://x\"; it must be http(s)://host[:port]"),
            (json!({"checksumAlgorithm": "MD5"}), "allowed: \"\", CRC32, CRC32C, SHA1, SHA256"),
            (json!({"tagging": "a"}), "it must be k=v&k=v, at most 10"),
            (json!({"tagging": "a=1&".repeat(10) + "b=2"}), "at most 10"),
            (
                json!({"kmsKeyId": "x", "customerKeyEncryptionSecret": "a/b"}),
                "only one of config keys kmsKeyId, customerKeyEncryptionSecret",
            ),
            (json!({"customerKeyEncryptionSecret": "a"}), "it must be <Secret>/<key>"),
            (json!({"region": "us east"}), "config key region is \"us east\""),
        ] {
            let why = config(&input).expect_err(&input.to_string());
            assert!(why.contains(expected), "{input}: {why}");
        }
    }
}

//! Credentials for the SDK: fixed keys, or an identity of the operator's own pod, which is renewed before it ends.
//! Identities are asked for at AWS's endpoints alone: neither the environment nor a location can name another.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use aws_config::{ecs::EcsCredentialsProvider, provider_config::ProviderConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_sdk_s3::{
    config::{BehaviorVersion, Region, http::HttpResponse},
    error::{ProvideErrorMetadata as _, SdkError},
};
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use debugbundle_redact::Secret;
use zeroize::Zeroizing;

use super::{Credential, sdk_http::SdkHttp};
use crate::{
    location::EndpointPolicy,
    probe::ProbeStep,
    store::{StoreError, connect::EndpointAccess, transport::HttpTransport},
};

/// A credential is renewed this long before it expires; the SDK itself drops it ten seconds before.
const RENEWED: Duration = Duration::from_mins(1);
/// Timeout for an answer of the STS.
const STS_TIMEOUT: Duration = Duration::from_secs(20);

/// `reach` is how the store itself is reached. The SDK's own HTTP client is never used: it would send the pod's token
/// to the host in HTTP_PROXY, and connect to any address.
pub(super) fn provider(
    credential: &Credential,
    region: &str,
    reach: &EndpointAccess,
    policy: EndpointPolicy,
) -> Result<SharedCredentialsProvider, StoreError> {
    // Trusts the system's authorities only: a location's TLS settings are about its store.
    let wire = |reach: EndpointAccess| {
        HttpTransport::new(None, false, reach).map(SdkHttp).map_err(|_| StoreError::Unreachable {
            at: ProbeStep::Credential,
            why: "TLS to the identity endpoint cannot be set up".to_owned(),
        })
    };
    Ok(match credential {
        Credential::Keys { access_key_id, secret_access_key, session_token } => {
            SharedCredentialsProvider::new(Credentials::new(
                access_key_id,
                secret_access_key.expose(),
                session_token.as_ref().map(|token| token.expose().to_owned()),
                None,
                "location",
            ))
        }
        Credential::WebIdentity { role_arn, session_name, token_file } => SharedCredentialsProvider::new(
            WebIdentity::new(role_arn, session_name.as_deref(), token_file.clone(), region, wire(reach.clone())?),
        ),
        Credential::Container => {
            let wire = wire(EndpointAccess::PodIdentity { allow_loopback: policy.allow_loopback })?;
            let config = ProviderConfig::without_region().with_region(Some(Region::new(region.to_owned())));
            let config = config.with_http_client(wire);
            SharedCredentialsProvider::new(EcsCredentialsProvider::builder().configure(&config).build())
        }
    })
}

/// Returns the same credential until it is about to expire: the redaction then knows the one that requests carry.
#[derive(Debug)]
pub(super) struct KeptCredentials {
    from: SharedCredentialsProvider,
    last: tokio::sync::Mutex<Option<Credentials>>,
}

impl KeptCredentials {
    pub(super) fn new(from: SharedCredentialsProvider) -> Self {
        Self { from, last: tokio::sync::Mutex::new(None) }
    }

    async fn give(&self) -> Result<Credentials, CredentialsError> {
        let mut last = self.last.lock().await;
        let lasts = |kept: &&Credentials| kept.expiry().is_none_or(|end| end > SystemTime::now() + RENEWED);
        if let Some(kept) = last.as_ref().filter(lasts) {
            return Ok(kept.clone());
        }
        let given = self.from.provide_credentials().await?;
        *last = Some(given.clone());
        Ok(given)
    }
}

impl ProvideCredentials for KeptCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.give())
    }
}

/// The secret values of a credential, each with the rule under which the redaction counts it.
pub(super) fn known_values(credential: &Credentials) -> Vec<(&'static str, Secret)> {
    let token = credential.session_token().filter(|token| !token.is_empty());
    std::iter::once(("known-secret-key", credential.secret_access_key()))
        .chain(token.map(|token| ("known-session-token", token)))
        .map(|(rule, value)| (rule, Secret::new(value)))
        .collect()
}

/// A role assumed with a token that Kubernetes projects into the pod and renews there.
#[derive(Debug)]
struct WebIdentity {
    role_arn: String,
    session_name: String,
    token_file: PathBuf,
    sts: aws_sdk_sts::Client,
}

impl WebIdentity {
    fn new(role_arn: &str, session_name: Option<&str>, token_file: PathBuf, region: &str, wire: SdkHttp) -> Self {
        // Built by hand: loaded configuration would take an endpoint from the environment.
        Self::asking(Self::sts(region, wire).build(), role_arn, session_name, token_file)
    }

    fn sts(region: &str, wire: SdkHttp) -> aws_sdk_sts::config::Builder {
        aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(wire)
            .region(Region::new(region.to_owned()))
            .timeout_config(
                aws_sdk_s3::config::timeout::TimeoutConfig::builder().operation_timeout(STS_TIMEOUT).build(),
            )
    }

    fn asking(config: aws_sdk_sts::Config, role_arn: &str, session_name: Option<&str>, token_file: PathBuf) -> Self {
        Self {
            role_arn: role_arn.to_owned(),
            session_name: session_name.unwrap_or("debugbundle-operator").to_owned(),
            token_file,
            sts: aws_sdk_sts::Client::from_conf(config),
        }
    }

    async fn assume(&self) -> Result<Credentials, CredentialsError> {
        let token = tokio::fs::read_to_string(&self.token_file)
            .await
            .map(Zeroizing::new)
            .map_err(CredentialsError::invalid_configuration)?;
        let answer = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&self.role_arn)
            .role_session_name(&self.session_name)
            .web_identity_token(token.trim())
            .send()
            .await
            .map_err(refused_or_unanswered)?;
        let got = answer.credentials.ok_or_else(|| CredentialsError::provider_error("STS returned no credential"))?;
        let end = (*got.expiration()).try_into().map_err(CredentialsError::provider_error)?;
        Ok(Credentials::new(
            got.access_key_id(),
            got.secret_access_key(),
            Some(got.session_token().to_owned()),
            Some(end),
            "web-identity",
        ))
    }
}

/// A person must fix a refusal; every other error may pass, and the SDK's other providers call it unhandled.
fn refused_or_unanswered(error: SdkError<AssumeRoleWithWebIdentityError, HttpResponse>) -> CredentialsError {
    let passing = ["Throttling", "ThrottlingException", "IDPCommunicationError", "RequestLimitExceeded"];
    match &error {
        SdkError::ServiceError(answer)
            if answer.raw().status().is_client_error()
                && !answer.err().code().is_some_and(|c| passing.contains(&c)) =>
        {
            CredentialsError::provider_error(error)
        }
        _ => CredentialsError::unhandled(error),
    }
}

impl ProvideCredentials for WebIdentity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scripted::Scripted;

    const ANSWER: &str = r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AK</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey>
<SessionToken>hunter3</SessionToken><Expiration>2036-11-21T12:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"#;

    fn identity(endpoint: &str, token_file: PathBuf) -> WebIdentity {
        let wire = SdkHttp(Scripted::transport());
        let config = WebIdentity::sts("eu-west-1", wire).endpoint_url(endpoint).build();
        WebIdentity::asking(config, "arn:aws:iam::1:role/x", None, token_file)
    }

    #[tokio::test]
    async fn a_role_is_assumed_with_the_token_that_lies_there_now() {
        crate::install_crypto_provider();
        let sts = Scripted::start(200, ANSWER).await;
        let token = tempfile::NamedTempFile::new().expect("a file");
        let identity = identity(&sts.endpoint, token.path().to_owned());
        for written in ["first-token\n", "second-token\n"] {
            std::fs::write(token.path(), written).expect("written");
            let got = identity.provide_credentials().await.expect("assumed");
            assert_eq!(
                (got.access_key_id(), got.secret_access_key(), got.session_token()),
                ("AK", "hunter2", Some("hunter3"))
            );
            let end = got.expiry().map(jiff::Timestamp::try_from).expect("it ends").expect("a time");
            assert_eq!(end.to_string(), "2036-11-21T12:00:00Z");
        }
        let asked = sts.asked();
        assert!(asked[0].contains("Action=AssumeRoleWithWebIdentity&"), "{}", asked[0]);
        assert!(asked[0].contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx&RoleSessionName=debugbundle-operator"));
        assert!(asked[0].ends_with("WebIdentityToken=first-token") && asked[1].ends_with("=second-token"));
    }

    #[tokio::test]
    async fn sec_x28_the_keys_of_an_identity_are_known_values_and_stay_the_same_ones() {
        crate::install_crypto_provider();
        let sts = Scripted::start(200, ANSWER).await;
        let token = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(token.path(), "projected").expect("written");
        let kept =
            KeptCredentials::new(SharedCredentialsProvider::new(identity(&sts.endpoint, token.path().to_owned())));
        let mut known = Vec::new();
        for _ in 0..3 {
            known = known_values(&kept.provide_credentials().await.expect("assumed"));
        }
        assert_eq!(sts.asked().len(), 1, "what is known is what the requests carry");
        let seen: Vec<_> = known.iter().map(|(rule, value)| (*rule, value.expose())).collect();
        assert_eq!(seen, [("known-secret-key", "hunter2"), ("known-session-token", "hunter3")]);
        let out =
            debugbundle_redact::Redactor::of_known(known).text("the store says key=hunter2 x=hunter3 and hunter4");
        assert!(!out.contains("hunter2") && !out.contains("hunter3") && out.ends_with("hunter4"), "{out}");

        // A credential that is about to expire is not kept.
        let ends = SystemTime::now() + Duration::from_secs(30);
        let ending = Credentials::new("AK", "hunter2", None, Some(ends), "test");
        let kept = KeptCredentials::new(SharedCredentialsProvider::new(ending));
        *kept.last.lock().await = Some(Credentials::new("AK", "older", None, Some(ends), "test"));
        assert_eq!(kept.give().await.expect("given").secret_access_key(), "hunter2");
    }

    #[tokio::test]
    async fn a_refusal_an_outage_and_a_missing_token_are_told_apart() {
        crate::install_crypto_provider();
        let refusal = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
        let sts = Scripted::start(403, refusal).await;
        let token = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(token.path(), "hunter4").expect("written");
        let told =
            |error: CredentialsError| super::super::classify::credential_error(&error).expect("known").to_string();
        let refused = identity(&sts.endpoint, token.path().to_owned()).assume().await.expect_err("refused");
        assert_eq!(told(refused), "no credential: the pod's identity was refused");
        let sts = Scripted::start(503, "").await;
        let silent = identity(&sts.endpoint, token.path().to_owned()).assume().await.expect_err("no answer");
        assert_eq!(told(silent), "the store is unreachable: the request to the identity endpoint failed");
        let missing = identity(&sts.endpoint, "/no/such/token".into()).assume().await.expect_err("no token");
        assert_eq!(told(missing), "no credential: the pod's identity is configured incorrectly");
    }
}

//! Credentials for the SDK: keys as they are, or an identity of the operator's own pod that is renewed when it ends.
//! Endpoints of identities come from AWS alone: neither the environment nor a location can name another.

use std::{path::PathBuf, time::Duration};

use aws_config::{ecs::EcsCredentialsProvider, provider_config::ProviderConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_sdk_s3::config::{BehaviorVersion, Region};
use zeroize::Zeroizing;

use crate::location::Credential;

/// For the STS to answer.
const STS_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn provider(credential: &Credential, region: &str) -> SharedCredentialsProvider {
    match credential {
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
            WebIdentity::new(role_arn, session_name.as_deref(), token_file.clone(), region),
        ),
        Credential::Container => {
            let config = ProviderConfig::without_region().with_region(Some(Region::new(region.to_owned())));
            SharedCredentialsProvider::new(EcsCredentialsProvider::builder().configure(&config).build())
        }
    }
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
    fn new(role_arn: &str, session_name: Option<&str>, token_file: PathBuf, region: &str) -> Self {
        // Built by hand: configuration that is loaded would take an endpoint from the environment.
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .timeout_config(
                aws_sdk_s3::config::timeout::TimeoutConfig::builder().operation_timeout(STS_TIMEOUT).build(),
            )
            .build();
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
            .map_err(CredentialsError::provider_error)?;
        let got = answer.credentials.ok_or_else(|| CredentialsError::unhandled("the STS gave no credential"))?;
        let end = (*got.expiration()).try_into().map_err(CredentialsError::unhandled)?;
        Ok(Credentials::new(
            got.access_key_id(),
            got.secret_access_key(),
            Some(got.session_token().to_owned()),
            Some(end),
            "web-identity",
        ))
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

//! Presigned URLs, with which an object is read without a credential: their life, what limits it, and their headers.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_s3::{Client, error::SdkError, presigning::PresigningConfig};
use jiff::Timestamp;

use super::{
    super::{
        Key, Signed, SignedUrl, StoreError,
        signed::{disposition, life},
    },
    Customer, S3, classify, with_customer_key,
};

impl S3 {
    /// A URL for reading the object; nobody can revoke it.
    pub(super) async fn signed(&self, key: &Key, ttl: Duration, now: Timestamp) -> Result<Signed, StoreError> {
        let credential = self.credentials.provide_credentials().await.map_err(|error| {
            classify::credential_error(&error)
                .unwrap_or_else(|| StoreError::NoCredential("the pod's identity was refused".to_owned()))
        })?;
        let end = credential.expiry().and_then(|end| Timestamp::try_from(end).ok());
        let (life, limit) = life(ttl, end, now)?;

        let mut signer = self.client.config().to_builder().credentials_provider(credential);
        let endpoint = self.config.public_endpoint.as_ref().or(self.config.endpoint.as_ref());
        if let Some(endpoint) = endpoint {
            signer = signer.endpoint_url(endpoint.as_str());
        }
        // The store judges a URL's age by its own clock, and a signed URL cannot be corrected.
        let start = now
            .checked_add(jiff::SignedDuration::from_secs(self.skew.seconds()))
            .map_err(|_| StoreError::CannotSign("the store's clock is out of range".to_owned()))?;
        let presigning = PresigningConfig::builder()
            .start_time(SystemTime::from(start))
            .expires_in(life)
            .build()
            .map_err(|_| StoreError::CannotSign("the store does not allow this lifetime".to_owned()))?;
        let request = Client::from_conf(signer.build()).get_object().bucket(&self.bucket).key(key.as_str());
        let presigned = with_customer_key!(request, self.customer)
            .response_content_disposition(disposition(key))
            .presigned(presigning)
            .await
            .map_err(|error| cannot_sign(&error))?;
        let expires = now
            .checked_add(jiff::SignedDuration::try_from(life).unwrap_or(jiff::SignedDuration::ZERO))
            .map_err(|_| StoreError::CannotSign("the URL's expiration is out of range".to_owned()))?;
        Ok(Signed {
            url: SignedUrl::new(presigned.uri()),
            expires,
            limit,
            headers: presigned.headers().map(|(name, _)| name.to_owned()).filter(|name| name != "host").collect(),
            cluster_internal: endpoint.is_some_and(crate::location::Endpoint::is_cluster_internal),
            plain_http: endpoint.is_some_and(crate::location::Endpoint::is_plain_http),
        })
    }
}

fn cannot_sign<E>(_: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> StoreError {
    StoreError::CannotSign("the request could not be signed".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::tests::resolved, *};
    use crate::store::{
        InstallationId, Options, Provider,
        s3::{CustomerKey, CustomerKeyBytes, Encryption},
    };

    fn now() -> Timestamp {
        "2026-11-21T03:00:00Z".parse().expect("a time")
    }

    #[tokio::test]
    async fn sec_u10_with_a_customer_key_the_url_names_the_headers_it_needs_and_not_the_key() {
        let mut resolved = resolved(&json!({"region": "eu-west-1", "customerKeyEncryptionSecret": "ssec/key"}));
        let Provider::S3(access) = &mut resolved.provider else { panic!("a store of S3") };
        access.customer_key = CustomerKeyBytes::new(b"0123456789abcdef0123456789abcdef").ok();
        assert!(matches!(access.config.encryption, Encryption::CustomerKey(CustomerKey::Secret { .. })));
        let store = resolved.open(Options::default(), None).await.expect("a store");
        let key = Key::of("", &InstallationId::of_nobody(), None, "dbg", "u-1").expect("a key");
        let signed = store.sign(&key, Duration::from_mins(1), now()).await.expect("signed");
        let mut headers = signed.headers.clone();
        headers.sort();
        assert_eq!(
            headers,
            [
                "x-amz-server-side-encryption-customer-algorithm",
                "x-amz-server-side-encryption-customer-key",
                "x-amz-server-side-encryption-customer-key-md5",
            ]
        );
        let url = signed.url.expose();
        assert!(
            url.starts_with("https://bkt.s3.eu-west-1.amazonaws.com/plugins/debugbundle/00000000-0000-0000-0000-000000000000/installation/dbg-u-1.tar.gz?"),
            "{url}"
        );
        assert!(!url.contains("MDEyMzQ1") && !url.contains("hunter2"), "{url}");
        assert!(url.contains("X-Amz-Date=20261121T030000Z") && url.contains("X-Amz-Expires=60"), "{url}");
        let known: Vec<_> =
            resolved.known_values().into_iter().map(|(rule, value)| (rule, value.expose().to_owned())).collect();
        assert_eq!(known[0], ("known-secret-key", "hunter2".to_owned()));
        assert!(known.contains(&("known-sse-c-key", "0123456789abcdef0123456789abcdef".to_owned())));
    }
}

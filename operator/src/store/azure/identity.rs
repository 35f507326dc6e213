//! Identities of Microsoft Entra: a client with a secret, a certificate or a token that Kubernetes projects, and the
//! identity of the machine; and the account key that such an identity may ask the Azure Resource Manager for.
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use debugbundle_format::hex;
use debugbundle_redact::Secret;
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::sign::AccountKey;
use crate::{
    location::Endpoint,
    store::{
        StoreError, StoreFuture,
        rest::in_query,
        rsa_key::{RsaKey, RsaScheme},
        token::{GivesTokens, IdentityRequest, IdentityService, Token, Tokens, below, projected},
        transport::HttpTransport,
    },
};

const ENTRA: IdentityService = IdentityService {
    name: "Microsoft Entra",
    cure: "are tenant, client id and secret, certificate or federated credential right, and still valid?",
};
const METADATA: IdentityService = IdentityService {
    name: "the machine's identity endpoint",
    cure: "is a managed identity assigned to the node, and is AZURE_CLIENT_ID its client id?",
};
const MANAGER: IdentityService = IdentityService {
    name: "the Azure Resource Manager",
    cure: "does the identity have Microsoft.Storage/storageAccounts/listKeys/action on the storage account, and are \
           subscription, resource group and account right?",
};
/// The kind of a client's own token. <https://www.rfc-editor.org/rfc/rfc7523>
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long a client's own token is valid, seconds.
const ASSERTION_LIFE: i64 = 600;

/// An identity.
#[derive(Clone, Debug)]
pub struct AzureIdentity {
    /// The id or the domain of the tenant.
    pub tenant: String,
    /// The id of the client; empty for the only identity of a machine.
    pub client_id: String,
    /// Who gives its tokens.
    pub authority: Endpoint,
    /// How it shows that it is itself.
    pub proof: AzureProof,
}

/// How an identity shows that it is itself.
#[derive(Clone, Debug)]
pub enum AzureProof {
    /// A secret.
    Secret(Secret),
    /// A certificate and its key.
    Certificate(ClientCertificate),
    /// A token that Kubernetes projects into the operator's own pod and renews there.
    Federated(PathBuf),
    /// The machine that asks; it is asked at its metadata endpoint.
    Machine,
}

/// A client's certificate.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    thumbprint: String,
    key: RsaKey,
}

impl ClientCertificate {
    /// Takes certificate and key, PEM; `None` if one is absent, encrypted, or no RSA key.
    pub fn new(pem: &Secret) -> Option<Self> {
        let certificate = CertificateDer::pem_slice_iter(pem.expose().as_bytes()).next()?.ok()?;
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(&certificate));
        Some(Self { thumbprint, key: RsaKey::of_pem(pem)? })
    }
}

/// Asks for tokens of an identity for one resource.
struct AsksEntra {
    identity: AzureIdentity,
    /// Such as `https://storage.azure.com`.
    resource: String,
    transport: HttpTransport,
}

/// The tokens of an identity for a resource.
pub(super) fn tokens(identity: &AzureIdentity, resource: &str, transport: HttpTransport) -> Tokens {
    Tokens::new(AsksEntra { identity: identity.clone(), resource: resource.to_owned(), transport })
}

impl GivesTokens for AsksEntra {
    fn ask(&self) -> StoreFuture<'_, Token> {
        Box::pin(async move {
            let (identity, client) = (&self.identity, &self.identity.client_id);
            if matches!(identity.proof, AzureProof::Machine) {
                return self.of_machine().await;
            }
            let url = below(&identity.authority, &format!("/{}/oauth2/v2.0/token", identity.tenant));
            let own = match &identity.proof {
                AzureProof::Secret(secret) => ("client_secret", secret.clone()),
                AzureProof::Certificate(certificate) => ("client_assertion", assertion(certificate, client, &url)?),
                AzureProof::Federated(file) => ("client_assertion", projected(file).await?),
                AzureProof::Machine => return self.of_machine().await,
            };
            let scope = format!("{}/.default", self.resource);
            let answer = ENTRA
                .ask(&self.transport, || {
                    let mut fields = vec![
                        ("grant_type", "client_credentials"),
                        ("client_id", client),
                        ("scope", &scope),
                        (own.0, own.1.expose()),
                    ];
                    if own.0 == "client_assertion" {
                        fields.push(("client_assertion_type", ASSERTION));
                    }
                    Ok(IdentityRequest::form(url.clone(), &fields))
                })
                .await?;
            ENTRA.token_in(&answer)
        })
    }
}

impl AsksEntra {
    /// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>
    async fn of_machine(&self) -> Result<Token, StoreError> {
        let client = &self.identity.client_id;
        let mut query = format!("api-version=2018-02-01&resource={}", in_query(&self.resource));
        if !client.is_empty() {
            query = format!("{query}&client_id={}", in_query(client));
        }
        let url = below(&self.identity.authority, &format!("/metadata/identity/oauth2/token?{query}"));
        let answer = METADATA
            .ask(&self.transport, || Ok(IdentityRequest::get(url.clone()).header("metadata", Secret::new("true"))))
            .await?;
        METADATA.token_in(&answer)
    }
}

/// A token that a client signs itself.
/// <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>
fn assertion(certificate: &ClientCertificate, client: &str, url: &str) -> Result<Secret, StoreError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|_| StoreError::NoCredential("the system has no random numbers".to_owned()))?;
    let now = Timestamp::now().as_second();
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": certificate.thumbprint});
    let claims = json!({"aud": url, "iss": client, "sub": client, "jti": hex(&random), "nbf": now - 60, "iat": now,
        "exp": now + ASSERTION_LIFE});
    certificate.key.token(RsaScheme::Pss, &header, &claims)
}

/// An account key that is asked for.
#[derive(Clone, Debug)]
pub struct ListedKey {
    /// Who asks.
    pub identity: AzureIdentity,
    /// The Azure Resource Manager.
    pub management: Endpoint,
    /// The subscription of the storage account.
    pub subscription: String,
    /// Its resource group.
    pub resource_group: String,
}

impl ListedKey {
    /// The first key of the account, as Velero's plugin takes it.
    /// <https://learn.microsoft.com/rest/api/storagerp/storage-accounts/list-keys>
    pub(super) async fn ask(
        &self,
        account: &str,
        tokens: &Tokens,
        transport: &HttpTransport,
    ) -> Result<(AccountKey, Secret), StoreError> {
        let token = tokens.give().await?;
        let url = below(
            &self.management,
            &format!(
                "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Storage/storageAccounts/{account}/listKeys\
                 ?api-version=2023-01-01",
                in_query(&self.subscription),
                in_query(&self.resource_group)
            ),
        );
        let answer = MANAGER
            .ask(transport, || {
                let bearer = Secret::new(format!("Bearer {}", token.value.expose()));
                Ok(IdentityRequest::post(url.clone(), "application/json", Secret::new("{}"))
                    .header("authorization", bearer))
            })
            .await?;
        let key = MANAGER.text_in(&answer, "/keys/0/value")?;
        let account_key = AccountKey::new(account, &key)
            .ok_or_else(|| StoreError::NoCredential("the account key from Azure is not base64".to_owned()))?;
        Ok((account_key, key))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::Value;

    use super::*;
    use crate::store::scripted::Scripted;

    const TOKEN: &str = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"hunter2hunter2"}"#;
    /// Google's test key; Azure's would look the same.
    const KEY_FILE: &str = include_str!("../gcs/testdata/test_service_account.not-a-test.json");

    fn identity(server: &Scripted, proof: AzureProof) -> AzureIdentity {
        let authority = Endpoint::parse("test", &server.endpoint).expect("an endpoint");
        AzureIdentity { tenant: "t-1".to_owned(), client_id: "c-1".to_owned(), authority, proof }
    }

    async fn asked_by(proof: AzureProof) -> String {
        crate::install_crypto_provider();
        let server = Scripted::start(200, TOKEN).await;
        let tokens = tokens(&identity(&server, proof), "https://storage.azure.com", Scripted::transport());
        assert_eq!(tokens.give().await.expect("a token").value.expose(), "hunter2hunter2");
        let asked = server.asked();
        assert_eq!(asked.len(), 1);
        asked[0].clone()
    }

    fn certificate() -> ClientCertificate {
        let file: Value = serde_json::from_str(KEY_FILE).expect("JSON");
        let key = file["private_key"].as_str().expect("a key");
        // Of the certificate only the digest counts.
        let pem = format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{key}");
        ClientCertificate::new(&Secret::new(pem)).expect("usable")
    }

    #[tokio::test]
    async fn each_identity_asks_as_microsoft_documents_it() {
        let secret = asked_by(AzureProof::Secret(Secret::new("a secret&x"))).await;
        assert!(secret.starts_with("POST /t-1/oauth2/v2.0/token\n"), "{secret}");
        let expected = "grant_type=client_credentials&client_id=c-1&scope=https%3A%2F%2Fstorage.azure.com%2F.default\
                        &client_secret=a%20secret%26x";
        assert!(secret.ends_with(expected), "{secret}");

        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"projected.token\n").expect("written");
        let federated = asked_by(AzureProof::Federated(file.path().to_owned())).await;
        let assertion = "client_assertion=projected.token&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
                         client-assertion-type%3Ajwt-bearer";
        assert!(federated.ends_with(assertion), "{federated}");

        let machine = asked_by(AzureProof::Machine).await;
        let first = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com\
                     &client_id=c-1\n";
        assert!(machine.starts_with(first) && machine.contains("metadata: true\n"), "{machine}");

        let certificate = asked_by(AzureProof::Certificate(certificate())).await;
        let assertion = certificate.split("client_assertion=").nth(1).and_then(|rest| rest.split('&').next());
        let parts: Vec<&str> = assertion.expect("an assertion").split('.').collect();
        let decoded = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
        };
        let (header, claims) = (decoded(parts[0]), decoded(parts[1]));
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest([0, 0, 0]));
        assert_eq!(header, json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}));
        assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("c-1"), Some("c-1")));
        assert!(claims["aud"].as_str().is_some_and(|aud| aud.ends_with("/t-1/oauth2/v2.0/token")), "{claims}");
        assert_eq!(claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(600));
    }

    #[tokio::test]
    async fn sec_n7_a_refusal_an_outage_and_a_missing_token_are_told_apart() {
        crate::install_crypto_provider();
        let refusal = r#"{"error":"invalid_client","error_codes":[7000215],"error_description":"hunter3"}"#;
        for (status, answer, expected) in [
            (401, refusal, "no credential: Microsoft Entra refused: HTTP 401 AADSTS7000215; are tenant, client id and"),
            (503, "", "the store is unreachable: Microsoft Entra did not answer: HTTP 503"),
            (200, "{}", "the store is unreachable: Microsoft Entra did not answer: the answer is not the expected one"),
        ] {
            let server = Scripted::start(status, answer).await;
            let proof = AzureProof::Secret(Secret::new("hunter2hunter2"));
            let tokens = tokens(&identity(&server, proof), "https://storage.azure.com", Scripted::transport());
            let error = tokens.give().await.expect_err("refused");
            assert_eq!(error.is_transient(), status != 401);
            assert!(error.to_string().starts_with(expected) && !error.to_string().contains("hunter"), "{error}");
            assert_eq!(error.step(), Some(crate::probe::ProbeStep::Credential));
        }
        let server = Scripted::start(200, TOKEN).await;
        let proof = AzureProof::Federated("/no/such/token".into());
        let tokens = tokens(&identity(&server, proof), "https://storage.azure.com", Scripted::transport());
        let error = tokens.give().await.expect_err("no token").to_string();
        assert_eq!(error, "no credential: the pod's own token, /no/such/token, cannot be read: entity not found");
    }

    #[tokio::test]
    async fn an_account_key_is_asked_for_once_as_by_velero() {
        crate::install_crypto_provider();
        let (login, manager) = (
            Scripted::start(200, TOKEN).await,
            Scripted::start(200, r#"{"keys":[{"keyName":"key1","value":"a2V5MQ=="},{"value":"a2V5Mg=="}]}"#).await,
        );
        let proof = AzureProof::Secret(Secret::new("hunter3hunter3"));
        let key = ListedKey {
            identity: identity(&login, proof),
            management: Endpoint::parse("test", &manager.endpoint).expect("an endpoint"),
            subscription: "s-1".to_owned(),
            resource_group: "rg 1".to_owned(),
        };
        let tokens = tokens(&key.identity, "https://management.azure.com", Scripted::transport());
        let (_, found) = key.ask("acct1", &tokens, &Scripted::transport()).await.expect("a key");
        assert_eq!(found.expose(), "a2V5MQ==");
        let asked = manager.asked();
        let first = "POST /subscriptions/s-1/resourceGroups/rg%201/providers/Microsoft.Storage/storageAccounts/acct1/\
                     listKeys?api-version=2023-01-01\n";
        assert!(
            asked[0].starts_with(first) && asked[0].contains("authorization: Bearer hunter2hunter2\n"),
            "{}",
            asked[0]
        );
        assert!(login.asked()[0].contains("scope=https%3A%2F%2Fmanagement.azure.com%2F.default"));
    }
}

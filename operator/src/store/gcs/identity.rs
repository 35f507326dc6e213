//! Google's identities without a key: that of the machine (on GKE: of the pod), and that of another provider's token that
//! is exchanged (workload identity federation); and URLs that IAM signs for them.
//! <https://docs.cloud.google.com/iam/docs/workload-identity-federation>, <https://google.aip.dev/auth/4117>

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_redact::Secret;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    location::{Endpoint, shown},
    store::{
        StoreError, StoreFuture,
        rest::in_query,
        token::{GivesTokens, IdentityRequest, IdentityService, Token, below, projected},
        transport::HttpTransport,
    },
};

const METADATA: IdentityService = IdentityService {
    name: "the metadata server",
    cure: "is the operator's ServiceAccount bound to a service account of Google (GKE's Workload Identity)?",
};
const STS: IdentityService = IdentityService {
    name: "Google's security token service",
    cure: "do audience and provider of the workload identity pool fit the pod's token?",
};
const IAM: IdentityService = IdentityService {
    name: "Google's IAM",
    cure: "does the identity have the role Service Account Token Creator (or Workload Identity User) on the service account?",
};
/// The rights that a token has: to read and write objects, and to have URLs signed.
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/devstorage.read_write", "https://www.googleapis.com/auth/iam"];
/// The right to act as a service account, which limits its tokens itself.
const TO_IMPERSONATE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Where Google's documents have the pod's token mounted.
const PROJECTED: [&str; 2] = ["/var/run/service-account/token", "/var/run/secrets/tokens/gcp-ksa/token"];

/// An identity without a key.
#[derive(Clone, Debug)]
pub struct GcsIdentity {
    /// Who gives its tokens.
    pub source: TokenSource,
    /// Google's IAM, which signs and impersonates.
    pub iam: Endpoint,
    /// The e-mail of the service account as which URLs are signed; `None`: none can be signed.
    pub signs_as: Option<String>,
}

/// Who gives the tokens of an identity.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// The metadata server, at this address.
    Machine(Endpoint),
    /// A token of another provider, exchanged.
    External(ExternalAccount),
}

/// What counts in a credentials file of type `external_account`.
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// Google's security token service.
    pub sts: Endpoint,
    /// The provider of the workload identity pool.
    pub audience: String,
    /// What kind of token is exchanged.
    pub subject_token_type: String,
    /// The token, in the operator's pod.
    pub file: PathBuf,
    /// The field of the file, if it is JSON.
    pub field: Option<String>,
    /// The e-mail of the service account that is impersonated.
    pub impersonated: Option<String>,
}

/// The form of the file.
#[derive(Deserialize)]
struct ExternalFile {
    audience: String,
    subject_token_type: String,
    token_url: String,
    #[serde(default)]
    service_account_impersonation_url: Option<String>,
    #[serde(default)]
    credential_source: Value,
}

impl ExternalAccount {
    /// Reads the file. Its addresses must be those of Google's services in `universe`; its token must lie where the pod's
    /// own is mounted: other sources would run a program, ask a host, or give another token away.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn parse(text: &str, from: &str, universe: &str) -> Result<Self, String> {
        let file: ExternalFile = serde_json::from_str(text).map_err(|_| {
            format!("{from} has type \"external_account\" and no audience, subject_token_type or token_url")
        })?;
        let sts = format!("https://sts.{universe}");
        if file.token_url != format!("{sts}/v1/token") {
            return Err(format!("token_url in {from} is {}; allowed: {sts}/v1/token", shown(&file.token_url)));
        }
        let impersonated = match &file.service_account_impersonation_url {
            None => None,
            Some(url) => {
                let before = format!("{}/v1/projects/-/serviceAccounts/", iam_of(universe));
                let email = url.strip_prefix(&before).and_then(|rest| rest.strip_suffix(":generateAccessToken"));
                let email = email.filter(|email| is_email(email)).ok_or_else(|| {
                    format!(
                        "service_account_impersonation_url in {from} is {}; allowed: {before}<e-mail>:generateAccessToken",
                        shown(url)
                    )
                })?;
                Some(email.to_owned())
            }
        };
        let path = file.credential_source.get("file").and_then(Value::as_str);
        let path = path.filter(|path| PROJECTED.contains(path)).ok_or_else(|| {
            format!(
                "credential_source in {from} must be a file that is mounted in the operator's pod: {}",
                PROJECTED.join(" or ")
            )
        })?;
        let format = file.credential_source.get("format");
        let field = match format.and_then(|format| format.get("type")).and_then(Value::as_str) {
            Some("json") => format.and_then(|format| format.get("subject_token_field_name")).and_then(Value::as_str),
            _ => None,
        };
        Ok(Self {
            sts: Endpoint::parse("sts", &sts)?,
            audience: file.audience,
            subject_token_type: file.subject_token_type,
            file: PathBuf::from(path),
            field: field.map(ToOwned::to_owned),
            impersonated,
        })
    }

    /// <https://docs.cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>
    async fn exchanged(&self, transport: &HttpTransport) -> Result<Token, StoreError> {
        let mut subject = projected(&self.file).await?;
        if let Some(field) = &self.field {
            let json: Value = serde_json::from_str(subject.expose()).unwrap_or_default();
            let token = json.get(field).and_then(Value::as_str).map(Secret::new);
            subject = token.ok_or_else(|| {
                StoreError::NoCredential(format!(
                    "the pod's own token, {}, has no field {}",
                    self.file.display(),
                    shown(field)
                ))
            })?;
        }
        let of_objects = SCOPES.join(" ");
        let scope = if self.impersonated.is_some() { TO_IMPERSONATE } else { &of_objects };
        let answer = STS
            .ask(transport, || {
                Ok(IdentityRequest::form(
                    below(&self.sts, "/v1/token"),
                    &[
                        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                        ("audience", &self.audience),
                        ("scope", scope),
                        ("subject_token_type", &self.subject_token_type),
                        ("subject_token", subject.expose()),
                    ],
                ))
            })
            .await?;
        STS.token_in(&answer)
    }
}

/// Google's IAM in a universe.
pub(super) fn iam_of(universe: &str) -> String {
    format!("https://iamcredentials.{universe}")
}

/// Whether this can be the e-mail of a service account, which becomes a part of a path.
pub(super) fn is_email(text: &str) -> bool {
    let sound = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
    text.contains('@') && text.chars().all(sound)
}

/// Asks for the tokens of an identity.
pub(super) struct AsksGoogle {
    pub(super) identity: GcsIdentity,
    pub(super) transport: HttpTransport,
}

impl GivesTokens for AsksGoogle {
    fn ask(&self) -> StoreFuture<'_, Token> {
        Box::pin(async move {
            match &self.identity.source {
                TokenSource::Machine(metadata) => {
                    let scopes = in_query(&SCOPES.join(","));
                    let path = format!("/computeMetadata/v1/instance/service-accounts/default/token?scopes={scopes}");
                    let answer = METADATA
                        .ask(&self.transport, || {
                            let request = IdentityRequest::get(below(metadata, &path));
                            Ok(request.header("metadata-flavor", Secret::new("Google")))
                        })
                        .await?;
                    METADATA.token_in(&answer)
                }
                TokenSource::External(account) => {
                    let token = account.exchanged(&self.transport).await?;
                    match &account.impersonated {
                        Some(email) => self.identity.impersonate(email, &token, &self.transport).await,
                        None => Ok(token),
                    }
                }
            }
        })
    }
}

impl GcsIdentity {
    /// <https://docs.cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken>
    async fn impersonate(&self, email: &str, token: &Token, transport: &HttpTransport) -> Result<Token, StoreError> {
        let answer = self.of_iam(email, "generateAccessToken", &json!({"scope": SCOPES}), token, transport).await?;
        let ends = IAM.text_in(&answer, "/expireTime")?.expose().parse::<Timestamp>();
        let ends = ends.map_err(|_| StoreError::silent("IAM does not say when the token ends"))?;
        Ok(Token { value: IAM.text_in(&answer, "/accessToken")?, ends })
    }

    /// A signature by a key of the service account that only Google has.
    /// <https://docs.cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob>
    pub(super) async fn sign_blob(
        &self,
        email: &str,
        message: &[u8],
        token: &Token,
        transport: &HttpTransport,
    ) -> Result<Vec<u8>, StoreError> {
        let payload = json!({"payload": STANDARD.encode(message)});
        let answer = self.of_iam(email, "signBlob", &payload, token, transport).await.map_err(|error| match error {
            StoreError::NoCredential(why) => StoreError::CannotSign(format!("as {email}: {why}")),
            error => error,
        })?;
        let signature = IAM.text_in(&answer, "/signedBlob")?;
        STANDARD
            .decode(signature.expose())
            .map_err(|_| StoreError::CannotSign("the signature of Google's IAM is not base64".to_owned()))
    }

    async fn of_iam(
        &self,
        email: &str,
        method: &str,
        body: &Value,
        token: &Token,
        transport: &HttpTransport,
    ) -> Result<Value, StoreError> {
        let url = below(&self.iam, &format!("/v1/projects/-/serviceAccounts/{}:{method}", in_query(email)));
        IAM.ask(transport, || {
            let bearer = Secret::new(format!("Bearer {}", token.value.expose()));
            let request = IdentityRequest::post(url.clone(), "application/json", Secret::new(body.to_string()));
            Ok(request.header("authorization", bearer))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{scripted::Scripted, token::Tokens};

    const TOKEN: &str = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"hunter2hunter2"}"#;
    const EMAIL: &str = "velero@p.iam.gserviceaccount.com";

    type Change = fn(&mut Value);

    fn endpoint(server: &Scripted) -> Endpoint {
        Endpoint::parse("test", &server.endpoint).expect("an endpoint")
    }

    fn file(change: impl FnOnce(&mut Value)) -> String {
        let mut file = json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "service_account_impersonation_url":
                format!("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken"),
            "credential_source": {"file": PROJECTED[0], "format": {"type": "text"}},
        });
        change(&mut file);
        file.to_string()
    }

    #[test]
    fn sec_c6_of_an_external_account_only_google_s_services_and_the_pod_s_own_token_are_used() {
        let got = ExternalAccount::parse(&file(|_| ()), "Secret a/b", "googleapis.com").expect("usable");
        assert_eq!((got.impersonated.as_deref(), got.sts.as_str()), (Some(EMAIL), "https://sts.googleapis.com"));
        assert_eq!(got.file.to_str(), Some(PROJECTED[0]));
        let changes: [(Change, &str); 8] = [
            (
                |file| file["token_url"] = json!("https://evil.example/v1/token"),
                "allowed: https://sts.googleapis.com/v1/token",
            ),
            (|file| file["token_url"] = json!("https://sts.example.com/v1/token"), "token_url in Secret a/b is"),
            (
                |file| file["service_account_impersonation_url"] = json!("https://evil.example/x:generateAccessToken"),
                "allowed: https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/<e-mail>",
            ),
            (
                |file| {
                    let url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b/../x:generateAccessToken";
                    file["service_account_impersonation_url"] = json!(url);
                },
                "service_account_impersonation_url in Secret a/b is",
            ),
            (
                |file| file["credential_source"] = json!({"executable": {"command": "/bin/x"}}),
                "must be a file that is mounted",
            ),
            (
                |file| file["credential_source"] = json!({"url": "http://169.254.169.254/"}),
                "must be a file that is mounted",
            ),
            (
                |file| {
                    file["credential_source"] = json!({"file": "/var/run/secrets/kubernetes.io/serviceaccount/token"});
                },
                "/var/run/service-account/token or /var/run/secrets/tokens/gcp-ksa/token",
            ),
            (|file| file["audience"] = json!(null), "no audience, subject_token_type or token_url"),
        ];
        for (change, expected) in changes {
            let why = ExternalAccount::parse(&file(change), "Secret a/b", "googleapis.com").expect_err(expected);
            assert!(why.contains(expected), "{why}");
        }
    }

    #[tokio::test]
    async fn each_identity_asks_as_google_documents_it() {
        crate::install_crypto_provider();
        let server = Scripted::start(200, TOKEN).await;
        let machine =
            GcsIdentity { source: TokenSource::Machine(endpoint(&server)), iam: endpoint(&server), signs_as: None };
        let tokens = Tokens::new(AsksGoogle { identity: machine, transport: Scripted::transport() });
        assert_eq!(tokens.give().await.expect("a token").value.expose(), "hunter2hunter2");
        let asked = server.asked();
        let first = "GET /computeMetadata/v1/instance/service-accounts/default/token?scopes=https%3A%2F%2Fwww.googleapis.com\
                     %2Fauth%2Fdevstorage.read_write%2Chttps%3A%2F%2Fwww.googleapis.com%2Fauth%2Fiam\n";
        assert!(asked[0].starts_with(first) && asked[0].contains("metadata-flavor: Google\n"), "{}", asked[0]);

        let subject = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(subject.path(), r#"{"id_token": "projected.token"}"#).expect("written");
        let sts = Scripted::start(200, TOKEN).await;
        let iam = Scripted::start(200, r#"{"accessToken":"hunter3hunter3","expireTime":"2036-11-21T12:00:00Z"}"#).await;
        let account = ExternalAccount {
            sts: endpoint(&sts),
            file: subject.path().to_owned(),
            field: Some("id_token".to_owned()),
            ..ExternalAccount::parse(&file(|_| ()), "a test", "googleapis.com").expect("usable")
        };
        let external = GcsIdentity { source: TokenSource::External(account), iam: endpoint(&iam), signs_as: None };
        let tokens = Tokens::new(AsksGoogle { identity: external, transport: Scripted::transport() });
        let token = tokens.give().await.expect("a token");
        assert_eq!((token.value.expose(), token.ends.to_string().as_str()), ("hunter3hunter3", "2036-11-21T12:00:00Z"));
        let asked = sts.asked();
        assert!(asked[0].starts_with("POST /v1/token\n"), "{}", asked[0]);
        assert!(
            asked[0].ends_with("&subject_token=projected.token") && asked[0].contains("cloud-platform"),
            "{}",
            asked[0]
        );
        let asked = iam.asked();
        let first = "POST /v1/projects/-/serviceAccounts/velero%40p.iam.gserviceaccount.com:generateAccessToken\n";
        assert!(
            asked[0].starts_with(first) && asked[0].contains("authorization: Bearer hunter2hunter2\n"),
            "{}",
            asked[0]
        );
    }

    #[tokio::test]
    async fn sec_u12_iam_signs_or_the_error_names_the_account_and_the_role() {
        crate::install_crypto_provider();
        let token = Token { value: Secret::new("hunter2hunter2"), ends: Timestamp::now() };
        let signing = Scripted::start(200, r#"{"signedBlob":"c2lnbmVk"}"#).await;
        let of = |server: &Scripted| GcsIdentity {
            source: TokenSource::Machine(endpoint(server)),
            iam: endpoint(server),
            signs_as: None,
        };
        let signed = of(&signing).sign_blob(EMAIL, b"message", &token, &Scripted::transport()).await;
        assert_eq!(signed.expect("signed"), b"signed");
        assert!(signing.asked()[0].ends_with(r#"{"payload":"bWVzc2FnZQ=="}"#), "{}", signing.asked()[0]);
        let denied = r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"hunter3"}}"#;
        let refusing = Scripted::start(403, denied).await;
        let error =
            of(&refusing).sign_blob(EMAIL, b"message", &token, &Scripted::transport()).await.expect_err("refused");
        assert!(matches!(error, StoreError::CannotSign(_)), "{error}");
        let said = error.to_string();
        assert!(
            said.contains(EMAIL) && said.contains("HTTP 403 PERMISSION_DENIED") && said.contains("Token Creator"),
            "{said}"
        );
        assert!(!said.contains("hunter"), "{said}");
    }
}

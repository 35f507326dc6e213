//! Turns the SDK's errors into ours. Of a store's answer only status, error code, region and clock pass, each checked.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use super::words::{WORDS, credential_cure, permission, region_cure};
use crate::{
    probe::ProbeStep,
    store::{
        Action, Answer, StoreError,
        wire::{self, wire_error},
    },
};

/// What a request did, and on which object.
#[derive(Clone, Copy, Debug)]
pub(super) struct S3Request<'a> {
    pub(super) action: Action,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
}

/// What an error of the SDK means.
pub(super) fn classify<E>(error: &SdkError<E, HttpResponse>, request: S3Request<'_>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(answered) => {
            let raw = answered.raw();
            let region = raw.headers().get("x-amz-bucket-region");
            match judged(Answer::new(raw.status().as_u16(), answered.err().code()), region, request) {
                StoreError::Skewed { answer, .. } => {
                    StoreError::Skewed { answer, ahead: raw.headers().get("date").and_then(wire::ahead) }
                }
                other => other,
            }
        }
        SdkError::ResponseError(broken) => StoreError::Unavailable(Answer::new(broken.raw().status().as_u16(), None)),
        SdkError::TimeoutError(_) => StoreError::silent("no answer in time"),
        SdkError::DispatchFailure(failure) => dispatch(failure.as_connector_error().map(|error| error as _)),
        SdkError::ConstructionFailure(_) => StoreError::Rejected(Answer::new(0, Some("RequestNotBuilt"))),
        _ => StoreError::Unavailable(Answer::default()),
    }
}

fn dispatch(error: Option<&(dyn std::error::Error + 'static)>) -> StoreError {
    let Some(error) = error else {
        return StoreError::silent("the connection failed");
    };
    if let Some(found) = wire_error(error) {
        return found.into();
    }
    match credential_error(error) {
        Some(found) => found,
        None => StoreError::silent("the connection failed"),
    }
}

/// The failure of a credential provider, which the SDK shows as a dispatch failure.
pub(super) fn credential_error(error: &(dyn std::error::Error + 'static)) -> Option<StoreError> {
    use aws_credential_types::provider::error::CredentialsError;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<CredentialsError>() {
            return Some(match found {
                CredentialsError::ProviderTimedOut(_) => no_identity("the identity endpoint did not answer in time"),
                CredentialsError::Unhandled(_) => no_identity("the request to the identity endpoint failed"),
                CredentialsError::InvalidConfiguration(_) => {
                    StoreError::NoCredential("the pod's identity is configured incorrectly".to_owned())
                }
                _ => StoreError::NoCredential("the pod's identity was refused".to_owned()),
            });
        }
        next = error.source();
    }
    None
}

fn no_identity(why: &str) -> StoreError {
    StoreError::Unreachable { at: ProbeStep::Credential, why: why.to_owned() }
}

/// What a store's answer means.
fn judged(answer: Answer, region: Option<&str>, request: S3Request<'_>) -> StoreError {
    let S3Request { action, bucket, key } = request;
    let bucket = bucket.to_owned();
    let region =
        region.filter(|name| name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    match (answer.status, answer.code()) {
        (_, "NoSuchBucket") => StoreError::NoBucket { words: &WORDS, bucket, answer },
        (301 | 307 | 308, _)
        | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            StoreError::WrongRegion { bucket, cure: region_cure(region), answer }
        }
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired") => {
            StoreError::Expired(answer.to_string())
        }
        (_, "RequestTimeTooSkewed") => StoreError::Skewed { answer, ahead: None },
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidClientTokenId" | "InvalidToken") => {
            StoreError::NotAccepted { cure: credential_cure(answer.code()), answer }
        }
        (507, _)
        | (
            _,
            "QuotaExceeded"
            | "XMinioStorageFull"
            | "XMinioAdminBucketQuotaExceeded"
            | "EntityTooLargeForQuota"
            | "InsufficientCapacity",
        ) => StoreError::Full(answer),
        (429 | 500..=599, _) | (_, "SlowDown" | "RequestTimeout" | "InternalError" | "ServiceUnavailable")
            if answer.status != 501 =>
        {
            StoreError::Unavailable(answer)
        }
        // A lifecycle rule or another process aborted the multipart upload: it is begun anew.
        (_, "NoSuchUpload") if action == Action::Put => StoreError::Unavailable(answer),
        // A part, or the completion, met a race or a proxy; a retry may succeed.
        (408, _) => StoreError::Unavailable(answer),
        (401 | 403, _) | (_, "AccessDenied") => {
            StoreError::Denied { permission: permission(action), bucket, key: key.to_owned(), answer }
        }
        _ => StoreError::Rejected(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use debugbundle_crd::Reason;

    #[test]
    fn answers_are_judged_by_what_the_reader_can_do() {
        let request = S3Request { action: Action::Put, bucket: "bkt", key: "k" };
        for (status, code, reason, transient) in [
            (403, Some("AccessDenied"), Reason::UploadDenied, false),
            (403, None, Reason::UploadDenied, false),
            (400, Some("InvalidAccessKeyId"), Reason::CredentialInvalid, false),
            (403, Some("SignatureDoesNotMatch"), Reason::CredentialInvalid, false),
            (404, Some("NoSuchBucket"), Reason::LocationInvalid, false),
            (301, Some("PermanentRedirect"), Reason::LocationInvalid, false),
            (307, None, Reason::LocationInvalid, false),
            (400, Some("ExpiredToken"), Reason::CredentialInvalid, false),
            (403, Some("RequestTimeTooSkewed"), Reason::CredentialInvalid, true),
            (503, Some("SlowDown"), Reason::StoreUnreachable, true),
            (500, Some("InternalError"), Reason::StoreUnreachable, true),
            (200, Some("InternalError"), Reason::StoreUnreachable, true),
            (507, Some("XMinioStorageFull"), Reason::StoreUnreachable, true),
            (403, Some("QuotaExceeded"), Reason::StoreUnreachable, true),
            (404, Some("NoSuchUpload"), Reason::StoreUnreachable, true),
            (501, Some("NotImplemented"), Reason::UploadDenied, false),
            (400, Some("InvalidArgument"), Reason::UploadDenied, false),
        ] {
            let got = judged(Answer::new(status, code), None, request);
            assert_eq!((got.reason(), got.is_transient()), (reason, transient), "{status} {code:?}: {got}");
        }
    }

    #[test]
    fn sec_n5_the_region_is_named_if_it_looks_like_one() {
        let request = S3Request { action: Action::Put, bucket: "bkt", key: "k" };
        let hint = |region| judged(Answer::new(301, None), Some(region), request).to_string();
        assert!(hint("eu-west-1").ends_with("region to eu-west-1"));
        assert!(hint("<b>").ends_with("config key region"));
    }
}

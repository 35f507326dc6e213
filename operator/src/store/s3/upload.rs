//! Sends a sealed bundle: in one request if it is small, otherwise in parts, with proof that it arrived.
//! The caller (`run::deliver`) retries after a failure: each call here starts from the file.

use std::io::SeekFrom;

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents},
    operation::upload_part::UploadPartOutput,
    primitives::{ByteStream, Length},
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption},
};
use aws_smithy_checksums::http::HttpChecksum;
use aws_smithy_runtime_api::{box_error::BoxError, client::interceptors::context::BeforeTransmitInterceptorContextMut};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use debugbundle_format::hex;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{Checksum, Customer, Encryption, S3, classify::classify, with_customer_key};
use crate::store::{
    Action, Key, Store as _, StoreError, Upload, UploadHooks,
    signed::disposition,
    verify::{holds, local},
};

/// The content type of a bundle.
const CONTENT_TYPE: &str = "application/gzip";
/// Parts that are sent at once.
const IN_FLIGHT: usize = 2;
/// S3 takes 10 000.
const MOST_PARTS: u64 = 9_000;
/// Bytes of the file that are in memory at once, for each part.
const PIECE: usize = 64 << 10;

/// Sets encryption, tags and metadata, which are the same for a single request and for the first of many.
macro_rules! described {
    ($request:expr, $store:expr, $key:expr, $upload:expr) => {{
        let (method, kms) = $store.encryption();
        with_customer_key!($request.bucket(&$store.bucket).key($key.as_str()), $store.customer)
            .content_type(CONTENT_TYPE)
            .content_disposition(disposition($key))
            .set_server_side_encryption(method)
            .set_ssekms_key_id(kms)
            .set_tagging($store.config.tagging.clone())
            .set_metadata(Some(notes($upload)))
    }};
}

/// Sets a precomputed checksum. The SDK would put a file's checksum into a trailer, which needs chunks, and would omit
/// a part's although the request names its algorithm, which stores refuse.
macro_rules! with_checksum {
    ($request:expr, $algorithm:expr, $sum:expr) => {{
        let (request, sum) = ($request, Some($sum));
        match $algorithm {
            Checksum::Crc32 => request.set_checksum_crc32(sum),
            Checksum::Crc32c => request.set_checksum_crc32_c(sum),
            Checksum::Sha1 => request.set_checksum_sha1(sum),
            Checksum::Sha256 => request.set_checksum_sha256(sum),
        }
    }};
}

impl S3 {
    fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.config.encryption {
            Encryption::Bucket | Encryption::CustomerKey(_) => (None, None),
            Encryption::Kms(key) => (Some(ServerSideEncryption::AwsKms), Some(key.clone())),
            Encryption::Managed(method) => (Some(ServerSideEncryption::from(method.as_str())), None),
        }
    }

    /// Sends the whole file in one request, with its length and its signed SHA-256, without chunks.
    pub(super) async fn put_single(&self, key: &Key, upload: &Upload<'_>) -> Result<(), StoreError> {
        let body = ByteStream::read_from()
            .path(upload.file)
            .length(Length::Exact(upload.bytes))
            .build()
            .await
            .map_err(|error| local(upload, std::io::Error::other(error)))?;
        let mut request = described!(self.client.put_object(), self, key, upload)
            .content_length(i64::try_from(upload.bytes).unwrap_or(i64::MAX))
            .body(body);
        if let Some(algorithm) = self.config.checksum {
            let sum = summed(summing(algorithm), upload, 0, upload.bytes).await?;
            request = with_checksum!(request, algorithm, STANDARD.encode(sum));
        }
        let signed = SignedPayload(upload.sha256.to_owned());
        match request.customize().interceptor(signed).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(classify(&error, self.request(Action::Put, key.as_str()))),
        }
    }

    /// Sends the file in parts.
    pub(super) async fn put_parts(
        &self,
        key: &Key,
        upload: &Upload<'_>,
        hooks: &dyn UploadHooks,
    ) -> Result<(), StoreError> {
        let created = described!(self.client.create_multipart_upload(), self, key, upload)
            .set_checksum_algorithm(self.config.checksum.map(sdk_checksum))
            .send()
            .await
            .map_err(|error| classify(&error, self.request(Action::Put, key.as_str())))?;
        let id = created
            .upload_id()
            .filter(|id| !id.is_empty())
            .ok_or_else(|| StoreError::Corrupt("the store returned no id for the multipart upload".to_owned()))?;
        let mut open = Open {
            client: self.client.clone(),
            bucket: self.bucket.clone(),
            key: key.as_str().to_owned(),
            id: Some(id.to_owned()),
        };
        let error = match self.send_parts(key, upload, hooks, id).await {
            Err(error) if !holds(self, key, upload).await => error,
            // The object is there; after an error, only the reply was lost.
            _ => {
                open.id = None;
                // A lost reply to the request that began the upload made the client begin another one.
                return self.abort_unfinished(key).await;
            }
        };
        if let Err(left) = self.abort(key, id).await {
            // Without its message: it may contain words of the store, in which nothing masks the credential here.
            tracing::warn!(key = %key, reason = left.reason().as_str(), "Could not end the multipart upload");
        }
        open.id = None;
        Err(error)
    }

    async fn send_parts(
        &self,
        key: &Key,
        upload: &Upload<'_>,
        hooks: &dyn UploadHooks,
        id: &str,
    ) -> Result<(), StoreError> {
        hooks.begun(id).await.map_err(StoreError::NotNoted)?;
        let size = self.options.part.max(upload.bytes.div_ceil(MOST_PARTS));
        let mut sent = 0;
        let parts = (0..upload.bytes.div_ceil(size)).map(|index| {
            let from = index * size;
            self.send_part(key, upload, id, index, from, size.min(upload.bytes - from))
        });
        let mut done = Vec::new();
        let mut parts = stream::iter(parts).buffered(IN_FLIGHT);
        while let Some((part, bytes)) = parts.try_next().await? {
            done.push(part);
            sent += bytes;
            hooks.sent(sent);
        }
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(key.as_str()).upload_id(id);
        with_customer_key!(request, self.customer)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(done)).build())
            .send()
            .await
            .map_err(|error| classify(&error, self.request(Action::Put, key.as_str())))?;
        Ok(())
    }

    async fn send_part(
        &self,
        key: &Key,
        upload: &Upload<'_>,
        id: &str,
        index: u64,
        from: u64,
        length: u64,
    ) -> Result<(CompletedPart, u64), StoreError> {
        let body = ByteStream::read_from()
            .path(upload.file)
            .offset(from)
            .length(Length::Exact(length))
            .buffer_size(PIECE)
            .build()
            .await
            .map_err(|error| local(upload, std::io::Error::other(error)))?;
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let request =
            self.client.upload_part().bucket(&self.bucket).key(key.as_str()).upload_id(id).part_number(number);
        let mut request = with_customer_key!(request, self.customer);
        // The part is read twice, once to sign: held in memory it would be the largest thing there.
        let signed = SignedPayload(hex(&summed(summing(Checksum::Sha256), upload, from, length).await?));
        if let Some(algorithm) = self.config.checksum {
            let sum = summed(summing(algorithm), upload, from, length).await?;
            request = with_checksum!(request, algorithm, STANDARD.encode(sum));
        }
        let sent = request
            .content_length(i64::try_from(length).unwrap_or(i64::MAX))
            .body(body)
            .customize()
            .interceptor(signed)
            .send()
            .await
            .map_err(|error| classify(&error, self.request(Action::Put, key.as_str())))?;
        Ok((completed(number, &sent), length))
    }
}

fn completed(number: i32, sent: &UploadPartOutput) -> CompletedPart {
    CompletedPart::builder()
        .part_number(number)
        .set_e_tag(sent.e_tag.clone())
        .set_checksum_crc32(sent.checksum_crc32.clone())
        .set_checksum_crc32_c(sent.checksum_crc32_c.clone())
        .set_checksum_sha1(sent.checksum_sha1.clone())
        .set_checksum_sha256(sent.checksum_sha256.clone())
        .build()
}

/// An unfinished multipart upload. Dropping it, with the future that sends, aborts it.
struct Open {
    client: Client,
    bucket: String,
    key: String,
    id: Option<String>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let abort = self.client.abort_multipart_upload().bucket(&self.bucket).key(&self.key).upload_id(id);
        // Nobody waits for it; if it fails, a successor can abort the upload by the id that was noted.
        runtime.spawn(abort.send());
    }
}

/// Signs a body by its known hash, so that a file is signed without being read again.
#[derive(Debug)]
struct SignedPayload(String);

impl Intercept for SignedPayload {
    fn name(&self) -> &'static str {
        "SignedPayload"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(PayloadSigningOverride::Precomputed(self.0.clone()));
        Ok(())
    }
}

/// The object's metadata. Characters that headers cannot carry become `_`.
fn notes(upload: &Upload<'_>) -> std::collections::HashMap<String, String> {
    let plain = |text: &str| -> String {
        text.chars().map(|letter| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '_' }).collect()
    };
    let mut notes: std::collections::HashMap<String, String> =
        upload.meta.iter().map(|(name, value)| (plain(name), plain(value))).collect();
    notes.insert("sha256".to_owned(), upload.sha256.to_owned());
    notes.insert("bytes".to_owned(), upload.bytes.to_string());
    notes
}

const fn sdk_checksum(algorithm: Checksum) -> ChecksumAlgorithm {
    match algorithm {
        Checksum::Crc32 => ChecksumAlgorithm::Crc32,
        Checksum::Crc32c => ChecksumAlgorithm::Crc32C,
        Checksum::Sha1 => ChecksumAlgorithm::Sha1,
        Checksum::Sha256 => ChecksumAlgorithm::Sha256,
    }
}

fn summing(algorithm: Checksum) -> Box<dyn HttpChecksum> {
    use aws_smithy_checksums::ChecksumAlgorithm as Algorithm;
    match algorithm {
        Checksum::Crc32 => Algorithm::Crc32,
        Checksum::Crc32c => Algorithm::Crc32c,
        Checksum::Sha1 => Algorithm::Sha1,
        Checksum::Sha256 => Algorithm::Sha256,
    }
    .into_impl()
}

/// The checksum of a range of the file.
async fn summed(
    mut sum: Box<dyn HttpChecksum>,
    upload: &Upload<'_>,
    from: u64,
    length: u64,
) -> Result<Bytes, StoreError> {
    let mut file = tokio::fs::File::open(upload.file).await.map_err(|error| local(upload, error))?;
    file.seek(SeekFrom::Start(from)).await.map_err(|error| local(upload, error))?;
    let mut file = file.take(length);
    let mut buffer = vec![0; PIECE];
    loop {
        let read = file.read(&mut buffer).await.map_err(|error| local(upload, error))?;
        if read == 0 {
            return Ok(sum.finalize());
        }
        sum.update(&buffer[..read]);
    }
}

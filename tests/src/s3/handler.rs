//! S3's operations over the stored state, as far as an object store needs them.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use alluvium_common::clock::SharedClock;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use parking_lot::Mutex;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::crypto::{Crc32c, Sha256};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::bucket::{Buckets, Conditions, Object, Refusal};

/// Largest request body held, in bytes. Amazon's own limit for one PUT is 5 GiB; ours sends 64 MiB.
const BODY_BYTES_MAX: usize = 256 << 20;

/// Names on one page of a listing: Amazon's limit.
const PAGE_MAX: usize = 1000;

/// The operations of the in-memory server.
#[derive(Debug, Clone)]
pub(super) struct MemoryS3 {
    pub(super) buckets: Arc<Mutex<Buckets>>,
    pub(super) clock: SharedClock,
    pub(super) page_max: usize,
}

impl From<Refusal> for s3s::S3Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchBucket => s3_error!(NoSuchBucket, "no such bucket"),
            Refusal::NoSuchKey => s3_error!(NoSuchKey, "no such key"),
            Refusal::NoSuchUpload => s3_error!(NoSuchUpload, "no such upload"),
            Refusal::PreconditionFailed => s3_error!(PreconditionFailed, "condition not met"),
            Refusal::NotModified => s3_error!(NotModified),
            Refusal::InvalidPart => s3_error!(InvalidPart, "unknown part or wrong order"),
            Refusal::PartTooSmall => s3_error!(EntityTooSmall, "a part is below 5 MiB"),
        }
    }
}

impl MemoryS3 {
    pub(super) fn page_max(self, page_max: usize) -> Self {
        Self {
            page_max: page_max.clamp(1, PAGE_MAX),
            ..self
        }
    }
}

fn strong(tag: &str) -> ETag {
    ETag::Strong(tag.to_owned())
}

fn timestamp(ms: i64) -> Timestamp {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    Timestamp::from(UNIX_EPOCH + since)
}

/// Takes a body in, checking its length and the checksums sent along.
async fn take_body(
    body: Option<StreamingBlob>,
    length: Option<i64>,
    sha256: Option<&str>,
    crc32c: Option<&str>,
) -> S3Result<Bytes> {
    let mut content = BytesMut::new();
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| s3_error!(IncompleteBody, "{error}"))?;
            if content.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(s3_error!(EntityTooLarge));
            }
            content.extend_from_slice(&chunk);
        }
    }
    if length.is_some_and(|length| length != content.len() as i64) {
        return Err(s3_error!(IncompleteBody, "fewer bytes than announced"));
    }
    let mut hasher = ChecksumHasher {
        sha256: sha256.map(|_| Sha256::new()),
        crc32c: crc32c.map(|_| Crc32c::new()),
        ..ChecksumHasher::default()
    };
    hasher.update(&content);
    let found = hasher.finalize();
    if found.checksum_sha256.as_deref() != sha256 || found.checksum_crc32c.as_deref() != crc32c {
        return Err(s3_error!(BadDigest, "checksum and body differ"));
    }
    Ok(content.freeze())
}

type Reply<T> = S3Result<S3Response<T>>;

#[async_trait::async_trait]
impl S3 for MemoryS3 {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> Reply<CreateBucketOutput> {
        self.buckets.lock().create(&req.input.bucket);
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> Reply<HeadBucketOutput> {
        self.buckets.lock().exists(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> Reply<PutObjectOutput> {
        let input = req.input;
        let content = take_body(
            input.body,
            input.content_length,
            input.checksum_sha256.as_deref(),
            input.checksum_crc32c.as_deref(),
        )
        .await?;
        let conditions = Conditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        };
        let object = self.buckets.lock().put(
            (&input.bucket, &input.key),
            content,
            self.clock.now_ms(),
            &conditions,
        )?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(strong(&object.tag)),
            ..PutObjectOutput::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> Reply<GetObjectOutput> {
        let input = req.input;
        let conditions = Conditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        };
        let object = self.read(&input.bucket, &input.key, &conditions)?;
        let size = object.content.len() as u64;
        let (content, content_range) = match input.range {
            None => (object.content.clone(), None),
            Some(range) => {
                let range = range
                    .check(size)
                    .map_err(|_| s3_error!(InvalidRange, "outside of the object"))?;
                let told = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let part = object
                    .content
                    .slice(range.start as usize..range.end as usize);
                (part, Some(told))
            }
        };
        let length = content.len() as i64;
        let body = futures::stream::iter([Ok::<_, std::io::Error>(content)]);
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::wrap(body)),
            content_length: Some(length),
            content_range,
            e_tag: Some(strong(&object.tag)),
            last_modified: Some(timestamp(object.modified_ms)),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> Reply<HeadObjectOutput> {
        let input = req.input;
        let conditions = Conditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        };
        let object = self.read(&input.bucket, &input.key, &conditions)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(object.content.len() as i64),
            e_tag: Some(strong(&object.tag)),
            last_modified: Some(timestamp(object.modified_ms)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> Reply<DeleteObjectOutput> {
        self.buckets
            .lock()
            .delete(&req.input.bucket, &req.input.key)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> Reply<DeleteObjectsOutput> {
        let mut buckets = self.buckets.lock();
        let mut deleted = Vec::new();
        for object in req.input.delete.objects {
            buckets.delete(&req.input.bucket, &object.key)?;
            deleted.push(DeletedObject {
                key: Some(object.key),
                ..DeletedObject::default()
            });
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> Reply<ListObjectsV2Output> {
        let input = req.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input
            .continuation_token
            .clone()
            .or(input.start_after.clone());
        let asked = input.max_keys.and_then(|max| usize::try_from(max).ok());
        let page = self.buckets.lock().list(
            &input.bucket,
            &prefix,
            input.delimiter.as_deref(),
            &after.unwrap_or_default(),
            asked.unwrap_or(self.page_max).min(self.page_max),
        )?;
        let count = page.objects.len() + page.folders.len();
        let contents = page
            .objects
            .into_iter()
            .map(|(key, object)| s3s::dto::Object {
                e_tag: Some(strong(&object.tag)),
                key: Some(key),
                last_modified: Some(timestamp(object.modified_ms)),
                size: Some(object.content.len() as i64),
                ..s3s::dto::Object::default()
            });
        let folders = page.folders.into_iter().map(|prefix| CommonPrefix {
            prefix: Some(prefix),
        });
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            key_count: Some(count as i32),
            max_keys: Some(self.page_max as i32),
            contents: Some(contents.collect()),
            common_prefixes: Some(folders.collect()),
            delimiter: input.delimiter,
            prefix: Some(prefix),
            is_truncated: Some(page.next_after.is_some()),
            next_continuation_token: page.next_after,
            continuation_token: input.continuation_token,
            start_after: input.start_after,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> Reply<CopyObjectOutput> {
        let input = req.input;
        let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        let mut buckets = self.buckets.lock();
        let content = buckets.get(bucket, key)?.content.clone();
        let target = (input.bucket.as_str(), input.key.as_str());
        let now_ms = self.clock.now_ms();
        let copy = buckets.put(target, content, now_ms, &Conditions::default())?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: Some(strong(&copy.tag)),
                last_modified: Some(timestamp(now_ms)),
                ..CopyObjectResult::default()
            }),
            ..CopyObjectOutput::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> Reply<CreateMultipartUploadOutput> {
        let input = req.input;
        let id =
            self.buckets
                .lock()
                .begin_upload(&input.bucket, &input.key, self.clock.now_ms())?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> Reply<UploadPartOutput> {
        let input = req.input;
        let content = take_body(
            input.body,
            input.content_length,
            input.checksum_sha256.as_deref(),
            input.checksum_crc32c.as_deref(),
        )
        .await?;
        let tag = self.buckets.lock().put_part(
            (&input.bucket, &input.key),
            &input.upload_id,
            input.part_number,
            content,
        )?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(strong(&tag)),
            ..UploadPartOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> Reply<CompleteMultipartUploadOutput> {
        let input = req.input;
        let parts = input.multipart_upload.and_then(|upload| upload.parts);
        let parts: Vec<_> = parts
            .unwrap_or_default()
            .into_iter()
            .map(|part| (part.part_number.unwrap_or_default(), part.e_tag))
            .collect();
        let conditions = Conditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        };
        let object = self.buckets.lock().complete_upload(
            (&input.bucket, &input.key),
            &input.upload_id,
            &parts,
            self.clock.now_ms(),
            &conditions,
        )?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(strong(&object.tag)),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> Reply<ListMultipartUploadsOutput> {
        let input = req.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after_key = input.key_marker.clone().unwrap_or_default();
        // Without a key to begin at, an id says nothing.
        let after_id = input.upload_id_marker.clone();
        let after_id = after_id.filter(|id| !after_key.is_empty() && !id.is_empty());
        let asked = input.max_uploads.and_then(|max| usize::try_from(max).ok());
        let page = self.buckets.lock().list_uploads(
            &input.bucket,
            &prefix,
            (&after_key, after_id.as_deref()),
            asked.unwrap_or(self.page_max).min(self.page_max),
        )?;
        let encoding = input.encoding_type;
        let last = page.uploads.last().filter(|_| page.is_truncated).cloned();
        let (next_key, next_id) = last.map(|(key, id, _)| (key, id)).unzip();
        let uploads = page
            .uploads
            .into_iter()
            .map(|(key, id, begun_ms)| MultipartUpload {
                initiated: Some(timestamp(begun_ms)),
                key: Some(encoded(&key, encoding.as_ref())),
                upload_id: Some(id),
                ..MultipartUpload::default()
            });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            is_truncated: Some(page.is_truncated),
            key_marker: Some(encoded(&after_key, encoding.as_ref())),
            upload_id_marker: after_id,
            max_uploads: Some(self.page_max as i32),
            next_key_marker: next_key.map(|key| encoded(&key, encoding.as_ref())),
            next_upload_id_marker: next_id,
            prefix: Some(encoded(&prefix, encoding.as_ref())),
            uploads: Some(uploads.collect()),
            encoding_type: encoding,
            ..ListMultipartUploadsOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> Reply<AbortMultipartUploadOutput> {
        let input = req.input;
        let target = (input.bucket.as_str(), input.key.as_str());
        self.buckets.lock().abort_upload(target, &input.upload_id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

/// A name as listings tell it to those who ask for encoded ones: Amazon leaves slashes, and writes spaces as a plus.
fn encoded(name: &str, encoding: Option<&EncodingType>) -> String {
    if encoding.map(EncodingType::as_str) != Some(EncodingType::URL) {
        return name.to_owned();
    }
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'*' => text.push(char::from(byte)),
            b' ' => text.push('+'),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

impl MemoryS3 {
    fn read(&self, bucket: &str, key: &str, conditions: &Conditions) -> Result<Object, Refusal> {
        let buckets = self.buckets.lock();
        let object = buckets.get(bucket, key)?;
        conditions.check_read(object)?;
        Ok(object.clone())
    }
}

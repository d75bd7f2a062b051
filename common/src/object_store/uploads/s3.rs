//! Unfinished uploads in a bucket of S3's. `object_store` aborts them but does not list them, so the listing is a
//! request of our own: to the address, in the region and with the credentials that the opened store has.
//!
//! It needs the permission `s3:ListBucketMultipartUploads` beside the ordinary ones, and `s3:AbortMultipartUpload`.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use ::object_store::aws::{AmazonS3, AwsAuthorizer};
use ::object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use ::object_store::multipart::MultipartStore;
use ::object_store::path::Path;
use ::object_store::signer::Signer;
use ::object_store::{Error, Result};
use async_trait::async_trait;
use bytes::BytesMut;
use futures::StreamExt;
use url::Url;

use super::{UnfinishedUpload, UnfinishedUploads, UploadMarker, UploadPage, listing};

/// How errors name it.
const STORE: &str = "S3";

/// Longest answer read, in bytes: a page of a thousand uploads, each with names of a kibibyte and as much beside.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// How long a request may take. Listing is a matter of a second.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// See the module's documentation.
#[derive(Debug)]
pub struct S3Uploads {
    store: Arc<AmazonS3>,
    client: HttpClient,
    /// Everything is kept below this prefix within the bucket.
    root: Path,
}

impl S3Uploads {
    pub(in crate::object_store) fn new(
        store: Arc<AmazonS3>,
        client: HttpClient,
        root: Path,
    ) -> Self {
        Self {
            store,
            client,
            root,
        }
    }

    async fn get(&self, bucket: &Bucket, url: &Url) -> Result<String> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.as_str().parse().map_err(failed)?;
        let credential = self.store.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &bucket.region).authorize(&mut request, None);
        let response = self.client.execute(request).await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(failed(format!(
                "listing uploads was answered with {status}"
            )));
        }
        let (mut body, mut chunks) = (BytesMut::new(), response.into_body().bytes_stream());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(failed)?;
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(failed("the listing of uploads is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body.into()).map_err(failed)
    }
}

#[async_trait]
impl UnfinishedUploads for S3Uploads {
    async fn list(&self, prefix: &Path, after: Option<UploadMarker>) -> Result<UploadPage> {
        let below: Path = self.root.parts().chain(prefix.parts()).collect();
        let prefix = match below.as_ref().is_empty() {
            true => String::new(),
            false => format!("{below}/"),
        };
        let listed = async {
            let bucket = Bucket::of(&self.store).await?;
            let url = listing::request(&bucket.url, &prefix, after.as_ref());
            let answer = self.get(&bucket, &url).await?;
            listing::page(&answer, &self.root).map_err(failed)
        };
        let in_time = tokio::time::timeout(REQUEST_TIME_MAX, listed).await;
        in_time.map_err(failed)?
    }

    async fn abort(&self, upload: &UnfinishedUpload) -> Result<()> {
        let location: Path = self.root.parts().chain(upload.location.parts()).collect();
        let aborted = self.store.abort_multipart(&location, &upload.id);
        let aborted = tokio::time::timeout(REQUEST_TIME_MAX, aborted).await;
        match aborted.map_err(failed)? {
            Err(Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }
}

/// Where the store is, in its own words.
#[derive(Debug, PartialEq, Eq)]
struct Bucket {
    url: Url,
    region: String,
}

impl Bucket {
    /// The store tells neither its address nor its region, but it signs URLs, in which both stand.
    async fn of(store: &AmazonS3) -> Result<Self> {
        let name = Path::from("x");
        let method = HttpRequest::new(HttpRequestBody::empty()).method().clone();
        let signed = store.signed_url(method, &name, Duration::from_secs(1));
        let signed = signed.await?;
        Self::in_signed(&signed, name.as_ref())
            .ok_or_else(|| failed("the store's address cannot be told"))
    }

    fn in_signed(signed: &Url, name: &str) -> Option<Self> {
        let mut pairs = signed.query_pairs();
        let (_, scope) = pairs.find(|(key, _)| key == "X-Amz-Credential")?;
        // key id/date/region/s3/aws4_request
        let region = scope.rsplit('/').nth(2)?.to_owned();
        let mut url = signed.clone();
        url.set_query(None);
        let folder = url
            .path()
            .strip_suffix(name)?
            .trim_end_matches('/')
            .to_owned();
        url.set_path(&folder);
        Some(Self { url, region })
    }
}

fn failed(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::Generic {
        store: STORE,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_url_tells_bucket_and_region() {
        for (signed, bucket) in [
            (
                "http://127.0.0.1:9000/bucket/x",
                "http://127.0.0.1:9000/bucket",
            ),
            (
                "https://bucket.s3.eu-west-1.amazonaws.com/x",
                "https://bucket.s3.eu-west-1.amazonaws.com/",
            ),
        ] {
            let query =
                "X-Amz-Algorithm=A&X-Amz-Credential=KEY%2F20260101%2Feu-west-1%2Fs3%2Faws4_request";
            let signed = Url::parse(&format!("{signed}?{query}")).expect("a URL");
            let found = Bucket::in_signed(&signed, "x").expect("both");
            assert_eq!(
                (found.url.as_str(), found.region.as_str()),
                (bucket, "eu-west-1")
            );
        }
        let unsigned = Url::parse("http://host/bucket/x").expect("a URL");
        assert_eq!(Bucket::in_signed(&unsigned, "x"), None);
    }
}

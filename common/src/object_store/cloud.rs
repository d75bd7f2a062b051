//! Opening the cloud stores with settings from the environment, named as their own tools name them.
//!
//! What `object_store` reads by itself and we pass on: static keys, session tokens, web identity
//! (`AWS_WEB_IDENTITY_TOKEN_FILE`), container and instance credentials, Google's application
//! credentials, Azure's keys and identities, proxies, server-side encryption (every key of
//! `AmazonS3ConfigKey`, `GoogleConfigKey` and `AzureConfigKey`, upper-cased).
//!
//! What it cannot do: AWS profile files (`~/.aws`). [`OpenError::ProfileFile`] says what to do.
//!
//! Checksums: `object_store` can add SHA-256 (`AWS_CHECKSUM_ALGORITHM=sha256`) and nothing else. Over
//! TLS the payload is neither signed nor hashed, because TLS guards the way and everything we store
//! carries its own CRC-32C, checked on every read; hashing 8 MiB per PUT would cost more than sealing
//! a segment. Over plain HTTP the payload is signed, which is a SHA-256 that the server verifies.

use std::str::FromStr;
use std::sync::Arc;

use ::object_store::ObjectStore;
use ::object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use ::object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use ::object_store::client::HttpConnector;
use ::object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use ::object_store::path::Path;
use ::object_store::{BackoffConfig, ClientConfigKey, ClientOptions, RetryConfig};
use url::Url;

use super::environment::Environment;
use super::http::TypedErrorConnector;
use super::uploads::s3::S3Uploads;
use super::{OpenError, Provider, UnfinishedUploads};

/// Time to make a connection. A region away is 0.3 s; five say that nobody is there.
const CONNECT_TIMEOUT: &str = "5 seconds";

/// The client's own cap on a request. The retry decorator's time-outs are shorter and know the
/// request's size; this one only makes sure that nothing can be forgotten for ever.
const REQUEST_TIMEOUT: &str = "10 minutes";

/// `object_store` would retry by itself, ten times, without a budget, and under our own retries.
/// One policy: [`super::retry`].
fn no_retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: std::time::Duration::ZERO,
    }
}

/// An open bucket.
pub(super) struct Bucket {
    pub(super) store: Arc<dyn ObjectStore>,
    /// What is below the prefix of those that can tell of it.
    pub(super) uploads: Option<Arc<dyn UnfinishedUploads>>,
}

/// Opens the bucket that `url` names, in which everything is kept below `prefix`.
pub(super) fn open(
    provider: Provider,
    url: &Url,
    prefix: &Path,
    environment: &Environment,
) -> Result<Bucket, OpenError> {
    let without_uploads = |store| Bucket {
        store,
        uploads: None,
    };
    match provider {
        Provider::S3 => open_s3(url, prefix, environment),
        Provider::Gcs => open_gcs(url, environment).map(without_uploads),
        Provider::Azure => open_azure(url, environment).map(without_uploads),
    }
}

/// Every variable with `prefix` that the builder knows, in its words.
fn known<K: FromStr>(environment: &Environment, prefix: &str) -> Vec<(K, String)> {
    let parse = |(name, value): (&str, &str)| {
        let key = name.to_ascii_lowercase().parse().ok()?;
        Some((key, value.to_owned()))
    };
    environment.with_prefix(prefix).filter_map(parse).collect()
}

fn invalid(url: &Url) -> impl Fn(::object_store::Error) -> OpenError + '_ {
    |source| OpenError::Settings {
        url: url.to_string(),
        source,
    }
}

fn open_s3(url: &Url, prefix: &Path, environment: &Environment) -> Result<Bucket, OpenError> {
    check_s3(environment)?;
    let endpoint = s3_endpoint(environment);
    let plain_http = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = AmazonS3Builder::new()
        // Somebody who writes `http://` means it; asking for AWS_ALLOW_HTTP as well helps nobody.
        .with_allow_http(plain_http)
        .with_unsigned_payload(!plain_http);
    let mut client = ClientOptions::new().with_allow_http(plain_http);
    for (key, value) in known::<AmazonS3ConfigKey>(environment, "AWS_") {
        if let AmazonS3ConfigKey::Client(key) = &key {
            client = client.with_config(*key, value.clone());
        }
        builder = builder.with_config(key, value);
    }
    let is_signed = builder.get_config_value(&AmazonS3ConfigKey::SkipSignature);
    let is_signed = is_signed.as_deref() != Some("true");
    // The builder's `AWS_DEFAULT_REGION` yields to `AWS_REGION` only when it comes second.
    if let Some(region) = environment.get("AWS_REGION") {
        builder = builder.with_region(region);
    }
    let store = builder
        .with_config(
            AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout),
            CONNECT_TIMEOUT,
        )
        .with_config(
            AmazonS3ConfigKey::Client(ClientConfigKey::Timeout),
            REQUEST_TIMEOUT,
        )
        .with_url(url.as_str())
        .with_retry(no_retries())
        .with_http_connector(TypedErrorConnector::default())
        .build()
        .map_err(invalid(url))?;
    let store = Arc::new(store);
    // Who may read without a signature cannot look behind the objects.
    let uploads = is_signed.then(|| -> Result<_, OpenError> {
        let client = client
            .with_config(ClientConfigKey::ConnectTimeout, CONNECT_TIMEOUT)
            .with_config(ClientConfigKey::Timeout, REQUEST_TIMEOUT);
        let client = TypedErrorConnector::default().connect(&client);
        let client = client.map_err(invalid(url))?;
        let uploads = S3Uploads::new(Arc::clone(&store), client, prefix.clone());
        Ok(Arc::new(uploads) as Arc<dyn UnfinishedUploads>)
    });
    let uploads = uploads.transpose()?;
    Ok(Bucket { store, uploads })
}

/// The endpoint as AWS' tools choose it: the service's own variable before the general one.
fn s3_endpoint(environment: &Environment) -> Option<&str> {
    ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .iter()
        .find_map(|name| environment.get(name))
}

/// Refuses what would only fail later, and less plainly.
fn check_s3(environment: &Environment) -> Result<(), OpenError> {
    let has = |name: &str| environment.get(name).is_some();
    match (has("AWS_ACCESS_KEY_ID"), has("AWS_SECRET_ACCESS_KEY")) {
        (true, false) => {
            return Err(OpenError::HalfCredentials {
                present: "AWS_ACCESS_KEY_ID",
                missing: "AWS_SECRET_ACCESS_KEY",
            });
        }
        (false, true) => {
            return Err(OpenError::HalfCredentials {
                present: "AWS_SECRET_ACCESS_KEY",
                missing: "AWS_ACCESS_KEY_ID",
            });
        }
        (false, false) if has("AWS_PROFILE") && !has("AWS_WEB_IDENTITY_TOKEN_FILE") => {
            return Err(OpenError::ProfileFile {
                profile: environment
                    .get("AWS_PROFILE")
                    .unwrap_or_default()
                    .to_owned(),
            });
        }
        _ => {}
    }
    let region = has("AWS_REGION") || has("AWS_DEFAULT_REGION");
    if !region && s3_endpoint(environment).is_none() {
        return Err(OpenError::NoRegion);
    }
    Ok(())
}

fn open_gcs(url: &Url, environment: &Environment) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (key, value) in known::<GoogleConfigKey>(environment, "GOOGLE_") {
        builder = builder.with_config(key, value);
    }
    let store = builder
        .with_config(
            GoogleConfigKey::Client(ClientConfigKey::ConnectTimeout),
            CONNECT_TIMEOUT,
        )
        .with_config(
            GoogleConfigKey::Client(ClientConfigKey::Timeout),
            REQUEST_TIMEOUT,
        )
        .with_url(url.as_str())
        .with_retry(no_retries())
        .with_http_connector(TypedErrorConnector::default())
        .build()
        .map_err(invalid(url))?;
    Ok(Arc::new(store))
}

fn open_azure(url: &Url, environment: &Environment) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let plain_http = environment
        .get("AZURE_STORAGE_ENDPOINT")
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = MicrosoftAzureBuilder::new().with_allow_http(plain_http);
    // Azure's own tools say AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY.
    if let Some(account) = environment.get("AZURE_STORAGE_ACCOUNT") {
        builder = builder.with_account(account);
    }
    if let Some(key) = environment.get("AZURE_STORAGE_KEY") {
        builder = builder.with_access_key(key);
    }
    for (key, value) in known::<AzureConfigKey>(environment, "AZURE_") {
        builder = builder.with_config(key, value);
    }
    let store = builder
        .with_config(
            AzureConfigKey::Client(ClientConfigKey::ConnectTimeout),
            CONNECT_TIMEOUT,
        )
        .with_config(
            AzureConfigKey::Client(ClientConfigKey::Timeout),
            REQUEST_TIMEOUT,
        )
        .with_url(url.as_str())
        .with_retry(no_retries())
        .with_http_connector(TypedErrorConnector::default())
        .build()
        .map_err(invalid(url))?;
    Ok(Arc::new(store))
}

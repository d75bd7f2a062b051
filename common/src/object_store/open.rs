//! Opening a store and building the stack of decorators around it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::object_store::ObjectStore;
use ::object_store::limit::LimitStore;
use ::object_store::memory::InMemory;

use super::fault::{FaultPlan, FaultStore};
use super::metrics::{MetricsStore, StoreMetrics};
use super::prefix::Prefixed;
use super::probe::{ProbeError, ProbeReport, probe};
use super::retry::{RetryPolicy, RetryStore};
use super::uploads::MeteredUploads;
use super::{Environment, LocalFolder, Location, UnfinishedUploads, cloud};
use crate::rand::{Random, SharedRandom};

/// How to open a store: values only.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Credentials, endpoint, region.
    pub environment: Environment,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Requests in flight at once; more wait. Each holds a connection, and its body in memory.
    pub requests_max: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            environment: Environment::default(),
            retry: RetryPolicy::default(),
            requests_max: 256,
        }
    }
}

impl StoreSettings {
    /// The defaults, with the process' own environment.
    pub fn from_process() -> Self {
        Self {
            environment: Environment::from_process(),
            ..Self::default()
        }
    }
}

/// What an open store works with: objects only.
#[derive(Debug, Clone)]
pub struct StoreComponents {
    /// For jitter and for names of unfinished files.
    pub random: SharedRandom,
    /// Where requests are counted.
    pub metrics: StoreMetrics,
    /// Faults to inject, in tests.
    pub faults: Option<Arc<FaultPlan>>,
}

impl StoreComponents {
    /// Without faults.
    pub fn new(random: SharedRandom, metrics: StoreMetrics) -> Self {
        Self {
            random,
            metrics,
            faults: None,
        }
    }
}

/// An open store.
#[derive(Clone)]
pub struct OpenedStore {
    /// What it was opened as, without secrets.
    pub url: String,
    /// The store with all its decorators.
    pub store: Arc<dyn ObjectStore>,
    /// The store without retries, so that [`super::probe`] sees each failure at once.
    pub bare: Arc<dyn ObjectStore>,
    /// What uploads in parts have left in it, of stores that can tell.
    pub uploads: Option<Arc<dyn UnfinishedUploads>>,
}

impl OpenedStore {
    /// Finds out, within `time`, whether the store is usable, and if not, why.
    pub async fn probe(
        &self,
        random: &dyn Random,
        time: Duration,
    ) -> Result<ProbeReport, ProbeError> {
        probe(&self.url, self.bare.as_ref(), random, time).await
    }
}

/// The URL only: some clients' own words contain keys.
impl fmt::Debug for OpenedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenedStore").field(&self.url).finish()
    }
}

/// Why a store cannot be opened. Nothing has been sent to it yet; [`super::probe`] does that.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no store.
    #[error("{url:?} is not an object store: {reason}")]
    InvalidUrl {
        /// As given, without secrets.
        url: String,
        /// What to write instead.
        reason: String,
    },
    /// The folder cannot be made or read.
    #[error("cannot use the folder {} as object store: {source}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// One half of a key pair.
    #[error(
        "{present} is set and {missing} is not; set both, or neither to use the machine's role"
    )]
    HalfCredentials {
        /// The variable that is set.
        present: &'static str,
        /// The variable that is not.
        missing: &'static str,
    },
    /// The AWS profile files are not read.
    #[error(
        "AWS_PROFILE={profile} is set, but profile files are not read; run \
         `eval \"$(aws configure export-credentials --profile {profile} --format env)\"` first, \
         or unset AWS_PROFILE to use the machine's role"
    )]
    ProfileFile {
        /// The profile asked for.
        profile: String,
    },
    /// No region for Amazon S3.
    #[error(
        "the region of the bucket is not known; set AWS_REGION (or AWS_ENDPOINT_URL for a server that is not Amazon's)"
    )]
    NoRegion,
    /// A setting from the environment that the client refuses.
    #[error("cannot open {url} with the settings in the environment: {source}")]
    Settings {
        /// The store.
        url: String,
        /// What the client said.
        source: ::object_store::Error,
    },
}

/// Opens the store that `url` names ([`Location::parse`] tells the forms) with all its decorators.
/// Only a local folder is touched; whether a bucket is usable is for [`super::probe`] to say.
pub async fn open(
    url: &str,
    settings: &StoreSettings,
    components: &StoreComponents,
) -> Result<OpenedStore, OpenError> {
    let location = Location::parse(url)?;
    let described = describe(&location);
    let mut uploads = None;
    let store: Arc<dyn ObjectStore> = match location {
        Location::Memory => Arc::new(InMemory::new()),
        Location::Local(path) => open_folder(path, components.random.clone()).await?,
        Location::Cloud {
            provider,
            url,
            prefix,
        } => {
            let bucket = cloud::open(provider, &url, &prefix, &settings.environment)?;
            uploads = bucket.uploads;
            match prefix.as_ref().is_empty() {
                true => bucket.store,
                false => Arc::new(Prefixed::new(bucket.store, prefix)),
            }
        }
    };
    let metered = |inner| MeteredUploads::new(inner, components.metrics.clone());
    let uploads = uploads.map(|inner| Arc::new(metered(inner)) as Arc<dyn UnfinishedUploads>);
    let opened = decorate(described, store, settings, components);
    Ok(OpenedStore { uploads, ..opened })
}

/// Puts the decorators around `store`. This is the one place that knows their order; the module's
/// documentation tells the reasons.
pub fn decorate(
    url: String,
    mut store: Arc<dyn ObjectStore>,
    settings: &StoreSettings,
    components: &StoreComponents,
) -> OpenedStore {
    if let Some(faults) = &components.faults {
        store = Arc::new(FaultStore::new(store, Arc::clone(faults)));
    }
    store = Arc::new(MetricsStore::new(store, components.metrics.clone()));
    let bare = Arc::clone(&store);
    store = Arc::new(RetryStore::new(
        store,
        settings.retry.clone(),
        components.random.clone(),
        components.metrics.clone(),
    ));
    store = Arc::new(LimitStore::new(store, settings.requests_max.max(1)));
    OpenedStore {
        url,
        store,
        bare,
        uploads: None,
    }
}

async fn open_folder(
    path: PathBuf,
    random: SharedRandom,
) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let folder = path.clone();
    let opened = tokio::task::spawn_blocking(move || LocalFolder::open(&folder, random.as_ref()));
    let failed = |source| OpenError::Folder { path, source };
    match opened.await.map_err(std::io::Error::other) {
        Ok(Ok(store)) => Ok(Arc::new(store)),
        Ok(Err(source)) | Err(source) => Err(failed(source)),
    }
}

fn describe(location: &Location) -> String {
    match location {
        Location::Memory => "memory:".to_owned(),
        Location::Local(path) => path.display().to_string(),
        Location::Cloud { url, .. } => url.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::SeededRandom;

    async fn open_with(url: &str, variables: &[(&str, &str)]) -> Result<OpenedStore, OpenError> {
        let settings = StoreSettings {
            environment: variables.iter().copied().collect(),
            ..StoreSettings::default()
        };
        let components = StoreComponents::new(SeededRandom::new(1), StoreMetrics::default());
        open(url, &settings, &components).await
    }

    const KEYS: [(&str, &str); 2] = [
        ("AWS_ACCESS_KEY_ID", "key-id"),
        ("AWS_SECRET_ACCESS_KEY", "top-secret"),
    ];

    #[tokio::test]
    async fn every_cloud_opens_by_url() {
        let aws = [KEYS[0], KEYS[1], ("AWS_DEFAULT_REGION", "eu-central-1")];
        open_with("s3://bucket/prefix", &aws).await.expect("s3");
        let azure = [
            ("AZURE_STORAGE_ACCOUNT", "account"),
            ("AZURE_STORAGE_KEY", "c2VjcmV0"),
        ];
        open_with("az://container/prefix", &azure)
            .await
            .expect("az");
        let abfss = "abfss://files@account.dfs.core.windows.net/prefix";
        open_with(abfss, &azure).await.expect("abfss");
        let google = [("GOOGLE_SKIP_SIGNATURE", "true")];
        open_with("gs://bucket/prefix", &google).await.expect("gs");
    }

    #[tokio::test]
    async fn half_a_setup_says_what_is_missing() {
        let region = ("AWS_REGION", "eu-central-1");
        for (variables, word) in [
            (vec![KEYS[0], region], "AWS_SECRET_ACCESS_KEY is not"),
            (vec![KEYS[1], region], "AWS_ACCESS_KEY_ID is not"),
            (vec![KEYS[0], KEYS[1]], "set AWS_REGION"),
            (vec![region, ("AWS_PROFILE", "work")], "--profile work"),
            // Set to nothing is not set.
            (
                vec![KEYS[0], ("AWS_SECRET_ACCESS_KEY", ""), region],
                "is not",
            ),
        ] {
            let error = open_with("s3://bucket", &variables).await;
            let words = error.expect_err(word).to_string();
            assert!(words.contains(word), "{words}");
            assert!(!words.contains("top-secret"), "{words}");
        }
        let azure = open_with("az://container", &[]).await;
        let words = azure.expect_err("no account").to_string();
        assert!(words.contains("az://container"), "{words}");
    }

    #[tokio::test]
    async fn payloads_are_signed_only_where_tls_does_not_guard_them() {
        let region = ("AWS_REGION", "eu-central-1");
        for (endpoint, wanted) in [
            ("", "sign_payload: false"),
            ("https://store.example", "sign_payload: false"),
            ("http://127.0.0.1:9000", "sign_payload: true"),
        ] {
            let variables = [KEYS[0], KEYS[1], region, ("AWS_ENDPOINT_URL", endpoint)];
            let opened = open_with("s3://bucket", &variables).await.expect("open");
            let told = format!("{:?}", opened.bare);
            assert!(told.contains(wanted), "{endpoint}: {told}");
            assert!(told.contains("max_retries: 0"), "one retry policy: {told}");
            assert!(!format!("{opened:?}").contains("key-id"));
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let inside = file.path().join("store");
        let error = open_with(&inside.display().to_string(), &[]).await;
        let words = error.expect_err("it is below a file").to_string();
        assert!(words.contains(&inside.display().to_string()), "{words}");
    }
}

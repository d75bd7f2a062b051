//! Opening a store and building the stack of decorators around it.

use std::path::PathBuf;
use std::sync::Arc;

use ::object_store::ObjectStore;
use ::object_store::limit::LimitStore;
use ::object_store::memory::InMemory;

use super::fault::{FaultPlan, FaultStore};
use super::metrics::{MetricsStore, StoreMetrics};
use super::prefix::Prefixed;
use super::retry::{RetryPolicy, RetryStore};
use super::{Environment, LocalFolder, Location, cloud};
use crate::rand::SharedRandom;

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
#[derive(Debug, Clone)]
pub struct OpenedStore {
    /// What it was opened as, without secrets.
    pub url: String,
    /// The store with all its decorators.
    pub store: Arc<dyn ObjectStore>,
    /// The store without retries, so that [`super::probe`] sees each failure at once.
    pub bare: Arc<dyn ObjectStore>,
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
    let store: Arc<dyn ObjectStore> = match location {
        Location::Memory => Arc::new(InMemory::new()),
        Location::Local(path) => open_folder(path, components.random.clone()).await?,
        Location::Cloud {
            provider,
            url,
            prefix,
        } => {
            let bucket = cloud::open(provider, &url, &settings.environment)?;
            match prefix.as_ref().is_empty() {
                true => bucket,
                false => Arc::new(Prefixed::new(bucket, prefix)),
            }
        }
    };
    Ok(decorate(described, store, settings, components))
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
    OpenedStore { url, store, bare }
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

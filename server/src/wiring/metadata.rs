//! Opens the metadata store, the session and the group coordinator.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::BrokerId;
use alluvium_metadata::coordinator::group::GroupConfig;
use alluvium_metadata::coordinator::{
    CoordinatorOptions, GroupCoordinator, Ownership, migrate_groups,
};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{BrokerRecord, ClusterRecord, RpcEndpoint};
use alluvium_metadata::session::Session;
use alluvium_metadata::store::etcd::Credentials;
use alluvium_metadata::store::metrics::{MeteredStore, StoreMetrics};
use alluvium_metadata::store::{
    Change, EmbeddedOptions, EmbeddedStore, EtcdOptions, EtcdStore, LEASE_TTL_MAX, MetadataStore,
    MetadataStoreExt, StoreError,
};
use alluvium_metadata::value::{self, ValueError};
use alluvium_protocol::StrBytes;
use anyhow::{Context, bail};

use super::Basics;
use crate::config::{Config, Endpoint, MetadataLocation};
use crate::data_folder::DataFolder;

/// Keys of the configured cluster.
pub fn keys(config: &Config) -> Keys {
    Keys::new(&config.cluster)
}

/// Opens the store that the configuration names.
pub async fn open(basics: &Basics, folder: &DataFolder) -> anyhow::Result<Arc<dyn MetadataStore>> {
    let config = &basics.loaded.config;
    check_cluster_name(&config.cluster)?;
    let store: Arc<dyn MetadataStore> = match &config.metadata {
        MetadataLocation::Embedded => Arc::new(open_embedded(config, folder).await?),
        MetadataLocation::Etcd(options) => {
            let options = with_credentials(options, config)?;
            Arc::new(EtcdStore::open(&options).await?)
        }
    };
    let metrics = StoreMetrics::register(&mut basics.registry.lock());
    Ok(Arc::new(MeteredStore::new(store, metrics)))
}

async fn open_embedded(config: &Config, folder: &DataFolder) -> anyhow::Result<EmbeddedStore> {
    let (path, options) = (folder.metadata(), EmbeddedOptions::new(&config.cluster));
    tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, &options))
        .await
        .context("opening the metadata store failed")?
        .context("the metadata store cannot be opened")
}

/// The settings are for those who would rather not write a password into a URL; they do not add to one.
fn with_credentials(options: &EtcdOptions, config: &Config) -> anyhow::Result<EtcdOptions> {
    let credentials = match (&config.etcd_user, &config.etcd_password) {
        (None, None) => return Ok(options.clone()),
        (Some(user), Some(password)) => Credentials {
            user: user.clone(),
            password: password.reveal().to_owned(),
        },
        _ => bail!("etcd.user and etcd.password go together"),
    };
    anyhow::ensure!(
        options.credentials.is_none(),
        "etcd.user is set, and the URL in metadata names a user too; give one of them"
    );
    Ok(EtcdOptions {
        credentials: Some(credentials),
        ..options.clone()
    })
}

/// The name becomes part of keys and paths.
fn check_cluster_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    anyhow::ensure!(
        !name.is_empty() && name.len() <= 100 && name.chars().all(fits),
        "cluster {name:?}: a cluster name has 1 to 100 letters, digits, dots, underscores and dashes"
    );
    Ok(())
}

/// Opens the session of this process: `endpoint` is where its clients, or whoever looks after it, find it.
pub async fn open_session(
    basics: &Basics,
    folder: &DataFolder,
    store: &Arc<dyn MetadataStore>,
    endpoint: &Endpoint,
    rpc: Option<RpcEndpoint>,
) -> anyhow::Result<Arc<Session>> {
    let config = &basics.loaded.config;
    anyhow::ensure!(config.broker_id >= 0, "broker.id must not be negative");
    let record = BrokerRecord {
        broker_id: BrokerId(config.broker_id),
        host: endpoint.host.clone(),
        port: endpoint.port,
        rack: config.rack.clone(),
        instance_id: folder.instance_id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: basics.clock.now_ms(),
        rpc,
        draining: false,
        roles: config.roles.clone(),
    };
    let ttl = session_ttl(config)?;
    let session = Session::open(Arc::clone(store), &keys(config), &record, ttl).await?;
    Ok(Arc::new(session))
}

/// Shortest session. A shorter one would end while etcd elects a leader.
const SESSION_TTL_MIN: Duration = Duration::from_secs(3);

/// With the embedded store nobody can take over from this broker, so there is nothing to gain from noticing its
/// silence early: a laptop that sleeps for a night keeps its session.
fn session_ttl(config: &Config) -> anyhow::Result<Duration> {
    let ttl = match config.metadata {
        MetadataLocation::Embedded => LEASE_TTL_MAX,
        MetadataLocation::Etcd(_) => config.broker_session_timeout_ms.as_duration(),
    };
    anyhow::ensure!(
        (SESSION_TTL_MIN..=LEASE_TTL_MAX).contains(&ttl),
        "broker.session.timeout.ms is from {} to {}, not {}",
        SESSION_TTL_MIN.as_millis(),
        LEASE_TTL_MAX.as_millis(),
        ttl.as_millis()
    );
    Ok(ttl)
}

#[derive(Debug, thiserror::Error)]
enum ClusterError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreadable(#[from] ValueError),
}

/// The identity of the cluster, which its first broker gives it.
pub async fn ensure_cluster(
    basics: &Basics,
    store: &dyn MetadataStore,
) -> anyhow::Result<ClusterRecord> {
    let read = try_ensure_cluster(basics, store).await;
    read.context("the cluster's identity cannot be read")
}

async fn try_ensure_cluster(
    basics: &Basics,
    store: &dyn MetadataStore,
) -> Result<ClusterRecord, ClusterError> {
    let fresh = ClusterRecord {
        cluster_id: basics.random.uuid(),
        created_ms: basics.clock.now_ms(),
    };
    let updated = store
        .update(
            keys(&basics.loaded.config).cluster(),
            |current| match current {
                Some(kv) => Ok::<_, ClusterError>((Change::Keep, value::decode(&kv.value)?)),
                None => Ok((Change::Put(value::encode(&fresh)), fresh.clone())),
            },
        )
        .await?;
    Ok(updated.output)
}

/// As Kafka writes ids: the 16 bytes in URL-safe base64 without padding.
pub fn cluster_id(cluster: &ClusterRecord) -> StrBytes {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = cluster.cluster_id.as_u128();
    // 22 digits of 6 bits: 128 bits and 4 zero bits at the end.
    let digit = |i: u32| {
        let shift = 122 - 6 * i64::from(i);
        let six = if shift >= 0 {
            bits >> shift
        } else {
            bits << -shift
        };
        char::from(ALPHABET[(six & 63) as usize])
    };
    (0..22).map(digit).collect::<String>().into()
}

/// The coordinator of the groups whose shards will be opened here. Groups as a former version stored them are divided
/// among the shards first.
pub async fn groups(
    basics: &Basics,
    store: &Arc<dyn MetadataStore>,
    session: &Arc<Session>,
) -> anyhow::Result<Arc<GroupCoordinator>> {
    let config = &basics.loaded.config;
    let ownership: Arc<dyn Ownership> = session.clone();
    migrate_groups(store, &keys(config), &ownership, &basics.random)
        .await
        .context("the consumer groups of a former version cannot be moved to their shards")?;
    let options = CoordinatorOptions {
        keys: keys(config),
        config: GroupConfig {
            min_session_timeout: config.group_min_session_timeout_ms.as_duration(),
            max_session_timeout: config.group_max_session_timeout_ms.as_duration(),
            initial_rebalance_delay: config.group_initial_rebalance_delay_ms.as_duration(),
            max_size: config.group_max_size as usize,
            offset_metadata_max: config.offset_metadata_max_bytes as usize,
            offsets_retention: Duration::from_secs(
                u64::from(config.offsets_retention_minutes) * 60,
            ),
            ..GroupConfig::default()
        },
        clock: Arc::clone(&basics.clock),
        random: Arc::clone(&basics.random),
    };
    Ok(Arc::new(GroupCoordinator::new(Arc::clone(store), options)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn cluster_ids_look_as_kafkas() {
        let id = |bits| {
            cluster_id(&ClusterRecord {
                cluster_id: Uuid::from_u128(bits),
                created_ms: 0,
            })
        };
        assert_eq!(id(0).as_str(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(id(u128::MAX).as_str(), "_____________________w");
        assert_eq!(id(1 << 122).as_str(), "BAAAAAAAAAAAAAAAAAAAAA");
    }
}

//! Calls between brokers: the socket, the connections to others, and what is built on them.

use std::path::Path;
use std::sync::Arc;

use alluvium_cache::log::Logs;
use alluvium_cache::segment_cache::SegmentCache;
use alluvium_cache::tail::TailBudget;
use alluvium_compactor::manifests::Manifests;
use alluvium_metadata::model::RpcEndpoint;
use alluvium_metadata::session::Session;
use alluvium_metadata::view::ClusterView;
use alluvium_query::LogReader;
use anyhow::{Context, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::listeners;
use crate::config::{Config, Endpoint, MetadataLocation};
use crate::followers::{FollowerLogs, FollowerSeams};
use crate::partitions::{FormerLeaders, Shelf};
use crate::rpc::{
    AnswerMemory, BoundRpc, Leader, Pages, Peers, RackPages, RpcLimits, RpcService, RpcTls,
};

/// Binds the socket for other brokers; `None` where there are none.
pub async fn bind(config: &Config) -> anyhow::Result<Option<BoundRpc>> {
    let Some(listen) = listen(config) else {
        return Ok(None);
    };
    let tls = tls(config).await?;
    let listener = listeners::bind(&listen, "--set rpc.listen=HOST:PORT").await?;
    let port = listener
        .local_addr()
        .context("the listener for other brokers has no address")?
        .port();
    let bound = Endpoint {
        host: listen.host,
        port,
    };
    let advertised = listeners::reachable(config.rpc_advertised_listener.as_ref(), &bound);
    let endpoint = RpcEndpoint {
        host: advertised.host,
        port: advertised.port,
    };
    Ok(Some(BoundRpc::new(listener, endpoint, tls)))
}

/// Others find the port in the metadata store, so any will do where none is said.
fn listen(config: &Config) -> Option<Endpoint> {
    match (&config.rpc_listen, &config.metadata) {
        (Some(listen), _) => Some(listen.clone()),
        (None, MetadataLocation::Embedded) => None,
        (None, MetadataLocation::Etcd(_)) => Some(Endpoint {
            host: config.listen.host.clone(),
            port: 0,
        }),
    }
}

async fn tls(config: &Config) -> anyhow::Result<Option<RpcTls>> {
    let files = (
        &config.rpc_tls_cert,
        &config.rpc_tls_key,
        &config.rpc_tls_ca,
    );
    match files {
        (None, None, None) => Ok(None),
        (Some(cert), Some(key), Some(ca)) => {
            let tls = RpcTls::read(Path::new(cert), Path::new(key), Path::new(ca)).await?;
            Ok(Some(tls))
        }
        _ => bail!("rpc.tls.cert, rpc.tls.key and rpc.tls.ca go together"),
    }
}

/// What calls between brokers need of this one.
pub struct RpcSeams<'a> {
    pub config: &'a Config,
    pub cluster_id: &'a str,
    pub session: &'a Arc<Session>,
    pub view: &'a Arc<ClusterView>,
    pub logs: &'a Arc<Logs>,
    pub reader: &'a Arc<LogReader>,
    pub cache: &'a SegmentCache,
    pub tail_budget: &'a Arc<TailBudget>,
    pub manifests: &'a Arc<Manifests>,
    pub stopping: &'a CancellationToken,
}

/// What comes of them.
#[derive(Default)]
pub struct Rpc {
    /// What is followed of the other brokers, for fetches.
    pub followers: Option<Arc<FollowerLogs>>,
    /// The other brokers, for those who open partitions.
    pub former: Option<Arc<dyn FormerLeaders>>,
    /// What was handed over.
    pub shelf: Arc<Shelf>,
}

/// Answers the calls of others from now on, and makes calls.
pub fn start(bound: Option<BoundRpc>, with: &RpcSeams<'_>, tasks: &mut JoinSet<()>) -> Rpc {
    let Some(bound) = bound else {
        return Rpc::default();
    };
    let shelf = Arc::new(Shelf::default());
    let limits = RpcLimits::default();
    let session = Arc::clone(with.session);
    let memory = AnswerMemory::new(limits.answer_bytes);
    let leader = Leader::new(
        Arc::clone(with.logs),
        Arc::clone(with.reader),
        Arc::clone(&shelf),
        Arc::new(move || session.is_alive()),
        memory.clone(),
    );
    let addresses = Arc::clone(with.view) as Arc<_>;
    let peers = Peers::new(addresses, with.cluster_id, bound.client_tls());
    let stopping = with.stopping.clone();
    let pages = Pages::new(with.cache.clone(), memory);
    let service = RpcService::new(leader, pages, with.cluster_id, limits, stopping.clone());
    if with.config.cache_from_rack {
        let me = with.session.broker_id();
        let others = RackPages::new(me, Arc::clone(with.view), Arc::clone(&peers));
        with.cache.ask_first(others);
    }
    tasks.spawn(async move {
        if let Err(error) = bound.serve(service, stopping).await {
            let error = anyhow::Error::from(error);
            error!(
                error = format!("{error:#}"),
                "other brokers cannot call this one"
            );
        }
    });
    tasks.spawn(forget_gone(Arc::clone(with.view), Arc::clone(&peers)));
    Rpc {
        followers: followers(with, &peers),
        former: Some(Arc::new(peers)),
        shelf,
    }
}

fn followers(with: &RpcSeams<'_>, peers: &Arc<Peers>) -> Option<Arc<FollowerLogs>> {
    let seams = FollowerSeams {
        broker_id: with.session.broker_id(),
        rack: with.config.rack.clone(),
        view: Arc::clone(with.view),
        peers: Arc::clone(peers),
        tail_budget: Arc::clone(with.tail_budget),
        manifests: Arc::clone(with.manifests),
        stopping: with.stopping.clone(),
    };
    with.config
        .fetch_from_rack
        .then(|| FollowerLogs::new(seams))
}

async fn forget_gone(view: Arc<ClusterView>, peers: Arc<Peers>) {
    let mut changes = view.changes();
    while changes.changed().await.is_ok() {
        peers.forget_gone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(settings: &[(&str, &str)]) -> Config {
        let mut config = Config::default();
        for (key, value) in settings {
            config.set(key, value).expect("known").expect("valid");
        }
        config
    }

    #[test]
    fn brokers_of_a_cluster_listen_beside_kafkas_port() {
        let listens =
            |settings: &[(&str, &str)]| listen(&config(settings)).map(|listen| listen.to_string());
        let etcd = ("metadata", "etcd://127.0.0.1:2379");
        let own = ("rpc.listen", "10.0.0.1:7000");
        let expected = |text: &str| Some(text.to_owned());
        assert_eq!(listens(&[]), None);
        assert_eq!(listens(&[own]), expected("10.0.0.1:7000"));
        assert_eq!(listens(&[etcd, own]), expected("10.0.0.1:7000"));
        let public = ("listen", "0.0.0.0:9092");
        assert_eq!(listens(&[etcd, public]), expected("0.0.0.0:0"));
        let any = ("listen", "127.0.0.1:0");
        assert_eq!(listens(&[etcd, any]), expected("127.0.0.1:0"));
    }

    #[tokio::test]
    async fn half_of_tls_is_refused() {
        let half = tls(&config(&[("rpc.tls.cert", "a.pem")])).await;
        let error = half.err().expect("refused").to_string();
        assert!(error.contains("go together"), "{error}");
        let missing = config(&[
            ("rpc.tls.cert", "/nowhere/a.pem"),
            ("rpc.tls.key", "/nowhere/b.pem"),
            ("rpc.tls.ca", "/nowhere/c.pem"),
        ]);
        let error = tls(&missing).await.err().expect("refused").to_string();
        assert!(error.contains("/nowhere/a.pem"), "{error}");
    }
}

//! A store that reaches its etcd through a proxy, and one that does not.

use alluvium_metadata::store::{EtcdOptions, EtcdStore};
use alluvium_tests::etcd::{ClusterOptions, EtcdCluster};
use alluvium_tests::proxy::Proxy;

pub struct Proxied {
    pub proxy: Proxy,
    /// Through the proxy.
    pub store: EtcdStore,
    /// Not through the proxy.
    pub direct: EtcdStore,
    _cluster: EtcdCluster,
}

impl Proxied {
    /// One member. `adjust` changes the options of the store behind the proxy.
    pub async fn start(adjust: impl FnOnce(EtcdOptions) -> EtcdOptions) -> Self {
        let cluster = ClusterOptions::single().start().await;
        let proxy = Proxy::start(&cluster.endpoints()[0]).await;
        let options = EtcdOptions {
            endpoints: vec![proxy.endpoint()],
            ..cluster.options()
        };
        Self {
            store: cluster.store_with(&adjust(options)).await,
            direct: cluster.store().await,
            proxy,
            _cluster: cluster,
        }
    }
}

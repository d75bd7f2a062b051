//! What this process, a broker or one that compacts only, has asked of the object store, by topic and for how long that was
//! counted: what a bill is estimated from.

use std::fmt;
use std::sync::Arc;

use alluvium_common::object_store::TopicRequests;
use alluvium_metadata::view::ClusterView;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::time::Instant;

use crate::broker::Identity;

/// The counts as metrics. Names of topics are looked up when they are shown, so that a deleted one is not.
pub struct Usage {
    requests: TopicRequests,
    view: Arc<ClusterView>,
    whose: Vec<(String, String)>,
    since: Instant,
}

impl Usage {
    /// Counted from now on, by the process `identity`.
    pub fn new(requests: TopicRequests, view: Arc<ClusterView>, identity: &Identity) -> Self {
        let whose = [
            ("broker", identity.broker_id.to_string()),
            ("cluster", identity.cluster_id.to_string()),
        ];
        Self {
            requests,
            view,
            whose: whose.map(|(name, value)| (name.to_owned(), value)).into(),
            since: Instant::now(),
        }
    }
}

impl Collector for Usage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut uptime = encoder.encode_descriptor(
            "uptime",
            "Time for which this broker counts, and who it is",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        let seconds = ConstGauge::new(self.since.elapsed().as_secs_f64());
        seconds.encode(uptime.encode_family(&self.whose)?)?;

        let mut requests = encoder.encode_descriptor(
            "topic_requests",
            "Requests to the object store for one topic, by what stores bill; PUTs of segments are shared by bytes",
            None,
            MetricType::Counter,
        )?;
        let picture = self.view.picture();
        for (topic_id, counted) in self.requests.by_topic() {
            let Some(topic) = picture.topics.with_id(topic_id) else {
                continue;
            };
            for (billed_as, count) in [("put", counted.puts), ("get", counted.gets)] {
                let labels = [
                    ("topic", topic.name.to_string()),
                    ("billed_as", billed_as.to_owned()),
                ];
                ConstCounter::new(count).encode(requests.encode_family(&labels)?)?;
            }
        }

        let mut segment_puts = encoder.encode_descriptor(
            "topic_segment_puts",
            "Of the requests for one topic, its shares in PUTs of segments",
            None,
            MetricType::Counter,
        )?;
        for (topic_id, counted) in self.requests.by_topic() {
            if let Some(topic) = picture.topics.with_id(topic_id) {
                let labels = [("topic", topic.name.to_string())];
                let share = ConstCounter::new(counted.segment_puts);
                share.encode(segment_puts.encode_family(&labels)?)?;
            }
        }

        let segment_gets = ConstCounter::new(self.requests.segment_gets());
        let described = encoder.encode_descriptor(
            "segment_gets",
            "GETs of segments, which hold several topics",
            None,
            MetricType::Counter,
        )?;
        segment_gets.encode(described)
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage").finish_non_exhaustive()
    }
}

/// Forgets topics that are deleted. Never ends; drop it to end it.
pub async fn forget_deleted(requests: TopicRequests, view: Arc<ClusterView>) {
    let mut changes = view.changes();
    loop {
        changes.mark_unchanged();
        let picture = view.picture();
        requests.retain(|topic_id| picture.topics.with_id(topic_id).is_some());
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alluvium_common::epoch::BrokerId;
    use alluvium_common::topic::{TopicId, TopicName};
    use alluvium_metadata::keys::Keys;
    use alluvium_metadata::model::TopicRecord;
    use alluvium_metadata::store::{MemoryStore, MetadataStore, MetadataStoreExt};
    use alluvium_metadata::value;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use uuid::Uuid;

    use super::*;
    use crate::config::Endpoint;

    const ORDERS: TopicId = TopicId(Uuid::from_u128(1));
    const DELETED: TopicId = TopicId(Uuid::from_u128(2));

    fn identity() -> Identity {
        Identity {
            cluster_id: "abc".into(),
            broker_id: BrokerId(7),
            endpoint: Endpoint {
                host: "localhost".to_owned(),
                port: 9092,
            },
            rack: None,
        }
    }

    async fn view() -> Arc<ClusterView> {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let keys = Keys::new("test");
        let topic = TopicRecord {
            name: TopicName::new("orders").expect("valid"),
            topic_id: ORDERS,
            partition_count: 1,
            replication_factor: 1,
            configs: BTreeMap::new(),
            created_ms: 0,
        };
        let put = store.put(keys.topic(&topic.name), value::encode(&topic));
        put.await.expect("put");
        Arc::new(ClusterView::open(store, keys).await.expect("view"))
    }

    #[tokio::test(start_paused = true)]
    async fn topics_that_exist_are_shown_by_name() {
        let (view, requests) = (view().await, TopicRequests::default());
        requests.put_shared([(ORDERS, 1), (DELETED, 3)]);
        let usage = Usage::new(requests.clone(), Arc::clone(&view), &identity());
        let mut registry = Registry::with_prefix("alluvium");
        registry.register_collector(Box::new(usage));
        tokio::time::advance(std::time::Duration::from_secs(90)).await;
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        for line in [
            "alluvium_topic_requests_total{topic=\"orders\",billed_as=\"put\"} 0.25",
            "alluvium_topic_requests_total{topic=\"orders\",billed_as=\"get\"} 0.0",
            "alluvium_topic_segment_puts_total{topic=\"orders\"} 0.25",
            "alluvium_segment_gets_total 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let uptime = text
            .lines()
            .find(|line| line.starts_with("alluvium_uptime_seconds{"));
        let uptime = uptime.expect("an uptime");
        assert!(
            uptime.contains("{broker=\"7\",cluster=\"abc\"}") && uptime.ends_with("} 90.0"),
            "{uptime}"
        );
        let of_topics = text.lines().filter(|line| line.contains("{topic="));
        assert_eq!(of_topics.count(), 3, "{text}");

        let forgetting = forget_deleted(requests.clone(), view);
        let forever = tokio::time::timeout(std::time::Duration::from_secs(1), forgetting).await;
        assert!(forever.is_err());
        let left: Vec<_> = requests.by_topic().into_iter().map(|(id, _)| id).collect();
        assert_eq!(left, [ORDERS]);
    }
}

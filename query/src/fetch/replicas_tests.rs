//! Fetches of partitions that other brokers lead, and of clients in other racks.

use std::collections::HashMap;

use alluvium_common::offset::LogOffsets;
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::TopicPartition;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::*;
use crate::testing::{BatchSpec, EPOCH, TestBroker, TestLog, offset, tp};
use alluvium_cache::log::PartitionLog;

struct ById;

impl TopicResolver for ById {
    fn resolve(&self, topic: &TopicKey) -> Option<TopicId> {
        match topic {
            TopicKey::Name(_) => None,
            TopicKey::Id(id) => Some(*id),
        }
    }
}

/// Follows the logs that it is given; the leaders are wherever a test puts them.
#[derive(Default)]
struct Others {
    followed: Mutex<HashMap<TopicPartition, Arc<PartitionLog>>>,
    leaders: Mutex<HashMap<TopicPartition, Option<LogOffsets>>>,
    asked: Mutex<usize>,
}

impl Replicas for Others {
    fn preferred(&self, _: TopicPartition, client_rack: &str) -> Option<BrokerId> {
        (client_rack == "there").then_some(BrokerId(9))
    }

    fn open<'a>(
        &'a self,
        tp: TopicPartition,
        client_rack: &'a str,
    ) -> BoxFuture<'a, Result<Arc<PartitionLog>, ReadError>> {
        let log = self.followed.lock().get(&tp).cloned();
        let log = log.filter(|_| client_rack == "here");
        std::future::ready(log.ok_or(ReadError::UnknownPartition)).boxed()
    }

    fn catch_up(
        &self,
        logs: Vec<Arc<PartitionLog>>,
    ) -> BoxFuture<'_, Vec<Result<LogOffsets, ReadError>>> {
        *self.asked.lock() += 1;
        let leaders = self.leaders.lock();
        let answers = logs.iter().map(|log| {
            let leader = leaders.get(&log.tp).copied().flatten();
            let leader = leader.ok_or(ReadError::UnknownPartition)?;
            log.tail.advance_high_watermark(leader.high_watermark);
            Ok(leader)
        });
        std::future::ready(answers.collect()).boxed()
    }
}

struct Scene {
    broker: TestBroker,
    others: Arc<Others>,
    fetcher: Arc<Fetcher>,
}

impl Scene {
    async fn new() -> Self {
        let broker = TestBroker::new(1 << 20).await;
        let others = Arc::new(Others::default());
        let fetcher = Fetcher::new(
            Arc::clone(&broker.reader),
            Some(Arc::clone(&others) as Arc<dyn Replicas>),
            FetchConfig::default(),
            SeededRandom::new(1),
        );
        Self {
            broker,
            others,
            fetcher,
        }
    }

    /// A partition with one readable batch of ten records and one that is not readable yet, led elsewhere.
    fn followed(&self, partition: i32) -> TestLog {
        let mut log = self.broker.follow(partition);
        self.broker.append(&mut log, &BatchSpec::of(0..10), false);
        self.broker
            .append_hidden(&mut log, &BatchSpec::of(0..10), false);
        self.others
            .followed
            .lock()
            .insert(tp(partition), Arc::clone(&log.log));
        log
    }

    fn leader(&self, partition: i32, high_watermark: i64, log_end: i64) {
        let offsets = LogOffsets {
            log_start: offset(0),
            last_stable: offset(high_watermark),
            high_watermark: offset(high_watermark),
            log_end: offset(log_end),
        };
        let mut leaders = self.others.leaders.lock();
        leaders.insert(tp(partition), Some(offsets));
    }

    async fn fetch(
        &self,
        rack: Option<&str>,
        partition: i32,
        from: i64,
    ) -> Result<PartitionRead, FetchError> {
        let request = FetchRequest {
            max_wait: Duration::ZERO,
            min_bytes: 1,
            max_bytes: 1 << 20,
            isolation: Isolation::ReadUncommitted,
            rack: rack.map(str::to_owned),
            session: SessionRequest::NONE,
            partitions: vec![FetchPartition {
                topic: TopicKey::Id(tp(0).topic_id),
                partition: PartitionIndex(partition),
                fetch_offset: from,
                current_leader_epoch: Some(EPOCH),
                last_fetched_epoch: None,
                max_bytes: 1 << 20,
            }],
            forgotten: Vec::new(),
        };
        let response = self
            .fetcher
            .fetch(request, &ById)
            .await
            .expect("a response");
        response.partitions.into_iter().next().expect("one").result
    }
}

#[tokio::test]
async fn clients_of_another_rack_are_sent_there() {
    let scene = Scene::new().await;
    let mut log = scene.broker.open(0);
    scene.broker.append(&mut log, &BatchSpec::of(0..10), false);
    let got = scene.fetch(Some("there"), 0, 3).await.expect("answered");
    assert_eq!((got.preferred, got.read.size_bytes), (Some(BrokerId(9)), 0));
    assert_eq!(got.read.offsets.high_watermark, offset(10));
    for rack in [None, Some("here")] {
        let got = scene.fetch(rack, 0, 3).await.expect("answered");
        assert_eq!(got.preferred, None);
        assert_eq!(log.check(offset(3), &got.read), 1);
    }
    let lost = scene.fetch(Some("there"), 0, 11).await;
    assert!(matches!(
        lost,
        Err(FetchError::Read(ReadError::OffsetOutOfRange { .. }))
    ));
}

#[tokio::test]
async fn committed_offsets_are_served_without_asking_the_leader() {
    let scene = Scene::new().await;
    let log = scene.followed(0);
    let got = scene.fetch(Some("here"), 0, 4).await.expect("served");
    assert_eq!(
        log.check(offset(4), &got.read),
        1,
        "nothing beyond the high watermark"
    );
    assert_eq!(*scene.others.asked.lock(), 0);
    for rack in [None, Some("there")] {
        let refused = scene.fetch(rack, 0, 4).await;
        assert!(matches!(
            refused,
            Err(FetchError::Read(ReadError::UnknownPartition))
        ));
    }
}

#[tokio::test]
async fn the_end_is_told_only_after_the_leader_was_asked() {
    let scene = Scene::new().await;
    let log = scene.followed(0);
    let cut_off = scene.fetch(Some("here"), 0, 10).await;
    assert!(matches!(
        cut_off,
        Err(FetchError::Read(ReadError::UnknownPartition))
    ));
    scene.leader(0, 20, 20);
    let got = scene.fetch(Some("here"), 0, 10).await.expect("served");
    assert_eq!(
        log.check(offset(10), &got.read),
        1,
        "acknowledged before the fetch"
    );
    assert_eq!(got.read.offsets.high_watermark, offset(20));
}

#[tokio::test]
async fn an_offset_is_out_of_range_only_when_the_leader_says_so() {
    let scene = Scene::new().await;
    let _log = scene.followed(0);
    scene.leader(0, 20, 30);
    let later = scene.fetch(Some("here"), 0, 25).await;
    assert!(matches!(
        later,
        Err(FetchError::Read(ReadError::OffsetNotAvailable))
    ));
    let beyond = scene.fetch(Some("here"), 0, 31).await;
    let Err(FetchError::Read(ReadError::OffsetOutOfRange { offsets })) = beyond else {
        panic!("{beyond:?}");
    };
    assert_eq!(offsets.log_end, offset(30));
}

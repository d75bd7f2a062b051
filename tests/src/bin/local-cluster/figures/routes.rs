//! Who leads the partitions of a topic, and requests that write to many of them at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use alluvium::config::Endpoint;
use alluvium_protocol::messages::metadata_request::MetadataRequestTopic;
use alluvium_protocol::messages::metadata_response::MetadataResponsePartition;
use alluvium_protocol::messages::{MetadataRequest, MetadataResponse, ProduceRequest};
use alluvium_tests::client::{ALL, BY_ID, Client, Topic, batch, produce_request};
use alluvium_tests::cluster::Cluster;
use anyhow::{Context, ensure};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

/// Partitions that one request writes to at most.
const PARTITIONS_PER_REQUEST: usize = 500;
/// Requests sent before the answer to the first of them is waited for.
const REQUESTS_UNDER_WAY: usize = 64;
/// How long a new topic may take until all its partitions are led.
const PATIENCE: Duration = Duration::from_secs(60);

/// Partitions by their leader's number.
pub type Routes = BTreeMap<i32, Vec<i32>>;

/// A topic whose partitions are all led.
pub async fn create(
    cluster: &Cluster,
    name: &str,
    partitions: i32,
) -> anyhow::Result<(Topic, Routes)> {
    let mut client = Client::connect(&cluster.endpoints()[0]).await;
    let topic = client.create_topic(name, partitions, &[]).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let routes = routes(&mut client, &topic).await?;
        let led: usize = routes.values().map(Vec::len).sum();
        if led == partitions as usize {
            return Ok((topic, routes));
        }
        ensure!(
            Instant::now() < deadline,
            "{led} of {partitions} partitions are led"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Who leads what, of the partitions that somebody has opened.
pub async fn routes(client: &mut Client, topic: &Topic) -> anyhow::Result<Routes> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id: topic.id,
            name: None,
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let answer: MetadataResponse = client.try_call(&request, 12).await?;
    let topic = answer.topics.first().context("the topic")?;
    let mut routes = Routes::new();
    let is_open = |one: &&_| {
        let one: &MetadataResponsePartition = one;
        one.leader_id >= 0 && one.leader_epoch >= 0
    };
    for partition in topic.partitions.iter().filter(is_open) {
        let led = routes.entry(partition.leader_id).or_default();
        led.push(partition.partition_index);
    }
    Ok(routes)
}

/// The address of the broker of that number.
pub fn endpoint(cluster: &Cluster, broker: i32) -> Endpoint {
    let place = usize::try_from(broker - 1).expect("from 1");
    cluster.endpoints()[place].clone()
}

/// A batch of one record of so many bytes.
pub fn batch_of_bytes(bytes: usize) -> Bytes {
    // Compression must not make it small.
    let value: String = (0..bytes)
        .map(|at| char::from(b'!' + u8::try_from(at * 7_919 % 90).expect("small")))
        .collect();
    batch(&[&value])
}

/// Writes `batch` to each of `partitions`, `rounds` times, in as few requests as may be, and waits for all answers.
pub async fn write(
    client: &mut Client,
    topic: &Topic,
    partitions: &[i32],
    batch: &Bytes,
    rounds: usize,
) -> anyhow::Result<()> {
    let mut under_way = VecDeque::new();
    for _ in 0..rounds {
        for some in partitions.chunks(PARTITIONS_PER_REQUEST) {
            if under_way.len() == REQUESTS_UNDER_WAY {
                receive(client, &mut under_way).await?;
            }
            let batches = some.iter().map(|index| (*index, batch.clone())).collect();
            let request = produce_request(BY_ID, ALL, topic, batches);
            under_way.push_back(client.send(&request, BY_ID).await?);
        }
    }
    while !under_way.is_empty() {
        receive(client, &mut under_way).await?;
    }
    Ok(())
}

async fn receive(client: &mut Client, under_way: &mut VecDeque<i32>) -> anyhow::Result<()> {
    let id = under_way.pop_front().context("a request under way")?;
    let answer = client.receive::<ProduceRequest>(id, BY_ID).await?;
    let answers = answer.responses.iter();
    for one in answers.flat_map(|one| &one.partition_responses) {
        ensure!(one.error_code == 0, "produce: {:?}", one.error_message);
    }
    Ok(())
}

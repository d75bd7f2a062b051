//! What a client sees that speaks Kafka's protocol itself, in every version.

mod compacted;
mod events;
mod fetch;
mod history;
mod offsets;
mod produce;
mod sequences;
mod sessions;

use alluvium_tests::broker::{Broker, BrokerOptions};
use alluvium_tests::client::{Client, Topic};

/// A broker, a client and a topic of two partitions.
pub(crate) async fn start(configs: &[(&str, &str)]) -> (Broker, Client, Topic) {
    let broker = BrokerOptions::new().start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 2, configs).await;
    (broker, client, topic)
}

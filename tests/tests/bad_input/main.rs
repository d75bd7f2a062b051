//! Bad input gets a clear error and costs whoever sent it, nobody else: no panic, no unbounded memory, nothing
//! acknowledged lost.

mod batches;
mod connections;
mod frames;
mod names;
mod surroundings;

use alluvium_tests::broker::{Broker, BrokerOptions};
use alluvium_tests::client::{Client, Topic};

/// A broker with a topic, and a client who behaves.
pub(crate) struct Bystander {
    pub(crate) broker: Broker,
    pub(crate) topic: Topic,
    client: Client,
    written: Vec<String>,
    resident_before: u64,
}

impl Bystander {
    pub(crate) async fn start() -> Self {
        Self::with(BrokerOptions::new()).await
    }

    pub(crate) async fn with(options: BrokerOptions) -> Self {
        let broker = options.start().await;
        // What a client did to itself is worth a line.
        broker.expect_log("connection closed");
        let mut client = Client::connect(&broker.endpoint()).await;
        let topic = client.create_topic("bystander", 1, &[]).await;
        let mut bystander = Self {
            broker,
            topic,
            client,
            written: Vec::new(),
            resident_before: 0,
        };
        bystander.is_served().await;
        bystander.resident_before = bystander.broker.resident_bytes();
        bystander
    }

    /// Writes, and reads back all that it ever wrote.
    pub(crate) async fn is_served(&mut self) {
        let value = format!("value {}", self.written.len());
        self.client.produce_values(&self.topic, 0, &[&value]).await;
        self.written.push(value);
        assert_eq!(self.client.values(&self.topic, 0).await, self.written);
    }

    pub(crate) fn grown_mib(&self) -> u64 {
        self.broker
            .resident_bytes()
            .saturating_sub(self.resident_before)
            >> 20
    }

    /// The memory that the broker has taken since the start stays below this.
    pub(crate) fn assert_grown_below_mib(&self, limit_mib: u64) {
        let grown = self.grown_mib();
        assert!(
            grown < limit_mib,
            "the broker took {grown} MiB, at most {limit_mib} were expected"
        );
    }
}

//! Events in number: what is loaded is what is read.

use alluvium_tests::broker::BrokerOptions;
use alluvium_tests::client::Client;
use alluvium_tests::events::{ConsumePlan, LoadPlan, consume, load};

const PARTITIONS: i32 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_read_as_they_were_loaded() {
    let broker = BrokerOptions::new().start().await;
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("events", PARTITIONS, &[]).await;
    let plan = LoadPlan::new(1, 20_000, PARTITIONS);
    let loaded = load(&broker.endpoint(), &topic, &plan, |_| ()).await;
    let loaded = loaded.expect("everything is acknowledged");
    assert_eq!(loaded.tally.records, 20_000);
    for (partition, span) in &loaded.tally.partitions {
        assert_eq!(
            (span.records, span.first, span.last),
            (4_000, 0, 3_999),
            "partition {partition}"
        );
    }
    assert!(
        loaded.sent_bytes < loaded.payload_bytes,
        "some codecs compress"
    );
    let plan = ConsumePlan::new(PARTITIONS);
    let consumed = consume(&broker.endpoint(), &topic, &plan, |_| ()).await;
    assert_eq!(consumed.expect("everything is read"), loaded.tally);
}

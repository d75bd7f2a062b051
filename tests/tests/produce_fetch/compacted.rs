//! A compacted topic from outside, against a model.

use alluvium_tests::broker::BrokerOptions;
use alluvium_tests::compacted;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_of_each_key_stays() {
    let mut broker = compacted::start(BrokerOptions::new()).await;
    compacted::try_out(&mut broker).await.expect("as the model");
    assert!(broker.terminate().await.success());
    broker.verify_ok().await;
}

//! Clusters under load while brokers, etcd, the bucket and the network between them fail: what was acknowledged is read
//! back once, in order, where the producer was told, by whichever broker; and everything goes on after the faults.

mod compactors;
mod faults;
mod random;

use alluvium_tests::cluster::Setup;

/// Names how many brokers a cluster has here.
const BROKERS_VARIABLE: &str = "ALLUVIUM_TEST_BROKERS";
/// Enough for others to take over while one fails.
const BROKERS_DEFAULT: usize = 3;

fn brokers() -> usize {
    std::env::var(BROKERS_VARIABLE)
        .ok()
        .map_or(BROKERS_DEFAULT, |text| {
            text.parse().expect("a number of brokers")
        })
}

fn setup() -> Setup {
    Setup::new(brokers()).publishing()
}

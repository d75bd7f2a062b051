//! Random schedules: a few in an ordinary run, as many as `ALLUVIUM_TEST_ROUNDS` says in a long one.

use std::time::Duration;

use alluvium_tests::cluster::{Link, Setup};
use alluvium_tests::etcd::skipped;
use alluvium_tests::load::LoadOptions;
use alluvium_tests::schedule::{Kind, Shape};
use alluvium_tests::trial::{Trial, is_soak, seeds};

use super::{brokers, setup};

/// Schedules of an ordinary run, each of some seconds.
const ROUNDS: usize = 1;
const LENGTH: Duration = Duration::from_secs(8);
/// Where rounds are asked for, schedules are longer too.
const LENGTH_OF_A_SOAK: Duration = Duration::from_secs(25);
/// Pause of a producer between two batches in a soak: it is faults that are wanted, and several soaks at a time.
const PACE_OF_A_SOAK: Duration = Duration::from_millis(100);

async fn survives(name: &'static str, class: &'static str, setup: Setup, kinds: &[Kind]) {
    let seeds = seeds(ROUNDS);
    let is_soak = is_soak();
    for seed in &seeds {
        let load = LoadOptions::of(class, *seed);
        let shape = Shape {
            etcd_members: setup.etcd_members,
            compactors: setup.compactors,
            length: if is_soak { LENGTH_OF_A_SOAK } else { LENGTH },
            kinds: [kinds, &among_brokers(setup.rpc)].concat(),
            ..Shape::new(brokers())
        };
        let trial = Trial {
            name,
            setup: Setup {
                seed: *seed,
                ..setup.clone()
            },
            load: LoadOptions {
                pace: if is_soak { PACE_OF_A_SOAK } else { load.pace },
                ..load
            },
            schedule: shape.schedule(*seed),
        };
        println!("{name}: seed {seed}: {}", trial.schedule);
        trial.run().await.assert_clean();
    }
}

/// What only several brokers can meet.
fn among_brokers(rpc: bool) -> Vec<Kind> {
    let peers = rpc.then_some(Kind::Cut(Link::Peers));
    match brokers() {
        1 => Vec::new(),
        _ => peers.into_iter().chain([Kind::Join]).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_survives_faults() {
    if skipped() {
        return;
    }
    survives("object", "object", setup(), &Kind::ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_survives_faults() {
    if skipped() {
        return;
    }
    let kinds = [&Kind::ALL[..], &[Kind::FullDisk]].concat();
    let setup = Setup {
        small_disks: true,
        ..setup()
    };
    survives("local", "local", setup, &kinds).await;
}

/// Brokers that do not compact, and processes that do nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_with_compactors_apart_survives_faults() {
    if skipped() {
        return;
    }
    let kinds = [
        Kind::Compactor,
        Kind::Kill,
        Kind::Stop,
        Kind::Etcd,
        Kind::Bucket,
    ];
    let setup = setup().compactors(2);
    survives("object, compactors apart", "object", setup, &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_on_three_members_of_etcd_survives_faults() {
    if skipped() {
        return;
    }
    let setup = Setup {
        etcd_members: 3,
        ..setup()
    };
    let kinds = [Kind::Etcd, Kind::Kill, Kind::Cut(Link::Etcd)];
    survives("object, three members", "object", setup, &kinds).await;
}

//! `alluvium broker`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::describe_configs_request::DescribeConfigsResource;
use alluvium_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use alluvium_protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, MetadataResponse,
};
use anyhow::bail;
use tokio::time::Instant;

use super::args::{BrokerAction, BrokerCommandArgs};
use super::output;
use super::topic::refuse;
use crate::client::{Cluster, check, passes};

/// Kafka's number for a broker as the owner of settings.
const RESOURCE_BROKER: i8 = 4;
/// Incremental change: put to a value.
const SET: i8 = 0;
/// Incremental change: back to the default.
const DELETE: i8 = 1;
/// The setting that drains a broker.
const DRAIN: &str = "alluvium.drain";
/// What a broker does.
const ROLES: &str = "roles";
/// The processes that compact only, as any broker knows them.
const COMPACTORS: &str = "alluvium.compactors";
/// Pause between two looks at a broker that is being drained.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// How long no partition may move before waiting for them is given up.
const STUCK_TIME: Duration = Duration::from_secs(60);

/// Runs one action.
pub async fn run(args: BrokerCommandArgs) -> anyhow::Result<()> {
    let mut cluster = Cluster::open(&args.broker.bootstrap, "alluvium-broker").await?;
    match args.action {
        BrokerAction::List => list(&mut cluster).await,
        BrokerAction::Drain { id, wait } => {
            set_drained(&mut cluster, id, true).await?;
            println!("broker {id} shall lead nothing");
            match wait {
                true => wait_until_drained(&mut cluster, id).await,
                false => Ok(()),
            }
        }
        BrokerAction::Undrain { id } => {
            set_drained(&mut cluster, id, false).await?;
            println!("broker {id} may lead again");
            Ok(())
        }
    }
}

async fn list(cluster: &mut Cluster) -> anyhow::Result<()> {
    let told = cluster.metadata(None, false).await?;
    let known = known_to_all(cluster, &told).await?;
    let nothing = || "-".to_owned();
    let brokers = told.brokers.iter().map(|broker| {
        let id = broker.node_id;
        let rack = broker.rack.as_ref().map(|rack| rack.as_str().to_owned());
        let row = [
            id.to_string(),
            format!("{}:{}", broker.host, broker.port),
            rack.unwrap_or_else(nothing),
            known.roles.get(&id).cloned().unwrap_or_else(nothing),
            if told.controller_id == id { "yes" } else { "-" }.to_owned(),
            leads(&told, id).to_string(),
            state(known.drained.contains(&id), duties(&told, id)).to_owned(),
        ];
        (id, row)
    });
    let workers = known.compactors.iter().map(|worker| {
        let row = [
            worker.id.to_string(),
            worker.address.clone(),
            worker.rack.clone().unwrap_or_else(nothing),
            "compactor".to_owned(),
            nothing(),
            nothing(),
            "active".to_owned(),
        ];
        (worker.id, row)
    });
    let mut rows: Vec<_> = brokers.chain(workers).collect();
    rows.sort();
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    let header = [
        "BROKER",
        "ADDRESS",
        "RACK",
        "ROLES",
        "CONTROLLER",
        "LEADS",
        "STATE",
    ];
    output::table(&mut io::stdout().lock(), header, &rows)?;
    Ok(())
}

/// What any broker knows of all.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    /// Brokers that shall lead nothing.
    drained: BTreeSet<i32>,
    /// What each broker does.
    roles: BTreeMap<i32, String>,
    /// Processes that are no brokers.
    compactors: Vec<Worker>,
}

/// A process that compacts only.
#[derive(Debug, PartialEq, Eq)]
struct Worker {
    id: i32,
    address: String,
    rack: Option<String>,
}

impl Worker {
    /// Reads `NUMBER@HOST:PORT/RACK`.
    fn parse(text: &str) -> Option<Self> {
        let (id, place) = text.split_once('@')?;
        let (address, rack) = match place.split_once('/') {
            Some((address, rack)) => (address, Some(rack.to_owned())),
            None => (place, None),
        };
        Some(Self {
            id: id.parse().ok()?,
            address: address.to_owned(),
            rack,
        })
    }
}

/// Partitions that the broker serves.
fn leads(told: &MetadataResponse, id: i32) -> usize {
    let partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.filter(|p| p.leader_id == id).count()
}

/// Partitions that are the broker's duty, whether it serves them now or not.
fn duties(told: &MetadataResponse, id: i32) -> usize {
    let partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.filter(|p| p.replica_nodes.contains(&id)).count()
}

fn state(drained: bool, duties: usize) -> &'static str {
    match (drained, duties) {
        (false, _) => "active",
        (true, 0) => "drained",
        (true, _) => "draining",
    }
}

async fn known_to_all(cluster: &mut Cluster, told: &MetadataResponse) -> anyhow::Result<Known> {
    let keys = [DRAIN, ROLES, COMPACTORS].map(StrBytes::from_static);
    let resource = |id: i32| DescribeConfigsResource {
        resource_type: RESOURCE_BROKER,
        resource_name: id.to_string().into(),
        configuration_keys: Some(keys.to_vec()),
    };
    let request = DescribeConfigsRequest {
        resources: told.brokers.iter().map(|b| resource(b.node_id)).collect(),
        ..DescribeConfigsRequest::default()
    };
    let mut known = Known::default();
    for result in cluster.ask(&request, |_| None).await?.results {
        refuse(result.error_code, result.error_message)?;
        let Ok(id) = result.resource_name.as_str().parse::<i32>() else {
            continue;
        };
        for config in result.configs {
            known.learn(
                id,
                &config.name,
                config.value.as_deref().unwrap_or_default(),
            );
        }
    }
    Ok(known)
}

impl Known {
    fn learn(&mut self, id: i32, setting: &str, value: &str) {
        match setting {
            DRAIN if value == "true" => drop(self.drained.insert(id)),
            ROLES => drop(self.roles.insert(id, value.to_owned())),
            // The same whichever broker it is asked of.
            COMPACTORS => self.compactors = value.split(',').filter_map(Worker::parse).collect(),
            _ => {}
        }
    }
}

async fn set_drained(cluster: &mut Cluster, id: i32, drained: bool) -> anyhow::Result<()> {
    let config = AlterableConfig {
        name: StrBytes::from_static(DRAIN),
        config_operation: if drained { SET } else { DELETE },
        value: drained.then(|| StrBytes::from_static("true")),
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: RESOURCE_BROKER,
            resource_name: id.to_string().into(),
            configs: vec![config],
        }],
        validate_only: false,
    };
    let what = format!("broker {id}");
    let response = cluster
        .ask(&request, |response| {
            let codes = response.responses.iter().map(|one| one.error_code);
            let errors = codes.filter_map(|code| check(code, &what).err());
            errors.into_iter().find(passes)
        })
        .await?;
    for response in response.responses {
        refuse(response.error_code, response.error_message)?;
    }
    Ok(())
}

/// Tells how many partitions are left each time that changes.
async fn wait_until_drained(cluster: &mut Cluster, id: i32) -> anyhow::Result<()> {
    let mut left = usize::MAX;
    let mut moved = Instant::now();
    loop {
        let told = cluster.metadata(None, false).await?;
        let now = duties(&told, id);
        if now == 0 {
            println!("broker {id} leads nothing");
            return Ok(());
        }
        if now != left {
            eprintln!("broker {id} has {now} partitions left");
            (left, moved) = (now, Instant::now());
        }
        if moved.elapsed() >= STUCK_TIME {
            bail!(
                "{now} partitions of broker {id} have not moved for {} seconds; is there another broker that is not \
                 drained, and a controller (alluvium broker list)? Broker {id} stays marked as drained",
                STUCK_TIME.as_secs()
            );
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::metadata_response::{
        MetadataResponsePartition, MetadataResponseTopic,
    };

    use super::*;

    fn told(partitions: &[(i32, i32)]) -> MetadataResponse {
        let partition = |(duty, leader): &(i32, i32)| MetadataResponsePartition {
            leader_id: *leader,
            replica_nodes: vec![*duty],
            ..MetadataResponsePartition::default()
        };
        MetadataResponse {
            topics: vec![MetadataResponseTopic {
                partitions: partitions.iter().map(partition).collect(),
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        }
    }

    #[test]
    fn processes_that_only_compact_are_learned_of_once() {
        let mut known = Known::default();
        for id in [1, 2] {
            known.learn(id, ROLES, "broker");
            known.learn(id, COMPACTORS, "101@10.0.0.7:9644/zone-a,102@[::1]:9644");
        }
        known.learn(2, DRAIN, "true");
        let worker = |id, address: &str, rack: Option<&str>| Worker {
            id,
            address: address.to_owned(),
            rack: rack.map(str::to_owned),
        };
        let expected = Known {
            drained: [2].into(),
            roles: [1, 2].map(|id| (id, "broker".to_owned())).into(),
            compactors: vec![
                worker(101, "10.0.0.7:9644", Some("zone-a")),
                worker(102, "[::1]:9644", None),
            ],
        };
        assert_eq!(known, expected);
        known.learn(1, COMPACTORS, "");
        assert_eq!(known.compactors, []);
    }

    #[test]
    fn a_broker_is_drained_when_nothing_is_its_duty() {
        let told = told(&[(1, 1), (1, -1), (2, 2)]);
        assert_eq!((leads(&told, 1), duties(&told, 1)), (1, 2));
        assert_eq!((leads(&told, 3), duties(&told, 3)), (0, 0));
        assert_eq!(state(true, duties(&told, 1)), "draining");
        assert_eq!(state(true, duties(&told, 3)), "drained");
        assert_eq!(state(false, duties(&told, 1)), "active");
    }
}

//! `alluvium broker`.

use std::collections::BTreeSet;
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
    let drained = drained(cluster, &told).await?;
    let mut rows: Vec<_> = told
        .brokers
        .iter()
        .map(|broker| {
            let id = broker.node_id;
            let rack = broker.rack.as_ref().map(|rack| rack.as_str().to_owned());
            let row = [
                id.to_string(),
                format!("{}:{}", broker.host, broker.port),
                rack.unwrap_or_else(|| "-".to_owned()),
                if told.controller_id == id { "yes" } else { "-" }.to_owned(),
                leads(&told, id).to_string(),
                state(drained.contains(&id), duties(&told, id)).to_owned(),
            ];
            (id, row)
        })
        .collect();
    rows.sort();
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    let header = ["BROKER", "ADDRESS", "RACK", "CONTROLLER", "LEADS", "STATE"];
    output::table(&mut io::stdout().lock(), header, &rows)?;
    Ok(())
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

/// The brokers that an operator has drained. Any broker knows that of all.
async fn drained(cluster: &mut Cluster, told: &MetadataResponse) -> anyhow::Result<BTreeSet<i32>> {
    let resource = |id: i32| DescribeConfigsResource {
        resource_type: RESOURCE_BROKER,
        resource_name: id.to_string().into(),
        configuration_keys: Some(vec![StrBytes::from_static(DRAIN)]),
    };
    let request = DescribeConfigsRequest {
        resources: told.brokers.iter().map(|b| resource(b.node_id)).collect(),
        ..DescribeConfigsRequest::default()
    };
    let mut drained = BTreeSet::new();
    for result in cluster.ask(&request, |_| None).await?.results {
        refuse(result.error_code, result.error_message)?;
        let set = result.configs.iter();
        let set = set.filter(|config| config.name == *DRAIN);
        if set.into_iter().any(|c| c.value.as_deref() == Some("true")) {
            drained.extend(result.resource_name.as_str().parse::<i32>().ok());
        }
    }
    Ok(drained)
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
    fn a_broker_is_drained_when_nothing_is_its_duty() {
        let told = told(&[(1, 1), (1, -1), (2, 2)]);
        assert_eq!((leads(&told, 1), duties(&told, 1)), (1, 2));
        assert_eq!((leads(&told, 3), duties(&told, 3)), (0, 0));
        assert_eq!(state(true, duties(&told, 1)), "draining");
        assert_eq!(state(true, duties(&told, 3)), "drained");
        assert_eq!(state(false, duties(&told, 1)), "active");
    }
}

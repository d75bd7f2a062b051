//! `alluvium topic`.

use std::io;

use alluvium_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use alluvium_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use alluvium_protocol::messages::delete_topics_request::DeleteTopicState;
use alluvium_protocol::messages::describe_configs_request::DescribeConfigsResource;
use alluvium_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use alluvium_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest,
};
use alluvium_protocol::{ErrorCode, StrBytes};
use anyhow::bail;

use super::args::{TopicAction, TopicArgs};
use super::output;
use crate::client::{Cluster, EARLIEST, LATEST};

/// Kafka's number for a topic as the owner of settings.
const RESOURCE_TOPIC: i8 = 2;
/// Kafka's number for a setting that stands at its default.
const SOURCE_DEFAULT: i8 = 5;
/// Incremental change: put to a value.
const SET: i8 = 0;
/// Incremental change: back to the default.
const DELETE: i8 = 1;
/// How long the broker may take to create or delete.
const TIMEOUT_MS: i32 = 30_000;

/// Runs one action.
pub async fn run(args: TopicArgs) -> anyhow::Result<()> {
    let mut broker = Cluster::open(&args.broker.bootstrap, "alluvium-topic").await?;
    match args.action {
        TopicAction::List => list(&mut broker).await,
        TopicAction::Create {
            name,
            partitions,
            set,
        } => create(&mut broker, &name, partitions, &set).await,
        TopicAction::Describe { name } => describe(&mut broker, &name).await,
        TopicAction::Alter {
            name,
            partitions,
            set,
            unset,
        } => {
            alter(&mut broker, &name, &set, &unset).await?;
            match partitions {
                Some(count) => add_partitions(&mut broker, &name, count).await,
                None => Ok(()),
            }
        }
        TopicAction::Delete { name } => delete(&mut broker, &name).await,
    }
}

async fn list(broker: &mut Cluster) -> anyhow::Result<()> {
    let mut rows: Vec<_> = broker
        .metadata(None, false)
        .await?
        .topics
        .into_iter()
        .map(|topic| {
            let name = topic
                .name
                .map(|name| name.as_str().to_owned())
                .unwrap_or_default();
            [
                name,
                topic.partitions.len().to_string(),
                topic.topic_id.to_string(),
            ]
        })
        .collect();
    rows.sort();
    output::table(
        &mut io::stdout().lock(),
        ["TOPIC", "PARTITIONS", "TOPIC ID"],
        &rows,
    )?;
    Ok(())
}

async fn create(
    broker: &mut Cluster,
    name: &str,
    partitions: Option<i32>,
    set: &[String],
) -> anyhow::Result<()> {
    let configs = pairs(set)?
        .into_iter()
        .map(|(name, value)| CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
        })
        .collect();
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: StrBytes::copy_of(name),
            num_partitions: partitions.unwrap_or(-1),
            replication_factor: -1,
            configs,
            ..CreatableTopic::default()
        }],
        timeout_ms: TIMEOUT_MS,
        validate_only: false,
    };
    for topic in broker.call(&request).await?.topics {
        refuse(topic.error_code, topic.error_message)?;
        println!(
            "created {} with {} partitions",
            topic.name, topic.num_partitions
        );
    }
    Ok(())
}

async fn describe(broker: &mut Cluster, name: &str) -> anyhow::Result<()> {
    let topic = broker.topic(name, false).await?;
    let mut partitions = topic.partitions;
    partitions.sort_unstable_by_key(|partition| partition.partition_index);
    // Who has no leader is shown without offsets: that is what somebody who asks may be looking for.
    let led = partitions.iter().filter(|p| p.leader_id >= 0);
    let led: Vec<_> = led.map(|p| p.partition_index).collect();
    let first = broker.offsets(name, led.iter().copied(), EARLIEST).await?;
    let last = broker.offsets(name, led, LATEST).await?;
    let shown = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> = partitions
        .iter()
        .map(|partition| {
            let index = partition.partition_index;
            let leader = (partition.leader_id >= 0).then(|| partition.leader_id.to_string());
            [
                index.to_string(),
                shown(leader),
                partition.leader_epoch.to_string(),
                shown(first.get(&index).map(i64::to_string)),
                shown(last.get(&index).map(i64::to_string)),
            ]
        })
        .collect();
    let mut out = io::stdout().lock();
    output::table(
        &mut out,
        [
            "PARTITION",
            "LEADER",
            "LEADER EPOCH",
            "FIRST OFFSET",
            "END OFFSET",
        ],
        &rows,
    )?;
    let settings = own_settings(broker, name).await?;
    if !settings.is_empty() {
        println!();
        output::table(&mut out, ["SETTING", "VALUE"], &settings)?;
    }
    Ok(())
}

async fn own_settings(broker: &mut Cluster, name: &str) -> anyhow::Result<Vec<[String; 2]>> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: StrBytes::copy_of(name),
            configuration_keys: None,
        }],
        ..DescribeConfigsRequest::default()
    };
    let mut settings = Vec::new();
    for result in broker.ask(&request, |_| None).await?.results {
        refuse(result.error_code, result.error_message)?;
        settings.extend(
            result
                .configs
                .into_iter()
                .filter(|config| config.config_source != SOURCE_DEFAULT)
                .map(|config| {
                    let value = config.value.map(|value| value.as_str().to_owned());
                    [config.name.as_str().to_owned(), value.unwrap_or_default()]
                }),
        );
    }
    Ok(settings)
}

async fn alter(
    broker: &mut Cluster,
    name: &str,
    set: &[String],
    unset: &[String],
) -> anyhow::Result<()> {
    let mut configs: Vec<_> = pairs(set)?
        .into_iter()
        .map(|(name, value)| AlterableConfig {
            name: name.into(),
            config_operation: SET,
            value: Some(value.into()),
        })
        .collect();
    configs.extend(unset.iter().map(|name| AlterableConfig {
        name: StrBytes::copy_of(name),
        config_operation: DELETE,
        value: None,
    }));
    if configs.is_empty() {
        return Ok(());
    }
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: StrBytes::copy_of(name),
            configs,
        }],
        validate_only: false,
    };
    for response in broker.call(&request).await?.responses {
        refuse(response.error_code, response.error_message)?;
    }
    println!("changed the settings of {name}");
    Ok(())
}

async fn add_partitions(broker: &mut Cluster, name: &str, count: i32) -> anyhow::Result<()> {
    let request = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: StrBytes::copy_of(name),
            count,
            assignments: None,
        }],
        timeout_ms: TIMEOUT_MS,
        validate_only: false,
    };
    for result in broker.call(&request).await?.results {
        refuse(result.error_code, result.error_message)?;
    }
    println!("{name} has {count} partitions");
    Ok(())
}

async fn delete(broker: &mut Cluster, name: &str) -> anyhow::Result<()> {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some(StrBytes::copy_of(name)),
            ..DeleteTopicState::default()
        }],
        topic_names: Vec::new(),
        timeout_ms: TIMEOUT_MS,
    };
    for response in broker.call(&request).await?.responses {
        refuse(response.error_code, response.error_message)?;
    }
    println!("deleted {name}");
    Ok(())
}

fn pairs(set: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    set.iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.to_owned())),
            None => bail!("--set takes KEY=VALUE, not {pair:?}"),
        })
        .collect()
}

/// The broker's own message says more than the code.
pub(super) fn refuse(code: i16, message: Option<StrBytes>) -> anyhow::Result<()> {
    let code = ErrorCode::from(code);
    if code == ErrorCode::None {
        return Ok(());
    }
    match message {
        Some(message) if !message.is_empty() => bail!("{message} ({})", code.name()),
        _ => bail!("{} ({})", code.message(), code.name()),
    }
}

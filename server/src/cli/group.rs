//! `alluvium group`.

use std::io;

use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use alluvium_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest, OffsetFetchRequest,
};
use anyhow::Context;

use super::args::{GroupAction, GroupArgs};
use super::output;
use super::topic::refuse;
use crate::client::{Connection, LATEST, check};

/// The newest version of OffsetFetch that names topics; later ones give topic ids.
const OFFSET_FETCH_BY_NAME: i16 = 9;

/// Runs one action.
pub async fn run(args: GroupArgs) -> anyhow::Result<()> {
    let mut broker = Connection::open(&args.broker.bootstrap, "alluvium-group").await?;
    match args.action {
        GroupAction::List => list(&mut broker).await,
        GroupAction::Describe { group } => {
            let mut coordinator = coordinator(&mut broker, &group).await?;
            describe_members(&mut coordinator, &group).await?;
            describe_offsets(&mut coordinator, &mut broker, &group).await
        }
        GroupAction::Delete { group } => {
            let mut coordinator = coordinator(&mut broker, &group).await?;
            delete(&mut coordinator, &group).await
        }
    }
}

async fn coordinator(broker: &mut Connection, group: &str) -> anyhow::Result<Connection> {
    let endpoint = broker.group_coordinator(group).await?;
    Connection::open(&endpoint, "alluvium-group")
        .await
        .with_context(|| format!("the coordinator of {group:?} cannot be reached"))
}

async fn list(broker: &mut Connection) -> anyhow::Result<()> {
    let response = broker.call(&ListGroupsRequest::default()).await?;
    refuse(response.error_code, None)?;
    let mut rows: Vec<_> = response
        .groups
        .into_iter()
        .map(|group| {
            [group.group_id, group.group_state, group.protocol_type]
                .map(|text| text.as_str().to_owned())
        })
        .collect();
    rows.sort();
    output::table(
        &mut io::stdout().lock(),
        ["GROUP", "STATE", "PROTOCOL TYPE"],
        &rows,
    )?;
    Ok(())
}

async fn describe_members(coordinator: &mut Connection, group: &str) -> anyhow::Result<()> {
    let request = DescribeGroupsRequest {
        groups: vec![StrBytes::copy_of(group)],
        include_authorized_operations: false,
    };
    for described in coordinator.call(&request).await?.groups {
        refuse(described.error_code, described.error_message)?;
        println!(
            "state {}, assignor {:?}",
            described.group_state,
            described.protocol_data.as_str()
        );
        let rows: Vec<_> = described
            .members
            .into_iter()
            .map(|member| {
                [member.member_id, member.client_id, member.client_host]
                    .map(|text| text.as_str().to_owned())
            })
            .collect();
        output::table(
            &mut io::stdout().lock(),
            ["MEMBER", "CLIENT", "HOST"],
            &rows,
        )?;
    }
    Ok(())
}

async fn describe_offsets(
    coordinator: &mut Connection,
    broker: &mut Connection,
    group: &str,
) -> anyhow::Result<()> {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: StrBytes::copy_of(group),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let response = coordinator
        .call_version(&request, OFFSET_FETCH_BY_NAME)
        .await?;
    let mut rows = Vec::new();
    for group in response.groups {
        check(group.error_code, "committed offsets")?;
        for topic in group.topics {
            let indexes: Vec<_> = topic.partitions.iter().map(|p| p.partition_index).collect();
            let ends = broker.offsets(&topic.name, &indexes, LATEST).await?;
            for partition in topic.partitions {
                let index = partition.partition_index;
                let end = ends
                    .iter()
                    .find(|(p, _)| *p == index)
                    .map_or(0, |(_, end)| *end);
                rows.push([
                    topic.name.as_str().to_owned(),
                    index.to_string(),
                    partition.committed_offset.to_string(),
                    end.to_string(),
                    (end - partition.committed_offset).max(0).to_string(),
                ]);
            }
        }
    }
    if !rows.is_empty() {
        println!();
        let header = ["TOPIC", "PARTITION", "COMMITTED", "END OFFSET", "LAG"];
        output::table(&mut io::stdout().lock(), header, &rows)?;
    }
    Ok(())
}

async fn delete(coordinator: &mut Connection, group: &str) -> anyhow::Result<()> {
    let request = DeleteGroupsRequest {
        groups_names: vec![StrBytes::copy_of(group)],
    };
    for result in coordinator.call(&request).await?.results {
        refuse(result.error_code, None)?;
    }
    println!("deleted {group}");
    Ok(())
}

//! `alluvium group`.

use std::io;

use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use alluvium_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    ListGroupsRequest, OffsetFetchRequest, OffsetFetchResponse,
};
use anyhow::Context;

use super::args::{GroupAction, GroupArgs};
use super::output;
use super::topic::refuse;
use crate::client::{Call, Cluster, LATEST, check};

/// The newest version of OffsetFetch that names topics; later ones give topic ids.
const OFFSET_FETCH_BY_NAME: i16 = 9;

/// Runs one action.
pub async fn run(args: GroupArgs) -> anyhow::Result<()> {
    let mut cluster = Cluster::open(&args.broker.bootstrap, "alluvium-group").await?;
    match args.action {
        GroupAction::List => list(&mut cluster).await,
        GroupAction::Describe { group } => {
            describe_members(&mut cluster, &group).await?;
            describe_offsets(&mut cluster, &group).await
        }
        GroupAction::Delete { group } => delete(&mut cluster, &group).await,
    }
}

/// Every broker knows the groups that it coordinates.
async fn list(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.metadata(Some(&[]), false).await?;
    let ask = |id| (id, newest(ListGroupsRequest::default()));
    let calls = cluster.brokers().map(ask).collect();
    let mut rows = Vec::new();
    for (id, answered) in cluster.call_each(calls).await {
        let of_broker = || format!("groups of broker {id}");
        let response = answered.with_context(of_broker)?;
        check(response.error_code, &of_broker())?;
        rows.extend(response.groups.into_iter().map(|group| {
            [group.group_id, group.group_state, group.protocol_type]
                .map(|text| text.as_str().to_owned())
        }));
    }
    rows.sort();
    output::table(
        &mut io::stdout().lock(),
        ["GROUP", "STATE", "PROTOCOL TYPE"],
        &rows,
    )?;
    Ok(())
}

fn newest<R>(request: R) -> Call<R> {
    Call {
        request,
        version: None,
    }
}

async fn describe_members(cluster: &mut Cluster, group: &str) -> anyhow::Result<()> {
    let request = DescribeGroupsRequest {
        groups: vec![StrBytes::copy_of(group)],
        include_authorized_operations: false,
    };
    let code = |response: &DescribeGroupsResponse| {
        let first = response.groups.first();
        first.map_or(0, |group| group.error_code)
    };
    let call = newest(request);
    let response = cluster.ask_coordinator(group, &call, code).await?;
    for described in response.groups {
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

async fn describe_offsets(cluster: &mut Cluster, group: &str) -> anyhow::Result<()> {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: StrBytes::copy_of(group),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        }],
        ..OffsetFetchRequest::default()
    };
    let call = Call {
        request,
        version: Some(OFFSET_FETCH_BY_NAME),
    };
    let code = |response: &OffsetFetchResponse| {
        let first = response.groups.first();
        first.map_or(0, |group| group.error_code)
    };
    let response = cluster.ask_coordinator(group, &call, code).await?;
    let mut rows = Vec::new();
    for group in response.groups {
        check(group.error_code, "committed offsets")?;
        for topic in group.topics {
            let indexes: Vec<_> = topic.partitions.iter().map(|p| p.partition_index).collect();
            let ends = cluster.offsets(&topic.name, indexes, LATEST).await?;
            for partition in topic.partitions {
                let index = partition.partition_index;
                let end = ends.get(&index).copied().unwrap_or_default();
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

async fn delete(cluster: &mut Cluster, group: &str) -> anyhow::Result<()> {
    let request = DeleteGroupsRequest {
        groups_names: vec![StrBytes::copy_of(group)],
    };
    let code = |response: &DeleteGroupsResponse| {
        let first = response.results.first();
        first.map_or(0, |result| result.error_code)
    };
    let call = newest(request);
    let response = cluster.ask_coordinator(group, &call, code).await?;
    for result in response.results {
        refuse(result.error_code, None)?;
    }
    println!("deleted {group}");
    Ok(())
}

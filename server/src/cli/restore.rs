//! `alluvium restore`: the metadata of a cluster, rebuilt from its bucket.

use std::io;
use std::sync::Arc;

use alluvium_common::clock::SystemClock;
use alluvium_common::epoch::BrokerId;
use alluvium_common::rand::SystemRandom;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::RestoreArgs;
use super::output;
use super::serve::load;
use crate::restore::{Plan, Restore};
use crate::wiring::open_for_restore;

/// Finds out what can be restored, prints it, and writes it unless told not to.
pub async fn run(args: RestoreArgs) -> anyhow::Result<()> {
    let loaded = load(&args.serve)?;
    let leader = BrokerId(loaded.config.broker_id);
    let opened = open_for_restore(loaded).await?;
    let restore = Restore {
        store: Arc::clone(&opened.metadata),
        keys: opened.keys.clone(),
        objects: Arc::clone(&opened.objects),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        leader,
        cluster_id: args.cluster_id,
    };
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "{pos} of {len} footers {wide_bar} {eta}",
    )?);
    let planned = restore.plan(|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    let plan = planned.await?;
    bar.finish_and_clear();
    print(&plan)?;
    if args.dry_run {
        println!("nothing was written: this was a dry run");
        return Ok(());
    }
    restore.write(&plan).await?;
    println!("restored; start broker {leader} now, which leads at first");
    Ok(())
}

fn print(plan: &Plan) -> io::Result<()> {
    match plan.cluster_id {
        Some(id) => println!("cluster {id}"),
        None => println!("the bucket does not say which cluster it is of: it gets a new id"),
    }
    match plan.snapshot_ms {
        Some(ms) => println!(
            "from a snapshot of the metadata of {ms} ms since 1970, and what the bucket holds beyond it; consumer groups, \
             their committed offsets and the settings of topics are as of the snapshot, and topics deleted since are back"
        ),
        None => println!(
            "there is no snapshot of the metadata: names and settings of topics and all consumer groups are lost"
        ),
    }
    let rows: Vec<_> = plan
        .partitions
        .iter()
        .map(|partition| {
            [
                partition.topic.to_string(),
                partition.tp.partition.0.to_string(),
                partition.record.log_start.to_string(),
                partition.end.to_string(),
                (partition.end - partition.end_at_snapshot)
                    .max(0)
                    .to_string(),
            ]
        })
        .collect();
    let header = [
        "TOPIC",
        "PARTITION",
        "FROM",
        "TO BEFORE",
        "OF THAT AFTER THE SNAPSHOT",
    ];
    output::table(&mut io::stdout().lock(), header, &rows)?;
    println!(
        "{} topics, of which {} are published as table files, {} partitions, {} segments, {} other keys; producer ids from {} on",
        plan.topics.len(),
        plan.published.len(),
        plan.partitions.len(),
        plan.logs
            .iter()
            .map(|(_, commits)| commits.len())
            .sum::<usize>(),
        plan.copied.len(),
        plan.next_producer_id
    );
    println!(
        "not in a bucket, and so not restored: what was acknowledged with durability local and not uploaded yet (it comes \
         from the brokers' data folders when they start), and offsets committed after the snapshot"
    );
    for warning in &plan.warnings {
        println!("WARNING: {warning}");
    }
    Ok(())
}

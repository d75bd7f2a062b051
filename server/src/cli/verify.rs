//! `alluvium verify`: the bucket against the metadata. With `--repair`, the metadata are repaired before the audit, and the bucket is
//! looked at before and after it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::VerifyArgs;
use super::serve::load;
use crate::audit::{Report, audit};
use crate::repair::{Repair, RepairSeams, Told};
use crate::wiring::{Audited, open_for_audit};

/// Findings printed; the count is always told.
const FINDINGS_PRINTED_MAX: usize = 50;

/// Checks everything and fails if something is wrong.
pub async fn run(args: VerifyArgs) -> anyhow::Result<()> {
    let loaded = load(&args.serve)?;
    let path = loaded.config.data_dir.clone();
    let grace = loaded.config.segment_delete_delay_ms.as_duration();
    let opened = open_for_audit(loaded, Path::new(&path)).await?;
    let mut repair = match args.repair {
        true => Some(begin_repair(&opened, grace, args.dry_run).await?),
        false => None,
    };
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "{pos} of {len} segments and table files {wide_bar} {eta}",
    )?);
    let report = audit(
        &*opened.metadata,
        &opened.keys,
        &*opened.objects,
        |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    )
    .await?;
    bar.finish_and_clear();
    print(&report, args.repair);
    if let Some(repair) = &mut repair {
        end_repair(repair).await;
    }
    if !report.findings.is_empty() {
        bail!("{} things are wrong", report.findings.len());
    }
    println!("everything is in order");
    Ok(())
}

/// Repairs the metadata, so that the audit sees them as they are then, and looks at the bucket for the first time.
async fn begin_repair(opened: &Audited, grace: Duration, dry_run: bool) -> anyhow::Result<Repair> {
    opened.check_same().await?;
    let mut repair = Repair::new(RepairSeams {
        metadata: Arc::clone(&opened.metadata),
        keys: opened.keys.clone(),
        objects: Arc::clone(&opened.objects),
        uploads: opened.uploads.clone(),
        grace,
        dry_run,
    });
    let (metadata, bucket) = (repair.metadata().await, repair.look().await);
    if metadata.lines.is_empty() && bucket.lines.is_empty() {
        println!("nothing to repair");
    }
    tell(&metadata);
    tell(&bucket);
    Ok(repair)
}

async fn end_repair(repair: &mut Repair) {
    let Some(pause) = repair.pause() else {
        return;
    };
    println!(
        "looking at the bucket again in {} seconds; who ends this now leaves what is there to the brokers, or to the next repair",
        pause.as_secs()
    );
    tokio::time::sleep(pause).await;
    tell(&repair.sweep().await);
}

fn tell(told: &Told) {
    told.lines.iter().for_each(|line| println!("{line}"));
}

fn print(report: &Report, with_advice: bool) {
    println!(
        "{} topics, {} partitions, {} segments of {} bytes ({} folds of their commits), {} batches, {} records",
        report.topics,
        report.partitions,
        report.segments,
        report.bytes,
        report.folds,
        report.batches,
        report.records
    );
    println!(
        "{} topics published: {} table files ({} leaves list older ones) of {} bytes, {} records, {} of them compared with those in segments",
        report.topics_published,
        report.tables,
        report.leaves,
        report.table_bytes,
        report.table_records,
        report.records_compared
    );
    if report.segments_gone > 0 {
        println!(
            "{} segments are not there any more: all in them is published",
            report.segments_gone
        );
    }
    if report.leftovers > 0 {
        println!(
            "{} topics do not exist, and something of them is there: deleted, and not cleaned up yet, harmless",
            report.leftovers
        );
    }
    println!(
        "{} objects of {} bytes that nothing refers to: left by uploads that were broken off, or replaced by others, harmless",
        report.orphans, report.orphan_bytes
    );
    for finding in report.findings.iter().take(FINDINGS_PRINTED_MAX) {
        println!("WRONG: {finding}");
    }
    if with_advice {
        let kinds: BTreeSet<_> = report.findings.iter().map(|one| one.about).collect();
        for about in kinds {
            println!("not repaired ({about}): {}", about.advice());
        }
    }
}

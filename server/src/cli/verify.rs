//! `alluvium verify`: the bucket against the metadata.

use std::path::Path;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::ServeArgs;
use super::serve::load;
use crate::audit::{Report, audit};
use crate::wiring::open_for_audit;

/// Findings printed; the count is always told.
const FINDINGS_PRINTED_MAX: usize = 50;

/// Checks everything and fails if something is wrong.
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let loaded = load(&args)?;
    let path = loaded.config.data_dir.clone();
    let opened = open_for_audit(loaded, Path::new(&path)).await?;
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
    print(&report);
    if !report.findings.is_empty() {
        bail!("{} things are wrong", report.findings.len());
    }
    println!("everything is in order");
    Ok(())
}

fn print(report: &Report) {
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
        "{} topics published: {} table files of {} bytes, {} records, {} of them compared with those in segments",
        report.topics_published,
        report.tables,
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
            "{} published topics do not exist: deleted, and not cleaned up yet, harmless",
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
}

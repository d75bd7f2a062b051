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
        "{pos} of {len} segments {wide_bar} {eta}",
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
        "{} objects of {} bytes that nothing refers to: left by uploads that were broken off, harmless",
        report.orphans, report.orphan_bytes
    );
    for finding in report.findings.iter().take(FINDINGS_PRINTED_MAX) {
        println!("WRONG: {finding}");
    }
}

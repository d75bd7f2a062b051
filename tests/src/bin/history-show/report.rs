//! What the show has found, as tables.

use std::path::Path;

use alluvium_tests::events::{Loaded, Tally};

use super::stored::tiers;

/// What a reader has counted.
pub struct Finding {
    /// Who, and from where.
    pub reader: String,
    /// What.
    pub tally: Tally,
}

/// Prints what the records take in each place.
pub fn print_bytes(loaded: &Loaded, data: &Path) -> std::io::Result<()> {
    println!("\n| place | files | MB | of keys, values and headers |");
    println!("|---|---:|---:|---:|");
    let row = |place: &str, files: String, bytes: u64| {
        let share = bytes as f64 / loaded.payload_bytes.max(1) as f64;
        println!(
            "| {place} | {files} | {:.1} | {:.1} % |",
            bytes as f64 / 1e6,
            share * 100.0
        );
    };
    row(
        "keys, values and headers",
        String::new(),
        loaded.payload_bytes,
    );
    row("batches as sent", String::new(), loaded.sent_bytes);
    for (place, tier) in tiers(data)? {
        row(&place, tier.files.to_string(), tier.bytes);
    }
    Ok(())
}

/// Prints who has counted what, and returns how many have not counted what was loaded.
pub fn print_digests(loaded: &Tally, findings: &[Finding]) -> usize {
    println!("\n| who | records | digest | equal |");
    println!("|---|---:|---|---|");
    println!("| producer | {} | {} | |", loaded.records, loaded.digest);
    let mut differing = 0;
    for Finding { reader, tally } in findings {
        let is_equal = tally == loaded;
        differing += usize::from(!is_equal);
        let equal = if is_equal { "yes" } else { "NO" };
        println!(
            "| {reader} | {} | {} | {equal} |",
            tally.records, tally.digest
        );
    }
    println!();
    for Finding { reader, tally } in findings {
        for difference in loaded.differences(tally) {
            println!("{reader}: {difference}");
        }
    }
    differing
}

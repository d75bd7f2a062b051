//! Keeps the memory of a virtual machine from deciding the comparison.
//!
//! A hypervisor may take back pages that the guest has freed (free page reporting). The next use of such a page is a fault
//! in the host, and the guest books it as CPU time of whoever writes there: measured, 2 CPU-seconds per GB of
//! file written, ten times the cost of the copy. Which broker is hit, and how often, is chance. So free memory is held
//! by this program while a system is measured: brokers then get pages that the page cache gives up, as on a machine that
//! has run for a day.

use std::fs;

/// Left free, for whatever else runs.
const LEFT_FREE_BYTES: u64 = 512 << 20;

/// Free memory held until dropped.
#[derive(Debug)]
pub struct Occupied {
    bytes: Vec<u8>,
}

impl Occupied {
    /// Holds what is free but for [`LEFT_FREE_BYTES`], and never more than a third of what is available.
    pub fn free_memory() -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let field = |name: &str| {
            let line = meminfo.lines().find(|line| line.starts_with(name))?;
            let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some(kib * 1024)
        };
        let free = field("MemFree:").unwrap_or(0);
        let third = field("MemAvailable:").unwrap_or(0) / 3;
        let bytes = free.saturating_sub(LEFT_FREE_BYTES).min(third);
        // Not zeroes: those would be promised, not given.
        let bytes = vec![0x5a; usize::try_from(bytes).unwrap_or(0)];
        Self { bytes }
    }

    /// In MiB.
    pub fn mib(&self) -> usize {
        self.bytes.len() >> 20
    }
}

//! Keeps the memory of a virtual machine from deciding the comparison.
//!
//! A hypervisor may take back pages that the guest has freed (free page reporting). The next use of such a page is a fault
//! in the host, and the guest books it as CPU time of whoever writes there: measured, 2 CPU-seconds per GB of
//! file written, ten times the cost of the copy. Which broker is hit, and how often, is chance. So free memory is held
//! by this program while a system is measured: brokers then get pages that the page cache gives up, as on a machine that
//! has run for a day.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Left free, for whatever else runs.
const LEFT_FREE_BYTES: u64 = 768 << 20;
/// Less than this is not worth taking.
const STEP_BYTES: u64 = 128 << 20;
/// The kernel offers free pages to the hypervisor after two seconds; before that they are cheap to take.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Free memory held until dropped, also what becomes free meanwhile.
#[derive(Debug)]
pub struct Occupied {
    stop: Arc<AtomicBool>,
    holder: Option<JoinHandle<()>>,
}

impl Occupied {
    /// Holds what is free but for [`LEFT_FREE_BYTES`], and never more than half of what is available.
    pub fn free_memory() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let mut held = Vec::new();
        take(&mut held);
        let holder = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::park_timeout(LOOK_EVERY);
                take(&mut held);
            }
        });
        Self {
            stop,
            holder: Some(holder),
        }
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(holder) = self.holder.take() {
            holder.thread().unpark();
            // It holds memory only; a panic in it has cost nothing but noise.
            let _ = holder.join();
        }
    }
}

/// Takes what is free; gives back when others need it.
fn take(held: &mut Vec<Vec<u8>>) {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    };
    let available = field("MemAvailable:").unwrap_or(0);
    let held_bytes: u64 = held.iter().map(|bytes| bytes.len() as u64).sum();
    if held_bytes > available {
        held.pop();
        return;
    }
    let free = field("MemFree:")
        .unwrap_or(0)
        .saturating_sub(LEFT_FREE_BYTES);
    let bytes = free.min(available.saturating_sub(held_bytes) / 2);
    if bytes >= STEP_BYTES {
        // Not zeroes: those would be promised, not given.
        held.push(vec![0x5a; usize::try_from(bytes).unwrap_or(0)]);
    }
}

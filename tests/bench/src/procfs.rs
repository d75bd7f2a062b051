//! What the kernel says a process has used. `/proc/PID/stat` covers all threads, also those that have ended;
//! `/proc/PID/task` tells the living ones apart by name.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::Serialize;

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Most that was ever resident.
    pub peak: u64,
    /// Resident now and not backed by a file.
    pub anonymous: u64,
}

/// CPU-seconds, user and system, of all threads since the process began. Resolution: a tick, usually 10 ms.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat).map(seconds).ok_or_else(|| unreadable("stat"))
}

/// CPU-seconds by thread name, of the threads that are alive. Digits that number the threads of a pool are left out.
pub fn cpu_by_thread(pid: u32) -> io::Result<BTreeMap<String, f64>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else {
            continue;
        };
        let (Some(name), Some(ticks)) = (thread_name(&stat), ticks(&stat)) else {
            continue;
        };
        *threads.entry(name).or_insert(0.0) += seconds(ticks);
    }
    Ok(threads)
}

/// Memory now and at its peak.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    };
    Ok(Memory {
        resident: field("VmRSS:").ok_or_else(|| unreadable("VmRSS"))?,
        peak: field("VmHWM:").ok_or_else(|| unreadable("VmHWM"))?,
        anonymous: field("RssAnon:").unwrap_or(0),
    })
}

/// Begins a new peak, so that one scenario's can be told from the next one's. Needs no right but to the own user's processes.
pub fn reset_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Fields 14 and 15 (user and system time); the name in field 2 may hold blanks and brackets, so count from its end.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn thread_name(stat: &str) -> Option<String> {
    let name = &stat[stat.find('(')? + 1..stat.rfind(')')?];
    Some(
        name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '#' || c == ' ')
            .to_owned(),
    )
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("/proc: cannot read {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_do_not_shift_the_fields() {
        let stat = "12 (a) b (c)-3) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(
            thread_name("7 (tokio-rt-worker) S").as_deref(),
            Some("tokio-rt-worker")
        );
        assert_eq!(thread_name("7 (G1 Conc#0) S").as_deref(), Some("G1 Conc"));
    }

    #[test]
    fn own_process_is_readable() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        let memory = memory(pid).unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident / 2);
        assert!(!cpu_by_thread(pid).unwrap().is_empty());
    }
}

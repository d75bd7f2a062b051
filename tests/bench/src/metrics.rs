//! Reads the broker's own counters from its `/metrics` page (Prometheus text).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// Largest page read: a broker's metrics are tens of KiB.
const PAGE_BYTES_MAX: u64 = 16 << 20;

/// Counters of one moment.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counters {
    /// PUT requests to the object store.
    pub puts: f64,
    /// GET requests to the object store.
    pub gets: f64,
    /// Bytes of PUT bodies.
    pub put_bytes: f64,
    /// Transactions of the metadata store.
    pub transactions: f64,
}

impl Counters {
    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            puts: self.puts - earlier.puts,
            gets: self.gets - earlier.gets,
            put_bytes: self.put_bytes - earlier.put_bytes,
            transactions: self.transactions - earlier.transactions,
        }
    }
}

/// Fetches the page at `address` and adds up the counters that matter here.
pub fn read(address: SocketAddr) -> Result<Counters> {
    Ok(parse(&get(address, "/metrics")?))
}

/// The body of a small HTTP/1.0 GET.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let timeout = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.take(PAGE_BYTES_MAX).read_to_string(&mut text)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("an HTTP answer without a body")?;
    if head.split_whitespace().nth(1) != Some("200") {
        bail!("{path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}

fn parse(page: &str) -> Counters {
    Counters {
        puts: sum(page, "object_store_requests", &["operation=\"put\""]),
        gets: sum(page, "object_store_requests", &["operation=\"get\""]),
        put_bytes: sum(page, "object_store_sent_bytes", &["operation=\"put\""]),
        transactions: sum(page, "metadata_store_calls", &["\"txn\""]),
    }
}

/// Adds up the samples of a counter whose labels hold all of `wanted`. The name may carry a prefix of the registry's.
fn sum(page: &str, name: &str, wanted: &[&str]) -> f64 {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
            let metric = metric.strip_suffix("_total").unwrap_or(metric);
            let matches = metric.ends_with(name) && wanted.iter().all(|want| labels.contains(want));
            matches.then(|| value.parse::<f64>().ok()).flatten()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_over_labels_and_leaves_others_out() {
        let page = "# HELP x\nalluvium_object_store_requests_total{operation=\"put\",result=\"ok\"} 3\n\
            alluvium_object_store_requests_total{operation=\"put\",result=\"throttled\"} 2\n\
            alluvium_object_store_requests_total{operation=\"get\",result=\"ok\"} 9\n\
            alluvium_object_store_sent_bytes_total{operation=\"put\"} 1000\n\
            metadata_store_calls_total{call=\"txn\",result=\"ok\"} 4\n";
        let found = parse(page);
        assert_eq!(
            (found.puts, found.gets, found.put_bytes, found.transactions),
            (5.0, 9.0, 1000.0, 4.0)
        );
    }
}

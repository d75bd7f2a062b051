//! What brokers say of their requests, in their metrics.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use alluvium_common::object_store::{BilledAs, Operation, Requests};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Endpoint;

/// How long a broker may take for its metrics.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer read, in bytes. A topic takes some 250.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// How the metrics of a broker end. Without it they were cut off.
const END: &str = "# EOF";

/// What one broker has asked of the object store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Time for which it has counted.
    pub seconds: f64,
    /// All its requests that are billed as PUTs.
    pub puts: f64,
    /// All its requests that are billed as GETs.
    pub gets: f64,
    /// Of these, those of segments.
    pub segment_gets: f64,
    /// What was asked for one topic.
    pub by_topic: BTreeMap<String, Requests>,
}

/// Which broker told something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its number.
    pub broker: i32,
    /// Its cluster.
    pub cluster: String,
}

/// Reads the metrics at `endpoint`.
///
/// # Errors
/// Nobody answers there in time, or not with the metrics of a broker that counts by topic.
pub async fn read(endpoint: &Endpoint) -> Result<(Told, Measured), String> {
    let answer = timeout(PATIENCE, get(endpoint)).await;
    let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let answer = answer.map_err(|error| error.to_string())?;
    let body = body_of(&answer)?;
    parse(body).ok_or_else(|| {
        "what answers there is no broker of this version: it does not tell what was asked for each topic".to_owned()
    })
}

async fn get(endpoint: &Endpoint) -> io::Result<String> {
    let mut stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    // HTTP/1.0: the body is not chunked and ends with the connection.
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {endpoint}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    let mut stream = stream.take(ANSWER_BYTES_MAX);
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn body_of(answer: &str) -> Result<&str, String> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or("the answer is not HTTP")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    match status {
        "200" if body.trim_end().ends_with(END) => Ok(body),
        "200" => Err("the answer is cut off, or not that of a broker".to_owned()),
        status => Err(format!("the answer is HTTP status {status}")),
    }
}

/// `None` if the broker does not say who it is and since when it counts.
fn parse(text: &str) -> Option<(Told, Measured)> {
    let mut measured = Measured::default();
    let mut told = None;
    for sample in text.lines().filter_map(Sample::parse) {
        match sample.name {
            "alluvium_uptime_seconds" => {
                told = Some(Told {
                    broker: sample.label("broker")?.parse().ok()?,
                    cluster: sample.label("cluster")?.to_owned(),
                });
                measured.seconds = sample.value;
            }
            "alluvium_object_store_requests_total" => {
                let label = sample.label("operation")?;
                let operation = Operation::ALL.into_iter().find(|one| one.label() == label);
                match operation.and_then(Operation::billed_as) {
                    Some(BilledAs::Put) => measured.puts += sample.value,
                    Some(BilledAs::Get) => measured.gets += sample.value,
                    None => {}
                }
            }
            "alluvium_segment_gets_total" => measured.segment_gets = sample.value,
            "alluvium_topic_requests_total" => {
                let requests = measured.of_topic(&sample)?;
                match sample.label("billed_as")? {
                    "put" => requests.puts = sample.value,
                    _ => requests.gets = sample.value,
                }
            }
            "alluvium_topic_segment_puts_total" => {
                measured.of_topic(&sample)?.segment_puts = sample.value;
            }
            _ => {}
        }
    }
    Some((told?, measured))
}

impl Measured {
    fn of_topic(&mut self, sample: &Sample<'_>) -> Option<&mut Requests> {
        let topic = sample.label("topic")?;
        Some(self.by_topic.entry(topic.to_owned()).or_default())
    }
}

/// A line of Prometheus' text format.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (what, value) = line.rsplit_once(' ')?;
        let (name, labels) = what.split_once('{').unwrap_or((what, "}"));
        Some(Self {
            name,
            labels: labels.strip_suffix('}')?,
            value: value.parse().ok()?,
        })
    }

    /// None of the values asked for can hold a quote or a comma: names of topics, numbers, our own words.
    fn label(&self, name: &str) -> Option<&'a str> {
        let labels = self.labels.split(',');
        let mut pairs = labels.filter_map(|label| label.split_once('='));
        let (_, value) = pairs.find(|(found, _)| *found == name)?;
        value.strip_prefix('"')?.strip_suffix('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP alluvium_uptime_seconds Time.
alluvium_uptime_seconds{broker=\"3\",cluster=\"abc\"} 7200.5
alluvium_object_store_requests_total{operation=\"put\",result=\"ok\"} 10
alluvium_object_store_requests_total{operation=\"put\",result=\"timeout\"} 1
alluvium_object_store_requests_total{operation=\"upload\",result=\"ok\"} 4
alluvium_object_store_requests_total{operation=\"list\",result=\"ok\"} 2
alluvium_object_store_requests_total{operation=\"get\",result=\"ok\"} 20
alluvium_object_store_requests_total{operation=\"head\",result=\"ok\"} 3
alluvium_object_store_requests_total{operation=\"delete\",result=\"ok\"} 99
alluvium_topic_requests_total{topic=\"or.ders-1_a\",billed_as=\"put\"} 3.25
alluvium_topic_requests_total{topic=\"or.ders-1_a\",billed_as=\"get\"} 5.0
alluvium_topic_segment_puts_total{topic=\"or.ders-1_a\"} 1.25
alluvium_segment_gets_total 6
# EOF
";

    #[test]
    fn requests_are_found_in_metrics() {
        let (told, measured) = parse(TEXT).expect("a broker");
        assert_eq!((told.broker, told.cluster.as_str()), (3, "abc"));
        let requests = Requests {
            puts: 3.25,
            gets: 5.0,
            segment_puts: 1.25,
        };
        let expected = Measured {
            seconds: 7200.5,
            puts: 17.0,
            gets: 23.0,
            segment_gets: 6.0,
            by_topic: [("or.ders-1_a".to_owned(), requests)].into(),
        };
        assert_eq!(measured, expected);
        let older: Vec<_> = TEXT
            .lines()
            .filter(|line| !line.contains("uptime"))
            .collect();
        assert_eq!(parse(&older.join("\n")), None);
    }

    #[test]
    fn what_is_no_answer_of_a_broker_says_why() {
        let answer = format!("HTTP/1.0 200 OK\r\ncontent-type: x\r\n\r\n{TEXT}");
        assert_eq!(body_of(&answer), Ok(TEXT));
        for (answer, word) in [
            ("HTTP/1.0 404 Not Found\r\n\r\n", "404"),
            (&answer[..answer.len() - 20], "cut off"),
            ("hello", "HTTP"),
        ] {
            let why = body_of(answer).expect_err(word);
            assert!(why.contains(word), "{why}");
        }
    }
}

//! What is stored and asked, in money: pure.

use std::collections::BTreeMap;

use alluvium_common::object_store::Requests;
use serde_json::{Value, json};

use super::measured::Measured;
use crate::client::{PartitionTiers, Tiers, TopicTiers};

/// Hours of a month, as clouds count them: 8,760 hours of a year by twelve.
pub const MONTH_HOURS: f64 = 730.0;

/// Nobody answers sooner after its start.
const SECONDS_MIN: f64 = 0.001;

/// What the object store takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// What the money is called.
    pub currency: String,
    /// For a GiB that is stored for a month.
    pub gib_month: f64,
    /// For a thousand requests that are billed as PUTs.
    pub thousand_puts: f64,
    /// For a thousand requests that are billed as GETs.
    pub thousand_gets: f64,
}

/// Requests in a month.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Monthly {
    /// Billed as PUTs.
    pub puts: f64,
    /// Billed as GETs.
    pub gets: f64,
}

/// What is known of a topic, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Line {
    /// Bytes that only disks of brokers have.
    pub disk_bytes: u64,
    /// Bytes in segments.
    pub segment_bytes: u64,
    /// Bytes in table files.
    pub table_bytes: u64,
    /// Requests, where they are known.
    pub monthly: Option<Monthly>,
}

/// What everything costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Bill {
    /// What it was counted with.
    pub prices: Prices,
    /// By topic.
    pub topics: BTreeMap<String, Line>,
    /// What belongs to none of the topics, and to no other one either. Requests only.
    pub no_topic: Line,
    /// The cluster's requests, also when only some topics are shown. `None`: not known.
    pub all: Option<Monthly>,
}

impl Bill {
    /// The bill of the topics in `tiers`; `measured` are the brokers that told of their requests.
    pub fn new(tiers: &Tiers, measured: &[Measured], prices: Prices) -> Self {
        let requests = (!measured.is_empty()).then(|| MonthlyRequests::new(measured));
        let line = |(name, topic): (&String, &TopicTiers)| {
            let monthly = requests.as_ref().map(|requests| requests.of(name));
            (name.clone(), Line::of(topic, monthly))
        };
        let no_topic = Line {
            monthly: requests.as_ref().map(|requests| requests.no_topic),
            ..Line::default()
        };
        Self {
            prices,
            topics: tiers.topics.iter().map(line).collect(),
            no_topic,
            all: requests.map(|requests| requests.all),
        }
    }

    /// The sum of all lines.
    pub fn total(&self) -> Line {
        let lines = self.topics.values().chain([&self.no_topic]);
        lines.fold(Line::default(), |sum, line| Line {
            disk_bytes: sum.disk_bytes + line.disk_bytes,
            segment_bytes: sum.segment_bytes + line.segment_bytes,
            table_bytes: sum.table_bytes + line.table_bytes,
            monthly: line.monthly.map(|monthly| {
                let before = sum.monthly.unwrap_or_default();
                Monthly {
                    puts: before.puts + monthly.puts,
                    gets: before.gets + monthly.gets,
                }
            }),
        })
    }
}

impl Line {
    fn of(topic: &TopicTiers, monthly: Option<Monthly>) -> Self {
        let sum = |of: fn(&PartitionTiers) -> u64| topic.partitions.values().map(of).sum();
        Self {
            disk_bytes: sum(|tiers| tiers.disk_bytes),
            segment_bytes: sum(|tiers| tiers.segment_bytes),
            table_bytes: sum(|tiers| tiers.table_bytes),
            monthly,
        }
    }

    /// What keeping what is in the object store costs for a month.
    pub fn storage(&self, prices: &Prices) -> f64 {
        let stored = (self.segment_bytes + self.table_bytes) as f64;
        stored / (1_u64 << 30) as f64 * prices.gib_month
    }

    /// What the requests of a month cost.
    pub fn requests(&self, prices: &Prices) -> Option<f64> {
        let monthly = self.monthly?;
        let puts = monthly.puts / 1_000.0 * prices.thousand_puts;
        Some(puts + monthly.gets / 1_000.0 * prices.thousand_gets)
    }

    /// All that is known to be paid for a month.
    pub fn sum(&self, prices: &Prices) -> f64 {
        self.storage(prices) + self.requests(prices).unwrap_or_default()
    }

    /// For programs.
    pub fn json(&self, prices: &Prices) -> Value {
        json!({
            "disk_bytes": self.disk_bytes,
            "segment_bytes": self.segment_bytes,
            "table_bytes": self.table_bytes,
            "puts_per_month": self.monthly.map(|monthly| monthly.puts),
            "gets_per_month": self.monthly.map(|monthly| monthly.gets),
            "storage_per_month": self.storage(prices),
            "requests_per_month": self.requests(prices),
            "sum_per_month": self.sum(prices),
        })
    }
}

/// The requests of all brokers, as if a month went on as the time in which they were counted.
struct MonthlyRequests {
    by_topic: BTreeMap<String, Monthly>,
    no_topic: Monthly,
    all: Monthly,
}

impl MonthlyRequests {
    fn new(measured: &[Measured]) -> Self {
        let (mut by_topic, mut all) = (BTreeMap::<String, Requests>::new(), Monthly::default());
        let mut segment_gets = 0.0;
        for broker in measured {
            let times = MONTH_HOURS * 3_600.0 / broker.seconds.max(SECONDS_MIN);
            all.puts += broker.puts * times;
            all.gets += broker.gets * times;
            segment_gets += broker.segment_gets * times;
            for (topic, requests) in &broker.by_topic {
                let sum = by_topic.entry(topic.clone()).or_default();
                sum.puts += requests.puts * times;
                sum.gets += requests.gets * times;
                sum.segment_puts += requests.segment_puts * times;
            }
        }
        // Which topic a GET of a segment was for is not counted. In the long run each segment is read for every topic in
        // it: to publish it.
        let segment_puts: f64 = by_topic.values().map(|one| one.segment_puts).sum();
        let share = |one: &Requests| match segment_puts > 0.0 {
            true => segment_gets * one.segment_puts / segment_puts,
            false => 0.0,
        };
        let monthly = by_topic.iter().map(|(topic, one)| {
            let monthly = Monthly {
                puts: one.puts,
                gets: one.gets + share(one),
            };
            (topic.clone(), monthly)
        });
        let by_topic: BTreeMap<_, _> = monthly.collect();
        let of_topics = |of: fn(&Monthly) -> f64| by_topic.values().map(of).sum::<f64>();
        let no_topic = Monthly {
            puts: (all.puts - of_topics(|one| one.puts)).max(0.0),
            gets: (all.gets - of_topics(|one| one.gets)).max(0.0),
        };
        Self {
            by_topic,
            no_topic,
            all,
        }
    }

    fn of(&self, topic: &str) -> Monthly {
        self.by_topic.get(topic).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: f64 = 3_600.0;

    fn prices() -> Prices {
        Prices {
            currency: "USD".to_owned(),
            gib_month: 0.02,
            thousand_puts: 5.0,
            thousand_gets: 0.5,
        }
    }

    fn tiers(topics: &[(&str, u64, u64)]) -> Tiers {
        let topic = |(name, segment_bytes, table_bytes): &(&str, u64, u64)| {
            let one = PartitionTiers {
                disk_bytes: 7,
                segment_bytes: *segment_bytes,
                table_bytes: *table_bytes,
                ..PartitionTiers::default()
            };
            let topic = TopicTiers {
                partitions: BTreeMap::from([(0, one), (1, one)]),
                ..TopicTiers::default()
            };
            ((*name).to_owned(), topic)
        };
        Tiers {
            topics: topics.iter().map(topic).collect(),
            ..Tiers::default()
        }
    }

    fn measured(
        seconds: f64,
        (puts, gets): (f64, f64),
        topics: &[(&str, f64, f64, f64)],
    ) -> Measured {
        let topic = |(name, puts, gets, segment_puts): &(&str, f64, f64, f64)| {
            let requests = Requests {
                puts: *puts,
                gets: *gets,
                segment_puts: *segment_puts,
            };
            ((*name).to_owned(), requests)
        };
        Measured {
            seconds,
            puts,
            gets,
            segment_gets: 0.0,
            by_topic: topics.iter().map(topic).collect(),
        }
    }

    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-6 * expected.max(1.0),
            "{found}, not {expected}"
        );
    }

    #[test]
    fn bytes_are_paid_by_the_gibibyte_and_requests_by_the_thousand() {
        let line = Line {
            disk_bytes: 1 << 40,
            segment_bytes: 1 << 30,
            table_bytes: 3 << 30,
            monthly: Some(Monthly {
                puts: 2_000.0,
                gets: 4_000.0,
            }),
        };
        near(line.storage(&prices()), 0.08);
        near(line.requests(&prices()).expect("known"), 12.0);
        near(line.sum(&prices()), 12.08);
    }

    #[test]
    fn a_month_goes_on_as_it_was_counted() {
        let half_an_hour = measured(HOUR / 2.0, (10.0, 4.0), &[("a", 6.0, 3.0, 0.0)]);
        let two_hours = measured(HOUR * 2.0, (8.0, 2.0), &[("a", 2.0, 2.0, 0.0)]);
        let bill = Bill::new(&tiers(&[("a", 0, 0)]), &[half_an_hour, two_hours], prices());
        let of_a = bill.topics["a"].monthly.expect("counted");
        near(of_a.puts, MONTH_HOURS * (12.0 + 1.0));
        near(of_a.gets, MONTH_HOURS * (6.0 + 1.0));
        let no_topic = bill.no_topic.monthly.expect("counted");
        near(no_topic.puts, MONTH_HOURS * (8.0 + 3.0));
        near(no_topic.gets, MONTH_HOURS * 2.0);
        let total = bill.total().monthly.expect("counted");
        near(total.puts, bill.all.expect("counted").puts);
        near(total.gets, bill.all.expect("counted").gets);
    }

    #[test]
    fn gets_of_segments_are_shared_as_their_puts() {
        let mut broker = measured(
            HOUR,
            (8.0, 100.0),
            &[("a", 5.0, 0.0, 3.0), ("b", 1.0, 10.0, 1.0)],
        );
        broker.segment_gets = 40.0;
        // One that only reads shares by what the others put.
        let mut reader = measured(HOUR, (0.0, 20.0), &[]);
        reader.segment_gets = 20.0;
        let bill = Bill::new(
            &tiers(&[("a", 0, 0), ("b", 0, 0)]),
            &[broker, reader],
            prices(),
        );
        let gets = |line: &Line| line.monthly.expect("counted").gets / MONTH_HOURS;
        near(gets(&bill.topics["a"]), 45.0);
        near(gets(&bill.topics["b"]), 25.0);
        near(gets(&bill.no_topic), 50.0);
    }

    #[test]
    fn gets_of_segments_that_nobody_put_belong_to_no_topic() {
        let mut broker = measured(HOUR, (0.0, 9.0), &[]);
        broker.segment_gets = 9.0;
        let bill = Bill::new(&tiers(&[("a", 0, 0)]), &[broker], prices());
        near(
            bill.no_topic.monthly.expect("counted").gets,
            9.0 * MONTH_HOURS,
        );
        assert_eq!(bill.topics["a"].monthly, Some(Monthly::default()));
    }

    #[test]
    fn without_measurements_only_storage_is_known() {
        let bill = Bill::new(&tiers(&[("a", 1 << 29, 1 << 30)]), &[], prices());
        let line = bill.topics["a"];
        assert_eq!(
            (line.disk_bytes, line.segment_bytes, line.table_bytes),
            (14, 1 << 30, 2 << 30)
        );
        assert_eq!((line.requests(&prices()), bill.all), (None, None));
        near(line.sum(&prices()), 0.06);
        assert_eq!(line.json(&prices())["puts_per_month"], Value::Null);
        assert_eq!(bill.total(), line);
    }
}

//! `alluvium cost`.
//!
//! Leaders tell how many bytes are where, brokers' metrics tell how much they have asked of the object store, and the
//! configuration says what that costs. What cannot be had is told; the rest is shown all the same.

mod bill;
mod brokers;
mod measured;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};

use alluvium_protocol::messages::MetadataResponse;
use anyhow::Context;
use futures::future::join_all;
use serde_json::{Value, json};

use super::args::CostArgs;
use super::output::counted;
use crate::client::Cluster;
use crate::config::Endpoint;
use bill::{Bill, MONTH_HOURS, Prices};
use brokers::BrokerSettings;
use measured::Measured;

/// What brokers told of prices and requests.
struct Survey {
    /// Whose price table counts.
    priced_by: i32,
    /// Another broker has another one.
    other_prices: bool,
    /// The brokers that told of their requests.
    measured: BTreeMap<i32, Measured>,
    /// Those that did not.
    missing: Vec<Missing>,
}

/// Somebody's requests are not counted.
struct Missing {
    whose: String,
    why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whose, why } = self;
        write!(f, "Missing: requests of {whose}: {why}.")
    }
}

/// Shows what is stored and asked, and what it costs.
pub async fn run(args: CostArgs) -> anyhow::Result<()> {
    let mut cluster = Cluster::open(&args.broker.bootstrap, "alluvium-cost").await?;
    let named = args.topic.as_deref().map(|topic| [topic]);
    let tiers = cluster
        .tiers(named.as_ref().map(|named| &named[..]))
        .await?;
    let told = cluster.metadata(Some(&[]), false).await?;
    let (survey, prices) = survey(&mut cluster, &told, &args.metrics).await?;
    let measured: Vec<_> = survey.measured.values().cloned().collect();
    let bill = Bill::new(&tiers, &measured, prices);
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", as_json(&bill, &survey, named.is_none()))?,
        false => report::print(&mut out, &bill, &survey, named.is_none())?,
    }
    for (name, topic) in &tiers.topics {
        if !topic.leaderless.is_empty() {
            let partitions = counted(topic.leaderless.len() as u64, "partition");
            eprintln!("not counted, as nobody leads them now: {partitions} of {name}");
        }
    }
    Ok(())
}

async fn survey(
    cluster: &mut Cluster,
    told: &MetadataResponse,
    named: &[Endpoint],
) -> anyhow::Result<(Survey, Prices)> {
    let mut missing = Vec::new();
    let mut known: Vec<BrokerSettings> = Vec::new();
    for (broker, settings) in brokers::ask(cluster, told).await {
        match settings {
            Ok(settings) => known.push(settings),
            Err(error) => missing.push(Missing {
                whose: format!("broker {broker}"),
                why: error.to_string(),
            }),
        }
    }
    let first = known.first();
    let first = first.with_context(|| {
        let why = missing
            .first()
            .map_or_else(|| "there is none".to_owned(), Missing::to_string);
        format!("no broker tells the price table: {why}")
    })?;
    let (priced_by, prices) = (first.broker, first.prices.clone());
    let mut survey = Survey {
        priced_by,
        other_prices: known.iter().any(|one| one.prices != prices),
        measured: BTreeMap::new(),
        missing: Vec::new(),
    };
    match named.is_empty() {
        true => {
            survey.missing = missing;
            let found = known.into_iter().map(|one| {
                (
                    format!("broker {}", one.broker),
                    Some(one.broker),
                    one.metrics,
                )
            });
            survey.measure(told, found.collect()).await;
        }
        false => {
            let named = named
                .iter()
                .map(|at| (format!("what is at {at}"), None, Ok(at.clone())));
            survey.measure(told, named.collect()).await;
            survey.miss_others(told);
        }
    }
    Ok((survey, prices))
}

impl Survey {
    /// Reads the metrics at these places, each with what it is called and the broker that should be there.
    async fn measure(
        &mut self,
        told: &MetadataResponse,
        places: Vec<(String, Option<i32>, Result<Endpoint, String>)>,
    ) {
        let ids: BTreeSet<_> = told.brokers.iter().map(|broker| broker.node_id).collect();
        let cluster_id = told.cluster_id.as_deref().unwrap_or_default();
        let reads = places
            .into_iter()
            .map(|(whose, expected, place)| async move {
                let read = match &place {
                    Ok(at) => {
                        let read = measured::read(at).await;
                        read.map_err(|why| format!("its metrics at {at} cannot be read: {why}"))
                    }
                    Err(why) => Err(why.clone()),
                };
                (whose, expected, read)
            });
        for (whose, expected, read) in join_all(reads).await {
            let why = match read {
                // An address such as 127.0.0.1 may be somebody else's here.
                Ok((who, _)) if who.cluster != cluster_id || !ids.contains(&who.broker) => {
                    format!("a broker of another cluster answers there, {}", who.cluster)
                }
                Ok((who, _)) if expected.is_some_and(|expected| expected != who.broker) => {
                    format!("broker {} answers there instead", who.broker)
                }
                Ok((who, measured)) => {
                    self.measured.insert(who.broker, measured);
                    continue;
                }
                Err(why) => why,
            };
            self.missing.push(Missing { whose, why });
        }
    }

    /// Brokers that nobody named.
    fn miss_others(&mut self, told: &MetadataResponse) {
        for broker in &told.brokers {
            if !self.measured.contains_key(&broker.node_id) {
                self.missing.push(Missing {
                    whose: format!("broker {}", broker.node_id),
                    why: "--metrics does not name it".to_owned(),
                });
            }
        }
    }
}

fn as_json(bill: &Bill, survey: &Survey, is_whole: bool) -> Value {
    let prices = &bill.prices;
    let topics = bill.topics.iter();
    let topics = topics.map(|(name, line)| (name.clone(), line.json(prices)));
    let measured = survey.measured.iter();
    let measured = measured.map(|(broker, one)| json!({"broker": broker, "seconds": one.seconds}));
    let missing = survey.missing.iter();
    let missing = missing.map(|one| json!({"whose": one.whose, "why": one.why}));
    let mut told = json!({
        "currency": prices.currency,
        "prices": {
            "storage_gib_month": prices.gib_month,
            "put_per_thousand": prices.thousand_puts,
            "get_per_thousand": prices.thousand_gets,
        },
        "month_hours": MONTH_HOURS,
        "measured": measured.collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
        "topics": topics.collect::<serde_json::Map<_, _>>(),
    });
    if is_whole {
        told["no_topic"] = bill.no_topic.json(prices);
        told["total"] = bill.total().json(prices);
    }
    told
}

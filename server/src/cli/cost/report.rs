//! The bill for people.

use std::io::{self, Write};
use std::time::Duration;

use super::bill::{Bill, Line, MONTH_HOURS, Monthly, Prices};
use super::{Missing, Survey};
use crate::cli::output::{self, bytes, counted, grouped};

/// A time this short says little of a month.
const SHORT: Duration = Duration::from_secs(3_600);

const HEADER: [&str; 9] = [
    "TOPIC",
    "ON DISK",
    "IN SEGMENTS",
    "IN TABLES",
    "PUTS",
    "GETS",
    "STORAGE",
    "REQUESTS",
    "SUM",
];

/// Prints everything; `is_whole`: not only one topic.
pub fn print(out: &mut impl Write, bill: &Bill, survey: &Survey, is_whole: bool) -> io::Result<()> {
    output::table(out, HEADER, &rows(bill, is_whole))?;
    writeln!(out)?;
    for note in notes(bill, survey) {
        writeln!(out, "{note}")?;
    }
    Ok(())
}

fn rows(bill: &Bill, is_whole: bool) -> Vec<[String; 9]> {
    let topics = bill.topics.iter();
    let mut rows: Vec<_> = topics.map(|(name, line)| row(name, line, bill)).collect();
    if is_whole {
        if bill.all.is_some() {
            rows.push(row("(of no topic)", &bill.no_topic, bill));
        }
        rows.push(row("(total)", &bill.total(), bill));
    }
    rows
}

fn row(name: &str, line: &Line, bill: &Bill) -> [String; 9] {
    let requests = |of: fn(&Monthly) -> f64| match (line.monthly, bill.all) {
        (Some(monthly), Some(all)) => share(of(&monthly), of(&all)),
        _ => "?".to_owned(),
    };
    let paid = line.requests(&bill.prices);
    [
        name.to_owned(),
        bytes(line.disk_bytes),
        bytes(line.segment_bytes),
        bytes(line.table_bytes),
        requests(|monthly| monthly.puts),
        requests(|monthly| monthly.gets),
        money(line.storage(&bill.prices)),
        paid.map_or_else(|| "?".to_owned(), money),
        money(line.sum(&bill.prices)),
    ]
}

fn share(number: f64, of: f64) -> String {
    let percent = if of > 0.0 { number / of * 100.0 } else { 0.0 };
    format!("{} ({percent:.0} %)", grouped(number.round() as u64))
}

/// Four places for what is little.
fn money(sum: f64) -> String {
    if sum == 0.0 {
        "0".to_owned()
    } else if sum < 0.0001 {
        "<0.0001".to_owned()
    } else if sum < 1.0 {
        format!("{sum:.4}")
    } else {
        format!("{sum:.2}")
    }
}

/// What was measured, what is estimated, what is not in it, and what is missing.
fn notes(bill: &Bill, survey: &Survey) -> Vec<String> {
    let Prices {
        currency,
        gib_month,
        thousand_puts,
        thousand_gets,
    } = &bill.prices;
    let mut notes = vec![format!(
        "STORAGE, REQUESTS and SUM are {currency} for a month: {gib_month} for a GiB stored, {thousand_puts} for 1,000 \
         PUTs, {thousand_gets} for 1,000 GETs (price.* in the configuration of broker {}).",
        survey.priced_by
    )];
    notes.push(
        "Measured: bytes, as leaders tell of them now. STORAGE is what keeping these for a month would cost.".to_owned(),
    );
    if survey.measured.is_empty() {
        notes.push(
            "Missing: PUTs and GETs, as no broker told of them. SUM is storage only.".to_owned(),
        );
    } else {
        notes.extend(of_requests(survey));
    }
    if survey.other_prices {
        notes.push("The brokers differ in their price.* settings.".to_owned());
    }
    notes.extend(survey.missing.iter().map(Missing::to_string));
    if !survey.missing.is_empty() {
        notes.push(
            "Let this machine reach the metrics of every broker (its setting http), or say where they are: --metrics \
             HOST:PORT,..."
                .to_owned(),
        );
    }
    notes.push(
        "Not in it: traffic, disks and machines of brokers, manifests, snapshots of the metadata, and objects that wait to be \
         deleted."
            .to_owned(),
    );
    notes
}

fn of_requests(survey: &Survey) -> Vec<String> {
    let times = survey.measured.iter().map(|(broker, one)| {
        format!(
            "broker {broker} in {}",
            length(Duration::from_secs_f64(one.seconds.max(0.0)))
        )
    });
    let times: Vec<_> = times.collect();
    let mut notes = vec![format!(
        "Measured: requests, by {}, each since its start. PUTS and GETS are these for a month of {MONTH_HOURS} hours that \
         goes on like that. PUTs of segments are shared by bytes among the topics in them.",
        times.join(", ")
    )];
    let is_short = |seconds: f64| seconds < SHORT.as_secs_f64();
    if survey.measured.values().any(|one| is_short(one.seconds)) {
        notes.push(
            "That is a short time: what was done once at the start weighs too much. Ask again later.".to_owned(),
        );
    }
    notes.push(
        "Estimated: GETs of segments, shared among topics as PUTs of segments are. Of no topic: copies of the metadata, folds \
         of commit logs, listings, PUTs of segments that failed."
            .to_owned(),
    );
    notes
}

fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => counted(seconds, "second"),
        120..7_200 => counted(seconds / 60, "minute"),
        7_200..172_800 => counted(seconds / 3_600, "hour"),
        172_800.. => counted(seconds / 86_400, "day"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::cost::measured::Measured;

    fn bill(monthly: Option<Monthly>) -> Bill {
        let line = |table_bytes, monthly| Line {
            disk_bytes: 100,
            segment_bytes: 0,
            table_bytes,
            monthly,
        };
        let half = monthly.map(|all| Monthly {
            puts: all.puts / 4.0,
            gets: all.gets / 2.0,
        });
        let rest = monthly.map(|all| Monthly {
            puts: all.puts * 0.75,
            gets: all.gets / 2.0,
        });
        Bill {
            prices: Prices {
                currency: "EUR".to_owned(),
                gib_month: 0.5,
                thousand_puts: 1.0,
                thousand_gets: 0.1,
            },
            topics: BTreeMap::from([("orders".to_owned(), line(3 << 30, half))]),
            no_topic: Line {
                monthly: rest,
                ..Line::default()
            },
            all: monthly,
        }
    }

    fn survey(seconds: &[f64], missing: Vec<Missing>) -> Survey {
        let measured = seconds.iter().map(|seconds| Measured {
            seconds: *seconds,
            ..Measured::default()
        });
        Survey {
            priced_by: 1,
            other_prices: false,
            measured: (1..).zip(measured).collect(),
            missing,
        }
    }

    fn printed(bill: &Bill, survey: &Survey, is_whole: bool) -> String {
        let mut out = Vec::new();
        print(&mut out, bill, survey, is_whole).expect("written");
        String::from_utf8(out).expect("text")
    }

    const MONTHLY: Monthly = Monthly {
        puts: 40_000.0,
        gets: 2_000.0,
    };

    #[test]
    fn shares_and_sums_are_shown() {
        let text = printed(
            &bill(Some(MONTHLY)),
            &survey(&[90_000.0, 300_000.0], Vec::new()),
            true,
        );
        let rows: Vec<_> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            rows[1],
            "orders 100 B 0 B 3.0 GiB 10,000 (25 %) 1,000 (50 %) 1.50 10.10 11.60"
        );
        assert_eq!(
            rows[2],
            "(of no topic) 0 B 0 B 0 B 30,000 (75 %) 1,000 (50 %) 0 30.10 30.10"
        );
        assert_eq!(
            rows[3],
            "(total) 100 B 0 B 3.0 GiB 40,000 (100 %) 2,000 (100 %) 1.50 40.20 41.70"
        );
        for words in [
            "EUR for a month",
            "broker 1 in 25 hours, broker 2 in 3 days",
            "Estimated",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(
            !text.contains("short time") && !text.contains("--metrics"),
            "{text}"
        );
        let one = printed(&bill(Some(MONTHLY)), &survey(&[600.0], Vec::new()), false);
        assert!(
            !one.contains("(total)") && one.contains("short time"),
            "{one}"
        );
    }

    #[test]
    fn what_is_missing_is_told_with_the_way_to_get_it() {
        let missing = Missing {
            whose: "broker 2".to_owned(),
            why: "connection refused".to_owned(),
        };
        let text = printed(&bill(None), &survey(&[], vec![missing]), true);
        let row = text.lines().nth(1).unwrap_or_default();
        let row: Vec<_> = row.split_whitespace().collect();
        assert_eq!(row.join(" "), "orders 100 B 0 B 3.0 GiB ? ? 1.50 ? 1.50");
        assert!(!text.contains("(of no topic)"), "{text}");
        for words in [
            "SUM is storage only",
            "broker 2",
            "connection refused",
            "--metrics",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn little_money_is_not_nothing() {
        for (sum, text) in [
            (0.0, "0"),
            (0.00001, "<0.0001"),
            (0.0234, "0.0234"),
            (1.0, "1.00"),
            (1234.567, "1234.57"),
        ] {
            assert_eq!(money(sum), text);
        }
    }
}

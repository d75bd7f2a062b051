//! Collects figures and prints them: text, Markdown, JSON.

mod rows;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Error;
use serde::Serialize;
use serde_json::{Value, json};

use rows::{ROWS, Row};

/// What a column of the table stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Column {
    /// Apache Kafka with its defaults: it never syncs by itself.
    Kafka,
    /// Apache Kafka with `flush.messages=1`: it syncs each append, as `local` does.
    KafkaFlush,
    /// Alluvium, `alluvium.durability=local`: synced before it is acknowledged.
    Local,
    /// Alluvium, `alluvium.durability=object`: in the object store before it is acknowledged.
    Object,
}

impl Column {
    /// All, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Kafka, Self::KafkaFlush, Self::Local, Self::Object];

    /// The heading.
    pub fn label(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::KafkaFlush => "Kafka flush=1",
            Self::Local => "Alluvium local",
            Self::Object => "Alluvium object",
        }
    }
}

/// Everything a comparison found.
#[derive(Debug, Default)]
pub struct Report {
    figures: BTreeMap<(String, Column), Vec<f64>>,
    details: Vec<Value>,
    failures: Vec<String>,
    /// Lines about the machine and the run, printed above the table.
    pub context: Vec<String>,
}

impl Report {
    /// Adds a figure; of several under one key, the table shows the median.
    pub fn figure(&mut self, column: Column, key: &str, value: f64) {
        self.figures
            .entry((key.to_owned(), column))
            .or_default()
            .push(value);
    }

    /// Keeps the largest value of a figure.
    pub fn figure_max(&mut self, column: Column, key: &str, value: f64) {
        let values = self.figures.entry((key.to_owned(), column)).or_default();
        let largest = values.iter().copied().fold(value, f64::max);
        *values = vec![largest];
    }

    /// Keeps every run of a scenario for the JSON file.
    pub fn detail(
        &mut self,
        column: Column,
        scenario: &str,
        spec: &impl Serialize,
        runs: &impl Serialize,
    ) {
        self.details
            .push(json!({ "column": column, "scenario": scenario, "load": spec, "runs": runs }));
    }

    /// Notes a scenario without figures.
    pub fn failed(&mut self, column: Column, scenario: &str, error: &Error) {
        self.failures
            .push(format!("{} {scenario}: {error:#}", column.label()));
    }

    /// Whether every scenario brought its figures.
    pub fn complete(&self) -> bool {
        self.failures.is_empty()
    }

    fn value(&self, key: &str, column: Column) -> Option<f64> {
        let values = self.figures.get(&(key.to_owned(), column))?;
        crate::stats::median(values.iter().copied())
    }

    /// The columns that have figures.
    fn columns(&self) -> Vec<Column> {
        let has = |column: &Column| self.figures.keys().any(|(_, found)| found == column);
        Column::ALL.into_iter().filter(has).collect()
    }

    /// Headings and cells; rows nothing was found for are left out.
    fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let columns = self.columns();
        let mut head = vec!["figure".to_owned()];
        head.extend(columns.iter().map(|column| column.label().to_owned()));
        head.extend(["local / Kafka", "target", "reached"].map(str::to_owned));
        let rows = ROWS
            .iter()
            .filter(|row| {
                columns
                    .iter()
                    .any(|&column| self.value(row.key, column).is_some())
            })
            .map(|row| self.cells(row, &columns))
            .collect();
        (head, rows)
    }

    fn cells(&self, row: &Row, columns: &[Column]) -> Vec<String> {
        let mut cells = vec![format!("{} [{}]", row.label, row.unit)];
        for &column in columns {
            cells.push(
                self.value(row.key, column)
                    .map_or_else(|| "-".to_owned(), number),
            );
        }
        let ratio = self.ratio(row);
        cells.push(ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
        cells.push(row.target.map_or_else(String::new, |target| target.text()));
        let reached = row
            .target
            .and_then(|target| target.reached(ratio, |column| self.value(row.key, column)));
        cells.push(
            reached
                .map_or("", |reached| if reached { "yes" } else { "NO" })
                .to_owned(),
        );
        cells
    }

    fn ratio(&self, row: &Row) -> Option<f64> {
        let kafka = self.value(row.key, Column::Kafka)?;
        let ratio = self.value(row.key, Column::Local)? / kafka;
        ratio.is_finite().then_some(ratio)
    }

    /// The table for a terminal.
    pub fn text(&self) -> String {
        let (head, rows) = self.table();
        let widths: Vec<usize> = (0..head.len())
            .map(|index| {
                rows.iter()
                    .chain([&head])
                    .map(|row| row[index].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = self.preface("");
        for row in [&head].into_iter().chain(&rows) {
            for (index, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let padded = if index == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                };
                text.push_str(&padded);
                text.push_str("  ");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text + &self.epilogue()
    }

    /// The table for a document.
    pub fn markdown(&self) -> String {
        let (head, rows) = self.table();
        let mut text = self.preface("- ");
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        text.push('\n');
        text.push_str(&line(&head));
        text.push_str(&format!("|---|{}\n", "---:|".repeat(head.len() - 1)));
        for row in &rows {
            text.push_str(&line(row));
        }
        text + &self.epilogue()
    }

    /// Everything, with every run.
    pub fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|((key, column), values)| json!({ "figure": key, "column": column, "values": values }))
            .collect();
        json!({ "context": self.context, "figures": figures, "scenarios": self.details, "failures": self.failures })
    }

    fn preface(&self, bullet: &str) -> String {
        let mut text = String::new();
        for line in self.context.iter().map(String::as_str).chain(rows::NOTES) {
            writeln!(text, "{bullet}{line}").expect("writing to a string cannot fail");
        }
        text + "\n"
    }

    fn epilogue(&self) -> String {
        if self.failures.is_empty() {
            return String::new();
        }
        format!(
            "\nScenarios that failed and so have no figures:\n\n- {}\n",
            self.failures.join("\n- ")
        )
    }
}

/// Three figures that matter, without exponents.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        magnitude if magnitude >= 100.0 => 0,
        magnitude if magnitude >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        let mut report = Report::default();
        for (column, mb, cpu) in [(Column::Kafka, 200.0, 4.0), (Column::Local, 180.0, 1.0)] {
            report.figure(column, "produce-1k/mb-s", mb);
            report.figure(column, "produce-1k/cpu-gb", cpu);
        }
        report
    }

    #[test]
    fn a_row_has_ratio_target_and_verdict() {
        let (head, rows) = sample().table();
        assert_eq!(
            head,
            [
                "figure",
                "Kafka",
                "Alluvium local",
                "local / Kafka",
                "target",
                "reached"
            ]
        );
        assert_eq!(rows[0][1..], ["200", "180", "0.90", ">= 1 x Kafka", "NO"]);
        assert_eq!(
            rows[1][1..],
            ["4.00", "1.00", "0.25", "<= 0.5 x Kafka", "yes"]
        );
    }

    #[test]
    fn the_median_or_the_maximum_of_several() {
        let mut report = sample();
        report.figure(Column::Kafka, "start", 10.0);
        report.figure(Column::Kafka, "start", 30.0);
        report.figure_max(Column::Kafka, "memory-peak", 5.0);
        report.figure_max(Column::Kafka, "memory-peak", 3.0);
        assert_eq!(report.value("start", Column::Kafka), Some(20.0));
        assert_eq!(report.value("memory-peak", Column::Kafka), Some(5.0));
    }

    #[test]
    fn failures_are_named_below_the_table() {
        let mut report = sample();
        report.failed(Column::Object, "tail", &anyhow::anyhow!("no answer"));
        assert!(!report.complete());
        assert!(
            report
                .markdown()
                .ends_with("- Alluvium object tail: no answer\n")
        );
        assert!(report.text().contains("produce 1 KiB random [MB/s]"));
    }
}

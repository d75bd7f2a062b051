//! Prometheus' text format, as far as tests ask.

use std::collections::BTreeMap;

/// Samples by name with labels, as they are written: `alluvium_requests_total{api="Produce"}`.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    pub(super) fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect();
        Self { samples }
    }

    /// The sample of exactly this name and labels.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.samples.get(name).copied()
    }

    /// The sum over those labels of `name` that contain `label`, as `operation="get"`.
    pub fn sum_with(&self, name: &str, label: &str) -> f64 {
        let labelled = format!("{name}{{");
        let samples = self.samples.iter();
        samples
            .filter(|(sample, _)| sample.starts_with(&labelled) && sample.contains(label))
            .map(|(_, value)| value)
            .sum()
    }

    /// The sum over all labels of `name`.
    pub fn sum(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        self.samples
            .iter()
            .filter(|(sample, _)| *sample == name || sample.starts_with(&labelled))
            .map(|(_, value)| value)
            .sum()
    }

    /// Names with labels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_add_up_over_labels() {
        let text = "# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3.5\nab 7\n# EOF\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a"), 5.5);
        assert_eq!(metrics.get("ab"), Some(7.0));
        assert_eq!(metrics.names().count(), 3);
    }
}

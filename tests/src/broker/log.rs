//! What a broker's processes write, and what of it a test must not overlook.

use parking_lot::Mutex;

/// Lines of all processes of one broker, in order.
#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<Vec<String>>,
    expected: Mutex<Expected>,
}

#[derive(Debug, Default)]
struct Expected {
    texts: Vec<String>,
    all: bool,
}

impl Log {
    pub(super) fn push(&self, line: String) {
        self.lines.lock().push(line);
    }

    pub(super) fn expect(&self, text: &str) {
        self.expected.lock().texts.push(text.to_owned());
    }

    /// The test fails anyway, and for a better reason.
    pub(super) fn accept_all(&self) {
        self.expected.lock().all = true;
    }

    /// Lines so far.
    pub fn len(&self) -> usize {
        self.lines.lock().len()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All lines.
    pub fn text(&self) -> String {
        self.since(0)
    }

    /// The lines after the first `count`.
    pub fn since(&self, count: usize) -> String {
        let lines = self.lines.lock();
        lines[count.min(lines.len())..]
            .iter()
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// The last `count` lines.
    pub fn last(&self, count: usize) -> String {
        self.since(self.len().saturating_sub(count))
    }

    /// Whether a line contains `text`.
    pub fn contains(&self, text: &str) -> bool {
        self.lines.lock().iter().any(|line| line.contains(text))
    }

    /// Lines that contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.lines
            .lock()
            .iter()
            .filter(|line| line.contains(text))
            .count()
    }

    /// Warnings, errors and panics that no test announced. A panic is never expected.
    pub fn unexpected(&self) -> Vec<String> {
        let expected = self.expected.lock();
        if expected.all {
            return Vec::new();
        }
        let announced = |line: &str| {
            expected
                .texts
                .iter()
                .any(|text| line.contains(text.as_str()))
        };
        let lines = self.lines.lock();
        lines
            .iter()
            .filter(|line| is_panic(line) || (is_alarming(line) && !announced(line)))
            .cloned()
            .collect()
    }
}

fn is_panic(line: &str) -> bool {
    line.contains("panicked at")
}

fn is_alarming(line: &str) -> bool {
    line.contains(" WARN ") || line.contains(" ERROR ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Log {
        let log = Log::default();
        lines.iter().for_each(|line| log.push((*line).to_owned()));
        log
    }

    #[test]
    fn what_nobody_announced_is_found() {
        let log = log(&["t  INFO ready", "t  WARN slow bucket", "t ERROR disk full"]);
        assert_eq!(log.unexpected().len(), 2);
        log.expect("slow bucket");
        assert_eq!(log.unexpected(), ["t ERROR disk full"]);
    }

    #[test]
    fn a_panic_cannot_be_announced() {
        let log = log(&["thread 'main' panicked at src/main.rs:1"]);
        log.expect("panicked");
        assert_eq!(log.unexpected().len(), 1);
    }
}

//! What a repair says.

/// What was done, or would be, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    dry_run: bool,
    /// A line each.
    pub lines: Vec<String>,
    /// How many things were repaired, or would be.
    pub repaired: usize,
}

impl Told {
    pub(super) fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            ..Self::default()
        }
    }

    /// `what` was `done`, or would be.
    pub(super) fn done(&mut self, what: String, done: &str) {
        let begins = if self.dry_run {
            "would repair"
        } else {
            "repaired"
        };
        let be = if self.dry_run { "to be " } else { "" };
        self.lines.push(format!("{begins}: {what}: {be}{done}"));
        self.repaired += 1;
    }

    /// Something is to be repaired later.
    pub(super) fn found(&mut self, what: String) {
        let begins = if self.dry_run {
            "would repair"
        } else {
            "to repair"
        };
        self.lines.push(format!("{begins}: {what}"));
    }

    /// Something is not repaired, and why.
    pub(super) fn left(&mut self, why: String) {
        self.lines.push(format!("left alone: {why}"));
    }
}

/// So many objects.
pub(super) fn objects(number: usize) -> String {
    count(number, "object", "objects")
}

/// So many of something.
pub(super) fn count(number: usize, one: &str, several: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {several}"),
    }
}

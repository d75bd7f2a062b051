//! Pauses between attempts at the store.

use std::time::Duration;

/// The first pause; each further one is twice as long, up to [`PAUSE_LAST`].
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LAST: Duration = Duration::from_secs(1);

/// Attempts of what somebody waits for: about fifteen seconds.
const ATTEMPTS: u32 = 20;

/// Ever longer pauses, as many as there are attempts left.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    /// `None`: without end.
    left: Option<u32>,
}

impl Pauses {
    /// For something that somebody waits for, and that may fail.
    pub fn bounded() -> Self {
        Self {
            next: PAUSE_FIRST,
            left: Some(ATTEMPTS - 1),
        }
    }

    /// For something that is done or of no use any more.
    pub fn endless() -> Self {
        Self {
            left: None,
            ..Self::bounded()
        }
    }

    /// Pauses before a further attempt; false, at once, if there should be none.
    pub async fn further_attempt(&mut self) -> bool {
        match &mut self.left {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(PAUSE_LAST);
        true
    }
}

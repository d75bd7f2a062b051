//! What passes by itself when a cluster moves leadership, and how long to wait for it.

use std::time::Duration;

use alluvium_protocol::ErrorCode;
use tokio::time::Instant;

use super::ClientError;

/// How long a command follows a cluster that does not answer: several times what a session lasts (9 seconds), within
/// which others take over what a dead broker led.
const PATIENCE: Duration = Duration::from_secs(40);
/// First pause; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Bounds the attempts of one operation.
#[derive(Debug)]
pub struct Retries {
    until: Instant,
    pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            until: Instant::now() + PATIENCE,
            pause: PAUSE_MIN,
        }
    }
}

impl Retries {
    /// Waits a little, or, when there was time enough, gives up with the reason of the last failure.
    ///
    /// # Errors
    /// There was time enough.
    pub async fn wait(&mut self, last: ClientError) -> Result<(), ClientError> {
        if Instant::now() + self.pause > self.until {
            return Err(ClientError::GaveUp {
                seconds: PATIENCE.as_secs(),
                last: Box::new(last),
            });
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// Whether the same, asked again after a while and perhaps elsewhere, may succeed.
pub(super) fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { .. } | ClientError::Io(_) | ClientError::NoLeader { .. } => true,
        ClientError::Refused { code, .. } => code.is_retriable(),
        ClientError::Unsupported(_) | ClientError::BadAnswer(_) | ClientError::GaveUp { .. } => {
            false
        }
    }
}

/// An error code, as an error about `what` unless it is none.
pub(super) fn refused(code: ErrorCode, what: impl Into<String>) -> Option<ClientError> {
    let what = what.into();
    (code != ErrorCode::None).then_some(ClientError::Refused { what, code })
}

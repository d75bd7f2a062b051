//! What operators may ask of compaction: that a topic be published now instead of when its time has come.
//!
//! That is a wish in the metadata store. Whoever compacts the topic sees it in its picture and withdraws it when it is
//! done, so that it is fulfilled whichever brokers come and go meanwhile.

use std::sync::Arc;

use alluvium_common::clock::SharedClock;
use alluvium_common::topic::TopicId;
use alluvium_metadata::compaction::{PublicationWriter, RequestError};
use alluvium_metadata::session::Session;

/// Writes such wishes on behalf of one broker session.
pub struct PublicationService {
    writer: PublicationWriter,
    session: Arc<Session>,
    clock: SharedClock,
}

impl PublicationService {
    /// On behalf of `session`.
    pub fn new(writer: PublicationWriter, session: Arc<Session>, clock: SharedClock) -> Self {
        Self {
            writer,
            session,
            clock,
        }
    }

    /// The topic shall be published now. Asking again while it waits changes nothing for the worse: what was
    /// written until then is published too.
    ///
    /// # Errors
    /// The session is over, or the store fails.
    pub async fn request(&self, topic_id: TopicId) -> Result<(), RequestError> {
        self.writer
            .request(&self.session, topic_id, &self.clock)
            .await
            .map(|_| ())
    }
}

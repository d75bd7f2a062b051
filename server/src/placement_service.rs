//! What operators may say about placement: that a broker lead nothing, that a partition be led by another broker.
//!
//! Both are wishes in the metadata store. The leader hands over, the controller moves what a drained broker leads.

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::controller::unclean::{UncleanElection, UncleanError, elect_unclean};
use alluvium_metadata::drains::{DrainError, DrainWriter};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::leadership::{
    LeadershipError, PartitionChange, PartitionWriter, ReadError, Written,
};
use alluvium_metadata::model::PartitionRecord;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::StoreError;
use alluvium_metadata::value::ValueError;
use alluvium_metadata::view::{ClusterView, Placed};

/// How often a record may change between reading and writing it. Each time somebody else made progress with it.
const LOST_RACES_MAX: usize = 10;

/// Why a wish was not written.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// There is no such partition.
    #[error("this server does not host this partition")]
    UnknownPartition,
    /// No such broker is live.
    #[error("broker {0} is not live")]
    UnknownBroker(BrokerId),
    /// The target would have to give the partition away again.
    #[error("broker {0} is being drained or is about to stop")]
    Drained(BrokerId),
    /// Nobody could hand it over.
    #[error("nobody leads the partition now, so nobody can hand it over")]
    NoLeader,
    /// No move to call off.
    #[error("the partition is not moving")]
    NotMoving,
    /// Others keep changing the record.
    #[error("the partition's record changed {LOST_RACES_MAX} times meanwhile; try again")]
    Contended,
    /// The session of this broker is over (F1).
    #[error("this broker's session is over")]
    Fenced,
    /// A stored record is damaged.
    #[error(transparent)]
    Unreadable(#[from] ValueError),
    /// The store did not do it, or it is unknown whether it did; asking again is harmless.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DrainError> for PlacementError {
    fn from(error: DrainError) -> Self {
        match error {
            DrainError::Fenced => Self::Fenced,
            DrainError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ReadError> for PlacementError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Self::Store(error),
            ReadError::Unreadable(error) => Self::Unreadable(error),
        }
    }
}

/// Writes wishes on behalf of one broker session.
pub struct PlacementService {
    partitions: PartitionWriter,
    drains: DrainWriter,
    keys: Keys,
    session: Arc<Session>,
    view: Arc<ClusterView>,
}

impl PlacementService {
    /// On behalf of `session`.
    pub fn new(
        partitions: PartitionWriter,
        drains: DrainWriter,
        keys: Keys,
        session: Arc<Session>,
        view: Arc<ClusterView>,
    ) -> Self {
        Self {
            partitions,
            drains,
            keys,
            session,
            view,
        }
    }

    /// From now on, or not any longer, the broker, known or not, shall lead nothing.
    ///
    /// # Errors
    /// The session is over, or the store fails.
    pub async fn set_drained(
        &self,
        broker_id: BrokerId,
        drained: bool,
    ) -> Result<(), PlacementError> {
        let revision = self.drains.set(broker_id, drained).await?;
        self.view.reached(revision).await;
        Ok(())
    }

    /// Whether a partition might be moved to that broker.
    ///
    /// # Errors
    /// It might not, see there.
    pub fn check_target(&self, target: BrokerId) -> Result<(), PlacementError> {
        let brokers = &self.view.picture().brokers;
        match brokers.get(target) {
            None => Err(PlacementError::UnknownBroker(target)),
            Some(_) if !brokers.is_usable(target) => Err(PlacementError::Drained(target)),
            Some(_) => Ok(()),
        }
    }

    /// Partitions that wait for a write-ahead log are led again without it; what became of each. The records that only the
    /// log has are lost.
    ///
    /// # Errors
    /// The session is over, or the store fails.
    pub async fn elect_unclean(
        &self,
        tps: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, UncleanElection>, PlacementError> {
        let picture = self.view.picture();
        let elected =
            elect_unclean(&self.partitions, &self.keys, &self.session, &picture, tps).await;
        let elected = elected.map_err(|error| match error {
            UncleanError::Fenced => PlacementError::Fenced,
            UncleanError::Store(error) => PlacementError::Store(error),
        })?;
        for outcome in elected.values() {
            if let UncleanElection::Done(revision) = outcome {
                self.view.reached(*revision).await;
            }
        }
        Ok(elected)
    }

    /// The leader of the partition shall hand it over to `target`. Moving it to where it is calls off a move.
    ///
    /// # Errors
    /// The target cannot have it, nobody leads it, or the record could not be written.
    pub async fn move_to(
        &self,
        tp: TopicPartition,
        target: BrokerId,
    ) -> Result<(), PlacementError> {
        self.check_target(target)?;
        self.change(tp, |placed| {
            let brokers = &self.view.picture().brokers;
            placed.serving(brokers).ok_or(PlacementError::NoLeader)?;
            Ok((placed.record.leader != target).then_some(target))
        })
        .await
    }

    /// Calls off the move of a partition. A move that is done is not undone.
    ///
    /// # Errors
    /// It is not moving, or the record could not be written.
    pub async fn stay(&self, tp: TopicPartition) -> Result<(), PlacementError> {
        self.change(tp, |placed| match placed.record.moving_to {
            Some(_) => Ok(None),
            None => Err(PlacementError::NotMoving),
        })
        .await
    }

    /// Writes what `decide` makes of the record as it stands, until nobody changes it meanwhile.
    async fn change(
        &self,
        tp: TopicPartition,
        decide: impl Fn(&Placed) -> Result<Option<BrokerId>, PlacementError>,
    ) -> Result<(), PlacementError> {
        for _ in 0..LOST_RACES_MAX {
            let placed = self.partitions.read(tp).await?;
            let placed = placed.ok_or(PlacementError::UnknownPartition)?;
            let moving_to = decide(&placed)?;
            if moving_to == placed.record.moving_to || self.write(tp, placed, moving_to).await? {
                return Ok(());
            }
        }
        Err(PlacementError::Contended)
    }

    /// Whether the record was still as it was read.
    async fn write(
        &self,
        tp: TopicPartition,
        placed: Placed,
        moving_to: Option<BrokerId>,
    ) -> Result<bool, PlacementError> {
        let change = PartitionChange {
            tp,
            record: PartitionRecord {
                moving_to,
                ..placed.record
            },
            read_at: placed.mod_revision,
        };
        let guard = [self.session.fence()];
        match self.partitions.write(&guard, &[change]).await {
            Ok(written) => match written.first() {
                Some(Written::Done(revision)) => {
                    self.view.reached(*revision).await;
                    Ok(true)
                }
                _ => Ok(false),
            },
            Err(LeadershipError::Guard { .. }) => {
                self.session.fenced();
                Err(PlacementError::Fenced)
            }
            Err(LeadershipError::Store(error)) => Err(error.into()),
        }
    }
}

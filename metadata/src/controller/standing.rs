//! How a duty stands: who has it, and who may take it up.

use alluvium_common::epoch::BrokerId;
use alluvium_common::seeded_bug;

use crate::model::WalHolder;
use crate::view::{Brokers, Placed};

/// How a duty stands with its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its leader serves it, and shall hand it over to `moving_to`.
    Served {
        /// To whom.
        moving_to: Option<BrokerId>,
    },
    /// Its leader has a session and has yet to take it up; any broker could instead.
    Unopened,
    /// Only that broker, which lives, may take it up, or acknowledged records would be lost.
    Bound {
        /// That broker.
        to: BrokerId,
    },
    /// Nobody has it, and any broker may take it up.
    Vacant {
        /// Who is ready for it.
        wish: Option<BrokerId>,
        /// Acknowledged records that are not committed may be lost by it.
        unclean: bool,
    },
    /// Nobody has it, and who alone may take it up does not live.
    Waiting {
        /// The write-ahead log that is missed.
        holder: WalHolder,
    },
    /// It is no business of the controller's, and only counts as a load of its leader.
    LeftAlone,
}

/// How a partition stands. `unclean`: it is rather led with records missing than not led.
///
/// A leader that came back in a new session before anybody took its partitions away stands as any leader that has yet
/// to open: it does so by itself, and nothing is decided about it.
pub fn of_partition(placed: &Placed, brokers: &Brokers, unclean: bool) -> Standing {
    let record = &placed.record;
    if placed.serving(brokers).is_some() {
        let moving_to = record.moving_to;
        return Standing::Served { moving_to };
    }
    // A process that only compacts opens nothing, but its session stands: whoever takes over cannot rely on there being
    // none (F2), and need not.
    let leader_lives = brokers.has_session(record.leader);
    let wal = record.wal;
    let Some(holder) = wal.filter(|_| !seeded_bug::is("moved-though-wal-set")) else {
        return if leader_lives {
            Standing::Unopened
        } else {
            let wish = record.moving_to.filter(|id| brokers.is_usable(*id));
            let unclean = false;
            Standing::Vacant { wish, unclean }
        };
    };
    if let Some(to) = with_log(holder, record.leader, brokers) {
        return Standing::Bound { to };
    }
    if unclean {
        let wish = Some(record.leader).filter(|id| brokers.is_usable(*id));
        return Standing::Vacant { wish, unclean };
    }
    Standing::Waiting { holder }
}

/// The live broker that has that write-ahead log: the leader, or another that runs with its data folder now.
fn with_log(holder: WalHolder, leader: BrokerId, brokers: &Brokers) -> Option<BrokerId> {
    let of_leader = brokers.get(leader);
    if of_leader.is_some_and(|live| holder.is(live.record.instance_id)) {
        return Some(leader);
    }
    // Here the folder must be named: a log of which it is not known where it lies is the leader's alone.
    let mut all = brokers.all();
    let other = all.find(|live| holder.0 == live.record.instance_id)?;
    Some(other.record.broker_id)
}

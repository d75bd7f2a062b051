//! Stage one: sequence check, offset, hand-over. Never waits.

use std::sync::Arc;

use alluvium_cache::tail::SpilledBatch;
use alluvium_common::error::Outcome;
use alluvium_common::offset::Offset;
use alluvium_common::seeded_bug;
use alluvium_metadata::topic_config::Durability;
use alluvium_segment::record_batch::{ProducerSpan, StoredBatch, TimestampType};

use super::{LeaderPartition, State, WalDone};
use crate::ack::{Acks, AppendTicket, Appended};
use crate::backpressure::FramePermit;
use crate::error::AppendError;
use crate::open_segment::{ItemBody, SegmentItem, Wanted};
use crate::producer_state::{ProducerStamp, SequencedBatch, Verdict};
use crate::seams::{WalCopy, WalState};
use crate::validate::{ClientRules, TopicRules, ValidBatch, validate};

/// What comes with a produced batch.
#[derive(Debug, Clone)]
pub struct AppendOptions {
    /// What the producer waits for.
    pub acks: Acks,
    /// The share of the byte budget that its frame holds.
    pub permit: FramePermit,
    /// What the request's version allows.
    pub client: ClientRules,
}

impl LeaderPartition {
    /// Appends the one batch in `records`. Does not wait; the ticket resolves when the batch is as
    /// durable as the topic demands. An error is definite unless it says otherwise.
    pub fn append(
        self: &Arc<Self>,
        records: &bytes::Bytes,
        options: AppendOptions,
    ) -> Result<AppendTicket, AppendError> {
        let appended = self.try_append(records, options);
        if appended.is_err() {
            self.stages.metrics.refused.inc();
        }
        appended
    }

    fn try_append(
        self: &Arc<Self>,
        records: &bytes::Bytes,
        options: AppendOptions,
    ) -> Result<AppendTicket, AppendError> {
        let rules = self.rules();
        let now_ms = self.stages.clock.now_ms();
        let batch = validate(records, &rules, &options.client, now_ms)?;
        let stamp = batch.header.producer().map(to_stamp);

        let mut state = self.state.lock();
        self.check_open(&state)?;
        if let Some(stamp) = &stamp
            && let Verdict::Duplicate(original) = state.producers.check(stamp)?
        {
            return Ok(self.answer_duplicate(&mut state, &original, &rules, options.acks));
        }
        // As it is now: the class may have changed since the batch was validated.
        let current = self.rules();
        self.check_durability(current.durability)?;
        let stored = self.stamp(&state, &batch)?;
        let ticket = self.hand_over(&mut state, stored, &batch, &current, options)?;
        if let Some(stamp) = &stamp {
            let (base, next) = (ticket.base_offset, state.next_offset);
            let original = sequenced(stamp, base, next, batch.header.max_timestamp);
            state.producers.record(stamp, original, now_ms);
        }
        drop(state);
        self.count(&batch);
        Ok(ticket.ticket)
    }

    fn check_open(&self, state: &State) -> Result<(), AppendError> {
        if let Some(closed) = state.closed {
            return Err(closed.error(Outcome::NotDone));
        }
        if state.draining {
            return Err(AppendError::NotLeader(Outcome::NotDone));
        }
        if !self.stages.session.is_alive() {
            return Err(AppendError::NotLeader(Outcome::NotDone));
        }
        Ok(())
    }

    /// Refuses `local` while the write-ahead log cannot take it; `object` goes on.
    fn check_durability(&self, durability: Durability) -> Result<(), AppendError> {
        let refuse = |message: &str| {
            Err(AppendError::Storage {
                outcome: Outcome::NotDone,
                message: message.into(),
            })
        };
        if durability == Durability::Object {
            return Ok(());
        }
        match self.stages.wal.as_ref().map(|wal| wal.state()) {
            Some(WalState::Accepting) => Ok(()),
            Some(WalState::Full) => refuse("the write-ahead log's disk is full"),
            Some(WalState::Failed) => refuse("the write-ahead log has failed"),
            None => refuse("this broker has no write-ahead log"),
        }
    }

    fn stamp(&self, state: &State, batch: &ValidBatch) -> Result<StoredBatch, AppendError> {
        StoredBatch::stamp(
            batch.raw.clone(),
            &batch.header,
            state.next_offset,
            self.leader_epoch,
        )
        .map_err(|error| AppendError::invalid(error.to_string()))
    }

    /// Gives the batch to tail, open segment and write-ahead log. Only the first can refuse it, and
    /// then nothing has happened.
    fn hand_over(
        self: &Arc<Self>,
        state: &mut State,
        stored: StoredBatch,
        batch: &ValidBatch,
        rules: &TopicRules,
        options: AppendOptions,
    ) -> Result<Ticket, AppendError> {
        let local = rules.durability == Durability::Local;
        let (base_offset, next_offset) = (stored.base_offset(), stored.next_offset());
        if self.log.tail.closed().is_some() {
            return Err(AppendError::NotLeader(Outcome::NotDone));
        }
        // The log's queue is entered under this lock, but its completion waits for the lock: the batch
        // is pending below before it can be reported as synced.
        let wal = self.enqueue(&stored, local, next_offset);
        let spill = wal.clone().map(|wal| wal as Arc<dyn SpilledBatch>);
        let appended = self.log.tail.append(stored.clone(), spill);
        appended.map_err(|refused| AppendError::Storage {
            outcome: Outcome::Unknown,
            message: refused.to_string(),
        })?;
        state.next_offset = next_offset;
        state.durable.push(next_offset);
        let ticket = match options.acks {
            Acks::None => AppendTicket::ready(self.appended(base_offset, batch.log_append_time)),
            _ if seeded_bug::is("ack-before-durable") => {
                AppendTicket::ready(self.appended(base_offset, batch.log_append_time))
            }
            Acks::Leader | Acks::All => {
                state
                    .acks
                    .wait(next_offset, base_offset, batch.log_append_time)
            }
        };
        let item = SegmentItem {
            partition: Arc::clone(self),
            next_offset,
            size_bytes: stored.size_bytes(),
            body: ItemBody::Memory {
                batch: stored,
                _permit: options.permit,
            },
            wal,
        };
        // One in a hundred.
        if seeded_bug::is("batch-not-uploaded") && base_offset.get() % 100 == 99 {
            return Ok(Ticket {
                base_offset,
                ticket,
            });
        }
        let wanted = match local {
            true => Wanted::Within(rules.local_retention),
            false => Wanted::ByProducer,
        };
        self.stages.open.push(item, wanted);
        Ok(Ticket {
            base_offset,
            ticket,
        })
    }

    fn enqueue(
        self: &Arc<Self>,
        stored: &StoredBatch,
        local: bool,
        next_offset: Offset,
    ) -> Option<Arc<dyn WalCopy>> {
        let wal = self.stages.wal.as_ref().filter(|_| local)?;
        let done = WalDone::new(Arc::clone(self), next_offset);
        Some(wal.append(self.tp, stored, done))
    }

    /// A duplicate is acknowledged when its original is, never earlier.
    fn answer_duplicate(
        &self,
        state: &mut State,
        original: &SequencedBatch,
        rules: &TopicRules,
        acks: Acks,
    ) -> AppendTicket {
        self.stages.metrics.duplicates.inc();
        let stamped_here = rules.timestamp_type == TimestampType::LogAppendTime;
        let log_append_time = stamped_here.then_some(original.max_timestamp);
        let durable_at = original.last_offset.next();
        if seeded_bug::is("duplicate-at-log-end") {
            return AppendTicket::ready(self.appended(state.next_offset, log_append_time));
        }
        let is_durable = durable_at <= self.high_watermark();
        if acks == Acks::None || is_durable || seeded_bug::is("duplicate-acked-early") {
            return AppendTicket::ready(self.appended(original.base_offset, log_append_time));
        }
        state
            .acks
            .wait(durable_at, original.base_offset, log_append_time)
    }

    fn appended(&self, base_offset: Offset, log_append_time: Option<i64>) -> Appended {
        Appended {
            base_offset,
            log_append_time,
            log_start_offset: self.log.tail.offsets().log_start,
        }
    }

    fn count(&self, batch: &ValidBatch) {
        let metrics = &self.stages.metrics;
        metrics.batches.inc();
        metrics.records.inc_by(u64::from(batch.record_count));
        metrics.bytes.inc_by(batch.raw.len() as u64);
        self.stages.relieve();
    }
}

struct Ticket {
    base_offset: Offset,
    ticket: AppendTicket,
}

pub(super) fn to_stamp(span: ProducerSpan) -> ProducerStamp {
    ProducerStamp {
        producer_id: span.producer_id,
        producer_epoch: span.producer_epoch,
        base_sequence: span.base_sequence,
        last_sequence: span.last_sequence,
    }
}

pub(super) fn sequenced(
    stamp: &ProducerStamp,
    base_offset: Offset,
    next_offset: Offset,
    max_timestamp: i64,
) -> SequencedBatch {
    SequencedBatch {
        base_sequence: stamp.base_sequence,
        last_sequence: stamp.last_sequence,
        base_offset,
        last_offset: Offset::new(next_offset.get() - 1).expect("a batch has a record"),
        max_timestamp,
    }
}

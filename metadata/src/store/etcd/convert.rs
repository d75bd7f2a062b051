//! Between the seam's types and etcd's messages.

use std::time::Duration;

use bytes::Bytes;

use super::namespace::{Namespace, Span};
use super::proto;
use crate::store::error::StoreError;
use crate::store::limits::{RANGE_BYTES_MAX, RANGE_KEYS_MAX};
use crate::store::range::{KeyRange, RangeResponse};
use crate::store::txn::{Compare, Comparison, Op, OpResult, Target, Txn, TxnResponse};
use crate::store::types::{Event, KeyValue, LeaseId, Revision, StoreSpace};

/// etcd's numbers are signed; none of ours is ever that large.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Whole seconds, rounded up: never less than was asked for.
pub(super) fn ttl_seconds(ttl: Duration) -> i64 {
    let up = u64::from(ttl.subsec_nanos() > 0);
    signed(ttl.as_secs() + up)
}

/// A revision to read at. etcd takes 0 for the newest; before revision 1 there was as little as at it.
pub(super) fn read_revision(revision: Option<Revision>) -> i64 {
    revision.map_or(0, |revision| signed(revision.0.max(1)))
}

/// How many keys to ask for. At least one, since etcd takes 0 for no limit; [`page`] cuts what is too much.
pub(super) fn read_limit(limit: Option<usize>, keys_max: usize) -> i64 {
    let keys = limit.unwrap_or(keys_max).min(keys_max).max(1);
    signed(keys as u64)
}

pub(super) fn txn(space: &Namespace, txn: &Txn) -> proto::TxnRequest {
    let ops = |ops: &[Op]| ops.iter().map(|one| op(space, one)).collect();
    proto::TxnRequest {
        compare: txn.compares.iter().map(|one| compare(space, one)).collect(),
        success: ops(&txn.then_ops),
        failure: ops(&txn.else_ops),
    }
}

fn compare(space: &Namespace, compare: &Compare) -> proto::Compare {
    use proto::{CompareTarget, TargetUnion};
    let result = match compare.comparison {
        Comparison::Equal => proto::CompareResult::Equal,
        Comparison::NotEqual => proto::CompareResult::NotEqual,
        Comparison::Less => proto::CompareResult::Less,
        Comparison::Greater => proto::CompareResult::Greater,
    };
    let (target, union) = match &compare.target {
        Target::CreateRevision(at) => (
            CompareTarget::Create,
            TargetUnion::CreateRevision(signed(at.0)),
        ),
        Target::ModRevision(at) => (CompareTarget::Mod, TargetUnion::ModRevision(signed(at.0))),
        Target::Version(version) => (
            CompareTarget::Version,
            TargetUnion::Version(signed(*version)),
        ),
        Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
    };
    proto::Compare {
        result: result.into(),
        target: target.into(),
        key: space.key(&compare.key),
        target_union: Some(union),
    }
}

fn op(space: &Namespace, op: &Op) -> proto::RequestOp {
    let request = match op {
        Op::Put { key, value, lease } => proto::Request::Put(proto::PutRequest {
            key: space.key(key),
            value: value.clone(),
            lease: lease.map_or(0, |lease| signed(lease.0)),
        }),
        Op::Delete { range } => match space.span(range) {
            Span::Keys { key, range_end } => {
                proto::Request::DeleteRange(proto::DeleteRangeRequest { key, range_end })
            }
            Span::Nothing => proto::Request::Range(nothing(space, range, None)),
        },
        Op::Range(read) => proto::Request::Range(match space.span(&read.range) {
            Span::Keys { key, range_end } => proto::RangeRequest {
                key,
                range_end,
                limit: read_limit(read.limit, RANGE_KEYS_MAX),
                revision: read_revision(read.revision),
                count_only: false,
            },
            Span::Nothing => nothing(space, &read.range, read.revision),
        }),
    };
    proto::RequestOp {
        request: Some(request),
    }
}

/// A read that returns no key, whatever there is.
pub(super) fn nothing(
    space: &Namespace,
    range: &KeyRange,
    revision: Option<Revision>,
) -> proto::RangeRequest {
    proto::RangeRequest {
        key: space.probe(range),
        revision: read_revision(revision),
        count_only: true,
        ..proto::RangeRequest::default()
    }
}

/// The results of the list that was run. An answer that does not fit its question is damage, not a result.
pub(super) fn txn_response(
    space: &Namespace,
    txn: &Txn,
    answer: proto::TxnResponse,
) -> Result<TxnResponse, StoreError> {
    let ops = if answer.succeeded {
        &txn.then_ops
    } else {
        &txn.else_ops
    };
    if ops.len() != answer.responses.len() {
        return Err(does_not_fit());
    }
    let results = ops
        .iter()
        .zip(answer.responses)
        .map(|(op, result)| op_result(space, op, result))
        .collect::<Result<_, _>>()?;
    Ok(TxnResponse {
        succeeded: answer.succeeded,
        revision: proto::revision(&answer.header),
        results,
    })
}

fn op_result(
    space: &Namespace,
    op: &Op,
    answer: proto::ResponseOp,
) -> Result<OpResult, StoreError> {
    use proto::Response;
    match (op, answer.response) {
        (Op::Put { .. }, Some(Response::Put(_))) => Ok(OpResult::Put),
        (Op::Delete { .. }, Some(Response::DeleteRange(answer))) => {
            Ok(OpResult::Deleted(unsigned(answer.deleted)))
        }
        (Op::Delete { .. }, Some(Response::Range(_))) => Ok(OpResult::Deleted(0)),
        (Op::Range(read), Some(Response::Range(answer))) => {
            Ok(OpResult::Range(page(space, read.limit, answer)))
        }
        _ => Err(does_not_fit()),
    }
}

fn does_not_fit() -> StoreError {
    StoreError::Damaged {
        what: "etcd's answer does not fit the transaction".to_owned(),
    }
}

/// An answer within the limits of the seam, which etcd's is not by itself: it has none in bytes.
pub(super) fn page(
    space: &Namespace,
    limit: Option<usize>,
    answer: proto::RangeResponse,
) -> RangeResponse {
    let limit = limit.unwrap_or(RANGE_KEYS_MAX).min(RANGE_KEYS_MAX);
    let (mut kvs, mut bytes, mut more) = (Vec::new(), 0, answer.more);
    for kv in answer.kvs {
        if kvs.len() >= limit || bytes >= RANGE_BYTES_MAX {
            more = true;
            break;
        }
        bytes += kv.key.len() + kv.value.len();
        kvs.push(key_value(space, kv));
    }
    RangeResponse {
        revision: proto::revision(&answer.header),
        kvs,
        more,
    }
}

fn key_value(space: &Namespace, kv: proto::KeyValue) -> KeyValue {
    KeyValue {
        key: space.strip(&kv.key),
        value: kv.value,
        create_revision: Revision(unsigned(kv.create_revision)),
        mod_revision: Revision(unsigned(kv.mod_revision)),
        version: unsigned(kv.version),
        lease: (kv.lease != 0).then(|| LeaseId(unsigned(kv.lease))),
    }
}

pub(super) fn event(space: &Namespace, event: proto::Event) -> Event {
    let deleted = event.r#type() == proto::EventType::Delete;
    let kv = event.kv.unwrap_or_default();
    if deleted {
        Event::Delete {
            key: space.strip(&kv.key),
            revision: Revision(unsigned(kv.mod_revision)),
        }
    } else {
        Event::Put(key_value(space, kv))
    }
}

/// The lease that a transaction names, if it names one: which one was not found etcd does not say.
pub(super) fn lease_of(txn: &Txn) -> Option<LeaseId> {
    let ops = txn.then_ops.iter().chain(&txn.else_ops);
    ops.filter_map(|op| match op {
        Op::Put { lease, .. } => *lease,
        _ => None,
    })
    .next()
}

/// The revisions at which a transaction reads.
pub(super) fn revisions_of(txn: &Txn) -> impl Iterator<Item = Revision> {
    let ops = txn.then_ops.iter().chain(&txn.else_ops);
    ops.filter_map(|op| match op {
        Op::Range(read) => read.revision,
        _ => None,
    })
}

/// Whether a transaction can only read.
pub(super) fn reads_only(txn: &Txn) -> bool {
    let mut ops = txn.then_ops.iter().chain(&txn.else_ops);
    ops.all(|op| matches!(op, Op::Range(_)))
}

/// A range that a transaction touches, to ask other questions about.
pub(super) fn any_range(txn: &Txn) -> KeyRange {
    let first = txn.then_ops.iter().chain(&txn.else_ops).next();
    match (first, txn.compares.first()) {
        (Some(Op::Put { key, .. }), _) => KeyRange::key(key.clone()),
        (Some(Op::Delete { range }), _) => range.clone(),
        (Some(Op::Range(read)), _) => read.range.clone(),
        (None, Some(compare)) => KeyRange::key(compare.key.clone()),
        (None, None) => KeyRange::key(Bytes::from_static(b"\0")),
    }
}

/// What a member's status says of its database. Alarms of all members stand in it as text.
pub(super) fn space(status: &proto::StatusResponse) -> StoreSpace {
    let quota_bytes = unsigned(status.db_size_quota);
    StoreSpace {
        size_bytes: unsigned(status.db_size),
        in_use_bytes: unsigned(status.db_size_in_use),
        quota_bytes: (quota_bytes > 0).then_some(quota_bytes),
        is_exhausted: status.errors.iter().any(|error| error.contains("NOSPACE")),
    }
}

//! A group.
//!
//! ```text
//! body v1 := generation i32 | protocol type option string | protocol option string
//!          | leader option string | state since i64 (ms since the Unix epoch)
//!          | count u32 | member...
//! member  := member id string | instance id option string | client id string | client host string
//!          | session time-out u64 (ms) | rebalance time-out u64 (ms) | subscription bytes
//!          | assignment bytes
//! ```

use std::time::Duration;

use bytes::Bytes;

use super::codec::{Decoder, Encoder, StoredError};
use crate::coordinator::group::{GroupRecord, InstanceId, MemberId, MemberRecord};

const KIND: u8 = 1;
const VERSION: u8 = 1;
/// A member whose strings and bytes are all empty.
const MEMBER_BYTES_MIN: usize = 4 + 1 + 4 + 4 + 8 + 8 + 4 + 4;

/// Bytes of the value of `record`, or slightly more.
pub fn size_bytes(record: &GroupRecord) -> usize {
    let option = |text: Option<&str>| 5 + text.map_or(0, str::len);
    let member = |m: &MemberRecord| {
        let strings = m.member_id.as_str().len() + m.client_id.len() + m.client_host.len();
        let instance = option(m.instance_id.as_ref().map(InstanceId::as_str));
        MEMBER_BYTES_MIN + strings + instance + m.subscription.len() + m.assignment.len()
    };
    let head = option(record.protocol_type.as_deref())
        + option(record.protocol.as_deref())
        + option(record.leader.as_ref().map(MemberId::as_str));
    4 + head + 8 + 4 + record.members.iter().map(member).sum::<usize>()
}

/// The value to store.
pub fn encode(record: &GroupRecord) -> Bytes {
    let mut out = Encoder::new(KIND, VERSION, size_bytes(record));
    out.i32(record.generation);
    out.option(record.protocol_type.as_deref(), Encoder::str);
    out.option(record.protocol.as_deref(), Encoder::str);
    out.option(record.leader.as_ref().map(MemberId::as_str), Encoder::str);
    out.i64(record.state_since_ms);
    out.count(record.members.len());
    for member in &record.members {
        encode_member(member, &mut out);
    }
    out.finish()
}

fn encode_member(member: &MemberRecord, out: &mut Encoder) {
    out.str(member.member_id.as_str());
    let instance = member.instance_id.as_ref().map(InstanceId::as_str);
    out.option(instance, Encoder::str);
    out.str(&member.client_id);
    out.str(&member.client_host);
    out.u64(millis(member.session_timeout));
    out.u64(millis(member.rebalance_timeout));
    out.bytes(&member.subscription);
    out.bytes(&member.assignment);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a stored value.
pub fn decode(stored: &Bytes) -> Result<GroupRecord, StoredError> {
    let mut body = Decoder::open(stored, KIND, VERSION)?;
    let mut record = GroupRecord {
        generation: body.i32()?,
        protocol_type: body.option(Decoder::string)?,
        protocol: body.option(Decoder::string)?,
        leader: body.option(Decoder::string)?.as_deref().map(MemberId::new),
        state_since_ms: body.i64()?,
        members: Vec::new(),
    };
    let count = body.count(MEMBER_BYTES_MIN)?;
    record.members.reserve_exact(count);
    for _ in 0..count {
        record.members.push(decode_member(&mut body)?);
    }
    body.finish()?;
    Ok(record)
}

fn decode_member(body: &mut Decoder) -> Result<MemberRecord, StoredError> {
    Ok(MemberRecord {
        member_id: MemberId::new(&body.string()?),
        instance_id: body
            .option(Decoder::string)?
            .as_deref()
            .map(InstanceId::new),
        client_id: body.string()?,
        client_host: body.string()?,
        session_timeout: Duration::from_millis(body.u64()?),
        rebalance_timeout: Duration::from_millis(body.u64()?),
        subscription: body.bytes()?,
        assignment: body.bytes()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member() -> impl Strategy<Value = MemberRecord> {
        let names = (".{0,9}", proptest::option::of(".{0,9}"), ".{0,9}", ".{0,9}");
        let bytes = prop::collection::vec(any::<u8>(), 0..20);
        (names, any::<[u32; 2]>(), bytes.clone(), bytes).prop_map(
            |((member, instance, client, host), times, subscription, assignment)| MemberRecord {
                member_id: MemberId::new(&member),
                instance_id: instance.as_deref().map(InstanceId::new),
                client_id: client,
                client_host: host,
                session_timeout: Duration::from_millis(times[0].into()),
                rebalance_timeout: Duration::from_millis(times[1].into()),
                subscription: subscription.into(),
                assignment: assignment.into(),
            },
        )
    }

    fn record() -> impl Strategy<Value = GroupRecord> {
        let option = || proptest::option::of(".{0,9}");
        let members = prop::collection::vec(member(), 0..5);
        (
            any::<i32>(),
            option(),
            option(),
            option(),
            any::<i64>(),
            members,
        )
            .prop_map(
                |(generation, protocol_type, protocol, leader, state_since_ms, members)| {
                    GroupRecord {
                        generation,
                        protocol_type,
                        protocol,
                        leader: leader.as_deref().map(MemberId::new),
                        state_since_ms,
                        members,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back(record in record()) {
            let stored = encode(&record);
            prop_assert!(stored.len() <= size_bytes(&record) + 7);
            prop_assert_eq!(decode(&stored), Ok(record));
        }

        #[test]
        fn a_changed_bit_or_a_cut_is_noticed(record in record(), bit in any::<prop::sample::Index>(),
                                             cut in any::<prop::sample::Index>()) {
            let stored = encode(&record);
            let mut flipped = stored.to_vec();
            let bit = bit.index(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&flipped.into()).is_err());
            prop_assert!(decode(&stored.slice(..cut.index(stored.len()))).is_err());
        }

        #[test]
        fn no_body_makes_it_panic(words in prop::collection::vec(any::<i32>(), 0..30)) {
            let mut out = Encoder::new(KIND, VERSION, 0);
            for word in words {
                out.i32(word);
            }
            let _ = decode(&out.finish());
        }
    }

    #[test]
    fn a_forged_count_reserves_nothing() {
        let mut out = Encoder::new(KIND, VERSION, 0);
        out.i32(1);
        for _ in 0..3 {
            out.option(None::<()>, |_, ()| {});
        }
        out.i64(0);
        out.count(usize::MAX);
        assert_eq!(decode(&out.finish()), Err(StoredError::Truncated));
    }

    /// Values written by version 1 must be readable for ever.
    #[test]
    fn version_1_is_still_read() {
        let mut golden = vec![0xa9, 1, 1];
        golden.extend([0, 0, 0, 7]); // generation
        golden.extend([1, 0, 0, 0, 1, b'c']); // protocol type
        golden.push(0); // protocol
        golden.extend([1, 0, 0, 0, 1, b'm']); // leader
        golden.extend([0, 0, 0, 0, 0, 0, 0, 9]); // state since
        golden.extend([0, 0, 0, 1]); // members
        golden.extend([0, 0, 0, 1, b'm', 0]); // member id, no instance id
        golden.extend([0, 0, 0, 1, b'i', 0, 0, 0, 0]); // client id, client host
        golden.extend([0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 8]); // time-outs
        golden.extend([0, 0, 0, 1, b's', 0, 0, 0, 0]); // subscription, assignment
        let crc = crc32c::crc32c(&golden).to_be_bytes();
        golden.extend(crc);
        let expected = GroupRecord {
            generation: 7,
            protocol_type: Some("c".to_owned()),
            protocol: None,
            leader: Some("m".into()),
            state_since_ms: 9,
            members: vec![MemberRecord {
                member_id: "m".into(),
                instance_id: None,
                client_id: "i".to_owned(),
                client_host: String::new(),
                session_timeout: Duration::from_millis(6),
                rebalance_timeout: Duration::from_millis(8),
                subscription: "s".into(),
                assignment: Bytes::new(),
            }],
        };
        assert_eq!(encode(&expected), golden);
        assert_eq!(decode(&golden.into()), Ok(expected));
    }
}

//! Reads the topics out of a consumer's subscription.

use std::collections::BTreeSet;

/// Topics that a consumer's metadata names, or `None` where it is not the consumer protocol's.
///
/// Only what all versions of `ConsumerProtocolSubscription` begin with is read: version (int16), then
/// an array (int32 count) of strings (int16 length). Kafka's coordinator does the same, so that it
/// need not know newer versions.
pub fn topics(metadata: &[u8]) -> Option<BTreeSet<String>> {
    let mut rest = metadata;
    let version = i16::from_be_bytes(take(&mut rest)?);
    if version < 0 {
        return None;
    }
    let count = i32::from_be_bytes(take(&mut rest)?);
    // Nothing is reserved by this foreign count: the loop ends where the bytes end.
    let mut topics = BTreeSet::new();
    for _ in 0..count.max(0) {
        let length = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
        let (name, tail) = rest.split_at_checked(length)?;
        topics.insert(std::str::from_utf8(name).ok()?.to_owned());
        rest = tail;
    }
    Some(topics)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
pub(crate) fn encode_for_test(topics: &[&str]) -> bytes::Bytes {
    let mut out = vec![0, 3];
    out.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        out.extend((topic.len() as i16).to_be_bytes());
        out.extend(topic.as_bytes());
    }
    out.extend((-1i32).to_be_bytes());
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_found_and_later_fields_ignored() {
        let found = topics(&encode_for_test(&["b", "a", "b"])).expect("well formed");
        assert_eq!(found, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn every_cut_or_forged_subscription_is_none() {
        let whole = encode_for_test(&["topic"]);
        for end in 0..whole.len() - 4 {
            assert_eq!(topics(&whole[..end]), None, "cut at {end}");
        }
        assert_eq!(topics(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None);
        assert_eq!(topics(&[0xff, 0xff, 0, 0, 0, 0]), None);
        assert_eq!(topics(&[0, 0, 0, 0, 0, 1, 0xff, 0xff]), None);
        assert_eq!(topics(&[0, 0, 0, 0, 0, 1, 0, 1, 0xff]), None);
    }
}

//! Bugs on purpose, to try the history checker with: a passing run of a checker that misses one proves nothing.
//!
//! Each is one `if` at the place whose promise it breaks. Without the feature `seeded-bugs`, which no default build has,
//! [`is`] is the constant `false` and nothing of them is compiled. With it, `ALLUVIUM_TEST_SEEDED_BUG` names the one that is on.
//! Which histories give each away is in `tests/tests/seeded_bugs`.

/// All names, with the rule that is broken. Each is cited where it is.
pub const ALL: [(&str, &str); 36] = [
    ("ack-before-durable", "acknowledged when appended"),
    (
        "batch-not-uploaded",
        "an appended batch is forgotten on its way to object storage",
    ),
    (
        "cleaning-loses-latest",
        "key compaction removes the latest record of a key too",
    ),
    (
        "commits-out-of-order",
        "segments are committed as their uploads end",
    ),
    (
        "deadline-not-checked",
        "F3: a session counts as alive until somebody says otherwise",
    ),
    (
        "dropped-before-published",
        "commits are dropped once anything of their partitions is published",
    ),
    (
        "duplicate-acked-early",
        "a duplicate is acknowledged before its original is durable",
    ),
    (
        "duplicate-at-log-end",
        "a duplicate is answered with the end of the log",
    ),
    (
        "epoch-not-raised",
        "a partition is opened under the leader epoch of before",
    ),
    (
        "fence-dropped",
        "F1: the commit does not compare the session",
    ),
    (
        "first-commits-not-read",
        "a take-over reads only the last commit log that a partition names",
    ),
    (
        "follower-tells-end",
        "a follower tells the end of the log without asking the leader",
    ),
    (
        "frozen-not-checked",
        "F2: partitions are taken from a broker that lives",
    ),
    (
        "group-offsets-forgotten",
        "a new group coordinator begins without committed offsets",
    ),
    (
        "last-commit-not-read",
        "a take-over overlooks the last commit",
    ),
    (
        "latest-is-log-end",
        "ListOffsets(latest) counts what is not durable",
    ),
    (
        "moved-though-wal-set",
        "a partition is opened without the write-ahead log that holds records of it",
    ),
    (
        "null-published-as-empty",
        "a null key is empty in table files",
    ),
    (
        "object-name-reused",
        "all segments of a session have one name",
    ),
    (
        "offsets-answered-early",
        "an offset commit is answered before it is stored",
    ),
    (
        "producer-state-lost",
        "a take-over forgets the idempotent producers",
    ),
    (
        "producers-not-published",
        "a manifest forgets the idempotent producers",
    ),
    (
        "published-too-far",
        "a manifest says that one more offset is published",
    ),
    (
        "reader-skips-batch",
        "a read of several batches leaves one out",
    ),
    (
        "record-not-published",
        "the first record of each batch is in no table file",
    ),
    (
        "replay-drops-last",
        "the last batch of the write-ahead log is not replayed",
    ),
    ("serve-above-watermark", "readers see what is not durable"),
    (
        "stale-generation-accepted",
        "a commit of an old generation is stored",
    ),
    (
        "synced-before-written",
        "W1: the write-ahead log confirms, then writes",
    ),
    (
        "tail-closed-too-early",
        "a hand-over leaves out the last commit",
    ),
    (
        "tombstone-removed-early",
        "key compaction removes tombstones at once",
    ),
    (
        "topic-id-reused",
        "a topic has the id of the one of that name before it",
    ),
    (
        "two-coordinators",
        "a group coordinator goes on when another has been named",
    ),
    (
        "unknown-commit-assumed",
        "F4: a commit without an answer counts as done",
    ),
    (
        "wal-given-back-early",
        "W3: the write-ahead log gives files back before their batches are committed",
    ),
    (
        "watermark-over-not-durable",
        "the high watermark moves over what is not durable",
    ),
];

/// Whether the bug `name` is on.
#[cfg(not(feature = "seeded-bugs"))]
#[inline(always)]
pub const fn is(_name: &str) -> bool {
    false
}

/// Whether the bug `name` is on.
#[cfg(feature = "seeded-bugs")]
pub fn is(name: &str) -> bool {
    use std::sync::OnceLock;
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    let known = |name: &str| ALL.iter().any(|(known, _)| *known == name);
    debug_assert!(known(name), "{name} is not on the list");
    let chosen = CHOSEN.get_or_init(|| {
        let chosen = std::env::var("ALLUVIUM_TEST_SEEDED_BUG").ok();
        let chosen = chosen.filter(|chosen| !chosen.is_empty());
        let wrong = chosen.as_deref().filter(|chosen| !known(chosen));
        assert!(
            wrong.is_none(),
            "ALLUVIUM_TEST_SEEDED_BUG names no bug: {wrong:?}"
        );
        chosen
    });
    chosen.as_deref() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_build_has_none_on() {
        assert_eq!(
            ALL.iter().filter(|(name, _)| is(name)).count(),
            usize::from(
                cfg!(feature = "seeded-bugs") && std::env::var("ALLUVIUM_TEST_SEEDED_BUG").is_ok()
            )
        );
    }
}

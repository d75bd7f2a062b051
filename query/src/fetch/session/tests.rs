use alluvium_common::offset::LogOffsets;
use alluvium_common::rand::SeededRandom;

use super::super::PartitionRead;
use super::*;
use crate::error::ReadError;
use crate::log_reader::LogRead;
use crate::testing::{EPOCH, offset};

fn key(name: &str) -> (TopicKey, PartitionIndex) {
    (TopicKey::Name(name.into()), PartitionIndex(0))
}

fn partition(name: &str, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        topic: TopicKey::Name(name.into()),
        partition: PartitionIndex(0),
        fetch_offset,
        current_leader_epoch: None,
        last_fetched_epoch: None,
        max_bytes: 1 << 20,
    }
}

fn got(size_bytes: usize, high_watermark: i64) -> Result<PartitionRead, FetchError> {
    Ok(PartitionRead {
        read: LogRead {
            size_bytes,
            offsets: LogOffsets {
                high_watermark: offset(high_watermark),
                ..LogOffsets::default()
            },
            ..LogRead::default()
        },
        leader_epoch: EPOCH,
        diverging: None,
        preferred: None,
    })
}

fn failed() -> Result<PartitionRead, FetchError> {
    Err(FetchError::Read(ReadError::UnknownPartition))
}

fn sessions(config: SessionConfig) -> FetchSessions {
    FetchSessions::new(config, SeededRandom::new(1), ReadMetrics::default())
}

fn with(id: i32, epoch: i32) -> SessionRequest {
    SessionRequest {
        id,
        epoch,
        by_topic_ids: false,
    }
}

/// One request and its answer: the session, and the topics that the answer names.
fn fetch(
    sessions: &FetchSessions,
    request: SessionRequest,
    partitions: Vec<FetchPartition>,
    forgotten: &[&str],
    results: impl Fn(&FetchPartition) -> Result<PartitionRead, FetchError>,
) -> Result<(i32, Vec<String>), SessionError> {
    let forgotten: Vec<_> = forgotten.iter().map(|name| key(name)).collect();
    let (context, partitions) = sessions.begin(request, partitions, &forgotten)?;
    let results = partitions.iter().map(results).collect();
    let (id, responses) = sessions.finish(context, partitions, results)?;
    let names = responses.iter().map(|response| match &response.topic {
        TopicKey::Name(name) => name.to_string(),
        TopicKey::Id(id) => id.to_string(),
    });
    Ok((id, names.collect()))
}

fn name(partition: &FetchPartition) -> &str {
    match &partition.topic {
        TopicKey::Name(name) => name,
        TopicKey::Id(_) => "by id",
    }
}

/// A session over partitions, all empty with high watermark 5.
fn begin(sessions: &FetchSessions, names: &[&str]) -> i32 {
    let partitions = names.iter().map(|name| partition(name, 0)).collect();
    let (id, told) = fetch(sessions, with(0, 0), partitions, &[], |_| got(0, 5)).expect("full");
    assert_eq!(told, names, "a full answer names all");
    id
}

#[test]
fn without_a_session_everything_is_answered() {
    let sessions = sessions(SessionConfig::default());
    let answer = fetch(
        &sessions,
        SessionRequest::NONE,
        vec![partition("a", 0)],
        &[],
        |_| got(0, 0),
    );
    assert_eq!(answer, Ok((NO_SESSION, vec!["a".into()])));
}

#[test]
fn only_news_is_answered() {
    let sessions = sessions(SessionConfig::default());
    let id = begin(&sessions, &["a", "b", "c"]);
    let nothing = |epoch, results: &dyn Fn(&FetchPartition) -> _| {
        fetch(&sessions, with(id, epoch), vec![], &[], results)
            .expect("in order")
            .1
    };
    assert_eq!(nothing(1, &|_| got(0, 5)), [""; 0]);
    assert_eq!(
        nothing(2, &|p| got(if name(p) == "a" { 9 } else { 0 }, 5)),
        ["a"]
    );
    assert_eq!(
        nothing(3, &|p| got(0, if name(p) == "b" { 6 } else { 5 })),
        ["b"],
        "moved high watermark"
    );
    assert_eq!(
        nothing(4, &|p| if name(p) == "c" {
            failed()
        } else {
            got(0, if name(p) == "b" { 6 } else { 5 })
        }),
        ["c"]
    );
    assert_eq!(
        nothing(5, &|p| if name(p) == "c" {
            failed()
        } else {
            got(0, if name(p) == "b" { 6 } else { 5 })
        }),
        ["c"],
        "errors are always news"
    );
    assert_eq!(
        nothing(6, &|p| got(0, if name(p) == "b" { 6 } else { 5 })),
        ["c"],
        "so is their end"
    );
    assert_eq!(
        nothing(7, &|p| got(0, if name(p) == "b" { 6 } else { 5 })),
        [""; 0]
    );
}

#[test]
fn partitions_are_added_changed_and_forgotten() {
    let sessions = sessions(SessionConfig::default());
    let id = begin(&sessions, &["a", "b"]);
    let changes = vec![partition("b", 40), partition("c", 7)];
    let (context, partitions) = sessions
        .begin(with(id, 1), changes, &[key("a")])
        .expect("in order");
    let offsets: Vec<_> = partitions
        .iter()
        .map(|p| (name(p), p.fetch_offset))
        .collect();
    assert_eq!(offsets, [("b", 40), ("c", 7)]);
    let results = vec![got(0, 5), got(0, 5)];
    let (_, responses) = sessions
        .finish(context, partitions, results)
        .expect("in order");
    assert_eq!(
        responses.len(),
        1,
        "the new one is told, though it has nothing"
    );
    let answer = fetch(&sessions, with(id, 2), vec![], &["b", "c"], |_| got(0, 5));
    assert_eq!(answer, Ok((NO_SESSION, vec![])), "an empty session ends");
    let again = fetch(&sessions, with(id, 3), vec![], &[], |_| got(0, 5));
    assert_eq!(again, Err(SessionError::IdNotFound));
}

#[test]
fn partitions_with_records_go_to_the_end() {
    let sessions = sessions(SessionConfig::default());
    let id = begin(&sessions, &["a", "b", "c"]);
    let order = |epoch| {
        let (context, partitions) = sessions
            .begin(with(id, epoch), vec![], &[])
            .expect("in order");
        let names: String = partitions.iter().map(name).collect();
        let results = partitions
            .iter()
            .map(|p| got(usize::from(name(p) == "a"), 5))
            .collect();
        sessions
            .finish(context, partitions, results)
            .expect("in order");
        names
    };
    assert_eq!([order(1), order(2)], ["abc", "bca"]);
}

#[test]
fn wrong_epochs_ids_and_kinds_are_refused() {
    let sessions = sessions(SessionConfig::default());
    let id = begin(&sessions, &["a"]);
    let try_with =
        |request| fetch(&sessions, request, vec![], &[], |_| got(0, 5)).map(|(id, _)| id);
    assert_eq!(try_with(with(id, 2)), Err(SessionError::InvalidEpoch));
    assert_eq!(try_with(with(id + 1, 1)), Err(SessionError::IdNotFound));
    let by_topic_ids = true;
    let ids = SessionRequest {
        by_topic_ids,
        ..with(id, 1)
    };
    assert_eq!(try_with(ids), Err(SessionError::TopicId));
    assert_eq!(
        try_with(with(id, 1)),
        Ok(id),
        "a refused request changes nothing"
    );
    assert_eq!(
        try_with(with(id, 1)),
        Err(SessionError::InvalidEpoch),
        "each epoch once"
    );
}

#[test]
fn an_answer_overtaken_by_the_next_request_is_dropped() {
    let sessions = sessions(SessionConfig::default());
    let id = begin(&sessions, &["a"]);
    let (context, partitions) = sessions.begin(with(id, 1), vec![], &[]).expect("in order");
    sessions.begin(with(id, 2), vec![], &[]).expect("in order");
    let late = sessions.finish(context, partitions, vec![got(9, 9)]);
    assert_eq!(late.err(), Some(SessionError::InvalidEpoch));
}

#[test]
fn a_final_or_initial_epoch_ends_the_session() {
    let sessions = sessions(SessionConfig::default());
    for epoch in [FINAL_EPOCH, INITIAL_EPOCH] {
        let id = begin(&sessions, &["a"]);
        let (next, _) = fetch(
            &sessions,
            with(id, epoch),
            vec![partition("a", 0)],
            &[],
            |_| got(0, 5),
        )
        .expect("always possible");
        assert_eq!(next == NO_SESSION, epoch == FINAL_EPOCH);
        let old = fetch(&sessions, with(id, 1), vec![], &[], |_| got(0, 5));
        assert_eq!(old, Err(SessionError::IdNotFound));
    }
}

#[test]
fn epochs_wrap_to_one() {
    assert_eq!(
        [next_epoch(0), next_epoch(1), next_epoch(i32::MAX)],
        [1, 2, 1]
    );
}

#[tokio::test(start_paused = true)]
async fn room_is_made_by_the_unused_then_by_the_small() {
    let sessions = sessions(SessionConfig {
        slots: 2,
        ..SessionConfig::default()
    });
    let touch =
        |id, epoch| fetch(&sessions, with(id, epoch), vec![], &[], |_| got(0, 5)).map(|(id, _)| id);
    let small = begin(&sessions, &["a"]);
    let large = begin(&sessions, &["a", "b", "c"]);
    assert_eq!(
        begin(&sessions, &["a", "b"]),
        NO_SESSION,
        "the others are too young"
    );
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(touch(small, 1), Ok(small));
    assert_eq!(touch(large, 1), Ok(large));
    tokio::time::advance(Duration::from_secs(21)).await;
    assert_eq!(
        begin(&sessions, &["z"]),
        NO_SESSION,
        "no larger than the smallest"
    );
    let middle = begin(&sessions, &["a", "b"]);
    assert_ne!(middle, NO_SESSION);
    assert_eq!(touch(small, 2), Err(SessionError::IdNotFound));
    tokio::time::advance(Duration::from_secs(121)).await;
    assert_eq!(touch(large, 2), Ok(large));
    assert_ne!(begin(&sessions, &["a"]), NO_SESSION);
    assert_eq!(
        touch(middle, 1),
        Err(SessionError::IdNotFound),
        "unused for long"
    );
}

#[test]
fn partitions_of_all_sessions_are_bounded() {
    let sessions = sessions(SessionConfig {
        partitions_max: 4,
        ..SessionConfig::default()
    });
    let first = begin(&sessions, &["a", "b", "c"]);
    assert_ne!(first, NO_SESSION);
    assert_eq!(begin(&sessions, &["a", "b"]), NO_SESSION);
    assert_ne!(begin(&sessions, &["a"]), NO_SESSION);
    let grown = fetch(
        &sessions,
        with(first, 1),
        vec![partition("d", 0)],
        &[],
        |_| got(0, 5),
    );
    assert_eq!(grown, Err(SessionError::IdNotFound));
    assert_ne!(
        begin(&sessions, &["a", "b", "c"]),
        NO_SESSION,
        "its room is free again"
    );
}

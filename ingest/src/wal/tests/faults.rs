//! Disks that fail, fill up and decay; files of other versions.

use std::sync::Arc;

use alluvium_common::epoch::BrokerEpoch;
use alluvium_common::error::Outcome;
use alluvium_segment::FormatError;
use alluvium_segment::wal_frame::{FILE_HEADER_BYTES, FrameHeader, encode_head};

use super::super::sim_disk::SimDisk;
use super::super::{WalError, WalOpenError, WalState};
use super::{Told, append, batch, eventually, open, options, tp, try_open};

/// A log with `count` synced batches of 100 bytes, each in a group of its own, and its first file.
fn written(seed: u64, count: i64) -> (SimDisk, String) {
    let disk = SimDisk::new(seed);
    let told = Arc::new(Told::default());
    let (wal, _) = open(&disk, 1);
    for id in 0..count {
        append(&wal, &told, &batch(id, 100));
        told.wait(id as usize + 1);
    }
    drop(wal);
    let names = disk.names();
    let first = names.iter().find(|name| name.starts_with("wal-"));
    (disk.clone(), first.expect("one is in use").clone())
}

const FRAME_BYTES: usize = 240;

#[test]
fn frames_are_as_long_as_these_tests_assume() {
    let bytes = alluvium_segment::wal_frame::frame_bytes(batch(0, 100).size_bytes());
    assert_eq!(bytes, FRAME_BYTES);
}

#[test]
fn a_torn_tail_is_cut() {
    let (disk, file) = written(1, 5);
    let last = FILE_HEADER_BYTES + 4 * FRAME_BYTES;
    disk.damage(&file, |bytes| bytes[last + 100] ^= 1);
    let (_wal, recovery) = open(&disk, 2);
    assert_eq!(recovery.frame_count(), 4);
    assert_eq!(recovery.end(), Some((file.as_str(), last as u64)));
}

/// What is behind a torn write may be anything, a client's imitation of a later frame included: it
/// does not know the salt.
#[test]
fn records_that_look_like_frames_prove_nothing() {
    let (disk, file) = written(9, 3);
    let torn = FILE_HEADER_BYTES + 2 * FRAME_BYTES;
    let imitation = FrameHeader {
        broker_epoch: BrokerEpoch(1),
        sequence: 4,
        synced_position: u64::MAX,
        tp: tp(),
        batch_bytes: batch(3, 100).size_bytes() as u32,
    };
    disk.damage(&file, |bytes| {
        bytes[torn + 100] ^= 1;
        for (place, salt) in bytes[torn + FRAME_BYTES..]
            .chunks_exact_mut(FRAME_BYTES)
            .zip(0..)
        {
            let forged = batch(3, 100);
            let head = encode_head(salt, &imitation, &forged);
            place[..head.len()].copy_from_slice(&head);
            place[head.len()..head.len() + forged.body().len()].copy_from_slice(forged.body());
        }
    });
    let (_wal, recovery) = open(&disk, 2);
    assert_eq!(recovery.frame_count(), 2);
}

#[test]
fn damage_in_the_middle_is_corruption() {
    for frame in 0..4 {
        let (disk, file) = written(2, 5);
        let at = FILE_HEADER_BYTES + frame * FRAME_BYTES;
        disk.damage(&file, |bytes| bytes[at + 100] ^= 1);
        let before = disk.names();
        match try_open(&disk, 2).map(drop) {
            Err(WalOpenError::Corrupt {
                file: named,
                position,
                ..
            }) => assert_eq!((named, position), (file, at as u64)),
            other => panic!("{frame}: {other:?}"),
        }
        assert_eq!(disk.names(), before);
    }
}

#[test]
fn a_missing_file_in_the_middle_is_corruption() {
    let (disk, _) = written(3, 200);
    let used: Vec<_> = disk
        .names()
        .into_iter()
        .filter(|name| name.starts_with("wal-"))
        .collect();
    assert!(used.len() >= 3, "{used:?}");
    let second = used[1].clone();
    super::super::WalDisk::remove(&disk, &second).expect("healthy");
    assert!(matches!(
        try_open(&disk, 2),
        Err(WalOpenError::Corrupt { .. })
    ));
}

#[test]
fn files_of_a_newer_version_are_refused() {
    let (disk, file) = written(4, 1);
    disk.damage(&file, |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
    });
    match try_open(&disk, 2).map(drop) {
        Err(WalOpenError::File { source, .. }) => {
            assert!(matches!(source, FormatError::Version { found: 2, .. }));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_a_failed_sync_nothing_is_confirmed_again() {
    let disk = SimDisk::new(5);
    let told = Arc::new(Told::default());
    let (wal, _) = open(&disk, 1);
    append(&wal, &told, &batch(0, 100));
    told.wait(1);
    let names = disk.names();
    let file = names.iter().find(|name| name.starts_with("wal-"));
    let file = file.expect("one is in use");
    disk.fail_syncs(file, 1);
    append(&wal, &told, &batch(1, 100));
    told.wait(2);
    assert_eq!(wal.state(), WalState::Failed);
    let syncs = disk.sync_count(file);
    let slot = append(&wal, &told, &batch(2, 100));
    told.wait(3);
    assert_eq!(*told.synced.lock(), [0]);
    let outcomes: Vec<_> = told
        .failed
        .lock()
        .iter()
        .map(|(id, error)| (*id, error.outcome()))
        .collect();
    assert_eq!(outcomes, [(1, Outcome::Unknown), (2, Outcome::NotDone)]);
    // The file is not touched again.
    assert_eq!(disk.sync_count(file), syncs);
    assert!(slot.read().is_err() && !slot.is_written());
    drop((wal, slot));
    let (_wal, recovery) = open(&disk.crash(), 2);
    let frames = recovery.all();
    assert_eq!(frames[0].batch, batch(0, 100));
    assert!(frames.len() <= 2);
}

#[test]
fn a_full_disk_refuses_cleanly_and_recovers_when_space_is_given_back() {
    let disk = SimDisk::new(6);
    disk.set_space(Some(60 << 10));
    let told = Arc::new(Told::default());
    let (wal, _) = open(&disk, 1);
    let mut slots = Vec::new();
    while wal.state() == WalState::Accepting {
        slots.push(append(&wal, &told, &batch(slots.len() as i64, 1_000)));
        told.wait(slots.len());
    }
    assert_eq!(wal.state(), WalState::Full);
    // Whoever appends all the same is refused without harm, once the last bytes are used.
    while told.failed.lock().is_empty() {
        slots.push(append(&wal, &told, &batch(slots.len() as i64, 1_000)));
        told.wait(slots.len());
    }
    let refused = told.failed.lock()[0].1.clone();
    assert!(matches!(refused, WalError::NoSpace(_)), "{refused}");
    assert_eq!(refused.outcome(), Outcome::NotDone);
    slots.drain(..).for_each(|slot| slot.release());
    eventually(|| wal.state() == WalState::Accepting);
    let before = told.synced.lock().len() + told.failed.lock().len();
    append(&wal, &told, &batch(1_000, 1_000));
    told.wait(before + 1);
    assert_eq!(told.synced.lock().last(), Some(&1_000));
}

#[test]
fn the_limit_holds() {
    let disk = SimDisk::new(7);
    let told = Arc::new(Told::default());
    let (wal, _) = open(&disk, 1);
    for id in 0..1_000 {
        append(&wal, &told, &batch(id, 1_000));
    }
    told.wait(1_000);
    assert!(!told.failed.lock().is_empty());
    assert!(wal.pinned_bytes() <= options().limit_bytes);
    assert!(wal.is_pressed());
}

#[test]
fn foreign_files_are_left_alone() {
    let (disk, _) = written(8, 1);
    super::super::WalDisk::create(&disk, "notes.txt").expect("healthy");
    super::super::WalDisk::create(&disk, "new-00000000000000ff.tmp").expect("healthy");
    let (_wal, _recovery) = open(&disk, 2);
    assert!(disk.names().contains(&"notes.txt".to_owned()));
    assert!(
        !disk
            .names()
            .contains(&"new-00000000000000ff.tmp".to_owned())
    );
}

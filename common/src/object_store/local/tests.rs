//! What the local folder promises beyond the conformance suite.

use std::fs::File;
use std::io;
use std::path::{Path as FsPath, PathBuf};

use ::object_store::path::Path;
use ::object_store::{ObjectStoreExt, PutMode, PutOptions};
use parking_lot::Mutex;

use super::*;
use crate::object_store::{Failure, FailureKind, conformance};
use crate::rand::SeededRandom;

fn open(root: &FsPath, seed: u64) -> LocalFolder {
    LocalFolder::open(root, SeededRandom::new(seed).as_ref()).expect("open")
}

/// Every file below `root`, relative to it, locks of living stores aside.
fn files(root: &FsPath) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        // A folder may be on its way out.
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name() != Some("lock".as_ref()) {
                found.push(path.strip_prefix(root).expect("below").to_path_buf());
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn conforms() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = open(folder.path(), 1);
    let exceptions = conformance::Exceptions {
        honours_create: true,
    };
    conformance::run(&store, "suite", exceptions).await;
}

#[tokio::test]
async fn an_object_is_a_plain_file_and_nothing_else_stays() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = open(&folder.path().join("new/nested"), 1);
    let name = Path::from("a/b/c");
    store.put(&name, "content".into()).await.expect("put");
    let created = store.put_opts(&name, "other".into(), PutMode::Create.into());
    created.await.expect_err("it is there");
    let mut aborted = store.put_multipart(&name).await.expect("begin");
    aborted.abort().await.expect("abort");
    assert_eq!(
        files(&folder.path().join("new/nested")),
        [PathBuf::from("a/b/c")]
    );
    // What is still unfinished goes with the store.
    let forgotten = store.put_multipart(&name).await.expect("begin");
    drop((store, aborted, forgotten));
    let tidied = async {
        while files(folder.path()) != [PathBuf::from("new/nested/a/b/c")] {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(30);
    let tidied = tokio::time::timeout(patience, tidied).await;
    tidied.expect("unfinished files are removed");
}

#[tokio::test]
async fn opening_removes_what_the_dead_left_and_spares_the_living() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let living = open(folder.path(), 1);
    let mut upload = living
        .put_multipart(&Path::from("kept"))
        .await
        .expect("begin");
    let dead = folder.path().join(STAGING).join("dead");
    std::fs::create_dir_all(&dead).expect("make a left-over");
    std::fs::write(dead.join("lock"), b"").expect("its lock");
    std::fs::write(dead.join("0000"), b"half an object").expect("its file");
    let half_dead = folder.path().join(STAGING).join("without-lock");
    std::fs::create_dir_all(&half_dead).expect("make another");

    let other = open(folder.path(), 2);
    assert!(!dead.exists() && !half_dead.exists(), "left-overs are gone");
    upload.put_part("part".into()).await.expect("part");
    upload.complete().await.expect("the living one goes on");
    let read = other.get(&Path::from("kept")).await.expect("get");
    assert_eq!(read.bytes().await.expect("body"), "part");
}

#[tokio::test]
async fn unfinished_files_are_neither_listed_nor_reachable() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = open(folder.path(), 1);
    let mut upload = store.put_multipart(&Path::from("x")).await.expect("begin");
    upload.put_part("part".into()).await.expect("part");
    let listed: Vec<_> = store.list(None).try_collect().await.expect("list");
    assert_eq!(listed, []);
    let level = store.list_with_delimiter(None).await.expect("level");
    assert!(level.common_prefixes.is_empty() && level.objects.is_empty());
    let inside = Path::from(format!("{STAGING}/x"));
    store.get(&inside).await.expect_err("not reachable");
    store
        .put(&inside, "x".into())
        .await
        .expect_err("not usable");
}

#[tokio::test]
async fn a_missing_part_does_not_become_zeros() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = open(folder.path(), 1);
    let name = Path::from("x");
    let mut upload = store.put_multipart(&name).await.expect("begin");
    drop(upload.put_part("first".into())); // never awaited, so never written
    let second = upload.put_part("second".into());
    second.await.expect("second part");
    upload.complete().await.expect_err("a part is missing");
    store.get(&name).await.expect_err("nothing is visible");
    upload.complete().await.expect_err("it has ended");
}

#[tokio::test]
async fn a_folder_removed_by_hand_is_made_again() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = open(folder.path(), 1);
    let name = Path::from("a/b/c");
    store.put(&name, "1".into()).await.expect("put");
    std::fs::remove_dir_all(folder.path().join("a")).expect("tidy up");
    store.put(&name, "2".into()).await.expect("put again");
    let read = store.get(&name).await.expect("get").bytes().await;
    assert_eq!(read.expect("body"), "2");
}

#[tokio::test]
async fn a_file_in_the_way_is_a_plain_error() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = open(folder.path(), 1);
    store.put(&Path::from("a"), "x".into()).await.expect("put");
    let below = store.put(&Path::from("a/b"), "x".into()).await;
    let message = below.expect_err("a is a file").to_string();
    assert!(message.contains("a/b"), "{message}");
    let read = store.get(&Path::from("a/b")).await;
    assert!(matches!(read, Err(Error::NotFound { .. })), "{read:?}");
}

#[tokio::test]
async fn what_a_folder_cannot_do_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = open(folder.path(), 1);
    let update = PutMode::Update(::object_store::UpdateVersion {
        e_tag: Some("1".into()),
        version: None,
    });
    let refused = store
        .put_opts(&Path::from("a"), "x".into(), PutOptions::from(update))
        .await
        .expect_err("no compare and replace");
    assert_eq!(Failure::of(&refused).kind, FailureKind::Unsupported);
}

#[tokio::test]
async fn a_full_disk_is_told_as_such() {
    // A write to /dev/full is the one honest ENOSPC that needs no mount.
    let full = std::fs::File::options().write(true).open("/dev/full");
    let Ok(mut full) = full else {
        return; // not on this system
    };
    let error = std::io::Write::write_all(&mut full, b"x").expect_err("always full");
    let error = errors::writing(FsPath::new("/data"), &Path::from("a/b"), error);
    let failure = Failure::of(&error);
    assert_eq!(failure.kind, FailureKind::NoSpace);
    assert_eq!(failure.outcome, crate::error::Outcome::NotDone);
    for word in ["a/b", "/data", "no space"] {
        assert!(failure.message.contains(word), "{}", failure.message);
    }
}

/// Watches the syncs: what was synced, whether the object's name was there already, and which sync
/// fails, counted from 1.
#[derive(Debug)]
struct Watch {
    object: PathBuf,
    seen: Mutex<Vec<(String, bool)>>,
    fails_at: Option<usize>,
}

impl Watch {
    fn note(&self, what: String) -> io::Result<()> {
        let mut seen = self.seen.lock();
        seen.push((what, self.object.exists()));
        match self.fails_at == Some(seen.len()) {
            true => Err(io::Error::other("the disk failed")),
            false => Ok(()),
        }
    }
}

impl place::Sync for Watch {
    fn file(&self, file: &File) -> io::Result<()> {
        self.note(format!("file of {} bytes", file.metadata()?.len()))
    }

    fn step(&self, file: &File) -> io::Result<()> {
        self.note(format!("step to {} bytes", file.metadata()?.len()))
    }

    fn folder(&self, folder: &FsPath) -> io::Result<()> {
        let root = self.object.ancestors().nth(3).expect("<root>/a/b/c");
        let below = folder.strip_prefix(root).expect("below the root");
        self.note(format!("folder {:?}", below))
    }
}

/// A store in `root`, and what watches it.
fn watched(root: &FsPath, fails_at: Option<usize>) -> (LocalFolder, Arc<Watch>) {
    let root = root.canonicalize().expect("root");
    let watch = Arc::new(Watch {
        object: root.join("a/b/c"),
        seen: Mutex::default(),
        fails_at,
    });
    let sync = Arc::clone(&watch) as Arc<dyn place::Sync>;
    let random = SeededRandom::new(1);
    let store = LocalFolder::open_with(&root, random.as_ref(), sync).expect("open");
    (store, watch)
}

async fn watched_put(
    root: &FsPath,
    fails_at: Option<usize>,
    mode: PutMode,
) -> (Result<PutResult>, Vec<(String, bool)>) {
    let (store, watch) = watched(root, fails_at);
    let name = Path::from("a/b/c");
    let result = store.put_opts(&name, "content".into(), mode.into()).await;
    let seen = watch.seen.lock().clone();
    (result, seen)
}

#[tokio::test]
async fn a_put_counts_when_everything_is_synced_in_order() {
    for mode in [PutMode::Overwrite, PutMode::Create] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (put, seen) = watched_put(folder.path(), None, mode).await;
        put.expect("put");
        let expected = [
            ("file of 7 bytes".to_owned(), false),
            ("folder \"\"".to_owned(), false),
            ("folder \"a\"".to_owned(), false),
            ("folder \"a/b\"".to_owned(), true),
        ];
        assert_eq!(seen, expected, "and the name appears only before the last");
    }
}

#[tokio::test]
async fn a_failed_sync_fails_the_put() {
    for fails_at in 1..=4 {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (put, _) = watched_put(folder.path(), Some(fails_at), PutMode::Overwrite).await;
        let failure = Failure::of(&put.expect_err("not durable"));
        assert!(!failure.is_retryable(), "{failure}");
        assert!(failure.message.contains("the disk failed"), "{failure}");
        let visible = folder.path().join("a/b/c").exists();
        assert_eq!(visible, fails_at == 4, "no name before its bytes are safe");
    }
}

const MIB: usize = 1 << 20;

/// Four steps and a bit, in chunks that end elsewhere.
fn large() -> (PutPayload, Vec<u8>) {
    let content: Vec<u8> = (0..4 * MIB + 5).map(|at| (at / 7) as u8).collect();
    let cuts = [0, 3, 10, 3 * MIB + 1, 3 * MIB + 2, content.len()];
    let chunks = cuts
        .windows(2)
        .map(|cut| Bytes::copy_from_slice(&content[cut[0]..cut[1]]));
    (chunks.collect(), content)
}

/// Bytes on the disk after each sync of the file.
fn synced_bytes(watch: &Watch) -> Vec<usize> {
    let seen = watch.seen.lock();
    let words = seen
        .iter()
        .map(|(what, _)| what.split(' ').collect::<Vec<_>>());
    let of_file = words.filter(|words| matches!(words[0], "step" | "file"));
    of_file
        .map(|words| words[2].parse().expect("bytes"))
        .collect()
}

#[tokio::test]
async fn a_large_file_is_synced_in_steps() {
    let name = Path::from("a/b/c");
    for in_parts in [false, true] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (store, watch) = watched(folder.path(), None);
        let (payload, content) = large();
        if in_parts {
            let mut upload = store.put_multipart(&name).await.expect("begins");
            let (first, second) = content.split_at(2 * MIB + 3);
            for part in [first, second] {
                upload.put_part(part.to_vec().into()).await.expect("put");
            }
            upload.complete().await.expect("completes");
        } else {
            store.put(&name, payload).await.expect("put");
        }
        let read = store.get(&name).await.expect("is there");
        assert_eq!(read.bytes().await.expect("whole"), content);
        let synced = synced_bytes(&watch);
        assert!(synced.len() >= 3, "{synced:?}");
        let starts = std::iter::once(0).chain(synced.iter().copied());
        for (from, to) in starts.zip(&synced) {
            assert!(to - from < 3 * MIB, "{synced:?}, in parts: {in_parts}");
        }
    }
}

#[tokio::test]
async fn a_step_that_fails_fails_the_file() {
    let name = Path::from("a/b/c");
    for in_parts in [false, true] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (store, _) = watched(folder.path(), Some(2));
        let failed = if in_parts {
            let mut upload = store.put_multipart(&name).await.expect("begins");
            let part = upload.put_part(large().0).await;
            upload.complete().await.expect_err("a part is missing");
            part.expect_err("a step")
        } else {
            store.put(&name, large().0).await.expect_err("a step")
        };
        assert!(!Failure::of(&failed).is_retryable(), "{failed}");
        assert!(!folder.path().join("a/b/c").exists());
    }
}

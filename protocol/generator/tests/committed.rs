//! The committed messages are what the generator makes of the committed schemas.

#![allow(
    clippy::unwrap_used,
    reason = "a failed helper of a test is a failed test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn committed_messages_are_up_to_date() {
    let protocol = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let committed = protocol.join("src/messages");
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("messages");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).unwrap();
    }
    let files = alluvium_protocol_generator::generate(&protocol.join("schemas")).unwrap();
    alluvium_protocol_generator::format_all(&files, &fresh).unwrap();

    assert_eq!(names(&committed), names(&fresh));
    for name in names(&fresh) {
        let same = fs::read(committed.join(&name)).unwrap() == fs::read(fresh.join(&name)).unwrap();
        assert!(
            same,
            "{name} is not what the generator writes: cargo run -p alluvium-protocol-generator"
        );
    }
}

//! Objects that nothing refers to.

use std::collections::HashSet;

use alluvium_common::object_store::ObjectStore;
use alluvium_segment::object_key::{
    FOLDS_PREFIX, MANIFESTS_PREFIX, ObjectKey, SEGMENTS_PREFIX, TABLES_PREFIX,
};
use futures::TryStreamExt;
use object_store::path::Path;

use super::Report;

const FOLDERS: [&str; 4] = [
    SEGMENTS_PREFIX,
    FOLDS_PREFIX,
    TABLES_PREFIX,
    MANIFESTS_PREFIX,
];

/// Counts them.
pub(super) async fn count(
    objects: &dyn ObjectStore,
    referenced: &HashSet<ObjectKey>,
    report: &mut Report,
) -> anyhow::Result<()> {
    for prefix in FOLDERS {
        let prefix = Path::from(prefix);
        let mut listing = objects.list(Some(&prefix));
        while let Some(object) = listing.try_next().await? {
            let known = ObjectKey::parse(object.location.as_ref())
                .is_ok_and(|key| referenced.contains(&key));
            if !known {
                report.orphans += 1;
                report.orphan_bytes += object.size;
            }
        }
    }
    Ok(())
}

//! The write path: WAL, batching, upload, commit, acknowledge.

//! Memory and disk in front of the object store; the tail that ingest leaves for readers.

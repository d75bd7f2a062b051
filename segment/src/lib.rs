//! Every stored byte layout and object name; no I/O, no clock, no tasks.

pub mod record_batch;

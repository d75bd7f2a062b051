//! Every stored byte layout and object name; no I/O.

//! Background work: merge, publish, clean, retain, delete.

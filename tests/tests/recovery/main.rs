//! An acknowledged record is read back once, in order, at the offset that the producer was told, whatever happens to
//! the broker: killed under load, killed while it starts, stopped, beside a bucket that fails. And what is damaged on
//! disk is an error with a place, never a silence.

mod damage;
mod kills;
mod published;
mod retries;
mod uploads;
mod world;

//! The coordinator over a store in memory, with tokio's time paused: time passes only when everybody
//! waits for it.

mod faults;
mod groups;
mod restart;
mod world;

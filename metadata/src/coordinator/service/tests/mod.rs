//! The coordinator over a store in memory, with tokio's time paused: time passes only when everybody
//! waits for it.

mod cluster;
mod faults;
mod groups;
mod migration;
mod moves;
mod opening;
mod random_moves;
mod restart;
mod world;

//! Crashes, and what is found afterwards.

mod model;
mod scenarios;

//! Writing table files, for all who do: what is published, and what is written anew.

mod builder;
mod entry;
mod output;
mod upload;

pub use builder::TableBuilder;
#[cfg(test)]
pub use entry::table_entry;
pub use output::{TableOutput, TableOutputSeams};
pub use upload::PART_BYTES;

//! The `alluvium` command with bugs on purpose, for the tests that prove that the history checker finds them. Built with
//! the feature `seeded-bugs` only.

use std::process::ExitCode;

fn main() -> ExitCode {
    alluvium::cli::main()
}

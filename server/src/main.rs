//! The `alluvium` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    alluvium::cli::main()
}

//! The `breakwater` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == breakwater::cluster::GUARD_COMMAND) {
        return breakwater::cluster::guard_main(arguments);
    }
    ExitCode::SUCCESS
}

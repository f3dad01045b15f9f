//! The `breakwater` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The guard of a private Postgres is this same binary under a name that no help shows; it must do nothing but guard.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == breakwater::cluster::GUARD_COMMAND) {
        return breakwater::cluster::guard_main(arguments);
    }
    // The one provider of cryptography, named before anything could choose another. It is only an error when there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    breakwater::cli::run(std::env::args_os())
}

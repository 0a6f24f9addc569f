//! Parse and dispatch.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    callscope::cli::run(std::env::args_os().collect(), std::env::vars_os())
}

//! `callscope classify`.

use std::io::{Read, Write};

use clap::Args;

use crate::domain::failure::classify;

/// What is read of standard input; the rules look at less.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Args, Debug)]
pub struct ClassifyArgs {
    /// The HTTP status code of the answer; by default the one that the text states
    #[arg(long, value_name = "CODE")]
    status: Option<i32>,

    /// The part of the gateway that failed, or the class of its exception
    #[arg(long, value_name = "TEXT")]
    error_type: Option<String>,
}

/// Reads a text from standard input and prints its class as JSON.
pub fn run(args: &ClassifyArgs) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let failure = classify(Some(&text), args.status, args.error_type.as_deref());
    let json = serde_json::to_string_pretty(&failure)?;
    Ok(writeln!(std::io::stdout(), "{json}")?)
}

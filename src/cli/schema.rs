//! `callscope schema`: prints the SDL.

use std::io::Write;

pub fn run() -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(crate::graphql::schema::sdl().as_bytes())?)
}

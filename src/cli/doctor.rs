//! `callscope doctor`: checks the setup and prints the findings.

use anyhow::bail;
use clap::Args;

use crate::app::Config;
use crate::config::effective::Setting;
use crate::doctor::{CheckInput, Level, run_checks};

#[derive(Args, Debug)]
#[command(after_help = "\
Changes nothing. Lines start with ✓ for good, ! for doubtful and ✗ for wrong. The exit code is 1 if
anything is wrong.")]
pub struct DoctorArgs {
    #[command(flatten)]
    config: Config,
}

pub fn run(args: DoctorArgs, settings: &[Setting]) -> anyhow::Result<()> {
    let config = args.config;
    println!("Settings that are not the default:");
    for setting in settings.iter().filter(|setting| setting.origin != "default") {
        println!("    {} = {}, from {}", setting.name, setting.value, setting.origin);
    }
    let input = CheckInput {
        database: &config.database,
        server: &config.server,
        access: &config.access,
        settings,
        clock: &config.clock,
    };
    let findings = super::block_on(async { Ok(run_checks(&input).await) })?;
    for finding in &findings {
        println!("{finding}");
    }
    let wrong = findings.iter().filter(|finding| finding.level == Level::Error).count();
    match wrong {
        0 => Ok(()),
        1 => bail!("1 check failed"),
        _ => bail!("{wrong} checks failed"),
    }
}

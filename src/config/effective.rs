//! The effective settings of a command, and the origin of each.

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::secret_file::is_secret;

/// One setting.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The flag without its dashes.
    pub name: String,
    /// `(secret)` for a secret.
    pub value: String,
    /// A flag, a variable, a file, or the default.
    pub origin: String,
    pub is_secret: bool,
    pub is_flag: bool,
}

/// The settings of the current subcommand, in the order of its help. `origins` has the origins of values
/// from files and other variables.
pub fn settings(
    command: &Command,
    found: &ArgMatches,
    origins: &BTreeMap<String, String>,
) -> Vec<Setting> {
    let Some((name, found)) = found.subcommand() else { return vec![] };
    let Some(command) = command.find_subcommand(name) else { return vec![] };
    let configurable = command.get_arguments().filter(|arg| arg.get_env().is_some());
    configurable
        .filter_map(|arg| {
            let (id, name) = (arg.get_id().as_str(), arg.get_long()?);
            let values = found.try_get_raw(id).ok().flatten();
            let text = |values: clap::parser::RawValues<'_>| {
                values
                    .map(|value| value.to_string_lossy().into_owned())
                    .collect::<Vec<_>>()
                    .join(",")
            };
            let source = found.value_source(id);
            let origin = match source {
                Some(ValueSource::CommandLine) => format!("--{name}"),
                Some(ValueSource::EnvVariable) => arg.get_env()?.to_string_lossy().into_owned(),
                _ => origins.get(name).cloned().unwrap_or_else(|| "default".to_owned()),
            };
            Some(Setting {
                name: name.to_owned(),
                value: match (is_secret(arg), values) {
                    (_, None) => "(none)".to_owned(),
                    (true, Some(_)) => "(secret)".to_owned(),
                    (false, Some(values)) => text(values),
                },
                origin,
                is_secret: is_secret(arg),
                is_flag: source == Some(ValueSource::CommandLine),
            })
        })
        .collect()
}

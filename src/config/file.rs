//! `callscope.toml`: a flat table whose keys are the names of the flags. Its values become the
//! defaults of the flags, so that a flag or an environment variable overrides them and each
//! setting is defined, checked and documented in one place. Unknown settings are errors.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Command;

const DEFAULT_FILE: &str = "callscope.toml";
const FILE_VARIABLE: &str = "CALLSCOPE_CONFIG";

/// A configuration that cannot be used; the text says which line or variable and why.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {file}: {source}")]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{file}: {source}")]
    Parse { file: PathBuf, source: Box<toml::de::Error> },
    #[error(
        "{file}: unknown setting `{key}`; the settings are the flags of `callscope --help` without the dashes"
    )]
    UnknownKey { file: PathBuf, key: String },
    #[error("{file}: `{key}` must be a text, a number or true/false")]
    Shape { file: PathBuf, key: String },
    #[error("unknown environment variable {0}; `callscope serve --help` names those that are read")]
    UnknownVariable(String),
}

/// `command` with the defaults that the configuration file and `DATABASE_URL` give.
pub fn with_defaults(
    command: Command,
    args: &[OsString],
    environment: &BTreeMap<String, OsString>,
) -> Result<Command, ConfigError> {
    refuse_unknown_variables(&command, environment)?;
    let mut defaults = match config_file(args, environment) {
        Some(file) => read(&file, &command)?,
        None => BTreeMap::new(),
    };
    if let Some(url) = environment.get("DATABASE_URL").and_then(|url| url.to_str()) {
        defaults.insert("database-url".into(), url.into());
    }
    Ok(apply(command, &defaults))
}

/// The file that was named, or `callscope.toml` where there is one.
fn config_file(args: &[OsString], environment: &BTreeMap<String, OsString>) -> Option<PathBuf> {
    let flag = args.iter().enumerate().find_map(|(index, arg)| {
        let arg = arg.to_str()?;
        match arg.strip_prefix("--config=") {
            Some(file) => Some(PathBuf::from(file)),
            None if arg == "--config" => args.get(index + 1).map(PathBuf::from),
            None => None,
        }
    });
    flag.or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from))
        .or_else(|| Path::new(DEFAULT_FILE).exists().then(|| DEFAULT_FILE.into()))
}

fn read(file: &Path, command: &Command) -> Result<BTreeMap<String, String>, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Read { file: file.into(), source })?;
    let table: toml::Table = text
        .parse()
        .map_err(|source| ConfigError::Parse { file: file.into(), source: Box::new(source) })?;
    let known: BTreeSet<&str> = every_arg(command)
        .filter(|arg| arg.get_env().is_some())
        .filter_map(clap::Arg::get_long)
        .collect();
    table
        .into_iter()
        .map(|(key, value)| {
            if !known.contains(key.as_str()) || key == "config" {
                return Err(ConfigError::UnknownKey { file: file.into(), key });
            }
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                _ => return Err(ConfigError::Shape { file: file.into(), key }),
            };
            Ok((key, text))
        })
        .collect()
}

fn refuse_unknown_variables(
    command: &Command,
    environment: &BTreeMap<String, OsString>,
) -> Result<(), ConfigError> {
    let known: BTreeSet<&OsStr> = every_arg(command).filter_map(clap::Arg::get_env).collect();
    let unknown = environment.keys().find(|name| {
        name.starts_with("CALLSCOPE_")
            && !name.starts_with("CALLSCOPE_TEST_")
            && !known.contains(OsStr::new(name))
    });
    unknown.map_or(Ok(()), |name| Err(ConfigError::UnknownVariable(name.clone())))
}

/// The flags whose values are secrets.
pub fn secret_settings(command: &Command) -> Vec<String> {
    let secret = |arg: &&clap::Arg| arg.is_hide_env_values_set();
    every_arg(command).filter(secret).filter_map(|arg| arg.get_long()).map(str::to_owned).collect()
}

/// The arguments of a command and of all commands below it.
fn every_arg(command: &Command) -> Box<dyn Iterator<Item = &clap::Arg> + '_> {
    Box::new(command.get_arguments().chain(command.get_subcommands().flat_map(every_arg)))
}

fn apply(mut command: Command, defaults: &BTreeMap<String, String>) -> Command {
    let settable: Vec<(clap::Id, String)> = command
        .get_arguments()
        .filter_map(|arg| {
            let value = defaults.get(arg.get_long()?)?;
            Some((arg.get_id().clone(), value.clone()))
        })
        .collect();
    for (id, value) in settable {
        command = command.mut_arg(id, |arg| arg.default_value(value));
    }
    let below: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    below
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |sub| apply(sub, defaults)))
}

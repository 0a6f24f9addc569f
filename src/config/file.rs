//! `callscope.toml`: a flat table with the names of the flags as keys. Its values become the defaults of
//! the flags, so that a flag or an environment variable overrides them, and each setting is defined in
//! one place. Unknown settings are errors.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Command;

use super::secret_file;

const PREFIX: &str = "CALLSCOPE_";
const DEFAULT_FILE: &str = "callscope.toml";
const FILE_VARIABLE: &str = "CALLSCOPE_CONFIG";

/// Conventional variables of other programs, and the settings that they set.
const CONVENTIONAL_VARIABLES: [(&str, &str); 2] =
    [("DATABASE_URL", "database-url"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp-endpoint")];

/// An invalid configuration, with the line or variable and the reason.
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
    InvalidType { file: PathBuf, key: String },
    #[error("both {plain} and {variable} are set; leave one of them out")]
    Conflict { plain: String, variable: String },
    #[error("cannot read {file}, which {variable} names: {source}")]
    Secret { variable: String, file: PathBuf, source: std::io::Error },
    #[error("unknown environment variable {0}; `callscope serve --help` lists the known ones")]
    UnknownVariable(String),
}

/// A command with the defaults from files and conventional variables, and the origin of each of these
/// settings.
pub struct Configured {
    pub command: Command,
    pub origins: BTreeMap<String, String>,
}

/// Adds the defaults from the configuration file, secret files and conventional variables to `command`.
pub fn with_defaults(
    command: Command,
    args: &[OsString],
    environment: &BTreeMap<String, OsString>,
) -> Result<Configured, ConfigError> {
    let command = prefix_variables(command);
    reject_unknown_variables(&command, environment)?;
    let (mut defaults, mut origins) = (BTreeMap::new(), BTreeMap::new());
    let mut set = |setting: String, value: String, origin: String| {
        defaults.insert(setting.clone(), value);
        origins.insert(setting, origin);
    };
    if let Some(file) = config_file(args, environment) {
        for (setting, value) in read(&file, &command)? {
            set(setting, value, file.display().to_string());
        }
    }
    for (variable, setting) in CONVENTIONAL_VARIABLES {
        if let Some(value) = environment.get(variable).and_then(|value| value.to_str()) {
            set(setting.into(), value.into(), variable.into());
        }
    }
    for secret in secret_file::read(&command, environment)? {
        set(secret.setting, secret.value, secret.variable);
    }
    Ok(Configured { command: set_defaults(command, &defaults), origins })
}

/// The given configuration file, or `callscope.toml` if it exists.
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
                _ => return Err(ConfigError::InvalidType { file: file.into(), key }),
            };
            Ok((key, text))
        })
        .collect()
}

fn reject_unknown_variables(
    command: &Command,
    environment: &BTreeMap<String, OsString>,
) -> Result<(), ConfigError> {
    let known: BTreeSet<&OsStr> = every_arg(command).filter_map(clap::Arg::get_env).collect();
    let files: BTreeSet<String> = every_arg(command).filter_map(secret_file::variable).collect();
    let unknown = environment.keys().find(|name| {
        name.starts_with(PREFIX)
            && !name.starts_with("CALLSCOPE_TEST_")
            && !known.contains(OsStr::new(name))
            && !files.contains(*name)
    });
    unknown.map_or(Ok(()), |name| Err(ConfigError::UnknownVariable(name.clone())))
}

/// The arguments of a command and of its subcommands.
pub fn every_arg(command: &Command) -> Box<dyn Iterator<Item = &clap::Arg> + '_> {
    Box::new(command.get_arguments().chain(command.get_subcommands().flat_map(every_arg)))
}

/// Adds the prefix to the variable of each setting.
fn prefix_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_env().map(OsStr::to_string_lossy) {
        Some(name) => {
            let variable = format!("{PREFIX}{name}");
            arg.env(variable)
        }
        None => arg,
    });
    command.mut_subcommands(prefix_variables)
}

fn set_defaults(command: Command, defaults: &BTreeMap<String, String>) -> Command {
    let command = command.mut_args(|arg| {
        let Some(value) = arg.get_long().and_then(|name| defaults.get(name)) else { return arg };
        // The help shows defaults.
        let is_secret = secret_file::is_secret(&arg);
        arg.default_value(value.clone()).hide_default_value(is_secret)
    });
    command.mut_subcommands(|command| set_defaults(command, defaults))
}

//! Secrets from files: `CALLSCOPE_X_FILE` names the file of the secret setting `CALLSCOPE_X`, as with
//! systemd credentials and container secrets. Other processes can read the environment of a process, but
//! not such a file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Command};

use super::file::{ConfigError, every_arg};

/// A value from a file, and the variable with the name of the file.
pub(super) struct FromFile {
    pub setting: String,
    pub value: String,
    pub variable: String,
}

/// Whether a setting is secret.
pub fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

/// The `_FILE` variable of a secret setting.
pub(super) fn variable(arg: &Arg) -> Option<String> {
    let variable = arg.get_env().filter(|_| is_secret(arg))?;
    Some(format!("{}_FILE", variable.to_str()?))
}

/// Reads the secret files that the environment names.
pub(super) fn read(
    command: &Command,
    environment: &BTreeMap<String, OsString>,
) -> Result<Vec<FromFile>, ConfigError> {
    let mut found = vec![];
    for arg in every_arg(command) {
        let (Some(variable), Some(setting)) = (variable(arg), arg.get_long()) else { continue };
        let Some(file) = environment.get(&variable).map(PathBuf::from) else { continue };
        let plain = variable.trim_end_matches("_FILE").to_owned();
        if environment.contains_key(&plain) {
            return Err(ConfigError::Conflict { plain, variable });
        }
        let value = std::fs::read_to_string(&file).map_err(|source| ConfigError::Secret {
            variable: variable.clone(),
            file,
            source,
        })?;
        let value = value.strip_suffix('\n').unwrap_or(&value);
        let value = value.strip_suffix('\r').unwrap_or(value).to_owned();
        found.push(FromFile { setting: setting.to_owned(), value, variable });
    }
    Ok(found)
}

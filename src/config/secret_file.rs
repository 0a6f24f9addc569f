//! Secrets by file: each setting that is secret may be given as `CALLSCOPE_X_FILE`, the name of a
//! file that holds it, as systemd's credentials and containers' secrets do. The environment of a
//! process is told to whoever may look at it; such a file is not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Command};

use super::file::{ConfigError, every_arg};

/// A value that came from a file, and the variable that named the file.
pub(super) struct FromFile {
    pub setting: String,
    pub value: String,
    pub variable: String,
}

/// Whether the values of a setting must not be shown.
pub fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

/// The variable that may name a file with the value of a secret setting.
pub(super) fn variable(arg: &Arg) -> Option<String> {
    let variable = arg.get_env().filter(|_| is_secret(arg))?;
    Some(format!("{}_FILE", variable.to_str()?))
}

/// What the files hold that the environment names.
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
            return Err(ConfigError::Twice { plain, variable });
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

//! Tokens and their scopes, and the scopes of clients without a token.

use clap::Args;

use super::{Secret, u32_in};
use crate::domain::access::{Caller, Scopes};

/// Minimum length of a token, in characters.
const MIN_TOKEN_LENGTH: usize = 16;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Access")]
pub struct AccessConfig {
    /// Tokens, separated by spaces or line ends, each NAME:SCOPES:TOKEN, such as
    /// `grafana:METRICS:… page:READ,READ_REQUESTS:…`. Tokens of `callscope token create` are valid as well.
    /// Scopes: READ, READ_REQUESTS, REVEAL_KEYS, RECORD, DELETE, METRICS, or ALL
    #[arg(
        long,
        env,
        value_name = "TOKENS",
        default_value = "",
        value_parser = parse_tokens,
        hide_env_values = true
    )]
    pub tokens: ConfiguredTokens,

    /// The scopes of clients without a token, comma-separated; "" for none. By default all scopes on a
    /// loopback address without any tokens, otherwise none
    #[arg(long, env, value_name = "SCOPES")]
    pub anonymous_scopes: Option<Scopes>,

    /// Hours until a browser session ends and the token must be entered again
    #[arg(long, env, value_name = "H", default_value_t = 12, value_parser = u32_in(1..=8760))]
    pub session_hours: u32,
}

/// The tokens of the configuration.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredTokens(pub Vec<ConfiguredToken>);

#[derive(Clone, Debug)]
pub struct ConfiguredToken {
    pub name: String,
    pub scopes: Scopes,
    pub token: Secret,
}

fn parse_tokens(text: &str) -> Result<ConfiguredTokens, String> {
    let tokens: Vec<_> = text.split_whitespace().map(parse_token).collect::<Result<_, _>>()?;
    let twice = tokens.iter().enumerate().find(|(index, token)| {
        tokens[..*index].iter().any(|other| other.name == token.name || other.token == token.token)
    });
    match twice {
        Some((_, token)) => Err(format!("the name or the token of `{}` is used twice", token.name)),
        None => Ok(ConfiguredTokens(tokens)),
    }
}

/// Errors contain the name of the token, never the token.
fn parse_token(text: &str) -> Result<ConfiguredToken, String> {
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(scopes), Some(token)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("a token is written NAME:SCOPES:TOKEN".to_owned());
    };
    check_token_name(name)?;
    let scopes = scopes.parse().map_err(|error| format!("`{name}`: {error}"))?;
    if token.chars().count() < MIN_TOKEN_LENGTH {
        return Err(format!("the token of `{name}` is shorter than {MIN_TOKEN_LENGTH} characters"));
    }
    Ok(ConfiguredToken { name: name.to_owned(), scopes, token: Secret::new(token) })
}

/// Rejects names that are ambiguous in a log.
pub fn check_token_name(name: &str) -> Result<(), String> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) || name == Caller::ANONYMOUS {
        return Err(
            "the name of a token has 1 to 64 letters, digits, dots, hyphens or underscores, and is \
             not `anonymous`"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_and_never_shown() {
        let tokens =
            parse_tokens("a:READ,METRICS:sixteen-letters:x\n b:ALL:another-sixteen!").unwrap();
        assert_eq!(tokens.0.len(), 2);
        assert_eq!(tokens.0[0].scopes.to_string(), "READ,METRICS");
        assert_eq!(tokens.0[0].token.expose(), "sixteen-letters:x");
        assert!(!format!("{tokens:?}").contains("sixteen"));
        for invalid in [
            "hunter2hunter2hunter2",
            "a:READ:hunter2",
            "a:WRITE:hunter2hunter2hunter2",
            "anonymous:READ:hunter2hunter2hunter2",
            "a b:READ:hunter2hunter2hunter2",
            "a:READ:hunter2hunter2hunter2 a:READ:hunter3hunter3hunter3",
            "a:READ:hunter2hunter2hunter2 b:READ:hunter2hunter2hunter2",
        ] {
            let error = parse_tokens(invalid).unwrap_err();
            assert!(!error.contains("hunter"), "{error}");
        }
    }
}

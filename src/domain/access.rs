//! Callers and their scopes.

use std::fmt;
use std::str::FromStr;

/// A permission of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessScope {
    Read,
    ReadRequests,
    RevealKeys,
    Record,
    Delete,
    Metrics,
}

impl AccessScope {
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::ReadRequests,
        Self::RevealKeys,
        Self::Record,
        Self::Delete,
        Self::Metrics,
    ];

    /// The name in configuration, schema and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::ReadRequests => "READ_REQUESTS",
            Self::RevealKeys => "REVEAL_KEYS",
            Self::Record => "RECORD",
            Self::Delete => "DELETE",
            Self::Metrics => "METRICS",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes: `READ,METRICS`, or `ALL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    pub const NONE: Self = Self(0);

    pub fn all() -> Self {
        AccessScope::ALL.into_iter().collect()
    }

    pub fn has(self, scope: AccessScope) -> bool {
        self.0 & scope.bit() != 0
    }

    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    pub fn iter(self) -> impl Iterator<Item = AccessScope> {
        AccessScope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<AccessScope> for Scopes {
    fn from_iter<T: IntoIterator<Item = AccessScope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(AccessScope::name).collect();
        formatter.write_str(&names.join(","))
    }
}

impl FromStr for Scopes {
    type Err = String;

    /// Names separated by commas; an empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.into_iter().try_fold(Self::NONE, |scopes, name| {
            if name.eq_ignore_ascii_case("ALL") {
                return Ok(Self::all());
            }
            let known =
                AccessScope::ALL.into_iter().find(|known| name.eq_ignore_ascii_case(known.name()));
            let known =
                known.ok_or_else(|| format!("`{name}` is no scope: use {} or ALL", Self::all()))?;
            Ok(Self(scopes.0 | known.bit()))
        })
    }
}

/// The sender of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The name of its token, which the audit log records; `anonymous` without a token.
    pub name: String,
    pub scopes: Scopes,
}

impl Caller {
    /// The name of callers without a token; reserved.
    pub const ANONYMOUS: &str = "anonymous";

    pub fn anonymous(scopes: Scopes) -> Self {
        Self { name: Self::ANONYMOUS.to_owned(), scopes }
    }

    pub fn is_anonymous(&self) -> bool {
        self.name == Self::ANONYMOUS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_they_are_written() {
        let scopes: Scopes = " read, METRICS ,".parse().unwrap();
        assert_eq!(scopes.to_string(), "READ,METRICS");
        assert!(scopes.has(AccessScope::Read) && !scopes.has(AccessScope::RevealKeys));
        assert_eq!(Scopes::all().to_string().parse(), Ok(Scopes::all()));
        assert_eq!("all".parse(), Ok(Scopes::all()));
        assert_eq!("".parse(), Ok(Scopes::NONE));
        assert!("READ,WRITE".parse::<Scopes>().unwrap_err().contains("`WRITE` is no scope"));
    }
}

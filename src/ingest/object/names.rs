//! How the fields of a row's object are called, where they belong and what they may hold.

use crate::domain::excerpt::excerpt;
use crate::domain::record::UNPARSED_REQUEST;
use crate::ingest::source::Kind;
use crate::ingest::source::row::REQUEST;

/// How the fields of an object are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// As the columns of the tables.
    Columns,
    /// Thus, or as the inputs of the GraphQL mutations, whose values are taken as strictly as there.
    Both,
    /// As the `error` of a call.
    OfError,
}

/// What a field may hold.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// What a column may hold.
    Column,
    /// Neither needed nor kept.
    Skipped,
    Instant,
    Text,
    Whole,
    Json,
    Error,
}

/// The places of a row's fields are those of its columns; what is not kept has none.
pub(super) const SKIPPED: usize = 7;

const CALL_NAMES: [(&str, usize, Form); 6] = [
    ("timestamp", 0, Form::Instant),
    ("model", 1, Form::Text),
    ("key", 2, Form::Text),
    ("statusCode", 4, Form::Whole),
    ("latencyMs", 5, Form::Whole),
    ("error", 6, Form::Error),
];

const ERROR_NAMES: [(&str, usize, Form); 7] = [
    ("errorType", 3, Form::Text),
    ("message", 4, Form::Text),
    ("errorCode", 5, Form::Whole),
    ("request", 6, Form::Json),
    ("timestamp", 0, Form::Instant),
    ("model", 1, Form::Text),
    ("key", 2, Form::Text),
];

/// The place of a field, what it may hold, and its name for a fault.
pub(super) type Place = (usize, Form, &'static str);

impl Names {
    /// The place of a field of a row of this kind, or why there is none.
    pub(super) fn place(self, kind: Kind, name: &str) -> Result<Place, String> {
        let inputs: &[_] = match (self, kind) {
            (Names::Columns, _) => &[],
            (Names::Both, Kind::Calls) => &CALL_NAMES,
            (Names::Both, Kind::Errors) => &ERROR_NAMES,
            (Names::OfError, _) => &ERROR_NAMES[..4],
        };
        if let Some((name, place, form)) = inputs.iter().find(|(known, ..)| *known == name) {
            return Ok((*place, *form, name));
        }
        let unknown = |own: &str| format!("unknown field `{}`; {own}", excerpt(name));
        let listed = || inputs.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
        match (self, kind.column(name)) {
            (Names::OfError, _) => Err(unknown(&format!("it has {}", listed()))),
            (_, Some((REQUEST, name))) => Ok((REQUEST, Form::Json, name)),
            (_, Some((place, name))) => Ok((place, Form::Column, name)),
            (_, None) if name == "id" => Ok((SKIPPED, Form::Skipped, "id")),
            (Names::Columns, None) if kind == Kind::Errors && name == UNPARSED_REQUEST => {
                Ok((REQUEST, Form::Column, UNPARSED_REQUEST))
            }
            (Names::Columns, None) => Err(kind.unknown(&excerpt(name))),
            (Names::Both, None) => Err(unknown(&format!("{} have {}", kind.name(), listed()))),
        }
    }
}

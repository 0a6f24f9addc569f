//! The field names of a row's object, their positions and types.

use crate::domain::excerpt::excerpt;
use crate::domain::record::UNPARSED_REQUEST;
use crate::ingest::source::Kind;
use crate::ingest::source::row::REQUEST;

/// The accepted field names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The column names of the tables.
    Columns,
    /// Column names and the names of the GraphQL inputs. Values of the latter are validated as in GraphQL.
    Both,
    /// The fields of the `error` of a call.
    OfError,
}

/// The type of a field.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// A text or a number, as in a column.
    Column,
    /// Ignored.
    Skipped,
    Instant,
    Text,
    Whole,
    Json,
    Error,
}

/// The position of ignored fields. Others have the position of their column.
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

/// The position, type and name of a field.
pub(super) type FieldSpec = (usize, Form, &'static str);

impl Names {
    /// The field of this name in a row of this kind, or why it is unknown.
    pub(super) fn find(self, kind: Kind, name: &str) -> Result<FieldSpec, String> {
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

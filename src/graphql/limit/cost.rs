//! What each field costs. **A new field that sends SQL, returns a list or takes arguments needs a line
//! here**; a test fails until it has one.
//!
//! Every field costs 1 for each item of the lists around it, about 0.4 µs of a processor. A field that
//! is more than a column costs `each` in addition, and what the request does once for all items, most
//! of all a SQL statement, costs `once`, and as much as the rows cost that the statement reads
//! ([`super::reads`]).

use super::reads::{Part, Reads, Span};

/// What a field costs beside its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// For the selection, however many items select it: a statement that a loader sends for all.
    pub once: u64,
    /// For each item that selects it.
    pub each: u64,
    pub items: Items,
    /// What is read for the selection beside that.
    pub reads: Reads,
}

impl Weight {
    const fn reading(self, reads: Reads) -> Self {
        Self { reads, ..self }
    }
}

/// How often the children of a field are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    One,
    /// About so many times, since nothing tells.
    About(u64),
    /// As many times as `first` or `last` says. In a connection, `nodes` and `edges` are.
    Page,
    /// As many times as the page of the connection has items.
    OfPage,
    /// As many times as the list of this argument is long.
    Given(&'static str),
}

/// A few rows by an index.
const LOOKUP: u64 = 200;
/// A page of a list.
const PAGE: u64 = 500;
/// A statement that counts or groups, without the rows that it reads.
const STATEMENT: u64 = 500;
/// Some dozen statements, or a deletion that takes as long as a request may.
const WORK: u64 = 10_000;
/// The class of a text: 10 to 20 µs, 250 µs for the longest.
const CLASSIFY: u64 = 50;
/// A field of the schema itself, which is no column: some µs.
const INTROSPECTION: u64 = 20;

const fn of(once: u64, each: u64, items: Items) -> Weight {
    Weight { once, each, items, reads: Reads::Nothing }
}

const fn once(once: u64) -> Weight {
    of(once, 0, Items::One)
}

const fn items(items: Items) -> Weight {
    of(0, 0, items)
}

/// From this cost on, 20 ms of a processor, an operation is heavy: its statements leave a connection to
/// the database to those of other operations.
pub const HEAVY: u64 = 50_000;

/// Of a field that is not listed.
pub const PLAIN: Weight = once(0);

use Items::{About, Given, OfPage, One, Page};

/// By the type and the field. A statement for all items of a list is paid once and a little for each
/// item, of which it has a branch or a row.
pub const WEIGHTS: &[(&str, &str, Weight)] = &[
    ("Query", "usageStats", PLAIN.reading(Reads::Usage)),
    ("Query", "callDetails", of(PAGE, 0, Page).reading(Reads::Calls)),
    ("Query", "callSeries", of(STATEMENT, 0, About(300)).reading(Reads::Series)),
    ("Query", "callGroups", of(STATEMENT, 0, Page).reading(Reads::Groups)),
    ("Query", "errorLookup", once(LOOKUP)),
    ("Query", "classifyFailure", once(CLASSIFY)),
    ("Query", "errorLogs", of(PAGE, 0, Page).reading(Reads::ErrorLogs)),
    ("Query", "errorGroups", of(STATEMENT, 0, Page).reading(Reads::ErrorGroups)),
    ("Query", "apiKeys", of(PAGE, 0, Page)),
    ("Query", "apiKey", once(LOOKUP)),
    ("Query", "node", once(LOOKUP)),
    ("Query", "nodes", of(LOOKUP, 0, Given("ids"))),
    ("Query", "deletion", once(LOOKUP)),
    ("Query", "serverInfo", PLAIN),
    ("Query", "viewer", PLAIN),
    // A dozen short statements.
    ("ServerInfo", "storage", once(WORK)),
    ("Viewer", "scopes", items(About(6))),
    // For each event.
    ("Subscription", "usageStats", PLAIN.reading(Reads::Usage)),
    ("Subscription", "callRecorded", PLAIN),
    ("Subscription", "errorRecorded", PLAIN),
    ("Mutation", "recordCalls", once(PAGE)),
    ("Mutation", "recordErrors", once(PAGE)),
    ("Mutation", "deleteErrorLogs", once(PAGE)),
    ("Mutation", "deleteErrorLogsWhere", once(WORK)),
    ("Mutation", "pruneLogs", once(WORK)),
    // As many as were recorded; a thousand at the default limit.
    ("RecordCallsPayload", "calls", of(LOOKUP, 0, About(100))),
    ("RecordErrorsPayload", "errorLogs", of(LOOKUP, 0, About(100))),
    ("UsageStats", "lastMinute", once(STATEMENT).reading(Reads::Part(Part::Span(Span::Minute)))),
    ("UsageStats", "lastHour", once(STATEMENT).reading(Reads::Part(Part::Span(Span::Hour)))),
    (
        "UsageStats",
        "last8Hours",
        once(STATEMENT).reading(Reads::Part(Part::Span(Span::EightHours))),
    ),
    ("UsageStats", "last24Hours", once(STATEMENT).reading(Reads::Part(Part::Span(Span::Day)))),
    ("UsageStats", "currentMonth", once(STATEMENT).reading(Reads::Part(Part::Span(Span::Month)))),
    ("UsageStats", "last", once(STATEMENT).reading(Reads::Part(Part::Duration))),
    ("CallConnection", "edges", items(OfPage)),
    ("CallConnection", "nodes", items(OfPage)),
    ("CallConnection", "pageInfo", PLAIN),
    ("CallConnection", "totalCount", of(0, STATEMENT, One).reading(Reads::Part(Part::Total))),
    ("ErrorLogConnection", "edges", items(OfPage)),
    ("ErrorLogConnection", "nodes", items(OfPage)),
    ("ErrorLogConnection", "pageInfo", PLAIN),
    ("ErrorLogConnection", "totalCount", of(0, STATEMENT, One).reading(Reads::Part(Part::Total))),
    ("ApiKeyConnection", "edges", items(OfPage)),
    ("ApiKeyConnection", "nodes", items(OfPage)),
    ("ApiKeyConnection", "pageInfo", PLAIN),
    // Counted in memory.
    ("ApiKeyConnection", "totalCount", PLAIN),
    ("Call", "apiKey", PLAIN),
    ("Call", "errorLog", of(PAGE, 2, One)),
    ("Call", "failure", of(PAGE, 2 + CLASSIFY, One)),
    ("ErrorLog", "apiKey", PLAIN),
    ("ErrorLog", "failure", of(0, CLASSIFY, One)),
    // Most texts state one.
    ("Failure", "quotas", items(About(2))),
    // Prompts, of which each may be larger than all else of an answer.
    ("ErrorLog", "request", of(LOOKUP, 150, One)),
    ("CallBucket", "latency", once(STATEMENT).reading(Reads::Part(Part::Latency))),
    ("CallGroup", "latency", once(STATEMENT).reading(Reads::Part(Part::Latency))),
    ("ApiKey", "id", PLAIN),
    // An entry of the audit log.
    ("ApiKey", "secret", of(LOOKUP, 10, One)),
    ("ApiKey", "firstSeenAt", of(LOOKUP, 4, One)),
    ("ApiKey", "lastSeenAt", of(LOOKUP, 4, One)),
    ("ApiKey", "counts", of(STATEMENT, 50, One).reading(Reads::KeyCounts)),
    ("ApiKey", "latency", of(STATEMENT, 50, One).reading(Reads::KeyLatency)),
    ("ApiKey", "models", of(STATEMENT, 50, About(10)).reading(Reads::KeyModels)),
    ("ApiKey", "calls", of(PAGE, 50, Page).reading(Reads::Calls)),
    ("ApiKey", "errorLogs", of(PAGE, 50, Page).reading(Reads::ErrorLogs)),
    // Of the schema itself: the usual numbers of a type, since they multiply where types refer to
    // each other.
    ("__Schema", "types", of(0, INTROSPECTION, About(60))),
    ("__Schema", "directives", of(0, INTROSPECTION, About(5))),
    ("__Type", "fields", of(0, INTROSPECTION, About(6))),
    ("__Type", "inputFields", of(0, INTROSPECTION, About(1))),
    ("__Type", "interfaces", of(0, INTROSPECTION, About(1))),
    ("__Type", "possibleTypes", of(0, INTROSPECTION, About(1))),
    ("__Type", "enumValues", of(0, INTROSPECTION, About(1))),
    ("__Field", "args", of(0, INTROSPECTION, About(1))),
    ("__Directive", "args", of(0, INTROSPECTION, About(1))),
    ("__Directive", "locations", of(0, INTROSPECTION, About(3))),
    ("Query", "__schema", PLAIN),
    ("Query", "__type", PLAIN),
];

/// The weight of a field, if it has one.
pub fn weight(of: &str, field: &str) -> Option<Weight> {
    WEIGHTS
        .iter()
        .find(|(parent, name, _)| *parent == of && *name == field)
        .map(|(.., weight)| *weight)
}

#[cfg(test)]
mod tests {
    use super::super::types::Types;
    use super::*;
    use crate::graphql::rows::Row;
    use crate::graphql::schema::sdl;
    use crate::graphql::types::{api_key::ApiKey, call::Call, error_log::ErrorLog};

    /// Fields whose cost must be said: what is no plain value of an object that is there already.
    fn must_be_weighed(parent: &str, field: &super::super::types::Field, roots: &[&str]) -> bool {
        let name = field.name.as_str();
        let resolved = match parent {
            "Call" => Call::column(name).is_none(),
            "ErrorLog" => ErrorLog::column(name).is_none(),
            "ApiKey" => ApiKey::column(name).is_none(),
            _ => false,
        };
        let introspected = parent.starts_with("__");
        roots.contains(&parent)
            || parent.ends_with("Connection")
            || field.type_name.ends_with("Connection")
            || field.is_list
            || resolved
            || (!field.arguments.is_empty() && !introspected)
    }

    #[test]
    fn no_field_is_forgotten() {
        let types = Types::parse(&sdl()).unwrap();
        let mut forgotten = vec![];
        for (parent, field) in types.every_field() {
            if must_be_weighed(parent, field, &["Query", "Mutation", "Subscription"])
                && weight(parent, &field.name).is_none()
            {
                forgotten.push(format!("{parent}.{}", field.name));
            }
        }
        assert!(forgotten.is_empty(), "without a weight: {forgotten:?}");
        for (parent, name, weight) in WEIGHTS {
            let found = types.every_field().find(|(of, field)| of == parent && field.name == *name);
            let (_, field) = found.unwrap_or_else(|| panic!("there is no {parent}.{name}"));
            let listed = weight.items != One;
            let connection = field.type_name.ends_with("Connection");
            assert_eq!(listed, field.is_list || connection, "{parent}.{name}");
        }
    }
}

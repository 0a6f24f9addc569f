//! The cost of each field. **A new field that sends SQL, returns a list or takes arguments needs a line
//! here**; a test fails until it has one.
//!
//! Every field costs 1 for each item of the enclosing lists, about 0.4 µs of a processor. A field that is
//! not a column costs `each` in addition. Work that is done once for all items, such as a SQL statement,
//! costs `once`, plus the cost of the rows that the statement reads ([`super::reads`]).

use super::reads::{Part, Reads, Span};

/// The cost of a field without its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Once for the selection and any number of items: a statement that a loader sends for all.
    pub once: u64,
    /// For each item.
    pub each: u64,
    pub items: Items,
    /// The rows that its statements read.
    pub reads: Reads,
}

impl Weight {
    const fn with_reads(self, reads: Reads) -> Self {
        Self { reads, ..self }
    }
}

/// How often the children of a field are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    One,
    /// A fixed estimate of the number of items.
    Estimated(u64),
    /// `first` or `last` items. In a connection this applies to `nodes` and `edges`.
    Page,
    /// The items of the page of the connection.
    OfPage,
    /// The length of the list in this argument.
    Argument(&'static str),
}

/// A few rows by an index.
const LOOKUP: u64 = 200;
/// A page of a list.
const PAGE: u64 = 500;
/// A statement that counts or groups, without the cost of its rows.
const STATEMENT: u64 = 500;
/// About 20 statements, or a deletion that may take the whole request timeout.
const WORK: u64 = 10_000;
/// The class of a text: 10 to 12 µs, but 350 µs for a text that is made to be slow.
const CLASSIFY: u64 = 900;
/// An introspection field that is not a plain value: some µs.
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

/// Operations from this cost on (20 ms of a processor) are heavy: their statements leave one database
/// connection free for other operations.
pub const HEAVY: u64 = 50_000;

/// The weight of a field that is not listed.
pub const PLAIN: Weight = once(0);

use Items::{Argument, Estimated, OfPage, One, Page};

/// Weights by type and field. A statement for all items of a list costs `once`, and a little for each
/// item, for which it has a branch or a row.
pub const WEIGHTS: &[(&str, &str, Weight)] = &[
    ("Query", "usageStats", PLAIN.with_reads(Reads::Usage)),
    ("Query", "callDetails", of(PAGE, 0, Page).with_reads(Reads::Calls)),
    ("Query", "callSeries", of(STATEMENT, 0, Estimated(300)).with_reads(Reads::Series)),
    ("Query", "callGroups", of(STATEMENT, 0, Page).with_reads(Reads::Groups)),
    ("Query", "errorLookup", once(LOOKUP)),
    ("Query", "classifyFailure", once(CLASSIFY)),
    ("Query", "errorLogs", of(PAGE, 0, Page).with_reads(Reads::ErrorLogs)),
    ("Query", "errorGroups", of(STATEMENT, 0, Page).with_reads(Reads::ErrorGroups)),
    ("Query", "errorSeries", of(STATEMENT, 0, Estimated(300)).with_reads(Reads::ErrorSeries)),
    ("Query", "diagnoses", of(PAGE, 0, Page).with_reads(Reads::Diagnosis)),
    ("Query", "usableKeys", of(PAGE, 0, Page).with_reads(Reads::Diagnosis)),
    ("Query", "poolForecast", of(PAGE, 0, Estimated(24)).with_reads(Reads::Diagnosis)),
    ("Query", "apiKeys", of(PAGE, 0, Page)),
    ("Query", "apiKey", once(LOOKUP)),
    ("Query", "node", once(LOOKUP).with_reads(Reads::Nodes)),
    ("Query", "nodes", of(LOOKUP, 0, Argument("ids")).with_reads(Reads::Nodes)),
    ("Query", "deletion", once(LOOKUP)),
    ("Query", "serverInfo", PLAIN),
    ("Query", "viewer", PLAIN),
    // About 12 short statements.
    ("ServerInfo", "storage", once(WORK)),
    ("ServerInfo", "rollups", once(WORK)),
    ("Viewer", "scopes", items(Estimated(6))),
    // The cost of each event.
    ("Subscription", "usageStats", PLAIN.with_reads(Reads::Usage)),
    ("Subscription", "callRecorded", PLAIN),
    ("Subscription", "errorRecorded", PLAIN),
    ("Subscription", "diagnosisChanged", PLAIN),
    ("Mutation", "recordCalls", once(PAGE)),
    ("Mutation", "recordErrors", once(PAGE)),
    ("Mutation", "deleteErrorLogs", once(PAGE)),
    ("Mutation", "deleteErrorLogsWhere", once(WORK)),
    ("Mutation", "pruneLogs", once(WORK)),
    // The recorded rows; up to 1,000 by default.
    ("RecordCallsPayload", "calls", of(LOOKUP, 0, Estimated(100))),
    ("RecordErrorsPayload", "errorLogs", of(LOOKUP, 0, Estimated(100))),
    ("UsageStats", "lastMinute", once(STATEMENT).with_reads(Reads::Part(Part::Span(Span::Minute)))),
    ("UsageStats", "lastHour", once(STATEMENT).with_reads(Reads::Part(Part::Span(Span::Hour)))),
    (
        "UsageStats",
        "last8Hours",
        once(STATEMENT).with_reads(Reads::Part(Part::Span(Span::EightHours))),
    ),
    ("UsageStats", "last24Hours", once(STATEMENT).with_reads(Reads::Part(Part::Span(Span::Day)))),
    (
        "UsageStats",
        "currentMonth",
        once(STATEMENT).with_reads(Reads::Part(Part::Span(Span::Month))),
    ),
    ("UsageStats", "last", once(STATEMENT).with_reads(Reads::Part(Part::Duration))),
    ("CallConnection", "edges", items(OfPage)),
    ("CallConnection", "nodes", items(OfPage)),
    ("CallConnection", "pageInfo", PLAIN),
    ("CallConnection", "totalCount", of(0, STATEMENT, One).with_reads(Reads::Part(Part::Total))),
    ("ErrorLogConnection", "edges", items(OfPage)),
    ("ErrorLogConnection", "nodes", items(OfPage)),
    ("ErrorLogConnection", "pageInfo", PLAIN),
    (
        "ErrorLogConnection",
        "totalCount",
        of(0, STATEMENT, One).with_reads(Reads::Part(Part::Total)),
    ),
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
    ("ErrorLog", "messageTemplate", of(0, CLASSIFY, One)),
    ("ErrorGroup", "messageTemplate", of(LOOKUP, CLASSIFY, One)),
    // Most texts state one.
    ("Failure", "quotas", items(Estimated(2))),
    // Prompts: each may be larger than the rest of the answer.
    ("ErrorLog", "request", of(LOOKUP, 150, One)),
    ("CallBucket", "latency", once(STATEMENT).with_reads(Reads::Part(Part::Latency))),
    ("CallGroup", "latency", once(STATEMENT).with_reads(Reads::Part(Part::Latency))),
    ("ApiKey", "id", PLAIN),
    // An entry of the audit log.
    ("ApiKey", "secret", of(LOOKUP, 10, One)),
    ("ApiKey", "firstSeenAt", of(LOOKUP, 4, One)),
    ("ApiKey", "lastSeenAt", of(LOOKUP, 4, One)),
    ("ApiKey", "counts", of(STATEMENT, 50, One).with_reads(Reads::KeyCounts)),
    ("ApiKey", "latency", of(STATEMENT, 50, One).with_reads(Reads::KeyLatency)),
    ("ApiKey", "models", of(STATEMENT, 50, Estimated(10)).with_reads(Reads::KeyModels)),
    ("ApiKey", "calls", of(PAGE, 50, Page).with_reads(Reads::Calls)),
    ("ApiKey", "errorLogs", of(PAGE, 50, Page).with_reads(Reads::ErrorLogs)),
    ("ApiKey", "diagnoses", of(PAGE, 2, Estimated(2)).with_reads(Reads::Diagnosis)),
    ("ApiKey", "usability", of(PAGE, 1, One).with_reads(Reads::Diagnosis)),
    ("ApiKey", "quotas", of(PAGE, 4, Estimated(4)).with_reads(Reads::Diagnosis)),
    ("ApiKey", "quotaGroup", of(PAGE, 4, One).with_reads(Reads::Diagnosis)),
    ("QuotaGroup", "keys", items(Estimated(4))),
    ("Diagnosis", "keys", items(Estimated(1))),
    ("Diagnosis", "models", items(Estimated(1))),
    ("Diagnosis", "sentence", PLAIN),
    ("Diagnosis", "evidence", of(LOOKUP, 10, Page)),
    // Introspection: the average numbers of a type, since they multiply where types refer to each
    // other.
    ("__Schema", "types", of(0, INTROSPECTION, Estimated(60))),
    ("__Schema", "directives", of(0, INTROSPECTION, Estimated(5))),
    ("__Type", "fields", of(0, INTROSPECTION, Estimated(6))),
    ("__Type", "inputFields", of(0, INTROSPECTION, Estimated(1))),
    ("__Type", "interfaces", of(0, INTROSPECTION, Estimated(1))),
    ("__Type", "possibleTypes", of(0, INTROSPECTION, Estimated(1))),
    ("__Type", "enumValues", of(0, INTROSPECTION, Estimated(1))),
    ("__Field", "args", of(0, INTROSPECTION, Estimated(1))),
    ("__Directive", "args", of(0, INTROSPECTION, Estimated(1))),
    ("__Directive", "locations", of(0, INTROSPECTION, Estimated(3))),
    ("Query", "__schema", PLAIN),
    ("Query", "__type", PLAIN),
];

/// The weight of a field, if it is listed.
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

    /// Whether a field needs a weight: it is not a plain value of an object in memory.
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
    fn every_field_that_needs_a_weight_has_one() {
        let types = Types::parse(&sdl()).unwrap();
        let mut missing = vec![];
        for (parent, field) in types.every_field() {
            if must_be_weighed(parent, field, &["Query", "Mutation", "Subscription"])
                && weight(parent, &field.name).is_none()
            {
                missing.push(format!("{parent}.{}", field.name));
            }
        }
        assert!(missing.is_empty(), "without a weight: {missing:?}");
        for (parent, name, weight) in WEIGHTS {
            let found = types.every_field().find(|(of, field)| of == parent && field.name == *name);
            let (_, field) = found.unwrap_or_else(|| panic!("{parent}.{name} does not exist"));
            let listed = weight.items != One;
            let connection = field.type_name.ends_with("Connection");
            assert_eq!(listed, field.is_list || connection, "{parent}.{name}");
        }
    }
}

//! What each field costs. **A new field that sends SQL, returns a list or takes arguments needs a line
//! here**; a test fails until it has one.
//!
//! Every field costs 1 for each item of the lists around it, about 0.4 µs of the server's. A field that
//! is more than a column costs `each` in addition, and what the request does once for all items, most
//! of all a SQL statement, costs `once`. These numbers are far below a statement's time, since they
//! bound how many of them a request may send together; how long one may run is bound by the timeout.

/// What a field costs beside its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// For the selection, however many items select it: a statement that a loader sends for all.
    pub once: u64,
    /// For each item that selects it.
    pub each: u64,
    pub items: Items,
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
/// How many items a list has in all, counted for each list.
const TOTAL: u64 = 500;
/// The calls of a window, counted.
const COUNT: u64 = 2000;
/// The calls of a window, grouped.
const GROUP: u64 = 10_000;
/// The latencies of the calls of a window, for percentiles: a second statement, the slowest of all. No
/// more of them than there are connections fit into one request.
const LATENCY: u64 = 30_000;

const fn of(once: u64, each: u64, items: Items) -> Weight {
    Weight { once, each, items }
}

const fn once(once: u64) -> Weight {
    of(once, 0, Items::One)
}

const fn items(items: Items) -> Weight {
    of(0, 0, items)
}

/// From this cost on an operation is heavy: its statements leave a connection to the database to others.
pub const HEAVY: u64 = GROUP;

/// Of a field that is not listed.
pub const PLAIN: Weight = once(0);

use Items::{About, Given, OfPage, One, Page};

/// By the type and the field. A statement for all items of a list is paid once and a little for each
/// item, of which it has a branch or a row.
pub const WEIGHTS: &[(&str, &str, Weight)] = &[
    ("Query", "usageStats", PLAIN),
    ("Query", "callDetails", of(PAGE, 0, Page)),
    ("Query", "callSeries", of(GROUP, 0, About(300))),
    ("Query", "callGroups", of(GROUP, 0, Page)),
    ("Query", "errorLookup", once(LOOKUP)),
    ("Query", "errorLogs", of(PAGE, 0, Page)),
    ("Query", "errorGroups", of(GROUP, 0, Page)),
    ("Query", "apiKeys", of(PAGE, 0, Page)),
    ("Query", "apiKey", once(LOOKUP)),
    ("Query", "node", once(LOOKUP)),
    ("Query", "nodes", of(LOOKUP, 0, Given("ids"))),
    ("Query", "deletion", once(LOOKUP)),
    ("Query", "serverInfo", PLAIN),
    ("Query", "viewer", PLAIN),
    // A dozen short statements.
    ("ServerInfo", "storage", once(COUNT)),
    ("Viewer", "scopes", items(About(6))),
    // For each event.
    ("Subscription", "usageStats", PLAIN),
    ("Subscription", "callRecorded", PLAIN),
    ("Subscription", "errorRecorded", PLAIN),
    ("Mutation", "recordCalls", once(PAGE)),
    ("Mutation", "recordErrors", once(PAGE)),
    ("Mutation", "deleteErrorLogs", once(PAGE)),
    ("Mutation", "deleteErrorLogsWhere", once(GROUP)),
    ("Mutation", "pruneLogs", once(GROUP)),
    // As many as were recorded; a thousand at the default limit.
    ("RecordCallsPayload", "calls", of(LOOKUP, 0, About(100))),
    ("RecordErrorsPayload", "errorLogs", of(LOOKUP, 0, About(100))),
    ("UsageStats", "lastMinute", once(COUNT)),
    ("UsageStats", "lastHour", once(COUNT)),
    ("UsageStats", "last8Hours", once(COUNT)),
    ("UsageStats", "last24Hours", once(COUNT)),
    ("UsageStats", "currentMonth", once(COUNT)),
    ("UsageStats", "last", once(COUNT)),
    ("CallConnection", "edges", items(OfPage)),
    ("CallConnection", "nodes", items(OfPage)),
    ("CallConnection", "pageInfo", PLAIN),
    ("CallConnection", "totalCount", of(0, TOTAL, One)),
    ("ErrorLogConnection", "edges", items(OfPage)),
    ("ErrorLogConnection", "nodes", items(OfPage)),
    ("ErrorLogConnection", "pageInfo", PLAIN),
    ("ErrorLogConnection", "totalCount", of(0, TOTAL, One)),
    ("ApiKeyConnection", "edges", items(OfPage)),
    ("ApiKeyConnection", "nodes", items(OfPage)),
    ("ApiKeyConnection", "pageInfo", PLAIN),
    // Counted in memory.
    ("ApiKeyConnection", "totalCount", PLAIN),
    ("Call", "apiKey", PLAIN),
    ("Call", "errorLog", of(PAGE, 2, One)),
    ("ErrorLog", "apiKey", PLAIN),
    // Prompts, of which each may be larger than all else of an answer.
    ("ErrorLog", "request", of(LOOKUP, 150, One)),
    ("CallBucket", "latency", once(LATENCY)),
    ("CallGroup", "latency", once(LATENCY)),
    ("ApiKey", "id", PLAIN),
    // An entry of the audit log.
    ("ApiKey", "secret", of(LOOKUP, 10, One)),
    ("ApiKey", "firstSeenAt", of(LOOKUP, 4, One)),
    ("ApiKey", "lastSeenAt", of(LOOKUP, 4, One)),
    ("ApiKey", "counts", of(COUNT, 50, One)),
    ("ApiKey", "latency", of(LATENCY, 50, One)),
    ("ApiKey", "models", of(GROUP, 50, About(10))),
    ("ApiKey", "calls", of(PAGE, 50, Page)),
    ("ApiKey", "errorLogs", of(PAGE, 50, Page)),
    // Of the schema itself: the usual numbers of a type, since they multiply where types refer to
    // each other.
    ("__Schema", "types", items(About(60))),
    ("__Schema", "directives", items(About(5))),
    ("__Type", "fields", items(About(4))),
    ("__Type", "inputFields", items(About(1))),
    ("__Type", "interfaces", items(About(1))),
    ("__Type", "possibleTypes", items(About(1))),
    ("__Type", "enumValues", items(About(1))),
    ("__Field", "args", items(About(1))),
    ("__Directive", "args", items(About(1))),
    ("__Directive", "locations", items(About(3))),
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

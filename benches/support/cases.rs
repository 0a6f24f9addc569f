//! The measured queries.

use anyhow::Context;

use super::data;

/// The fields of a call in lists.
const CALL: &str = "id databaseId timestamp model status statusCode latencyMs";
const ERROR_LOG: &str = "errorLog { id errorCode message }";
const COUNTS: &str = "{ total success failure }";
const LATENCY: &str = "latency { count avg min p50 p90 p95 p99 max }";

pub struct Case {
    /// Selects the case on the command line.
    pub name: &'static str,
    pub what: &'static str,
    pub query: String,
    /// The path to the rows in the response.
    list: Option<&'static str>,
}

impl Case {
    /// The length of the list in a response; `None` if the case has no list. Fails unless it is a list.
    pub fn rows(&self, answer: &serde_json::Value) -> anyhow::Result<Option<usize>> {
        anyhow::ensure!(answer.get("errors").is_none(), "{}: {answer:#}", self.name);
        let Some(list) = self.list else { return Ok(None) };
        let list = answer.pointer(list).and_then(|list| list.as_array());
        Ok(Some(list.with_context(|| format!("{}: no list", self.name))?.len()))
    }
}

const fn case(
    name: &'static str,
    what: &'static str,
    list: Option<&'static str>,
    query: String,
) -> Case {
    Case { name, what, query, list }
}

/// The cases that are also measured under load.
pub fn main() -> anyhow::Result<Vec<Case>> {
    let as_of = format!("asOf: \"{}\"", data::AS_OF);
    let day = format!("period: LAST_24_HOURS, {as_of}");
    let windows =
        format!("lastMinute {COUNTS} lastHour {COUNTS} last8Hours {COUNTS} last24Hours {COUNTS}");
    let key = data::key(7);
    let failed = data::failed_call()?;
    let (failed_key, failed_at) = (&failed.key, failed.at.and_utc().to_rfc3339());
    let nodes = Some("/data/callDetails/nodes");
    Ok(vec![
        case(
            "usage_month",
            "`usageStats`, all windows; the month is the whole table",
            None,
            format!("{{ usageStats({as_of}) {{ {windows} currentMonth {COUNTS} }} }}"),
        ),
        case(
            "usage",
            "`usageStats`, minute, hour, 8 h, 24 h",
            None,
            format!("{{ usageStats({as_of}) {{ {windows} }} }}"),
        ),
        case(
            "calls",
            "`callDetails`, 1,000 calls, 7 fields",
            nodes,
            format!("{{ callDetails({day}, first: 1000) {{ nodes {{ {CALL} }} }} }}"),
        ),
        case(
            "calls_errors",
            "the same with `errorLog` of the failed ones (6 %)",
            nodes,
            format!("{{ callDetails({day}, first: 1000) {{ nodes {{ {CALL} {ERROR_LOG} }} }} }}"),
        ),
        case(
            "failures_errors",
            "1,000 failed calls, each with `errorLog`",
            nodes,
            format!(
                "{{ callDetails({day}, filter: {{ status: FAILURE }}, first: 1000) \
                 {{ nodes {{ {CALL} {ERROR_LOG} }} }} }}"
            ),
        ),
        case(
            "key_day",
            "`callDetails` of one key, its 24 h (1,250 calls)",
            nodes,
            format!(
                "{{ callDetails(key: \"{key}\", {day}, first: 2000) {{ nodes {{ {CALL} }} }} }}"
            ),
        ),
        case(
            "groups_key",
            "`callGroups` by key, 24 h, counts",
            Some("/data/callGroups"),
            format!(
                "{{ callGroups(by: [API_KEY], {day}, first: 100) {{ apiKey {{ id masked }} counts {COUNTS} }} }}"
            ),
        ),
        case(
            "groups_model",
            "`callGroups` by model, 24 h, with percentiles",
            Some("/data/callGroups"),
            format!("{{ callGroups(by: [MODEL], {day}) {{ model counts {COUNTS} {LATENCY} }} }}"),
        ),
        case(
            "series",
            "`callSeries`, 24 h in quarters of an hour",
            Some("/data/callSeries"),
            format!("{{ callSeries({day}, interval: \"PT15M\") {{ start end counts {COUNTS} }} }}"),
        ),
        case(
            "lookup",
            "`errorLookup`",
            None,
            format!(
                "{{ errorLookup(key: \"{failed_key}\", timestamp: \"{failed_at}\", statusCode: 429) \
                 {{ id timestamp errorType errorCode message }} }}"
            ),
        ),
        case(
            "dashboard",
            "4 windows, 20 calls and their `errorLog`, in one request",
            nodes,
            format!(
                "{{ usageStats({as_of}) {{ {windows} }} \
                 callDetails({day}, first: 20) {{ nodes {{ {CALL} {ERROR_LOG} }} }} }}"
            ),
        ),
    ])
}

/// All cases, in the order of the tables: at least one for each root query.
pub fn all() -> anyhow::Result<Vec<Case>> {
    let as_of = format!("asOf: \"{}\"", data::AS_OF);
    let day = format!("period: LAST_24_HOURS, {as_of}");
    let month = format!("period: LAST_30_DAYS, {as_of}");
    let key = data::key(7);
    let counts = "counts { total success }";
    let latency = "latency { p50 p95 }";
    let (nodes, series) = (Some("/data/callDetails/nodes"), Some("/data/callSeries"));
    let groups = Some("/data/callGroups");
    let errors = Some("/data/errorLogs/nodes");
    let error = "id timestamp model errorCode message";
    let calls = (1..=100).map(|id| format!("\"call_{id}\"")).collect::<Vec<_>>().join(", ");
    let mut cases = main()?;
    cases.extend([
        case(
            "series_month",
            "`callSeries`, 30 days by day",
            series,
            format!("{{ callSeries({month}, interval: \"P1D\") {{ {counts} }} }}"),
        ),
        case(
            "series_month_latency",
            "the same with percentiles",
            series,
            format!("{{ callSeries({month}, interval: \"P1D\") {{ {counts} {latency} }} }}"),
        ),
        case(
            "series_day",
            "`callSeries`, 24 h by hour",
            series,
            format!("{{ callSeries({day}, interval: \"PT1H\") {{ {counts} }} }}"),
        ),
        case(
            "series_day_latency",
            "the same with percentiles",
            series,
            format!("{{ callSeries({day}, interval: \"PT1H\") {{ {counts} {latency} }} }}"),
        ),
        case(
            "groups_month",
            "`callGroups` by key, 30 days",
            groups,
            format!("{{ callGroups(by: [API_KEY], {month}, first: 50) {{ {counts} }} }}"),
        ),
        case(
            "groups_month_latency",
            "the same with percentiles",
            groups,
            format!("{{ callGroups(by: [API_KEY], {month}, first: 50) {{ {counts} {latency} }} }}"),
        ),
        case(
            "groups_code",
            "`callGroups` by key and status code, 24 h",
            groups,
            format!(
                "{{ callGroups(by: [API_KEY, STATUS_CODE], {day}, first: 1000) {{ {counts} }} }}"
            ),
        ),
        case(
            "total",
            "20 calls and `totalCount` of 24 h",
            nodes,
            format!("{{ callDetails({day}, first: 20) {{ totalCount nodes {{ {CALL} }} }} }}"),
        ),
        case(
            "masked",
            "1,000 calls with `apiKey { masked }`",
            nodes,
            format!(
                "{{ callDetails({day}, first: 1000) {{ nodes {{ {CALL} apiKey {{ masked }} }} }} }}"
            ),
        ),
        case(
            "secret",
            "1,000 calls with `apiKey { secret }`",
            nodes,
            format!(
                "{{ callDetails({day}, first: 1000) {{ nodes {{ {CALL} apiKey {{ secret }} }} }} }}"
            ),
        ),
        case(
            "errors",
            "`errorLogs`, 20 and `totalCount`",
            errors,
            format!("{{ errorLogs(first: 20) {{ totalCount nodes {{ {error} }} }} }}"),
        ),
        case(
            "errors_absent",
            "the same, a text that is in none",
            errors,
            format!(
                "{{ errorLogs(first: 20, filter: {{ contains: \"no such text\" }}) \
                 {{ totalCount nodes {{ {error} }} }} }}"
            ),
        ),
        case(
            "errors_text",
            "the same, a text that is in all",
            errors,
            format!(
                "{{ errorLogs(first: 20, filter: {{ contains: \"quota\" }}) \
                 {{ totalCount nodes {{ {error} }} }} }}"
            ),
        ),
        case(
            "error_groups",
            "`errorGroups` by key and code",
            Some("/data/errorGroups"),
            "{ errorGroups(by: [API_KEY, ERROR_CODE], first: 1000) \
             { count firstSeenAt lastSeenAt errorCode apiKey { masked } } }"
                .to_owned(),
        ),
        case(
            "error_classes",
            "the same by failure class (plain: by code)",
            Some("/data/errorGroups"),
            "{ errorGroups(by: [FAILURE_CLASS]) { count firstSeenAt lastSeenAt failureClass } }"
                .to_owned(),
        ),
        case(
            "errors_of_class",
            "`errorLogs` of a failure class, 20 and `totalCount` (plain: of a code)",
            errors,
            format!(
                "{{ errorLogs(first: 20, filter: {{ failureClasses: [QUOTA_OTHER] }}) \
                 {{ totalCount nodes {{ {error} }} }} }}"
            ),
        ),
        case(
            "error_series",
            "`errorSeries`, 24 h by hour",
            Some("/data/errorSeries"),
            format!("{{ errorSeries({day}, interval: \"PT1H\") {{ start end count }} }}"),
        ),
        case(
            "diagnoses",
            "`diagnoses` of 24 h (plain: their calls)",
            None,
            format!("{{ diagnoses({day}) {{ cause severity since until failures }} }}"),
        ),
        case(
            "usable",
            "`usableKeys` (plain: the calls of 24 h)",
            None,
            format!(
                "{{ usableKeys(model: \"gemini-2.5-pro\", {as_of}, first: 50) {{ nodes {{ masked }} }} }}"
            ),
        ),
        case(
            "forecast",
            "`poolForecast` (plain: the calls of 24 h)",
            None,
            format!("{{ poolForecast({as_of}) {{ at usable total }} }}"),
        ),
        case(
            "keys",
            "`apiKeys`, 50 with their first and last use",
            Some("/data/apiKeys/nodes"),
            "{ apiKeys(first: 50) { totalCount nodes { masked firstSeenAt lastSeenAt } } }"
                .to_owned(),
        ),
        case(
            "key",
            "`apiKey` with the counts of 24 h",
            None,
            format!(
                "{{ apiKey(key: \"{key}\") {{ masked firstSeenAt lastSeenAt counts({day}) {COUNTS} }} }}"
            ),
        ),
        case(
            "node",
            "`node`, a call",
            None,
            format!("{{ node(id: \"call_1\") {{ ... on Call {{ {CALL} }} }} }}"),
        ),
        case(
            "nodes",
            "`nodes`, 100 calls",
            Some("/data/nodes"),
            format!("{{ nodes(ids: [{calls}]) {{ ... on Call {{ {CALL} }} }} }}"),
        ),
        case(
            "deletion",
            "`deletion`, unknown",
            None,
            "{ deletion(id: \"0\") { outcome } }".to_owned(),
        ),
        case(
            "classify",
            "`classifyFailure`",
            None,
            "{ classifyFailure(message: \"You exceeded your current quota\", statusCode: 429) \
             { class remedy rule } }"
                .to_owned(),
        ),
        case(
            "server",
            "`serverInfo`",
            None,
            "{ serverInfo { version database now rollups { enabled lagRows } } }".to_owned(),
        ),
        case("viewer", "`viewer`", None, "{ viewer { name scopes } }".to_owned()),
    ]);
    Ok(cases)
}

//! The measured queries.

use anyhow::Context;

use super::data;

/// The fields of a call in lists.
const CALL: &str = "id databaseId timestamp model status statusCode latencyMs";
const ERROR_LOG: &str = "errorLog { id errorCode message }";
const COUNTS: &str = "{ total success failure }";
const LATENCY: &str = "latency { count avg min p50 p90 p95 p99 max }";

pub struct Case {
    /// Also the name of criterion's folder, so plain.
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

/// All cases, in the order of the tables.
pub fn all() -> anyhow::Result<Vec<Case>> {
    let as_of = format!("asOf: \"{}\"", data::AS_OF);
    let day = format!("period: LAST_24_HOURS, {as_of}");
    let windows =
        format!("lastMinute {COUNTS} lastHour {COUNTS} last8Hours {COUNTS} last24Hours {COUNTS}");
    let key = data::key(7);
    let failed = data::failed_call()?;
    let (failed_key, failed_at) = (&failed.key, failed.at.and_utc().to_rfc3339());
    let nodes = Some("/data/callDetails/nodes");
    let case = |name, what, list, query: String| Case { name, what, query, list };
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

//! The measured paths, executed in this process.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use async_graphql::Request;
use callscope::app::{App, Config};
use callscope::clock::Clock;
use callscope::config::DatabaseConfig;
use callscope::domain::access::{Caller, Scopes};
use callscope::graphql::answer::AnswerLimits;
use callscope::graphql::schema;
use callscope::graphql::scope::RequestInfo;
use callscope::store::Database;
use callscope::store::rollup::{FOLD_MOST, Folder, micros};

use super::callgrind::mark;
use super::support::{data, settings};

/// Calls of the table: 7.7 hours.
const CALLS: u64 = 20_000;

/// Requests of each path before those that are counted: they fill caches.
const WARM_UP: usize = 2;
/// Counted requests of each path.
pub const COUNTED: usize = 3;

/// Far above every answer.
const ANSWER_BYTES: u64 = 16 << 20;
const ANSWERS_KIB: usize = 256 << 10;

/// The name and the document of each path.
fn all() -> anyhow::Result<[(&'static str, String); 8]> {
    let as_of = format!("asOf: \"{}\"", data::AS_OF);
    let day = format!("period: LAST_24_HOURS, {as_of}");
    let counts = "{ total success failure }";
    let failed = data::failed_call()?;
    let call = format!(
        "{{ key: \"{}\", model: \"gemini-2.5-pro\", statusCode: 200, latencyMs: 900 }}",
        data::key(7)
    );
    let message = r#"{\"error\": {\"code\": 429, \"message\": \"You exceeded your current quota.\", \"status\": \"RESOURCE_EXHAUSTED\"}}"#;
    Ok([
        (
            "usageStats",
            format!(
                "{{ usageStats({as_of}) {{ lastMinute {counts} lastHour {counts} last8Hours {counts} \
                 last24Hours {counts} currentMonth {counts} }} }}"
            ),
        ),
        (
            "callSeries",
            format!(
                "{{ callSeries({day}, interval: \"PT1H\") {{ start counts {counts} latency {{ p50 p95 }} }} }}"
            ),
        ),
        (
            "callGroups",
            format!(
                "{{ callGroups(by: [API_KEY], {day}) {{ apiKey {{ id masked }} counts {counts} \
                 latency {{ p50 p95 }} }} }}"
            ),
        ),
        (
            "callDetails",
            format!(
                "{{ callDetails({day}, first: 1000) {{ nodes {{ id timestamp apiKey {{ masked }} model \
                 statusCode latencyMs errorLog {{ errorCode message }} }} }} }}"
            ),
        ),
        (
            "errorLogs",
            "{ errorLogs(first: 20) { totalCount nodes { id timestamp model errorCode message } } }"
                .to_owned(),
        ),
        (
            "errorLookup",
            format!(
                "{{ errorLookup(key: \"{}\", timestamp: \"{}\", statusCode: 429) \
                 {{ id timestamp errorCode message }} }}",
                failed.key,
                failed.at.and_utc().to_rfc3339()
            ),
        ),
        (
            "classifyFailure",
            format!(
                "{{ classifyFailure(message: \"{message}\", statusCode: 429) {{ class remedy rule }} }}"
            ),
        ),
        // The last one, because it changes the table.
        (
            "recordCalls",
            format!(
                "mutation {{ recordCalls(input: {{ calls: [{}] }}) {{ recorded }} }}",
                [call.as_str(); 100].join(", ")
            ),
        ),
    ])
}

pub fn names() -> anyhow::Result<Vec<&'static str>> {
    Ok(all()?.map(|(name, _)| name).to_vec())
}

/// Creates a database with folded calls in `folder`.
pub async fn prepare(folder: &Path) -> anyhow::Result<String> {
    let file = folder.join("calls.db");
    std::fs::copy(data::sqlite(CALLS).await?, &file)?;
    let url = format!("sqlite://{}", file.display());
    let db = Database::open(&settings::<DatabaseConfig>(&["--database-url", &url])).await?;
    let now = micros(data::as_of()?.naive_utc());
    let mut folder = Folder::default();
    while folder.fold(&db, now, FOLD_MOST).await?.more {}
    db.close().await?;
    Ok(url)
}

/// Executes each path, with a mark before and after each counted request.
pub async fn run(url: &str) -> anyhow::Result<()> {
    let config = Config {
        // Statistics are sums of cells, as of a large log.
        database: settings(&[
            "--database-url",
            url,
            "--rollup-from-calls",
            "0",
            // callgrind is slow.
            "--database-wait-seconds",
            "120",
        ]),
        server: settings(&["--listen", "127.0.0.1:0"]),
        access: settings(&[]),
        graphql: settings(&["--max-page-size", "1000"]),
        record: settings(&[]),
        keep: settings(&[]),
        replicas: settings(&[]),
        observe: settings(&[]),
        clock: Clock::fixed(data::as_of()?),
    };
    let app = App::open(config.clone()).await?;
    let services = app.services().clone();
    let schema = schema::build(&config.graphql, services.observer.clone());
    let answers = AnswerLimits::new(ANSWER_BYTES, ANSWERS_KIB);
    let info = RequestInfo {
        services,
        now: config.clock.now(),
        caller: Arc::new(Caller::anonymous(Scopes::all())),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        answer: answers.start(),
    };
    let request = async |query: &str| {
        let info = RequestInfo { answer: answers.start(), ..info.clone() };
        let answer = schema::execute(&schema, info, Request::new(query)).await;
        ensure!(answer.errors.is_empty(), "{:?}", answer.errors);
        Ok(std::hint::black_box(serde_json::to_string(&answer)?))
    };
    for (name, query) in &all()? {
        for _ in 0..WARM_UP {
            let answer = request(query).await?;
            ensure!(!answer.contains("[]"), "{name}: {answer}");
        }
        mark();
        for _ in 0..COUNTED {
            request(query).await?;
            mark();
        }
    }
    Ok(())
}

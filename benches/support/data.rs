//! The measured calls and error logs: the same on every machine. Call `n`, counted from the newest, is the same
//! in a table of any size, so that a window has the same calls in each.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use callscope::config::DatabaseConfig;
use callscope::store::connect;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions, Connection, raw_sql};

use super::settings;

/// Increase this when the rows change, so that old files are not reused.
const VERSION: u32 = 1;

/// The end of all windows; every call is earlier. The month has 16 days before it.
pub const AS_OF: &str = "2026-03-17T00:00:00Z";

/// The usual interval of calls in microseconds: 62,500 in 24 hours, a million in 16 days.
pub const STEP_MICROS: i64 = 1_382_400;

const KEYS: u64 = 50;

const MODELS: [(&str, u64); 6] = [
    ("gemini-2.5-flash", 45),
    ("gemini-2.5-pro", 25),
    ("gemini-2.5-flash-lite", 15),
    ("gemini-2.0-flash", 8),
    ("gemini-embedding-001", 5),
    ("gemini-2.5-flash-image", 2),
];

/// Status codes of failures; 0 means no code.
const FAILURES: [(i32, u64); 5] = [(429, 70), (503, 15), (400, 7), (500, 5), (0, 3)];

/// SplitMix64: our own, so that no release of a library changes the data.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Picks one of the choices, with their weights in percent.
    fn pick<T: Copy>(&mut self, choices: &[(T, u64)]) -> T {
        let mut left = self.below(100);
        for (choice, weight) in choices {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        choices[0].0
    }

    /// Nearly normal, with mean 0 and deviation 1: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.below(1 << 32) as f64 / (1u64 << 32) as f64).sum::<f64>() - 6.0
    }
}

pub struct Call {
    pub at: NaiveDateTime,
    pub key: String,
    model: &'static str,
    /// The code of a failure, 0 without a code; `None` for a success.
    pub failure: Option<i32>,
    latency_ms: i64,
    logged: bool,
}

pub fn as_of() -> anyhow::Result<DateTime<Utc>> {
    Ok(AS_OF.parse()?)
}

pub fn key(number: u64) -> String {
    let mut random = Random(number + 1_000_000_007);
    format!("AIzaSy{:016x}{:016x}x", random.next(), random.next())
}

/// The call with `newer` newer calls.
fn call(as_of: DateTime<Utc>, newer: u64, step_micros: i64) -> Call {
    let mut random = Random(newer.wrapping_mul(0xD129_0DD5_35D1_A3F5));
    let back = step_micros * (newer as i64 + 1) - random.below(step_micros as u64) as i64;
    let failed = random.below(100) < 6;
    // A median of 900 ms, of 150 ms for failures, and a long tail.
    let median: f64 = if failed { 150.0 } else { 900.0 };
    Call {
        at: (as_of - TimeDelta::microseconds(back)).naive_utc(),
        key: key(random.below(KEYS)),
        model: random.pick(&MODELS),
        failure: failed.then(|| random.pick(&FAILURES)),
        latency_ms: (median * (0.7 * random.normal()).exp()) as i64,
        logged: random.below(100) < 94,
    }
}

/// A failed call with an error log, about an hour before the end.
pub fn failed_call() -> anyhow::Result<Call> {
    let as_of = as_of()?;
    let found = (2_000u64..).map(|newer| call(as_of, newer, STEP_MICROS));
    let mut found = found.filter(|call| call.failure == Some(429) && call.logged);
    found.next().context("no failed call")
}

/// Passes the rows to `run` as SQL for every database, the oldest first.
pub async fn insert(
    calls: u64,
    step_micros: i64,
    mut run: impl AsyncFnMut(String) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    const BATCH: u64 = 1000;
    let as_of = as_of()?;
    for batch in (0..calls.div_ceil(BATCH)).rev() {
        let (mut requests, mut errors) = (String::new(), String::new());
        for newer in (batch * BATCH..calls.min((batch + 1) * BATCH)).rev() {
            let call = call(as_of, newer, step_micros);
            write_call(&mut requests, &call)?;
            if call.failure.is_some() && call.logged {
                write_error(&mut errors, &call)?;
            }
        }
        run(format!(
            "INSERT INTO t_request_log (request_time, model_name, api_key, is_success, \
             status_code, latency_ms) VALUES {requests}"
        ))
        .await?;
        if !errors.is_empty() {
            run(format!(
                "INSERT INTO t_error_logs (request_time, gemini_key, model_name, error_type, \
                 error_code, error_log, request_msg) VALUES {errors}"
            ))
            .await?;
        }
    }
    Ok(())
}

fn write_call(sql: &mut String, call: &Call) -> std::fmt::Result {
    let code = match call.failure {
        None => "200".to_owned(),
        Some(0) => "NULL".to_owned(),
        Some(code) => code.to_string(),
    };
    let comma = if sql.is_empty() { "" } else { "," };
    write!(
        sql,
        "{comma}('{}','{}','{}',{},{code},{})",
        call.at.format("%F %T%.6f"),
        call.model,
        call.key,
        call.failure.is_none(),
        call.latency_ms
    )
}

/// Logged when the response arrived, with the code that the gateway knew (500 without a response).
fn write_error(sql: &mut String, call: &Call) -> std::fmt::Result {
    let code = call.failure.filter(|code| *code != 0).unwrap_or(500);
    let at = call.at + TimeDelta::milliseconds(call.latency_ms);
    let comma = if sql.is_empty() { "" } else { "," };
    let model = call.model;
    write!(
        sql,
        "{comma}('{}','{}','{model}','gemini-chat-service',{code},'{{\"error\": {{\"code\": {code}, \
         \"message\": \"The request to {model} was refused: the quota of this key for requests in \
         a minute is used up. Wait before you try again.\", \"status\": \"REFUSED\"}}}}',\
         '{{\"contents\": [{{\"role\": \"user\", \"parts\": [{{\"text\": \"Tell me about the number \
         {}.\"}}]}}], \"generationConfig\": {{\"temperature\": 1}}}}')",
        at.format("%F %T%.6f"),
        call.key,
        call.latency_ms
    )
}

/// The SQLite file with `calls` calls; created if missing.
pub async fn sqlite(calls: u64) -> anyhow::Result<PathBuf> {
    sqlite_with(calls, STEP_MICROS).await
}

/// The same with another interval of the calls.
pub async fn sqlite_with(calls: u64, step_micros: i64) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let interval =
        if step_micros == STEP_MICROS { String::new() } else { format!("-{step_micros}us") };
    let file = folder.join(format!("bench-{calls}{interval}-v{VERSION}.db"));
    if file.exists() {
        return Ok(file);
    }
    eprintln!("making {}", file.display());
    // Under another name until it is complete.
    let unfinished = tempfile::Builder::new().prefix("bench-").tempdir_in(folder)?;
    let unfinished = unfinished.path().join("calls.db");
    let url = format!("sqlite://{}", unfinished.display());
    connect::migrate(&settings::<DatabaseConfig>(&["--database-url", &url])).await?;
    let options = SqliteConnectOptions::new().filename(&unfinished);
    let mut connection = options
        .create_if_missing(true)
        .pragma("cache_size", "-524288")
        .journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Off)
        .connect()
        .await?;
    raw_sql("BEGIN").execute(&mut connection).await?;
    insert(calls, step_micros, async |sql| {
        raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        Ok(())
    })
    .await?;
    raw_sql("COMMIT").execute(&mut connection).await?;
    connection.close().await?;
    std::fs::rename(&unfinished, &file)?;
    Ok(file)
}

//! The plain SQL for the same values, through sqlx, decoded into Rust values: the lower limit for
//! every server of this kind.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use sea_orm::sqlx::sqlite::SqliteRow;
use sea_orm::sqlx::{self, AssertSqlSafe, FromRow, SqlitePool};

use crate::support::data;

/// A half-open range of call times, in SQLite's form.
fn span(as_of: DateTime<Utc>, back: TimeDelta) -> String {
    let text = |at: DateTime<Utc>| at.format("%F %T").to_string();
    format!("request_time >= '{}' AND request_time < '{}'", text(as_of - back), text(as_of))
}

const SUCCESS: &str = "COUNT(CASE WHEN status_code BETWEEN 200 AND 299 THEN 1 END)";

type Call = (i64, NaiveDateTime, Option<String>, Option<i32>, Option<i32>);
const CALL: &str = "c.id, c.request_time, c.model_name, c.status_code, c.latency_ms";
type ErrorLog = (Option<i64>, Option<i32>, Option<String>);

/// The statements of one case.
pub enum Plain {
    Counts(String),
    Calls(String),
    CallsWithErrors(String),
    Groups(String),
    GroupsWithLatency(String),
    Series(String),
    Lookup(String),
    Dashboard(String, String),
}

impl Plain {
    /// Statements for the same values as the case of this name.
    pub fn of(case: &str) -> anyhow::Result<Self> {
        let as_of = data::as_of()?;
        let day = span(as_of, TimeDelta::days(1));
        let windows = [(0, 1), (0, 60), (8, 0), (24, 0)]
            .map(|(hours, minutes)| TimeDelta::minutes(hours * 60 + minutes));
        let month = TimeDelta::days(16);
        Ok(match case {
            "usage_month" => Self::Counts(counts(as_of, windows.into_iter().chain([month]))),
            "usage" => Self::Counts(counts(as_of, windows)),
            "calls" => Self::Calls(calls(&day, 1000)),
            "calls_errors" => Self::CallsWithErrors(with_errors(&calls(&day, 1000))),
            "failures_errors" => {
                let failed = "(status_code IS NULL OR status_code NOT BETWEEN 200 AND 299)";
                Self::CallsWithErrors(with_errors(&calls(&format!("{day} AND {failed}"), 1000)))
            }
            "key_day" => {
                Self::Calls(calls(&format!("{day} AND api_key = '{}'", data::key(7)), 2000))
            }
            "groups_key" => Self::Groups(format!(
                "SELECT api_key, COUNT(*) AS total, {SUCCESS} FROM t_request_log \
                 WHERE {day} GROUP BY api_key ORDER BY total DESC, api_key"
            )),
            "groups_model" => Self::GroupsWithLatency(groups_with_latency(&day)),
            "series" => Self::Series(format!(
                "SELECT unixepoch(request_time) / 900 AS bucket, COUNT(*), {SUCCESS} \
                 FROM t_request_log WHERE {day} GROUP BY bucket ORDER BY bucket"
            )),
            "lookup" => Self::Lookup(lookup()?),
            "dashboard" => Self::Dashboard(counts(as_of, windows), with_errors(&calls(&day, 20))),
            other => anyhow::bail!("no plain SQL for {other}"),
        })
    }

    /// Fetches the values and returns the number of rows.
    pub async fn fetch(&self, pool: &SqlitePool) -> sqlx::Result<usize> {
        match self {
            Self::Counts(sql) => rows::<(i64, i64)>(pool, sql).await,
            Self::Calls(sql) => rows::<Call>(pool, sql).await,
            Self::CallsWithErrors(sql) => rows::<CallWithError>(pool, sql).await,
            Self::Groups(sql) => rows::<(Option<String>, i64, i64)>(pool, sql).await,
            Self::GroupsWithLatency(sql) => rows::<GroupWithLatency>(pool, sql).await,
            Self::Series(sql) => rows::<(i64, i64, i64)>(pool, sql).await,
            Self::Lookup(sql) => {
                rows::<(i64, NaiveDateTime, Option<String>, Option<i32>, Option<String>)>(pool, sql)
                    .await
            }
            Self::Dashboard(counts, calls) => {
                rows::<(i64, i64)>(pool, counts).await?;
                rows::<CallWithError>(pool, calls).await
            }
        }
    }
}

async fn rows<T>(pool: &SqlitePool, sql: &str) -> sqlx::Result<usize>
where
    T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    let rows: Vec<T> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(pool).await?;
    Ok(std::hint::black_box(rows).len())
}

struct CallWithError;

impl FromRow<'_, SqliteRow> for CallWithError {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        std::hint::black_box((Call::from_row(row)?, error_log(row)?));
        Ok(Self)
    }
}

fn error_log(row: &SqliteRow) -> sqlx::Result<ErrorLog> {
    use sqlx::Row;
    Ok((row.try_get(5)?, row.try_get(6)?, row.try_get(7)?))
}

type GroupWithLatency = (
    Option<String>,
    i64,
    i64,
    i64,
    f64,
    i64,
    i64,
    Option<f64>,
    Option<f64>,
    Option<f64>,
    Option<f64>,
);

fn counts(as_of: DateTime<Utc>, windows: impl IntoIterator<Item = TimeDelta>) -> String {
    let branch = |window| {
        format!("SELECT COUNT(*), {SUCCESS} FROM t_request_log WHERE {}", span(as_of, window))
    };
    windows.into_iter().map(branch).collect::<Vec<_>>().join(" UNION ALL ")
}

fn calls(condition: &str, limit: u32) -> String {
    format!(
        "SELECT {CALL} FROM t_request_log c WHERE {condition} \
         ORDER BY request_time DESC, id DESC LIMIT {limit}"
    )
}

/// The calls of a statement, with the nearest error log of each failed call.
fn with_errors(calls: &str) -> String {
    let calls = calls.replacen("c.latency_ms", "c.latency_ms, c.api_key", 1);
    format!(
        "SELECT {CALL}, e.id, e.error_code, e.error_log FROM ({calls}) c \
         LEFT JOIN t_error_logs e ON e.id = CASE \
         WHEN c.status_code IS NULL OR c.status_code NOT BETWEEN 200 AND 299 THEN ( \
           SELECT id FROM (SELECT n.id, n.error_code IS NOT c.status_code AS other, \
             abs(julianday(n.request_time) - julianday(c.request_time)) AS distance \
             FROM t_error_logs n WHERE n.gemini_key = c.api_key \
             AND n.request_time >= strftime('%Y-%m-%d %H:%M:%f', c.request_time, '-300 seconds') \
             AND n.request_time < strftime('%Y-%m-%d %H:%M:%f', c.request_time, '+300 seconds')) \
           ORDER BY other, distance, id DESC LIMIT 1) END \
         ORDER BY c.request_time DESC, c.id DESC"
    )
}

/// Percentiles interpolated between the two closest calls, like PERCENTILE_CONT.
fn groups_with_latency(condition: &str) -> String {
    let percentile = |percent: u32| {
        let rank = format!("{percent} * (n - 1)");
        format!(
            "MAX(CASE WHEN k = {rank} / 100 THEN latency_ms END) * (1 - ({rank} % 100) / 100.0) \
             + MAX(CASE WHEN k = ({rank} + 99) / 100 THEN latency_ms END) * (({rank} % 100) / 100.0)"
        )
    };
    format!(
        "SELECT model_name, COUNT(*) AS total, {SUCCESS}, COUNT(latency_ms), AVG(latency_ms), \
         MIN(latency_ms), MAX(latency_ms), {}, {}, {}, {} FROM (\
           SELECT model_name, status_code, latency_ms, \
             ROW_NUMBER() OVER (PARTITION BY model_name ORDER BY latency_ms) - 1 AS k, \
             COUNT(*) OVER (PARTITION BY model_name) AS n \
           FROM t_request_log WHERE {condition}) GROUP BY model_name ORDER BY total DESC",
        percentile(50),
        percentile(90),
        percentile(95),
        percentile(99)
    )
}

fn lookup() -> anyhow::Result<String> {
    let call = data::failed_call()?;
    let at = |seconds| (call.at + TimeDelta::seconds(seconds)).format("%F %T%.6f").to_string();
    Ok(format!(
        "SELECT id, request_time, error_type, error_code, error_log FROM t_error_logs \
         WHERE gemini_key = '{}' AND request_time >= '{}' AND request_time <= '{}' \
         ORDER BY error_code IS NOT 429, abs(julianday(request_time) - julianday('{}')), id DESC \
         LIMIT 1",
        call.key,
        at(-100),
        at(100),
        at(0)
    ))
}

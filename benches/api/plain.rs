//! The plain SQL for the same values, decoded into Rust values: the lower limit for every server of this kind.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use sea_orm::DatabaseBackend::{self, MySql, Postgres};
use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult, Statement, TryGetableMany};

use crate::support::data;

/// The statements of one case, each with the decoder of its rows.
pub struct Plain(Vec<(String, Decode)>);

type Decode = fn(&QueryResult) -> anyhow::Result<()>;

fn decode<T: TryGetableMany>(row: &QueryResult) -> anyhow::Result<()> {
    let row = T::try_get_many_by_index(row).map_err(sea_orm::DbErr::from)?;
    std::hint::black_box(row);
    Ok(())
}

type Text = Option<String>;
type Number = Option<i32>;
type Counts = (i64, i64);
type Call = (i32, NaiveDateTime, Text, Number, Number);
type CallOfKey = (i32, NaiveDateTime, Text, Number, Number, Text);
type CallWithError = (i32, NaiveDateTime, Text, Number, Number, Number, Number, Text);
type ErrorLog = (i32, NaiveDateTime, Text, Number, Text);

const SUCCESS: &str = "COUNT(CASE WHEN status_code BETWEEN 200 AND 299 THEN 1 END)";
const CALL: &str = "id, request_time, model_name, status_code, latency_ms";
const FAILED: &str = "(status_code IS NULL OR status_code NOT BETWEEN 200 AND 299)";

impl Plain {
    /// Statements for the same values as the case of this name; none if it reads no table.
    pub fn of(case: &str, backend: DatabaseBackend) -> anyhow::Result<Self> {
        let sql = Sql { backend, as_of: data::as_of()? };
        let (day, month) = (sql.span(TimeDelta::days(1)), sql.span(TimeDelta::days(30)));
        let windows = [1, 60, 8 * 60, 24 * 60].map(TimeDelta::minutes);
        // From the first of the month on.
        let month_so_far = TimeDelta::days(16);
        let key = data::key(7);
        let of_key = format!("{day} AND api_key = '{key}'");
        let statements: Vec<(String, Decode)> = match case {
            "usage_month" => {
                let windows = windows.into_iter().chain([month_so_far]);
                vec![(sql.counts(windows), decode::<Counts>)]
            }
            "usage" => vec![(sql.counts(windows), decode::<Counts>)],
            "calls" => vec![(calls(&day, 1000), decode::<Call>)],
            "calls_errors" => vec![(sql.with_errors(&day, 1000), decode::<CallWithError>)],
            "failures_errors" => {
                let failed = format!("{day} AND {FAILED}");
                vec![(sql.with_errors(&failed, 1000), decode::<CallWithError>)]
            }
            "key_day" => vec![(calls(&of_key, 2000), decode::<Call>)],
            "groups_key" => vec![(groups("api_key", &day), decode::<(Text, i64, i64)>)],
            "groups_model" => vec![(
                sql.latencies("model_name", &day, &[50, 90, 95, 99]),
                decode::<(
                    Text,
                    i64,
                    i64,
                    i64,
                    Option<f64>,
                    Number,
                    Number,
                    Option<f64>,
                    Option<f64>,
                    Option<f64>,
                    Option<f64>,
                )>,
            )],
            "series" => vec![(groups(&sql.bucket(900), &day), decode::<(i64, i64, i64)>)],
            "lookup" => vec![(sql.lookup()?, decode::<ErrorLog>)],
            "dashboard" => vec![
                (sql.counts(windows), decode::<Counts>),
                (sql.with_errors(&day, 20), decode::<CallWithError>),
            ],
            "series_month" => vec![(groups(&sql.bucket(86_400), &month), decode::<(i64, i64, i64)>)],
            "series_month_latency" => {
                vec![(sql.latencies(&sql.bucket(86_400), &month, &[50, 95]), decode::<Latencies<i64>>)]
            }
            "series_day" => vec![(groups(&sql.bucket(3600), &day), decode::<(i64, i64, i64)>)],
            "series_day_latency" => {
                vec![(sql.latencies(&sql.bucket(3600), &day, &[50, 95]), decode::<Latencies<i64>>)]
            }
            "groups_month" => vec![(groups("api_key", &month), decode::<(Text, i64, i64)>)],
            "groups_month_latency" => {
                vec![(sql.latencies("api_key", &month, &[50, 95]), decode::<Latencies<Text>>)]
            }
            "groups_code" => vec![(
                format!(
                    "SELECT api_key, status_code, COUNT(*), {SUCCESS} FROM t_request_log WHERE {day} \
                     GROUP BY api_key, status_code"
                ),
                decode::<(Text, Number, i64, i64)>,
            )],
            "total" => vec![
                (format!("SELECT COUNT(*), 0 FROM t_request_log WHERE {day}"), decode::<(i64, i32)>),
                (calls(&day, 20), decode::<Call>),
            ],
            "masked" | "secret" => {
                let calls = calls(&day, 1000).replacen(CALL, &format!("{CALL}, api_key"), 1);
                vec![(calls, decode::<CallOfKey>)]
            }
            "errors" => sql.errors("1 = 1"),
            "errors_absent" => sql.errors(&sql.contains("no such text")),
            "errors_text" => sql.errors(&sql.contains("quota")),
            "error_groups" => vec![(
                "SELECT gemini_key, error_code, COUNT(*) AS total, MIN(request_time), MAX(request_time) \
                 FROM t_error_logs GROUP BY gemini_key, error_code ORDER BY total DESC"
                    .to_owned(),
                decode::<(Text, Number, i64, NaiveDateTime, NaiveDateTime)>,
            )],
            "error_classes" => vec![(
                "SELECT error_code, COUNT(*) AS total, MIN(request_time), MAX(request_time) \
                 FROM t_error_logs GROUP BY error_code ORDER BY total DESC"
                    .to_owned(),
                decode::<(Number, i64, NaiveDateTime, NaiveDateTime)>,
            )],
            "errors_of_class" => sql.errors("error_code = 429"),
            "error_series" => {
                let bucket = sql.bucket(3600);
                let errors = format!(
                    "SELECT {bucket} AS g, COUNT(*) FROM t_error_logs WHERE {day} GROUP BY g ORDER BY g"
                );
                vec![(errors, decode::<(i64, i64)>)]
            }
            "diagnoses" | "usable" | "forecast" => vec![(
                format!(
                    "SELECT {CALL}, api_key FROM t_request_log WHERE {day} ORDER BY request_time"
                ),
                decode::<CallOfKey>,
            )],
            "keys" => vec![(
                "SELECT k, MIN(first), MAX(last) FROM (\
                   SELECT api_key AS k, MIN(request_time) AS first, MAX(request_time) AS last \
                   FROM t_request_log GROUP BY api_key UNION ALL \
                   SELECT gemini_key, MIN(request_time), MAX(request_time) \
                   FROM t_error_logs GROUP BY gemini_key) keys_of_both GROUP BY k ORDER BY k"
                    .to_owned(),
                decode::<(Text, NaiveDateTime, NaiveDateTime)>,
            )],
            "key" => vec![
                (
                    format!(
                        "SELECT MIN(request_time), MAX(request_time) FROM t_request_log \
                         WHERE api_key = '{key}'"
                    ),
                    decode::<(NaiveDateTime, NaiveDateTime)>,
                ),
                (
                    format!("SELECT COUNT(*), {SUCCESS} FROM t_request_log WHERE {of_key}"),
                    decode::<Counts>,
                ),
            ],
            "node" => vec![(calls("id = 1", 1), decode::<Call>)],
            "nodes" => vec![(calls("id BETWEEN 1 AND 100", 100), decode::<Call>)],
            "deletion" | "classify" | "server" | "viewer" => vec![],
            other => anyhow::bail!("no plain SQL for {other}"),
        };
        Ok(Self(statements))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fetches the values and returns the number of rows of the last statement.
    pub async fn fetch(&self, database: &DatabaseConnection) -> anyhow::Result<usize> {
        let mut count = 0;
        for (sql, decode) in &self.0 {
            let statement = Statement::from_string(database.get_database_backend(), sql);
            let rows = database.query_all_raw(statement).await?;
            rows.iter().try_for_each(decode)?;
            count = rows.len();
        }
        Ok(count)
    }
}

/// A group, its counts, and two percentiles.
type Latencies<Group> = (Group, i64, i64, Option<f64>, Option<f64>);

fn calls(condition: &str, limit: u32) -> String {
    format!(
        "SELECT {CALL} FROM t_request_log WHERE {condition} \
         ORDER BY request_time DESC, id DESC LIMIT {limit}"
    )
}

fn groups(by: &str, condition: &str) -> String {
    format!(
        "SELECT {by} AS g, COUNT(*), {SUCCESS} FROM t_request_log WHERE {condition} GROUP BY g ORDER BY g"
    )
}

/// The parts that differ between the databases.
struct Sql {
    backend: DatabaseBackend,
    as_of: DateTime<Utc>,
}

impl Sql {
    /// A half-open range of call times.
    fn span(&self, back: TimeDelta) -> String {
        let text = |at: DateTime<Utc>| at.format("%F %T").to_string();
        let (since, until) = (text(self.as_of - back), text(self.as_of));
        format!("request_time >= '{since}' AND request_time < '{until}'")
    }

    fn counts(&self, windows: impl IntoIterator<Item = TimeDelta>) -> String {
        let count = |window| {
            format!("SELECT COUNT(*), {SUCCESS} FROM t_request_log WHERE {}", self.span(window))
        };
        windows.into_iter().map(count).collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// The number of an interval of a call's time.
    fn bucket(&self, seconds: u32) -> String {
        match self.backend {
            Postgres => {
                format!("CAST(floor(extract(epoch FROM request_time) / {seconds}) AS bigint)")
            }
            MySql => format!("CAST(UNIX_TIMESTAMP(request_time) DIV {seconds} AS SIGNED)"),
            _ => format!("unixepoch(request_time) / {seconds}"),
        }
    }

    /// Counts and percentiles, interpolated between the two closest calls. With four percentiles also the count,
    /// average, minimum and maximum of the latency.
    fn latencies(&self, by: &str, condition: &str, percents: &[u32]) -> String {
        let double = |value: String| match self.backend {
            Postgres => format!("CAST({value} AS float8)"),
            MySql => format!("CAST({value} AS DOUBLE)"),
            _ => value,
        };
        let divided = if self.backend == MySql { "DIV" } else { "/" };
        let percentile = |percent: &u32| match self.backend {
            Postgres => format!(
                "percentile_cont({}) WITHIN GROUP (ORDER BY latency_ms)",
                f64::from(*percent) / 100.0
            ),
            _ => {
                let rank = format!("{percent} * (n - 1)");
                double(format!(
                    "MAX(CASE WHEN k = {rank} {divided} 100 THEN latency_ms END) * (1 - ({rank} % 100) / 100.0) \
                     + MAX(CASE WHEN k = ({rank} + 99) {divided} 100 THEN latency_ms END) * (({rank} % 100) / 100.0)"
                ))
            }
        };
        let mut columns = vec!["g".to_owned(), "COUNT(*)".to_owned(), SUCCESS.to_owned()];
        if percents.len() == 4 {
            let average = double("AVG(latency_ms)".to_owned());
            columns.extend(["COUNT(latency_ms)".to_owned(), average]);
            columns.extend(["MIN(latency_ms)".to_owned(), "MAX(latency_ms)".to_owned()]);
        }
        columns.extend(percents.iter().map(percentile));
        let ranks = match self.backend {
            Postgres => String::new(),
            _ => format!(
                ", ROW_NUMBER() OVER (PARTITION BY {by} ORDER BY latency_ms) - 1 AS k, \
                 COUNT(*) OVER (PARTITION BY {by}) AS n"
            ),
        };
        format!(
            "SELECT {} FROM (SELECT {by} AS g, status_code, latency_ms{ranks} FROM t_request_log \
             WHERE {condition}) ranked GROUP BY g ORDER BY g",
            columns.join(", ")
        )
    }

    /// `at` and a number of seconds.
    fn later(&self, at: &str, seconds: i32) -> String {
        match self.backend {
            Postgres => format!("{at} + interval '{seconds} seconds'"),
            MySql => format!("{at} + INTERVAL {seconds} SECOND"),
            _ => format!("strftime('%Y-%m-%d %H:%M:%f', {at}, '{seconds} seconds')"),
        }
    }

    /// Of error logs that match a condition the one of a call: those with its code first, then the nearest in time.
    fn nearest(&self, columns: &str, condition: &str, code: &str, at: &str) -> String {
        let (other, distance) = match self.backend {
            Postgres => (
                format!("error_code IS DISTINCT FROM {code}"),
                format!("abs(extract(epoch FROM request_time - {at}))"),
            ),
            MySql => (
                format!("NOT (error_code <=> {code})"),
                format!("abs(TIMESTAMPDIFF(MICROSECOND, request_time, {at}))"),
            ),
            // ORDER BY cannot name columns of an outer query.
            _ => {
                return format!(
                    "SELECT {columns} FROM (SELECT *, error_code IS NOT {code} AS other, \
                     abs(julianday(request_time) - julianday({at})) AS distance \
                     FROM t_error_logs WHERE {condition}) ORDER BY other, distance, id DESC LIMIT 1"
                );
            }
        };
        format!(
            "SELECT {columns} FROM t_error_logs WHERE {condition} \
             ORDER BY {other}, {distance}, id DESC LIMIT 1"
        )
    }

    /// Calls with the nearest error log of each failed call. Without the second LIMIT MariaDB cannot execute the prepared
    /// statement twice.
    fn with_errors(&self, condition: &str, limit: u32) -> String {
        let calls = calls(condition, limit).replacen(CALL, &format!("{CALL}, api_key"), 1);
        let at = |seconds| self.later("c.request_time", seconds);
        let candidates = format!(
            "gemini_key = c.api_key AND request_time >= {} AND request_time < {}",
            at(-300),
            at(300)
        );
        let nearest = self.nearest("id", &candidates, "c.status_code", "c.request_time");
        format!(
            "SELECT m.id, m.request_time, m.model_name, m.status_code, m.latency_ms, \
             e.id, e.error_code, e.error_log FROM (\
               SELECT c.*, CASE WHEN {FAILED} THEN ({nearest}) END AS log_id FROM ({calls}) c LIMIT {limit}) m \
             LEFT JOIN t_error_logs e ON e.id = m.log_id \
             ORDER BY m.request_time DESC, m.id DESC"
        )
    }

    fn lookup(&self) -> anyhow::Result<String> {
        let call = data::failed_call()?;
        let at = |seconds| (call.at + TimeDelta::seconds(seconds)).format("%F %T%.6f").to_string();
        let time = match self.backend {
            Postgres => format!("CAST('{}' AS timestamp)", at(0)),
            MySql => format!("CAST('{}' AS DATETIME(6))", at(0)),
            _ => format!("'{}'", at(0)),
        };
        let candidates = format!(
            "gemini_key = '{}' AND request_time >= '{}' AND request_time <= '{}'",
            call.key,
            at(-100),
            at(100)
        );
        let columns = "id, request_time, error_type, error_code, error_log";
        Ok(self.nearest(columns, &candidates, "429", &time))
    }

    /// The database's own case-insensitive search.
    fn contains(&self, text: &str) -> String {
        let like = match self.backend {
            Postgres => "ILIKE",
            MySql => "COLLATE utf8mb4_general_ci LIKE",
            _ => "LIKE",
        };
        format!("(error_log {like} '%{text}%' OR error_type {like} '%{text}%')")
    }

    fn errors(&self, condition: &str) -> Vec<(String, Decode)> {
        let count = format!("SELECT COUNT(*), 0 FROM t_error_logs WHERE {condition}");
        let page = format!(
            "SELECT id, request_time, model_name, error_code, error_log FROM t_error_logs \
             WHERE {condition} ORDER BY request_time DESC, id DESC LIMIT 20"
        );
        vec![(count, decode::<(i64, i32)>), (page, decode::<ErrorLog>)]
    }
}

//! Error logs: rows and their filter, single error logs, the failed requests that they store.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{CaseStatement, Condition, Expr, ExprTrait};

use super::database::Database;
use super::dialect::Dialect;
use super::failure::Listed;
use super::filter::{Cell, Cells, Filter};
use super::list::{self, ListRow};
use super::rows::{int, row, select_columns};
use super::source::{Source, rows_of_ids};
use super::stored_time::StoredTime;
use super::text_index;
use crate::domain::failure::{FailureClass, Template, classify, template};
use crate::domain::table::{
    ERROR_CODE, ERROR_LOG, ERROR_TYPE, GEMINI_KEY, LogTable, MODEL, REQUEST_MSG,
};
use crate::error::Result;

row! {
    /// The columns of an [`ErrorLogRow`].
    pub(super) struct StoredErrorLog {
        id: i64,
        request_time: StoredTime,
        gemini_key: Option<String>,
        model_name: Option<String>,
        error_type: Option<String>,
        error_code: Option<i64>,
        short_text: Option<String>,
        long_bytes: Option<i64>,
    }
}

/// A stored error log, without the failed request, which may be large.
#[derive(Clone, Debug)]
pub struct ErrorLogRow {
    pub id: i64,
    pub timestamp: DateTime<Utc>,
    /// The time as it is stored.
    pub stored: StoredTime,
    pub key: Option<String>,
    pub model: Option<String>,
    pub error_type: Option<String>,
    pub error_code: Option<i32>,
    /// None for a long message, until [`read_messages`] has read it.
    pub message: Option<String>,
    /// The length of a long message.
    pub long_bytes: Option<u64>,
}

impl ListRow for ErrorLogRow {
    type Stored = StoredErrorLog;
    const TABLE: LogTable = LogTable::ErrorLogs;

    fn computed(dialect: Dialect) -> Vec<(&'static str, Expr)> {
        short_and_long(dialect, ERROR_LOG, dialect.text(ERROR_LOG)).into()
    }

    fn id(stored: &StoredErrorLog) -> i64 {
        stored.id
    }

    fn decode(db: &Database, stored: StoredErrorLog) -> Self {
        Self {
            id: stored.id,
            timestamp: db.zone().to_utc(stored.request_time.at),
            stored: stored.request_time,
            key: stored.gemini_key,
            model: stored.model_name,
            error_type: stored.error_type,
            error_code: int(stored.error_code),
            message: stored.short_text,
            long_bytes: stored.long_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        }
    }
}

impl Cells for ErrorLogRow {
    fn time(&self) -> &StoredTime {
        &self.stored
    }

    fn cell(&self, column: &'static str) -> Cell<'_> {
        match column {
            GEMINI_KEY => Cell::Text(self.key.as_deref()),
            MODEL => Cell::Text(self.model.as_deref()),
            ERROR_TYPE => Cell::Text(self.error_type.as_deref()),
            ERROR_LOG => Cell::Text(self.message.as_deref()),
            ERROR_CODE => Cell::Number(self.error_code.map(i64::from)),
            _ => Cell::Text(None),
        }
    }

    fn class(&self) -> FailureClass {
        classify(self.message.as_deref(), self.error_code, self.error_type.as_deref()).class
    }

    fn template(&self) -> Template {
        template(self.message.as_deref(), self.error_type.as_deref(), self.key.as_deref())
    }
}

/// A longer text is read by a separate statement, after its memory was reserved: stored texts have no
/// maximum length, and the memory of a page of rows must be bounded.
pub const SHORT_BYTES: u64 = 2048;
/// Bytes of long texts that one statement reads, unless a single text is longer.
const LONG_AT_ONCE: u64 = 1 << 20;

/// Reserves memory before long texts of so many bytes are read. It fails when the memory is used up.
pub type ReserveMemory<'a> = &'a (dyn Fn(u64) -> Result<()> + Sync);

/// A filter of error logs. An error log must match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ErrorScope {
    pub keys: Option<Vec<String>>,
    pub models: Option<Vec<String>>,
    pub error_types: Option<Vec<String>>,
    pub error_codes: Option<Vec<i32>>,
    /// Error logs without a value match.
    pub exclude_keys: Vec<String>,
    pub exclude_models: Vec<String>,
    pub exclude_error_types: Vec<String>,
    pub exclude_error_codes: Vec<i32>,
    pub classes: Option<Vec<FailureClass>>,
    pub exclude_classes: Vec<FailureClass>,
    /// Ids of templates.
    pub templates: Option<Vec<String>>,
    pub exclude_templates: Vec<String>,
    /// A literal part of the error type or the message, ignoring case.
    pub contains: Option<String>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
}

impl ErrorScope {
    pub(super) fn condition(&self, db: &Database) -> Condition {
        self.add_to(Filter::new(db).time(self.since, self.until)).condition()
    }

    /// Without a time limit, this condition also matches rows without a readable time.
    pub(super) fn condition_at_any_time(&self, db: &Database) -> Condition {
        match (self.since, self.until) {
            (None, None) => self.add_to(Filter::new(db)).condition(),
            _ => self.condition(db),
        }
    }

    /// The same rows as [`Self::condition`], through the index of texts if that is faster.
    pub(super) async fn fast_condition(&self, db: &Database, is_page: bool) -> Result<Condition> {
        let others = Self { contains: None, ..self.clone() };
        let others = (others != Self::default()).then(|| others.condition(db));
        let contains = self.contains.as_deref();
        let candidates = text_index::candidates(db, contains, others, is_page).await?;
        Ok(self.condition(db).add_option(candidates))
    }

    /// The criteria of columns of the table, without time, class, template and search.
    pub(super) fn condition_of_columns(&self, db: &Database) -> Condition {
        let columns = Self {
            contains: None,
            classes: None,
            exclude_classes: vec![],
            templates: None,
            exclude_templates: vec![],
            ..self.clone()
        };
        columns.add_to(Filter::new(db)).condition()
    }

    /// The filter for error logs in memory.
    pub fn row_filter(&self, db: &Database) -> Filter {
        self.add_to(Filter::new(db).bounds(self.since, self.until)).for_rows()
    }

    /// Whether it selects by class or template.
    pub(super) fn has_failures(&self) -> bool {
        self.classes.is_some()
            || self.templates.is_some()
            || !self.exclude_classes.is_empty()
            || !self.exclude_templates.is_empty()
    }

    fn add_to(&self, filter: Filter) -> Filter {
        fn given<T>(list: &[T]) -> Option<&[T]> {
            (!list.is_empty()).then_some(list)
        }
        filter
            .texts(GEMINI_KEY, self.keys.as_ref())
            .texts(MODEL, self.models.as_ref())
            .texts(ERROR_TYPE, self.error_types.as_ref())
            .numbers(ERROR_CODE, self.error_codes.as_ref())
            .other_texts(GEMINI_KEY, &self.exclude_keys)
            .other_texts(MODEL, &self.exclude_models)
            .other_texts(ERROR_TYPE, &self.exclude_error_types)
            .other_numbers(ERROR_CODE, &self.exclude_error_codes)
            .contains(&text_index::TEXTS, self.contains.as_deref())
            .classes(self.classes.as_deref(), Listed::Matches)
            .classes(given(&self.exclude_classes), Listed::IsExcluded)
            .templates(self.templates.as_deref(), Listed::Matches)
            .templates(given(&self.exclude_templates), Listed::IsExcluded)
    }
}

/// Reads the long messages of `rows`. One statement for each megabyte.
pub async fn read_messages(
    db: &Database,
    source: Source,
    rows: impl IntoIterator<Item = &mut ErrorLogRow>,
    reserve: ReserveMemory<'_>,
) -> Result<()> {
    let mut long: Vec<(&mut ErrorLogRow, u64)> = rows
        .into_iter()
        .filter(|row| row.message.is_none())
        .filter_map(|row| row.long_bytes.map(|bytes| (row, bytes)))
        .collect();
    let lengths = long.iter().map(|(row, bytes)| (row.id, *bytes)).collect();
    let text = db.dialect().text(ERROR_LOG);
    let mut texts = read_long(db, ("error_log.messages", source), text, lengths, reserve).await?;
    for (row, _) in &mut long {
        row.message = texts.remove(&row.id);
    }
    Ok(())
}

/// The long texts of a column of the rows with these ids and lengths.
async fn read_long(
    db: &Database,
    (name, source): (&'static str, Source),
    text: Expr,
    lengths: Vec<(i64, u64)>,
    reserve: ReserveMemory<'_>,
) -> Result<HashMap<i64, String>> {
    row! {
        struct Text { id: i64, text: Option<String> }
    }
    let mut texts = HashMap::new();
    if lengths.is_empty() {
        return Ok(texts);
    }
    reserve(lengths.iter().map(|(_, bytes)| bytes).sum())?;
    let mut read = lengths.first().map_or(0, |(_, bytes)| *bytes);
    // A part ends before the text that would exceed the limit.
    let parts = lengths.chunk_by(|_, (_, bytes)| {
        let fits = read + bytes <= LONG_AT_ONCE;
        read = if fits { read + bytes } else { *bytes };
        fits
    });
    let ids: Vec<Vec<i64>> = parts.map(|part| part.iter().map(|(id, _)| *id).collect()).collect();
    for ids in ids {
        let computed = [("text", text.clone())];
        let select = select_columns::<Text>(db.dialect(), LogTable::ErrorLogs, &computed);
        let found =
            rows_of_ids(db, name, (source, LogTable::ErrorLogs), &select, &ids, |row: &Text| {
                row.id
            })
            .await?;
        texts.extend(found.into_iter().filter_map(|row| Some((row.id, row.text?))));
    }
    Ok(texts)
}

/// Two columns: a short text, and the length of a long one. `stored` is the stored text.
fn short_and_long(dialect: Dialect, stored: &str, text: Expr) -> [(&'static str, Expr); 2] {
    let bytes = || Expr::cust(dialect.to_integer(&format!("OCTET_LENGTH({stored})")));
    let is_long = || bytes().gt(SHORT_BYTES as i64);
    let short = CaseStatement::new().case(is_long().not(), text);
    let long = CaseStatement::new().case(is_long(), bytes());
    [("short_text", short.into()), ("long_bytes", long.into())]
}

/// The error logs with these ids, unordered, without long messages ([`read_messages`]).
pub async fn find(db: &Database, source: Source, ids: &[i64]) -> Result<Vec<ErrorLogRow>> {
    list::find(db, "error_log.find", source, ids).await
}

/// The failed requests that these error logs store, as JSON text. One statement, and further ones for
/// long requests.
pub async fn find_requests(
    db: &Database,
    ids: &[i64],
    reserve: ReserveMemory<'_>,
) -> Result<Vec<(i64, String)>> {
    row! {
        struct Request { id: i64, short_text: Option<String>, long_bytes: Option<i64> }
    }
    let dialect = db.dialect();
    let text = || dialect.json_text(REQUEST_MSG);
    // PostgreSQL's JSON is not a text type.
    let stored = match dialect {
        Dialect::Postgres => format!("CAST({REQUEST_MSG} AS TEXT)"),
        _ => REQUEST_MSG.to_owned(),
    };
    let computed = short_and_long(dialect, &stored, text());
    let select = select_columns::<Request>(dialect, LogTable::ErrorLogs, &computed);
    let (name, table) = ("error_log.find_requests", LogTable::ErrorLogs);
    let rows =
        rows_of_ids(db, name, (Source::All, table), &select, ids, |row: &Request| row.id).await?;
    let long = rows.iter().filter_map(|row| Some((row.id, row.long_bytes? as u64))).collect();
    let long =
        read_long(db, ("error_log.long_requests", Source::All), text(), long, reserve).await?;
    let short = rows.into_iter().filter_map(|row| Some((row.id, row.short_text?)));
    Ok(short.chain(long).collect())
}

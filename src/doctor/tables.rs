//! Tables and columns, indexes, the rights to create missing ones, the secret of ids.

use std::time::Duration;

use super::Finding;
use crate::config::DatabaseConfig;
use crate::domain::table::{Column, ColumnKind, ID, LogTable};
use crate::error::Result;
use crate::store::dialect::Dialect;
use crate::store::import::last_id;
use crate::store::index::{PendingIndex, build_time};
use crate::store::inspect::{self, ColumnInfo};
use crate::store::{Database, key_directory};

const LAST_SHORT_ID: i64 = i32::MAX as i64;

/// The expected content of a column, and words in the names of its types in the three databases. Flags
/// are not checked, because only exports read them.
fn expected(kind: ColumnKind) -> Option<(&'static str, &'static str)> {
    match kind {
        ColumnKind::Number => Some(("an integer", "int serial")),
        ColumnKind::Time => Some(("a time without a zone", "timestamp datetime")),
        ColumnKind::Text | ColumnKind::Key => Some(("a text", "char text clob")),
        ColumnKind::Json => Some(("JSON", "json text")),
        ColumnKind::Flag => None,
    }
}

pub(super) async fn check(db: &Database, config: &DatabaseConfig) -> Vec<Finding> {
    let checked = check_all(db, config).await;
    checked.unwrap_or_else(|error| vec![Finding::failed("tables", &error)])
}

async fn check_all(db: &Database, config: &DatabaseConfig) -> Result<Vec<Finding>> {
    let mut findings = vec![];
    let mut found_tables = 0;
    for table in LogTable::ALL {
        let columns = inspect::columns(db, table.name()).await?;
        if !columns.is_empty() {
            found_tables += 1;
        }
        findings.push(table_finding(db, config, table, &columns).await?);
    }
    let pending = db.pending_indexes().await;
    let complete = pending.as_ref().is_ok_and(Vec::is_empty) && found_tables == LogTable::ALL.len();
    findings.push(match pending {
        Ok(pending) => index_finding(&pending, config, db.dialect()),
        Err(error) => Finding::failed("indexes", &error),
    });
    if !config.read_only {
        findings.push(rights_finding(db, complete).await?);
    }
    findings.push(secret_finding(db, config).await?);
    Ok(findings)
}

async fn table_finding(
    db: &Database,
    config: &DatabaseConfig,
    table: LogTable,
    columns: &[ColumnInfo],
) -> Result<Finding> {
    let name = table.name();
    if columns.is_empty() {
        let found = format!("there is no {name}");
        return Ok(if config.read_only {
            let advice = "check that this is the gateway's database: the server needs its tables";
            Finding::error("tables", found, advice)
        } else {
            let advice = "check that this is the gateway's database; `callscope migrate` and \
                          `callscope serve` create empty tables";
            Finding::warning("tables", found, advice)
        });
    }
    let id = Column { name: ID, kind: ColumnKind::Number };
    let all = [&id].into_iter().chain(table.columns());
    let wrong: Vec<String> = all.filter_map(|column| fault(columns, *column)).collect();
    if !wrong.is_empty() {
        let advice = "Callscope reads tables with the columns of gemini-balance; a view with this name \
                      can map another table to them";
        return Ok(Finding::error("tables", format!("{name}: {}", wrong.join("; ")), advice));
    }
    if has_short_ids(db.dialect(), columns) {
        let last = last_id(db, table).await?;
        if last > LAST_SHORT_ID / 4 * 3 {
            let found =
                format!("{name}: the last id is {last}, and its ids end at {LAST_SHORT_ID}");
            let advice = "change the column id to BIGINT before the gateway can write no more rows";
            return Ok(Finding::warning("tables", found, advice));
        }
    }
    let rows = inspect::estimate_rows(db, name).await?.unwrap_or(0);
    Ok(Finding::ok("tables", format!("{name} has all columns and about {rows} rows")))
}

/// Ids of 32 bits, as in the tables of gemini-balance. SQLite has only those of 64.
fn has_short_ids(dialect: Dialect, columns: &[ColumnInfo]) -> bool {
    let id = columns.iter().find(|column| column.name.eq_ignore_ascii_case(ID));
    dialect != Dialect::Sqlite
        && id.is_some_and(|id| ["integer", "int"].contains(&id.kind.to_lowercase().as_str()))
}

fn fault(found: &[ColumnInfo], Column { name, kind }: Column) -> Option<String> {
    let (content, types) = expected(kind)?;
    let Some(column) = found.iter().find(|column| column.name.eq_ignore_ascii_case(name)) else {
        return Some(format!("the column {name} is missing"));
    };
    let kind = column.kind.to_lowercase();
    let zoned = kind.contains("with time zone") || kind.contains("timestamptz");
    let fits = types.split(' ').any(|known| kind.contains(known)) && !zoned;
    (!fits).then(|| format!("{name} is `{kind}` and should be {content}"))
}

fn index_finding(pending: &[PendingIndex], config: &DatabaseConfig, dialect: Dialect) -> Finding {
    if pending.is_empty() {
        return Finding::ok("indexes", "all exist");
    }
    let (invalid, missing): (Vec<&PendingIndex>, Vec<_>) =
        pending.iter().partition(|one| one.is_invalid);
    let found: Vec<String> =
        [("missing", missing), ("left invalid by an interrupted build", invalid)]
            .into_iter()
            .filter(|(_, indexes)| !indexes.is_empty())
            .map(|(state, indexes)| {
                let names: Vec<&str> = indexes.iter().map(|pending| pending.index.name).collect();
                format!("{state}: {}", names.join(", "))
            })
            .collect();
    let found = found.join("; ");
    if config.read_only {
        let advice = "queries scan whole tables: run `callscope migrate` once without --read-only";
        return Finding::error("indexes", found, advice);
    }
    let limit = Duration::from_secs(config.index_build_seconds);
    let is_quick = pending.iter().all(|pending| pending.build_time < limit);
    let seconds = build_time(pending).as_secs_f64().ceil();
    let advice = match dialect {
        _ if is_quick => {
            "`callscope migrate` builds them, or the next start of `callscope serve`".to_owned()
        }
        Dialect::Sqlite => format!(
            "queries scan whole tables: run `callscope migrate` at a quiet hour. It takes about {seconds} \
             seconds; during the build of each index, writes of the gateway wait or fail"
        ),
        Dialect::Postgres | Dialect::MySql => format!(
            "`callscope serve` builds them in the background, `callscope migrate` in the foreground. It \
             takes about {seconds} seconds and does not block the gateway's writes"
        ),
    };
    Finding::warning("indexes", found, advice)
}

async fn rights_finding(db: &Database, complete: bool) -> Result<Finding> {
    let own_tables = db.has_own_tables().await?;
    let missing = inspect::missing_rights(db, !own_tables).await?;
    if missing.is_empty() {
        return Ok(Finding::ok("permissions", "tables and indexes can be created"));
    }
    let found = format!("this user lacks {}", missing.join("; "));
    if complete && own_tables {
        return Ok(Finding::ok("permissions", format!("{found}; nothing is left to create")));
    }
    let advice = "run `callscope migrate` as a user with these rights, then serve as this user";
    Ok(Finding::error("permissions", found, advice))
}

/// The ids of keys need a secret, either configured or stored in the database.
async fn secret_finding(db: &Database, config: &DatabaseConfig) -> Result<Finding> {
    let subject = "ids of keys";
    if let Some(secret) = &config.id_key {
        return Ok(if secret.expose().chars().count() < key_directory::MIN_SECRET_LENGTH {
            let found = "--id-key has less than 16 characters";
            Finding::error(subject, found, "create a longer one: `openssl rand -hex 32`")
        } else {
            Finding::ok(subject, "the secret is configured")
        });
    }
    if key_directory::has_secret(db).await? {
        return Ok(Finding::ok(subject, "the secret is kept in the database"));
    }
    Ok(if config.read_only {
        let found = "there is no secret for them, and --read-only prevents storing one";
        Finding::error(
            subject,
            found,
            "set CALLSCOPE_ID_KEY to the output of `openssl rand -hex 32`",
        )
    } else {
        Finding::ok(subject, "the secret is created at the first start of the server")
    })
}

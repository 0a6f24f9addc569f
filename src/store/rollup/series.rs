//! Series (`callscope_rollup_series`): the combinations of key, model and status code that cells refer to.
//! Cells that do not distinguish keys have series without a key.

use std::collections::HashMap;

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sha2::{Digest, Sha256};

use super::SERIES;
use crate::domain::rollup::Micros;
use crate::error::{Error, Result};
use crate::store::database::Database;
use crate::store::insert::chunks;
use crate::store::rows::{VALUE, row, select_own};

const COLUMNS: [&str; 8] =
    ["id", "digest", "api_key", "model_name", "status_code", "first_id", "first_time", "last_time"];

/// The most rows of a statement.
const ROWS: usize = 512;

/// What the calls of a series have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Labels {
    /// Whether the series distinguishes keys.
    pub keyed: bool,
    pub key: Option<String>,
    pub model: Option<String>,
    pub code: Option<i64>,
}

impl Labels {
    /// Distinct for distinct labels, of any length.
    fn digest(&self) -> String {
        let mut digest = Sha256::new();
        let code = self.code.map(|code| code.to_string());
        let keyed = self.keyed.then_some("");
        for part in [keyed, self.key.as_deref(), self.model.as_deref(), code.as_deref()] {
            digest.update(part.map_or(-1, |part| part.len() as i64).to_le_bytes());
            digest.update(part.unwrap_or_default());
        }
        hex::encode(digest.finalize())
    }
}

/// The calls of a series: the lowest id, and the first and the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub first_id: i64,
    pub first: Micros,
    pub last: Micros,
}

impl Extent {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            first_id: Ord::min(self.first_id, other.first_id),
            first: Ord::min(self.first, other.first),
            last: Ord::max(self.last, other.last),
        }
    }
}

/// How exact the last time of a series is: a change is stored when it is larger. It is needed only for keys
/// of which all calls are deleted.
const LAST_TIME_STEP: Micros = 3600 * 1_000_000;
/// The most series that are remembered.
const MAX_KNOWN: usize = 50_000;

/// Series of the table, as it has them.
pub(super) type KnownSeries = HashMap<Labels, (i64, Extent)>;

/// A series with the id that it has or gets.
pub(super) struct Series {
    pub id: i64,
    labels: Labels,
    extent: Extent,
    is_changed: bool,
}

/// The series of calls that are to be folded, in the order of `found`. New ones get the next ids. Those that
/// are read from the table are added to `known`.
pub(super) async fn resolve(
    db: &Database,
    found: Vec<(Labels, Extent)>,
    known: &mut KnownSeries,
) -> Result<Vec<Series>> {
    let mut next = 0;
    if found.iter().any(|(labels, _)| !known.contains_key(labels)) {
        if known.len() + found.len() > MAX_KNOWN {
            known.clear();
        }
        read(db, found.iter().map(|(labels, _)| labels), known).await?;
        next = last_id(db).await?;
    }
    let resolved = found.into_iter().map(|(labels, extent)| match known.get(&labels) {
        Some((id, before)) => {
            let extent = before.and(extent);
            let is_changed = (extent.first_id, extent.first) != (before.first_id, before.first)
                || extent.last - before.last >= LAST_TIME_STEP;
            Series { id: *id, labels, extent, is_changed }
        }
        None => {
            next += 1;
            Series { id: next, labels, extent, is_changed: true }
        }
    });
    Ok(resolved.collect())
}

/// Adds those of `wanted` that the table has to `known`.
async fn read(
    db: &Database,
    wanted: impl Iterator<Item = &Labels>,
    known: &mut KnownSeries,
) -> Result<()> {
    row! {
        struct Known { id: i64, digest: String, first_id: i64, first_time: i64, last_time: i64 }
    }
    let mut wanted: HashMap<String, Labels> = wanted
        .filter(|labels| !known.contains_key(*labels))
        .map(|labels| (labels.digest(), labels.clone()))
        .collect();
    let digests: Vec<String> = wanted.keys().cloned().collect();
    for digests in chunks(&digests, 1, ROWS) {
        let mut select = select_own::<Known>(SERIES);
        select.and_where(Expr::col("digest").is_in(digests));
        for row in db.fetch::<Known>("rollup.series", &select).await? {
            let extent =
                Extent { first_id: row.first_id, first: row.first_time, last: row.last_time };
            if let Some(labels) = wanted.remove(&row.digest) {
                known.insert(labels, (row.id, extent));
            }
        }
    }
    Ok(())
}

/// Remembers stored series.
pub(super) fn remember(series: Vec<Series>, known: &mut KnownSeries) {
    let changed = series.into_iter().filter(|series| series.is_changed);
    known.extend(changed.map(|series| (series.labels, (series.id, series.extent))));
}

async fn last_id(db: &Database) -> Result<i64> {
    let mut select = Query::select();
    select.expr_as(Expr::cust(db.dialect().to_integer("MAX(id)")), VALUE).from(SERIES);
    let found = db.fetch_values::<Option<i64>>("rollup.last_series", &select).await?;
    Ok(found.into_iter().flatten().next().unwrap_or(0))
}

/// Stores new series and changed extents.
pub(super) async fn store(transaction: &impl ConnectionTrait, series: &[Series]) -> Result<()> {
    let changed: Vec<&Series> = series.iter().filter(|series| series.is_changed).collect();
    for changed in chunks(&changed, 1, ROWS) {
        let mut insert = Query::insert();
        insert.into_table(SERIES).columns(COLUMNS);
        for Series { id, labels, extent, .. } in changed {
            insert
                .values([
                    (*id).into(),
                    labels.digest().into(),
                    labels.key.clone().into(),
                    labels.model.clone().into(),
                    labels.code.into(),
                    extent.first_id.into(),
                    extent.first.into(),
                    extent.last.into(),
                ])
                .map_err(Error::internal)?;
        }
        insert.on_conflict(
            OnConflict::column("id")
                .update_columns(["first_id", "first_time", "last_time"])
                .to_owned(),
        );
        transaction.execute(&insert).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_labels_have_distinct_digests() {
        let labels = |keyed, key: Option<&str>, model: Option<&str>, code| Labels {
            keyed,
            key: key.map(str::to_owned),
            model: model.map(str::to_owned),
            code,
        };
        let all = [
            labels(true, Some("ab"), Some("c"), Some(200)),
            labels(true, Some("a"), Some("bc"), Some(200)),
            labels(true, None, Some("c"), Some(200)),
            labels(false, None, Some("c"), Some(200)),
            labels(true, Some(""), Some("c"), Some(200)),
            labels(true, Some("c"), None, Some(200)),
            labels(true, Some("c"), Some("200"), None),
        ];
        let digests: std::collections::HashSet<String> = all.iter().map(Labels::digest).collect();
        assert_eq!(digests.len(), all.len());
    }
}

//! Counts of calls in windows. The database computes them from an index only.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, Query, SelectStatement};

use super::call::CallScope;
use super::call_dimension::CallDimension;
use super::database::Database;
use super::filter::succeeded;
use super::page::unions;
use super::rollup::{self, Numbering, Sum, SumRequest};
use super::rows::{columns, row};
use super::source::Source;
use crate::domain::counts::CallCounts;
use crate::domain::table::{API_KEY, LogTable};
use crate::domain::window::{Window, pieces};
use crate::error::Result;

/// Branches of one statement: the limit of SQLite is 500.
const MAX_BRANCHES: usize = 250;
/// Pieces of one statement with cells: each has up to seven branches.
const MAX_SPANS: usize = 40;
/// Keys of one branch.
const MAX_KEYS: usize = 500;

/// The calls of a window, for all keys or for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CountQuery {
    pub window: Window,
    pub key: Option<String>,
}

/// The counts of each of `queries`, in their order. Overlapping windows are split into pieces of time,
/// and each piece is counted once. One statement for 250 pieces.
pub async fn counts(db: &Database, queries: &[CountQuery]) -> Result<Vec<CallCounts>> {
    let plan = Plan::of(queries);
    let mut counted: HashMap<(usize, Option<String>), CallCounts> = HashMap::new();
    let mut uncounted = vec![];
    for part in plan.parts() {
        match plan.sums(db, &part).await? {
            Some(sums) => counted.extend(sums),
            None => uncounted.extend(part),
        }
    }
    for union in unions(plan.branches(db, uncounted), MAX_BRANCHES) {
        for row in db.fetch::<Counted>("usage.counts", &union).await? {
            let counts = CallCounts { total: row.total, success: row.success };
            counted.insert((row.piece as usize, row.key), counts);
        }
    }
    let count = |query: &CountQuery| {
        let mut sum = CallCounts::default();
        for piece in plan.pieces_of(query) {
            sum += counted.get(&(piece, query.key.clone())).copied().unwrap_or_default();
        }
        sum
    };
    Ok(queries.iter().map(count).collect())
}

row! {
    /// The calls of one piece of time, for all keys or for one.
    struct Counted { piece: i64, key: Option<String>, total: i64, success: i64 }
}

/// The pieces of time to count: those for all keys together, then those for single keys.
struct Plan<'a> {
    pieces: Vec<Window>,
    first_keyed: usize,
    keys: Vec<&'a String>,
}

impl<'a> Plan<'a> {
    fn of(queries: &'a [CountQuery]) -> Self {
        let pieces_of = |keyed| {
            let of = queries.iter().filter(|query| query.key.is_some() == keyed);
            pieces(&of.map(|query| query.window).collect::<Vec<_>>())
        };
        let mut pieces = pieces_of(false);
        let first_keyed = pieces.len();
        pieces.extend(pieces_of(true));
        let keys: BTreeSet<&String> =
            queries.iter().filter_map(|query| query.key.as_ref()).collect();
        Self { pieces, first_keyed, keys: keys.into_iter().collect() }
    }

    /// The numbers of the pieces, split into parts for one statement each.
    fn parts(&self) -> Vec<Range<usize>> {
        let mut parts = vec![];
        for Range { start, end } in [0..self.first_keyed, self.first_keyed..self.pieces.len()] {
            let starts = (start..end).step_by(MAX_SPANS);
            parts.extend(starts.map(|start| start..end.min(start + MAX_SPANS)));
        }
        parts
    }

    /// The counts of pieces by rollups, either all keyed or none; None if single calls must be counted.
    async fn sums(
        &self,
        db: &Database,
        part: &Range<usize>,
    ) -> Result<Option<Vec<((usize, Option<String>), CallCounts)>>> {
        let is_keyed = part.start >= self.first_keyed;
        let keys = is_keyed.then(|| self.keys.iter().map(|key| (*key).clone()).collect());
        let numbered =
            |number: usize| (Numbering::One(number), rollup::span(db.zone(), self.pieces[number]));
        let request = SumRequest {
            scope: &CallScope { keys, ..CallScope::default() },
            by: if is_keyed { &[CallDimension::ApiKey] } else { &[] },
            latency: false,
            spans: part.clone().map(numbered).collect(),
            borders: &[],
            with_deleted: true,
        };
        let sums = rollup::sums(db, "usage.counts_rollup", &request).await?;
        let counts = |sum: Sum| ((sum.group.number, sum.group.key), sum.counts);
        Ok(sums.map(|sums| sums.into_iter().map(counts).collect()))
    }

    /// Statements that count the single calls of pieces.
    fn branches(
        &self,
        db: &Database,
        numbers: Vec<usize>,
    ) -> impl Iterator<Item = SelectStatement> {
        numbers.into_iter().flat_map(move |number| {
            let piece = self.pieces[number];
            if number < self.first_keyed {
                vec![branch(db, number, piece, None)]
            } else {
                let chunks = self.keys.chunks(MAX_KEYS);
                chunks.map(|keys| branch(db, number, piece, Some(keys))).collect()
            }
        })
    }

    fn pieces_of(&self, query: &CountQuery) -> impl Iterator<Item = usize> {
        let numbers = match query.key {
            None => 0..self.first_keyed,
            Some(_) => self.first_keyed..self.pieces.len(),
        };
        numbers.filter(|number| query.window.contains(self.pieces[*number]))
    }
}

/// Counts the calls of one piece of time: all calls, or those of each of `keys`.
fn branch(
    db: &Database,
    number: usize,
    piece: Window,
    keys: Option<&[&String]>,
) -> SelectStatement {
    let dialect = db.dialect();
    let key = keys.map_or(dialect.null(true), |_| dialect.text(API_KEY));
    let success: Expr = CaseStatement::new().case(succeeded(), 1).into();
    let mut branch = Query::select();
    let totals = [Expr::cust("COUNT(*)"), success.count()];
    columns::<Counted>(&mut branch, [dialect.number(number), key].into_iter().chain(totals));
    branch.from(Source::All.of(LogTable::Calls, db)).cond_where(CallScope::of(piece).condition(db));
    if let Some(keys) = keys {
        branch.cond_where(dialect.text_in(API_KEY, keys.iter().copied())).group_by_col("c_key");
    }
    branch
}

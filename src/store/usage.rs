//! Counts of calls in windows. The database computes them from an index only.

use std::collections::{BTreeSet, HashMap};

use entity::RequestLog;
use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, Query, SelectStatement};

use super::call::CallScope;
use super::database::Database;
use super::filter::succeeded;
use super::page::unions;
use super::rows::{columns, row};
use crate::domain::counts::CallCounts;
use crate::domain::table::API_KEY;
use crate::domain::window::{Window, pieces};
use crate::error::Result;

/// Branches of one statement: the limit of SQLite is 500.
const MAX_BRANCHES: usize = 250;
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
    for union in unions(plan.branches(db), MAX_BRANCHES) {
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

    fn branches(&self, db: &Database) -> impl Iterator<Item = SelectStatement> {
        self.pieces.iter().enumerate().flat_map(|(number, piece)| {
            if number < self.first_keyed {
                vec![branch(db, number, *piece, None)]
            } else {
                let chunks = self.keys.chunks(MAX_KEYS);
                chunks.map(|keys| branch(db, number, *piece, Some(keys))).collect()
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
    branch.from(RequestLog).cond_where(CallScope::of(piece).condition(db));
    if let Some(keys) = keys {
        branch.cond_where(dialect.text_in(API_KEY, keys.iter().copied())).group_by_col("c_key");
    }
    branch
}

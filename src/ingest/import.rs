//! Imports sources: each is read twice, first to check every row and to know the source by its
//! content, then to write it in batches. A batch and the note how far the source came are one
//! transaction, so that an import that was stopped, however, goes on without loss or duplicates.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;

pub use super::plan::Summary;
use super::plan::{Plan, Survey};
use super::progress::{Phase, Progress};
use super::source::{BadRow, ReadOptions, Source, SourceError};

use crate::clock::Clock;
use crate::error::Result;
use crate::store::dialect::Dialect;
use crate::store::import::{Import, Step};
use crate::store::zone::StorageZone;
use crate::store::{Database, import, write};

/// Bad rows of a source that are told one by one.
const BAD_ROWS_TOLD: u64 = 20;

/// What the user decides.
#[derive(Clone, Copy, Debug)]
pub struct ImportOptions {
    /// The zone of naive times in the sources.
    pub zone: StorageZone,
    /// Import the good rows of a source that has bad ones.
    pub skip_bad_rows: bool,
    /// Move all times so that the newest is now.
    pub shift_to_now: bool,
    /// Import sources that were imported before.
    pub again: bool,
    /// Write nothing.
    pub dry_run: bool,
}

/// One run over some sources.
pub struct Importer<'a> {
    /// `None` in a dry run without a database.
    pub db: Option<&'a Database>,
    pub dialect: Dialect,
    pub options: ImportOptions,
    pub clock: &'a Clock,
    pub progress: &'a dyn Progress,
    /// Set from outside to stop after the batch that is being written.
    pub stop: &'a AtomicBool,
}

impl Importer<'_> {
    /// Imports `sources` one after the other. A source that cannot be used is told and counted, an
    /// error of the database ends the run.
    pub async fn run(&self, sources: Vec<Source>) -> Result<Summary, SourceError> {
        let mut summary = Summary::default();
        let mut plans: Vec<Plan> = Vec::new();
        for source in sources {
            let label = source.label().to_owned();
            let plan = match self.plan(source, &mut summary).await {
                Ok(Some(plan)) => plan,
                Ok(None) if self.is_stopped() => return Ok(Summary { stopped: true, ..summary }),
                Ok(None) => continue,
                Err(error @ (SourceError::Unusable(_) | SourceError::Read(_))) => {
                    self.progress.say(&format!("{label}: refused: {error}"));
                    summary.refused += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(twin) = plans.iter().find(|twin| twin.identity == plan.identity) {
                let twin = twin.source.label();
                self.progress.say(&format!("{label}: skipped, the same content as {twin}"));
                summary.known += 1;
                continue;
            }
            plans.push(plan);
        }
        let shift = self.common_shift(&plans);
        if self.options.dry_run {
            for plan in &plans {
                self.progress.say(&plan.outlook(plan.shift(shift)));
                summary.count(plan.kind, plan.survey.good);
                summary.bad_rows += plan.survey.bad;
            }
            return Ok(summary);
        }
        if let Some(db) = self.db {
            // All at once, so that every source of a run that is stopped keeps the common shift.
            let new = plans.iter().filter(|plan| plan.earlier.is_none());
            import::register(db, &new.map(|plan| plan.entry(shift)).collect::<Vec<_>>()).await?;
            import::tune(db).await?;
            for plan in &plans {
                self.write(db, plan, shift, &mut summary).await?;
                if summary.stopped {
                    break;
                }
            }
        }
        Ok(summary)
    }

    /// Reads a source through; `None` when there is nothing to do with it, which is told.
    async fn plan(
        &self,
        source: Source,
        summary: &mut Summary,
    ) -> Result<Option<Plan>, SourceError> {
        // Of a table that was imported before only what came later is read.
        let known = match source.fixed_identity() {
            Some(identity) => self.earlier(identity).await?,
            None => None,
        };
        let skip = known.as_ref().map_or(0, |known| rows(known.rows_done));
        let mut survey = Survey::default();
        let mut stream = source.read(skip, self.read_options(TimeDelta::zero()));
        self.progress.begin(source.label(), Phase::Check, source.size());
        while let Some(chunk) = stream.chunks.recv().await {
            if self.is_stopped() {
                self.progress.end();
                return Ok(None);
            }
            self.progress.advance(chunk.offset);
            self.tell_bad_rows(source.label(), &chunk.bad, survey.bad);
            survey.add(&chunk);
        }
        self.progress.end();
        let end = stream.end.await??;
        if survey.bad > BAD_ROWS_TOLD {
            let more = survey.bad - BAD_ROWS_TOLD;
            self.progress.say(&format!("{}: and {more} more bad rows", source.label()));
        }
        let earlier = match source.fixed_identity() {
            Some(_) => known,
            None => self.earlier(&end.identity).await?,
        };
        let finished = earlier.as_ref().is_some_and(|earlier| earlier.finished);
        let is_file = source.fixed_identity().is_none();
        if finished && (is_file || survey.good + survey.bad == 0) {
            let label = source.label();
            self.progress.say(&format!("{label}: skipped, it was imported before (see --again)"));
            summary.known += 1;
            return Ok(None);
        }
        if survey.bad > 0 && !self.options.skip_bad_rows {
            let reason = format!(
                "{} of {} rows are bad (see --skip-bad-rows)",
                survey.bad,
                survey.good + survey.bad
            );
            return Err(SourceError::Unusable(reason));
        }
        let Some(kind) = end.kind else {
            return Err(SourceError::Unusable("it holds no row".into()));
        };
        let skip = earlier.as_ref().map_or(0, |earlier| rows(earlier.rows_done));
        Ok(Some(Plan { source, identity: end.identity, kind, survey, earlier, skip }))
    }

    /// What an earlier run left of this source, unless it is to be imported again.
    async fn earlier(&self, identity: &str) -> Result<Option<Import>> {
        let Some(db) = self.db else { return Ok(None) };
        let found = import::find(db, identity).await;
        // A dry run may look at a database that has no such table yet.
        let found = if self.options.dry_run { found.unwrap_or(None) } else { found? };
        Ok(found.filter(|found| !(found.finished && self.options.again)))
    }

    /// The shift of the sources that begin in this run.
    fn common_shift(&self, plans: &[Plan]) -> TimeDelta {
        if !self.options.shift_to_now {
            return TimeDelta::zero();
        }
        // What goes on keeps its shift; what is imported beside it stays in step with it.
        if let Some(earlier) = plans.iter().find_map(|plan| plan.earlier.as_ref()) {
            return TimeDelta::microseconds(earlier.shift_micros);
        }
        let newest =
            plans.iter().filter_map(|plan| plan.survey.times).map(|(_, newest)| newest).max();
        newest.map_or(TimeDelta::zero(), |newest| self.clock.now() - newest)
    }

    async fn write(
        &self,
        db: &Database,
        plan: &Plan,
        shift: TimeDelta,
        summary: &mut Summary,
    ) -> Result<(), SourceError> {
        let label = plan.source.label();
        let shift = plan.shift(shift);
        self.progress.say(&plan.outlook(shift));
        let total = plan.survey.good + plan.survey.bad;
        self.progress.begin(label, Phase::Write, total);
        let is_file = plan.source.fixed_identity().is_none();
        let mut written = if is_file { plan.skip } else { 0 };
        let mut step = Step {
            source: plan.identity.clone(),
            from: count(plan.skip),
            to: count(plan.skip),
            finished: false,
        };
        let mut stream = plan.source.read(plan.skip, self.read_options(shift));
        while let Some(chunk) = stream.chunks.recv().await {
            if let Some(bad) = chunk.bad.first().filter(|_| !self.options.skip_bad_rows) {
                let BadRow { place, reason } = bad;
                return Err(SourceError::Unusable(format!("{label}: {place}: {reason}")));
            }
            step = Step { from: step.to, to: count(chunk.rows_done), ..step };
            write::insert(db, &chunk.calls, &chunk.errors, Some(&step)).await?;
            summary.count(plan.kind, (chunk.calls.len() + chunk.errors.len()) as u64);
            summary.bad_rows += chunk.bad.len() as u64;
            written += chunk.rows();
            self.progress.advance(written);
            if self.is_stopped() {
                summary.stopped = true;
                self.progress.end();
                return Ok(());
            }
        }
        self.progress.end();
        if stream.end.await??.identity != plan.identity {
            return Err(SourceError::Unusable(format!("{label} changed while it was imported")));
        }
        Ok(import::finish(db, &Step { from: step.to, finished: true, ..step }).await?)
    }

    fn read_options(&self, shift: TimeDelta) -> ReadOptions {
        ReadOptions { zone: self.options.zone, dialect: self.dialect, shift }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn tell_bad_rows(&self, label: &str, bad: &[BadRow], told: u64) {
        let left = BAD_ROWS_TOLD.saturating_sub(told);
        for BadRow { place, reason } in bad.iter().take(usize::try_from(left).unwrap_or(0)) {
            self.progress.say(&format!("{label}: {place}: {reason}"));
        }
    }
}

fn rows(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

fn count(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

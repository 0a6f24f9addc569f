//! Imports sources. Each is read twice: first to check every row and to hash the content, then to write
//! it in batches. A batch and the progress of its source are one transaction, so that an interrupted
//! import resumes without lost or duplicate rows.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;

use super::chunk::{Rejection, Report};
pub use super::plan::Summary;
use super::plan::{Plan, Survey};
use super::progress::{Phase, Progress};
use super::source::{ReadOptions, Source, SourceChunk, SourceError};

use crate::clock::Clock;
use crate::error::Result;
use crate::store::dialect::Dialect;
use crate::store::import::{Import, Position, Step};
use crate::store::zone::StorageZone;
use crate::store::{Database, import, write};

/// Bad rows of a source that are reported one by one.
const MAX_REPORTED_BAD_ROWS: usize = 20;

/// The options of the command.
#[derive(Clone, Copy, Debug)]
pub struct ImportOptions {
    /// The time zone of naive times in the sources.
    pub zone: StorageZone,
    /// Import the good rows of a source that also has bad rows.
    pub skip_bad_rows: bool,
    /// Shift all times so that the newest is now.
    pub shift_to_now: bool,
    /// Import sources that were imported before.
    pub again: bool,
    /// Write nothing.
    pub dry_run: bool,
}

/// One import run.
pub struct Importer<'a> {
    /// `None` in a dry run without a database.
    pub db: Option<&'a Database>,
    pub dialect: Dialect,
    pub options: ImportOptions,
    pub clock: &'a Clock,
    pub progress: &'a dyn Progress,
    /// Set by the caller to stop after the current batch.
    pub stop: &'a AtomicBool,
}

impl Importer<'_> {
    /// Imports `sources` one after the other. An unusable source is reported and counted; a database
    /// error ends the run.
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
            if let Some(duplicate) = plans.iter().find(|other| other.identity == plan.identity) {
                let other = duplicate.source.label();
                self.progress.say(&format!("{label}: skipped, the same content as {other}"));
                summary.known += 1;
                continue;
            }
            plans.push(plan);
        }
        let shift = self.common_shift(&plans);
        if self.options.dry_run {
            for plan in &plans {
                self.progress.say(&plan.describe(plan.shift(shift)));
                summary.count(plan.table, plan.survey.good);
                summary.bad_rows += plan.survey.bad;
            }
            return Ok(summary);
        }
        if let Some(db) = self.db {
            // All in one transaction, so that every source of an interrupted run keeps the common shift.
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

    /// Reads a whole source. `None` if there is nothing to import, which is reported.
    async fn plan(
        &self,
        source: Source,
        summary: &mut Summary,
    ) -> Result<Option<Plan>, SourceError> {
        // Of a table that was imported before, only newer rows are read.
        let known = match source.fixed_identity() {
            Some(identity) => self.earlier(identity).await?,
            None => None,
        };
        if let (Some(known), Source::Table(table)) = (&known, &source)
            && (1..known.position.rows_done).contains(&table.last_id())
        {
            self.progress.say(&format!(
                "{}: its ids end below the last imported one: if it was emptied, use --again",
                source.label()
            ));
        }
        let mut survey = Survey::default();
        let mut stream = source.read(&start(known.as_ref()), self.read_options(TimeDelta::zero()));
        self.progress.start(source.label(), Phase::Check, source.size());
        while let Some(SourceChunk { chunk, offset, .. }) = stream.chunks.recv().await {
            if self.is_stopped() {
                self.progress.finish();
                return Ok(None);
            }
            self.progress.advance(offset);
            self.report_bad_rows(&source, &chunk.report, survey.bad);
            survey.add(&chunk);
        }
        self.progress.finish();
        let end = stream.end.await??;
        let more = survey.bad.saturating_sub(MAX_REPORTED_BAD_ROWS as u64);
        if more > 0 {
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
        let Some(table) = end.table else {
            return Err(SourceError::Unusable("it contains no rows".into()));
        };
        let start = start(earlier.as_ref());
        Ok(Some(Plan { source, identity: end.identity, table, survey, earlier, start }))
    }

    /// The progress of an earlier run, unless the source is to be imported again.
    async fn earlier(&self, identity: &str) -> Result<Option<Import>> {
        let Some(db) = self.db else { return Ok(None) };
        let found = import::find(db, identity).await;
        // In a dry run the table may not exist yet.
        let found = if self.options.dry_run { found.unwrap_or(None) } else { found? };
        Ok(found.filter(|found| !(found.finished && self.options.again)))
    }

    /// The shift of sources that start in this run.
    fn common_shift(&self, plans: &[Plan]) -> TimeDelta {
        if !self.options.shift_to_now {
            return TimeDelta::zero();
        }
        // A resumed source keeps its shift, and new sources of the run use the same.
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
        self.progress.say(&plan.describe(shift));
        let total = plan.survey.good + plan.survey.bad;
        self.progress.start(label, Phase::Write, total);
        let is_file = plan.source.fixed_identity().is_none();
        let mut written = if is_file { plan.start.rows_done } else { 0 };
        let mut step = Step {
            source: plan.identity.clone(),
            from: plan.start.clone(),
            to: plan.start.clone(),
            finished: false,
        };
        let mut stream = plan.source.read(&plan.start, self.read_options(shift));
        while let Some(SourceChunk { chunk, position, .. }) = stream.chunks.recv().await {
            let Report { rejected, rejections, .. } = &chunk.report;
            if let Some(bad) = rejections.first().filter(|_| !self.options.skip_bad_rows) {
                return Err(SourceError::Unusable(describe(&plan.source, bad)));
            }
            step = Step { from: step.to, to: position, ..step };
            write::insert(db, &chunk.batch, Some(&step)).await?;
            summary.count(plan.table, chunk.accepted);
            summary.bad_rows += rejected;
            written += chunk.accepted + rejected;
            self.progress.advance(written);
            if self.is_stopped() {
                summary.stopped = true;
                self.progress.finish();
                return Ok(());
            }
        }
        self.progress.finish();
        let end = stream.end.await??;
        if end.identity != plan.identity {
            return Err(SourceError::Unusable(format!("{label} changed while it was imported")));
        }
        if end.forgotten > 0 {
            self.progress.say(&format!(
                "{label}: {} of the ranges of missing ids are too many to be remembered: if a transaction with such an \
                 id commits later, its rows are not imported",
                end.forgotten
            ));
        }
        Ok(import::finish(db, &Step { from: step.to.clone(), finished: true, ..step }).await?)
    }

    fn read_options(&self, shift: TimeDelta) -> ReadOptions {
        ReadOptions { zone: self.options.zone, dialect: self.dialect, shift }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn report_bad_rows(&self, source: &Source, report: &Report, reported: u64) {
        let reported = usize::try_from(reported).unwrap_or(usize::MAX);
        let left = MAX_REPORTED_BAD_ROWS.saturating_sub(reported);
        for bad in report.rejections.iter().take(left) {
            self.progress.say(&describe(source, bad));
        }
    }
}

fn describe(source: &Source, Rejection { line, reason }: &Rejection) -> String {
    format!("{}: {} {line}: {reason}", source.label(), source.row_label())
}

fn start(earlier: Option<&Import>) -> Position {
    earlier.map(|earlier| earlier.position.clone()).unwrap_or_default()
}

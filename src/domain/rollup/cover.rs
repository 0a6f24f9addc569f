//! Which cells and which single calls add up to a span of time.

use std::ops::Range;

use super::{Level, Micros};

/// The cells of a level that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    pub level: Level,
    /// Cells of earlier times do not exist.
    pub since: Option<Micros>,
}

/// The parts of a span, which do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// Spans of which the single calls are counted.
    pub calls: Vec<Range<Micros>>,
    /// Spans of which the cells of a level are added up.
    pub cells: Vec<(Level, Range<Micros>)>,
    /// An end of the span was moved to the start of its cell.
    pub is_rounded: bool,
}

impl Cover {
    /// Covers `span` with the coarsest cells of `levels`, which are sorted by length, the longest first.
    /// Calls before `kept_since` may be deleted: an end of the span in a cell that has such calls is moved to
    /// the start of the cell. Both ends move in the same direction, so that adjacent spans stay adjacent.
    pub fn of(span: Range<Micros>, levels: &[Available], kept_since: Option<Micros>) -> Self {
        let mut cover = Self::default();
        let kept_since = kept_since.unwrap_or(Micros::MIN);
        let finest_at = |at: Micros| {
            let exists = |one: &&Available| one.since.is_none_or(|since| since <= at);
            levels.iter().rev().find(exists).map(|one| one.level)
        };
        let round = |at: Micros| match finest_at(at) {
            Some(level) if level.floor(at) < kept_since => level.floor(at),
            _ => at,
        };
        if span.is_empty() {
            return cover;
        }
        let rounded = round(span.start)..round(span.end);
        cover.is_rounded = rounded != span;
        cover.add(rounded, levels);
        cover
    }

    /// The parts of two spans.
    pub fn and(mut self, other: Self) -> Self {
        self.calls.extend(other.calls);
        self.cells.extend(other.cells);
        self.is_rounded |= other.is_rounded;
        self.calls.retain(|span| !span.is_empty());
        self
    }

    fn add(&mut self, span: Range<Micros>, levels: &[Available]) {
        if span.is_empty() {
            return;
        }
        let Some((Available { level, since }, finer)) = levels.split_first() else {
            self.calls.push(span);
            return;
        };
        let first = since.map_or(span.start, |since| since.max(span.start));
        let inner = level.ceil(first)..level.floor(span.end);
        if inner.is_empty() {
            return self.add(span, finer);
        }
        self.add(span.start..inner.start, finer);
        self.cells.push((*level, inner.clone()));
        self.add(inner.end..span.end, finer);
    }

    /// The spans of all cells, of which adjacent ones are joined.
    pub fn cell_spans(&self) -> Vec<Range<Micros>> {
        let mut spans: Vec<Range<Micros>> = vec![];
        for (_, span) in &self.cells {
            match spans.last_mut() {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => spans.push(span.clone()),
            }
        }
        spans
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a cover is a list of ranges")]
mod tests {
    use super::*;

    const MINUTE: Micros = 60_000_000;
    const HOUR: Micros = 60 * MINUTE;

    fn levels(minutes_since: Option<Micros>) -> [Available; 2] {
        [
            Available { level: Level::Hour, since: None },
            Available { level: Level::Minute, since: minutes_since },
        ]
    }

    #[test]
    fn whole_cells_are_inside_and_calls_at_the_ends() {
        let span = HOUR - 90_000_000..3 * HOUR + 2 * MINUTE + 1;
        let cover = Cover::of(span, &levels(None), None);
        assert_eq!(
            cover.calls,
            [HOUR - 90_000_000..HOUR - MINUTE, 3 * HOUR + 2 * MINUTE..3 * HOUR + 2 * MINUTE + 1]
        );
        assert_eq!(
            cover.cells,
            [
                (Level::Minute, HOUR - MINUTE..HOUR),
                (Level::Hour, HOUR..3 * HOUR),
                (Level::Minute, 3 * HOUR..3 * HOUR + 2 * MINUTE),
            ]
        );
        assert_eq!(cover.cell_spans(), [HOUR - MINUTE..3 * HOUR + 2 * MINUTE]);
        assert!(!cover.is_rounded);
    }

    #[test]
    fn a_span_without_whole_cells_is_calls() {
        let cover = Cover::of(5..MINUTE + 5, &levels(None), None);
        assert_eq!((cover.calls.as_slice(), cover.cells.len()), ([5..MINUTE + 5].as_slice(), 0));
        assert_eq!(Cover::of(7..7, &levels(None), Some(HOUR)), Cover::default());
        let cover = Cover::of(0..HOUR, &[], None);
        assert_eq!(cover.calls, [0..HOUR]);
    }

    #[test]
    fn levels_begin_at_their_first_cell() {
        let cover = Cover::of(10 * MINUTE..HOUR + 20 * MINUTE, &levels(Some(HOUR)), None);
        assert_eq!(cover.calls, [10 * MINUTE..HOUR]);
        assert_eq!(cover.cells, [(Level::Minute, HOUR..HOUR + 20 * MINUTE)]);
    }

    #[test]
    fn ends_before_the_first_call_are_rounded() {
        let kept = Some(2 * HOUR + 5);
        let cover = Cover::of(90 * MINUTE + 1..4 * HOUR + 1, &levels(Some(3 * HOUR)), kept);
        assert_eq!(cover.cells, [(Level::Hour, HOUR..4 * HOUR)]);
        assert_eq!(cover.calls, [4 * HOUR..4 * HOUR + 1]);
        assert!(cover.is_rounded);
        let cover = Cover::of(90 * MINUTE..91 * MINUTE + 1, &levels(None), kept);
        assert_eq!(cover.cells, [(Level::Minute, 90 * MINUTE..91 * MINUTE)]);
        assert!(cover.is_rounded && cover.calls.is_empty());
        let cover = Cover::of(2 * HOUR..4 * HOUR, &levels(None), kept);
        assert!(!cover.is_rounded && cover.calls.is_empty());
        // Some calls of the hour are deleted, the others are not enough.
        let hours = &levels(Some(5 * HOUR));
        let cover = Cover::of(HOUR..2 * HOUR + 40 * MINUTE, hours, kept);
        assert_eq!((cover.cells, cover.calls), (vec![(Level::Hour, HOUR..2 * HOUR)], vec![]));
        assert!(cover.is_rounded);
    }

    #[test]
    fn times_before_1970_have_cells_too() {
        assert_eq!(Level::Minute.floor(-1), -MINUTE);
        assert_eq!(Level::Minute.ceil(-1), 0);
        let cover = Cover::of(-HOUR - 1..0, &levels(None), None);
        assert_eq!(cover.cells, [(Level::Hour, -HOUR..0)]);
        assert_eq!(cover.calls, [-HOUR - 1..-HOUR]);
    }
}

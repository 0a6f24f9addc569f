//! Clocks: compares the clock of the database with this machine's, and the time of the newest call with the
//! configured time zone of the tables.

use chrono::{DateTime, Offset, TimeDelta, TimeZone, Utc};

use super::Finding;
use crate::clock::Clock;
use crate::domain::window::Window;
use crate::error::Result;
use crate::store::call::{self, CallListQuery, CallOrder, CallScope};
use crate::store::page::PageRequest;
use crate::store::{Database, inspect};

/// The largest normal difference between two clocks.
const TOLERANCE: TimeDelta = TimeDelta::seconds(5);
/// A call further in the future means a wrong time zone.
const FUTURE: TimeDelta = TimeDelta::minutes(5);
/// The newest call of a busy gateway is newer than this.
const QUIET: TimeDelta = TimeDelta::minutes(30);

pub(super) async fn check(db: &Database, clock: &Clock, tables: bool) -> Vec<Finding> {
    let mut findings = vec![];
    match inspect::now(db).await {
        Ok(Some(database)) => findings.push(difference(database, clock.now())),
        Ok(None) => {}
        Err(error) => findings.push(Finding::failed("clock", &error)),
    }
    if tables {
        findings.push(match newest_call(db, clock.now()).await {
            Ok(newest) => zone(db, newest, clock.now()),
            Err(error) => Finding::failed("time zone", &error),
        });
    }
    findings
}

fn difference(database: DateTime<Utc>, local: DateTime<Utc>) -> Finding {
    let ahead = database - local;
    if ahead.abs() <= TOLERANCE {
        return Finding::ok("clock", "the clock of the database is the same");
    }
    let side = if ahead > TimeDelta::zero() { "ahead of" } else { "behind" };
    let seconds = ahead.abs().num_seconds();
    let found =
        format!("the clock of the database is {seconds} s {side} the clock of this machine");
    Finding::error("clock", found, "synchronize both clocks by NTP: windows end at the local time")
}

async fn newest_call(db: &Database, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    // No time zone differs by more than a day.
    let all = Window { since: DateTime::UNIX_EPOCH, until: now + TimeDelta::days(2) };
    let page = PageRequest { limit: 1, backward: false, after: None, before: None };
    let query = CallListQuery { scope: CallScope::of(all), order: CallOrder::NewestFirst, page };
    Ok(call::list(db, &query).await?.rows.first().map(|call| call.timestamp))
}

fn zone(db: &Database, newest: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Finding {
    let subject = "time zone";
    let zone = db.zone().0;
    let Some(newest) = newest else {
        return Finding::ok(subject, format!("{zone}; there are no calls to verify it"));
    };
    let ahead = newest - now;
    let offset = zone.offset_from_utc_datetime(&now.naive_utc()).fix().local_minus_utc();
    let shown = newest.format("%F %T");
    if ahead > FUTURE {
        let real = TimeDelta::seconds(offset.into()) + quarters(ahead);
        let found = format!(
            "the newest call is {} in the future ({shown} UTC, if its time zone is {zone})",
            words(ahead)
        );
        let advice = format!(
            "the gateway's time zone is UTC{}: --storage-time-zone {}",
            signed(real),
            example(real)
        );
        return Finding::error(subject, found, advice);
    }
    if -ahead > QUIET {
        let real = TimeDelta::seconds(offset.into()) - quarters(-ahead);
        let found = format!("{zone}; the newest call is {} old ({shown} UTC)", words(-ahead));
        let mut advice = "if calls arrive now, ".to_owned();
        advice += &match real.num_hours() {
            -12..=14 => format!(
                "the gateway's time zone is UTC{}: --storage-time-zone {}",
                signed(real),
                example(real)
            ),
            _ => "the gateway writes to another database".to_owned(),
        };
        return Finding::warning(subject, found, advice);
    }
    Finding::ok(subject, format!("{zone}; the newest call is {} old", words(-ahead)))
}

/// Rounds to quarters of an hour, the step of time zones.
fn quarters(span: TimeDelta) -> TimeDelta {
    TimeDelta::minutes((span.num_minutes() + 7) / 15 * 15)
}

fn words(span: TimeDelta) -> String {
    let minutes = span.num_minutes().max(0);
    match (minutes / (24 * 60), minutes / 60, minutes) {
        (days @ 2.., _, _) => format!("{days} days"),
        (_, hours @ 2.., _) => format!("{hours} hours {} minutes", minutes % 60),
        (_, _, minutes) => format!("{minutes} minutes"),
    }
}

/// `+08:00`.
fn signed(offset: TimeDelta) -> String {
    let minutes = offset.num_minutes();
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// A zone with this offset: a well-known one, or one with a fixed offset.
fn example(offset: TimeDelta) -> String {
    let known = match offset.num_minutes() {
        480 => Some("Asia/Shanghai"),
        540 => Some("Asia/Tokyo"),
        330 => Some("Asia/Kolkata"),
        345 => Some("Asia/Kathmandu"),
        210 => Some("Asia/Tehran"),
        570 => Some("Australia/Darwin"),
        0 => Some("UTC"),
        _ => None,
    };
    let hours = offset.num_hours();
    known.map_or_else(
        || match offset.num_minutes() % 60 {
            // The signs of these names are inverted.
            0 => format!("Etc/GMT{}{}", if hours > 0 { '-' } else { '+' }, hours.abs()),
            _ => "NAME".to_owned(),
        },
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_zones() {
        let zone = |minutes| example(TimeDelta::minutes(minutes));
        assert_eq!([zone(480), zone(-300), zone(120)], ["Asia/Shanghai", "Etc/GMT+5", "Etc/GMT-2"]);
        assert_eq!(signed(TimeDelta::minutes(-210)), "-03:30");
        for known in [480, 540, 330, 345, 210, 570, -300, 120] {
            let zone: chrono_tz::Tz = zone(known).parse().unwrap();
            let winter = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
            let offset = zone.offset_from_utc_datetime(&winter.naive_utc()).fix();
            assert_eq!(i64::from(offset.local_minus_utc()), known * 60, "{zone}");
        }
    }

    #[test]
    fn spans_are_written_in_words() {
        let text = |minutes| words(TimeDelta::minutes(minutes));
        assert_eq!([text(7), text(485), text(4000)], ["7 minutes", "8 hours 5 minutes", "2 days"]);
    }
}

//! `callSeries`.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::call_model::{STATS, Sample, at, rounded, samples, stats, text, times};
use super::support::{CallRow, Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    empty_buckets_are_filled_and_edges_cut,
    buckets_follow_the_time_zone,
    a_bucket_ends_with_its_last_microsecond,
    bucket_counts_add_up_to_the_usage,
    summer_time_changes_lose_no_call,
    an_unusual_time_text_is_in_one_bucket.only(&[Kind::Sqlite]),
    the_default_interval_fits_each_period,
    more_than_1500_buckets_are_refused,
    a_series_needs_one_statement,
    bad_intervals_are_refused,
}

async fn series(app: &TestApp, args: &str) -> Vec<Value> {
    let query = format!("{{ callSeries({args}) {{ start end {STATS} }} }}");
    rounded(&app.data(&query).await["callSeries"]).as_array().expect("buckets").clone()
}

fn between(since: &str, until: &str) -> String {
    format!("between: {{ since: \"{since}\", until: \"{until}\" }}")
}

async fn empty_buckets_are_filled_and_edges_cut(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database
        .insert(&[
            CallRow::at("2026-03-01T10:50:30.5Z"),
            CallRow::at("2026-03-01T10:54:59.999999Z").status(429),
            CallRow::at("2026-03-01T11:05:00Z").latency(300),
            CallRow::at("2026-03-01T11:05:20.249999Z").latency(100),
            CallRow::at("2026-03-01T10:50:30.499999Z"),
            CallRow::at("2026-03-01T11:05:20.25Z"),
        ])
        .await;
    let window = between("2026-03-01T10:50:30.5Z", "2026-03-01T11:05:20.25Z");
    let query = format!(
        "{{ callSeries({window}, interval: \"PT5M\") {{
            start end counts {{ total success }} latency {{ count p50 }} }} }}"
    );
    let bucket = |start: &str, end: &str, total, success, p50: Option<f64>| {
        json!({
            "start": format!("2026-03-01T{start}Z"), "end": format!("2026-03-01T{end}Z"),
            "counts": { "total": total, "success": success },
            "latency": { "count": total, "p50": p50 },
        })
    };
    assert_eq!(
        app.data(&query).await["callSeries"],
        json!([
            bucket("10:50:30.5", "10:55:00", 2, 1, Some(100.0)),
            bucket("10:55:00", "11:00:00", 0, 0, None),
            bucket("11:00:00", "11:05:00", 0, 0, None),
            bucket("11:05:00", "11:05:20.25", 2, 2, Some(200.0)),
        ])
    );
}

/// The expected `series`: a bucket starts whenever the zone's clock shows a multiple of `step` since
/// midnight. Valid only for steps that divide a day, and zone offsets that are multiples of 15 minutes.
fn expected(
    calls: &[Sample],
    (since, until): (&str, &str),
    step: TimeDelta,
    zone: Tz,
) -> Vec<Value> {
    let (since, until) = (at(since), at(until));
    let shows_a_multiple = |time: &DateTime<Utc>| {
        let clock = time.with_timezone(&zone).time() - NaiveTime::MIN;
        clock.num_seconds() % step.num_seconds() == 0
    };
    let quarters = std::iter::successors(Some(at("2026-01-01T00:00:00Z")), |time| {
        Some(*time + TimeDelta::minutes(15))
    });
    let inner = quarters.skip_while(|time| *time <= since).take_while(|time| *time < until);
    let mut bounds = vec![since];
    bounds.extend(inner.filter(shows_a_multiple));
    bounds.push(until);
    let bucket = |ends: &[DateTime<Utc>]| {
        let own = calls.iter().filter(|call| ends[0] <= call.at && call.at < ends[1]);
        let mut bucket = stats(own);
        bucket["start"] = text(ends[0]).into();
        bucket["end"] = text(ends[1]).into();
        bucket
    };
    bounds.windows(2).map(bucket).collect()
}

async fn buckets_follow_the_time_zone(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let hours = TimeDelta::hours;
    let spring = ("2026-03-27T10:10:10.5Z", "2026-03-31T01:02:03Z");
    let autumn = ("2026-10-23T10:10:10.5Z", "2026-10-27T01:02:03Z");
    for window in [spring, autumn] {
        database.execute("DELETE FROM t_request_log").await;
        let quarter = TimeDelta::minutes(15);
        let day = |time: &str| format!("{}T00:00:00Z", &time[..10]);
        let calls = samples(500, times(&day(window.0), &day(window.1), quarter));
        database.insert(&calls.iter().map(Sample::row).collect::<Vec<_>>()).await;
        for zone in [Tz::UTC, Tz::Europe__Berlin, Tz::Asia__Kathmandu, Tz::America__St_Johns] {
            for (interval, step) in [("PT1H", hours(1)), ("PT6H", hours(6)), ("P1D", hours(24))] {
                let range = between(window.0, window.1);
                let args = format!("{range}, interval: \"{interval}\", timeZone: \"{zone}\"");
                let expected = expected(&calls, window, step, zone);
                assert_eq!(json!(series(&app, &args).await), json!(expected), "{args}");
            }
        }
    }
}

async fn a_bucket_ends_with_its_last_microsecond(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let window = ("2026-03-01T11:00:00Z", "2026-03-01T11:01:30Z");
    let every = times(window.0, window.1, TimeDelta::seconds(1));
    database.insert(&every.iter().map(|at| CallRow::at_stored(*at)).collect::<Vec<_>>()).await;
    for (interval, seconds) in [("PT1S", 1), ("PT5S", 5)] {
        let args = format!("{}, interval: \"{interval}\"", between(window.0, window.1));
        let found = series(&app, &args).await;
        let totals: Vec<i64> = found.iter().filter_map(|b| b["counts"]["total"].as_i64()).collect();
        assert_eq!(totals, vec![2 * seconds; 90 / seconds as usize], "{interval}");
    }
}

async fn summer_time_changes_lose_no_call(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.database.storage_time_zone = Tz::Europe__Berlin;
    })
    .await;
    // The readings of Berlin's clock around its change to and from summer time, including the skipped
    // and the repeated hour.
    for (day, since, until) in [
        ("2026-03-29", "2026-03-28T22:00:00Z", "2026-03-29T10:00:00Z"),
        ("2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T10:00:00Z"),
    ] {
        database.execute("DELETE FROM t_request_log").await;
        let quarter = TimeDelta::minutes(15);
        let every = times(&format!("{day}T00:00:00Z"), &format!("{day}T08:00:00Z"), quarter);
        database.insert(&every.iter().map(|at| CallRow::at_stored(*at)).collect::<Vec<_>>()).await;
        let range = between(since, until);
        for interval in ["PT10M", "PT1H", "PT6H", "P1D"] {
            let found = series(&app, &format!("{range}, interval: \"{interval}\"")).await;
            let totals = found.iter().filter_map(|bucket| bucket["counts"]["total"].as_i64());
            assert_eq!(totals.sum::<i64>(), every.len() as i64, "{day} by {interval}");
        }
        let data = app
            .data(&format!("{{ callDetails({range}, first: 1000, orderBy: OLDEST_FIRST) {{ totalCount nodes {{ timestamp }} }} }}"))
            .await;
        assert_eq!(data["callDetails"]["totalCount"], every.len());
    }
}

async fn bucket_counts_add_up_to_the_usage(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let calls =
        samples(400, times("2026-02-28T12:00:00Z", "2026-03-01T12:10:00Z", TimeDelta::minutes(5)));
    database.insert(&calls.iter().map(Sample::row).collect::<Vec<_>>()).await;
    for (period, window, key) in [
        ("LAST_HOUR", "lastHour", "null"),
        ("LAST_8_HOURS", "last8Hours", "\"key-a\""),
        ("LAST_24_HOURS", "last24Hours", "\"KEY-A\""),
        ("CURRENT_MONTH", "currentMonth", "null"),
    ] {
        let counts = "total success failure";
        for interval in ["null", "\"PT1M\"", "\"PT7M\"", "\"PT59M59S\"", "\"P7D\""] {
            let data = app
                .data(&format!(
                    "{{ usageStats(key: {key}, timeZone: \"Asia/Kolkata\") {{ {window} {{ {counts} }} }}
                        callSeries(key: {key}, timeZone: \"Asia/Kolkata\", period: {period}, interval: {interval}) {{
                            counts {{ {counts} }} }} }}"
                ))
                .await;
            let Value::Array(buckets) = &data["callSeries"] else { panic!("{data}") };
            let sum = |field: &str| -> i64 {
                buckets.iter().filter_map(|bucket| bucket["counts"][field].as_i64()).sum()
            };
            let sums = json!({
                "total": sum("total"), "success": sum("success"), "failure": sum("failure"),
            });
            assert_eq!(sums, data["usageStats"][window], "{period} by {interval}");
            assert_ne!(sums["total"], 0, "{period}");
        }
    }
}

async fn an_unusual_time_text_is_in_one_bucket(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let texts = [
        "2026-03-01 11:00:00",
        "2026-03-01 11:00:00.5",
        "2026-03-01 10:59:59.9999999",
        "2026-03-01 11:30",
        "2026-03-01 11:45:00Z",
    ];
    let rows: Vec<CallRow> = texts.iter().map(|time| CallRow::at_stored(*time)).collect();
    database.insert(&rows).await;
    let range = between("2026-03-01T10:00:00Z", "2026-03-01T13:30:00Z");
    let found = series(&app, &format!("{range}, interval: \"PT15M\"")).await;
    let totals: Vec<i64> = found.iter().filter_map(|b| b["counts"]["total"].as_i64()).collect();
    assert_eq!(totals, [0, 0, 0, 1, 2, 0, 1, 1, 0, 0, 0, 0, 0, 0]);
}

async fn the_default_interval_fits_each_period(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let periods = [
        "LAST_MINUTE",
        "LAST_HOUR",
        "LAST_8_HOURS",
        "LAST_24_HOURS",
        "LAST_7_DAYS",
        "LAST_30_DAYS",
        "CURRENT_MONTH",
    ];
    for as_of in ["2026-03-01T12:00:00Z", "2026-10-31T23:59:59.999999Z", "2026-03-30T03:07:11.5Z"] {
        for zone in ["UTC", "Europe/Berlin", "Asia/Kathmandu"] {
            let fields: String = periods
                .iter()
                .map(|period| {
                    format!(
                        "{period}: callSeries(period: {period}, asOf: \"{as_of}\", \
                         timeZone: \"{zone}\") {{ start }} "
                    )
                })
                .collect();
            let data = app.data(&format!("{{ {fields} }}")).await;
            for period in periods {
                let buckets = data[period].as_array().map_or(0, Vec::len);
                assert!((30..=120).contains(&buckets), "{buckets} of {period} up to {as_of}");
            }
        }
    }
}

async fn more_than_1500_buckets_are_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database.insert(&[CallRow::at("2026-03-01T00:24:59.999999Z")]).await;
    let ask = async |until: &str| {
        let range = between("2026-03-01T00:00:00Z", until);
        let fields = "start counts { total }";
        app.graphql(&format!("{{ callSeries({range}, interval: \"PT1S\") {{ {fields} }} }}")).await
    };
    let full = ask("2026-03-01T00:25:00Z").await["data"]["callSeries"].clone();
    assert_eq!(full.as_array().map(Vec::len), Some(1500));
    assert_eq!(full[1499], json!({ "start": "2026-03-01T00:24:59Z", "counts": { "total": 1 } }));
    let error = ask("2026-03-01T00:25:00.000001Z").await["errors"][0].clone();
    assert_eq!(
        error["message"],
        "`PT1S` gives more than 1500 buckets; choose a longer interval or a shorter window"
    );
    assert_eq!(error["extensions"], json!({ "code": "BAD_USER_INPUT", "argument": "interval" }));
}

async fn a_series_needs_one_statement(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for fields in ["counts { total }", "start", STATS] {
        let query = format!("{{ callSeries(period: LAST_30_DAYS) {{ {fields} }} }}");
        assert_eq!(app.statements(&query).await, 1, "{fields}");
    }
}

async fn bad_intervals_are_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for interval in ["PT0.5S", "PT1.000001S", "PT0S", "P1M", "1 hour", "", "-PT1H"] {
        let query =
            format!("{{ callSeries(period: LAST_HOUR, interval: \"{interval}\") {{ start }} }}");
        let response = app.graphql(&query).await;
        let extensions = &response["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "BAD_USER_INPUT", "{interval}: {response}");
        assert_eq!(extensions["argument"], "interval", "{interval}: {response}");
    }
    let query = "{ callSeries(period: LAST_HOUR, interval: \"P366000D\") { start end } }";
    assert_eq!(
        app.data(query).await["callSeries"],
        json!([{ "start": "2026-03-01T11:00:00Z", "end": "2026-03-01T12:00:00Z" }])
    );
}

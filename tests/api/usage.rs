//! `usageStats`.

use serde_json::json;

use super::support::{CallRow, NULL, TestApp, TestDatabase};
use crate::tests;

tests! {
    windows_are_half_open,
    all_windows_are_one_statement,
}

async fn windows_are_half_open(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    database
        .insert(&[
            CallRow::at("2026-03-01T12:00:00Z"),
            CallRow::at("2026-03-01T11:59:59.999999Z").status(429),
            CallRow::at("2026-03-01T11:59:00Z").status(NULL),
            CallRow::at("2026-03-01T11:58:59.999999Z"),
            CallRow::at("2026-02-28T23:59:59.999999Z"),
        ])
        .await;
    let counts = "{ total success failure successRate }";
    let data = app
        .data(&format!("{{ usageStats {{ asOf lastMinute {counts} lastHour {counts} currentMonth {counts} last(duration: \"PT1S\") {counts} }} }}"))
        .await;
    assert_eq!(
        data["usageStats"],
        json!({
            "asOf": "2026-03-01T12:00:00Z",
            "lastMinute": { "total": 2, "success": 0, "failure": 2, "successRate": 0.0 },
            "lastHour": { "total": 3, "success": 1, "failure": 2, "successRate": 1.0 / 3.0 },
            "currentMonth": { "total": 3, "success": 1, "failure": 2, "successRate": 1.0 / 3.0 },
            "last": { "total": 1, "success": 0, "failure": 1, "successRate": 0.0 },
        })
    );
}

async fn all_windows_are_one_statement(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let query = "{
        a: usageStats { lastMinute { total } lastHour { total } last8Hours { total } last24Hours { total }
            currentMonth { total } last(duration: \"P90D\") { total } }
        b: usageStats(key: \"key-a\") { lastHour { total } currentMonth { total } }
        serverInfo { version }
    }";
    assert_eq!(app.statements(query).await, 1);
}

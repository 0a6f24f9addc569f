//! Queries a server with the rows of `clients/data` and checks the responses.

mod client;

use std::env;

use anyhow::{Context, Result, bail, ensure};
use client::{Calls, Client, Refused, Stats, calls, stats};

fn main() -> Result<()> {
    let url = env::var("GRAPHQL_URL").context("GRAPHQL_URL")?;
    let token = env::var("GRAPHQL_TOKEN").context("GRAPHQL_TOKEN")?;
    let client = Client::new(&url, &token);
    statistics(&client)?;
    paging(&client)?;
    errors(&client, &Client::new(&url, "not-a-token-that-anybody-has"))
}

fn as_of() -> Result<chrono::DateTime<chrono::Utc>> {
    Ok("2026-11-02T12:00:00Z".parse()?)
}

fn statistics(client: &Client) -> Result<()> {
    let answer = client.query::<Stats>(stats::Variables { as_of: Some(as_of()?) })?;
    let day = &answer.usage_stats.last24_hours;
    ensure!(answer.usage_stats.as_of == as_of()?, "{answer:?}");
    ensure!((day.total, day.failure, day.success_rate) == (34, 17, Some(0.5)), "{answer:?}");
    println!("usageStats: {} of {} calls failed in 24 hours", day.failure, day.total);
    Ok(())
}

/// All throttled calls: `after` is the `endCursor` of the previous page.
fn paging(client: &Client) -> Result<()> {
    let throttled = calls::CallFilter { status_codes: Some(vec![429]), ..Default::default() };
    let mut variables =
        calls::Variables { as_of: Some(as_of()?), filter: Some(throttled), after: None };
    let mut found = vec![];
    loop {
        let page = client.query::<Calls>(variables.clone())?.call_details;
        found.extend(page.nodes);
        if !page.page_info.has_next_page {
            break;
        }
        variables.after = page.page_info.end_cursor;
    }
    ensure!(found.len() == 6, "{found:?}");
    for call in &found {
        ensure!(call.status == calls::CallStatus::Failure, "{call:?}");
        let error = call.error_log.as_ref().context("a failed call has its error log")?;
        ensure!(error.timestamp > call.timestamp, "{call:?}");
        ensure!(error.message.as_ref().is_some_and(|text| text.contains("quota")), "{call:?}");
    }
    println!("callDetails: {} throttled calls in pages of 4", found.len());
    Ok(())
}

fn errors(client: &Client, stranger: &Client) -> Result<()> {
    let stats = stats::Variables::default();
    let calls = calls::Variables { after: Some("nowhere".to_owned()), ..Default::default() };
    let codes = [code(stranger.query::<Stats>(stats))?, code(client.query::<Calls>(calls))?];
    ensure!(codes == ["UNAUTHENTICATED", "BAD_USER_INPUT"], "{codes:?}");
    println!("errors: {}", codes.join(", "));
    Ok(())
}

fn code<T>(answer: Result<T>) -> Result<String> {
    match answer {
        Ok(_) => bail!("it was answered"),
        Err(error) => Ok(error.downcast::<Refused>()?.code),
    }
}

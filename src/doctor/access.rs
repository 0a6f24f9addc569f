//! Who may ask: whether the server starts at all, what everybody may do, tokens that end.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Finding, Patient};
use crate::domain::access::Scopes;
use crate::store::Database;
use crate::store::token::{self, TokenRow};

const SUBJECT: &str = "access";

/// A token that ends so soon should be followed by another one by now.
const SOON: TimeDelta = TimeDelta::days(7);

pub(super) async fn check(db: &Database, patient: &Patient<'_>) -> Vec<Finding> {
    let stored = match token::list(db).await {
        Ok(stored) => stored,
        Err(error) => return vec![Finding::failed(SUBJECT, &error)],
    };
    let configured = patient.access.tokens.0.len();
    let now = patient.clock.now();
    let held = stored.iter().filter(|token| ends_after(token, now)).count();
    let none = configured == 0 && stored.is_empty();
    let loopback = patient.server.listen.ip().is_loopback();
    let everybody = patient.access.anonymous_scopes;
    let mut findings = vec![match everybody {
        None if none && loopback => Finding::good(
            SUBJECT,
            "there are no tokens: everybody on this machine may do everything",
        ),
        None if none => Finding::bad(
            SUBJECT,
            "there are no tokens, and the server does not start where others reach it",
            "callscope token create NAME --scopes READ",
        ),
        Some(scopes) if scopes != Scopes::NONE => Finding::doubtful(
            SUBJECT,
            format!("whoever reaches the server may {scopes}"),
            "leave --anonymous-scopes out unless that is meant",
        ),
        _ => Finding::good(SUBJECT, format!("{} tokens hold", configured + held)),
    }];
    let ending =
        stored.iter().filter(|token| ends_after(token, now) && !ends_after(token, now + SOON));
    let names: Vec<&str> = ending.map(|token| token.name.as_str()).collect();
    if !names.is_empty() {
        findings.push(Finding::doubtful(
            SUBJECT,
            format!("within 7 days these tokens end: {}", names.join(", ")),
            "callscope token create with another name",
        ));
    }
    findings
}

fn ends_after(token: &TokenRow, at: DateTime<Utc>) -> bool {
    let end = token.expires_at.as_deref().and_then(|end| end.parse::<DateTime<Utc>>().ok());
    token.revoked_at.is_none() && end.is_none_or(|end| end > at)
}

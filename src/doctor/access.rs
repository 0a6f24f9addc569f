//! Access: whether the server starts, the scopes of anonymous callers, tokens that expire soon.

use chrono::{DateTime, TimeDelta, Utc};

use super::{CheckInput, Finding};
use crate::domain::access::Scopes;
use crate::store::Database;
use crate::store::token::{self, TokenRow};

const SUBJECT: &str = "access";

/// A token that expires within this time should have a successor.
const SOON: TimeDelta = TimeDelta::days(7);

pub(super) async fn check(db: &Database, input: &CheckInput<'_>) -> Vec<Finding> {
    let stored = match token::list(db).await {
        Ok(stored) => stored,
        Err(error) => return vec![Finding::failed(SUBJECT, &error)],
    };
    let configured = input.access.tokens.0.len();
    let now = input.clock.now();
    let valid = stored.iter().filter(|token| ends_after(token, now)).count();
    let none = configured == 0 && stored.is_empty();
    let loopback = input.server.listen.ip().is_loopback();
    let mut findings = vec![match input.access.anonymous_scopes {
        None if none && loopback => {
            Finding::ok(SUBJECT, "there are no tokens: any client on this machine has all scopes")
        }
        None if none => Finding::error(
            SUBJECT,
            "there are no tokens: the server does not start with an address that other machines reach",
            "callscope token create NAME --scopes READ",
        ),
        Some(scopes) if scopes != Scopes::NONE => Finding::warning(
            SUBJECT,
            format!("clients without a token may {scopes}"),
            "remove --anonymous-scopes unless this is intended",
        ),
        _ => Finding::ok(SUBJECT, format!("{} valid tokens", configured + valid)),
    }];
    let ending =
        stored.iter().filter(|token| ends_after(token, now) && !ends_after(token, now + SOON));
    let names: Vec<&str> = ending.map(|token| token.name.as_str()).collect();
    if !names.is_empty() {
        findings.push(Finding::warning(
            SUBJECT,
            format!("tokens that expire within 7 days: {}", names.join(", ")),
            "create a new token: callscope token create OTHER_NAME",
        ));
    }
    findings
}

fn ends_after(token: &TokenRow, at: DateTime<Utc>) -> bool {
    let end = token.expires_at.as_deref().and_then(|end| end.parse::<DateTime<Utc>>().ok());
    token.revoked_at.is_none() && end.is_none_or(|end| end > at)
}

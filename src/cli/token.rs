//! `callscope token`: creates, lists and revokes the bearer tokens in the database.

use anyhow::ensure;
use clap::{Args, Subcommand};

use crate::access::token;
use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::config::access::check_token_name;
use crate::domain::access::Scopes;
use crate::domain::duration;
use crate::store::Database;
use crate::store::token::{self as store, TokenRow, time_text};

#[derive(Args, Debug)]
pub struct TokenArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a token and print it; it cannot be shown again
    Create(CreateArgs),
    /// List all tokens, without their secrets
    List(ListArgs),
    /// Revoke a token; running servers reject it within seconds
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// The name in the audit log: the user or program
    name: String,

    /// Its scopes, comma-separated: READ, READ_REQUESTS, REVEAL_KEYS, RECORD, DELETE,
    /// METRICS, or ALL
    #[arg(long, value_name = "SCOPES")]
    scopes: Scopes,

    /// Its lifetime, such as P90D or PT12H; unlimited by default
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    expires_in: Option<chrono::TimeDelta>,

    #[command(flatten)]
    database: DatabaseConfig,
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    database: DatabaseConfig,
}

#[derive(Args, Debug)]
struct RevokeArgs {
    /// The name of the token
    name: String,

    #[command(flatten)]
    database: DatabaseConfig,
}

pub fn run(args: TokenArgs) -> anyhow::Result<()> {
    super::block_on(async {
        match args.action {
            Action::Create(args) => create(args).await,
            Action::List(args) => list(args).await,
            Action::Revoke(args) => revoke(args).await,
        }
    })
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    check_token_name(&args.name).map_err(anyhow::Error::msg)?;
    ensure!(!args.scopes.is_empty(), "a token needs at least one scope");
    let now = Clock::System.now();
    let new = token::make(&args.name, args.scopes, now, args.expires_in.map(|span| now + span))?;
    let db = Database::open(&args.database).await?;
    store::insert(&db, &new.row).await?;
    db.close().await?;
    eprintln!("the token of `{}` ({}), shown only once:", args.name, args.scopes);
    println!("{}", new.token.expose());
    Ok(())
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let db = Database::open(&args.database).await?;
    let now = time_text(Clock::System.now());
    for token in store::list(&db).await? {
        println!(
            "{:<24} {:<10} {}  {}",
            token.name,
            state(&token, &now),
            token.created_at,
            token.scopes
        );
    }
    Ok(db.close().await?)
}

fn state(token: &TokenRow, now: &str) -> &'static str {
    match (&token.revoked_at, &token.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end.as_str() <= now => "expired",
        (None, _) => "valid",
    }
}

async fn revoke(args: RevokeArgs) -> anyhow::Result<()> {
    let db = Database::open(&args.database).await?;
    let revoked = store::revoke(&db, &args.name, Clock::System.now()).await?;
    db.close().await?;
    ensure!(revoked, "no valid token is named `{}`; `callscope token list` shows all", args.name);
    eprintln!("revoked `{}`", args.name);
    Ok(())
}

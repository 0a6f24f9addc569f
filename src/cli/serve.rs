//! `callscope serve`.

use clap::Args;

use crate::app::{App, Config};
use crate::clock::Clock;
use crate::config::{
    AccessConfig, DatabaseConfig, GraphqlConfig, KeepConfig, ObserveConfig, RecordConfig,
    ServerConfig,
};

#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    server: ServerConfig,
    #[command(flatten)]
    access: AccessConfig,
    #[command(flatten)]
    graphql: GraphqlConfig,
    #[command(flatten)]
    record: RecordConfig,
    #[command(flatten)]
    keep: KeepConfig,
    #[command(flatten)]
    observe: ObserveConfig,
}

impl ServeArgs {
    pub fn config(self) -> Config {
        Config {
            database: self.database,
            server: self.server,
            access: self.access,
            graphql: self.graphql,
            record: self.record,
            keep: self.keep,
            observe: self.observe,
            clock: Clock::System,
        }
    }
}

pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    super::block_on(async {
        let app = App::open(args.config()).await?;
        announce(&app)?;
        app.serve(shutdown_signal()).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Tells where the server can be reached.
pub fn announce(app: &App) -> anyhow::Result<()> {
    let address = app.address()?;
    let graphiql = app.has_graphiql().then(|| format!("http://{address}/graphiql"));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        database = app.services().db.dialect().name(),
        graphql = %format_args!("http://{address}/graphql"),
        page = %format_args!("http://{address}/"),
        graphiql,
        "serving",
    );
    let everybody = app.tokens().anonymous_scopes();
    if app.tokens().is_open() {
        tracing::info!("there are no tokens: everybody on this machine may do everything");
    } else if !everybody.is_empty() {
        tracing::warn!(scopes = %everybody, "no token is needed for these scopes");
    }
    Ok(())
}

/// Ends with SIGTERM, SIGHUP or ctrl-c. `nohup` has the server ignore SIGHUP, which it then does.
pub async fn shutdown_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupt => {}
        () = terminated() => {}
    }
    tracing::info!("stopping; requests in flight finish first");
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let received = async |kind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    let hangup = async {
        match ignores_hangup() {
            true => std::future::pending().await,
            false => received(SignalKind::hangup()).await,
        }
    };
    tokio::select! {
        () = received(SignalKind::terminate()) => {}
        () = hangup => {}
    }
}

/// Whether the process was started with SIGHUP ignored: a handler would end that.
#[cfg(target_os = "linux")]
fn ignores_hangup() -> bool {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    // A bit for each signal, of which SIGHUP is the first.
    status.is_ok_and(|status| status.sigign & 1 == 1)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn ignores_hangup() -> bool {
    false
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

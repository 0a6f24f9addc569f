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

/// Ends with SIGTERM or ctrl-c.
pub async fn shutdown_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
    tracing::info!("stopping; requests in flight finish first");
}

//! `callscope serve`: runs the server.

use crate::app::{App, Config};

pub fn run(config: Config) -> anyhow::Result<()> {
    super::block_on(async {
        let app = App::open(config).await?;
        log_start(&app)?;
        app.serve(shutdown_signal()).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Logs the URLs of the server and its anonymous scopes.
pub fn log_start(app: &App) -> anyhow::Result<()> {
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
    let anonymous = app.tokens().anonymous_scopes();
    if app.tokens().is_open() {
        tracing::info!("no tokens are configured: every client on this machine has all scopes");
    } else if !anonymous.is_empty() {
        tracing::warn!(scopes = %anonymous, "clients without a token have these scopes");
    }
    Ok(())
}

/// Resolves when the server has to stop.
pub async fn shutdown_signal() {
    stop_signal().await;
    tracing::info!("stopping; waiting for requests in flight");
}

/// Resolves on SIGTERM, SIGHUP or ctrl-c. SIGHUP stays ignored under `nohup`.
pub async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupt => {}
        () = terminated() => {}
    }
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

/// Whether the process was started with SIGHUP ignored: a handler would override that.
#[cfg(target_os = "linux")]
fn ignores_hangup() -> bool {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    // One bit per signal; SIGHUP is the first.
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

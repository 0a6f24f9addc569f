//! The only wiring: from the configuration to a running server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::{DatabaseConfig, GraphqlConfig, ObserveConfig, ServerConfig};
use crate::graphql::schema;
use crate::graphql::scope::Services;
use crate::http::router::{AppState, router};
use crate::observe::{Observer, Tracing};
use crate::store::Database;
use crate::store::dialect::Dialect;
use crate::store::key_directory::KeyDirectory;

/// All that a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub database: DatabaseConfig,
    pub server: ServerConfig,
    pub graphql: GraphqlConfig,
    pub observe: ObserveConfig,
    pub clock: Clock,
}

/// A server whose database is open and whose port is bound, so that what can fail has failed.
pub struct App {
    config: Config,
    services: Services,
    listener: TcpListener,
}

impl App {
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let observer = Arc::new(observer(&config)?);
        let db = Arc::new(Database::open_observed(&config.database, observer.clone()).await?);
        let keys = Arc::new(KeyDirectory::open(&db, config.database.id_key.as_ref()).await?);
        let services = Services { db, keys, config: Arc::new(config.graphql.clone()), observer };
        let listener = TcpListener::bind(config.server.listen).await.map_err(|error| {
            anyhow::anyhow!("cannot listen on {}: {error}", config.server.listen)
        })?;
        Ok(Self { config, services, listener })
    }

    /// Where it listens; the port that was given by the system where none was asked for.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Serves until `shutdown` ends; then lets requests in flight finish.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let state = AppState {
            schema: schema::build(&self.config.graphql, self.services.observer.clone()),
            services: self.services.clone(),
            clock: self.config.clock,
            timeout: Duration::from_secs(self.config.graphql.timeout_seconds),
            sdl: schema::sdl().into(),
        };
        let max_body_bytes = usize::try_from(self.config.server.max_body_bytes)?;
        let listener = self.listener.tap_io(|connection| {
            // Answers are written whole; waiting to fill a packet would only delay them.
            let _ = connection.set_nodelay(true);
        });
        let service =
            router(state, max_body_bytes).into_make_service_with_connect_info::<SocketAddr>();
        let (stopping, stopped) = tokio::sync::oneshot::channel();
        let serving = axum::serve(listener, service)
            .with_graceful_shutdown(async {
                shutdown.await;
                let _ = stopping.send(());
            })
            .into_future();
        let grace = Duration::from_secs(self.config.server.shutdown_grace_seconds);
        let expired = async {
            // Where serving fails first, its own error counts.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            served = serving => served?,
            () = expired => tracing::warn!("requests in flight did not finish in {} s", grace.as_secs()),
        }
        self.services.observer.flush().await;
        self.services.db.close().await?;
        Ok(())
    }
}

fn observer(config: &Config) -> anyhow::Result<Observer> {
    let database = match Dialect::of_url(config.database.database_url.expose()) {
        Dialect::Sqlite => "sqlite",
        Dialect::Postgres => "postgresql",
        Dialect::MySql => "mysql",
    };
    let endpoint = config.observe.otlp_endpoint.as_deref();
    Ok(Observer {
        slow: config.observe.slow_query(),
        tracing: endpoint.map(|endpoint| Tracing::to(endpoint, database)).transpose()?,
        ..Observer::default()
    })
}

/// A server that runs beside its caller.
pub struct Running {
    pub address: SocketAddr,
    pub services: Services,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl App {
    /// Opens and serves in a task of its own.
    pub async fn start(config: Config) -> anyhow::Result<Running> {
        let app = Self::open(config).await?;
        let (address, services) = (app.address()?, app.services.clone());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(app.serve(async {
            // A caller that is gone stops the server too.
            let _ = stopped.await;
        }));
        Ok(Running { address, services, stop, task })
    }
}

impl Running {
    /// Stops the server once the requests in flight have finished.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.task.await?
    }
}

//! The only wiring: from the configuration to a running server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::{DatabaseConfig, GraphqlConfig, ServerConfig};
use crate::graphql::schema;
use crate::graphql::scope::Services;
use crate::http::documents::Documents;
use crate::http::hosts::Hosts;
use crate::http::read::ReadLimits;
use crate::http::router::{AppState, router};
use crate::http::server::{self, Limits};
use crate::store::Database;
use crate::store::key_directory::KeyDirectory;

/// All that a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub database: DatabaseConfig,
    pub server: ServerConfig,
    pub graphql: GraphqlConfig,
    pub clock: Clock,
}

/// A server whose database is open and whose port is bound, so that what can fail has failed.
pub struct App {
    config: Config,
    services: Services,
    documents: Arc<Documents>,
    listener: TcpListener,
}

impl App {
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let documents = Documents::open(&config.server.http, &config.graphql).await?;
        let db = Arc::new(Database::open(&config.database).await?);
        let keys = Arc::new(KeyDirectory::open(&db, config.database.id_key.as_ref()).await?);
        let services = Services { db, keys, config: Arc::new(config.graphql.clone()) };
        let listener = TcpListener::bind(config.server.listen).await.map_err(|error| {
            anyhow::anyhow!("cannot listen on {}: {error}", config.server.listen)
        })?;
        Ok(Self { config, services, documents: Arc::new(documents), listener })
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
        let http = &self.config.server.http;
        let timeout = Duration::from_secs(self.config.graphql.timeout_seconds);
        // Nothing but being on loopback protects the server then.
        let guards_host = self.config.server.listen.ip().is_loopback();
        let state = AppState {
            schema: schema::build(&self.config.graphql),
            services: self.services.clone(),
            clock: self.config.clock,
            timeout,
            sdl: schema::sdl().into(),
            read: ReadLimits {
                body_bytes: usize::try_from(self.config.server.max_body_bytes)?,
                batch: http.max_batch as usize,
                timeout,
            },
            documents: self.documents,
            hosts: Hosts::new(&http.allowed_hosts, guards_host),
            cors_origins: http.cors_origin.as_slice().into(),
        };
        let limits = Limits {
            connections: http.max_connections as usize,
            client_timeout: Duration::from_secs(http.client_timeout_seconds),
            shutdown_grace: Duration::from_secs(self.config.server.shutdown_grace_seconds),
        };
        server::serve(self.listener, router(state), limits, shutdown).await;
        self.services.db.close().await?;
        Ok(())
    }
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

//! Dependency wiring: from the configuration to a running server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::access::TokenDirectory;
use crate::clock::{Clock, ClockWatch};
use crate::config::{
    AccessConfig, DatabaseConfig, GraphqlConfig, KeepConfig, ObserveConfig, RecordConfig,
    ReplicaConfig, ServerConfig,
};
use crate::diagnoses::CurrentDiagnoses;
use crate::graphql::answer::AnswerLimits;
use crate::graphql::limit::Limits;
use crate::graphql::schema;
use crate::graphql::scope::Services;
use crate::http::body::{ReadLimits, body_memory};
use crate::http::graphql::documents::Documents;
use crate::http::graphql::parse::Parser;
use crate::http::middleware::admission::Admission;
use crate::http::middleware::hosts::Hosts;
use crate::http::router::router;
use crate::http::server::{self, ConnectionLimits};
use crate::http::state::{AppParts, AppState};
use crate::http::subscription::credential_checks::CredentialChecks;
use crate::http::subscription::limits::Subscriptions;
use crate::ingest::intake::{Intake, IntakeLimits};
use crate::ingest::recorder::Recorder;
use crate::jobs::failures;
use crate::jobs::index_build;
use crate::jobs::partitions;
use crate::jobs::replicas;
use crate::jobs::retention::{self, Retention};
use crate::jobs::rollup;
use crate::jobs::tail::Tails;
use crate::jobs::text_index;
use crate::observe::{Observer, Tracing};
use crate::prune::deletion::Deletions;
use crate::store::Database;
use crate::store::density::Density;
use crate::store::dialect::Dialect;
use crate::store::key_directory::KeyDirectory;
use crate::store::rollup as store_rollup;

/// The whole configuration of a server.
#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub database: DatabaseConfig,
    #[command(flatten)]
    pub replicas: ReplicaConfig,
    #[command(flatten)]
    pub server: ServerConfig,
    #[command(flatten)]
    pub access: AccessConfig,
    #[command(flatten)]
    pub graphql: GraphqlConfig,
    #[command(flatten)]
    pub record: RecordConfig,
    #[command(flatten)]
    pub keep: KeepConfig,
    #[command(flatten)]
    pub observe: ObserveConfig,
    #[arg(skip)]
    pub clock: Clock,
}

/// A server with an open database and a bound port. Serving it cannot fail for these reasons any more.
pub struct App {
    config: Config,
    services: Services,
    tokens: Arc<TokenDirectory>,
    documents: Arc<Documents>,
    tails: Tails,
    listener: TcpListener,
}

impl App {
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let observer = Arc::new(observer(&config)?);
        let documents = Documents::open(&config.server.http, &config.graphql).await?.into();
        let timeout = Duration::from_secs(config.graphql.timeout_seconds);
        let (database, replicas) = (&config.database, &config.replicas);
        let db = Database::open_for_requests(database, replicas, timeout, observer.clone()).await?;
        let db = Arc::new(db);
        let keys = Arc::new(KeyDirectory::open(&db, config.database.id_key.as_ref()).await?);
        let clock_watch = Arc::new(ClockWatch::new(config.clock.clone()));
        let recorder =
            Recorder::start(db.clone(), clock_watch.clone(), config.record.idempotency())
                .with_room(config.server.memory.shares().recorder);
        let density = Arc::new(Density::default());
        if let Err(error) = density.refresh(&db).await {
            tracing::warn!(%error, "row count estimate failed; query costs are too low");
        }
        text_index::clear_if_off(&db, &config.database).await?;
        retention::check(&db, &config.keep).await?;
        if db.has_rollups() {
            // The first queries use them too.
            store_rollup::refresh(&db).await?;
        }
        let (feeds, tails) = Tails::new(&db, &config.server, &observer);
        let deletions = Deletions::new(db.clone(), config.clock.clone());
        let diagnoses = Arc::new(CurrentDiagnoses::new(db.clone(), config.clock.clone()));
        let services = Services {
            db,
            density,
            keys,
            recorder,
            deletions,
            feeds,
            diagnoses,
            config: Arc::new(config.graphql.clone()),
            server: Arc::new(config.server.clone()),
            observer,
            clock_watch,
        };
        let on_loopback = config.server.listen.ip().is_loopback();
        let now = config.clock.now();
        let tokens =
            TokenDirectory::open(&services.db, &config.access, on_loopback, now).await?.into();
        let listener = TcpListener::bind(config.server.listen).await.map_err(|error| {
            anyhow::anyhow!("cannot listen on {}: {error}", config.server.listen)
        })?;
        Ok(Self { config, services, tokens, documents, tails, listener })
    }

    /// The listening address; with port 0 in the configuration it contains the assigned port.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Whether GraphiQL is served. It is disabled if only trusted documents are allowed.
    pub fn has_graphiql(&self) -> bool {
        !self.documents.only_trusted()
    }

    pub fn tokens(&self) -> &TokenDirectory {
        &self.tokens
    }

    /// Serves until `shutdown` completes, then waits for requests in flight.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let http = &self.config.server.http;
        let memory = &self.config.server.memory;
        let shares = memory.shares();
        let timeout = Duration::from_secs(self.config.graphql.timeout_seconds);
        let client_timeout = Duration::from_secs(http.client_timeout_seconds);
        let sdl = schema::sdl();
        let (stop, stopping) = watch::channel(false);
        let tailing = tokio::spawn(self.tails.run(stopping.clone()));
        let retention = Retention {
            db: self.services.db.clone(),
            observer: self.services.observer.clone(),
            clock: self.services.clock_watch.clone(),
            keep: self.config.keep.clone(),
        };
        let retention = retention.start(stopping.clone());
        let index_build =
            index_build::start(&self.services.db, &self.config.database, stopping.clone());
        let services = &self.services;
        let clock = self.config.clock.clone();
        let rollup = rollup::start(&services.db, clock, &services.observer, stopping.clone());
        let partitions = partitions::start(&services.db, &services.clock_watch, stopping.clone());
        let replicas = replicas::start(&services.db, &services.observer, stopping.clone());
        let text_index = text_index::start(&services.db, &services.clock_watch, stopping.clone());
        let failures = failures::start(&services.db, &services.clock_watch, stopping.clone());
        let state = AppState::from(AppParts {
            schema: schema::build(&self.config.graphql, self.services.observer.clone()),
            parser: Parser::new(Limits::new(&self.config.graphql, &sdl)?),
            admission: Admission::new(&self.config.server).into(),
            subscriptions: Subscriptions::new(
                &self.config.server,
                self.config.database.database_connections,
                self.services.observer.clone(),
            )
            .into(),
            credential_checks: CredentialChecks::new(
                self.tokens.clone(),
                self.services.db.clone(),
                self.config.clock.clone(),
            )
            .into(),
            stopping,
            intake: Arc::new(Intake::new(
                self.services.recorder.clone(),
                self.services.db.clone(),
                self.services.keys.clone(),
                self.config.clock.clone(),
                IntakeLimits {
                    line_bytes: usize::try_from(self.config.server.max_body_bytes)?,
                    timeout,
                    chunks: shares.streams / 1024,
                },
            )),
            answers: AnswerLimits::new(memory.max_response_bytes, shares.answers),
            otlp_key_attribute: self.config.record.otlp_key_attribute.as_str().into(),
            services: self.services.clone(),
            tokens: self.tokens.clone(),
            clock: self.config.clock,
            timeout,
            client_timeout,
            sdl: sdl.into(),
            read: ReadLimits {
                body_bytes: usize::try_from(self.config.server.max_body_bytes)?,
                batch: http.max_batch as usize,
                timeout,
                memory: body_memory(
                    shares.bodies,
                    usize::try_from(self.config.server.max_body_bytes)?,
                ),
            },
            documents: self.documents,
            hosts: Hosts::new(&http.allowed_hosts, self.tokens.relies_on_loopback()),
            cors_origins: http.cors_origin.as_slice().into(),
        });
        let limits = ConnectionLimits {
            connections: http.max_connections as usize,
            connections_per_address: http.connections_per_address() as usize,
            client_timeout,
            shutdown_grace: Duration::from_secs(self.config.server.shutdown_grace_seconds),
        };
        let shutdown = async move {
            shutdown.await;
            // Subscriptions end only after this signal.
            stop.send_replace(true);
        };
        server::serve(self.listener, router(state), limits, shutdown).await;
        self.services.deletions.finish().await;
        // No subscriber is left.
        tailing.abort();
        // Each stops after its current step.
        let jobs = [retention, index_build, rollup, partitions, replicas, text_index, failures];
        for job in jobs.into_iter().flatten() {
            job.await?;
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

/// A server that runs in a separate task.
pub struct Running {
    pub address: SocketAddr,
    pub services: Services,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl App {
    /// Opens the server and serves in a separate task.
    pub async fn start(config: Config) -> anyhow::Result<Running> {
        let app = Self::open(config).await?;
        let (address, services) = (app.address()?, app.services.clone());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(app.serve(async {
            // Dropping `Running` stops the server too.
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

//! The same calls in a separate PostgreSQL database, which is dropped after the run.

use callscope::config::DatabaseConfig;
use callscope::store::connect;
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, PgConnection, raw_sql};

use crate::support::{data, settings};

const NAME: &str = "callscope_load";

/// The URL of the database.
pub async fn create(server: &str, calls: u64) -> anyhow::Result<String> {
    eprintln!("creating the database {NAME}");
    self::drop(server).await?;
    let mut connection = PgConnection::connect(server).await?;
    raw_sql(AssertSqlSafe(format!("CREATE DATABASE {NAME}"))).execute(&mut connection).await?;
    connection.close().await?;
    let url = url(server);
    connect::migrate(&settings::<DatabaseConfig>(&["--database-url", &url])).await?;
    let mut connection = PgConnection::connect(&url).await?;
    raw_sql("BEGIN").execute(&mut connection).await?;
    data::insert(calls, data::STEP_MICROS, async |sql| {
        raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        Ok(())
    })
    .await?;
    raw_sql("COMMIT").execute(&mut connection).await?;
    // Autovacuum would do this within minutes.
    raw_sql("VACUUM ANALYZE").execute(&mut connection).await?;
    connection.close().await?;
    Ok(url)
}

pub async fn drop(server: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(server).await?;
    let drop = format!("DROP DATABASE IF EXISTS {NAME} WITH (FORCE)");
    raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await?;
    connection.close().await
}

/// The URL of the server with the name of the benchmark's database.
fn url(server: &str) -> String {
    let (address, parameters) = server.split_once('?').map_or((server, ""), |(a, b)| (a, b));
    let address = address.rsplit_once('/').map_or(address, |(address, _)| address);
    let parameters = if parameters.is_empty() { String::new() } else { format!("?{parameters}") };
    format!("{address}/{NAME}{parameters}")
}

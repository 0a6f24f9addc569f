//! Rollups of the calls: counts and latencies of intervals of time, and which calls they contain.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        for table in [state(), gaps(), series(backend)] {
            manager.create_table(table).await?;
        }
        let mut cells = cells();
        if backend == DbBackend::Sqlite {
            // The rows are stored in their primary key, which saves an index.
            cells.extra("WITHOUT ROWID");
        }
        manager.create_table(cells).await?;
        let (table, name) = ("callscope_rollup_series", "callscope_rollup_series_digest");
        if !manager.has_index(table, name).await? {
            let index = Index::create().name(name).table(table).col("digest").unique().take();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("callscope drops no table: the rollups outlive the calls".into()))
    }
}

/// One row: how far the calls are folded.
fn state() -> TableCreateStatement {
    let number = |name: &'static str| ColumnDef::new(name).big_integer().take();
    Table::create()
        .table("callscope_rollup_state")
        .if_not_exists()
        .col(ColumnDef::new("name").string_len(16).not_null().primary_key())
        .col(number("version").not_null())
        .col(number("epoch").not_null())
        .col(ColumnDef::new("phase").big_integer().not_null())
        .col(number("watermark").not_null())
        .col(number("watermark_time"))
        .col(number("rebuilt_until").not_null())
        .col(number("folded").not_null())
        .col(number("minute_cells").not_null())
        .col(number("hour_cells").not_null())
        .col(number("key_hour_cells").not_null())
        .col(number("key_day_cells").not_null())
        .col(number("minutes_since"))
        .col(number("oldest"))
        .col(number("newest"))
        .col(number("kept_since"))
        .take()
}

/// Ranges of ids of calls below the watermark that are not folded.
fn gaps() -> TableCreateStatement {
    Table::create()
        .table("callscope_rollup_gaps")
        .if_not_exists()
        .col(ColumnDef::new("first_id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("last_id").big_integer().not_null())
        .col(ColumnDef::new("expires").big_integer())
        .take()
}

/// The combinations of key, model and status code.
fn series(backend: DbBackend) -> TableCreateStatement {
    let text = |name: &'static str| {
        let mut column = ColumnDef::new(name).text().take();
        if backend == DbBackend::MySql {
            // The default collations of MySQL ignore case.
            column.extra("CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
        }
        column
    };
    Table::create()
        .table("callscope_rollup_series")
        .if_not_exists()
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("digest").string_len(64).not_null())
        .col(text("api_key"))
        .col(text("model_name"))
        .col(ColumnDef::new("status_code").big_integer())
        .col(ColumnDef::new("first_id").big_integer().not_null())
        .col(ColumnDef::new("first_time").big_integer().not_null())
        .col(ColumnDef::new("last_time").big_integer().not_null())
        .take()
}

fn cells() -> TableCreateStatement {
    let number = |name: &'static str| ColumnDef::new(name).big_integer().take();
    Table::create()
        .table("callscope_rollup_cells")
        .if_not_exists()
        .col(ColumnDef::new("level").small_integer().not_null())
        .col(number("start").not_null())
        .col(number("series").not_null())
        .col(number("total").not_null())
        .col(number("success").not_null())
        .col(number("latency_count").not_null())
        .col(number("latency_sum").not_null())
        .col(number("latency_min"))
        .col(number("latency_max"))
        .col(ColumnDef::new("latencies").text().not_null())
        .primary_key(Index::create().col("level").col("start").col("series"))
        .take()
}

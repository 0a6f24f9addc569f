//! The database schema, as frozen steps. A step creates missing tables and never alters, drops or rewrites
//! an existing table of a gateway. Tables named `callscope_*` are Callscope's own: a step may add nullable
//! columns to them. Steps never import the server. Indexes on the gateway's tables are not
//! part of the steps: `store/index_build.rs` builds them without blocking the gateway.

use sea_orm_migration::prelude::*;
pub use sea_orm_migration::{MigratorTrait, SchemaManager};

mod m20261123_000001_create_tables;
mod m20261123_000002_create_indexes;
mod m20261123_000003_create_access;
mod m20261123_000004_create_idempotency;
mod m20261128_000005_add_deletion_outcomes;
mod m20261129_000006_create_rollups;
mod m20261129_000007_create_text_index;
mod m20261129_000008_add_gap_steps;
mod m20261130_000009_create_failures;
mod m20261201_000010_add_day_cells;
mod m20261202_000011_create_error_days;
mod m20261203_000012_add_missing_ids;

pub use m20261123_000001_create_tables::table_without_key;

pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_create_tables::Migration),
            Box::new(m20261123_000002_create_indexes::Migration),
            Box::new(m20261123_000003_create_access::Migration),
            Box::new(m20261123_000004_create_idempotency::Migration),
            Box::new(m20261128_000005_add_deletion_outcomes::Migration),
            Box::new(m20261129_000006_create_rollups::Migration),
            Box::new(m20261129_000007_create_text_index::Migration),
            Box::new(m20261129_000008_add_gap_steps::Migration),
            Box::new(m20261130_000009_create_failures::Migration),
            Box::new(m20261201_000010_add_day_cells::Migration),
            Box::new(m20261202_000011_create_error_days::Migration),
            Box::new(m20261203_000012_add_missing_ids::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        "callscope_migrations".into_iden()
    }
}

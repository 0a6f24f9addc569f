//! The database schema, as frozen steps. A step creates what is missing and never alters, drops or
//! rewrites what it finds: the tables may be a gateway's own. Everything of ours, the table of
//! applied steps too, is named `callscope_*`. Steps never import the entities, which move on.

use sea_orm_migration::prelude::*;
pub use sea_orm_migration::{MigratorTrait, SchemaManager};

mod m20261123_000001_create_tables;
mod m20261123_000002_create_indexes;
mod m20261123_000003_create_access;
mod m20261123_000004_create_idempotency;

pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_create_tables::Migration),
            Box::new(m20261123_000002_create_indexes::Migration),
            Box::new(m20261123_000003_create_access::Migration),
            Box::new(m20261123_000004_create_idempotency::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        "callscope_migrations".into_iden()
    }
}

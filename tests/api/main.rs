//! The tests: each runs through the front door on a fresh database, once per database kind.
//!
//! To add one, write `async fn what_is_true(database: TestDatabase)` in the module of its subject
//! and name it in that module's `tests!`. A new module is declared and listed here.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and the harness says where"
)]

mod access;
mod api_keys;
mod bad_data;
mod batches;
mod call_details;
mod call_groups;
mod call_model;
mod call_series;
mod compression;
mod connections;
mod contract;
mod csrf;
mod delete;
mod doctor;
mod error_logs;
mod error_match;
mod faults;
mod http;
mod imports;
mod input_errors;
mod limits;
mod lists;
mod metrics;
mod migration;
mod nodes;
mod page;
mod pagination;
mod persisted;
mod plans;
mod readme;
mod real_data;
mod record;
mod request_log;
mod responses;
mod rows;
mod subscriptions;
mod support;
mod traces;
mod usage;

fn main() {
    support::run([
        access::tests(),
        api_keys::tests(),
        bad_data::tests(),
        batches::tests(),
        call_details::tests(),
        call_groups::tests(),
        call_series::tests(),
        compression::tests(),
        connections::tests(),
        contract::tests(),
        csrf::tests(),
        delete::tests(),
        doctor::tests(),
        error_logs::tests(),
        error_match::tests(),
        faults::tests(),
        http::tests(),
        imports::tests(),
        input_errors::tests(),
        limits::tests(),
        lists::tests(),
        metrics::tests(),
        migration::tests(),
        nodes::tests(),
        page::tests(),
        pagination::tests(),
        persisted::tests(),
        plans::tests(),
        readme::tests(),
        real_data::tests(),
        record::tests(),
        request_log::tests(),
        responses::tests(),
        rows::tests(),
        subscriptions::tests(),
        traces::tests(),
        usage::tests(),
    ]);
}

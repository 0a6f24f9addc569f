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

mod api_keys;
mod call_details;
mod call_groups;
mod call_model;
mod call_series;
mod contract;
mod doctor;
mod error_logs;
mod error_match;
mod http;
mod imports;
mod input_errors;
mod lists;
mod metrics;
mod migration;
mod nodes;
mod plans;
mod readme;
mod real_data;
mod request_log;
mod responses;
mod rows;
mod support;
mod traces;
mod usage;

fn main() {
    support::run([
        api_keys::tests(),
        call_details::tests(),
        call_groups::tests(),
        call_series::tests(),
        contract::tests(),
        doctor::tests(),
        error_logs::tests(),
        error_match::tests(),
        http::tests(),
        imports::tests(),
        input_errors::tests(),
        lists::tests(),
        metrics::tests(),
        migration::tests(),
        nodes::tests(),
        plans::tests(),
        readme::tests(),
        real_data::tests(),
        request_log::tests(),
        responses::tests(),
        rows::tests(),
        traces::tests(),
        usage::tests(),
    ]);
}

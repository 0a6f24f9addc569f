//! The API tests: each runs over HTTP on a fresh database, once per database kind.
//!
//! To add one, write `async fn a_fact_about_the_server(database: TestDatabase)` in the module of its subject
//! and list it in that module's `tests!`. A new module is declared and listed here.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and the harness says where"
)]

mod access;
mod answers;
mod api_keys;
mod attach;
mod bad_data;
mod batches;
mod call_details;
mod call_groups;
mod call_model;
mod call_series;
mod citus;
mod clocks;
mod compression;
mod conflicts;
mod connections;
mod contract;
mod conversions;
mod cost;
mod csrf;
#[path = "../data/mod.rs"]
mod data;
mod delete;
mod diagnoses;
mod doctor;
mod error_days;
mod error_logs;
mod error_match;
mod exports;
mod failure_classes;
mod failures;
mod fairness;
mod faults;
mod follow;
mod http;
mod imports;
mod ingest;
mod input_errors;
mod jobs;
mod limits;
mod lists;
mod metrics;
mod migration;
mod nodes;
mod otlp;
mod page;
mod pagination;
mod partitions;
mod persisted;
mod plans;
#[path = "../process/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod process;
mod prune;
mod readme;
mod real_data;
mod record;
mod request_log;
mod responses;
mod retention;
mod rollups;
mod rows;
mod searches;
mod sockets;
mod subscriptions;
mod support;
mod traces;
mod usability;
mod usage;

fn main() {
    support::run([
        access::tests(),
        answers::tests(),
        api_keys::tests(),
        attach::tests(),
        bad_data::tests(),
        batches::tests(),
        call_details::tests(),
        call_groups::tests(),
        call_series::tests(),
        citus::tests(),
        clocks::tests(),
        compression::tests(),
        conflicts::tests(),
        connections::tests(),
        contract::tests(),
        conversions::tests(),
        cost::tests(),
        csrf::tests(),
        delete::tests(),
        diagnoses::tests(),
        usability::tests(),
        doctor::tests(),
        error_days::tests(),
        error_logs::tests(),
        error_match::tests(),
        exports::tests(),
        failure_classes::tests(),
        failures::tests(),
        fairness::tests(),
        faults::tests(),
        follow::tests(),
        http::tests(),
        imports::tests(),
        ingest::tests(),
        input_errors::tests(),
        jobs::tests(),
        limits::tests(),
        lists::tests(),
        metrics::tests(),
        migration::tests(),
        nodes::tests(),
        page::tests(),
        otlp::tests(),
        pagination::tests(),
        partitions::tests(),
        persisted::tests(),
        plans::tests(),
        prune::tests(),
        readme::tests(),
        real_data::tests(),
        record::tests(),
        request_log::tests(),
        responses::tests(),
        retention::tests(),
        rollups::tests(),
        rows::tests(),
        searches::tests(),
        sockets::tests(),
        subscriptions::tests(),
        traces::tests(),
        usage::tests(),
    ]);
}

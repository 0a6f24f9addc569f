//! Types are made anew when the schema changes, which graphql_client itself does not look at.

fn main() {
    println!("cargo::rerun-if-changed=../../schema.graphql");
    println!("cargo::rerun-if-changed=queries.graphql");
}

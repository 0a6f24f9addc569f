//! Regenerates the types when the schema changes, which graphql_client does not track.

fn main() {
    println!("cargo::rerun-if-changed=../../schema.graphql");
    println!("cargo::rerun-if-changed=queries.graphql");
}

//! What can be recorded and deleted: one file per topic. A mutation checks the scope of its caller and
//! its input, then asks the write path or the store.

pub mod delete;
mod permission;
pub mod record;

use async_graphql::MergedObject;

/// What can be recorded and deleted. Mutations of one request run one after the other.
#[derive(MergedObject, Default)]
pub struct Mutation(record::RecordMutation, delete::DeleteMutation);

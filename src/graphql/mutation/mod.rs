//! Mutations, one file for each topic. A mutation checks the scopes of its caller and its input, then
//! calls the write path or the store.

pub mod delete;
mod permission;
pub mod record;

use async_graphql::MergedObject;

/// Records and deletes calls and error logs. The mutations of one request run sequentially.
#[derive(MergedObject, Default)]
pub struct Mutation(record::RecordMutation, delete::DeleteMutation);

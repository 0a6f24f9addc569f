//! The types of the schema, one file for each topic.

pub mod api_key;
pub mod call;
pub mod call_filter;
pub mod call_group;
pub mod deletion;
pub mod diagnosis;
pub mod error_filter;
pub mod error_log;
pub mod failure;
pub mod node;
pub mod record;
pub mod server_info;
pub mod storage;
pub mod usability;
pub mod usage;
pub mod viewer;

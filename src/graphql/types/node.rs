//! Whatever has a global id.

use async_graphql::{ID, Interface};

use super::api_key::ApiKey;
use super::call::Call;
use super::error_log::ErrorLog;

/// A thing with a global id, which `node` finds again.
#[derive(Interface, Clone)]
#[graphql(field(name = "id", ty = "ID", desc = "The global id."))]
pub enum Node {
    Call(Call),
    ErrorLog(ErrorLog),
    ApiKey(ApiKey),
}

//! The interface of objects with a global id.

use async_graphql::{ID, Interface};

use super::api_key::ApiKey;
use super::call::Call;
use super::diagnosis::Diagnosis;
use super::error_log::ErrorLog;

/// An object with a global id; `node` returns it by this id.
#[derive(Interface, Clone)]
#[graphql(field(name = "id", ty = "ID", desc = "The global id."))]
pub enum Node {
    Call(Call),
    ErrorLog(ErrorLog),
    ApiKey(ApiKey),
    Diagnosis(Diagnosis),
}

//! `t_request_log`: one row per call that the gateway sent to the provider, retries included.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "t_request_log")]
pub struct Model {
    /// 32 bits in a table that gemini-balance created.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// When the call was sent, in the storage time zone (naive).
    pub request_time: Option<DateTime>,
    #[sea_orm(column_type = "String(StringLen::N(100))", nullable)]
    pub model_name: Option<String>,
    /// The full API key.
    #[sea_orm(column_type = "String(StringLen::N(100))", nullable)]
    pub api_key: Option<String>,
    pub is_success: bool,
    /// HTTP status of the provider's answer. SQLite may store a text for a call that failed without a
    /// status code.
    pub status_code: Option<i32>,
    pub latency_ms: Option<i32>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

//! `t_error_logs`: the provider's answers to failed calls.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "t_error_logs")]
pub struct Model {
    /// 32 bits in a table that gemini-balance created.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The full API key of the failed call.
    #[sea_orm(column_type = "String(StringLen::N(100))", nullable)]
    pub gemini_key: Option<String>,
    #[sea_orm(column_type = "String(StringLen::N(100))", nullable)]
    pub model_name: Option<String>,
    #[sea_orm(column_type = "String(StringLen::N(50))", nullable)]
    pub error_type: Option<String>,
    /// The provider's text.
    #[sea_orm(column_type = "Text", nullable)]
    pub error_log: Option<String>,
    pub error_code: Option<i32>,
    /// The failed request as JSON; often the JSON text `null`.
    pub request_msg: Option<Json>,
    /// When the failure was logged, in the storage time zone (naive).
    pub request_time: Option<DateTime>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

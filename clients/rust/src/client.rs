//! The client: one function over HTTP for every query. Types are generated from `queries.graphql` and the
//! schema at compile time.

use anyhow::{Context, Result, bail};
use graphql_client::{GraphQLQuery, Response};
use serde_json::Value;

// The scalars of the schema.
type BigInt = i64;
type DateTime = chrono::DateTime<chrono::Utc>;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../../schema.graphql",
    query_path = "queries.graphql",
    response_derives = "Debug, PartialEq",
    variables_derives = "Clone, Debug, Default",
    normalization = "rust"
)]
pub struct Stats;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../../schema.graphql",
    query_path = "queries.graphql",
    response_derives = "Debug, PartialEq",
    variables_derives = "Clone, Debug, Default",
    normalization = "rust"
)]
pub struct Calls;

/// An error of the server. Match on `code`; `message` may change.
#[derive(Debug)]
pub struct Refused {
    pub code: String,
    pub message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

pub struct Client {
    agent: ureq::Agent,
    url: String,
    token: String,
}

impl Client {
    pub fn new(url: &str, token: &str) -> Self {
        // The status is ignored: errors are in the body for every status.
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        Self { agent: config.into(), url: url.to_owned(), token: token.to_owned() }
    }

    pub fn query<Q: GraphQLQuery>(&self, variables: Q::Variables) -> Result<Q::ResponseData> {
        let answer: Response<Q::ResponseData> = self
            .agent
            .post(&self.url)
            .header("Authorization", &format!("Bearer {}", self.token))
            .send_json(Q::build_query(variables))?
            .body_mut()
            .read_json()?;
        if let Some(error) = answer.errors.unwrap_or_default().into_iter().next() {
            let code = error.extensions.as_ref().and_then(|all| all.get("code"));
            let code = code.and_then(Value::as_str).unwrap_or("UNKNOWN").to_owned();
            bail!(Refused { code, message: error.message });
        }
        answer.data.context("neither data nor errors")
    }
}

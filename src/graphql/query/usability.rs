//! `usableKeys`, `poolForecast`.

use std::borrow::Cow;
use std::collections::HashSet;

use async_graphql::registry::Registry;
use async_graphql::{Context, InputType, InputValueError, InputValueResult, Object, Value};

use crate::graphql::args::{PageArgs, check_text};
use crate::graphql::connection::Connection;
use crate::graphql::cursor::KeyCursor;
use crate::graphql::error::{Failure, Result};
use crate::graphql::loader::api_key::AllKeys;
use crate::graphql::scalar::{DateTime, Duration};
use crate::graphql::scope::{count_list, read_scope};
use crate::graphql::types::api_key::{ApiKey, KeyList};
use crate::graphql::types::diagnosis::diagnosed;
use crate::graphql::types::usability::PoolPoint;

const STEP: Duration = Duration(chrono::TimeDelta::hours(1));
/// A `Duration` with the default of the contract, `PT24H` instead of `P1D`.
struct Horizon(Duration);

const HORIZON: Horizon = Horizon(Duration(chrono::TimeDelta::hours(24)));

impl InputType for Horizon {
    type RawValueType = Self;

    fn type_name() -> Cow<'static, str> {
        <Duration as InputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <Duration as InputType>::create_type_info(registry)
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        <Duration as InputType>::parse(value).map(Self).map_err(InputValueError::propagate)
    }

    /// Only the default becomes a value.
    fn to_value(&self) -> Value {
        Value::from("PT24H")
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
}

/// The most points of a forecast.
const MAX_POINTS: i64 = 200;

#[derive(Default)]
pub struct UsabilityQuery;

#[Object]
impl UsabilityQuery {
    /// The keys that a gateway can use for a model now, the best candidates first: usable keys, then limited ones,
    /// then keys without a call in the last 24 hours. Of equal ones those with the most of their quotas left, then
    /// those used longest ago. Unusable keys are left out. Learnt from the calls of the last 24 hours.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the contract")]
    async fn usable_keys(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The model.")] model: String,
        #[graphql(desc = "The time; by default the last ten seconds, as in `diagnoses`.")]
        as_of: Option<DateTime>,
        #[graphql(desc = "The number of keys from the start of the list.")] first: Option<i32>,
        #[graphql(desc = "Only keys after this cursor.")] after: Option<String>,
        #[graphql(desc = "The number of keys from the end of the list.")] last: Option<i32>,
        #[graphql(desc = "Only keys before this cursor.")] before: Option<String>,
    ) -> Result<Connection<ApiKey>> {
        let scope = read_scope(ctx)?;
        check_text("model", &model)?;
        let request = PageArgs { first, after, last, before }.request(scope, |_| true)?;
        let of = diagnosed(ctx, as_of).await?;
        let all = scope.loader().load_one(AllKeys).await?.unwrap_or_default();
        let mut found: Vec<&String> = of.candidates(&model);
        let called: HashSet<&String> = of.keys.iter().collect();
        found.extend(all.iter().filter(|key| !called.contains(key)));
        let position = |argument: &'static str, cursor: Option<&KeyCursor>| -> Result<_> {
            let Some(KeyCursor(id)) = cursor else { return Ok(None) };
            let position = found.iter().position(|key| *scope.services.keys.id(key) == **id);
            let gone = "the key of this cursor became unusable; start from the first page";
            position.map(Some).ok_or_else(|| Failure::bad_input(argument, gone))
        };
        let start = position("after", request.after.as_ref())?.map_or(0, |after| after + 1);
        let end = position("before", request.before.as_ref())?.unwrap_or(found.len());
        let between = found.iter().take(end).skip(start).map(|key| ApiKey::new(key));
        let wanted = request.limit as usize + 1;
        let rows: Vec<ApiKey> = match request.backward {
            true => {
                let mut all: Vec<ApiKey> = between.collect();
                all.reverse();
                all.truncate(wanted);
                all
            }
            false => between.take(wanted).collect(),
        };
        let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
        let list = KeyList { services: scope.services.clone(), count };
        Ok(Connection::new(request.page(rows), list))
    }

    /// How many keys are likely to be usable from `asOf` on, if the calls continue as in the latest hours: from the
    /// ends of refusals and the resets of quotas. A rough tendency after a few hours (docs/DIAGNOSIS.md).
    async fn pool_forecast(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The model; any model by default, and for a model without calls.")] model: Option<String>,
        #[graphql(desc = "The start; by default the last ten seconds, as in `diagnoses`.")]
        as_of: Option<DateTime>,
        #[graphql(
            desc = "The time that the forecast covers: up to `P7D`.",
            default_with = "Some(HORIZON)"
        )]
        horizon: Option<Horizon>,
        #[graphql(
            desc = "The interval of the points, at least `PT1M`; at most 200 points.",
            default_with = "Some(STEP)"
        )]
        step: Option<Duration>,
    ) -> Result<Vec<PoolPoint>> {
        read_scope(ctx)?;
        if let Some(model) = &model {
            check_text("model", model)?;
        }
        let (horizon, step) = (horizon.unwrap_or(HORIZON).0.0, step.unwrap_or(STEP).0);
        if step < chrono::TimeDelta::minutes(1) {
            return Err(Failure::bad_input("step", "`step` must be at least PT1M"));
        }
        if horizon < chrono::TimeDelta::zero() || horizon > chrono::TimeDelta::days(7) {
            return Err(Failure::bad_input("horizon", "`horizon` must be at most P7D"));
        }
        let (horizon, step) = (horizon.num_microseconds(), step.num_microseconds());
        let (horizon, step) = (horizon.unwrap_or(0), step.unwrap_or(i64::MAX));
        if horizon / step >= MAX_POINTS {
            let message = format!("at most {MAX_POINTS} points: choose a longer `step`");
            return Err(Failure::bad_input("step", message));
        }
        let of = diagnosed(ctx, as_of).await?;
        let start = of.at.timestamp_micros();
        let times: Vec<i64> = (0..=horizon / step).map(|point| start + point * step).collect();
        let found = of.forecast(model.as_deref(), &times);
        let points: Vec<PoolPoint> = found.iter().filter_map(PoolPoint::of).collect();
        count_list(ctx, &points, |_| 0)?;
        Ok(points)
    }
}

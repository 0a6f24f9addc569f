//! What can be followed. A subscription is resolved once when it begins, to find out whether it may and
//! where its events come from, and then anew for each event: an event is a request of its own, with its
//! own moment, caller and batches.

pub mod record;
pub mod source;
pub mod usage;

use async_graphql::MergedSubscription;

/// What can be followed, at `/graphql/stream`: server-sent events, a result each, in the distinct
/// connections mode of the graphql-sse protocol. An event with errors does not end a subscription; one
/// with the code `UNAUTHENTICATED` does, since its token or session has ended.
#[derive(MergedSubscription, Default)]
pub struct Subscription(record::RecordSubscription, usage::UsageSubscription);

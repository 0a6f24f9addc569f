//! Subscriptions: [`start`] opens the event source, [`event_stream`] executes each event, and the transports
//! [`sse`] and [`websocket`] send the events.

pub(crate) mod credential_checks;
mod event_stream;
pub(crate) mod limits;
pub(crate) mod sse;
mod start;
mod template;
pub(crate) mod websocket;

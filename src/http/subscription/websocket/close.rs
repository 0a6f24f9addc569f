//! Close reasons and their codes, of graphql-transport-ws and of WebSocket.

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::message::Id;
use super::metered::MeterError;

/// Limit of the reason in a close frame, in bytes.
const MAX_REASON: usize = 123;

pub(super) enum CloseReason {
    /// The client closed the connection with this code, or disconnected without one.
    ByClient(Option<u16>),
    GoingAway,
    ProtocolError,
    InvalidUtf8,
    TooLarge,
    Invalid,
    Unauthorized,
    Forbidden,
    Subprotocol,
    InitTimeout,
    Exists(Id),
    TooManyInits,
    /// No memory for a message.
    Busy,
}

impl CloseReason {
    /// The reason for a failed read or write.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => Self::TooLarge,
            Error::Io(error) => match MeterError::of(error) {
                Some(MeterError::BeforeInit) => Self::TooLarge,
                Some(MeterError::NoMemory) => Self::Busy,
                None => Self::ByClient(None),
            },
            Error::Utf8(_) => Self::InvalidUtf8,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::ByClient(None),
            Error::Protocol(_) => Self::ProtocolError,
            _ => Self::ByClient(None),
        }
    }

    /// The close frame; `None` if the client has disconnected.
    pub fn frame(&self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::ByClient(_) => return None,
            Self::GoingAway => (1001, "Going away"),
            Self::ProtocolError => (1002, "Protocol error"),
            Self::InvalidUtf8 => (1007, "Text must be UTF-8"),
            Self::TooLarge => (1009, "Message too large"),
            Self::Invalid => (4400, "Invalid message received"),
            Self::Unauthorized => (4401, "Unauthorized"),
            Self::Forbidden => (4403, "Forbidden"),
            Self::Subprotocol => (4406, "Subprotocol not acceptable"),
            Self::InitTimeout => (4408, "Connection initialisation timeout"),
            Self::Busy => (1013, "Try again later"),
            Self::TooManyInits => (4429, "Too many initialisation requests"),
            Self::Exists(id) => {
                let mut reason = format!("Subscriber for {id} already exists");
                reason.truncate(reason.floor_char_boundary(MAX_REASON));
                return Some(CloseFrame { code: 4409.into(), reason: reason.into() });
            }
        };
        Some(CloseFrame { code: code.into(), reason: reason.into() })
    }
}

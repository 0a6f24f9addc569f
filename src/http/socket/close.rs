//! Why a connection is closed, in the codes of graphql-transport-ws and of WebSocket itself.

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::message::Id;
use super::metered::Refused;

/// What a close frame holds beside the code.
const MAX_REASON: usize = 123;

pub(super) enum Close {
    /// The client closed it, with this code; without one where it just went away.
    ByClient(Option<u16>),
    GoingAway,
    /// The frames make no sense.
    Broken,
    NoText,
    TooLarge,
    Invalid,
    Unauthorized,
    Forbidden,
    Subprotocol,
    InitTimeout,
    Exists(Id),
    TooManyInits,
    /// There is no memory for a message.
    Busy,
}

impl Close {
    /// What a failure to read or write tells of the client.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => Self::TooLarge,
            Error::Io(error) => match Refused::of(error) {
                Some(Refused::BeforeInit) => Self::TooLarge,
                Some(Refused::NoRoom) => Self::Busy,
                None => Self::ByClient(None),
            },
            Error::Utf8(_) => Self::NoText,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::ByClient(None),
            Error::Protocol(_) => Self::Broken,
            _ => Self::ByClient(None),
        }
    }

    /// What is told; nothing to those who are not there.
    pub fn frame(&self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::ByClient(_) => return None,
            Self::GoingAway => (1001, "Going away"),
            Self::Broken => (1002, "Protocol error"),
            Self::NoText => (1007, "Text must be UTF-8"),
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

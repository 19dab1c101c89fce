//! What can go wrong, one variant for each thing a caller would do differently.

use std::io;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a session or a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The session has ended.
    #[error("session is closed: {0}")]
    Closed(CloseReason),
    /// As many streams as the session takes are open.
    #[error("too many streams are open")]
    TooManyStreams,
    /// Every stream id was used: dial again.
    #[error("stream ids are used up")]
    Exhausted,
    /// Head longer than [`crate::frame::HEAD_MAX`].
    #[error("stream head of {0} bytes is too long")]
    HeadTooLong(usize),
    /// Notice longer than [`crate::frame::PAYLOAD_MAX`].
    #[error("notice of {0} bytes is too long")]
    NoticeTooLong(usize),
    /// As many notices as the session keeps wait to be written.
    #[error("too many notices wait to be sent")]
    NoticesFull,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// We closed it.
    #[error("closed here: {0}")]
    Local(String),
    /// We closed it because this process stops.
    #[error("moved: {0}")]
    Moved(String),
    /// Every handle of it was dropped.
    #[error("dropped here")]
    Dropped,
    /// The peer said good-bye.
    #[error("closed by the peer: {0}")]
    Remote(String),
    /// The connection ended without a good-bye.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Nothing was heard for [`crate::session::SILENCE_LIMIT`].
    #[error("nothing heard in time")]
    Silent,
    /// Nothing could be written for [`crate::session::SEND_LIMIT`].
    #[error("nothing could be sent in time")]
    SendTimeout,
    /// The peer broke the rules.
    #[error("protocol violation: {0}")]
    Violation(Violation),
    /// The process stops.
    #[error("cut")]
    Cut,
}

/// A rule that the peer broke. All of them end the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame that cannot be read.
    #[error("malformed frame: {0}")]
    Malformed(#[from] crate::frame::FrameError),
    /// A message longer than the limit.
    #[error("message too long")]
    MessageTooLong,
    /// Not a binary message, or not WebSocket as RFC 6455 has it.
    #[error("websocket rules broken")]
    WebSocket,
    /// Text that is not UTF-8 inside a WebSocket.
    #[error("text is not utf-8")]
    Utf8,
    /// A stream id of the wrong side, or not above the last one.
    #[error("stream id out of order")]
    StreamId,
    /// More data than was granted.
    #[error("credit exceeded")]
    Credit,
    /// Data or end after the end.
    #[error("data after the end of a stream")]
    AfterEnd,
    /// More streams refused than a peer that counts could open.
    #[error("too many streams")]
    Streams,
    /// Frames for streams that do not exist, again and again.
    #[error("frames for unknown streams")]
    UnknownStream,
    /// Pings, notices or other control frames faster than anyone needs.
    #[error("control frames too fast")]
    Flood,
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Closed(CloseReason::Local(_) | CloseReason::Moved(_) | CloseReason::Dropped | CloseReason::Cut) => {
                io::ErrorKind::NotConnected
            }
            Error::Closed(CloseReason::Silent | CloseReason::SendTimeout) => io::ErrorKind::TimedOut,
            Error::Closed(_) => io::ErrorKind::ConnectionReset,
            Error::TooManyStreams | Error::NoticesFull | Error::Exhausted => io::ErrorKind::QuotaExceeded,
            Error::HeadTooLong(_) | Error::NoticeTooLong(_) => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}

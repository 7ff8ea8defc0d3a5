//! What all ends of all connections do: read frames, say no, and tell the log how it ended.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use outrigger_engine::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::DecodeError;
use super::frame::{self, Frame, FrameBuffer, FrameError, READ_BYTES};
use super::handshake::Rejection;
use super::log_limit::LogLimit;

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// A node that waits to be added calls every second, as it should: it is told of once in so long.
const STRANGERS_INTERVAL: Duration = Duration::from_secs(600);

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The network or the other side ended it.
    #[error("{0}")]
    Lost(#[from] io::Error),
    /// Nothing was heard for so long.
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
    /// The same peer has dialled anew.
    #[error("the peer has dialled anew")]
    Replaced,
    /// So much waits here that the peer's handshake found no room.
    #[error("too much waits to be taken in; the peer is to dial anew")]
    Busy,
    /// What came is no frame.
    #[error(transparent)]
    Garbage(#[from] FrameError),
    /// What came is no message.
    #[error(transparent)]
    Nonsense(#[from] DecodeError),
    /// This side refuses the other.
    #[error("refused: {0}")]
    Refused(Rejection),
    /// The other side refuses this one.
    #[error("refused by the other side: {0}")]
    Rejected(Rejection),
}

impl Ended {
    /// Tells the log how `what` ended: of usual ends hardly, of refusals and nonsense at most once in a while for each
    /// origin and reason, and of who is no member hardly ever.
    pub(crate) fn report(&self, limit: &LogLimit, node: NodeId, origin: &str, what: &str) {
        let reason = match self {
            Self::Lost(_) | Self::Silent(_) | Self::Replaced | Self::Busy => {
                tracing::debug!(node = node.0, "{what} ended: {self}");
                return;
            }
            Self::Refused(rejection @ Rejection::NotMember { .. })
            | Self::Rejected(rejection @ Rejection::NotMember { .. }) => {
                let origin = format!("{origin} {rejection}");
                let now = std::time::Instant::now();
                if limit.admit_every(STRANGERS_INTERVAL, &origin, rejection.name(), now).is_some() {
                    tracing::info!(node = node.0, "{what} ended: {self}");
                }
                return;
            }
            Self::Garbage(_) => "garbage",
            Self::Nonsense(_) => "nonsense",
            Self::Refused(rejection) | Self::Rejected(rejection) => rejection.name(),
        };
        if let Some(suppressed) = limit.admit(origin, reason, std::time::Instant::now()) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::warn!(node = node.0, suppressed, "{what} ended: {self}");
        }
    }
}

/// Reads until `input` begins with a whole frame and cuts it off. Cancelling loses nothing: what was read stays in `input`.
pub(crate) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    limit: usize,
) -> Result<Frame, Ended> {
    loop {
        if let Some(frame) = frame::split(input, limit)? {
            return Ok(frame);
        }
        read_some(stream, input).await?;
    }
}

/// Reads at least one byte.
pub(crate) async fn read_some(stream: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> Result<(), Ended> {
    if input.capacity() == input.len() {
        input.reserve(READ_BYTES);
    }
    match stream.read_buf(input).await? {
        0 => Err(Ended::Lost(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed the connection"))),
        _ => Ok(()),
    }
}

/// Tells the other side why it is not served, if it still listens.
pub(crate) async fn reject(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), rejection: &Rejection) {
    let mut output = FrameBuffer::default();
    if rejection.encode(&mut output).is_err() {
        return;
    }
    let farewell = async {
        stream.write_all_buf(&mut output).await?;
        stream.shutdown().await?;
        // A socket that is closed with bytes unread resets the connection, and the other side might never see why.
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether it arrives changes nothing: the connection ends either way.
    let _ = timeout(FAREWELL, farewell).await;
}

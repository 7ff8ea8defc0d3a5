//! A snapshot on its way to a client: asked for piece by piece on one connection, and written to a file.
//!
//! ```text
//!   request   offset u64, local bool         0: a snapshot is taken and opened; else the piece behind the last one
//!   answer    at 0: term u64, index u64, bytes u64, checksum u32, length of the head u32, head (see store::snapshots)
//!             then the piece, to the end
//! ```
//!
//! The node keeps what it opened for as long as the connection lasts, so that snapshots that it takes meanwhile do not matter. A
//! connection that breaks ends it: the next try begins anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::{LogId, LogIndex, SnapshotId, Term};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::link::Link;
use super::protocol::{Operation, Outcome};
use super::{Client, ClientError, Shared};
use crate::Query;
use crate::backup::SavedSnapshot;
use crate::network::DecodeError;
use crate::network::fields::Fields;
use crate::raft::{Export, SaveFile};
use crate::store::StorageError;

/// The longest head, as in the files of snapshots.
const HEAD_BYTES_MAX: usize = outrigger_log::SNAPSHOT_HEAD_BYTES_MAX;

/// How soon after a piece that could not be sent it is asked for again.
const PIECE_PAUSE: Duration = Duration::from_millis(50);

/// What a client wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where the piece begins; 0 for a new snapshot.
    pub(super) offset: u64,
    /// Whether it may lack what this node has not applied yet.
    pub(super) local: bool,
}

/// What stands before the first piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) id: SnapshotId,
    pub(super) head: Bytes,
}

impl Wanted {
    pub(super) fn encode(self) -> Bytes {
        let mut out = self.offset.to_le_bytes().to_vec();
        out.push(self.local.into());
        out.into()
    }

    pub(super) fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(body);
        let wanted = Self { offset: fields.u64()?, local: fields.bool("local")? };
        fields.finish().map(|()| wanted)
    }
}

impl Opened {
    pub(super) fn of(export: &Export) -> Self {
        Self { id: export.snapshot.id, head: export.head() }
    }

    /// This, and the first piece behind it.
    pub(super) fn encode(&self, piece: &[u8]) -> Bytes {
        let SnapshotId { last, bytes, checksum } = self.id;
        let mut out = Vec::with_capacity(32 + self.head.len() + piece.len());
        for number in [last.term.0, last.index.0, bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.head.len()).expect("a head is short").to_le_bytes());
        out.extend_from_slice(&self.head);
        out.extend_from_slice(piece);
        out.into()
    }

    pub(super) fn decode(body: Bytes) -> Result<(Self, Bytes), DecodeError> {
        let mut fields = Fields::new(body);
        let last = LogId { term: Term(fields.u64()?), index: LogIndex(fields.u64()?) };
        let (bytes, checksum, head_bytes) = (fields.u64()?, fields.u32()?, fields.u32()?);
        let mut rest = fields.rest();
        let length = usize::try_from(head_bytes).unwrap_or(usize::MAX);
        if length > rest.len() || length > HEAD_BYTES_MAX {
            return Err(DecodeError::Invalid { what: "length of a snapshot's head", value: head_bytes.into() });
        }
        let head = rest.split_to(length);
        Ok((Self { id: SnapshotId { last, bytes, checksum }, head }, rest))
    }
}

impl<S: Query> Client<S> {
    /// Has one of the endpoints that [`connect`](Client::connect) was given take a snapshot of its state, with all in it that was
    /// acknowledged before the call, and saves it to a file on this machine; see
    /// [`restore_snapshot`](crate::restore_snapshot). If it is to be `local`, no other node is asked whether there is more: for a
    /// cluster that has lost its majority. A file of this name is replaced when all of it is durable; until then, and after an
    /// error, it is as it was. `progress` is told how many bytes of how many have come. There is no limit to how long all of it
    /// takes, but for each piece.
    ///
    /// Dropping the future gives it up, and what has come is removed; if all had come, the file may be there.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when no snapshot could be taken, [`ClientError::File`] when the file cannot be written or what has
    /// come is not what was announced; else as for a query, also when the connection breaks on the way: begin again.
    pub async fn save_snapshot(
        &self,
        path: impl AsRef<Path>,
        local: bool,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<SavedSnapshot, ClientError> {
        let path = path.as_ref().to_owned();
        SaveFile::check(&path).map_err(|StorageError { reason }| ClientError::File { reason })?;
        let started = self.shared.first_piece(local, self.patience).await?;
        let Started { link, cluster, first } = started;
        let decode = |error: DecodeError| ClientError::Decode { reason: error.to_string() };
        let (Opened { id, head }, mut piece) = Opened::decode(first).map_err(decode)?;
        let mut file = off(move || SaveFile::create(&path, cluster, id, head)).await?;
        loop {
            file = off(move || file.write(&piece).map(|()| file)).await?;
            progress(file.bytes(), id.bytes);
            if file.bytes() == id.bytes {
                return off(move || file.finish()).await;
            }
            piece = next_piece(&link, Wanted { offset: file.bytes(), local }, self.patience).await?;
        }
    }
}

/// Does what may block somewhere else.
async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, ClientError> {
    let done = tokio::task::spawn_blocking(work).await;
    let failed = |reason: String| ClientError::File { reason };
    done.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.reason))
}

/// What comes behind what has come. A node that cannot send it now is asked again, for as long as a piece may take: if it has not kept
/// the snapshot open, it says so.
async fn next_piece(link: &Link, wanted: Wanted, patience: Duration) -> Result<Bytes, ClientError> {
    let start = Instant::now();
    let deadline = start + patience;
    loop {
        let next = Instant::now() + PIECE_PAUSE;
        let reason = match link.ask(Operation::SaveSnapshot, wanted.encode(), deadline).await {
            Ok(Outcome::Done { body, .. }) if !body.is_empty() => return Ok(body),
            Ok(Outcome::Never { reason }) => return Err(ClientError::Refused { reason }),
            Ok(Outcome::NotNow { .. }) if next < deadline => {
                sleep_until(next).await;
                continue;
            }
            Ok(Outcome::NotNow { reason } | Outcome::Unknown { reason }) => reason,
            Err(error) => error.reason,
            Ok(_) => "the node has sent nothing".to_owned(),
        };
        let reason = format!("{reason}; {} bytes had come: begin again", wanted.offset);
        return Err(ClientError::NotAnswered { waited: start.elapsed(), reason });
    }
}

/// A snapshot that a node has opened.
struct Started {
    /// Where the rest of it comes from.
    link: Arc<Link>,
    cluster: u64,
    first: Bytes,
}

impl Shared {
    /// A connection that nobody else uses: a node has one snapshot open for each. It is to an endpoint that is up.
    async fn own_link(&self, deadline: Instant) -> Result<(String, Arc<Link>), String> {
        let (endpoint, _) = self.link(true, deadline).await?;
        let link = Link::dial(endpoint.clone(), self.told.cluster.load(Ordering::Relaxed), Arc::clone(&self.told));
        match timeout_at(deadline, link.is_up()).await {
            Ok(up) => up.map(|()| (endpoint, Arc::new(link))),
            Err(_) => Err(format!("{endpoint} did not say hello a second time")),
        }
    }

    /// Asks here and there until a node has opened a snapshot.
    async fn first_piece(&self, local: bool, patience: Duration) -> Result<Started, ClientError> {
        let (start, wanted) = (Instant::now(), Wanted { offset: 0, local });
        let deadline = start + patience;
        let mut attempts = 0;
        loop {
            let reason = match self.own_link(deadline).await {
                Err(reason) => reason,
                Ok((endpoint, link)) => match link.ask(Operation::SaveSnapshot, wanted.encode(), deadline).await {
                    Ok(Outcome::Done { body, .. }) => {
                        return Ok(Started { link, cluster: self.told.cluster.load(Ordering::Relaxed), first: body });
                    }
                    Ok(Outcome::Never { reason }) => return Err(ClientError::Refused { reason }),
                    Ok(Outcome::NotNow { reason } | Outcome::Unknown { reason }) => {
                        self.told.endpoints().turn(&endpoint, Instant::now());
                        reason
                    }
                    Ok(Outcome::Denied(denied)) => return Err(ClientError::Refused { reason: denied.to_string() }),
                    Err(error) => {
                        self.told.endpoints().failed(&endpoint, Instant::now());
                        error.reason
                    }
                },
            };
            let next = Instant::now() + self.pause(attempts);
            if next >= deadline {
                return Err(ClientError::NotAnswered { waited: start.elapsed(), reason });
            }
            sleep_until(next).await;
            attempts += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_engine::NodeId;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::link::tests::Deaf;
    use crate::client::protocol::{self, Request};
    use crate::network::connection;
    use crate::network::frame::{FrameBuffer, kind};

    /// A node that is played by hand, and gives these outcomes, whatever it is asked. Answers what it was asked for.
    async fn played(listener: TcpListener, outcomes: Vec<Outcome>) -> Vec<Wanted> {
        let (mut stream, mut input) = (listener.accept().await.unwrap().0, bytes::BytesMut::new());
        let (mut output, mut asked) = (FrameBuffer::default(), Vec::new());
        connection::read_frame(&mut stream, &mut input, 1000).await.unwrap();
        protocol::put_welcome(7, NodeId(1), &mut output).unwrap();
        for outcome in outcomes {
            stream.write_all_buf(&mut output).await.unwrap();
            output.clear();
            let request = loop {
                let frame = connection::read_frame(&mut stream, &mut input, 1000).await.unwrap();
                if frame.kind != kind::PING {
                    break Request::decode(frame.body).unwrap();
                }
            };
            asked.push(Wanted::decode(request.body).unwrap());
            outcome.encode(request.id, 1000, &mut output);
        }
        stream.write_all_buf(&mut output).await.unwrap();
        asked
    }

    /// Found by reading: one piece that could not be sent at once ended the whole.
    #[tokio::test]
    async fn a_piece_that_cannot_be_sent_now_is_asked_for_again() {
        let later = || Outcome::NotNow { reason: "later".to_owned() };
        let (body, applied) = (Bytes::from_static(b"piece"), LogIndex::ZERO);
        let never = Outcome::Never { reason: "the next piece is at 0".to_owned() };
        let wanted = Wanted { offset: 1 << 20, local: false };
        let patience = Duration::from_secs(10);
        for (outcomes, expected) in [
            (vec![later(), later(), Outcome::Done { applied, body: body.clone() }], Ok(body)),
            (vec![later(), never], Err(ClientError::Refused { reason: "the next piece is at 0".to_owned() })),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let link = Link::dial(listener.local_addr().unwrap().to_string(), 0, Arc::new(Deaf));
            let count = outcomes.len();
            let (asked, piece) = tokio::join!(played(listener, outcomes), next_piece(&link, wanted, patience));
            assert_eq!(piece, expected);
            assert_eq!(asked, vec![wanted; count]);
        }
    }

    /// It is waited for as long as a piece may take, and then told why.
    #[tokio::test]
    async fn a_piece_that_is_never_sent_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::dial(listener.local_addr().unwrap().to_string(), 0, Arc::new(Deaf));
        let outcomes = (0..100).map(|_| Outcome::NotNow { reason: "too much in hand".to_owned() }).collect();
        let node = tokio::spawn(played(listener, outcomes));
        let given_up = next_piece(&link, Wanted { offset: 5, local: false }, Duration::from_millis(300)).await;
        assert!(
            matches!(&given_up, Err(ClientError::NotAnswered { reason, .. }) if reason.contains("5 bytes had come")),
            "{given_up:?}"
        );
        node.abort();
    }

    #[test]
    fn what_is_wanted_and_what_is_opened_are_read_as_they_were_written() {
        for wanted in [Wanted { offset: 0, local: true }, Wanted { offset: 1 << 40, local: false }] {
            assert_eq!(Wanted::decode(wanted.encode()), Ok(wanted));
        }
        let id = SnapshotId { last: LogId::new(3, 90), bytes: 1 << 33, checksum: 77 };
        let opened = Opened { id, head: Bytes::from_static(b"members") };
        let whole = opened.encode(b"state");
        assert_eq!(Opened::decode(whole.clone()), Ok((opened, Bytes::from_static(b"state"))));
        for length in 0..whole.len() - 5 {
            assert!(Opened::decode(whole.slice(..length)).is_err(), "{length} bytes");
        }
        let mut hostile = whole.to_vec();
        hostile[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Opened::decode(hostile.into()).is_err());
    }
}

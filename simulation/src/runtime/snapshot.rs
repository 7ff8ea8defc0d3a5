//! Snapshots in the simulation: what takes time ends when the world says so, and what is written is on the simulated disk.
//!
//! ```text
//!   BuildSnapshot ──(its turn)──► content ──(a drawn delay)──► disk ──► SnapshotBuilt, SnapshotFailed
//!   ReceiveSnapshot ─────────────────────(a drawn delay)──► disk ──► SnapshotReceived, SnapshotSpoiled
//! ```

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use outrigger::engine::{Command, Event, InstallSnapshot, LogId, Membership, Message, Snapshot, SnapshotId};
use outrigger::store::{Built, LogStore, Moment, Received, SnapshotStore, StorageError};

use super::{Effect, Runtime};
use crate::content::{self, Content};

/// What of snapshots is under way to the disk.
#[derive(Debug)]
pub(crate) enum Keeping {
    /// One that is being taken.
    Build(Moment, Vec<u8>),
    /// A piece of one that comes.
    Piece(Arc<Snapshot>, u64, Bytes),
}

impl Keeping {
    /// The last entry of the snapshot that is complete with this.
    fn completes(&self) -> Option<LogId> {
        match self {
            Self::Build(moment, _) => Some(moment.last),
            Self::Piece(snapshot, offset, chunk) => {
                (offset + chunk.len() as u64 == snapshot.id.bytes).then_some(snapshot.last())
            }
        }
    }
}

impl Runtime {
    /// The state is as it must be: the rest takes its time.
    pub(super) fn begin_build(&mut self, last: LogId, membership_at: LogId, membership: Arc<Membership>) {
        assert_eq!(self.machine.last(), last.index, "a snapshot is of what is applied when its turn comes");
        let log_time = self.accepted.at(last.index).expect("what is applied is in the log").log_time;
        let (sessions, user) = (self.machine.sessions(), self.machine.user_bytes());
        let content = content::encode(&self.accepted, last.index, self.machine.registers(), &sessions, user.as_ref());
        self.keep(Keeping::Build(Moment { last, log_time, membership_at, membership }, content));
    }

    pub(super) fn keep(&mut self, keeping: Keeping) {
        self.keepings += 1;
        self.keeping.push((self.keepings, keeping));
        self.effects.push(Effect::Keep(self.keepings));
    }

    /// What was under way to the disk is done, or was not possible.
    pub(crate) fn end_keeping(&mut self, number: u64) -> Option<Event> {
        let place = self.keeping.iter().position(|(other, _)| *other == number)?;
        let (_, keeping) = self.keeping.remove(place);
        let completes = keeping.completes();
        let event = self.write_keeping(keeping);
        if matches!(event, Event::StorageFailed { .. }) {
            // A sync that fails leaves open what is there.
            self.maybe_covers.extend(completes);
        }
        Some(event)
    }

    /// The process dies while these are under way: they get as far as the disk lets them. Answers the last entries of the
    /// snapshots that may be complete then, although it was never said that they are.
    pub(crate) fn die_keeping(&mut self) -> Vec<LogId> {
        for (_, keeping) in std::mem::take(&mut self.keeping) {
            let certain = self.durable.snapshot.clone();
            self.maybe_covers.extend(keeping.completes());
            self.write_keeping(keeping);
            self.durable.snapshot = certain;
        }
        std::mem::take(&mut self.maybe_covers)
    }

    /// Whether anything is under way to the disk beside the log.
    pub(crate) fn is_keeping(&self) -> bool {
        !self.keeping.is_empty()
    }

    fn write_keeping(&mut self, keeping: Keeping) -> Event {
        let store = self.store.snapshots();
        match keeping {
            Keeping::Build(moment, bytes) => match store.build(&moment, &mut |out| out.write_all(&bytes)) {
                Ok(Built::Snapshot(snapshot)) => {
                    let content = content::decode(&bytes).expect("it was encoded just now");
                    self.durable.keep(content.stamps);
                    Event::SnapshotBuilt { snapshot }
                }
                Ok(Built::Not(reason)) => Event::SnapshotFailed { reason },
                Err(StorageError { reason }) => Event::StorageFailed { reason },
            },
            Keeping::Piece(snapshot, offset, chunk) => self.write_piece(&*store, &snapshot, offset, &chunk),
        }
    }

    fn write_piece(&mut self, store: &dyn SnapshotStore, snapshot: &Arc<Snapshot>, offset: u64, chunk: &[u8]) -> Event {
        let id = snapshot.id;
        let received = store.receive(snapshot, offset, chunk).and_then(|received| match received {
            Received::Held(held) if held == id.bytes => {
                read_content(store, id).map(|content| (received, Some(content.stamps)))
            }
            other => Ok((other, None)),
        });
        match received {
            Ok((Received::Held(held), stamps)) => {
                stamps.into_iter().for_each(|stamps| self.durable.keep(stamps));
                Event::SnapshotReceived { id, held }
            }
            Ok((Received::Spoiled(reason), _)) => Event::SnapshotSpoiled { id, reason },
            Err(StorageError { reason }) => Event::StorageFailed { reason },
        }
    }

    /// The state machine takes a snapshot in.
    pub(super) fn install(&mut self, snapshot: &Snapshot) -> Event {
        let last = snapshot.last();
        match read_content(&*self.store.snapshots(), snapshot.id) {
            Ok(Content { stamps, registers, sessions, user }) => {
                assert_eq!(stamps.last(), last, "a snapshot covers what it says");
                let applied = stamps.0.iter().map(|stamp| stamp.id).collect();
                self.machine.restore(registers, &sessions, user.as_ref(), applied);
                self.show_sessions();
                Event::Applied { last: last.index }
            }
            Err(StorageError { reason }) => Event::StateMachineFailed { at: last.index, reason },
        }
    }

    /// A peer lane has read a piece of a snapshot: the message leaves.
    pub(super) fn end_sending_piece(&mut self, command: Command) -> Option<Event> {
        let Command::SendSnapshot { target, epoch, request, term, leader, snapshot, offset, bytes_max } = command
        else {
            panic!("{command} sends no snapshot");
        };
        let store = self.store.snapshots();
        let chunk = match bytes_max {
            0 => Ok(store.newest().filter(|newest| newest.id == snapshot.id).map(|_| Bytes::new())),
            _ => store.read(snapshot.id, offset, bytes_max),
        };
        Some(match chunk {
            Err(error) => {
                let (id, reason) = (snapshot.id, error.reason);
                Event::SnapshotUnreadable { target, epoch, request, id, reason }
            }
            Ok(None) => Event::ReplicateGone { target, epoch, request },
            Ok(Some(chunk)) => {
                let piece = InstallSnapshot { term, leader, epoch, request, snapshot, offset, chunk };
                self.effects.push(Effect::Send(target, Message::InstallSnapshot(piece)));
                Event::SnapshotSent { target, epoch, request }
            }
        })
    }

    /// The log lets go of its beginning, or a snapshot takes the place of all of it.
    pub(super) fn purge(&mut self, through: LogId) {
        self.log.purge(through);
        self.purged = through;
        if !self.accepted.has(through) {
            let covered = self.durable.snapshot.as_deref().filter(|covered| covered.last() == through);
            self.accepted = covered.expect("a purge of what is not in the log follows a snapshot").clone();
            self.checked = 0;
        }
    }
}

/// What a snapshot on a disk holds.
pub(crate) fn read_content(store: &dyn SnapshotStore, id: SnapshotId) -> Result<Content, StorageError> {
    let mut bytes = Vec::with_capacity(usize::try_from(id.bytes.min(1 << 20)).expect("a small number"));
    store.content(id)?.read_to_end(&mut bytes).map_err(StorageError::new)?;
    content::decode(&bytes).ok_or_else(|| StorageError::new(format!("the snapshot {id} holds something else")))
}

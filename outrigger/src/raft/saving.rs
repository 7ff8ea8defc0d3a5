//! A snapshot on its way out of the cluster, into a file or to a client, piece by piece.
//!
//! ```text
//!   read index ─► take a snapshot ─► the newest, opened ─► piece ─► piece ─► ... ─► all
//!   '- so that it has all that was acknowledged before     '- stays readable when a newer one takes its place
//! ```

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_engine::{Event, Snapshot};
use outrigger_log::{RealDisk, SnapshotFileWriter};

use super::Raft;
use crate::LargeStateMachine;
use crate::backup::SavedSnapshot;
use crate::error::SaveError;
use crate::runtime::arrivals::Inbox;
use crate::store::durable::file_id;
use crate::store::snapshots::encode_head;
use crate::store::{Moment, StorageError};

/// How much of a snapshot is in memory at once.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// A snapshot that is read out, front to back.
pub(crate) struct Export {
    pub(crate) snapshot: Arc<Snapshot>,
    content: Box<dyn Read + Send>,
    /// How many bytes were read.
    next: u64,
}

impl Export {
    pub(crate) fn new(snapshot: Arc<Snapshot>, content: Box<dyn Read + Send>) -> Self {
        Self { snapshot, content, next: 0 }
    }

    /// How many bytes were read; the next piece begins there.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The next piece; empty behind the end.
    pub(crate) fn read(&mut self) -> Result<Bytes, StorageError> {
        let mut piece = Vec::new();
        let limit = PIECE_BYTES as u64;
        (&mut self.content).take(limit).read_to_end(&mut piece).map_err(StorageError::new)?;
        self.next += piece.len() as u64;
        if piece.is_empty() && self.next < self.snapshot.id.bytes {
            return Err(StorageError::new(format!("{} ends after {} bytes", self.snapshot.id, self.next)));
        }
        Ok(piece.into())
    }

    /// What is kept of it beside its content.
    pub(crate) fn head(&self) -> Bytes {
        encode_head(&Moment::of(&self.snapshot), self.snapshot.genesis)
    }
}

/// A file that a snapshot is saved to.
pub(crate) struct SaveFile {
    writer: SnapshotFileWriter<RealDisk>,
    saved: SavedSnapshot,
}

impl SaveFile {
    /// Whether a file may be here: asked before anything is taken, let alone sent.
    pub(crate) fn check(path: &Path) -> Result<(), StorageError> {
        if path.is_dir() {
            return Err(StorageError::new(format!("{} is a directory; name a file in it", path.display())));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            return Err(StorageError::new(format!(
                "{} is no directory, or not there; make it first",
                parent.display()
            )));
        }
        Ok(())
    }

    pub(crate) fn create(
        path: &Path,
        cluster: u64,
        id: outrigger_engine::SnapshotId,
        head: Bytes,
    ) -> Result<Self, StorageError> {
        let saved = SavedSnapshot { last: id.last, bytes: id.bytes, checksum: id.checksum };
        let snapshot = outrigger_log::Snapshot { id: file_id(id), head };
        let writer = SnapshotFileWriter::create(RealDisk, path, cluster, &snapshot).map_err(StorageError::new)?;
        Ok(Self { writer, saved })
    }

    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), StorageError> {
        self.writer.write(piece).map_err(StorageError::new)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    pub(crate) fn finish(self) -> Result<SavedSnapshot, StorageError> {
        self.writer.finish().map_err(StorageError::new)?;
        Ok(self.saved)
    }
}

impl<S: LargeStateMachine> Raft<S> {
    /// Takes a snapshot of the state, with all in it that was acknowledged before the call, and saves it to a file, from which
    /// [`restore_snapshot`](crate::restore_snapshot) begins a new cluster. The cluster serves on. A file of this name is replaced
    /// when all of it is durable; until then, and after an error, it is as it was.
    ///
    /// Dropping the future leaves the file as it was, or has it written to its end.
    ///
    /// # Errors
    /// [`SaveError`].
    ///
    /// ```no_run
    /// # async fn save<S: outrigger::StateMachine>(raft: outrigger::Raft<S>) -> Result<(), outrigger::SaveError> {
    /// let saved = raft.save_snapshot("monday.snapshot".as_ref()).await?;
    /// println!("{} bytes, up to {}", saved.bytes, saved.last);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save_snapshot(&self, path: &Path) -> Result<SavedSnapshot, SaveError> {
        SaveFile::check(path).map_err(|StorageError { reason }| SaveError::File { reason })?;
        let mut export = self.export(false).await?;
        let (path, cluster) = (path.to_owned(), self.config().cluster_id());
        let inbox = Arc::clone(&self.0.inbox);
        let save = move || {
            let mut file = SaveFile::create(&path, cluster, export.snapshot.id, export.head())?;
            while export.next() < export.snapshot.id.bytes {
                let piece = export.read();
                file.write(&piece.inspect_err(|error| tell_of_rot(&inbox, &export, error))?)?;
            }
            file.finish()
        };
        match self.0.snapshots.work(save).await {
            Some(Ok(saved)) => Ok(saved),
            Some(Err(StorageError { reason })) => Err(SaveError::File { reason }),
            None => Err(SaveError::Stopped),
        }
    }

    /// Opens a snapshot with all in it that was acknowledged before, or, if it is to be `local`, that this node has applied.
    pub(crate) async fn export(&self, local: bool) -> Result<Export, SaveError> {
        if !local {
            self.read(|_| ()).await.map_err(|reason| SaveError::NotLatest { reason })?;
        }
        self.snapshot().await.map_err(|reason| SaveError::NotTaken { reason })?;
        match self.0.snapshots.newest().await {
            Some(Ok((snapshot, content))) => Ok(Export::new(snapshot, content)),
            Some(Err(StorageError { reason })) => Err(SaveError::File { reason }),
            None => Err(SaveError::Stopped),
        }
    }

    /// The next piece of what is read out, read where it holds up nobody.
    pub(crate) async fn next_piece(&self, mut export: Export) -> Result<(Export, Bytes), SaveError> {
        let inbox = Arc::clone(&self.0.inbox);
        let read = move || match export.read() {
            Ok(piece) => Ok((export, piece)),
            Err(error) => {
                tell_of_rot(&inbox, &export, &error);
                Err(error)
            }
        };
        match self.0.snapshots.work(read).await {
            Some(read) => read.map_err(|StorageError { reason }| SaveError::File { reason }),
            None => Err(SaveError::Stopped),
        }
    }
}

/// What cannot be read out could not be sent to another node either, nor be started from: another one takes its place.
fn tell_of_rot<S: LargeStateMachine>(inbox: &Inbox<S>, export: &Export, StorageError { reason }: &StorageError) {
    let id = export.snapshot.id;
    tracing::error!(
        snapshot = %id,
        reason,
        "this node's snapshot cannot be read to be saved; another one of the state in memory will take its place, and until then \
         this node must not be restarted"
    );
    inbox.notify(Event::SnapshotRotten { id, reason: reason.clone() });
}

impl SaveError {
    /// Why, for a client, which says itself what is not saved.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::NotLatest { reason } => format!("it is not certain to be the latest: {reason}"),
            Self::NotTaken { reason } => reason.to_string(),
            Self::File { reason } => reason.clone(),
            Self::Stopped => "this node has stopped".to_owned(),
        }
    }

    /// Whether trying again may help.
    pub(crate) const fn may_pass(&self) -> bool {
        match self {
            Self::NotLatest { .. } | Self::Stopped => true,
            Self::NotTaken { reason } => reason.may_pass(),
            Self::File { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_engine::{Genesis, LogId, LogTime, Membership, SnapshotId};

    use super::*;

    /// Else whoever saves it would read on for ever.
    #[test]
    fn a_snapshot_that_ends_before_its_last_byte_is_no_snapshot() {
        let id = SnapshotId { last: LogId::new(1, 9), bytes: 6, checksum: 0 };
        let membership = Arc::new(Membership::default());
        let snapshot = Snapshot {
            id,
            log_time: LogTime(0),
            membership,
            membership_at: LogId::new(1, 1),
            genesis: Genesis::UNKNOWN,
        };
        let mut export = Export::new(Arc::new(snapshot), Box::new(&b"short"[..]));
        assert_eq!(export.read(), Ok(Bytes::from_static(b"short")));
        assert_eq!(export.next(), 5);
        let error = export.read().unwrap_err();
        assert!(error.reason.ends_with("ends after 5 bytes"), "{error}");
    }

    /// Before a cluster is asked for anything.
    #[test]
    fn where_no_file_can_be_is_said_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let said = |path: &Path| SaveFile::check(path).map_err(|StorageError { reason }| reason);
        assert_eq!(said(&directory.path().join("snapshot")), Ok(()));
        assert_eq!(said(Path::new("snapshot")), Ok(()));
        assert!(said(directory.path()).is_err_and(|reason| reason.ends_with("is a directory; name a file in it")));
        let reason = said(&directory.path().join("missing").join("snapshot")).unwrap_err();
        assert!(reason.ends_with("is no directory, or not there; make it first"), "{reason}");
    }
}

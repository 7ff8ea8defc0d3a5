//! Building a snapshot of what this node has applied.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::directory::{BUILDING, Shared, lock};
use super::layout::{BODY_BYTES_MAX, Blocks, Header, checked_head};
use super::write::FileWriter;
use super::{Snapshot, SnapshotError, SnapshotId};
use crate::disk::Disk;
use crate::error::During;
use crate::state::LogPosition;

/// Takes the body of a snapshot, which streams into a file. Dropped before [`finish`](Self::finish), it leaves nothing.
///
/// After a write has failed, all others do; which error it was is what `finish` answers.
pub struct SnapshotBuilder<D: Disk> {
    shared: Arc<Shared<D>>,
    position: LogPosition,
    head: Bytes,
    state: State<D::File>,
}

enum State<F> {
    /// Its file, which nobody else writes to.
    Open(FileWriter<F>),
    /// A write has failed, and the file is removed.
    Failed(SnapshotError),
    /// There is no file, or it has become a complete snapshot.
    Over,
}

impl<D: Disk> SnapshotBuilder<D> {
    pub(super) fn begin(shared: &Arc<Shared<D>>, position: LogPosition, head: Bytes) -> Result<Self, SnapshotError> {
        let head_bytes = checked_head(&head)?;
        shared.admit(position)?;
        {
            let mut building = lock(&shared.building);
            if let Some(position) = *building {
                return Err(SnapshotError::BuildUnderWay { position });
            }
            *building = Some(position);
        }
        // From here on a failure drops it, which makes room for the next build.
        let mut build = Self { shared: Arc::clone(shared), position, head, state: State::Over };
        let path = shared.path(BUILDING);
        let file = shared.disk.create(&path).during("create", &path)?;
        let blocks = Blocks::behind(position, head_bytes);
        let begun = FileWriter::begin(file, path, blocks, &build.head).inspect_err(|_| shared.discard(BUILDING));
        build.state = State::Open(begun?);
        Ok(build)
    }

    /// How many bytes of the body were written.
    pub fn bytes(&self) -> u64 {
        match &self.state {
            State::Open(writer) => writer.bytes(),
            State::Failed(_) | State::Over => 0,
        }
    }

    /// Makes the snapshot complete and durable; then it is the newest, and the older one is removed.
    ///
    /// # Errors
    /// [`SnapshotError::Older`] if a newer one was received meanwhile, `DiskFull`, `Disk`, `Poisoned`, or what a write has
    /// failed with: nothing is left of it, and the newest is as it was. If it was the sync of the directory that failed, it
    /// may be that this one is the newest after the next open.
    pub fn finish(mut self) -> Result<Snapshot, SnapshotError> {
        let writer = match mem::replace(&mut self.state, State::Over) {
            State::Open(writer) => writer,
            State::Failed(error) => return Err(error),
            State::Over => unreachable!("only this ends it without a failure, and takes it"),
        };
        let finished = self.install(writer).inspect_err(|_| self.shared.discard(BUILDING))?;
        self.shared.discard_older_reception();
        Ok(finished)
    }

    fn install(&self, mut writer: FileWriter<D::File>) -> Result<Snapshot, SnapshotError> {
        writer.end_body()?;
        let id = SnapshotId { position: self.position, bytes: writer.bytes(), checksum: writer.checksum() };
        let header = Header::new(self.shared.cluster, &Snapshot { id, head: self.head.clone() })?;
        writer.write_header(&header)?;
        writer.complete(&header)?;
        self.shared.install(BUILDING, writer.into_file(), header, self.head.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let writer = match &mut self.state {
            State::Open(writer) => writer,
            State::Failed(error) => return Err(SnapshotError::Ended { reason: error.to_string() }),
            State::Over => unreachable!("only finishing ends it without a failure, and takes it"),
        };
        let length = writer.bytes().saturating_add(bytes.len() as u64);
        if length > BODY_BYTES_MAX {
            return Err(SnapshotError::TooLarge { what: "body", bytes: length, bytes_max: BODY_BYTES_MAX });
        }
        Ok(writer.append(bytes)?)
    }
}

impl<D: Disk> io::Write for SnapshotBuilder<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Err(error) = self.append(bytes) else { return Ok(bytes.len()) };
        let answer = io::Error::new(error.kind(), error.to_string());
        if matches!(self.state, State::Open(_)) {
            // At once: on a full disk others need the room more than one that cannot end.
            self.shared.discard(BUILDING);
            self.state = State::Failed(error);
        }
        Err(answer)
    }

    /// Nothing is durable before [`SnapshotBuilder::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Disk> Drop for SnapshotBuilder<D> {
    fn drop(&mut self) {
        if matches!(self.state, State::Open(_)) {
            self.shared.discard(BUILDING);
        }
        // Last, so that the next build does not create the file before this one removes it.
        *lock(&self.shared.building) = None;
    }
}

impl<D: Disk> fmt::Debug for SnapshotBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SnapshotBuilder");
        debug.field("position", &self.position).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

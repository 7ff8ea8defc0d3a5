//! Segments made ahead of need, and removed when nothing lives in them.
//!
//! ```text
//!   N.segment.new:  zeros written -> header -> sync -> rename to N.segment -> sync of the directory -> ready
//!                                                                                                      |
//!   flush, when the segment in use is full: ------------------------------------------ takes it <------'
//! ```
//!
//! A file that already has its zeros on the disk is synced in half the time of one that grows, because no metadata
//! changes. Making one takes long, so somebody else than the log writer does it: a thread that calls
//! [`Preparer::prepare`] whenever a flush has used the last one. If nobody does, the flush makes it itself.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{DiskError, During, PrepareError};
use crate::open::Held;
use crate::segment::{self, SegmentHeader, size};
use crate::shared::Shared;

/// The zeros that are written at once.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// A segment file that is open for writing.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) header: SegmentHeader,
    pub(crate) file: F,
}

/// The next segment, made or to be made.
#[derive(Debug)]
pub(crate) struct Preparation<F> {
    /// Durable under its name, and empty; its sequence is `next_sequence`.
    pub(crate) ready: Option<Segment<F>>,
    /// That of the segment after the one in use.
    pub(crate) next_sequence: u64,
    /// How long the next segment is made, in bytes.
    pub(crate) segment_bytes: u64,
}

/// Makes the log's next segment and removes retired ones; see [`Log::preparer`](crate::Log::preparer).
///
/// Holds the directory's lock as the log does: drop it when the log is dropped.
pub struct Preparer<D: Disk> {
    shared: Arc<Shared<D>>,
    _lock: Arc<Held<D::Lock>>,
}

impl<D: Disk> Preparer<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>, lock: Arc<Held<D::Lock>>) -> Self {
        Self { shared, _lock: lock }
    }

    /// Removes the segments that nothing needs any more, and makes the next one unless it is there already.
    /// Answers whether there was anything to do.
    ///
    /// Takes as long as the disk takes to write a whole segment; meanwhile the log works on in the one it has.
    ///
    /// # Errors
    /// [`PrepareError`]; after [`PrepareError::DiskFull`] and [`PrepareError::NotRemoved`] it may be called again.
    pub fn prepare(&self) -> Result<bool, PrepareError> {
        if let Some(reason) = self.shared.poisoned() {
            return Err(PrepareError::Poisoned { reason });
        }
        // Not with every call: so often what could not be removed is tried again.
        if self.shared.preparation().ready.is_none() {
            retire_left_over(&self.shared);
        }
        let removed = remove_retired(&self.shared);
        let mut preparation = self.shared.preparation();
        if preparation.ready.is_some() {
            return removed.map_err(PrepareError::NotRemoved);
        }
        match make_next(&self.shared, &mut preparation) {
            Ok(()) => removed.map(|_| true).map_err(PrepareError::NotRemoved),
            Err(error) if error.is_scarce() => Err(PrepareError::DiskFull(error)),
            Err(error) => {
                self.shared.poison(&error);
                Err(PrepareError::Disk(error))
            }
        }
    }
}

impl<D: Disk> fmt::Debug for Preparer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparer").field("directory", &self.shared.directory).finish_non_exhaustive()
    }
}

/// Takes the next segment, which has at least `bytes_min` bytes; makes it now if nobody did, or if it is too small.
pub(crate) fn take_next<D: Disk>(shared: &Shared<D>, bytes_min: u64) -> Result<Segment<D::File>, DiskError> {
    let mut preparation = shared.preparation();
    if preparation.segment_bytes < bytes_min {
        // The states of many groups, or one large entry, need more: twice as much leaves room for what comes next.
        preparation.segment_bytes = segment::sectors_up(bytes_min.saturating_mul(2));
    }
    if preparation.ready.as_ref().is_none_or(|ready| ready.header.file_bytes < bytes_min) {
        // What is gone makes room for what comes; if it cannot be removed, there may be room nevertheless.
        retire_left_over(shared);
        let _ = remove_retired(shared);
        make_next(shared, &mut preparation)?;
    }
    let next = preparation.ready.take().expect("the next segment has just been made");
    assert_eq!(next.header.sequence, preparation.next_sequence, "segments follow one another");
    assert!(next.header.file_bytes >= bytes_min, "{} bytes of {bytes_min}", next.header.file_bytes);
    preparation.next_sequence += 1;
    Ok(next)
}

/// Removes the segment that was made ahead of need, to make room. Answers whether there was one.
pub(crate) fn give_up_next<D: Disk>(shared: &Shared<D>) -> Result<bool, DiskError> {
    let Some(next) = shared.preparation().ready.take() else { return Ok(false) };
    let path = shared.segment_path(next.header.sequence);
    shared.disk.remove(&path).during("remove", &path)?;
    Ok(true)
}

fn make_next<D: Disk>(shared: &Shared<D>, preparation: &mut Preparation<D::File>) -> Result<(), DiskError> {
    let header = SegmentHeader {
        sequence: preparation.next_sequence,
        generation: shared.identity.start,
        incarnation: shared.identity.incarnation,
        file_bytes: preparation.segment_bytes,
    };
    let file = make_segment(&shared.disk, &shared.directory, &header)?;
    preparation.ready = Some(Segment { header, file });
    Ok(())
}

/// Makes an empty segment: when this answers, its zeros, its header and its name survive a power cut.
pub(crate) fn make_segment<D: Disk>(disk: &D, directory: &Path, header: &SegmentHeader) -> Result<D::File, DiskError> {
    assert!(header.sequence >= 1, "segments are numbered from 1");
    let path = segment::path(directory, header.sequence);
    let new = path.with_extension("segment.new");
    let file = disk.create(&new).during("create", &new)?;
    if let Err(error) = write_empty(&file, header).during("write", &new) {
        // On a full disk the half of a segment would take the last room from everybody.
        let _ = disk.remove(&new);
        return Err(error);
    }
    mutate!(log_renamed_before_sync, return disk.rename(&new, &path).during("rename", &new).map(|()| file));
    if let Err(error) = file.sync_all().during("sync", &new) {
        if error.is_full() {
            // What was synced in vain is not written to again.
            let _ = disk.remove(&new);
        }
        return Err(error);
    }
    disk.rename(&new, &path).during("rename", &new)?;
    mutate!(log_directory_not_synced, return Ok(file));
    // The segment has its name, and may lose it.
    disk.sync_directory(directory).during("sync", directory).map_err(DiskError::in_doubt)?;
    Ok(file)
}

fn write_empty<F: DiskFile>(file: &F, header: &SegmentHeader) -> io::Result<()> {
    let mut offset = 0;
    while offset < header.file_bytes {
        let zeros = &ZEROS[..ZEROS.len().min(size(header.file_bytes - offset))];
        file.write_all_at(zeros, offset)?;
        offset += zeros.len() as u64;
        if offset < header.file_bytes {
            // Piece by piece, so that a flush that goes on meanwhile never waits behind a whole segment.
            file.sync_data()?;
        }
    }
    assert_eq!(offset, header.file_bytes, "the zeros of a segment");
    file.write_all_at(&header.encode(), 0)
}

/// Removes the files of retired segments. Their removal need not be durable: recovery knows that nothing lives in them.
///
/// One that cannot be removed keeps none of the others. Answers the first failure, if there was one.
fn remove_retired<D: Disk>(shared: &Shared<D>) -> Result<bool, DiskError> {
    let (mut removed, mut failed) = (false, None);
    loop {
        // The lock is not held while the disk works: a flush may want to retire more.
        let Some(sequence) = shared.retired().pop() else { break };
        let path = shared.segment_path(sequence);
        match shared.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                shared.left_over().push(sequence);
                failed.get_or_insert(DiskError { operation: "remove", path, source: error });
            }
            _ => removed = true,
        }
    }
    failed.map_or(Ok(removed), Err)
}

/// What could not be removed is to be removed again.
fn retire_left_over<D: Disk>(shared: &Shared<D>) {
    let left_over = std::mem::take(&mut *shared.left_over());
    shared.retired().extend(left_over);
}

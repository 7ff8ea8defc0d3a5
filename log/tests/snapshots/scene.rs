//! What all tests of snapshots need: contents, and the ways in which one is built, received and read.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use outrigger_log::{Disk, FaultyDisk, LogPosition, Snapshot, SnapshotError, SnapshotId, SnapshotReceiver, Snapshots};

/// How many bytes of a body one block has.
pub(crate) const BLOCK: usize = 64 << 10;
pub(crate) const CLUSTER: u64 = 7;

pub(crate) fn directory() -> &'static Path {
    Path::new("/data")
}

/// Where a file of the snapshots is.
pub(crate) fn path(name: &str) -> PathBuf {
    directory().join("snapshots").join(name)
}

/// Where the complete snapshot is.
pub(crate) fn path_of(position: LogPosition) -> PathBuf {
    path(&format!("snapshot-{:020}-{:020}", position.index, position.term))
}

/// The names of all files in the directory of the snapshots.
pub(crate) fn names(disk: &FaultyDisk) -> Vec<String> {
    disk.list(&directory().join("snapshots")).unwrap()
}

/// Cuts the power; of what was not synced nothing is kept.
pub(crate) fn cut_power(disk: &FaultyDisk) {
    disk.crash_with(&mut |_| 0);
}

pub(crate) fn at(index: u64) -> LogPosition {
    LogPosition { term: 2, index }
}

pub(crate) fn open<D: Disk>(disk: &D) -> Snapshots<D> {
    try_open(disk).unwrap()
}

pub(crate) fn try_open<D: Disk>(disk: &D) -> Result<Snapshots<D>, SnapshotError> {
    Snapshots::open(disk.clone(), directory(), CLUSTER)
}

/// Bytes of which no two blocks are the same.
pub(crate) fn body(length: usize) -> Vec<u8> {
    (0_u64..).map(|at| (at * 31 + at / 251).to_le_bytes()[0]).take(length).collect()
}

pub(crate) fn head(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// The snapshot that a node would announce which has built it.
pub(crate) fn announced(position: LogPosition, head: &Bytes, body: &[u8]) -> Snapshot {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(head), body);
    Snapshot { id: SnapshotId { position, bytes: body.len() as u64, checksum }, head: head.clone() }
}

pub(crate) fn build<D: Disk>(
    snapshots: &Snapshots<D>,
    position: LogPosition,
    head: &Bytes,
    body: &[u8],
) -> Result<Snapshot, SnapshotError> {
    let mut build = snapshots.build(position, head.clone())?;
    // What it was is what `finish` answers.
    let _ = build.write_all(body);
    build.finish()
}

/// Sends everything that the receiver lacks, in chunks of up to so many bytes.
pub(crate) fn send<D: Disk>(
    receiver: &mut SnapshotReceiver<D>,
    body: &[u8],
    chunk: usize,
) -> Result<(), SnapshotError> {
    while receiver.held() < body.len() as u64 {
        let held = usize::try_from(receiver.held()).unwrap();
        let end = body.len().min(held + chunk);
        assert_eq!(receiver.write(held as u64, &body[held..end])?, end as u64);
    }
    Ok(())
}

/// Receives a whole snapshot, whatever is held of it already.
pub(crate) fn receive<D: Disk>(
    snapshots: &Snapshots<D>,
    snapshot: &Snapshot,
    body: &[u8],
    chunk: usize,
) -> Result<Snapshot, SnapshotError> {
    let mut receiver = snapshots.receive(snapshot.clone())?;
    send(&mut receiver, body, chunk)?;
    receiver.finish()
}

/// The body of the newest one, read to its end as a stream; whatever is wrong with it is found.
pub(crate) fn read<D: Disk>(snapshots: &Snapshots<D>) -> std::io::Result<Option<(Snapshot, Vec<u8>)>> {
    let Some(newest) = snapshots.newest() else { return Ok(None) };
    let mut body = Vec::new();
    snapshots.reader(newest.id).unwrap().body().read_to_end(&mut body)?;
    Ok(Some((newest, body)))
}

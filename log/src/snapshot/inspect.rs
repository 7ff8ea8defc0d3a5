//! Looking at the files of snapshots without changing any.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SnapshotError;
use super::directory::{BUILDING, DIRECTORY, RECEIVING};
use super::layout::{file_name, parse_file_name};
use super::read::{Complete, SnapshotReader, cluster_of};
use crate::disk::Disk;
use crate::error::{DiskError, During, OpenError};
use crate::inspect::SnapshotFile;
use crate::state::LogPosition;

/// All files beside the log in `directory` that have the name of a complete snapshot, oldest first. They must be of this
/// cluster; `None` for any.
pub(crate) fn look<D: Disk>(
    disk: &D,
    directory: &Path,
    cluster: Option<u64>,
) -> Result<Vec<SnapshotFile<D>>, OpenError> {
    let directory = directory.join(DIRECTORY);
    let names = match disk.list(&directory) {
        // A log before its first start has ended has none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.during("list", &directory)?,
    };
    let mut positions: Vec<LogPosition> = names.iter().filter_map(|name| parse_file_name(name)).collect();
    positions.sort_unstable_by_key(|position| (position.index, position.term));
    let file = |position| {
        let path = directory.join(file_name(position));
        let opened = open(disk, path.clone(), cluster, position);
        SnapshotFile { path, opened }
    };
    Ok(positions.into_iter().map(file).collect())
}

/// Removes all files of snapshots beside the log in `directory`, complete or not.
pub(crate) fn clear<D: Disk>(disk: &D, directory: &Path) -> Result<(), DiskError> {
    remove_files(disk, directory, |name| parse_file_name(name).is_some() || [BUILDING, RECEIVING].contains(&name))
}

/// Removes what a build that never ended has left beside the log in `directory`, which nobody else has open.
pub(crate) fn clear_build<D: Disk>(disk: &D, directory: &Path) -> Result<(), DiskError> {
    remove_files(disk, directory, |name| name == BUILDING)
}

fn remove_files<D: Disk>(disk: &D, directory: &Path, is_meant: impl Fn(&str) -> bool) -> Result<(), DiskError> {
    let directory = directory.join(DIRECTORY);
    let names = match disk.list(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.during("list", &directory)?,
    };
    for name in names.iter().filter(|name| is_meant(name)) {
        let path = directory.join(name);
        disk.remove(&path).during("remove", &path)?;
    }
    Ok(())
}

fn open<D: Disk>(
    disk: &D,
    path: PathBuf,
    cluster: Option<u64>,
    position: LogPosition,
) -> Result<SnapshotReader<D>, SnapshotError> {
    let cluster = match cluster {
        Some(cluster) => cluster,
        None => cluster_of(disk, &path)?,
    };
    Ok(SnapshotReader::new(Arc::new(Complete::open(disk, path, cluster, position)?)))
}

//! A node's log as its lanes read it: the end from memory, the rest from the disk.

use std::sync::Arc;

use outrigger::engine::{Batch, LogId, LogIndex};
use outrigger::runtime::{Held, Tail};
use outrigger::store::{LogReader, StorageError};

/// The whole log of a node.
pub(crate) struct LogView {
    /// What was written last; everything that is not flushed or not applied is in here.
    tail: Tail,
    /// Reads what is flushed.
    reader: Arc<dyn LogReader>,
}

impl LogView {
    /// The view of a log that ends at `last`, as it was restored: nothing is in memory.
    pub(crate) fn new(last: LogId, reader: Arc<dyn LogReader>, tail_bytes: usize) -> Self {
        Self { tail: Tail::new(last, tail_bytes), reader }
    }

    pub(crate) fn append(&mut self, batches: &[Batch]) {
        self.tail.append(batches);
    }

    pub(crate) fn truncate(&mut self, after: LogId) {
        self.tail.truncate(after);
    }

    /// Entries up to this one are flushed and applied: memory need not hold them.
    pub(crate) fn evict(&mut self, through: LogIndex) {
        self.tail.evict(through);
    }

    /// The entries behind `prev` up to `last`, cut at `bytes_max`; `None` if the log does not hold them under these ids.
    pub(crate) fn between(
        &self,
        prev: LogId,
        last: LogId,
        bytes_max: usize,
    ) -> Result<Option<Vec<Batch>>, StorageError> {
        match self.tail.between(prev, last, bytes_max) {
            Held::Here(batches) => Ok(Some(batches)),
            Held::InLog(through) if through == prev.index => Ok(Some(Vec::new())),
            Held::InLog(through) => self.reader.batches(prev.index.next(), through, bytes_max).map(Some),
            Held::Gone => Ok(None),
        }
    }

    /// The entries from `first` to `last`, all of them.
    pub(crate) fn ending(&self, first: LogIndex, last: LogId) -> Result<Vec<Batch>, StorageError> {
        let held = self.tail.ending(first, last);
        let mut found = Vec::new();
        let (mut next, stop) = (first, held.first().map_or(last.index.next(), |batch| batch.first().index));
        while next < stop {
            let batches = self.reader.batches(next, stop.previous(), usize::MAX)?;
            next = batches.last().map_or(stop, |batch| batch.last().index.next());
            found.extend(batches);
        }
        found.extend(held);
        Ok(found)
    }
}

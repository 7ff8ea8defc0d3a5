//! A node's log as its lanes read it: the end from memory, the rest from the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use outrigger::engine::{Batch, LogId, LogIndex, Payload};
use outrigger::runtime::{Held, Tail};
use outrigger::store::{LogReader, StorageError};

/// The whole log of a node.
pub(crate) struct LogView {
    /// What was written last; everything that is not flushed or not applied is in here.
    tail: Tail,
    /// What a start has read already and the state machine has not taken, oldest first.
    restored: VecDeque<Batch>,
    /// Reads what is flushed.
    reader: Arc<dyn LogReader>,
}

impl LogView {
    /// The view of a log that ends at `last`, as it was restored; `restored` is what was read of it.
    pub(crate) fn new(last: LogId, restored: Vec<Batch>, reader: Arc<dyn LogReader>, tail_bytes: usize) -> Self {
        Self { tail: Tail::new(last, tail_bytes), restored: restored.into(), reader }
    }

    pub(crate) fn append(&mut self, batches: &[Batch]) {
        self.tail.append(batches);
    }

    pub(crate) fn truncate(&mut self, after: LogId) {
        self.tail.truncate(after);
        // Rare, and then it is not worth a cut: the disk has it too.
        if self.restored.back().is_some_and(|batch| batch.last().index > after.index) {
            self.restored.clear();
        }
    }

    /// The log lets go of what stands before this entry, and of it.
    pub(crate) fn purge(&mut self, through: LogId) {
        self.tail.purge(through);
        if self.restored.front().is_some_and(|batch| batch.first().index <= through.index) {
            self.restored.clear();
        }
    }

    /// Entries up to this one are flushed and applied: memory need not hold them.
    pub(crate) fn evict(&mut self, through: LogIndex) {
        self.tail.evict(through);
    }

    /// The entries behind `prev` up to `last`, cut at `bytes_max`; `None` if the log does not hold them under these ids. Whether
    /// it does is known for what must be read from the disk.
    pub(crate) fn between(
        &self,
        prev: LogId,
        last: LogId,
        bytes_max: usize,
        is_held: bool,
    ) -> Result<Option<Vec<Batch>>, StorageError> {
        match self.tail.between(prev, last, bytes_max) {
            Held::Here(batches) => Ok(Some(batches)),
            Held::InLog(_) if !is_held => Ok(None),
            Held::InLog(through) if through == prev.index => Ok(Some(Vec::new())),
            Held::InLog(through) => self.reader.batches(prev.index.next(), through, bytes_max).map(Some),
            Held::Gone => Ok(None),
        }
    }

    /// What memory holds of the entries from `first` to `last`: the end of them.
    pub(crate) fn held(&self, first: LogIndex, last: LogId) -> Vec<Batch> {
        self.tail.ending(first, last)
    }

    /// The entries from `first` up to `last`, of which memory held these, for the state machine, which takes each once: what is
    /// before them is on the disk.
    pub(crate) fn ending(
        &mut self,
        first: LogIndex,
        last: LogId,
        held: Vec<Batch>,
    ) -> Result<Vec<Batch>, StorageError> {
        let mut found = Vec::new();
        let (mut next, stop) = (first, held.first().map_or(last.index.next(), |batch| batch.first().index));
        while next < stop
            && let Some(batch) = self.restored.pop_front()
        {
            let taken = next.previous();
            if let Some(part) = batch.between(taken, stop.previous()) {
                assert_eq!(part.first().index, next, "what was restored has no holes");
                next = part.last().index.next();
                found.push(part);
            }
            if batch.last().index >= stop {
                self.restored.push_front(batch);
            }
        }
        while next < stop {
            let batches = self.reader.batches(next, stop.previous(), usize::MAX)?;
            next = batches.last().map_or(stop, |batch| batch.last().index.next());
            found.extend(batches);
        }
        if found.is_empty() {
            return Ok(held);
        }
        found.extend(held);
        Ok(found)
    }

    /// One entry of the log.
    pub(crate) fn entry(&self, id: LogId) -> Result<Payload, StorageError> {
        let held = self.tail.ending(id.index, id);
        let batches = if held.is_empty() { self.reader.batches(id.index, id.index, usize::MAX)? } else { held };
        Ok(batches[0].entries()[0].clone())
    }
}

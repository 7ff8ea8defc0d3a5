//! Reading entries back, while the writer goes on.
//!
//! A reader looks up in the index where the runs lie, lets go of it, and reads the files. Runs that lie close together
//! are fetched with one read, and every record is verified before any of it is handed out. That what comes out is
//! contiguous, of the group, and of the terms that the index says is checked once more, in release builds too.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Access, Disk, DiskFile};
use crate::error::{Corruption, During, ReadError};
use crate::index::RunPlace;
use crate::record::{self, Verified};
use crate::segment::{SegmentHeader, size};
use crate::shared::Shared;
use crate::state::{GroupId, LogPosition};

/// The most bytes that one read fetches, unless a single run is larger.
const SPAN_BYTES_MAX: u64 = 1 << 20;
/// The most bytes between two runs that are read along rather than skipped.
const SPAN_GAP_MAX: u64 = 4_096;

/// Consecutive entries of one term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The term of all of them.
    pub term: u64,
    /// The index of the first.
    pub first: u64,
    /// What the leader stamped on the run that they were appended with, in milliseconds.
    pub log_time: u64,
    /// One payload for each entry; at least one.
    pub payloads: Vec<Bytes>,
}

/// Reads flushed entries. Cheap to clone, and independent of the writer.
pub struct LogReader<D: Disk> {
    shared: Arc<Shared<D>>,
}

impl<D: Disk> Clone for LogReader<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<D: Disk> fmt::Debug for LogReader<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").field("directory", &self.shared.directory).finish_non_exhaustive()
    }
}

/// Runs that one read fetches: they lie in one segment, in order.
struct Span {
    header: SegmentHeader,
    /// How many runs.
    runs: usize,
    /// Where the first one begins.
    start: u64,
    /// Where the last one ends.
    end: u64,
}

impl Span {
    /// Takes the run along if it lies close enough behind.
    fn admit(&mut self, run: &RunPlace) -> bool {
        let (start, end) = (u64::from(run.offset), u64::from(run.offset) + u64::from(run.length));
        let near = self.header.sequence == run.segment
            && start >= self.end
            && start - self.end <= SPAN_GAP_MAX
            && end - self.start <= SPAN_BYTES_MAX;
        if near {
            self.runs += 1;
            self.end = end;
        }
        near
    }
}

impl<D: Disk> LogReader<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>) -> Self {
        Self { shared }
    }

    /// The flushed entries `from..=through` of a group: contiguous, in order, each verified. Stops before the payloads
    /// exceed `bytes_max`, but answers at least one entry.
    ///
    /// # Errors
    /// [`ReadError`]: what was asked for is purged, not flushed yet, or no longer intact.
    ///
    /// # Panics
    /// If `from` is 0 or beyond `through`.
    pub fn entries(&self, group: GroupId, from: u64, through: u64, bytes_max: usize) -> Result<Vec<Run>, ReadError> {
        assert!(1 <= from && from <= through, "entries {from}..={through} are no range");
        match self.read(group, from, through, bytes_max) {
            // A file may go between the look-up and the read: then the index knows by now where to look instead.
            Err(ReadError::Disk(error)) if error.source.kind() == io::ErrorKind::NotFound => {
                self.read(group, from, through, bytes_max)
            }
            answer => answer,
        }
    }

    /// What stands before the first entry of a group, as far as that is flushed: it and all before it was purged.
    pub fn purged(&self, group: GroupId) -> LogPosition {
        self.shared.index().groups.get(&group).map_or(LogPosition::default(), |known| known.state.purged)
    }

    /// The file that holds an entry, and the offset of its record there; `None` if it is not in the log.
    pub fn place(&self, group: GroupId, index: u64) -> Option<(PathBuf, u64)> {
        let known = self.shared.index();
        let run = known.groups.get(&group)?.covering(index, index).next()?;
        Some((self.shared.segment_path(run.segment), u64::from(run.offset)))
    }

    /// How many bytes the records of a group's entries behind this index take in the files.
    pub fn bytes_behind(&self, group: GroupId, index: u64) -> u64 {
        let known = self.shared.index();
        let runs = known.groups.get(&group).into_iter().flat_map(|known| &known.runs);
        runs.rev().take_while(|run| run.last() > index).map(|run| u64::from(run.length)).sum()
    }

    /// Reads and verifies everything that is flushed and not purged, of all groups. Answers how many entries that is.
    ///
    /// # Errors
    /// [`ReadError`] of the first entry that cannot be read.
    pub fn verify(&self) -> Result<u64, ReadError> {
        let groups: Vec<GroupId> = self.shared.index().groups.keys().copied().collect();
        let mut verified = 0;
        for group in groups {
            loop {
                let (next, last) = match self.shared.index().groups.get(&group) {
                    Some(known) => (known.state.purged.index + 1, known.state.last.index),
                    None => break,
                };
                match self.verify_range(group, next, last) {
                    // Purged under our hands: begin again behind that.
                    Err(ReadError::Purged { .. }) => {}
                    entries => {
                        verified += entries?;
                        break;
                    }
                }
            }
        }
        Ok(verified)
    }

    fn verify_range(&self, group: GroupId, from: u64, last: u64) -> Result<u64, ReadError> {
        let mut next = from;
        while next <= last {
            let runs = self.entries(group, next, last, size(SPAN_BYTES_MAX))?;
            next += runs.iter().map(|run| run.payloads.len() as u64).sum::<u64>();
        }
        Ok(next - from)
    }

    fn read(&self, group: GroupId, from: u64, through: u64, bytes_max: usize) -> Result<Vec<Run>, ReadError> {
        let (places, spans) = self.spans(group, from, through, bytes_max)?;
        let runs = Vec::with_capacity(places.len());
        let mut cut = Cut { next: from, through, bytes_left: bytes_max, runs };
        let mut rest = &places[..];
        let mut open: Option<(u64, D::File)> = None;
        for span in &spans {
            let sequence = span.header.sequence;
            let path = self.shared.segment_path(sequence);
            let file = match open.take() {
                Some((opened, file)) if opened == sequence => file,
                _ => self.shared.disk.open(&path, Access::Read).during("open", &path)?,
            };
            assert!(span.end <= span.header.groups_end(), "runs beyond the end of {}", path.display());
            let length = size(span.end - span.start);
            let bytes = Bytes::from(file.read_exact_at(length, span.start).during("read", &path)?);
            let (runs, behind) = rest.split_at(span.runs);
            rest = behind;
            for run in runs {
                if !self.read_run(group, span, run, &bytes, &mut cut)? {
                    return Ok(cut.runs);
                }
            }
            open = Some((sequence, file));
        }
        assert!(!cut.runs.is_empty(), "{group}: entries {from}..={through} are flushed and no run covers them");
        Ok(cut.runs)
    }

    /// Where the entries lie, as far as `bytes_max` may reach: their runs, and what to fetch with one read each.
    fn spans(
        &self,
        group: GroupId,
        from: u64,
        through: u64,
        bytes_max: usize,
    ) -> Result<(Vec<RunPlace>, Vec<Span>), ReadError> {
        let index = self.shared.index();
        let known = index.groups.get(&group).ok_or(ReadError::UnknownGroup { group })?;
        let state = &known.state;
        if from <= state.purged.index {
            return Err(ReadError::Purged { from, purged: state.purged });
        }
        if through > state.last.index {
            return Err(ReadError::Beyond { through, last: state.last });
        }
        let (mut places, mut spans): (Vec<RunPlace>, Vec<Span>) = (Vec::new(), Vec::new());
        let mut whole = 0;
        for run in known.covering(from, through) {
            if !spans.last_mut().is_some_and(|span| span.admit(&run)) {
                let header = index.segments.get(&run.segment).expect("runs lie in segments that are known").header;
                let start = u64::from(run.offset);
                spans.push(Span { header, runs: 1, start, end: start + u64::from(run.length) });
            }
            places.push(run);
            // Of the first run only a part may be wanted, so it does not count.
            if run.first > from {
                whole += run.length as usize;
            }
            if whole > bytes_max.saturating_add(record::RECORD_HEADER + 4) {
                break;
            }
        }
        assert!(!spans.is_empty(), "{group}: entries {from}..={through} are flushed and no run covers them");
        let fetched: usize = spans.iter().map(|span| span.runs).sum();
        assert_eq!(fetched, places.len(), "{group}: every run is fetched once");
        Ok((places, spans))
    }

    /// Verifies one run and adds what is wanted of it; `false` when that was the last.
    fn read_run(
        &self,
        group: GroupId,
        span: &Span,
        run: &RunPlace,
        bytes: &Bytes,
        cut: &mut Cut,
    ) -> Result<bool, ReadError> {
        let corrupt = |what: &'static str| Corruption {
            file: self.shared.segment_path(run.segment),
            offset: u64::from(run.offset),
            group: Some(group),
            index: Some(run.first),
            what: what.into(),
        };
        let at = size(u64::from(run.offset) - span.start);
        let place = span.header.place(u64::from(run.offset));
        let verified =
            record::verify(&bytes[at..at + run.length as usize], place).map_err(|fault| corrupt(fault.as_str()))?;
        if !is_run(&verified, group, run) {
            return Err(corrupt("another record stands where the index says that a run is").into());
        }
        let payloads = verified.payloads(bytes).map_err(|fault| corrupt(fault.as_str()))?;
        Ok(cut.admit(run, verified.log_time(), payloads))
    }
}

/// Whether the record is the run that the index means; a truncation may have shortened that.
fn is_run(verified: &Verified<'_>, group: GroupId, run: &RunPlace) -> bool {
    let same_run = |(term, first, count)| term == run.term && first == run.first && count >= run.count;
    verified.group() == group && verified.run().is_some_and(same_run)
}

/// What is left of a request.
struct Cut {
    /// The next index to answer.
    next: u64,
    /// The last index to answer.
    through: u64,
    /// How many more bytes of payloads may be answered.
    bytes_left: usize,
    /// What has been answered; contiguous, ends before `next`.
    runs: Vec<Run>,
}

impl Cut {
    /// Adds the wanted part of a run; `false` when the request is fulfilled.
    fn admit(&mut self, place: &RunPlace, log_time: u64, mut payloads: Vec<Bytes>) -> bool {
        assert!(place.first <= self.next, "a gap before index {}: the next is {}", place.first, self.next);
        assert!(self.next <= place.last(), "index {} lies behind {}", self.next, place.last());
        let last = place.last().min(self.through);
        payloads.truncate(size(last - place.first + 1));
        if self.next > place.first {
            payloads.drain(..size(self.next - place.first));
        }
        let mut fitting = 0;
        for payload in &payloads {
            let first_of_all = self.runs.is_empty() && fitting == 0;
            if payload.len() > self.bytes_left && !first_of_all {
                break;
            }
            self.bytes_left = self.bytes_left.saturating_sub(payload.len());
            fitting += 1;
        }
        let is_cut = fitting < payloads.len();
        payloads.truncate(fitting);
        if !payloads.is_empty() {
            let first = self.next;
            let joined = self.runs.last().is_none_or(|run| run.first + run.payloads.len() as u64 == first);
            assert!(joined, "the run at {first} does not follow what was answered");
            let terms = self.runs.last().is_none_or(|run| run.term <= place.term);
            assert!(terms, "the term goes back to {} at index {first}", place.term);
            self.next += payloads.len() as u64;
            self.runs.push(Run { term: place.term, first, log_time, payloads });
        }
        assert!(self.next <= self.through + 1, "index {} was not asked for", self.next - 1);
        !is_cut && self.next <= self.through
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_run_that_the_index_means_only_if_all_that_it_says_of_itself_fits() {
        let payloads = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        let mut bytes = Vec::new();
        let entries = record::Record::Entries { term: 3, first: 7, log_time: 0, payloads: &payloads, marked: false };
        record::encode(&mut bytes, GroupId(2), &entries);
        let header = SegmentHeader { sequence: 1, generation: 1, incarnation: 1, file_bytes: 1 << 20 };
        let place = header.place(1_024);
        record::bind(&mut bytes, place);
        let Ok(verified) = record::verify(&bytes, place) else { panic!("it is intact") };
        let length = record::narrow(bytes.len());
        let run = RunPlace { segment: 1, term: 3, first: 7, count: 2, offset: 1_024, length };
        assert!(is_run(&verified, GroupId(2), &run));
        assert!(is_run(&verified, GroupId(2), &RunPlace { count: 1, ..run }), "a truncation may have shortened it");
        assert!(!is_run(&verified, GroupId(1), &run), "another group's");
        for other in [RunPlace { term: 2, ..run }, RunPlace { first: 6, ..run }, RunPlace { count: 3, ..run }] {
            assert!(!is_run(&verified, GroupId(2), &other), "{other:?}");
        }
    }
}

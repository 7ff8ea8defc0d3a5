//! Where each run of entries lies, for every group, and which segments are still needed for that.
//!
//! ```text
//!   group 1:  [1..=5] seg 3   [6..=6] seg 3   [7..=20] seg 4         runs: contiguous, from purged + 1 to last
//!   group 2:  [40..=41] seg 4
//!   segments: 3 -> 2 live runs, 4 -> 2 live runs                      none left: the file may go
//! ```
//!
//! The index holds what is **flushed**: the writer changes it only after the sync, and readers look runs up in it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use crate::record::Summary;
use crate::segment::{FooterGroup, SegmentHeader, footer_group_bytes};
use crate::state::{Contradiction, GroupId, GroupState, LogPosition};

/// One run of entries in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunPlace {
    /// The sequence number of the segment that holds it.
    pub(crate) segment: u64,
    /// The term of all its entries.
    pub(crate) term: u64,
    /// The index of its first entry, as the record says it, although a purge may have taken that one.
    pub(crate) first: u64,
    /// How many of its entries are live, from `first`: at least 1, fewer than written after a truncation.
    pub(crate) count: u32,
    /// Where its record begins in the segment.
    pub(crate) offset: u32,
    /// The record's whole length in bytes.
    pub(crate) length: u32,
}

impl RunPlace {
    /// The index of its last live entry.
    pub(crate) fn last(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count)).saturating_sub(1)
    }

    /// Lets go of all entries with a higher index than `after`.
    fn shorten(&mut self, after: u64) {
        assert!(self.first <= after, "nothing of a run from {} is left after {after}", self.first);
        let left = after - self.first + 1;
        self.count = u32::try_from(left).map_or(self.count, |left| left.min(self.count));
    }
}

/// One group's flushed state and its runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupIndex {
    /// The state as of everything flushed.
    pub(crate) state: GroupState,
    /// Contiguous; together they cover `state.purged.index + 1 ..= state.last.index`.
    pub(crate) runs: VecDeque<RunPlace>,
}

impl GroupIndex {
    /// The runs that hold entries of `from..=through`, in order.
    pub(crate) fn covering(&self, from: u64, through: u64) -> impl Iterator<Item = RunPlace> + '_ {
        let skipped = self.runs.partition_point(|run| run.last() < from);
        self.runs.range(skipped..).take_while(move |run| run.first <= through).copied()
    }

    /// Whether the runs cover exactly what the state says is in the log, under the terms that it says.
    fn is_covered(&self) -> bool {
        let mut next = self.state.purged.index.saturating_add(1);
        // The term of `next`, and the entries with which later terms begin.
        let (mut term, mut later) = (None, self.state.terms.iter().peekable());
        for (place, run) in self.runs.iter().enumerate() {
            let joined = if place == 0 { run.first <= next } else { run.first == next };
            // An older run that a missing segment had shortened, and rewritten behind that, has another term at its end.
            let mut is_of_term = |index| {
                while let Some(first) = later.next_if(|first| first.index <= index) {
                    term = Some(first.term);
                }
                index <= self.state.last.index && term == Some(run.term)
            };
            // Terms never go back along a log: where both ends have the run's term, all between have it.
            if !joined || run.last() < next || !is_of_term(next) || !is_of_term(run.last()) {
                return false;
            }
            next = run.last().saturating_add(1);
        }
        next == self.state.last.index.saturating_add(1)
    }
}

/// A segment that the index knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentUse {
    /// The file's first sector.
    pub(crate) header: SegmentHeader,
    /// How many runs of all groups lie in it.
    pub(crate) live_runs: u64,
}

/// All groups and all segments.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Ordered, so that nothing depends on the order of a hash.
    pub(crate) groups: BTreeMap<GroupId, GroupIndex>,
    /// By sequence number, the one that is written to included.
    pub(crate) segments: BTreeMap<u64, SegmentUse>,
    /// What all groups' states take in a footer.
    pub(crate) states_bytes: u64,
}

impl Index {
    /// Applies one flushed record; `place` says where the run of entries lies, if it is one.
    pub(crate) fn apply(
        &mut self,
        group: GroupId,
        summary: &Summary,
        place: Option<RunPlace>,
    ) -> Result<(), Contradiction> {
        let (entry, before) = match self.groups.entry(group) {
            Entry::Occupied(known) => {
                let before = footer_group_bytes(&known.get().state);
                (known.into_mut(), before)
            }
            Entry::Vacant(new) => (new.insert(GroupIndex::default()), 0),
        };
        entry.state.apply(summary)?;
        assert!(before <= self.states_bytes, "{group}: {before} of {} bytes of states", self.states_bytes);
        self.states_bytes = self.states_bytes + footer_group_bytes(&entry.state) - before;
        match *summary {
            Summary::Entries { .. } => {
                let place = place.expect("a run of entries lies somewhere");
                assert_eq!(place.last(), entry.state.last.index, "{group}: the run ends with the log");
                assert!(place.count > 0, "{group}: a run of no entries at {}", place.first);
                // During a recovery there may be a gap between the two, which a later purge accounts for.
                let newest = entry.runs.back();
                mutate!(log_run_not_shortened, newest = None);
                assert!(newest.is_none_or(|newest| newest.last() < place.first), "{group}: {newest:?}, {place:?}");
                assert!(newest.is_none_or(|newest| newest.segment <= place.segment), "{group}: {newest:?}, {place:?}");
                let known = self.segments.get_mut(&place.segment).expect("runs lie in segments that are known");
                known.live_runs += 1;
                entry.runs.push_back(place);
            }
            Summary::Truncate { after } => {
                truncate(&mut entry.runs, after, &mut self.segments);
                // What is left of a run that a purge had cut may have been purged already.
                purge(&mut entry.runs, entry.state.purged, &mut self.segments);
            }
            Summary::Purge { through } => purge(&mut entry.runs, through, &mut self.segments),
            Summary::Vote(_) | Summary::Committed { .. } | Summary::Peer { .. } => {}
        }
        Ok(())
    }

    /// Removes and answers the sealed segments older than `newest_sealed` in which nothing lives.
    ///
    /// The newest sealed one stays: its footer holds the state of all groups.
    pub(crate) fn retire(&mut self, newest_sealed: u64) -> Vec<u64> {
        let unneeded = |(&sequence, known): (&u64, &SegmentUse)| (known.live_runs == 0).then_some(sequence);
        let retired: Vec<u64> = self.segments.range(..newest_sealed).filter_map(unneeded).collect();
        for sequence in &retired {
            let removed = self.segments.remove(sequence);
            assert!(removed.is_some_and(|known| known.live_runs == 0), "segment {sequence} was retired alive");
        }
        assert!(!self.segments.is_empty(), "the segment in use was retired");
        retired
    }

    /// Builds the index of the sealed segments from their footers, oldest first.
    ///
    /// A later run replaces what it overlaps, as its truncation did. Gaps may remain until the records of the segment in
    /// use are applied: what these purge or truncate may be gone with its segment. See [`uncovered`](Self::uncovered).
    pub(crate) fn load(&mut self, segments: impl Iterator<Item = (SegmentHeader, Vec<FooterGroup>)>) {
        let mut runs: BTreeMap<GroupId, VecDeque<RunPlace>> = BTreeMap::new();
        let mut states = Vec::new();
        for (header, footer) in segments {
            let newest = self.segments.last_key_value().map_or(0, |(newest, _)| *newest);
            assert!(newest < header.sequence, "segment {} is loaded after {newest}", header.sequence);
            self.segments.insert(header.sequence, SegmentUse { header, live_runs: 0 });
            states.clear();
            for FooterGroup { group, state, runs: found } in footer {
                let known = runs.entry(group).or_default();
                found.into_iter().for_each(|run| extend(known, run));
                states.push((group, state));
            }
        }
        for (group, state) in states {
            let mut index = GroupIndex { runs: runs.remove(&group).unwrap_or_default(), state };
            trim(&mut index.runs, index.state.purged.index, index.state.last.index);
            for run in &index.runs {
                let known = self.segments.get_mut(&run.segment).expect("its footer has just been loaded");
                known.live_runs += 1;
            }
            self.states_bytes += footer_group_bytes(&index.state);
            self.groups.insert(group, index);
        }
    }

    /// A group whose runs do not cover its log, once all records are applied: then a segment is missing.
    pub(crate) fn uncovered(&self) -> Option<GroupId> {
        let live: u64 = self.segments.values().map(|known| known.live_runs).sum();
        let runs: u64 = self.groups.values().map(|group| group.runs.len() as u64).sum();
        assert_eq!(live, runs, "the segments' counts of live runs");
        self.groups.iter().find(|(_, index)| !index.is_covered()).map(|(group, _)| *group)
    }
}

fn release(segments: &mut BTreeMap<u64, SegmentUse>, run: RunPlace) {
    let known = segments.get_mut(&run.segment).expect("runs lie in segments that are known");
    assert!(known.live_runs > 0, "segment {} has no live run to let go", run.segment);
    known.live_runs -= 1;
}

fn truncate(runs: &mut VecDeque<RunPlace>, after: u64, segments: &mut BTreeMap<u64, SegmentUse>) {
    while let Some(run) = pop_back_if(runs, |run| run.first > after) {
        release(segments, run);
    }
    mutate!(log_run_not_shortened, return);
    if let Some(newest) = runs.back_mut() {
        newest.shorten(after);
        assert!(newest.last() <= after, "{newest:?} reaches beyond {after}");
    }
}

fn purge(runs: &mut VecDeque<RunPlace>, through: LogPosition, segments: &mut BTreeMap<u64, SegmentUse>) {
    while let Some(run) = pop_front_if(runs, |run| run.last() <= through.index) {
        release(segments, run);
    }
}

/// Adds a run that a footer lists behind those of older footers.
fn extend(runs: &mut VecDeque<RunPlace>, run: RunPlace) {
    while pop_back_if(runs, |older| older.first >= run.first).is_some() {}
    if let Some(newest) = runs.back_mut() {
        newest.shorten(run.first - 1);
        assert!(newest.last() < run.first, "{newest:?} overlaps {run:?}");
    }
    runs.push_back(run);
}

/// Keeps what lies in `purged + 1 ..= last`.
fn trim(runs: &mut VecDeque<RunPlace>, purged: u64, last: u64) {
    while pop_back_if(runs, |run| run.first > last).is_some() {}
    if let Some(newest) = runs.back_mut() {
        newest.shorten(last);
    }
    while pop_front_if(runs, |run| run.last() <= purged).is_some() {}
}

fn pop_back_if(runs: &mut VecDeque<RunPlace>, goes: impl Fn(&RunPlace) -> bool) -> Option<RunPlace> {
    if runs.back().is_some_and(goes) { runs.pop_back() } else { None }
}

fn pop_front_if(runs: &mut VecDeque<RunPlace>, goes: impl Fn(&RunPlace) -> bool) -> Option<RunPlace> {
    if runs.front().is_some_and(goes) { runs.pop_front() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(term: u64, index: u64) -> LogPosition {
        LogPosition { term, index }
    }

    fn run(term: u64, first: u64, count: u32) -> RunPlace {
        RunPlace { segment: 1, term, first, count, offset: 0, length: 0 }
    }

    /// Found by the simulator: a segment was missing that had shortened an older run and written other entries in the place of its
    /// last ones. The older run's indexes closed the gap, and a start took the entries that had been truncated for the log's.
    #[test]
    fn a_run_that_a_missing_segment_had_shortened_does_not_stand_in_for_what_was_written_behind_it() {
        let state = GroupState {
            last: position(38, 60),
            terms: vec![position(30, 1), position(38, 54)],
            ..GroupState::default()
        };
        let index = |runs: &[RunPlace]| GroupIndex { state: state.clone(), runs: runs.iter().copied().collect() };
        assert!(index(&[run(30, 1, 53), run(38, 54, 7)]).is_covered());
        assert!(!index(&[run(30, 1, 54), run(38, 55, 6)]).is_covered(), "entry 54 is of term 38");
        assert!(!index(&[run(30, 1, 53), run(38, 55, 6)]).is_covered(), "a gap");
    }

    #[test]
    fn runs_that_end_before_the_log_or_begin_in_another_term_do_not_cover_it() {
        let state = GroupState {
            last: position(38, 60),
            terms: vec![position(30, 1), position(38, 54)],
            ..GroupState::default()
        };
        let index = |runs: &[RunPlace]| GroupIndex { state: state.clone(), runs: runs.iter().copied().collect() };
        assert!(!index(&[run(30, 1, 53), run(38, 54, 6)]).is_covered(), "entry 60 is missing");
        assert!(!index(&[run(30, 1, 52), run(38, 53, 8)]).is_covered(), "entry 53 is of term 30");
        assert!(!index(&[]).is_covered());
    }
}

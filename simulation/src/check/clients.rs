//! What clients were told, held against what was committed.
//!
//! There is one chain of committed entries, so linearizability is a matter of places in it: whatever ends before
//! something else begins has a lower place. *The floor* is the highest place that any client has been told of.

use std::collections::BTreeMap;

use outrigger::engine::{LogId, LogIndex, Term};

use super::{Violation, require};
use crate::machine::Write;
use crate::words::or;

/// Keeps account of what clients were told.
#[derive(Debug, Default)]
pub(crate) struct ClientJudge {
    /// Where each value stands in the chain.
    committed: BTreeMap<u64, LogIndex>,
    /// The values of each register, with their places, in order.
    registers: BTreeMap<u64, Vec<(LogIndex, u64)>>,
    /// The only term that each of some values may be committed in.
    meant: BTreeMap<u64, Term>,
    /// Of which values a client was told that they are not written and never will be: values are counted.
    refused: Vec<bool>,
    /// Values of which a client was told that they are written, with their ids.
    acknowledged: Vec<(Write, LogId)>,
    /// The highest place that a client was told of.
    floor: LogIndex,
    /// When a client was first told of it, and of those before.
    floors: Vec<(u64, LogIndex)>,
}

impl ClientJudge {
    /// The highest place that a client was told of: what begins now must end at a higher one, or see it.
    pub(crate) const fn floor(&self) -> LogIndex {
        self.floor
    }

    /// The highest place that a client had been told of at a time of the world.
    pub(crate) fn floor_at(&self, time: u64) -> LogIndex {
        let known = self.floors.partition_point(|(at, _)| *at <= time);
        known.checked_sub(1).map_or(LogIndex::ZERO, |last| self.floors[last].1)
    }

    fn raise_floor(&mut self, to: LogIndex, now: u64) {
        if to > self.floor {
            self.floor = to;
            self.floors.push((now, to));
        }
    }

    /// How many writes were acknowledged.
    pub(crate) const fn acknowledged(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// A client wants a write for one term only.
    pub(crate) fn meant(&mut self, write: Write, only_in: Term) {
        self.meant.insert(write.value, only_in);
    }

    /// Whether a client wanted a write for one term only.
    pub(crate) fn was_meant(&self, write: Write) -> bool {
        self.meant.contains_key(&write.value)
    }

    /// A write was committed at a place.
    pub(crate) fn committed(&mut self, write: Write, id: LogId) -> Result<(), Violation> {
        let (value, at) = (write.value, id.index);
        let only_in = self.meant.get(&value).copied();
        let is_meant = only_in.is_none_or(|term| term == id.term);
        require!(is_meant, Precondition, "value {value} was meant for term {only_in:?} only, and is committed at {id}");
        let was_refused = usize::try_from(value).ok().and_then(|place| self.refused.get(place).copied());
        require!(was_refused != Some(true), AtMostOnce, "value {value} was refused and is committed at {at}");
        let before = self.committed.insert(value, at).unwrap_or(at);
        require!(before == at, AtMostOnce, "value {value} is committed at {before} and at {at}");
        self.registers.entry(write.key).or_default().push((at, value));
        Ok(())
    }

    /// A client was told that its write is applied; `floor` is that of when the write began.
    pub(crate) fn written(&mut self, write: Write, id: LogId, floor: LogIndex, now: u64) -> Result<(), Violation> {
        let found = self.committed.get(&write.value).copied();
        require!(found == Some(id.index), Acknowledged, "{write} was acknowledged at {id} and stands {}", at(found));
        require!(id.index > floor, Acknowledged, "{write} began when {floor} was known and stands at {id}");
        self.acknowledged.push((write, id));
        self.raise_floor(id.index, now);
        Ok(())
    }

    /// A client was told that its write is not applied and never will be.
    pub(crate) fn refused(&mut self, write: Write) -> Result<(), Violation> {
        let found = self.committed.get(&write.value).copied();
        require!(found.is_none(), AtMostOnce, "{write} was refused and is committed {}", at(found));
        let place = usize::try_from(write.value).expect("values are counted from the first");
        if self.refused.len() <= place {
            self.refused.resize(place + 1, false);
        }
        self.refused[place] = true;
        Ok(())
    }

    /// A client read a register in the state after a place; `floor` is that of when the read began.
    pub(crate) fn read(
        &mut self,
        (key, found): (u64, Option<u64>),
        at: LogIndex,
        floor: LogIndex,
        now: u64,
    ) -> Result<(), Violation> {
        require!(at >= floor, LinearizableRead, "a read that began when {floor} was known sees the state at {at}");
        let values = self.registers.get(&key).map_or(&[][..], Vec::as_slice);
        let before = values.partition_point(|(place, _)| *place <= at);
        let due = before.checked_sub(1).map(|last| values[last].1);
        require!(
            found == due,
            LinearizableRead,
            "register {key} at {at} holds {}, and {} was written",
            or(found, "nothing"),
            or(due, "nothing")
        );
        self.raise_floor(at, now);
        Ok(())
    }

    /// Everything that was acknowledged is where it was said to be, by what somebody (`whose`) holds.
    pub(crate) fn kept(&self, whose: &str, holds: impl Fn(LogIndex) -> Option<LogId>) -> Result<(), Violation> {
        for (write, id) in &self.acknowledged {
            let found = holds(id.index);
            require!(
                found == Some(*id),
                Acknowledged,
                "{write} was acknowledged at {id}, where {} stands in {whose}",
                or(found, "nothing")
            );
        }
        Ok(())
    }

    /// No register holds, in these, what was written before the last write that was acknowledged there.
    pub(crate) fn shown(&self, whose: &str, registers: &BTreeMap<u64, u64>) -> Result<(), Violation> {
        for (write, id) in &self.acknowledged {
            let found = registers.get(&write.key).copied();
            let stands = found.and_then(|value| self.committed.get(&value).copied());
            require!(
                stands >= Some(id.index),
                Acknowledged,
                "{write} was acknowledged at {id}, and {whose} has {} there, which stands {}",
                or(found, "nothing"),
                at(stands)
            );
        }
        Ok(())
    }

    /// What a register holds in the end.
    pub(crate) fn last_values(&self) -> BTreeMap<u64, u64> {
        let last = |(key, values): (&u64, &Vec<(LogIndex, u64)>)| values.last().map(|(_, value)| (*key, *value));
        self.registers.iter().filter_map(last).collect()
    }
}

/// Where an entry stands, if it does.
fn at(index: Option<LogIndex>) -> String {
    or(index.map(|index| format!("at {index}")), "nowhere")
}

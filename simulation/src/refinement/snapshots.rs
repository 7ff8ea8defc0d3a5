//! What the model knows of snapshots. Its logs are whole: what a node has purged is there all the same, and is compared as
//! the copy of the log beside the node has it.
//!
//! ```text
//!   engine   SnapshotReceived, Applied ──► PurgeLog of what is not in the log      the log becomes what the snapshot covers
//!                                     └──► its entries came meanwhile              they are committed
//!            InstallSnapshot of what is in the log                                 it is committed, and the leader's
//!            a start                                                               what a snapshot covers may not be in the log
//!   model    InstallSnapshot
//! ```

use outrigger::engine::{Event, InstallSnapshot, LogId, NodeId, SnapshotId};
use outrigger_model::extended::{Action, Value as _};
use outrigger_model::{LogIndex, ServerId, Term};

use super::value::same_configuration;
use super::{After, Note, Refinement, index, node, server, term};
use crate::check::{Violation, require};
use crate::words::or;

impl Refinement {
    /// A node takes a snapshot in; not before all of it is here and nothing waits to be applied.
    pub(super) fn taken_in(&mut self, i: ServerId, event: &Event, after: &After<'_>) -> Result<(), Violation> {
        if let Event::SnapshotReceived { id, held } = event
            && *held == id.bytes
        {
            self.received.insert(node(i), id.last);
        }
        let installed = after.notes.iter().find_map(|note| match note {
            Note::Install(_, last) => Some(*last),
            _ => None,
        });
        let commits = index(after.look.commit) > self.at(i).commit_index;
        // Without a write, what was received has come by itself.
        let last =
            installed.or_else(|| self.received.at(node(i)).copied().filter(|last| commits && self.holds(i, *last)));
        match last {
            Some(last) => self.install(i, last),
            None => Ok(()),
        }
    }

    /// A leader brings what is here already: that is committed, and its.
    pub(super) fn brought(&mut self, i: ServerId, from: NodeId, piece: &InstallSnapshot) -> Result<(), Violation> {
        let last = piece.snapshot.last();
        if !self.holds(i, last) {
            return Ok(());
        }
        require!(
            self.system.said.has_led(server(from), term(piece.term)),
            Refinement,
            "node {from} brings a snapshot in term {}, in which its model does not lead",
            piece.term
        );
        self.take(&Action::InstallSnapshot { server: i, term: term(piece.term), last: index(last.index) })
    }

    /// Another node brings, in the leader's stead, what is here already. It may be more than that leader knows to be committed yet.
    pub(super) fn brought_by_delegate(&mut self, i: ServerId, piece: &InstallSnapshot) -> Result<(), Violation> {
        let last = piece.snapshot.last();
        if self.holds(i, last) { self.install(i, last) } else { Ok(()) }
    }

    /// A start finds a snapshot of more than its log holds, or than it knew to be committed.
    pub(super) fn restored(&mut self, i: ServerId, covered: LogId) -> Result<(), Violation> {
        if self.holds(i, covered) && index(covered.index) <= self.at(i).commit_index {
            return Ok(());
        }
        self.install(i, covered)?;
        let count = self.at(i).pending.len();
        self.take(&Action::Flush(i, count))
    }

    /// Takes a snapshot in, as of the last term up to the node's in which so much was committed.
    pub(super) fn install(&mut self, i: ServerId, last: LogId) -> Result<(), Violation> {
        let (own, last) = (self.at(i).current_term, index(last.index));
        let mut told = self.system.said.told.range(..=(own, ServerId(usize::MAX))).rev();
        let committed = told.find(|(_, told)| **told >= last).map_or(own, |((term, _), _)| *term);
        self.take(&Action::InstallSnapshot { server: i, term: committed, last })
    }

    /// Whether a node's log holds an entry.
    fn holds(&self, i: ServerId, id: LogId) -> bool {
        let (log, at) = (&self.at(i).log, index(id.index));
        at <= log.len() && log.term_at(at) == term(id.term)
    }

    /// Snapshots are of what is committed, and nothing is purged that they do not cover.
    pub(super) fn compare_snapshots(&self, i: ServerId, after: &After<'_>) -> Result<(), Violation> {
        let (node, purged, covered) = (after.look.node, after.purged, after.snapshot);
        require!(
            purged.index <= covered.index,
            Refinement,
            "node {node} has purged {purged}, its snapshot ends at {covered}"
        );
        let commit = self.at(i).commit_index;
        require!(
            index(covered.index) <= commit,
            Refinement,
            "node {node} has a snapshot to {covered}, its model committed {commit}"
        );
        for (id, what) in [(covered, "has a snapshot to"), (purged, "has purged")] {
            let held = self.at(i).log.term_at(index(id.index));
            require!(
                held == term(id.term),
                Refinement,
                "node {node} {what} {id}, its model has {held}/{} there",
                id.index
            );
        }
        Ok(())
    }

    /// A leader brings what it has committed, and the members as of then; so does who does it in a leader's stead, and that leader's log
    /// holds it.
    pub(super) fn brings(&mut self, i: ServerId, piece: &InstallSnapshot) -> Result<(), Violation> {
        let (from, snapshot, in_term) = (node(i), &piece.snapshot, term(piece.term));
        let (last, at) = (snapshot.last(), snapshot.membership_at);
        let leader = server(piece.leader);
        if leader == i {
            self.told(i, piece.term, last.index)?;
        } else {
            let commit = self.at(i).commit_index;
            let is_committed = index(last.index) <= commit;
            require!(
                is_committed,
                Refinement,
                "node {from} sends a snapshot to {last} for node {}, its model committed {commit}",
                piece.leader
            );
        }
        if self.brought.at(from) == Some(&(in_term, snapshot.id)) {
            return Ok(());
        }
        let led = self.system.said.led.get(&(in_term, leader));
        let held = led.map(|led| led.term_at(index(last.index)));
        require!(
            held == Some(term(last.term)),
            Refinement,
            "node {from} brings a snapshot to {last}, its model has {}/{} there",
            or(held, "nothing"),
            last.index
        );
        let last_members = led.into_iter().flat_map(|led| led.iter().take(index(last.index).0));
        let last_members = last_members.filter(|(_, entry)| entry.value.configuration().is_some()).last();
        let is_there = last_members.is_some_and(|(place, entry)| {
            (place, entry.term) == (index(at.index), term(at.term))
                && same_configuration(entry.value.configuration(), &snapshot.membership)
        });
        require!(
            is_there,
            Refinement,
            "node {from} brings a snapshot to {last} with {} from {at}, its model has them from {}",
            snapshot.membership,
            or(last_members.map(|(place, _)| place), "nowhere")
        );
        self.brought.insert(from, (in_term, snapshot.id));
        Ok(())
    }
}

/// What a node was last seen to bring, in which term.
pub(super) type Brought = (Term, SnapshotId);

/// Whether a start that found this snapshot may have found this log: its own, or what the snapshot covers in its place.
pub(super) fn takes_the_place(covered: LogId, log: &outrigger_model::Log<super::Value>, found: LogIndex) -> bool {
    let last = index(covered.index);
    let is_held = last <= log.len() && log.term_at(last) == term(covered.term);
    !is_held && found == last
}

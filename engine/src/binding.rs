//! Which data directory is a member: each one's is bound to its id by an entry of the log, so that all refuse another one.
//!
//! ```text
//!   directory   a1 ── speaks, acknowledges ──► leader ── appends {1: a1 by 2/7, ...} ──► every node's log
//!
//!   a1 speaks   bound here to a1 ─────────────────────────────────► heard; a copy of it is told by its starts (`meeting.rs`)
//!   b7 speaks   bound here to a1 ──► claims a later entry? ── yes ──► heard: this node is behind
//!      as 1                                                └─ no ───► refused: b7 is empty, or of another node
//!
//!   the way back    remove 1 ──► add 1 as a learner ──► b7 speaks, catches up ──► bound by the leader before it votes
//!                   binding gone    unbound: anybody who comes under the id is let in, and starts from nothing
//! ```
//!
//! Before this, each peer remembered only whom it had met itself: who joined later could not tell a wiped disk from the real
//! one, and there was no way back for a node whose disk was lost. The memory stays, for those who are not bound yet, which are
//! the first voters until their first leader has bound them, and for the starts of one directory.
//!
//! The leader binds, by an ordinary entry of the members: it counts once appended, goes with a truncation and is in snapshots.
//! It binds only directories that have acknowledged something to it in this leadership, since it is those whose logs it knows.
//! **Who is given a vote is bound by an entry that is committed before**, so that no vote, and nothing acknowledged, of one directory
//! is ever counted for another; and so that whatever it has of a later leader's log binds it too, and it can lead if nobody else can
//! (`election.rs`). What a learner's old directory had acknowledged counts for nothing once another one comes.
//!
//! A node that catches up by its log may not know yet that a directory was removed and another one added under its id. It must
//! hear that one nevertheless, which may be its leader, or need its vote. So a node says with every word by which entry it is
//! bound as far as it knows: its claim. If that entry is behind all that the hearer knows of the members, or what shuts the speaker
//! out here is not committed and may have to be truncated at its word, it is the hearer who is behind. A leader is not,
//! unless by a later term, in which it does not lead: what is committed it has, and it counts nobody by a claim.
//!
//! **Before the first leader has bound the first voters**, an election timeout after it was elected (who is away then, once it has
//! come), nobody but those who met a directory can tell it from another: a first voter that is wiped then, and that the others have
//! not met, is believed, may vote a second time in a term, and lacks what the other one acknowledged. And a
//! directory that was made with the first members believes itself to be one of them until a leader brings it the log. Nobody who
//! knows its id to be another's gives it a vote; but where all of a quorum of the first members are made anew so, or the first
//! member was alone, they are a cluster of their own: who is added again is started to join. The two are told apart by what their
//! first leaders have founded them as ([`upkeep`](crate::upkeep)).
//!
//! **Who is started to join never campaigns before its log binds it**: while it is brought the log from its beginning, the members
//! that it knows are those of long ago, and a voter among them may have had its id. A directory that began its log itself remembers
//! that as it remembers its peers, under its own id.
//!
//! One change cannot remove a member and add it again: the entry would keep what it knows of the old directory.
//!
//! A node without a data directory draws a new one, in memory, with each start: it cannot come back after it has stopped, as it
//! has forgotten what it acknowledged, and goes the same way as one whose disk was wiped.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::command::Command;
use crate::engine::Engine;
use crate::meeting::Met;
use crate::membership::{Membership, Memberships};
use crate::message::Message;
use crate::node_map::NodeMap;
use crate::progress::Progress;
use crate::role::Role;
use crate::types::{Epoch, Incarnation, Instant, LogId, NodeId, Peer};

/// The data directory that is a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binding {
    /// [`Incarnation::id`] of the directory.
    pub directory: u64,
    /// The entry that bound it.
    pub at: LogId,
}

impl Memberships {
    /// The last membership that holds the node, of those that may come to count.
    fn holding(&self, node: NodeId) -> Option<&Arc<Membership>> {
        self.all().rev().find(|membership| membership.nodes().contains_key(&node))
    }

    /// By which entry a directory is bound to the node's id, by any entry that may come to count.
    fn claim(&self, node: NodeId, directory: u64) -> Option<LogId> {
        let binding = |membership: &Arc<Membership>| membership.bindings().get(&node).copied();
        self.all().rev().filter_map(binding).find(|binding| binding.directory == directory).map(|binding| binding.at)
    }
}

impl Engine {
    /// What this node's messages are to be signed with now.
    #[must_use]
    pub fn signature(&self) -> Peer {
        Peer { bound: self.claim(), genesis: self.genesis, founding: self.founding, ..self.config.node }
    }

    /// By which entry this very directory is a member, as far as it knows.
    pub(crate) fn claim(&self) -> Option<LogId> {
        let Peer { node, incarnation, .. } = self.config.node;
        self.memberships.claim(node, incarnation.id)
    }

    /// The directory that counts under the id of a node, of which this one was met; `None` if any does.
    pub(crate) fn directory_of(&self, node: NodeId, met: Option<&Met>) -> Option<u64> {
        let remembered = met.map(|met| met.life.id);
        mutate!(binding_not_checked, return remembered);
        let Some(membership) = self.memberships.holding(node) else { return remembered };
        let bound = membership.bindings().get(&node).map(|binding| binding.directory);
        mutate!(wiped_learner_shut_out, return bound.or(remembered));
        if bound.is_none() && self.config.bind_directories && !membership.is_voter(node) {
            return None;
        }
        bound.or(remembered)
    }

    /// Whether who speaks is bound by an entry that this node does not have yet. A leader cannot tell by a handshake alone.
    pub(crate) fn is_behind(&self, from: Peer, message: Option<&Message>) -> bool {
        mutate!(claim_ignored, return false);
        mutate!(claim_always_believed, return true);
        let is_later = |at: LogId| at > self.membership_id() || self.binding_is_uncommitted(from.node);
        let is_deposed = message.is_none_or(|message| message.term().is_some_and(|term| term > self.vote.term));
        mutate!(leader_hears_any_claim, return from.bound.is_some_and(is_later));
        mutate!(leader_hears_who_does_not_depose_it, is_deposed = true);
        match self.role {
            // What is committed a leader has, and what is not it has written itself: only a later entry can be another's word.
            Role::Leader(_) => is_deposed && from.bound.is_some_and(|at| at > self.membership_id()),
            _ => from.bound.is_some_and(is_later),
        }
    }

    /// Whether the entry that binds a node's id here may yet be truncated, maybe only by the leader that it shuts out.
    fn binding_is_uncommitted(&self, node: NodeId) -> bool {
        let binding = self.membership().bindings().get(&node);
        binding.is_some_and(|binding| binding.at.index > self.commit_index)
    }

    /// Whether this very directory is the member that its log speaks of, and not one that comes in the place of another, which has
    /// acknowledged what is not here. Where nothing binds it, it is if it began its log itself: what it was sent may end where
    /// another directory was a voter, even the only one.
    pub(crate) fn is_the_member(&self) -> bool {
        mutate!(wiped_node_campaigns, return true);
        let Peer { node, incarnation, .. } = self.config.node;
        match self.membership().bindings().get(&node) {
            Some(binding) => binding.directory == incarnation.id,
            None => !self.config.bind_directories || self.begins || self.claim().is_some(),
        }
    }

    /// This directory begins its log itself. It must know that in its later lives, until it is bound.
    pub(crate) fn begin_log(&mut self) {
        self.begins = true;
        if self.config.bind_directories {
            let write = self.writes.accept();
            self.push(Command::SavePeer { write, peer: self.config.node.claiming(None) });
        }
    }

    /// Whether all that this node has is what every node of its cluster begins with, and it votes by that. Nobody who was added
    /// later begins so.
    pub(crate) fn has_only_its_beginning(&self) -> bool {
        let (at, membership) = self.memberships.last();
        let is_first_voter = membership.is_voter(self.id()) && membership.bindings().is_empty();
        is_first_voter && self.begins && self.log.last() == *at
    }

    /// A leader hears from a node, not by its claim. What another directory under that id has acknowledged is nothing that this one holds.
    pub(crate) fn follow_directory(&mut self, from: Peer, message: Option<&Message>, now: Instant) {
        // What is of an earlier term comes late, maybe from a directory that is gone; with a later one this leadership ends.
        if message.and_then(Message::term).is_some_and(|term| term != self.vote.term) {
            return;
        }
        let (directory, last, next_id) = (from.incarnation.id, self.log.last().index, self.next_id + 1);
        let binds = self.config.bind_directories;
        let Role::Leader(leader) = &mut self.role else { return };
        let is_another = |progress: &mut Progress| binds && !progress.is_of(directory);
        if !leader.progress.at_mut(&from.node).is_some_and(is_another) {
            return;
        }
        let is_awaited = self.new_voters(self.membership()).any(|node| node == from.node);
        let Role::Leader(leader) = &mut self.role else { return };
        self.next_id = next_id;
        leader.progress.insert(from.node, Progress::anew(Epoch(next_id), last, leader.round, Some(directory), now));
        if let Some(change) = leader.change.as_mut().filter(|_| is_awaited) {
            change.begin_round(last, now);
        }
        let targets = leader.progress.iter().map(|(node, progress)| (*node, progress.epoch())).collect();
        self.push(Command::RebuildReplicationStreams { targets });
    }

    /// Who is not bound, and whose directory this leader knows.
    pub(crate) fn known_directories(&self, membership: &Membership) -> NodeMap<Binding> {
        let Role::Leader(leader) = &self.role else { return NodeMap::new() };
        let (own, at) = (self.config.node, self.next_own_entry());
        let directory = |node: &NodeId| {
            if *node == own.node {
                return Some(own.incarnation.id);
            }
            leader.progress.get(node).and_then(Progress::proven_directory)
        };
        let unbound = membership.nodes().keys().filter(|node| !membership.bindings().contains_key(node));
        unbound.filter_map(|node| Some((*node, Binding { directory: directory(node)?, at }))).collect()
    }

    /// A step of a change binds along whom the leader knows; above all, who is to vote by the next one.
    pub(crate) fn bind_along(&self, next: Membership) -> Membership {
        if !self.config.bind_directories {
            return next;
        }
        let known = self.known_directories(&next);
        mutate!(bound_after_the_vote, known = NodeMap::new());
        let of = next.of();
        let next = next.bound(known, of);
        self.check_new_voters(&next);
        next
    }

    /// Whose logs are counted from now on are those whose directories are bound.
    fn check_new_voters(&self, next: &Membership) {
        mutate!(bound_after_the_vote, return);
        let Role::Leader(leader) = &self.role else { return };
        let before = self.membership();
        for node in next.voters().iter().filter(|node| !before.is_voter(**node)) {
            let bound = before.bindings().get(node).map(|binding| binding.directory);
            assert!(bound.is_some(), "{node} votes by {next} and was not bound before");
            let heard = leader.progress.get(node).and_then(Progress::proven_directory);
            assert!(*node == self.id() || heard == bound, "{node} is bound to {bound:?}, and {heard:?} was heard");
        }
    }

    /// The id that the next entry of this leader gets.
    fn next_own_entry(&self) -> LogId {
        LogId { term: self.vote.term, index: self.log.last().index.next() }
    }
}

/// Whom earlier lives of a node have met, and whether its directory began its log itself.
pub(crate) fn remembered(own: Peer, mut peers: BTreeMap<NodeId, Incarnation>) -> (NodeMap<Met>, bool) {
    let has_begun = peers.remove(&own.node).is_some_and(|life| life.id == own.incarnation.id);
    (peers.into_iter().map(|(node, life)| (node, Met::restored(life))).collect(), has_begun)
}

/// What a refusal shows of a directory of which no life was met here.
pub(crate) const fn any_life_of(directory: u64) -> Incarnation {
    Incarnation { id: directory, start: 0, nonce: 0 }
}

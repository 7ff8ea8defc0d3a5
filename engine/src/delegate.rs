//! A snapshot that a follower sends in the leader's stead, so that the leader's disk, memory and network are left to writes.
//!
//! ```text
//!   leader      delegate_snapshot: your newest, to 4       delegate_snapshot: bytes 4096.. of 10/900, to 4
//!                     │                    ▲ held 0 of 10/900     │                  ▲ held 8192
//!   follower 2        └─► install_snapshot │ (a question)         └─► install_snapshot│ bytes 4096..8192
//!                                │         │                                   │      │
//!   node 4                       └─────────┘                                   └──────┘
//! ```
//!
//! The leader goes on deciding which piece is sent when; only the pieces take another way. So it is still the leader alone whose
//! progress knows how far a transfer is, and a delegate keeps nothing that would have to be right: it sends what it is told to if
//! it can, and says nothing if it cannot. What is not answered is given up after a few rounds of heartbeats, and the leader sends
//! its own snapshot then. So it is with a delegate whose snapshot is damaged.
//!
//! It is safe: a snapshot is of what is committed, and the delegate follows the leader of the term that stands in the piece, whose
//! log holds all that was committed in any term up to it (Leader Completeness; Raft paper, section 5.4). A piece says who that
//! leader is, and a node takes it only if it follows the same one: it proves nothing about whether that leader still lives.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::command::Command;
use crate::engine::{Engine, Handled};
use crate::fingerprint::Fingerprint;
use crate::message::{DelegateSnapshot, Message, Wanted};
use crate::progress::{Mode, PATIENCE_MAX};
use crate::role::Role;
use crate::types::{Epoch, Instant, NodeId, RequestId};
use crate::version::Version;

/// A transfer that this node sends the pieces of, in its leader's stead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lending {
    /// The leader's stream to the target.
    epoch: Epoch,
    /// The last order: older ones are copies, or came too late.
    request: RequestId,
    /// The runtime has not reported yet that the piece is sent.
    is_sending: bool,
    /// When the last order came.
    ordered_at: Instant,
}

/// The transfers that a follower sends the pieces of, by whom they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lendings(BTreeMap<NodeId, Lending>);

impl Lending {
    fn is_active_since(self, moment: Instant) -> bool {
        self.is_sending || self.ordered_at >= moment
    }
}

impl Lendings {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a piece is being sent, or was ordered since `moment`.
    pub(crate) fn is_active_since(&self, moment: Instant) -> bool {
        self.0.values().any(|it| it.is_active_since(moment))
    }

    /// The runtime has done what it was asked for, or could not.
    pub(crate) fn done(&mut self, target: NodeId, epoch: Epoch, request: RequestId) {
        let lending = self.0.get_mut(&target).filter(|it| (it.epoch, it.request) == (epoch, request));
        lending.into_iter().for_each(|it| it.is_sending = false);
    }

    pub(crate) fn fingerprint(&self, leader: Option<NodeId>, out: &mut Fingerprint) {
        let Self(lendings) = self;
        out.size(lendings.len());
        for (target, Lending { epoch, request, is_sending, ordered_at: _ }) in lendings {
            let leader = leader.unwrap_or_default();
            out.number(target.0);
            out.epoch(leader, *epoch);
            out.append(leader, *request);
            out.flag(*is_sending);
        }
    }
}

/// What the leader does.
impl Engine {
    /// Who sends the next piece for a follower that lacks what the log no longer holds; `None`: the leader itself.
    ///
    /// Whoever sends a transfer goes on with it, as it is of that node's own snapshot. For a new one it is a follower that has
    /// everything, answers, and sends the fewest others. Only one that may be told what is known since this exists: in a cluster whose
    /// version is older the leader sends its own.
    pub(crate) fn delegate_for(&self, target: NodeId) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let progress =
            leader.progress.get(&target).filter(|it| self.config.snapshots.delegated && it.may_delegate())?;
        let knows = |node: NodeId| self.may_send(node, Version::DELEGATION);
        let (purged, is_there) =
            (self.log.purged().index, |node: &NodeId| leader.progress.contains_key(node) && knows(*node));
        if progress.mode() == Mode::Snapshot {
            // Whoever began it, a transfer stays where it is, as long as the log goes on behind it.
            return progress.delegate().filter(is_there).filter(|_| progress.is_brought_to(purged));
        }
        let able = leader.progress.iter().filter(|(node, it)| **node != target && it.follows(leader.round, purged));
        let sends = |node: NodeId| leader.progress.values().filter(|it| it.delegate() == Some(node)).count();
        able.map(|(node, _)| *node).filter(|node| knows(*node)).min_by_key(|node| (sends(*node), *node))
    }

    /// Orders the next piece from a delegate. As nothing is read or sent here, it counts as sent at once.
    pub(crate) fn delegate_piece(&mut self, delegate: NodeId, target: NodeId) {
        let (term, covers) = (self.vote.term, self.log.purged().index);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.at_mut(&target) else { return };
        self.next_id += 1;
        let request = RequestId(self.next_id);
        let wanted = match progress.issue_piece(Some(delegate), None, request) {
            Some((id, offset)) => Wanted::Piece { id, offset },
            None => Wanted::Newest { covers },
        };
        let epoch = progress.epoch();
        progress.piece_sent(request, leader.round);
        self.send(delegate, Message::DelegateSnapshot(DelegateSnapshot { term, target, epoch, request, wanted }));
    }
}

/// What its delegate does.
impl Engine {
    pub(crate) fn handle_delegate_snapshot(
        &mut self,
        leader: NodeId,
        order: DelegateSnapshot,
        now: Instant,
    ) -> Handled {
        let DelegateSnapshot { term, target, epoch, request, wanted } = order;
        mutate!(old_delegation_heard, term = self.vote.term);
        if term < self.vote.term {
            return Ok(());
        }
        self.hear_leader(leader, now)?;
        let newest = self.snapshots.whole().filter(|newest| match wanted {
            Wanted::Newest { covers } => {
                // One that is being taken would soon take its place.
                newest.id.last.index >= covers && !self.builds_snapshot()
            }
            Wanted::Piece { id, .. } => newest.id == id,
        });
        // It speaks of its term, which must be durable before.
        let Some(snapshot) = newest.cloned().filter(|_| self.writes.has_durable_term()) else { return Ok(()) };
        if !self.others().contains_key(&target) || !self.lend(target, epoch, request, now) {
            return Ok(());
        }
        let (offset, bytes_max) = match wanted {
            Wanted::Newest { .. } => (0, 0),
            Wanted::Piece { offset, .. } => (offset, self.config.limits.snapshot_chunk_bytes_max),
        };
        self.push(Command::SendSnapshot { target, epoch, request, term, leader, snapshot, offset, bytes_max });
        Ok(())
    }

    /// Notes an order. Answers whether it is to be carried out: not if it is old, or if the piece before is still being sent.
    fn lend(&mut self, target: NodeId, epoch: Epoch, request: RequestId, now: Instant) -> bool {
        let patience = self.lending_lasts();
        let Role::Follower(follower) = &mut self.role else { return false };
        let Lendings(lendings) = &mut follower.lendings;
        if let Some(it) = lendings.get_mut(&target).filter(|it| it.epoch == epoch) {
            it.ordered_at = now;
        }
        let before = lendings.get(&target).copied();
        mutate!(late_order_carried_out, before = before.map(|it| Lending { request: RequestId(0), ..it }));
        if before.is_some_and(|it| it.request >= request || (it.is_sending && it.epoch == epoch)) {
            return false;
        }
        let is_stream = before.is_some_and(|it| it.epoch == epoch);
        lendings.insert(target, Lending { epoch, request, is_sending: true, ordered_at: now });
        if !is_stream {
            lendings.retain(|_, it| it.is_active_since(now - patience));
            let targets = lendings.iter().map(|(node, it)| (*node, it.epoch)).collect();
            self.push(Command::RebuildReplicationStreams { targets });
        }
        true
    }

    /// Nothing is sent in the stead of a leader that is not followed any more.
    pub(crate) fn end_lendings(&mut self, lendings: &Lendings) {
        if !lendings.is_empty() {
            self.push(Command::RebuildReplicationStreams { targets: Vec::new() });
        }
    }

    /// Whether a follower is sending a snapshot, which a newer one would take the place of.
    pub(crate) fn lends_snapshot(&self, now: Instant) -> bool {
        let Role::Follower(follower) = &self.role else { return false };
        follower.lendings.is_active_since(now - self.lending_lasts())
    }

    /// For so long a leader may wait before it orders the next piece.
    fn lending_lasts(&self) -> Duration {
        self.config.heartbeat_interval.saturating_mul(PATIENCE_MAX)
    }
}

/// A delegate reports like a leader; what was sent is known by the stream and the request.
impl Engine {
    pub(crate) fn lent(&mut self, target: NodeId, epoch: Epoch, request: RequestId) {
        if let Role::Follower(follower) = &mut self.role {
            follower.lendings.done(target, epoch, request);
        }
    }
}

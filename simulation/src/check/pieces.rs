//! Pieces of snapshots, as a node takes them in.
//!
//! ```text
//!   heard:  1 of A    2 of B    3 of B    1 of A, late: the leader wants B since ─► not taken in, else B begins anew
//! ```

use std::collections::BTreeMap;

use outrigger::engine::{Event, InstallSnapshot, Message, NodeId, Peer, RequestId, SnapshotId, Term};

use super::{Check, Violation, violated};

/// Who wanted a piece, and how late.
type Order = (NodeId, Term, RequestId);

/// What one node has heard and taken in of snapshots in one life.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// The last piece of each snapshot that was heard, by its leader's order.
    heard: BTreeMap<SnapshotId, Order>,
    /// The snapshot that was taken in last, and the last piece of it that had been heard by then.
    taken: Option<(SnapshotId, Order)>,
    /// What was taken in that must not be.
    late: Option<SnapshotId>,
    /// The piece that was heard by the latest order, and who sent it.
    newest: Option<(Peer, InstallSnapshot)>,
}

impl Pieces {
    /// A piece has come, whoever sent it; or what was taken in is complete, or has come to nothing: then nothing begins anew.
    pub(crate) fn hear(&mut self, event: &Event) {
        match event {
            Event::Received { message: Some(Message::InstallSnapshot(piece)), .. } => self.hear_piece(piece),
            Event::SnapshotReceived { id, held } if *held < id.bytes => {}
            Event::SnapshotSpoiled { id, .. } | Event::SnapshotReceived { id, .. } => {
                self.taken.take_if(|(taken, _)| taken == id);
            }
            _ => {}
        }
    }

    fn hear_piece(&mut self, piece: &InstallSnapshot) {
        let order = (piece.leader, piece.term, piece.request);
        let last = self.heard.entry(piece.snapshot.id).or_insert(order);
        if (last.0, last.1) != (order.0, order.1) || last.2 < order.2 {
            *last = order;
        }
    }

    /// A piece has come from somebody. Answers what was heard last of the snapshot before, if it is the first piece of another one that
    /// the same leader wants.
    pub(crate) fn follow(&mut self, from: Peer, piece: &InstallSnapshot) -> Option<(Peer, InstallSnapshot)> {
        let newest = self.newest.as_ref().map(|(_, last)| ((last.leader, last.term), last.request, last.snapshot.id));
        let is_same_leader = newest.is_some_and(|(order, ..)| order == (piece.leader, piece.term));
        if is_same_leader && newest.is_some_and(|(_, request, _)| request >= piece.request) {
            return None;
        }
        let before = self.newest.replace((from, piece.clone()));
        before.filter(|(_, last)| is_same_leader && last.snapshot.id != piece.snapshot.id)
    }

    /// The node writes a piece of this snapshot.
    pub(crate) fn take(&mut self, id: SnapshotId) {
        let Some(order) = self.heard.get(&id).copied() else { return };
        let is_late = |(before, (leader, term, request)): (SnapshotId, Order)| {
            before != id && (leader, term) == (order.0, order.1) && order.2 < request
        };
        if self.taken.is_some_and(is_late) {
            self.late = Some(id);
        }
        self.taken = Some((id, order));
    }

    /// Whether all was taken in in the order in which the leader wanted it.
    pub(crate) fn order(&self, node: NodeId) -> Result<(), Violation> {
        let Some(late) = self.late else { return Ok(()) };
        let why = format_args!(
            "node {node} takes in a late piece of the snapshot {late}, although its leader has wanted another one since"
        );
        Err(violated(Check::Replication, why))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger::engine::{Epoch, Genesis, LogId, LogTime, Membership, Snapshot};

    use super::*;

    fn piece(snapshot: u64, request: u64) -> InstallSnapshot {
        let id = SnapshotId { last: LogId::new(1, snapshot), bytes: 9, checksum: 0 };
        let (membership, membership_at) = (Arc::new(Membership::default()), LogId::new(0, 1));
        let snapshot =
            Arc::new(Snapshot { id, genesis: Genesis::UNKNOWN, log_time: LogTime(0), membership, membership_at });
        let (term, leader, request) = (Term(1), NodeId(1), RequestId(request));
        InstallSnapshot { term, leader, epoch: Epoch(1), request, snapshot, offset: 0, chunk: Default::default() }
    }

    #[test]
    fn a_late_piece_of_another_snapshot_is_found_and_one_of_the_same_is_none() {
        let mut pieces = Pieces::default();
        let mut take = |piece: InstallSnapshot| {
            pieces.hear_piece(&piece);
            pieces.take(piece.snapshot.id);
            pieces.order(NodeId(3)).is_ok()
        };
        assert!(take(piece(5, 1)) && take(piece(8, 2)) && take(piece(8, 3)) && take(piece(8, 2)));
        assert!(take(piece(5, 4)), "it is wanted again");
        assert!(!take(piece(8, 3)));
    }

    #[test]
    fn what_is_complete_or_came_to_nothing_is_no_order_any_more() {
        let id = piece(5, 4).snapshot.id;
        let after = |event: Event| {
            let mut pieces = Pieces::default();
            for (snapshot, request) in [(8, 3), (5, 4)] {
                pieces.hear_piece(&piece(snapshot, request));
                pieces.take(piece(snapshot, request).snapshot.id);
            }
            pieces.hear(&event);
            pieces.take(piece(8, 3).snapshot.id);
            pieces.order(NodeId(3)).is_ok()
        };
        assert!(after(Event::SnapshotSpoiled { id, reason: String::new() }));
        assert!(after(Event::SnapshotReceived { id, held: id.bytes }));
        assert!(!after(Event::SnapshotReceived { id, held: id.bytes - 1 }), "there is more to come");
    }

    /// A piece as a leader wants it.
    fn wanted_by(leader: u64, snapshot: u64, request: u64) -> InstallSnapshot {
        InstallSnapshot { leader: NodeId(leader), term: Term(leader), ..piece(snapshot, request) }
    }

    #[test]
    fn the_order_of_a_new_leader_is_the_one_that_counts() {
        let mut pieces = Pieces::default();
        let mut take = |piece: InstallSnapshot| {
            pieces.hear_piece(&piece);
            pieces.take(piece.snapshot.id);
            pieces.order(NodeId(3)).is_ok()
        };
        assert!(take(wanted_by(1, 5, 9)) && take(wanted_by(2, 5, 1)), "it counts from the beginning");
        assert!(take(wanted_by(2, 8, 2)));
        assert!(!take(wanted_by(2, 5, 1)), "which is late now");
    }

    #[test]
    fn what_was_heard_before_another_snapshot_began_is_told_once_and_of_the_same_leader() {
        let from = Peer::new(NodeId(1), outrigger::engine::Incarnation::default());
        let mut pieces = Pieces::default();
        let mut follow = |piece: InstallSnapshot| pieces.follow(from, &piece).map(|(_, former)| former.request.0);
        assert_eq!(follow(wanted_by(1, 5, 2)), None);
        assert_eq!(follow(wanted_by(1, 5, 3)), None, "it goes on");
        assert_eq!(follow(wanted_by(1, 8, 4)), Some(3));
        assert_eq!(follow(wanted_by(1, 5, 4)), None, "an order that is not later");
        assert_eq!(follow(wanted_by(1, 5, 3)), None);
        assert_eq!(follow(wanted_by(2, 5, 1)), None, "another leader's");
    }
}

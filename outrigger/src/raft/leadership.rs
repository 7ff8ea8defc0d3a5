//! Who leads, as far as a program may have a say in it (thesis, section 3.10).

use outrigger_engine::{NodeId, Term, Transferred};
use tokio::sync::oneshot;

use super::Raft;
use crate::LargeStateMachine;
use crate::error::{ElectError, RoleError, TransferError};
use crate::runtime::arrivals::Notice;
use crate::runtime::order::{Order, OrderSlot};
use crate::runtime::respond::Failure;

impl<S: LargeStateMachine> Raft<S> {
    /// Hands leadership over to another voter (thesis, section 3.10): before this node is stopped for an update, or to lead from
    /// where the clients are. Without a node, the voter that lacks the least takes over. Answers who leads, in which term, once
    /// that one is heard from; to hand over to oneself is done at once.
    ///
    /// The leader brings the other node up to its last entry and has it campaign at once, so that clients wait for a few round
    /// trips and not for an election timeout. Meanwhile it takes no writes, reads or changes of the members; who writes or reads
    /// waits, here and elsewhere, and sees nothing of it. If the other node has not taken over within the shortest election timeout
    /// ([`Config::election_timeout_min`](crate::Config::election_timeout_min)), the leader leads on; a node that is only late may
    /// still depose it then, as an election would.
    ///
    /// Only the leader can do it; another node refuses, and its metrics say who leads. Dropping the future does not stop the
    /// transfer.
    ///
    /// # Errors
    /// [`TransferError::NotTransferred`] says why not.
    ///
    /// ```no_run
    /// # async fn hand_over<S: outrigger::StateMachine>(raft: outrigger::Raft<S>) -> Result<(), outrigger::TransferError> {
    /// let next = raft.transfer_leadership(None).await?;
    /// println!("node {} leads in term {}", next.leader, next.term);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<Transferred, TransferError> {
        let (slot, answer) = oneshot::channel();
        self.order(Order::TransferLeadership { to }, OrderSlot::Transfer(slot));
        match answer.await {
            Ok(Ok(result)) => result.map_err(|why| TransferError::NotTransferred { why }),
            Ok(Err(_)) | Err(_) => Err(TransferError::Stopped),
        }
    }

    /// Has this node campaign now, and answers the term in which it leads. If it leads already, that is its answer at once.
    ///
    /// With `pre_vote` it asks first whether it would be elected, as it does by itself: a leader that is at work stays. Without,
    /// a leader is deposed whether or not this node is elected, which takes a log that lacks nothing that a majority has: writes
    /// that wait meanwhile may end in doubt, which those of a [transfer](Raft::transfer_leadership) do not. Where a leader may hold a
    /// [lease](crate::Config::lease), and for as long after this node's start, nothing is done:
    /// [`NotElected::Pledged`](crate::engine::NotElected::Pledged). Dropping the future does not stop the campaign.
    ///
    /// # Errors
    /// [`ElectError::NotElected`] says why not.
    ///
    /// ```no_run
    /// # async fn elect<S: outrigger::StateMachine>(raft: outrigger::Raft<S>) -> Result<(), outrigger::ElectError> {
    /// let term = raft.elect(true).await?;
    /// println!("this node leads in term {term}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn elect(&self, pre_vote: bool) -> Result<Term, ElectError> {
        let (slot, answer) = oneshot::channel();
        self.order(Order::Elect { pre_vote }, OrderSlot::Election(slot));
        match answer.await {
            Ok(Ok(result)) => result.map_err(|why| ElectError::NotElected { why }),
            Ok(Err(_)) | Err(_) => Err(ElectError::Stopped),
        }
    }

    /// Has this leader lead no more, whoever comes after it: it becomes a follower at once, and does not campaign for one (the
    /// longest) election timeout. What it had in hand ends in doubt, and clients wait for an election: where there is time,
    /// [hand over](Raft::transfer_leadership) instead. Dropping the future does not undo it.
    ///
    /// # Errors
    /// [`RoleError::Refused`] on a node that does not lead.
    pub async fn step_down(&self) -> Result<(), RoleError> {
        self.deed(Order::StepDown).await
    }

    /// Tells this follower that its leader is gone: it gives its pre-vote to the next who asks, rather than after an election
    /// timeout. For who knows more than the nodes, such as a supervisor that has seen the leader's machine die. A leader that is
    /// heard from after all is followed as before. Dropping the future does not undo it.
    ///
    /// # Errors
    /// [`RoleError::Refused`] on a node that follows nobody.
    pub async fn forget_leader(&self) -> Result<(), RoleError> {
        self.deed(Order::ForgetLeader).await
    }

    /// Says whether this node campaigns by itself when it hears from no leader, which it does until it is told otherwise, and after
    /// each start. One that does not still votes, and leads when it is [elected](Raft::elect) by hand or leadership is
    /// [handed over](Raft::transfer_leadership) to it. If no voter campaigns by itself, nobody replaces a leader that dies.
    ///
    /// Dropping the future does not undo it.
    ///
    /// # Errors
    /// [`RoleError::Stopped`].
    pub async fn set_elections(&self, on: bool) -> Result<(), RoleError> {
        self.deed(Order::SetElections { on }).await
    }

    /// Says how much this node wants to lead, from 0 to 255, the most, in the place of [`Config::priority`](crate::Config::priority), to
    /// which a restart returns. A node of less than 255 campaigns later than its election timeouts say, by up to the difference of the
    /// two: when the leader dies, of two nodes that have the same log one of 255 always comes before one of 0. It counts from the next
    /// heartbeat or campaign on, and nobody is deposed by it: [hand leadership over](Raft::transfer_leadership) for that.
    ///
    /// Dropping the future does not undo it.
    ///
    /// # Errors
    /// [`RoleError::Stopped`].
    pub async fn set_priority(&self, priority: u8) -> Result<(), RoleError> {
        self.deed(Order::SetPriority { priority }).await
    }

    async fn deed(&self, order: Order) -> Result<(), RoleError> {
        let (slot, answer) = oneshot::channel();
        self.order(order, OrderSlot::Deed(slot));
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Failure::Refused(refusal))) => Err(RoleError::Refused { refusal }),
            Ok(Err(Failure::Unknown(_) | Failure::Denied(_) | Failure::Stopped)) | Err(_) => Err(RoleError::Stopped),
        }
    }

    pub(super) fn order(&self, order: Order, slot: OrderSlot) {
        self.0.inbox.notice(Notice::Order(order, slot));
    }
}

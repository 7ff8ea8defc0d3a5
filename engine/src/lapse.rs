//! What time alone may bring, one thing at a time: for an explorer, which has no clock and tries all of them.
//!
//! ```text
//!   a clock       10:00 heard from the leader ··· 10:01 timer due ··· 10:02 asked: is there a leader?
//!   an explorer   the timer falls due, now; or first the leader counts as silent, now; or neither yet
//! ```
//!
//! Whatever an engine compares with the time is one of a few questions: is this deadline over, was that node heard from
//! lately, does the disk still work. (How a change of the members gets on is one too, and has no lapse yet.) An explorer keeps
//! `now` as it is for ever, so that each is answered with "not yet", and brings about a lapse just before it hands in an event
//! for which the answer is to be the other. As it may do so at any moment and on each node by itself, every run under real
//! clocks is among what it can try: a lapse per question that a real clock answered with "yes". Timers that fall due at the
//! same moment fire as if one by one, for nothing is done between.

use crate::engine::Engine;
use crate::role::Role;
use crate::timer::Timer;
use crate::types::{Instant, NodeId};

/// Something that time alone brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lapse {
    /// The election timer falls due.
    Election,
    /// The heartbeat timer falls due.
    Heartbeat,
    /// It is time for a leader to see whether a quorum answers, and whether its disk works.
    CheckQuorum,
    /// The oldest of the entries that were handed to the leader has waited too long for its answer.
    Forward,
    /// The question for a read index is due to be asked again.
    Question,
    /// Leadership was not handed over in time.
    Transfer,
    /// The leader that this node follows was not heard from lately: another node may count on its pre-vote.
    LeaderSilent,
    /// What this node has pledged to a leader is over.
    Pledge,
    /// All that this leader has sent was sent long ago: its lease is over.
    Lease,
    /// This follower has not answered its leader lately.
    FollowerSilent(NodeId),
    /// The leader's disk has not finished a write lately.
    DiskHung,
}

impl Lapse {
    /// Whether it lets [`Event::Timeout`](crate::Event::Timeout) fall due; the others only change what the next event finds.
    #[must_use]
    pub const fn is_timeout(self) -> bool {
        match self {
            Self::Election | Self::Heartbeat | Self::CheckQuorum | Self::Forward | Self::Question | Self::Transfer => {
                true
            }
            Self::LeaderSilent | Self::Pledge | Self::Lease | Self::FollowerSilent(_) | Self::DiskHung => false,
        }
    }
}

impl Engine {
    /// All that time alone may bring to this node as it is now, in a fixed order.
    #[must_use]
    pub fn lapses(&self) -> Vec<Lapse> {
        let mut lapses = Vec::new();
        for (timer, lapse) in [
            (Timer::Election, Lapse::Election),
            (Timer::Heartbeat, Lapse::Heartbeat),
            (Timer::CheckQuorum, Lapse::CheckQuorum),
            (Timer::Transfer, Lapse::Transfer),
        ] {
            lapses.extend(self.timers.is_running(timer).then_some(lapse));
        }
        lapses.extend(self.pledge.map(|_| Lapse::Pledge));
        lapses.extend((!self.forwards.waiting.is_empty()).then_some(Lapse::Forward));
        match &self.role {
            Role::Follower(follower) => {
                lapses.extend(follower.reads.deadline().map(|_| Lapse::Question));
                lapses.extend(follower.leader.map(|_| Lapse::LeaderSilent));
            }
            Role::Leader(leader) => {
                lapses.extend(self.config.lease.map(|_| Lapse::Lease));
                lapses.extend(leader.progress.keys().copied().map(Lapse::FollowerSilent));
                lapses.extend((!self.writes.is_idle()).then_some(Lapse::DiskHung));
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
        lapses
    }

    /// Brings about one of [`Engine::lapses`]: what the engine asks of time at `now` is answered accordingly. One of another
    /// role changes nothing.
    ///
    /// ```
    /// use outrigger_engine::*;
    ///
    /// let config = EngineConfig::new(Peer::new(NodeId(1), Incarnation::default()), 42);
    /// let now = Instant(1 << 40);
    /// let mut engine = Engine::new(config, Restored::default(), now);
    /// let two = [1, 2].map(|id| (NodeId(id), Node::default()));
    /// engine.handle_event(Event::Initialize { token: Token(1), membership: Membership::new(two, []).into() }, now);
    /// assert_eq!(engine.lapses(), [Lapse::Election]);
    ///
    /// engine.lapse(Lapse::Election, now);
    /// engine.handle_event(Event::Timeout, now);
    /// assert_eq!(engine.role_kind(), RoleKind::PreCandidate);
    /// ```
    ///
    /// # Panics
    /// If `now` is so early that nobody can have been silent for long.
    pub fn lapse(&mut self, lapse: Lapse, now: Instant) {
        let long_ago = now - self.config.election_timeout_max;
        assert!(long_ago > Instant(0), "{now:?} is within {:?} of the beginning", self.config.election_timeout_max);
        match (lapse, &mut self.role) {
            (Lapse::Election, _) => self.timers.set(Timer::Election, now),
            (Lapse::Heartbeat, _) => self.timers.set(Timer::Heartbeat, now),
            (Lapse::CheckQuorum, _) => self.timers.set(Timer::CheckQuorum, now),
            (Lapse::Transfer, _) => self.timers.set(Timer::Transfer, now),
            (Lapse::Forward, _) => {
                if let Some(mut oldest) = self.forwards.waiting.first_entry() {
                    oldest.get_mut().deadline = now;
                }
                self.timers.set(Timer::Requests, now);
            }
            (Lapse::Question, Role::Follower(follower)) => {
                follower.reads.fall_due(now);
                self.timers.set(Timer::Requests, now);
            }
            (Lapse::LeaderSilent, Role::Follower(follower)) => {
                follower.heard_at = follower.heard_at.map(|_| long_ago);
            }
            (Lapse::Pledge, _) => self.pledge = None,
            (Lapse::Lease, Role::Leader(leader)) => leader.rounds.sent_before(long_ago),
            (Lapse::FollowerSilent(node), Role::Leader(leader)) => {
                leader.progress.at_mut(&node).into_iter().for_each(|progress| progress.silent_since(long_ago));
            }
            (Lapse::DiskHung, Role::Leader(_)) => self.writes.disk_seen(long_ago),
            _ => {}
        }
    }
}

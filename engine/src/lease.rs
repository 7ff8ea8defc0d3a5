//! Leases: a leader that need not ask whether it leads (thesis, section 6.4.1), and the pledge of its voters that this rests on.
//!
//! ```text
//!   leader   heartbeat sent ├────────── lease ──────────┤ at its own word no longer
//!                   ╲            ▲ a quorum answered
//!   voter            └─► heard ├───────────── pledge ─────────────┤ may campaign, and vote for others
//! ```
//!
//! The lease is counted from when the round was *sent*, the pledge from when it was *heard*, each on a clock of its own. Whoever
//! is elected has the votes of a quorum, and one of those voters answered the round: so nobody is elected before the pledge ends.
//! The lease ends before, even if the leader's clock runs as much too slowly and the voter's as much too fast as
//! [`clock_drift_ppm_max`](crate::EngineConfig::clock_drift_ppm_max) allows.
//!
//! *Who pledges.* A heartbeat says for how long, so that only the leader's settings count: a voter whose own leases are off keeps
//! its pledge like any other, and where no leader holds leases nobody is bound by one, but for a moment after a start. It binds
//! against whatever else a node is told or asked: a later term, a campaign by hand, a leader that it is to forget, other members.
//! One thing ends it early: the leader itself wants another to lead. It gives up its lease before it says so, and for the rest of
//! its term, for what it has said may arrive at any time.
//!
//! *Restarts.* What a node pledged is in memory only: after a start it keeps still for its own shortest election timeout, as if it
//! had just heard of a leader. So that timeout must not be shorter on a voter than on a leader with leases, at any time: leases
//! are off, on all nodes, while it is changed on one after the other.
//!
//! *Members.* Whose answers count follows from who votes now, as with any read: both majorities while there are two, never a
//! learner, and a leader that is removed does not count itself.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::EngineConfig;
use crate::consistency::Proof;
use crate::engine::Engine;
use crate::progress::Progress;
use crate::role::{Leader, Role};
use crate::types::{Instant, LogIndex, NodeId, Round};

/// That a node neither votes for another than its leader nor campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pledge {
    /// When it was given last.
    given_at: Instant,
    /// For how long from then on; above 0.
    lasts: Duration,
}

impl Pledge {
    pub(crate) fn new(given_at: Instant, lasts: Duration) -> Self {
        assert!(!lasts.is_zero(), "a pledge that binds nobody");
        Self { given_at, lasts }
    }

    /// For how long it still binds; zero when it does not.
    fn left(self, now: Instant) -> Duration {
        self.lasts.saturating_sub(now.since(self.given_at))
    }
}

/// So many rounds are remembered that no quorum has acknowledged yet. Hardly more than one is under way at a time.
const ROUNDS_MAX: usize = 32;

/// When a leader has sent its last rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Rounds(
    /// In order; the first may be acknowledged by a quorum, the others were not when the last one was sent.
    VecDeque<(Round, Instant)>,
);

impl Rounds {
    /// A round begins, and a quorum has acknowledged all up to another.
    pub(crate) fn begin(&mut self, round: Round, acknowledged: Round, now: Instant) {
        assert!(self.0.back().is_none_or(|(last, _)| *last < round), "round {round} begins twice");
        while self.0.get(1).is_some_and(|(next, _)| *next <= acknowledged) {
            self.0.pop_front();
        }
        if self.0.len() == ROUNDS_MAX {
            // Its answers will count for the one before, which is older.
            self.0.remove(1);
        }
        self.0.push_back((round, now));
    }

    /// When the last round up to `acknowledged` was sent that is known: an earlier one says less, not more.
    fn sent_at(&self, acknowledged: Round) -> Option<Instant> {
        self.0.iter().rev().find(|(round, _)| *round <= acknowledged).map(|(_, sent_at)| *sent_at)
    }

    /// The last one that began.
    pub(crate) fn last(&self) -> Option<Round> {
        self.0.back().map(|(round, _)| *round)
    }

    /// How many were sent at `moment` or later.
    fn since(&self, moment: Instant) -> usize {
        self.0.iter().rev().take_while(|(_, sent_at)| *sent_at >= moment).count()
    }

    /// For an explorer of time: all were sent long ago.
    pub(crate) fn sent_before(&mut self, long_ago: Instant) {
        self.0.iter_mut().for_each(|(_, sent_at)| *sent_at = long_ago);
    }

    #[cfg(outrigger_mutants)]
    pub(crate) fn counts_from(&mut self, answered: Round, now: Instant) {
        self.0.iter_mut().filter(|(round, _)| *round == answered).for_each(|(_, sent_at)| *sent_at = now);
    }
}

impl EngineConfig {
    /// The longest lease that the drift of clocks allows: `election_timeout_min` by a clock that runs too fast, measured by one that
    /// runs too slowly. Zero where clocks may go wrong without bound.
    #[must_use]
    pub fn lease_max(&self) -> Duration {
        const MILLION: u128 = 1_000_000;
        let drift = u128::from(self.clock_drift_ppm_max).min(MILLION);
        let longest = self.election_timeout_min.as_nanos() * (MILLION - drift) / (MILLION + drift);
        Duration::from_nanos(u64::try_from(longest).unwrap_or(u64::MAX))
    }
}

impl Engine {
    // ---- on voters ---------------------------------------------------------------------------------------------

    /// The leader counts on this node for so long.
    pub(crate) fn pledge(&mut self, lasts: Duration, now: Instant) {
        if lasts > self.pledged_for(now) {
            self.pledge = Some(Pledge::new(now, lasts));
        }
    }

    /// For how long this node still neither votes for another than its leader nor campaigns; zero when it may.
    pub(crate) fn pledged_for(&self, now: Instant) -> Duration {
        self.pledge.map_or(Duration::ZERO, |pledge| pledge.left(now))
    }

    pub(crate) fn is_pledged(&self, now: Instant) -> bool {
        mutate!(pledge_not_kept, return false);
        !self.pledged_for(now).is_zero()
    }

    // ---- on leaders --------------------------------------------------------------------------------------------

    /// What a leader wants of those that hear from it: nothing, if it holds no lease, or never will again in this term.
    pub(crate) fn wanted_pledge(&self) -> Duration {
        if matches!(&self.role, Role::Leader(leader) if leader.lease_given_up) {
            return Duration::ZERO;
        }
        self.config.lease.map_or(Duration::ZERO, |_| self.config.election_timeout_min)
    }

    /// Up to which round of heartbeats a quorum has answered.
    pub(crate) fn acknowledged(&self, leader: &Leader) -> Round {
        let own = self.id();
        let answered = |node: NodeId| {
            let round = leader.progress.get(&node).map_or(Round(0), Progress::answered);
            LogIndex(if node == own { leader.round.0 } else { round.0 })
        };
        mutate!(
            joint_reads_by_new_voters,
            return Round(self.membership().quorum().incoming.committed_index(answered).0)
        );
        Round(self.membership().quorum().committed_index(answered).0)
    }

    /// How long ago a leader sent the newest round that a quorum has acknowledged.
    fn acknowledged_ago(&self, leader: &Leader, now: Instant) -> Option<Duration> {
        let acknowledged = self.acknowledged(leader);
        mutate!(
            lease_by_minority,
            acknowledged = leader.progress.values().map(Progress::answered).max().unwrap_or(acknowledged)
        );
        leader.rounds.sent_at(acknowledged).map(|sent_at| now.since(sent_at))
    }

    /// Whether this leader leads, as far as it can know without asking.
    pub(crate) fn is_proven(&self, leader: &Leader, proof: Proof, now: Instant) -> bool {
        let limit = match proof {
            Proof::Round => return false,
            Proof::Age(age_max) => age_max,
            Proof::Lease if leader.lease_given_up => return false,
            // A lease ends at its last moment, not after it.
            Proof::Lease => match self.config.lease.and_then(|lease| lease.checked_sub(Duration::from_nanos(1))) {
                Some(lease) => lease,
                None => return false,
            },
        };
        mutate!(
            lease_ignores_drift,
            limit = if proof == Proof::Lease { self.config.election_timeout_min } else { limit }
        );
        mutate!(acknowledged_at_any_age, limit = if proof == Proof::Lease { limit } else { Duration::MAX });
        self.acknowledged_ago(leader, now).is_some_and(|ago| ago <= limit)
    }

    /// Whether this node would answer a read that wants this proof at once: it leads, and knows it without asking. A node that hands
    /// its leadership over takes no reads.
    #[must_use]
    pub fn proves(&self, proof: Proof, now: Instant) -> bool {
        match &self.role {
            Role::Leader(leader) => self.transfer.is_none() && self.is_proven(leader, proof, now),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// How many of the last rounds that this node has sent as a leader are so young that a lease may still be counted from them: what
    /// an explorer of leases must add to a [fingerprint](Engine::fingerprint), which knows of no time.
    #[must_use]
    pub fn rounds_on_lease(&self, now: Instant) -> usize {
        match (&self.role, self.config.lease) {
            (Role::Leader(leader), Some(lease)) => leader.rounds.since(now - lease),
            _ => 0,
        }
    }

    /// The heir may campaign from now on, whenever that reaches it.
    pub(crate) fn give_up_lease(&mut self) {
        mutate!(transfer_keeps_lease, return);
        if let Role::Leader(leader) = &mut self.role {
            // Without leases there is nothing to give up, and nothing that a fingerprint need know.
            leader.lease_given_up = self.config.lease.is_some();
        }
    }

    // ---- everywhere --------------------------------------------------------------------------------------------

    /// The leader of this term has committed `commit`, as this node has heard. Answers the highest that it has heard so, now or
    /// before: words overtake each other.
    pub(crate) fn note_told(&mut self, commit: LogIndex) -> LogIndex {
        let (term, told) = self.told;
        assert!(term <= self.vote.term, "a leader of term {term} was heard, but the own term is {}", self.vote.term);
        let told = if term == self.vote.term { told.max(commit) } else { commit };
        self.told = (self.vote.term, told);
        told
    }

    /// The leader has committed `commit`, as this node has heard now: if it has all that it has heard of, it is as new as the leader
    /// was.
    pub(crate) fn note_freshness(&mut self, commit: LogIndex, now: Instant) {
        let told = self.note_told(commit);
        mutate!(late_word_is_fresh, told = commit);
        // A leader that has not committed an entry of its own term does not know what those before it had.
        let is_known = self.log.term_at(commit) == Some(self.vote.term);
        mutate!(stale_before_own_entry, is_known = true);
        if self.commit_index >= told && is_known {
            self.fresh_at = Some(now);
            // If it is no member by all that there is, this was the last word that it hears.
            self.refuse_reads_of_removed();
        }
    }

    /// How long ago this node had everything that was committed; `None` if that was never known since its start.
    pub(crate) fn staleness(&self, now: Instant) -> Option<Duration> {
        let heard = self.fresh_at.map(|fresh_at| now.since(fresh_at));
        let led = match &self.role {
            Role::Leader(leader) if self.commit_index >= leader.term_start => self.acknowledged_ago(leader, now),
            Role::Leader(_) | Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        };
        heard.into_iter().chain(led).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_round_is_known_until_a_later_one_is_acknowledged() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.sent_at(Round(9)), None);
        for round in 1..=3 {
            rounds.begin(Round(round), Round(0), Instant(10 * round));
        }
        assert_eq!(rounds.sent_at(Round(0)), None);
        assert_eq!(rounds.sent_at(Round(2)), Some(Instant(20)));
        rounds.begin(Round(4), Round(2), Instant(40));
        assert_eq!((rounds.sent_at(Round(1)), rounds.sent_at(Round(2))), (None, Some(Instant(20))));
        assert_eq!(rounds.sent_at(Round(u64::MAX)), Some(Instant(40)));
    }

    #[test]
    fn of_many_rounds_that_nobody_acknowledges_the_first_and_the_last_are_remembered() {
        let mut rounds = Rounds::default();
        for round in 1..=1000 {
            rounds.begin(Round(round), Round(1), Instant(10 * round));
        }
        assert_eq!(rounds.0.len(), ROUNDS_MAX);
        assert_eq!(rounds.sent_at(Round(500)), Some(Instant(10)), "less is said than is known, not more");
        assert_eq!(rounds.sent_at(Round(1000)), Some(Instant(10_000)));
    }
}

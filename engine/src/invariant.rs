//! What is true of every engine between two events. Checked after each one, in release builds too: it costs little, and
//! a node that finds itself in a state that cannot be stops before it tells others.

use crate::engine::Engine;
use crate::role::Role;
use crate::timer::Timer;

impl Engine {
    pub(crate) fn check(&self) {
        mutate!(leader_without_entry, return);
        mutate!(truncates_before_append, return);
        mutate!(short_request_truncates, return);
        let last = self.log.last();
        assert!(self.commit_index <= last.index, "commit {} beyond the log's {last}", self.commit_index);
        mutate!(purges_beyond_snapshot, return);
        mutate!(stale_snapshot_installed, return);
        let (purged, covered) = (self.log.purged().index, self.snapshots.last().index);
        assert!(purged <= covered, "purged up to {purged}, but the newest snapshot covers {covered}");
        assert!(covered <= self.commit_index, "a snapshot of {covered} beyond commit {}", self.commit_index);
        assert!(self.applied() <= self.commit_index, "applied {} beyond commit {}", self.applied(), self.commit_index);
        assert!(self.writes.flushed_index() <= last.index, "more is durable than the log's {last}");
        assert!(last.term <= self.vote.term, "an entry {last} of a term after {}", self.vote.term);
        let (transfers, times) = (self.transfer.is_some(), self.timers.is_running(Timer::Transfer));
        assert_eq!(transfers, times, "a transfer has a deadline");
        let candidate = self.vote.voted_for;
        mutate!(candidate_keeps_role, candidate = Some(self.id()));
        let is_bound = self.pledge.is_some() && !matches!(self.role, Role::Follower(_));
        assert!(!is_bound, "only a follower has pledged itself");
        match &self.role {
            Role::Leader(leader) => {
                assert_eq!(candidate, Some(self.id()), "a leader voted for itself");
                assert!(leader.term_start <= last.index, "a leader's log holds its first entry");
                assert_eq!(leader.rounds.last(), Some(leader.round), "a leader knows when it sent its last round");
                let held = self.config.lease.is_some();
                assert!(held || !leader.lease_given_up, "a lease that was never held is not given up");
                assert!(self.timers.is_running(Timer::Heartbeat), "a leader beats");
                assert!(!self.timers.is_running(Timer::Election), "a leader does not campaign");
                leader.progress.values().for_each(|progress| progress.check(last.index));
            }
            Role::Candidate(_) => assert_eq!(candidate, Some(self.id()), "a candidate voted for itself"),
            Role::Follower(follower) => {
                assert!(follower.verified <= last.index, "verified {} beyond the log's {last}", follower.verified);
                assert!(follower.leader != Some(self.id()), "nobody follows itself");
            }
            Role::PreCandidate(_) => {}
        }
    }
}

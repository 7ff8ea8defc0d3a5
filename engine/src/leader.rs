//! A leader: how its term begins and ends, how it takes entries in, and when they are committed (Raft paper, sections 5.3
//! and 5.4.2; thesis, sections 6.2 and 10.2.1).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::command::Command;
use crate::compare::Comparison;
use crate::engine::Engine;
use crate::entry::{Batch, Payload};
use crate::lease::Rounds;
use crate::message::Heartbeat;
use crate::progress::Progress;
use crate::quorum::VoteResult;
use crate::refusal::Refusal;
use crate::role::{Follower, InHand, Leader, Role, Succession};
use crate::timer::Timer;
use crate::transfer::Transfer;
use crate::types::{Instant, LogId, LogIndex, NodeId, Round};
use crate::version::Version;

impl Engine {
    pub(crate) fn become_leader(&mut self, now: Instant) {
        let Role::Candidate(campaign) = &mut self.role else { panic!("only a candidate becomes leader") };
        let token = campaign.token.take();
        assert_eq!(self.vote.voted_for, Some(self.id()), "a leader has its own vote");
        let last = self.log.last().index;
        let targets: Vec<_> = self.others().keys().map(|node| (*node, self.next_epoch())).collect();
        let progress = targets.iter().map(|(node, epoch)| (*node, Progress::new(*epoch, last, now))).collect();
        self.role = Role::Leader(Box::new(Leader {
            term_start: last.next(),
            progress,
            round: Round(0),
            rounds: Rounds::default(),
            lease_given_up: false,
            reads: VecDeque::new(),
            confirmed: VecDeque::new(),
            in_hand: InHand::default(),
            change: None,
            next_change: None,
            unbound_since: now,
            comparison: Comparison::new(now),
        }));
        self.writes.disk_seen(now);
        self.timers.stop(Timer::Election);
        self.end_transfer(self.id());
        self.awaits_heir = false;
        self.know_leadership();
        self.answer_elected(token);
        self.push(Command::RebuildReplicationStreams { targets });
        self.broadcast_heartbeat(now);
        if self.config.check_quorum {
            self.timers.set(Timer::CheckQuorum, now + self.config.election_timeout_max);
        }
        mutate!(leader_without_entry, return);
        // An entry of its own term commits what the terms before left (sections 5.4.2 and 8).
        self.append_own(Arc::new([Payload::blank()]), now);
        // A single voter whose log is durable needs nobody else.
        self.advance_commit();
    }

    /// Stamps entries and appends them; the first one's id comes back.
    pub(crate) fn append_own(&mut self, entries: Arc<[Payload]>, now: Instant) -> LogId {
        let known = |entry: &Payload| entry.body.since() == Version::FIRST || self.is_in_use(entry.body.since());
        assert!(entries.iter().all(known), "an entry of a kind that not all members know");
        let first = LogId { term: self.vote.term, index: self.log.last().index.next() };
        let batch = Batch::new(first, self.log_time(now), entries);
        if let Role::Leader(leader) = &mut self.role {
            leader.in_hand.add(batch.last().index, batch.len(), batch.bytes());
        }
        self.append(vec![batch], now);
        first
    }

    /// Takes a proposal in, or says why not.
    pub(crate) fn take_in(&mut self, entries: Arc<[Payload]>, now: Instant) -> Result<LogId, Refusal> {
        assert!(!entries.is_empty(), "a proposal has at least one entry");
        let limits = &self.config.limits;
        let Role::Leader(leader) = &self.role else { return Err(Refusal::NotLeader) };
        let heir = self.transferring_to();
        mutate!(takes_in_while_transferring, heir = None);
        if let Some(to) = heir {
            return Err(Refusal::Transferring { to });
        }
        let (mut bytes, mut largest) = (0, 0);
        for entry in entries.iter() {
            bytes += entry.bytes();
            largest = largest.max(entry.bytes() - Payload::OVERHEAD_BYTES);
        }
        mutate!(takes_in_any_size, largest = 0);
        if largest > limits.entry_bytes_max {
            return Err(Refusal::EntryTooLarge { bytes: largest, limit: limits.entry_bytes_max });
        }
        let in_hand = &leader.in_hand;
        let checks = [
            (in_hand.entries(), entries.len(), limits.uncommitted_entries_max),
            (in_hand.bytes(), bytes, limits.uncommitted_bytes_max),
            (self.writes.unflushed_bytes(), bytes, limits.unflushed_bytes_max),
        ];
        mutate!(takes_in_any_count, checks = [checks[1], checks[1], checks[2]]);
        mutate!(takes_in_any_bytes, checks = [checks[0], checks[0], checks[2]]);
        mutate!(takes_in_what_disks_do_not, checks = [checks[0], checks[1], checks[1]]);
        for (current, more, limit) in checks {
            // What is larger than the limit by itself passes alone: no limit may refuse it for ever.
            if current > 0 && current + more > limit {
                return Err(Refusal::Overloaded { current, limit });
            }
        }
        Ok(self.append_own(entries, now))
    }

    /// What a quorum holds durably is committed, if it is of this term (section 5.4.2); all before it is too.
    pub(crate) fn advance_commit(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        if self.commit_index == self.log.last().index {
            // Whoever holds how much: there is no more to commit.
            return;
        }
        let own = self.id();
        let matched = |node: NodeId| {
            mutate!(removed_leader_counts_itself
                if !self.membership().is_voter(own) && self.membership().voters().iter().next() == Some(&node),
                return self.writes.flushed_index());
            if node == own {
                mutate!(counts_unflushed, return self.log.last().index);
                self.writes.flushed_index()
            } else {
                leader.progress.get(&node).map_or(LogIndex::ZERO, Progress::match_index)
            }
        };
        let held = self.membership().quorum().committed_index(matched).min(self.log.last().index);
        mutate!(
            learners_count_as_voters,
            held = crate::Majority(&self.membership().nodes().keys().copied().collect()).committed_index(matched)
        );
        mutate!(joint_entry_commits_by_new_voters if self.membership().is_joint(), {
            let by_new = crate::Majority(self.membership().voters()).committed_index(matched);
            return self.set_commit(held.max(by_new.min(self.membership_id().index)).max(self.commit_index));
        });
        mutate!(own_removal_commits_alone if !self.membership().is_voter(own) && self.membership().goal().is_none(),
            return self.set_commit(self.writes.flushed_index().min(self.membership_id().index).max(self.commit_index)));
        mutate!(commits_older_term, return self.set_commit(held.max(self.commit_index)));
        if held > self.commit_index && self.log.term_at(held) == Some(self.vote.term) {
            assert!(held >= leader.term_start, "{held} is of this term, which begins at {}", leader.term_start);
            self.set_commit(held);
        }
    }

    pub(crate) fn handle_heartbeat_timeout(&mut self, now: Instant) {
        self.broadcast_heartbeat(now);
    }

    /// Begins the next round of heartbeats.
    pub(crate) fn broadcast_heartbeat(&mut self, now: Instant) {
        let (term, commit, pledge) = (self.vote.term, self.commit_index, self.wanted_pledge());
        let Role::Leader(leader) = &self.role else { return };
        let acknowledged = self.acknowledged(leader);
        let Role::Leader(leader) = &mut self.role else { return };
        leader.round = leader.round.next();
        leader.rounds.begin(leader.round, acknowledged, now);
        let heartbeat = Heartbeat { term, round: leader.round, commit, pledge };
        let targets: Vec<_> = leader.progress.keys().copied().collect();
        self.timers.set(Timer::Heartbeat, now + self.config.heartbeat_interval);
        self.transfer.iter_mut().for_each(Transfer::ask_again);
        if !targets.is_empty() {
            self.push(Command::BroadcastHeartbeat { targets, heartbeat });
        }
        self.compare_states(now);
    }

    /// A leader that a quorum has not answered for a whole election timeout steps down: it can commit nothing, and its
    /// clients should look elsewhere (thesis, section 6.2). So does one whose disk has not finished a write for as long.
    pub(crate) fn handle_check_quorum(&mut self, now: Instant) {
        let disk_works = self.disk_works(now);
        mutate!(hung_disk_keeps_leading, disk_works = true);
        let Role::Leader(leader) = &self.role else { return };
        let own = self.id();
        let patience = self.config.election_timeout_max;
        mutate!(check_quorum_patient, patience = patience * 2);
        mutate!(check_quorum_impatient, patience = patience / 2);
        let heard = |node: NodeId| {
            let lately = |progress: &Progress| now.since(progress.heard_at()) < patience;
            mutate!(check_quorum_by_one, return Some(leader.progress.values().any(lately)));
            Some(node == own || leader.progress.get(&node).is_some_and(lately))
        };
        let result = self.membership().quorum().vote_result(heard);
        mutate!(joint_office_by_new_voters, result = self.membership().quorum().incoming.vote_result(heard));
        if disk_works && result == VoteResult::Won {
            // Look again well before another whole timeout, so that silence is noticed soon after it is long enough.
            self.timers.set(Timer::CheckQuorum, now + self.config.heartbeat_interval);
        } else {
            mutate!(
                check_quorum_never_steps_down,
                return self.timers.set(Timer::CheckQuorum, now + self.config.heartbeat_interval)
            );
            self.step_down(now);
        }
    }

    pub(crate) fn step_down(&mut self, now: Instant) {
        self.leave_role(Succession::Abrupt);
        self.role = Role::Follower(Follower::default());
        self.arm_election(now);
    }
}

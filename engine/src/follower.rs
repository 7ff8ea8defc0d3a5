//! A follower: what it does at its leader's word (Raft paper, section 5.3 and figure 2).

use crate::command::Command;
use crate::engine::{Engine, Handled};
use crate::entry::Batch;
use crate::message::{AppendEntries, AppendEntriesReply, AppendOutcome, Heartbeat, HeartbeatReply, Message};
use crate::refusal::Inconsistency;
use crate::role::Role;
use crate::types::{Instant, LogId, LogIndex, NodeId, Term};
use crate::writes::Promise;

impl Engine {
    /// Appends what is new, drops what conflicts, and acknowledges once it is durable.
    pub(crate) fn handle_append_entries(&mut self, from: NodeId, request: AppendEntries, now: Instant) -> Handled {
        let AppendEntries { term, epoch, request, prev, batches, commit } = request;
        let reply = |outcome| Message::AppendEntriesReply(AppendEntriesReply { term, epoch, request, outcome });
        mutate!(old_leader_heard, term = self.vote.term);
        if term < self.vote.term {
            let stale = AppendEntriesReply { term: self.vote.term, epoch, request, outcome: AppendOutcome::Stale };
            self.answer_after_vote(from, Message::AppendEntriesReply(stale), now);
            return Ok(());
        }
        check_contiguous(prev, &batches, term)?;
        self.hear_leader(from, now)?;
        // Also where its entries do not fit yet: what comes late behind it is no news.
        self.note_told(commit);
        let (prev, batches) = self.without_purged(prev, batches)?;
        mutate!(no_prev_check, prev = self.log.id_at(prev.index).unwrap_or(prev));
        if !self.log.has(prev) {
            if prev.index <= self.commit_index {
                return Err(self.committed_conflict(prev));
            }
            let hint = self.log.last_not_beyond(prev);
            self.answer_after_vote(from, reply(AppendOutcome::Conflict { hint }), now);
            return Ok(());
        }
        let unflushed = self.writes.unflushed_bytes();
        mutate!(follower_appends_without_limit, unflushed = 0);
        if unflushed > self.config.limits.unflushed_bytes_max {
            return Ok(()); // Counts as lost: the leader sends it again when the disk has caught up.
        }
        let end = batches.last().map_or(prev, Batch::last).index;
        mutate!(truncates_before_append, self.truncate(prev.index.max(self.commit_index)));
        mutate!(short_request_truncates if end < self.log.last().index, self.truncate(end.max(self.commit_index)));
        if !self.append_new(batches, commit, now)? {
            return Ok(());
        }
        self.verify(end, commit);
        self.note_freshness(commit, now);
        mutate!(acknowledges_unverified, end = self.log.last().index);
        let write = self.writes.of_entries(end);
        let message = reply(AppendOutcome::Matched(end));
        mutate!(acknowledges_unflushed, self.send(from, message); return Ok(()));
        self.push_after(write, Promise::Command(Command::SendMessage { target: from, message }), now);
        Ok(())
    }

    /// The part of a late request that reaches beyond what was purged. All that was purged is committed, so the leader's log
    /// has the same; only its last entry can be compared.
    fn without_purged(&self, prev: LogId, batches: Vec<Batch>) -> Result<(LogId, Vec<Batch>), Inconsistency> {
        let purged = self.log.purged();
        if prev.index >= purged.index {
            return Ok((prev, batches));
        }
        mutate!(late_request_before_purged_refused, return Err(self.committed_conflict(prev)));
        let meets = batches.iter().find(|batch| batch.last().index >= purged.index);
        match meets {
            Some(batch) if batch.term() != purged.term => {
                Err(self.committed_conflict(LogId { term: batch.term(), index: purged.index }))
            }
            _ => Ok((purged, batches.iter().filter_map(|batch| batch.after(purged.index)).collect())),
        }
    }

    /// Skips the prefix that is there already; truncates only where an entry really differs, never because entries are
    /// absent from a request (a late, shorter request must not undo a longer one). Answers whether this build knows what is new; if
    /// not, it has halted.
    fn append_new(&mut self, batches: Vec<Batch>, commit: LogIndex, now: Instant) -> Result<bool, Inconsistency> {
        let difference = batches.iter().find_map(|batch| self.log.first_difference(batch.first(), batch.last()));
        let Some(difference) = difference else { return Ok(true) };
        let keep = difference.previous();
        mutate!(conflict_not_truncated if difference <= self.log.last().index, return Ok(true));
        let new = if batches.first().is_some_and(|batch| batch.first().index == difference) {
            batches
        } else {
            batches.iter().filter_map(|batch| batch.after(keep)).collect()
        };
        let is_conflict = difference <= self.log.last().index;
        if is_conflict {
            let differs = new.first().map_or(Term(0), Batch::term);
            let proposed = LogId { term: differs, index: difference };
            if difference <= self.commit_index {
                return Err(self.committed_conflict(proposed));
            }
            if difference <= self.verified() {
                let held = self.log.id_at(difference).unwrap_or(LogId::ZERO);
                return Err(Inconsistency::Rewritten { held, proposed });
            }
        }
        if !self.understands(keep, &new, commit)? {
            return Ok(false);
        }
        if is_conflict {
            self.truncate(keep);
        }
        self.append(new, now);
        Ok(true)
    }

    pub(crate) fn truncate(&mut self, after: LogIndex) {
        assert!(after >= self.commit_index, "committed entries stay: {after} < {}", self.commit_index);
        let after = self.log.id_at(after).expect("truncation leaves an entry of the log, or none");
        self.log.truncate(after);
        self.memberships.truncate(after);
        let write = self.writes.accept_truncation(after.index);
        self.push(Command::TruncateLog { write, after });
    }

    /// The log is known to be the leader's up to `end`; of what the leader has committed, that much is committed here.
    pub(crate) fn verify(&mut self, end: LogIndex, commit: LogIndex) {
        if let Role::Follower(follower) = &mut self.role {
            follower.verified = follower.verified.max(end);
        }
        mutate!(
            commit_beyond_verified,
            return self.set_commit(commit.min(self.log.last().index).max(self.commit_index))
        );
        let commit = commit.min(self.verified());
        if commit > self.commit_index {
            self.set_commit(commit);
        }
    }

    /// A heartbeat needs no disk: it says that the leader lives, and carries what is committed.
    pub(crate) fn handle_heartbeat(&mut self, from: NodeId, request: Heartbeat, now: Instant) -> Handled {
        if request.term == self.vote.term {
            self.hear_leader(from, now)?;
            self.pledge(request.pledge, now);
            mutate!(heartbeat_verifies, self.verify(request.commit.min(self.log.last().index), request.commit));
            self.verify(LogIndex::ZERO, request.commit);
            self.note_freshness(request.commit, now);
        }
        // A leader whose term is over learns it from the reply's.
        let received = if request.term == self.vote.term { self.verified() } else { LogIndex::ZERO };
        let matched = received.min(self.writes.flushed_index());
        mutate!(heartbeat_acknowledges_unflushed, matched = received);
        let reply =
            HeartbeatReply { term: self.vote.term, asked: request.term, round: request.round, received, matched };
        mutate!(heartbeat_answered_before_term, self.send(from, Message::HeartbeatReply(reply)); return Ok(()));
        self.answer_after_vote(from, Message::HeartbeatReply(reply), now);
        Ok(())
    }

    pub(crate) fn handle_committed(&mut self, from: NodeId, term: Term, commit: LogIndex, now: Instant) -> Handled {
        if term == self.vote.term {
            self.hear_leader(from, now)?;
            self.verify(LogIndex::ZERO, commit);
            self.note_freshness(commit, now);
        }
        Ok(())
    }

    fn committed_conflict(&self, proposed: LogId) -> Inconsistency {
        let committed = self.log.id_at(proposed.index.min(self.commit_index)).unwrap_or(LogId::ZERO);
        Inconsistency::CommittedConflict { committed, proposed }
    }
}

/// Entries must follow `prev` without a hole, terms must not go back, and none is of a later term than its leader's.
fn check_contiguous(prev: LogId, batches: &[Batch], term: Term) -> Handled {
    if prev.term > term {
        return Err(Inconsistency::Entries { prev, found: LogId { term, index: prev.index.next() } });
    }
    let mut before = prev;
    for batch in batches {
        let first = batch.first();
        let follows = first.index == before.index.next() && first.term >= before.term && first.term <= term;
        if !follows {
            return Err(Inconsistency::Entries { prev: before, found: first });
        }
        before = batch.last();
    }
    Ok(())
}

//! A leader's replication: what to send to whom, and what the answers say (Raft paper, section 5.3; thesis, section 10.2.1).

use crate::command::Command;
use crate::engine::{Engine, Handled};
use crate::message::{AppendEntriesReply, AppendOutcome, HeartbeatReply};
use crate::progress::Progress;
use crate::refusal::Inconsistency;
use crate::role::{Leader, Role};
use crate::types::{Epoch, Instant, LogIndex, NodeId, RequestId};

impl Engine {
    /// Sends to every follower what it lacks, as far as its window goes. Runs after every event.
    pub(crate) fn replicate(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let (limits, term, commit, last) = (&self.config.limits, self.vote.term, self.commit_index, self.log.last());
        let mut lacking = Vec::new();
        for (&target, progress) in leader.progress.iter_mut() {
            if progress.wants(last.index) && progress.has_room(limits) {
                let prev = self.log.id_at(progress.next_index().previous());
                mutate!(purged_entries_skipped, prev = prev.or(Some(self.log.purged())));
                let Some(prev) = prev else {
                    lacking.push(target);
                    continue;
                };
                self.next_id += 1;
                let (epoch, request, bytes_max) = (progress.epoch(), RequestId(self.next_id), limits.append_bytes_max);
                mutate!(requests_of_any_size, bytes_max = usize::MAX);
                progress.issue(request, commit);
                let replicate = Command::Replicate { target, epoch, request, term, prev, last, commit, bytes_max };
                self.commands.push_back(replicate);
            } else if let Some(commit) = progress.commit_to_send(commit) {
                self.commands.push_back(Command::ReplicateCommitted { target, term, commit });
            }
        }
        lacking.into_iter().for_each(|target| self.bring_snapshot(target));
    }

    pub(crate) fn handle_sent(
        &mut self,
        target: NodeId,
        epoch: Epoch,
        request: RequestId,
        last: LogIndex,
        bytes: usize,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let round = leader.round;
        if let Some(progress) = stream(leader, target, epoch) {
            progress.sent(request, last, bytes, round);
        }
    }

    pub(crate) fn handle_replicate_gone(&mut self, target: NodeId, epoch: Epoch, request: RequestId) {
        let Role::Leader(leader) = &mut self.role else { return self.lent(target, epoch, request) };
        if let Some(progress) = stream(leader, target, epoch) {
            progress.gone(request);
        }
    }

    pub(crate) fn handle_append_entries_reply(
        &mut self,
        from: NodeId,
        reply: AppendEntriesReply,
        now: Instant,
    ) -> Handled {
        mutate!(stale_epoch_counts, reply = AppendEntriesReply { term: self.vote.term, ..reply });
        if reply.term < self.vote.term {
            return Ok(());
        }
        let last = self.log.last().index;
        let Role::Leader(leader) = &mut self.role else { return Ok(()) };
        let Some(progress) = stream(leader, from, reply.epoch) else { return Ok(()) };
        progress.hear(now);
        match reply.outcome {
            AppendOutcome::Matched(matched) if matched > last => {
                return Err(Inconsistency::BeyondLog { matched, last });
            }
            AppendOutcome::Matched(matched) => {
                progress.matched(matched);
                self.advance_commit();
            }
            AppendOutcome::Conflict { hint } => {
                // The hint is where the follower's log can agree with ours; where ours can agree with that, they may.
                let agree = self.log.last_not_beyond(hint);
                mutate!(hint_counts_as_match, progress.matched(agree.index));
                mutate!(conflict_ignored, return Ok(()));
                if progress.conflicted(reply.request, agree.index) {
                    let acknowledged = progress.match_index();
                    return Err(Inconsistency::Forgotten { acknowledged, holds: hint.index });
                }
            }
            // The term that made it stale is in the reply and was adopted: this node leads no more.
            AppendOutcome::Stale => {}
        }
        Ok(())
    }

    pub(crate) fn handle_heartbeat_reply(&mut self, from: NodeId, reply: HeartbeatReply, now: Instant) -> Handled {
        mutate!(old_heartbeat_reply_counts, reply = HeartbeatReply { asked: self.vote.term, ..reply });
        if reply.asked != self.vote.term {
            return Ok(());
        }
        let last = self.log.last().index;
        let Role::Leader(leader) = &mut self.role else { return Ok(()) };
        let Some(progress) = leader.progress.at_mut(&from) else { return Ok(()) };
        if reply.received > last || reply.matched > reply.received || reply.round > leader.round {
            return Err(Inconsistency::BeyondLog { matched: reply.received.max(reply.matched), last });
        }
        if !progress.answers_since(reply.round) {
            return Ok(());
        }
        mutate!(reply_of_who_lags_deposes if reply.received < self.commit_index, {
            self.step_down(now);
            return Ok(());
        });
        progress.hear(now);
        if reply.matched > progress.match_index() {
            progress.matched(reply.matched);
        }
        progress.heartbeat_answered(reply.round, reply.received);
        mutate!(lease_counts_from_reply, leader.rounds.counts_from(reply.round, now));
        self.advance_commit();
        self.confirm_reads(now);
        Ok(())
    }
}

/// The follower's progress, if the answer belongs to the stream that leads to it now.
pub(crate) fn stream(leader: &mut Leader, target: NodeId, epoch: Epoch) -> Option<&mut Progress> {
    mutate!(stale_epoch_counts, return leader.progress.at_mut(&target));
    leader.progress.at_mut(&target).filter(|progress| progress.epoch() == epoch)
}

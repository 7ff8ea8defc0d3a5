//! Which steps are possible, for a search: within bounds, all of them.

use super::configuration::Value;
use super::server::{Role, Write};
use super::{Action, NotEnabled, ReadId, System};
use crate::log::{LogIndex, Term};
use crate::server_set::ServerId;

/// How far a search goes. What leads beyond is not enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// No term is later.
    pub term_max: usize,
    /// No log is longer.
    pub log_max: usize,
    /// No batch of a client is larger.
    pub batch_max: usize,
    /// So many reads are asked for.
    pub reads: ReadId,
    /// Whether leaders confirm reads by lease, at any moment at which clocks would have to allow it.
    pub leases: bool,
    /// Whether servers crash.
    pub restarts: bool,
    /// Whether servers install snapshots.
    pub snapshots: bool,
    /// Whether what only adds to what a server may do happens at once: its writes are durable, and what it hears of votes and
    /// acknowledgements is counted. Without crashes no state is missed by it that could contradict an invariant, since nothing
    /// that may be said, decided or committed has to be.
    pub is_instant: bool,
}

impl<V: Value> System<V> {
    /// Every step that is possible within `bounds` and changes something, clients asking for `value`, and operators for
    /// `configurations`. That leaders forget what they know is left out: they can do nothing by it that they cannot without.
    #[must_use]
    pub fn enabled(&self, value: &V, configurations: &[V], bounds: &Bounds) -> Vec<Action<V>> {
        let mut candidates = Vec::new();
        for i in self.servers.ids() {
            self.own_steps(i, value, bounds, &mut candidates);
            let changes = configurations.iter().cloned();
            candidates.extend(changes.map(|value| Action::ChangeConfiguration(i, value)));
            for j in self.servers.ids() {
                self.steps_between(i, j, &mut candidates);
            }
            if bounds.snapshots {
                let of_leader = |((term, _), told): (&(Term, ServerId), &LogIndex)| (*term, *told);
                let told = self.said.told.iter().map(of_leader);
                let covered = told.flat_map(|(term, told)| (1..=told.0).map(move |last| (term, LogIndex(last))));
                candidates.extend(covered.map(|(term, last)| Action::InstallSnapshot { server: i, term, last }));
            }
        }
        candidates.extend((1..=bounds.reads).map(Action::AskRead));
        candidates.retain(|action| {
            let mut next = self.clone();
            next.take(action, bounds).is_ok() && next != *self && next.is_within(bounds)
        });
        candidates
    }

    /// Takes a step of a search.
    ///
    /// # Errors
    /// As [`System::apply`].
    pub fn take(&mut self, action: &Action<V>, bounds: &Bounds) -> Result<(), NotEnabled> {
        self.apply(action)?;
        if bounds.is_instant { self.hurry() } else { Ok(()) }
    }

    /// Takes all steps that only add to what a server may do.
    fn hurry(&mut self) -> Result<(), NotEnabled> {
        let ids: Vec<_> = self.servers.ids().collect();
        for i in &ids {
            let count = self.servers.at(*i).map_or(0, |server| server.pending.len());
            self.apply(&Action::Flush(*i, count))?;
        }
        for (i, j) in ids.iter().flat_map(|i| ids.iter().map(|j| (*i, *j))) {
            let Some(server) = self.servers.at(i) else { continue };
            let term = server.current_term;
            let acknowledged = self.said.acknowledged.get(&(term, j)).copied();
            match (server.role, acknowledged) {
                (Role::Candidate, _) if self.said.granted.contains(&(term, j, i)) => {
                    self.apply(&Action::CountVote(i, j))?;
                }
                (Role::Leader, Some(index)) => self.apply(&Action::HandleAcknowledgement(i, j, index))?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a state is within bounds.
    #[must_use]
    pub fn is_within(&self, bounds: &Bounds) -> bool {
        let round_max = usize::try_from(bounds.reads).unwrap_or(usize::MAX);
        self.servers.iter().all(|(_, server)| {
            server.current_term <= Term(bounds.term_max) && server.log.len() <= LogIndex(bounds.log_max)
        }) && self.said.begun.values().all(|round| *round <= round_max)
    }

    /// What a server may do by itself.
    fn own_steps(&self, i: ServerId, value: &V, bounds: &Bounds, steps: &mut Vec<Action<V>>) {
        let Some(server) = self.servers.at(i) else { return };
        steps.push(Action::Initialize(i, value.clone()));
        if bounds.restarts {
            for kept in 0..=server.pending.len() {
                // Votes that wait behind nothing else overtake nothing: to keep them is to keep more.
                let behind = server.pending.iter().skip(kept);
                let is_vote = |write: &&Write<V>| matches!(write, Write::Vote(..));
                let (all, first) = (behind.clone().filter(is_vote).count(), behind.take_while(is_vote).count());
                for commit in [LogIndex::ZERO, server.commit_index] {
                    for votes in [0].into_iter().chain(first + 1..=all) {
                        steps.push(Action::Restart { server: i, kept, votes, commit });
                    }
                }
            }
        }
        // Any number of writes is so many times one.
        steps.push(Action::Flush(i, 1));
        steps.extend((server.current_term.0 + 1..=bounds.term_max).map(|term| Action::UpdateTerm(i, Term(term))));
        steps.extend([Action::StepDown(i), Action::Timeout(i), Action::BecomeLeader(i), Action::BeginRound(i)]);
        if server.role == Role::Leader {
            let sizes = 1..=bounds.batch_max;
            steps.extend(sizes.map(|size| Action::ClientRequest(i, vec![value.clone(); size])));
            let commits = server.commit_index.0 + 1..=server.log.len().0;
            steps.extend(commits.map(|index| Action::AdvanceCommitIndex(i, LogIndex(index))));
        }
        for read in 1..=bounds.reads {
            steps.extend([Action::BeginRead(i, read), Action::ConfirmRead(i, read), Action::ServeRead(i, read)]);
            steps.extend(bounds.leases.then_some(Action::ConfirmReadByLease(i, read)));
        }
    }

    /// What the first server may do because of what the second has said.
    fn steps_between(&self, i: ServerId, j: ServerId, steps: &mut Vec<Action<V>>) {
        let Some(server) = self.servers.at(i) else { return };
        let term = server.current_term;
        steps.extend([Action::GrantVote(i, j), Action::CountVote(i, j)]);
        if let Some(led) = self.said.led.get(&(term, j)) {
            for prev in 0..=led.len().0.min(server.log.len().0) {
                steps.extend((prev..=led.len().0).map(|last| Action::HandleAppendEntries {
                    server: i,
                    leader: j,
                    prev: LogIndex(prev),
                    last: LogIndex(last),
                }));
            }
            let commits = server.commit_index.0 + 1..=server.verified.0;
            steps.extend(commits.map(|index| Action::HandleCommit(i, j, LogIndex(index))));
            let rounds = self.said.begun.get(&(term, j)).copied().unwrap_or_default();
            steps.extend((1..=rounds).map(|round| Action::AnswerRound(i, j, round)));
        }
        // A smaller acknowledgement can bring about nothing that the largest cannot after it.
        let acknowledged = self.said.acknowledged.get(&(term, j));
        steps.extend(acknowledged.map(|index| Action::HandleAcknowledgement(i, j, *index)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::super::sample::{S1, S2, S3, X, after, alone, append, committed, elected, joint};
    use super::*;

    const BOUNDS: Bounds = Bounds {
        term_max: 2,
        log_max: 2,
        batch_max: 2,
        reads: 1,
        leases: true,
        restarts: true,
        snapshots: true,
        is_instant: false,
    };

    /// The steps of this name that are possible, as they print.
    fn steps(system: &System<Command>, bounds: &Bounds, name: &str) -> Vec<String> {
        let steps = system.enabled(&X, &[joint(&[1, 2])], bounds);
        steps.iter().filter(|step| step.name() == name).map(ToString::to_string).collect()
    }

    #[test]
    fn a_leader_does_all_that_it_may() {
        let appends = Action::ClientRequest(S1, vec![X, X]);
        let flushed = after(&alone(), [appends, Action::Flush(S1, 2)]);
        let commits = ["AdvanceCommitIndex(s1, index 1)", "AdvanceCommitIndex(s1, index 2)"];
        assert_eq!(steps(&flushed, &BOUNDS, "AdvanceCommitIndex"), commits);
        let batches = ["ClientRequest(s1, [1])", "ClientRequest(s1, [1, 1])"];
        assert_eq!(steps(&alone(), &BOUNDS, "ClientRequest"), batches);
        let changes = ["ChangeConfiguration(s1, {s1, s2} and {s1, s2, s3})"];
        assert_eq!(steps(&committed(), &BOUNDS, "ChangeConfiguration"), changes);
        assert_eq!(steps(&elected(), &BOUNDS, "ChangeConfiguration"), [""; 0], "nothing of its own is committed");
    }

    #[test]
    fn a_follower_takes_any_part_of_what_its_leader_has_said() {
        let system = after(&committed(), [append(S3, 0, 1)]);
        let commits = ["HandleCommit(s2, s1, index 1)", "HandleCommit(s3, s1, index 1)"];
        assert_eq!(steps(&system, &BOUNDS, "HandleCommit"), commits);
        let taken = ["HandleAppendEntries(s3, from s1, behind 0 up to 1)"];
        assert_eq!(steps(&committed(), &BOUNDS, "HandleAppendEntries"), taken, "for s2 nothing would change");
        let rounds = after(&system, [Action::BeginRound(S1), Action::BeginRound(S1), Action::AnswerRound(S2, S1, 1)]);
        let answers = ["AnswerRound(s2, s1, round 2)", "AnswerRound(s3, s1, round 1)", "AnswerRound(s3, s1, round 2)"];
        assert_eq!(steps(&rounds, &Bounds { reads: 2, ..BOUNDS }, "AnswerRound"), answers);
        let snapshots =
            ["InstallSnapshot(s2, committed in term 1 up to 1)", "InstallSnapshot(s3, committed in term 1 up to 1)"];
        assert_eq!(steps(&committed(), &BOUNDS, "InstallSnapshot"), snapshots);
        assert_eq!(steps(&committed(), &Bounds { snapshots: false, ..BOUNDS }, "InstallSnapshot"), [""; 0]);
    }

    #[test]
    fn a_crash_keeps_any_beginning_and_votes_behind_it_that_overtake_something() {
        // Behind the vote of term 1 an entry, and behind that the vote of term 2.
        let waits = [append(S3, 0, 1), Action::HandleCommit(S3, S1, LogIndex(1)), Action::Timeout(S3)];
        let system = after(&committed(), waits);
        let all = steps(&system, &BOUNDS, "Restart");
        let of_s3: Vec<&str> = all.iter().filter_map(|step| step.strip_prefix("Restart(s3, ")).collect();
        let expected = [
            "0 writes survive, commit 0)",
            "0 writes and 2 later votes survive, commit 0)",
            "1 writes survive, commit 0)",
            "1 writes and 1 later votes survive, commit 0)",
            "2 writes survive, commit 0)",
            "2 writes survive, commit 1)",
            "3 writes survive, commit 0)",
            "3 writes survive, commit 1)",
        ];
        assert_eq!(of_s3, expected);
        assert_eq!(steps(&system, &Bounds { restarts: false, ..BOUNDS }, "Restart"), [""; 0]);
    }

    #[test]
    fn no_step_leads_out_of_the_bounds() {
        let campaigns = ["Timeout(s2)", "Timeout(s3)"];
        assert_eq!(steps(&elected(), &BOUNDS, "Timeout"), campaigns);
        let one_term = Bounds { term_max: 1, ..BOUNDS };
        assert_eq!(steps(&elected(), &one_term, "Timeout"), [""; 0]);
        let short = Bounds { log_max: 1, ..BOUNDS };
        assert_eq!(steps(&elected(), &short, "ClientRequest"), ["ClientRequest(s1, [1])"]);
        let begun = after(&elected(), [Action::BeginRound(S1)]);
        assert_eq!(steps(&elected(), &BOUNDS, "BeginRound"), ["BeginRound(s1)"]);
        assert_eq!(steps(&begun, &BOUNDS, "BeginRound"), [""; 0], "one for each read is enough");
        assert!(begun.is_within(&BOUNDS) && !begun.is_within(&Bounds { reads: 0, ..BOUNDS }));
    }

    #[test]
    fn a_read_goes_its_way_step_by_step() {
        assert_eq!(steps(&committed(), &BOUNDS, "AskRead"), ["AskRead(read 1)"]);
        let asked = after(&committed(), [Action::AskRead(1)]);
        assert_eq!(steps(&asked, &BOUNDS, "AskRead"), [""; 0]);
        assert_eq!(steps(&asked, &BOUNDS, "BeginRead"), ["BeginRead(s1, read 1)"]);
        let answers = [Action::BeginRead(S1, 1), Action::BeginRound(S1), Action::AnswerRound(S2, S1, 1)];
        let answered = after(&asked, answers);
        assert_eq!(steps(&answered, &BOUNDS, "ConfirmRead"), ["ConfirmRead(s1, read 1)"]);
        assert_eq!(steps(&answered, &BOUNDS, "ConfirmReadByLease"), ["ConfirmReadByLease(s1, read 1)"]);
        assert_eq!(steps(&answered, &Bounds { leases: false, ..BOUNDS }, "ConfirmReadByLease"), [""; 0]);
        let confirmed = after(&answered, [Action::ConfirmRead(S1, 1)]);
        assert_eq!(steps(&confirmed, &BOUNDS, "ServeRead"), ["ServeRead(s1, read 1)"]);
    }

    #[test]
    fn what_only_adds_happens_at_once_if_it_is_to() {
        let instant = Bounds { is_instant: true, ..BOUNDS };
        let mut system = System::new(&[S1, S2].into_iter().collect());
        let steps = [
            Action::Timeout(S1),
            Action::UpdateTerm(S2, Term(1)),
            Action::GrantVote(S2, S1),
            Action::BecomeLeader(S1),
            Action::ClientRequest(S1, vec![X]),
            append(S2, 0, 1),
            Action::AdvanceCommitIndex(S1, LogIndex(1)),
        ];
        for step in steps {
            assert_eq!(system.take(&step, &instant), Ok(()));
        }
        assert!(system.servers.iter().all(|(_, server)| server.pending.is_empty()));
    }
}

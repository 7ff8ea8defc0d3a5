//! Systems for tests to begin from: what an election and a first entry leave behind.

use super::{Action, Command, Configuration, Server, System};
use crate::log::{LogIndex, Term};
use crate::server_set::{ServerId, ServerSet};

pub(super) const S1: ServerId = ServerId(1);
pub(super) const S2: ServerId = ServerId(2);
pub(super) const S3: ServerId = ServerId(3);

/// What a client asks for.
pub(super) const X: Command = Command::Client(1);
/// What another one asks for.
pub(super) const Y: Command = Command::Client(2);

/// The configuration in which these decide alone.
pub(super) fn stable(voters: &[usize]) -> Command {
    Command::Configure(Configuration::stable(voters.iter().copied().map(ServerId).collect()))
}

/// The joint one from all three to these.
pub(super) fn joint(voters: &[usize]) -> Command {
    let everybody = Configuration::stable(ServerSet::first(3));
    Command::Configure(everybody.joint(voters.iter().copied().map(ServerId).collect()))
}

/// Takes these steps.
#[track_caller]
pub(super) fn take(system: &mut System<Command>, actions: impl IntoIterator<Item = Action<Command>>) {
    for action in actions {
        assert_eq!(system.apply(&action), Ok(()));
    }
}

/// A system after these steps, which stays as it was.
#[track_caller]
pub(super) fn after(system: &System<Command>, actions: impl IntoIterator<Item = Action<Command>>) -> System<Command> {
    let mut system = system.clone();
    take(&mut system, actions);
    system
}

/// One of the servers, to be bent.
pub(super) fn server(system: &mut System<Command>, i: ServerId) -> &mut Server<Command> {
    system.servers.at_mut(i).expect("it is one of the servers")
}

/// As many servers that have done nothing.
pub(super) fn fresh(count: usize) -> System<Command> {
    System::new(&ServerSet::first(count))
}

/// Three servers in term 1: s1 asks for votes and has its own, s2 has heard of the term, and s3 of nothing.
pub(super) fn campaign() -> System<Command> {
    let steps = [
        Action::Timeout(S1),
        Action::Flush(S1, 1),
        Action::CountVote(S1, S1),
        Action::UpdateTerm(S2, Term(1)),
        Action::Flush(S2, 1),
    ];
    after(&fresh(3), steps)
}

/// What makes s1 of [`campaign`], or of a system like it, the leader by the vote of s2.
pub(super) fn election() -> [Action<Command>; 4] {
    [Action::GrantVote(S2, S1), Action::Flush(S2, 1), Action::CountVote(S1, S2), Action::BecomeLeader(S1)]
}

/// Three servers in term 1: s1 leads by the vote of s2. That s3 is in that term is not on its disk yet.
pub(super) fn elected() -> System<Command> {
    let led = after(&campaign(), election());
    after(&led, [Action::UpdateTerm(S3, Term(1))])
}

/// [`elected`], and s1 has appended one entry, which s2 holds durably. The leader has not heard of that.
pub(super) fn replicated() -> System<Command> {
    let steps = [Action::ClientRequest(S1, vec![X]), Action::Flush(S1, 1), append(S2, 0, 1), Action::Flush(S2, 1)];
    after(&elected(), steps)
}

/// [`replicated`], and s1 has committed the entry. Nobody else knows, and s3 has nothing.
pub(super) fn committed() -> System<Command> {
    let steps = [Action::HandleAcknowledgement(S1, S2, LogIndex(1)), Action::AdvanceCommitIndex(S1, LogIndex(1))];
    after(&replicated(), steps)
}

/// A server takes in entries of s1.
pub(super) fn append(server: ServerId, prev: usize, last: usize) -> Action<Command> {
    Action::HandleAppendEntries { server, leader: S1, prev: LogIndex(prev), last: LogIndex(last) }
}

/// What makes a single server the leader of the next term.
pub(super) fn election_alone() -> [Action<Command>; 4] {
    [Action::Timeout(S1), Action::Flush(S1, 1), Action::CountVote(S1, S1), Action::BecomeLeader(S1)]
}

/// A server alone in its cluster, which leads in term 1.
pub(super) fn alone() -> System<Command> {
    after(&fresh(1), election_alone())
}

/// A crash that only what was durable survives.
pub(super) fn crash(server: ServerId) -> Action<Command> {
    Action::Restart { server, kept: 0, votes: 0, commit: LogIndex::ZERO }
}

//! Steps of the system that random walks meet rarely or never: refused actions, proof logs, what histories keep.

use outrigger_model::invariant::{self, Violation};
use outrigger_model::{
    Action, AppendEntriesRequest, ApplyError, Body, Entry, Log, LogIndex, Message, Model, Server, ServerId, ServerSet,
    ServerState, System, Term,
};

const S1: ServerId = ServerId(1);
const S2: ServerId = ServerId(2);
const STRANGER: ServerId = ServerId(9);

/// A model that takes the actions of a story.
struct Story {
    model: Model<char>,
}

impl Story {
    fn new(servers: usize) -> Self {
        Self { model: Model::new(&ServerSet::first(servers)) }
    }

    #[track_caller]
    fn take(&mut self, action: &Action<char>) {
        assert_eq!(self.model.apply(action), Ok(()), "{action}");
        assert_eq!(invariant::check_state(&self.model), Ok(()), "after {action}");
    }

    /// Receives messages, the least first, until the network is empty.
    #[track_caller]
    fn deliver_all(&mut self) {
        for _ in 0..100 {
            let first = self.model.system.messages.iter().next();
            let Some(m) = first.map(|(m, _)| m.clone()) else {
                return;
            };
            self.take(&Action::Receive(m));
        }
        panic!("the servers never fall silent");
    }

    /// `leader` wins the next term with the votes of servers 1 and 2.
    #[track_caller]
    fn elect(&mut self, leader: ServerId) {
        self.take(&Action::Timeout(leader));
        self.take(&Action::RequestVote(leader, S1));
        self.take(&Action::RequestVote(leader, S2));
        self.deliver_all();
        self.take(&Action::BecomeLeader(leader));
    }

    fn the_message(&self) -> Message<char> {
        let mut messages = self.model.system.messages.iter();
        let (message, _) = messages.next().expect("a message");
        assert!(messages.next().is_none(), "more than one kind of message");
        message.clone()
    }
}

#[test]
fn what_is_not_enabled_is_refused_and_changes_nothing() {
    let mut system: System<char> = System::new(&ServerSet::first(2));
    let request = Body::RequestVoteRequest { last_log_term: Term::ZERO, last_log_index: LogIndex::ZERO };
    let never_sent = Message::new(Term(5), S1, S2, request);
    let refused = [
        Action::RequestVote(S1, S2),
        Action::AppendEntries(S1, S2),
        Action::BecomeLeader(S1),
        Action::ClientRequest(S1, 'x'),
        Action::AdvanceCommitIndex(S1),
        Action::Receive(never_sent.clone()),
        Action::DuplicateMessage(never_sent.clone()),
        Action::DropMessage(never_sent),
    ];
    let before = system.clone();
    for action in refused {
        let error = ApplyError::NotEnabled { action: action.name(), server: action.server() };
        assert_eq!(system.apply(&action), Err(error), "{action}");
        assert_eq!(system, before);
    }
    let error = system.apply(&Action::BecomeLeader(S1)).unwrap_err().to_string();
    assert_eq!(error, "BecomeLeader is not enabled on s1: choose among what `enabled` lists");
}

#[test]
fn a_server_that_is_not_there_takes_no_part() {
    let mut story = Story::new(2);
    let unknown = Err(ApplyError::UnknownServer(STRANGER));
    assert_eq!(story.model.apply(&Action::Timeout(STRANGER)), unknown);
    story.take(&Action::Timeout(S1));
    assert_eq!(story.model.apply(&Action::RequestVote(S1, STRANGER)), unknown);
    let error = ApplyError::UnknownServer(STRANGER).to_string();
    assert_eq!(error, "no server s9 in the system: name one of its servers");
}

#[test]
fn a_leader_has_no_case_for_an_append_of_its_own_term() {
    let mut story = Story::new(2);
    story.elect(S1);
    let request = AppendEntriesRequest {
        prev_log_index: LogIndex::ZERO,
        prev_log_term: Term::ZERO,
        entry: Some(Entry { term: Term(2), value: 'x' }),
        commit_index: LogIndex::ZERO,
    };
    let impossible = Message::new(Term(2), S2, S1, Body::AppendEntriesRequest(request));
    story.model.system.messages.send(impossible.clone());
    assert!(!story.model.system.enabled(&[]).contains(&Action::Receive(impossible.clone())));
    let error = ApplyError::NotEnabled { action: "Receive", server: S1 };
    assert_eq!(story.model.apply(&Action::Receive(impossible)), Err(error));
}

#[test]
fn a_duplicate_carries_the_log_of_the_first_sending() {
    let mut story = Story::new(2);
    story.elect(S1);
    story.take(&Action::AppendEntries(S1, S2));
    let heartbeat = story.the_message();
    assert!(heartbeat.log.is_empty());
    story.take(&Action::ClientRequest(S1, 'x'));
    story.take(&Action::DuplicateMessage(heartbeat.clone()));
    assert_eq!(story.the_message(), heartbeat);
    assert_eq!(story.model.system.messages.count(&heartbeat), 2);
    // What is sent now carries the log of now.
    story.take(&Action::DropMessage(heartbeat.clone()));
    story.take(&Action::DropMessage(heartbeat));
    story.take(&Action::AppendEntries(S1, S2));
    assert_eq!(story.the_message().log.len(), LogIndex(1));
}

#[test]
fn a_vote_counted_twice_keeps_the_log_of_the_first() {
    let mut story = Story::new(2);
    story.elect(S1);
    let first = story.model.history.voter_log.at(S1).cloned();
    // The voter's log grows, and a second request for the same vote reaches it late.
    story.take(&Action::ClientRequest(S1, 'x'));
    story.take(&Action::AppendEntries(S1, S2));
    story.deliver_all();
    let granted = Body::RequestVoteResponse { vote_granted: true };
    let mut again = Message::new(Term(2), S2, S1, granted);
    again.log = story.model.system.servers.at(S2).expect("server 2").log.clone();
    assert_eq!(again.log.len(), LogIndex(1));
    story.model.system.messages.send(again);
    story.deliver_all();
    assert_eq!(story.model.history.voter_log.at(S1).cloned(), first);
    assert!(first.is_some_and(|logs| logs.len() == 2 && logs.values().all(Log::is_empty)));
}

#[test]
fn the_term_of_a_commitment_is_that_of_the_first_to_know() {
    let mut story = Story::new(2);
    story.elect(S1);
    story.take(&Action::ClientRequest(S1, 'x'));
    story.take(&Action::AppendEntries(S1, S2));
    story.deliver_all();
    story.take(&Action::AdvanceCommitIndex(S1));
    let committed = (LogIndex(1), Entry { term: Term(2), value: 'x' });
    assert_eq!(story.model.history.committed.get(&committed), Some(&Term(2)));
    // The next leader learns of it in its own term, and the first one goes on knowing.
    story.elect(S2);
    story.take(&Action::ClientRequest(S2, 'y'));
    story.take(&Action::AppendEntries(S2, S1));
    story.deliver_all();
    story.take(&Action::AdvanceCommitIndex(S2));
    let server_2 = story.model.system.servers.at(S2).expect("server 2");
    assert_eq!((server_2.commit_index, server_2.current_term), (LogIndex(2), Term(3)));
    assert_eq!(story.model.history.committed.get(&committed), Some(&Term(2)));
    assert_eq!(story.model.history.committed.len(), 2);
}

#[test]
fn a_leader_may_lose_entries_once_it_has_stepped_down() {
    let mut story = Story::new(3);
    story.elect(S1);
    story.take(&Action::ClientRequest(S1, 'x'));
    let leading = story.model.system.clone();
    // It is deposed, and leads again later with another log: no violation, since it was not one reign.
    let mut again = leading.clone();
    server_1(&mut again).log.pop();
    assert!(invariant::leader_append_only(&leading, &again).is_err());
    server_1(&mut again).current_term = Term(4);
    assert_eq!(invariant::leader_append_only(&leading, &again), Ok(()));
    server_1(&mut again).current_term = Term(2);
    server_1(&mut again).state = ServerState::Follower;
    assert_eq!(invariant::leader_append_only(&leading, &again), Ok(()));
}

fn server_1(system: &mut System<char>) -> &mut Server<char> {
    system.servers.at_mut(S1).expect("server 1")
}

#[test]
fn one_place_past_the_log_is_no_place_to_commit() {
    let mut system: System<char> = System::new(&ServerSet::first(2));
    server_1(&mut system).log.push(Entry { term: Term(1), value: 'x' });
    server_1(&mut system).commit_index = LogIndex(1);
    assert_eq!(invariant::commit_in_log(&system), Ok(()));
    server_1(&mut system).commit_index = LogIndex(2);
    let found = Violation::CommitInLog { server: S1, commit_index: LogIndex(2), length: LogIndex(1) };
    assert_eq!(invariant::commit_in_log(&system), Err(found));
}

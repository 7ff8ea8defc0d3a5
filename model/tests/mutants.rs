//! Broken rules, one at a time, in the same random walks: the invariant that each rule is there for must notice.
//!
//! A mutant is a step that leaves the rules: it alters the variables or the message before or after the action.

mod random;
mod walk;

use outrigger_model::invariant::{
    self, Violation, commit_in_log, election_safety, leader_append_only, leader_completeness, log_matching, one_vote,
    state_machine_safety,
};
use outrigger_model::{
    Action, Body, Entry, LogIndex, Message, Model, Server, ServerId, ServerMap, ServerSet, ServerState, Term,
};
use walk::{Check, Failure, Step, cluster, follow_the_rules, walk};

const SEEDS: u64 = 60;
const STEPS: usize = 3_000;

/// Walks from `model` by `step` until `check` finds a violation, under one seed after the other.
fn first_violation(model: &Model<u8>, step: Step, check: Check) -> Option<Violation<u8>> {
    (0..SEEDS).find_map(|seed| match walk(model.clone(), seed, STEPS, step, check) {
        Ok(_) => None,
        Err(Failure { violation, path }) => {
            assert!(!path.is_empty() && path.len() <= STEPS);
            Some(violation)
        }
    })
}

/// Asserts that `check` finds what `broken` does. (That sound walks pass every check is `random_walk.rs`'s to show.)
#[track_caller]
fn assert_found(model: &Model<u8>, broken: Step, check: Check) -> Violation<u8> {
    let violation = first_violation(model, broken, check).expect("the mutant is found");
    assert!(!violation.to_string().is_empty());
    violation
}

fn server(model: &mut Model<u8>, id: ServerId) -> &mut Server<u8> {
    let server = model.system.servers.at_mut(id);
    server.expect("a server of the system")
}

/// Receives `m` as if it said `forged`.
fn receive_forged(model: &mut Model<u8>, m: &Message<u8>, forged: Message<u8>) {
    assert!(model.system.messages.discard(m));
    model.system.messages.send(forged.clone());
    follow_the_rules(model, &Action::Receive(forged));
}

fn two_votes_in_a_term(model: &mut Model<u8>, action: &Action<u8>) {
    if let Action::Receive(m) = action
        && matches!(m.body, Body::RequestVoteRequest { .. })
    {
        server(model, m.dest).voted_for = None;
    }
    follow_the_rules(model, action);
}

#[test]
fn a_second_vote_in_a_term_is_found() {
    let check: Check = |_, after| one_vote(&after.system);
    let found = assert_found(&cluster(3), two_votes_in_a_term, check);
    assert!(matches!(found, Violation::OneVote { .. }));
    // Left to itself it makes two leaders.
    let check: Check = |_, after| election_safety(after);
    let found = assert_found(&cluster(3), two_votes_in_a_term, check);
    assert!(matches!(found, Violation::ElectionSafety { .. }));
}

#[test]
fn a_vote_forgotten_in_a_restart_is_found() {
    let forgets_vote: Step = |model, action| {
        follow_the_rules(model, action);
        if let Action::Restart(i) = action {
            server(model, *i).voted_for = None;
        }
    };
    let check: Check = |_, after| one_vote(&after.system);
    assert_found(&cluster(3), forgets_vote, check);
}

#[test]
fn a_log_lost_in_a_restart_is_found() {
    let forgets_log: Step = |model, action| {
        follow_the_rules(model, action);
        if let Action::Restart(i) = action {
            server(model, *i).log.pop();
        }
    };
    let check: Check = |_, after| leader_completeness(after);
    let found = assert_found(&cluster(3), forgets_log, check);
    assert!(matches!(found, Violation::LeaderCompleteness { .. }));
}

#[test]
fn a_quorum_of_half_is_found() {
    // Each of four servers believes in a cluster of three, itself among them: two votes are enough for it.
    let mut model = cluster(4);
    for id in 1..=4 {
        let others = (1..=4).filter(|other| *other != id % 4 + 1);
        let believed: ServerSet = others.map(ServerId).collect();
        let server = server(&mut model, ServerId(id));
        server.next_index = ServerMap::new(&believed, |_| LogIndex::FIRST);
        server.match_index = ServerMap::new(&believed, |_| LogIndex::ZERO);
    }
    let check: Check = |_, after| election_safety(after);
    let found = assert_found(&model, follow_the_rules, check);
    assert!(matches!(found, Violation::ElectionSafety { .. }));
}

#[test]
fn a_refusal_counted_as_a_vote_is_found() {
    let counts_refusals: Step = |model, action| {
        if let Action::Receive(m) = action
            && let Body::RequestVoteResponse { .. } = m.body
        {
            let mut forged = m.clone();
            forged.body = Body::RequestVoteResponse { vote_granted: true };
            return receive_forged(model, m, forged);
        }
        follow_the_rules(model, action);
    };
    let check: Check = |_, after| election_safety(after);
    assert_found(&cluster(3), counts_refusals, check);
}

#[test]
fn a_vote_without_a_look_at_the_log_is_found() {
    let trusts_any_log: Step = |model, action| {
        if let Action::Receive(m) = action
            && let Body::RequestVoteRequest { .. } = m.body
        {
            let mut forged = m.clone();
            forged.body = Body::RequestVoteRequest { last_log_term: Term(usize::MAX), last_log_index: LogIndex(1) };
            return receive_forged(model, m, forged);
        }
        follow_the_rules(model, action);
    };
    let check: Check = |_, after| leader_completeness(after);
    assert_found(&cluster(3), trusts_any_log, check);
    // Left to itself it overwrites what was committed.
    let check: Check = |_, after| state_machine_safety(after);
    let found = assert_found(&cluster(3), trusts_any_log, check);
    assert!(matches!(found, Violation::StateMachineSafety { .. }));
}

#[test]
fn an_append_without_a_look_at_the_previous_entry_is_found() {
    let skips_log_check: Step = |model, action| {
        if let Action::Receive(m) = action
            && let Body::AppendEntriesRequest(request) = &m.body
        {
            let own = server(model, m.dest).log.term_at(request.prev_log_index);
            let mut request = request.clone();
            request.prev_log_term = own;
            let mut forged = m.clone();
            forged.body = Body::AppendEntriesRequest(request);
            return receive_forged(model, m, forged);
        }
        follow_the_rules(model, action);
    };
    let check: Check = |_, after| log_matching(after);
    let found = assert_found(&cluster(3), skips_log_check, check);
    assert!(matches!(found, Violation::LogMatching { .. }));
}

#[test]
fn a_commit_index_that_the_message_does_not_cover_is_found() {
    let sends_all_it_knows: Step = |model, action| {
        if let Action::Receive(m) = action
            && let Body::AppendEntriesRequest(request) = &m.body
        {
            let mut request = request.clone();
            request.commit_index = server(model, m.source).commit_index;
            let mut forged = m.clone();
            forged.body = Body::AppendEntriesRequest(request);
            return receive_forged(model, m, forged);
        }
        follow_the_rules(model, action);
    };
    let check: Check = |_, after| commit_in_log(&after.system);
    let found = assert_found(&cluster(3), sends_all_it_knows, check);
    assert!(matches!(found, Violation::CommitInLog { .. }));
}

#[test]
fn a_leader_that_overwrites_its_log_is_found() {
    let overwrites: Step = |model, action| {
        if let Action::ClientRequest(i, _) = action {
            server(model, *i).log.pop();
        }
        follow_the_rules(model, action);
    };
    let check: Check = |before, after| leader_append_only(&before.system, &after.system);
    let found = assert_found(&cluster(3), overwrites, check);
    assert!(matches!(found, Violation::LeaderAppendOnly { .. }));
}

#[test]
fn a_leader_that_outlives_its_term_is_found() {
    let stays_leader: Step = |model, action| {
        let before = model.clone();
        follow_the_rules(model, action);
        if let Action::Receive(m) = action
            && let Some(old) = before.system.servers.at(m.dest)
            && old.state == ServerState::Leader
        {
            server(model, m.dest).state = ServerState::Leader;
        }
    };
    let check: Check = |_, after| election_safety(after);
    assert_found(&cluster(3), stays_leader, check);
}

/// Figure 8 of the Raft paper: an entry of term 2 reaches a majority only while term 4 is led, and is overwritten by a
/// leader of term 5. Commits of older terms by counting are what the figure warns of.
struct Figure8 {
    model: Model<u8>,
}

impl Figure8 {
    fn take(&mut self, action: &Action<u8>) {
        follow_the_rules(&mut self.model, action);
    }

    /// Receives what is in the network until it is empty.
    fn deliver_all(&mut self) {
        for _ in 0..1_000 {
            let first = self.model.system.messages.iter().next();
            let Some(m) = first.map(|(m, _)| m.clone()) else {
                return;
            };
            self.take(&Action::Receive(m));
        }
        panic!("the servers never fall silent");
    }

    /// `leader` times out until it is in `term`, and wins by the votes of `voters`.
    fn elect(&mut self, leader: usize, term: usize, voters: &[usize]) {
        let i = ServerId(leader);
        while server(&mut self.model, i).current_term < Term(term) {
            self.take(&Action::Timeout(i));
        }
        for voter in voters {
            self.take(&Action::RequestVote(i, ServerId(*voter)));
        }
        self.deliver_all();
        self.take(&Action::BecomeLeader(i));
    }

    /// `leader` replicates to `follower` by `rounds` requests and their answers.
    fn replicate(&mut self, leader: usize, follower: usize, rounds: usize) {
        for _ in 0..rounds {
            self.take(&Action::AppendEntries(ServerId(leader), ServerId(follower)));
            self.deliver_all();
        }
    }

    /// Up to part (c) of the figure: server 1 leads term 4 and has brought its entry of term 2 to servers 2 and 3.
    fn until_c() -> Self {
        let mut story = Self { model: cluster(5) };
        let (s1, s5) = (ServerId(1), ServerId(5));
        story.elect(1, 2, &[1, 2, 3]);
        story.take(&Action::ClientRequest(s1, 2));
        story.replicate(1, 2, 1);
        story.take(&Action::Restart(s1));
        story.elect(5, 3, &[3, 4, 5]);
        story.take(&Action::ClientRequest(s5, 3));
        story.take(&Action::Restart(s5));
        story.elect(1, 4, &[1, 2, 3]);
        story.replicate(1, 3, 2);
        // Server 2 has it already, and says so: three of five.
        story.replicate(1, 2, 2);
        for id in [1, 2, 3] {
            let log = &server(&mut story.model, ServerId(id)).log;
            assert_eq!(log.entry(LogIndex(1)), Some(&Entry { term: Term(2), value: 2 }));
        }
        story
    }

    /// Part (d): server 5, whose last entry is of term 3, wins term 5.
    fn elect_server_5(&mut self) {
        self.take(&Action::Restart(ServerId(1)));
        self.elect(5, 5, &[2, 3, 4, 5]);
    }
}

#[test]
fn figure_8_commits_nothing_of_an_older_term() {
    let mut story = Figure8::until_c();
    story.take(&Action::AdvanceCommitIndex(ServerId(1)));
    assert_eq!(server(&mut story.model, ServerId(1)).commit_index, LogIndex::ZERO);
    story.elect_server_5();
    assert_eq!(invariant::check_state(&story.model), Ok(()));
}

#[test]
fn figure_8_e_an_entry_of_its_own_term_commits_the_older_one_too() {
    let mut story = Figure8::until_c();
    let s1 = ServerId(1);
    story.take(&Action::ClientRequest(s1, 4));
    story.replicate(1, 2, 1);
    story.replicate(1, 3, 1);
    story.take(&Action::AdvanceCommitIndex(s1));
    assert_eq!(server(&mut story.model, s1).commit_index, LogIndex(2));
    // Server 5 cannot win any more: two of the three that it needs know better.
    story.take(&Action::Restart(s1));
    let s5 = ServerId(5);
    story.take(&Action::Timeout(s5));
    story.take(&Action::Timeout(s5));
    for voter in [2, 3, 4, 5] {
        story.take(&Action::RequestVote(s5, ServerId(voter)));
    }
    story.deliver_all();
    let votes = server(&mut story.model, s5).votes_granted.to_string();
    assert_eq!(votes, "{s4, s5}");
}

#[test]
fn a_commit_of_an_older_term_is_found() {
    let mut story = Figure8::until_c();
    // The mutant: three of five hold index 1, so it counts as committed.
    server(&mut story.model, ServerId(1)).commit_index = LogIndex(1);
    story.model.history.observe(&story.model.system);
    assert_eq!(invariant::check_state(&story.model), Ok(()));
    story.elect_server_5();
    let found = Violation::LeaderCompleteness {
        leader: ServerId(5),
        term: Term(5),
        index: LogIndex(1),
        entry: Entry { term: Term(2), value: 2 },
        committed_in: Term(4),
    };
    assert_eq!(leader_completeness(&story.model), Err(found.clone()));
    assert_eq!(
        found.to_string(),
        "leader completeness: s5, leader of term 5, lacks 2:2 at index 1, committed in term 4"
    );
}

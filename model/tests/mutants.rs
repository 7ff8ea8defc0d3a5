//! Broken rules, one at a time: the explorer finds each by the invariant that the rule is there for, and shows a
//! shortest way to it.
//!
//! Each search is the whole of what its bounds allow, in breadth, so the number of steps asserted is the least there is.
//! Where that would take long, a script tells the beginning, and actions that play no part are switched off.

mod mutant;

use mutant::{Check, Found, Mutant, Step, follow_the_rules, server};
use outrigger_model::explore::{Bounds, Raft, Script, Search, Verdict};
use outrigger_model::invariant::{
    Violation, check_step, commit_in_log, election_safety, leader_append_only, leader_completeness, log_matching,
    one_vote, state_machine_safety,
};
use outrigger_model::{Action, Body, Entry, LogIndex, Message, ServerId, ServerState, System, Term};

/// raft.tla for `servers` up to `term_max`, with one value, logs of `log_max`, one message in flight, and without the
/// actions `without`.
fn raft(servers: usize, term_max: usize, log_max: usize, without: &[&str]) -> Raft {
    let bounds = Bounds { servers, values: 1, term_max, log_max, messages_max: 1 };
    let raft = Raft::new(bounds).expect("bounds in range");
    without.iter().try_fold(raft, |raft, action| raft.without(action)).expect("actions of raft.tla")
}

/// Finds the mutant `step` of `raft` by `check`, begun by `script`; and does not find the sound raft.tla by it, though that
/// is searched just as far.
#[track_caller]
fn assert_found(raft: &Raft, script: &str, step: Step, check: Check) -> Found {
    let found = Mutant { raft: raft.clone(), step, also: |_| Vec::new(), check }.hunt(script);
    assert!(!found.violation.to_string().is_empty());
    assert_sound(raft, script, &found);
    found
}

/// Asserts that raft.tla by the rules does not get wrong in as many states as it took to find the mutant.
#[track_caller]
fn assert_sound(raft: &Raft, script: &str, found: &Found) {
    let sound = Search::new(raft.clone()).after(Script::parse(script)).states_max(20_000).run();
    let verdict = sound.expect("the script is possible").verdict;
    assert!(!matches!(verdict, Verdict::Violated(_)), "not the mutant's fault: {found}");
}

/// What the message of a step is, if it is one that its receiver has no reason to put off.
fn received(system: &System<u8>, action: &Action<u8>) -> Option<Message<u8>> {
    let Action::Receive(m) = action else {
        return None;
    };
    let receiver = system.servers.at(m.dest)?;
    (m.term == receiver.current_term).then(|| m.clone())
}

/// Server 1 wins term 2 with the vote of server 2.
const S1_LEADS: &str = "
    Timeout(s1)
    RequestVote(s1, s1); Receive(s1 -> s1); Receive(s1 -> s1)
    RequestVote(s1, s2); Receive(s1 -> s2); Receive(s1 -> s2); Receive(s2 -> s1)
    BecomeLeader(s1)
";

/// Then it appends an entry, server 2 gets it, and it is committed.
const S1_COMMITS: &str = "
    ClientRequest(s1, 1)
    AppendEntries(s1, s2); Receive(s1 -> s2); Receive(s1 -> s2); Receive(s2 -> s1)
    AdvanceCommitIndex(s1)
";

const TWO_VOTES_IN_A_TERM: Step = |system, action| {
    if let Some(m) = received(system, action)
        && let Body::RequestVoteRequest { .. } = m.body
    {
        server(system, m.dest).voted_for = None;
    }
    follow_the_rules(system, action);
};

#[test]
fn a_second_vote_in_a_term_is_found() {
    let check: Check = |_, after| one_vote(&after.system);
    let found = assert_found(&raft(2, 2, 0, &[]), "", TWO_VOTES_IN_A_TERM, check);
    assert!(matches!(found.violation, Violation::OneVote { .. }), "{found}");
    // A candidate has its own vote, and then votes for the other one.
    assert_eq!(found.len(), 7, "{found}");
}

#[test]
fn a_second_vote_in_a_term_makes_two_leaders() {
    let raft = raft(3, 2, 0, &["restart", "duplicate", "drop"]);
    let found = assert_found(&raft, "", TWO_VOTES_IN_A_TERM, |_, after| election_safety(after));
    assert!(matches!(found.violation, Violation::ElectionSafety { term: Term(2), .. }), "{found}");
    // Both time out before either has heard of the other; then for each its own vote (3 steps), another's (3), the office.
    assert_eq!(found.len(), 16, "{found}");
}

#[test]
fn a_vote_forgotten_in_a_restart_is_found() {
    let forgets_vote: Step = |system, action| {
        follow_the_rules(system, action);
        if let Action::Restart(i) = action {
            server(system, *i).voted_for = None;
        }
    };
    let found = assert_found(&raft(2, 2, 0, &[]), "", forgets_vote, |_, after| one_vote(&after.system));
    assert!(matches!(found.violation, Violation::OneVote { .. }), "{found}");
    assert!(found.actions.iter().any(|action| matches!(action, Action::Restart(_))), "{found}");
    assert_eq!(found.len(), 8, "{found}");
}

#[test]
fn a_log_lost_in_a_restart_is_found() {
    let forgets_log: Step = |system, action| {
        follow_the_rules(system, action);
        if let Action::Restart(i) = action {
            server(system, *i).log.pop();
        }
    };
    let raft = raft(3, 3, 1, &["duplicate", "drop", "client-request"]);
    let script = [S1_LEADS, S1_COMMITS].concat();
    let found = assert_found(&raft, &script, forgets_log, |_, after| leader_completeness(after));
    assert!(matches!(found.violation, Violation::LeaderCompleteness { index: LogIndex(1), .. }), "{found}");
    // The restart; then server 1 or 2, which knows term 2, wins term 3 with its own vote and one other.
    assert_eq!(found.len(), 10, "{found}");
}

#[test]
fn a_quorum_of_half_is_found() {
    let half: fn(&System<u8>) -> Vec<Action<u8>> = |system| {
        let candidates = system.servers.iter().filter(|(_, server)| server.state == ServerState::Candidate);
        let elected = candidates.filter(|(_, server)| server.votes_granted.len() * 2 >= server.match_index.len());
        elected.map(|(id, _)| Action::BecomeLeader(id)).collect()
    };
    let takes_office: Step = |system, action| match action {
        Action::BecomeLeader(i) => {
            let leader = server(system, *i);
            leader.state = ServerState::Leader;
            leader.next_index.fill(leader.log.len().next());
            leader.match_index.fill(LogIndex::ZERO);
        }
        _ => follow_the_rules(system, action),
    };
    let raft = raft(2, 2, 0, &[]);
    let check: Check = |_, after| election_safety(after);
    let found = Mutant { raft: raft.clone(), step: takes_office, also: half, check }.hunt("");
    assert!(matches!(found.violation, Violation::ElectionSafety { term: Term(2), .. }), "{found}");
    // Each is content with its own vote: timeout, request, receive twice, office.
    assert_eq!(found.len(), 10, "{found}");
    assert_sound(&raft, "", &found);
}

#[test]
fn a_refusal_counted_as_a_vote_is_found() {
    let counts_refusals: Step = |system, action| {
        let refused = received(system, action).filter(|m| m.body == Body::RequestVoteResponse { vote_granted: false });
        follow_the_rules(system, action);
        if let Some(m) = refused {
            server(system, m.dest).votes_granted.insert(m.source);
        }
    };
    let raft = raft(2, 2, 0, &[]);
    let found = assert_found(&raft, "", counts_refusals, |_, after| election_safety(after));
    assert!(matches!(found.violation, Violation::ElectionSafety { term: Term(2), .. }), "{found}");
    assert!(found.lines.iter().any(|line| line.contains("RequestVoteResponse refused")), "{found}");
    assert_eq!(found.len(), 16, "{found}");
}

/// Server 3, which knows nothing of server 1's term 2, wins term 3 with the vote of server 2.
const S3_LEADS: &str = "
    Timeout(s3); Timeout(s3)
    RequestVote(s3, s3); Receive(s3 -> s3); Receive(s3 -> s3)
    RequestVote(s3, s2); Receive(s3 -> s2); Receive(s3 -> s2); Receive(s2 -> s3)
    BecomeLeader(s3)
";

/// Discards `m` and answers it by `body`.
fn reply(system: &mut System<u8>, m: &Message<u8>, body: Body<u8>) {
    assert!(system.messages.discard(m));
    let term = server(system, m.dest).current_term;
    system.messages.send(Message::new(term, m.dest, m.source, body));
}

const TRUSTS_ANY_LOG: Step = |system, action| {
    if let Some(m) = received(system, action)
        && let Body::RequestVoteRequest { .. } = m.body
        && server(system, m.dest).voted_for.is_none_or(|candidate| candidate == m.source)
    {
        server(system, m.dest).voted_for = Some(m.source);
        return reply(system, &m, Body::RequestVoteResponse { vote_granted: true });
    }
    follow_the_rules(system, action);
};

#[test]
fn a_vote_without_a_look_at_the_log_is_found() {
    let raft = raft(3, 3, 1, &["restart", "duplicate"]);
    let script = [S1_LEADS, S1_COMMITS].concat();
    let found = assert_found(&raft, &script, TRUSTS_ANY_LOG, |_, after| leader_completeness(after));
    let expected = Violation::LeaderCompleteness {
        leader: ServerId(3),
        term: Term(3),
        index: LogIndex(1),
        entry: Entry { term: Term(2), value: 1 },
        committed_in: Term(2),
    };
    assert_eq!(found.violation, expected, "{found}");
    // Server 3 times out twice, has its own vote (3 steps), that of server 2 (4), and takes office.
    assert_eq!(found.len(), 10, "{found}");
}

#[test]
fn a_vote_without_a_look_at_the_log_loses_what_was_committed() {
    let raft = raft(3, 3, 1, &["restart", "duplicate", "drop"]);
    let script = [S1_LEADS, S1_COMMITS, S3_LEADS].concat();
    let mutant =
        Mutant { raft, step: TRUSTS_ANY_LOG, also: |_| Vec::new(), check: |_, after| state_machine_safety(after) };
    let found = mutant.hunt(&script);
    assert!(matches!(found.violation, Violation::StateMachineSafety { index: LogIndex(1), .. }), "{found}");
    // An entry of server 3 takes the committed one's place on server 1, which still holds that index committed: appended,
    // sent, the new term heard, the old entry out, the new one in.
    assert_eq!(found.len(), 5, "{found}");
}

#[test]
fn an_append_without_a_look_at_the_previous_entry_is_found() {
    let skips_log_check: Step = |system, action| {
        if let Some(m) = received(system, action)
            && let Body::AppendEntriesRequest(request) = &m.body
            && let receiver = server(system, m.dest)
            && receiver.state == ServerState::Follower
            && request.prev_log_index == receiver.log.len()
            && let Some(entry) = request.entry
        {
            receiver.log.push(entry);
            return;
        }
        follow_the_rules(system, action);
    };
    // Server 1 has an entry of term 2. Server 3 has one of term 3 in its place, and leads term 4 with both.
    let s3_leads_again = "
        ClientRequest(s3, 1); Restart(s3); Timeout(s3)
        RequestVote(s3, s3); Receive(s3 -> s3); Receive(s3 -> s3)
        RequestVote(s3, s2); Receive(s3 -> s2); Receive(s3 -> s2); Receive(s2 -> s3)
        BecomeLeader(s3)
    ";
    let script = [S1_LEADS, "ClientRequest(s1, 1)", S3_LEADS, s3_leads_again].concat();
    let raft = raft(3, 4, 2, &["restart", "timeout", "duplicate", "drop"]);
    let found = assert_found(&raft, &script, skips_log_check, |_, after| log_matching(after));
    assert!(matches!(found.violation, Violation::LogMatching { index: LogIndex(2), .. }), "{found}");
    // Another entry of server 3 is sent to server 1, which hears of the term and puts it behind the wrong one.
    assert_eq!(found.len(), 4, "{found}");
}

#[test]
fn a_commit_index_that_the_message_does_not_cover_is_found() {
    let sends_all_it_knows: Step = |system, action| {
        let Action::AppendEntries(i, j) = action else {
            return follow_the_rules(system, action);
        };
        let leader = server(system, *i);
        let mut m = leader.append_entries(*i, *j);
        if let Body::AppendEntriesRequest(request) = &mut m.body {
            request.commit_index = leader.commit_index;
        }
        system.messages.send(m);
    };
    let raft = raft(3, 2, 2, &["restart", "timeout", "duplicate", "drop"]);
    let script = [S1_LEADS, S1_COMMITS, S1_COMMITS].concat();
    let found = assert_found(&raft, &script, sends_all_it_knows, |_, after| commit_in_log(&after.system));
    assert!(matches!(found.violation, Violation::CommitInLog { server: ServerId(3), .. }), "{found}");
    // The first entry is sent to server 3, which hears of the term, appends, and believes to have both.
    assert_eq!(found.len(), 4, "{found}");
}

#[test]
fn a_leader_that_overwrites_its_log_is_found() {
    let overwrites: Step = |system, action| {
        if let Action::ClientRequest(i, _) = action {
            server(system, *i).log.pop();
        }
        follow_the_rules(system, action);
    };
    let bounds = Bounds { servers: 1, values: 2, term_max: 2, log_max: 1, messages_max: 1 };
    let raft = Raft::new(bounds).expect("bounds in range");
    let check: Check = |before, after| leader_append_only(&before.system, &after.system);
    let found = assert_found(&raft, "", overwrites, check);
    assert!(matches!(found.violation, Violation::LeaderAppendOnly { leader: ServerId(1), .. }), "{found}");
    // An election in a cluster of one takes 5 steps, and two requests follow.
    assert_eq!(found.len(), 7, "{found}");
}

#[test]
fn a_leader_that_outlives_its_term_is_found() {
    let stays_leader: Step = |system, action| {
        let leader = match action {
            Action::Receive(m) if server(system, m.dest).state == ServerState::Leader => Some(m.dest),
            _ => None,
        };
        follow_the_rules(system, action);
        if let Some(id) = leader {
            server(system, id).state = ServerState::Leader;
        }
    };
    let raft = raft(3, 3, 0, &["restart", "duplicate", "drop"]);
    let found = assert_found(&raft, S1_LEADS, stays_leader, |_, after| election_safety(after));
    assert!(matches!(found.violation, Violation::ElectionSafety { term: Term(3), .. }), "{found}");
    // Server 2 times out, has the old leader's vote (4 steps) and its own (3), and takes office.
    assert_eq!(found.len(), 9, "{found}");
}

/// Figure 8 of the Raft paper with three servers, up to where server 1 leads term 4.
const FIGURE_8: &str = include_str!("scripts/figure_8.txt");

#[test]
fn a_commit_of_an_older_term_is_found() {
    let commits_by_counting: Step = |system, action| {
        let Action::AdvanceCommitIndex(i) = action else {
            return follow_the_rules(system, action);
        };
        let leader = server(system, *i);
        let holders = |index| leader.match_index.iter().filter(|(k, held)| k == i || **held >= index).count();
        let indexes: Vec<LogIndex> = leader.log.iter().map(|(index, _)| index).collect();
        let agreed = indexes.into_iter().rfind(|index| leader.is_majority(holders(*index)));
        leader.commit_index = agreed.unwrap_or(leader.commit_index);
    };
    let raft = raft(3, 5, 1, &["restart", "duplicate", "drop", "client-request"]);
    // Server 1 brings its old entry to server 2 (the first append is rejected) and commits it: 8 steps. Server 3 times out
    // twice and server 2 once, so that they need not hear of the term; two votes of 3 steps, and the office.
    let found = assert_found(&raft, FIGURE_8, commits_by_counting, |before, after| check_step(&before.system, after));
    let expected = Violation::LeaderCompleteness {
        leader: ServerId(3),
        term: Term(5),
        index: LogIndex(1),
        entry: Entry { term: Term(2), value: 1 },
        committed_in: Term(4),
    };
    assert_eq!(found.violation, expected, "{found}");
    assert_eq!(found.len(), 18, "{found}");
}

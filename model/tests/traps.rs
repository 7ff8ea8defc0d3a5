//! Eight faults that another crate of this API shipped, and that raft.tla does not have. Each test tells by a short
//! sequence of messages how the fault showed, and holds that this `RaftServer` has it not.

use outrigger_model::raftmodel::*;

type Server = RaftServer<&'static str>;
type Message = RaftMessage<&'static str>;

fn server() -> Server {
    RaftServer::new(create_empty_log())
}

fn time_out(server: &mut Server, dest: usize, followers: &[usize]) -> Vec<Message> {
    let followers = followers.to_vec();
    server.handle_message(RaftMessage::TimeOut { dest, followers })
}

fn client_request(server: &mut Server, dest: usize, value: &'static str) {
    let answers = server.handle_message(RaftMessage::ClientRequest { dest, value });
    assert_eq!(answers, []);
}

fn append_entries_to(leader: &mut Server, dest: usize, followers: &[usize]) -> Vec<Message> {
    let followers = followers.to_vec();
    leader.handle_message(RaftMessage::AppendEntries { dest, followers })
}

/// Delivers `messages` to `receiver` one after the other; all that it answers.
fn deliver(receiver: &mut Server, messages: &[Message]) -> Vec<Message> {
    let answers = messages.iter().flat_map(|message| receiver.handle_message(message.clone()));
    answers.collect()
}

/// An answer to a request for a vote.
fn vote(src: usize, dest: usize, term: usize, vote_granted: bool) -> Message {
    RaftMessage::RequestVoteResponse { src, dest, term, vote_granted }
}

/// Server 1, leader of term 2 in a cluster of three by the vote of 2; server 3 has not answered yet.
fn leader_by_the_vote_of_2() -> Server {
    let mut leader = server();
    time_out(&mut leader, 1, &[2, 3]);
    deliver(&mut leader, &[vote(2, 1, 2, true)]);
    assert_eq!(*leader.server_state(), ServerState::Leader);
    leader
}

fn is_leader(server: &Server) -> bool {
    *server.server_state() == ServerState::Leader
}

#[test]
fn trap_1_a_delayed_rejection_makes_no_leader() {
    let (mut s1, mut s2, mut s3) = (server(), server(), server());
    // Server 1 wins term 2; its request to 3 is slow.
    let requests = time_out(&mut s1, 1, &[2, 3]);
    let (to_2, to_3) = requests.split_at(1);
    let votes = deliver(&mut s2, to_2);
    deliver(&mut s1, &votes);
    assert!(is_leader(&s1));
    // Server 3 knows nothing of that, times out twice, and wins term 3 with everyone's vote.
    time_out(&mut s3, 3, &[1, 2]);
    let requests = time_out(&mut s3, 3, &[1, 2]);
    let (to_1, to_2) = requests.split_at(1);
    let mut votes = deliver(&mut s1, to_1);
    votes.extend(deliver(&mut s2, to_2));
    deliver(&mut s3, &votes);
    assert!(is_leader(&s3) && s3.current_term() == 3);
    // The slow request meets a server of term 3. Its rejection finds server 1 with the votes of term 2 still at hand.
    let rejection = deliver(&mut s3, to_3);
    assert_eq!(rejection, [vote(3, 1, 3, false)]);
    deliver(&mut s1, &rejection);
    assert_eq!(s1.current_term(), 3);
    assert_eq!(*s1.server_state(), ServerState::Follower);
}

#[test]
fn trap_2_half_of_two_servers_is_no_quorum() {
    let (mut s1, mut s2) = (server(), server());
    let from_1 = time_out(&mut s1, 1, &[2]);
    let from_2 = time_out(&mut s2, 2, &[1]);
    let refusal_of_2 = deliver(&mut s2, &from_1);
    let refusal_of_1 = deliver(&mut s1, &from_2);
    deliver(&mut s1, &refusal_of_2);
    deliver(&mut s2, &refusal_of_1);
    assert_eq!(*s1.server_state(), ServerState::Candidate);
    assert_eq!(*s2.server_state(), ServerState::Candidate);
    // One of them tries again, and both are a quorum.
    let from_1 = time_out(&mut s1, 1, &[2]);
    let votes = deliver(&mut s2, &from_1);
    deliver(&mut s1, &votes);
    assert!(is_leader(&s1) && !is_leader(&s2));
}

#[test]
fn trap_2_half_of_four_servers_is_no_quorum() {
    let (mut s1, mut s2) = (server(), server());
    time_out(&mut s1, 1, &[2, 3, 4]);
    time_out(&mut s2, 2, &[1, 3, 4]);
    deliver(&mut s1, &[vote(3, 1, 2, true)]);
    deliver(&mut s2, &[vote(4, 2, 2, true)]);
    assert_eq!(*s1.server_state(), ServerState::Candidate);
    assert_eq!(*s2.server_state(), ServerState::Candidate);
    // A vote that is delivered twice is still one vote, and a stranger's is none.
    deliver(&mut s1, &[vote(3, 1, 2, true), vote(9, 1, 2, true)]);
    assert_eq!(*s1.server_state(), ServerState::Candidate);
    deliver(&mut s1, &[vote(4, 1, 2, true)]);
    assert!(is_leader(&s1));
}

/// An append from `src` to server 3.
fn append_to_3(
    src: usize,
    term: usize,
    prev: (usize, usize),
    commit_index: usize,
    entries: Vec<LogEntry<&'static str>>,
) -> Message {
    RaftMessage::AppendEntriesRequest {
        src,
        dest: 3,
        term,
        prev_index: prev.0,
        prev_term: prev.1,
        commit_index,
        entries,
    }
}

fn entry(term: usize, item: &'static str) -> LogEntry<&'static str> {
    LogEntry { term, item }
}

#[test]
fn trap_3_a_failed_log_check_commits_nothing() {
    let mut s3 = server();
    // An entry of term 2 that nobody else has.
    deliver(&mut s3, &[append_to_3(1, 2, (0, 0), 0, vec![entry(2, "lost")])]);
    assert_eq!(s3.log()[1..], [entry(2, "lost")]);
    // Server 2 leads term 3, in which another first entry was committed, and begins with its second.
    let answer = deliver(&mut s3, &[append_to_3(2, 3, (1, 3), 1, vec![entry(3, "second")])]);
    let rejection = RaftMessage::AppendEntriesResponse { src: 3, dest: 2, term: 3, success: false, match_index: 0 };
    assert_eq!(s3.commit_index(), 0);
    assert_eq!(answer, [rejection]);
    // It is committed once the right entry is there.
    deliver(&mut s3, &[append_to_3(2, 3, (0, 0), 1, vec![entry(3, "kept")])]);
    assert_eq!(s3.log()[1..], [entry(3, "kept")]);
    assert_eq!(s3.commit_index(), 1);
}

#[test]
fn trap_3_a_follower_commits_no_further_than_it_has_verified() {
    let mut s3 = server();
    deliver(&mut s3, &[append_to_3(1, 2, (0, 0), 5, vec![])]);
    assert_eq!(s3.commit_index(), 0);
    let entries = vec![entry(2, "a"), entry(2, "b")];
    deliver(&mut s3, &[append_to_3(1, 2, (0, 0), 5, entries)]);
    assert_eq!(s3.commit_index(), 2);
}

#[test]
fn trap_4_a_rejection_that_comes_often_stops_at_the_first_entry() {
    let mut leader = leader_by_the_vote_of_2();
    client_request(&mut leader, 1, "a");
    let rejection = RaftMessage::AppendEntriesResponse { src: 2, dest: 1, term: 2, success: false, match_index: 0 };
    for _ in 0..5 {
        let again = deliver(&mut leader, std::slice::from_ref(&rejection));
        let from_the_start = RaftMessage::AppendEntriesRequest {
            src: 1,
            dest: 2,
            term: 2,
            prev_index: 0,
            prev_term: 0,
            commit_index: 0,
            entries: vec![entry(2, "a")],
        };
        assert_eq!(again, [from_the_start]);
    }
}

#[test]
fn trap_5_a_late_vote_leaves_the_leaders_progress_alone() {
    let (mut leader, mut s2) = (leader_by_the_vote_of_2(), server());
    client_request(&mut leader, 1, "a");
    let request = append_entries_to(&mut leader, 1, &[2]);
    let accepted = deliver(&mut s2, &request);
    deliver(&mut leader, &accepted);
    assert_eq!(leader.commit_index(), 1);

    let before = append_entries_to(&mut leader, 1, &[2, 3]);
    assert_eq!(deliver(&mut leader, &[vote(3, 1, 2, true)]), []);
    assert_eq!(append_entries_to(&mut leader, 1, &[2, 3]), before);
    // Server 2 needs nothing but the news of the commitment; server 3 still needs the entry.
    let to_2 = RaftMessage::AppendEntriesRequest {
        src: 1,
        dest: 2,
        term: 2,
        prev_index: 1,
        prev_term: 2,
        commit_index: 1,
        entries: vec![],
    };
    let to_3 = RaftMessage::AppendEntriesRequest {
        src: 1,
        dest: 3,
        term: 2,
        prev_index: 0,
        prev_term: 0,
        commit_index: 1,
        entries: vec![entry(2, "a")],
    };
    assert_eq!(before, [to_2, to_3]);
}

#[test]
fn trap_6_a_restart_keeps_the_vote() {
    let (mut s1, mut s2, mut s3) = (server(), server(), server());
    let from_1 = time_out(&mut s1, 1, &[2, 3]);
    let from_2 = time_out(&mut s2, 2, &[1, 3]);
    let (to_3_from_1, to_3_from_2) = (&from_1[1..], &from_2[1..]);
    assert_eq!(deliver(&mut s3, to_3_from_1), [vote(3, 1, 2, true)]);
    s3.restart();
    assert_eq!(deliver(&mut s3, to_3_from_2), [vote(3, 2, 2, false)]);
    // The one that it voted for may ask again.
    assert_eq!(deliver(&mut s3, to_3_from_1), [vote(3, 1, 2, true)]);
}

#[test]
fn trap_6_a_restart_keeps_term_and_log_and_nothing_else() {
    let mut leader = leader_by_the_vote_of_2();
    client_request(&mut leader, 1, "a");
    leader.restart();
    assert_eq!(*leader.server_state(), ServerState::Follower);
    assert_eq!((leader.current_term(), leader.commit_index()), (2, 0));
    assert_eq!(leader.log()[1..], [entry(2, "a")]);
    // The vote for itself counts too: it gives no other away in this term.
    let request = RaftMessage::RequestVoteRequest { src: 3, dest: 1, term: 2, last_log_index: 9, last_log_term: 2 };
    assert_eq!(deliver(&mut leader, &[request]), [vote(1, 3, 2, false)]);
}

#[test]
fn trap_7_a_single_server_leads_and_commits() {
    let mut only = server();
    assert_eq!(time_out(&mut only, 1, &[]), []);
    assert!(is_leader(&only));
    client_request(&mut only, 1, "a");
    assert_eq!((only.log().len(), only.commit_index()), (2, 1));
}

#[test]
fn trap_7_stray_responses_do_nothing() {
    let accepted =
        |src, term, match_index| RaftMessage::AppendEntriesResponse { src, dest: 1, term, success: true, match_index };
    let strays = [
        vote(2, 1, 1, true),
        vote(2, 1, 0, true),
        accepted(2, 1, 0),
        accepted(7, 1, 3),
        accepted(usize::MAX, 1, usize::MAX),
    ];
    let mut follower = server();
    assert_eq!(deliver(&mut follower, &strays), []);
    assert_eq!(*follower.server_state(), ServerState::Follower);
    assert_eq!((follower.current_term(), follower.commit_index()), (1, 0));
    // On a leader, those of its own term are no better: a stranger counts for nothing, nor does what cannot be.
    let mut leader = leader_by_the_vote_of_2();
    client_request(&mut leader, 1, "a");
    let strays = [accepted(7, 2, 1), accepted(2, 2, 2), accepted(1, 2, 1)];
    assert_eq!(deliver(&mut leader, &strays), []);
    assert_eq!(leader.commit_index(), 0);
}

#[test]
fn trap_7_servers_may_have_any_ids() {
    let (mut s10, mut s900) = (server(), server());
    let requests = time_out(&mut s10, 10, &[900, usize::MAX]);
    let votes = deliver(&mut s900, &requests[..1]);
    deliver(&mut s10, &votes);
    assert!(is_leader(&s10));
    client_request(&mut s10, 10, "a");
    let requests = append_entries_to(&mut s10, 10, &[900]);
    let accepted = deliver(&mut s900, &requests);
    deliver(&mut s10, &accepted);
    assert_eq!(s900.log(), s10.log());
    assert_eq!(s10.commit_index(), 1);
    // 0 is an id like any other.
    let mut s0 = server();
    time_out(&mut s0, 0, &[]);
    assert!(is_leader(&s0));
}

#[test]
fn trap_8_an_order_to_lead_is_no_election() {
    let become_leader = |dest, followers: &[usize]| RaftMessage::BecomeLeader { dest, followers: followers.to_vec() };
    let mut follower = server();
    assert_eq!(deliver(&mut follower, &[become_leader(1, &[2, 3])]), []);
    assert_eq!(*follower.server_state(), ServerState::Follower);
    // A candidate with one vote of three does not win by naming a smaller cluster either.
    let mut candidate = server();
    time_out(&mut candidate, 1, &[2, 3]);
    assert_eq!(deliver(&mut candidate, &[become_leader(1, &[])]), []);
    assert_eq!(*candidate.server_state(), ServerState::Candidate);
    // A leader that was deposed still has the votes of its old term.
    let mut deposed = leader_by_the_vote_of_2();
    deliver(&mut deposed, &[vote(3, 1, 3, false)]);
    assert_eq!(deliver(&mut deposed, &[become_leader(1, &[2, 3])]), []);
    assert_eq!(*deposed.server_state(), ServerState::Follower);
    // And one that won sends its heartbeats, with its progress unharmed.
    let mut leader = leader_by_the_vote_of_2();
    client_request(&mut leader, 1, "a");
    let entries = append_entries_to(&mut leader, 1, &[2, 3]);
    assert_eq!(deliver(&mut leader, &[become_leader(1, &[2, 3])]), entries);
}

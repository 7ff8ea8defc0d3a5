//! The module `raftmodel` from outside: whole clusters, the logs of the paper's figures, a hostile network.

mod random;

use outrigger_model::raftmodel::*;
use random::Random;
use std::collections::BTreeMap;

type Server = RaftServer<u8>;
type Message = RaftMessage<u8>;

/// A log with entries of `terms`; the same value in all, as the figures have none.
fn log_of(terms: &[usize]) -> Vec<LogEntry<u8>> {
    let entries = terms.iter().map(|term| LogEntry { term: *term, item: 7 });
    [LogEntry::default()].into_iter().chain(entries).collect()
}

/// The servers 1 to n with these logs; index 0 is not used.
fn servers(logs: &[&[usize]]) -> Vec<Server> {
    let logs = [&[][..]].into_iter().chain(logs.iter().copied());
    logs.map(|terms| RaftServer::new(log_of(terms))).collect()
}

fn dest(message: &Message) -> usize {
    match message {
        RaftMessage::ClientRequest { dest, .. }
        | RaftMessage::BecomeLeader { dest, .. }
        | RaftMessage::AppendEntries { dest, .. }
        | RaftMessage::AppendEntriesRequest { dest, .. }
        | RaftMessage::AppendEntriesResponse { dest, .. }
        | RaftMessage::TimeOut { dest, .. }
        | RaftMessage::RequestVoteRequest { dest, .. }
        | RaftMessage::RequestVoteResponse { dest, .. } => *dest,
    }
}

/// Delivers `message` and all that follows from it, losing nothing.
fn run(servers: &mut [Server], message: Message) {
    let mut network = vec![message];
    let mut delivered = 0;
    while let Some(message) = network.pop() {
        network.extend(servers[dest(&message)].handle_message(message));
        delivered += 1;
        assert!(delivered < 1_000, "the servers never fall silent");
    }
}

/// All servers but `dest`.
fn others(servers: &[Server], dest: usize) -> Vec<usize> {
    (1..servers.len()).filter(|id| *id != dest).collect()
}

fn elect(servers: &mut [Server], dest: usize) {
    let followers = others(servers, dest);
    run(servers, RaftMessage::TimeOut { dest, followers });
}

fn replicate(servers: &mut [Server], dest: usize) {
    let followers = others(servers, dest);
    run(servers, RaftMessage::AppendEntries { dest, followers });
}

#[test]
fn figure_6_followers_that_are_behind_catch_up() {
    let leader_log = [1, 1, 1, 2, 3, 3, 3, 3];
    let mut cluster = servers(&[&leader_log, &[1, 1, 1, 2, 3], &leader_log, &[1, 1], &leader_log[..7]]);
    elect(&mut cluster, 1);
    assert_eq!(*cluster[1].server_state(), ServerState::Leader);
    assert_eq!(cluster[1].current_term(), 4);
    replicate(&mut cluster, 1);
    assert!(cluster[1..].iter().all(|server| server.log() == cluster[1].log()));
    // All hold all of it, and yet none of it is of the leader's term (section 5.4.2).
    assert_eq!(cluster[1].commit_index(), 0);
    run(&mut cluster, RaftMessage::ClientRequest { dest: 1, value: 9 });
    replicate(&mut cluster, 1);
    assert_eq!(cluster[1].commit_index(), 9);
    replicate(&mut cluster, 1);
    assert!(cluster[1..].iter().all(|server| server.commit_index() == 9));
}

#[test]
fn figure_7_followers_that_differ_are_brought_into_line() {
    let mut cluster = servers(&[
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ]);
    // Server 5 led term 7, so server 1 wins none before term 8: of its first attempt nobody hears.
    let followers = others(&cluster, 1);
    cluster[1].handle_message(RaftMessage::TimeOut { dest: 1, followers });
    elect(&mut cluster, 1);
    assert_eq!(*cluster[1].server_state(), ServerState::Leader);
    assert_eq!(cluster[1].current_term(), 8);
    run(&mut cluster, RaftMessage::ClientRequest { dest: 1, value: 9 });
    replicate(&mut cluster, 1);
    replicate(&mut cluster, 1);
    let end = log_of(&[1, 1, 1, 4, 4, 5, 5, 6, 6, 6]);
    assert_eq!(cluster[1].log()[..11], end);
    assert!(cluster[1..].iter().all(|server| server.log() == cluster[1].log()));
    assert!(cluster[1..].iter().all(|server| server.commit_index() == 11));
}

#[test]
fn the_newer_log_wins_the_election() {
    let logs: [&[usize]; 5] =
        [&[1, 1, 1, 2, 3, 3, 3, 3], &[1, 1, 1, 2, 3], &[1, 1, 1, 2, 3, 3, 3, 3], &[1, 1], &[1, 1, 1, 2, 3, 3, 3]];
    // Section 5.4.1: a later last term, or the same and a longer log. Server 4 has only itself to vote for it.
    let winners = [1, 2, 3, 4, 5].map(|candidate| {
        let mut cluster = servers(&logs);
        elect(&mut cluster, candidate);
        *cluster[candidate].server_state() == ServerState::Leader
    });
    assert_eq!(winners, [true, false, true, false, true]);
}

#[test]
fn a_message_for_another_server_is_ignored() {
    let mut server: Server = RaftServer::new(create_empty_log());
    server.handle_message(RaftMessage::TimeOut { dest: 1, followers: vec![] });
    let before = server.clone();
    let stray = RaftMessage::ClientRequest { dest: 2, value: 1 };
    assert_eq!(server.handle_message(stray), []);
    assert_eq!(server, before);
}

#[test]
fn a_request_of_many_entries_does_what_append_entries_does() {
    let mut random = Random(11);
    let mut accepted = 0;
    for _ in 0..5_000 {
        let mut ascending = |length_max: usize| {
            let mut terms: Vec<usize> = (0..random.below(length_max + 1)).map(|_| 1 + random.below(3)).collect();
            terms.sort_unstable();
            terms
        };
        let mut log = log_of(&ascending(5));
        let entries = log_of(&ascending(4)).split_off(1);
        let (prev_index, prev_term) = (random.below(6), random.below(4));
        let mut follower = RaftServer::new(log.clone());
        let answer = follower.handle_message(RaftMessage::AppendEntriesRequest {
            src: 2,
            dest: 1,
            term: 3,
            prev_index,
            prev_term,
            commit_index: 9,
            entries: entries.clone(),
        });
        let last = prev_index + entries.len();
        let success = append_entries(&mut log, prev_index, prev_term, entries);
        let expected = RaftMessage::AppendEntriesResponse {
            src: 1,
            dest: 2,
            term: 3,
            success,
            match_index: if success { last } else { 0 },
        };
        assert_eq!(answer, [expected]);
        assert_eq!(follower.log(), &log);
        assert_eq!(follower.commit_index(), if success { last } else { 0 });
        accepted += usize::from(success);
    }
    assert!((1_000..4_000).contains(&accepted), "{accepted} accepted");
}

/// Who led which term, and what was committed where, over a whole run.
#[derive(Default)]
struct Seen {
    leaders: BTreeMap<usize, usize>,
    committed: BTreeMap<usize, LogEntry<u8>>,
}

impl Seen {
    fn observe(&mut self, id: usize, server: &Server, seed: u64) {
        if *server.server_state() == ServerState::Leader {
            let leader = *self.leaders.entry(server.current_term()).or_insert(id);
            assert_eq!(leader, id, "seed {seed}: two leaders in term {}", server.current_term());
        }
        for index in 1..=server.commit_index() {
            let entry = &server.log()[index];
            let first = self.committed.entry(index).or_insert_with(|| entry.clone());
            assert_eq!(first, entry, "seed {seed}: two entries committed at {index}");
        }
    }
}

/// An order for a random server.
fn order(random: &mut Random, count: usize) -> Message {
    let dest = 1 + random.below(count);
    let followers = (1..=count).filter(|id| *id != dest).collect();
    match random.below(12) {
        0 => RaftMessage::TimeOut { dest, followers },
        1 => RaftMessage::BecomeLeader { dest, followers },
        2..5 => RaftMessage::ClientRequest { dest, value: u8::try_from(random.below(256)).expect("a byte") },
        _ => RaftMessage::AppendEntries { dest, followers },
    }
}

#[test]
fn a_network_that_loses_doubles_and_reorders_breaks_nothing() {
    let (mut leaders, mut committed) = (0, 0);
    for seed in 0..60 {
        let mut random = Random(seed);
        let count = 2 + random.below(4);
        let logs = vec![&[][..]; count];
        let mut cluster = servers(&logs);
        let mut network: Vec<Message> = Vec::new();
        let mut seen = Seen::default();
        for _ in 0..3_000 {
            let message = match random.below(20) {
                _ if network.is_empty() => order(&mut random, count),
                0..4 => order(&mut random, count),
                4 => network[random.below(network.len())].clone(),
                _ => network.swap_remove(random.below(network.len())),
            };
            let id = dest(&message);
            match random.below(200) {
                0 => cluster[id].restart(),
                1..10 => {}
                _ => network.extend(cluster[id].handle_message(message)),
            }
            network.truncate(40);
            seen.observe(id, &cluster[id], seed);
        }
        leaders += seen.leaders.len();
        committed += seen.committed.len();
    }
    assert!(leaders >= 500 && committed >= 500, "{leaders} leaders, {committed} committed");
}

/// Any number a message may hold: mostly small, sometimes absurd.
fn number(random: &mut Random) -> usize {
    match random.below(10) {
        0 => usize::MAX,
        1 => usize::MAX - 1,
        _ => random.below(5),
    }
}

/// Any message at all, also such as no server sends.
fn any_message(random: &mut Random) -> Message {
    let (src, dest, term) = (number(random), 1, number(random));
    let numbers = |random: &mut Random| (0..random.below(4)).map(|_| number(random)).collect();
    match random.below(8) {
        0 => RaftMessage::ClientRequest { dest, value: 1 },
        1 => RaftMessage::BecomeLeader { dest, followers: numbers(random) },
        2 => RaftMessage::AppendEntries { dest, followers: numbers(random) },
        3 => RaftMessage::TimeOut { dest, followers: numbers(random) },
        4 => RaftMessage::AppendEntriesRequest {
            src,
            dest,
            term,
            prev_index: number(random),
            prev_term: number(random),
            commit_index: number(random),
            entries: log_of(&numbers(random)).split_off(1),
        },
        5 => RaftMessage::AppendEntriesResponse {
            src,
            dest,
            term,
            success: random.below(2) == 0,
            match_index: number(random),
        },
        6 => RaftMessage::RequestVoteRequest {
            src,
            dest,
            term,
            last_log_index: number(random),
            last_log_term: number(random),
        },
        _ => RaftMessage::RequestVoteResponse { src, dest, term, vote_granted: random.below(2) == 0 },
    }
}

#[test]
fn no_message_brings_a_server_down() {
    let mut leaders = 0;
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let mut server: Server = RaftServer::new(vec![]);
        for _ in 0..40 {
            let term = server.current_term();
            server.handle_message(any_message(&mut random));
            let terms = server.log().iter().map(|entry| entry.term);
            assert!(terms.clone().is_sorted(), "seed {seed}: {:?}", server.log());
            assert!(terms.max() <= Some(server.current_term()), "seed {seed}");
            assert!(server.commit_index() < server.log().len(), "seed {seed}");
            assert!(server.current_term() >= term, "seed {seed}");
            leaders += usize::from(*server.server_state() == ServerState::Leader);
        }
    }
    assert!(leaders > 1_000, "{leaders} steps as a leader");
}

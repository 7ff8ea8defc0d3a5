//! Snapshots in the extended model: every state within some bounds, what installing one does, and what the invariants notice
//! if it covers what it must not.

use outrigger_model::explore::{Script, Search, Verdict};
use outrigger_model::extended::{Action, Bounds, Explored, Role, System, Write, check_state};
use outrigger_model::{Entry, LogIndex, ServerId, ServerSet, Term};

const S1: ServerId = ServerId(1);
const S2: ServerId = ServerId(2);

/// s1 led in term 1 and has an entry of its own; s2 leads in term 2, and has committed another in its place, with s3.
const CONFLICT: &str = "Timeout(s1); UpdateTerm(s2, term 1); GrantVote(s2, s1); BecomeLeader(s1); ClientRequest(s1, [0]); \
                        Timeout(s2); UpdateTerm(s3, term 2); GrantVote(s3, s2); BecomeLeader(s2); ClientRequest(s2, [0]); \
                        HandleAppendEntries(s3, from s2, behind 0 up to 1); AdvanceCommitIndex(s2, index 1)";

fn bounds([term_max, log_max]: [usize; 2], restarts: bool, is_instant: bool) -> Bounds {
    Bounds { term_max, log_max, batch_max: 1, reads: 0, leases: false, restarts, snapshots: true, is_instant }
}

/// Visits every state behind a script, finds nothing wrong in any, and counts the steps and the states.
fn exhaust(servers: usize, bounds: Bounds, script: &str) -> [u64; 2] {
    let search = Search::new(Explored::new(servers, bounds)).after(Script::parse(script));
    let report = search.run().expect("the script can be taken");
    match report.verdict {
        Verdict::Exhausted => [report.generated, report.distinct],
        Verdict::Violated(found) => panic!("{found}"),
        Verdict::NotExhausted { waiting } => panic!("{waiting} states wait"),
    }
}

#[test]
fn two_servers_with_crashes_in_two_terms_are_always_right() {
    let with = bounds([2, 1], true, false);
    assert_eq!(exhaust(2, with, ""), [521_733, 52_907]);
    assert_eq!(exhaust(2, Bounds { snapshots: false, ..with }, ""), [487_841, 48_883], "without snapshots");
}

#[test]
fn two_servers_with_longer_logs_in_two_terms_are_always_right() {
    assert_eq!(exhaust(2, bounds([2, 2], false, false), ""), [181_921, 57_848]);
}

#[test]
fn a_snapshot_meets_what_it_conflicts_with_and_nothing_is_wrong() {
    assert_eq!(exhaust(3, bounds([2, 2], false, true), CONFLICT), [6_799, 1_256]);
    assert_eq!(exhaust(3, bounds([2, 2], true, true), CONFLICT), [352_199, 24_924], "with crashes");
}

/// The state behind [`CONFLICT`], all writes of s1 durable.
fn conflict() -> System<u8> {
    let mut system = System::new(&ServerSet::first(3));
    let s3 = ServerId(3);
    let flush = |i, count| Action::Flush(i, count);
    for action in [
        Action::Timeout(S1),
        flush(S1, 1),
        Action::CountVote(S1, S1),
        Action::UpdateTerm(S2, Term(1)),
        Action::GrantVote(S2, S1),
        flush(S2, 2),
        Action::CountVote(S1, S2),
        Action::BecomeLeader(S1),
        Action::ClientRequest(S1, vec![1, 1]),
        flush(S1, 2),
        Action::Timeout(S2),
        flush(S2, 1),
        Action::CountVote(S2, S2),
        Action::UpdateTerm(s3, Term(2)),
        Action::GrantVote(s3, S2),
        flush(s3, 2),
        Action::CountVote(S2, s3),
        Action::BecomeLeader(S2),
        Action::ClientRequest(S2, vec![2, 3, 4]),
        flush(S2, 3),
        Action::HandleAppendEntries { server: s3, leader: S2, prev: LogIndex(0), last: LogIndex(2) },
        flush(s3, 2),
        Action::HandleAcknowledgement(S2, s3, LogIndex(2)),
        Action::AdvanceCommitIndex(S2, LogIndex(2)),
    ] {
        system.apply(&action).expect("the story can be told");
    }
    system
}

fn install(last: usize) -> Action<u8> {
    Action::InstallSnapshot { server: S1, term: Term(2), last: LogIndex(last) }
}

#[test]
fn what_a_snapshot_covers_takes_the_place_of_what_was_not_committed() {
    let mut system = conflict();
    system.apply(&Action::UpdateTerm(S1, Term(2))).unwrap();
    system.apply(&install(2)).unwrap();
    let server = system.servers.at(S1).unwrap();
    let entries = [2, 3].map(|value| Entry { term: Term(2), value });
    assert_eq!(server.log.iter().map(|(_, entry)| *entry).collect::<Vec<_>>(), entries);
    assert_eq!((server.commit_index, server.verified, server.role), (LogIndex(2), LogIndex(2), Role::Follower));
    assert_eq!(server.pending.iter().skip(1).collect::<Vec<_>>(), [&Write::Install(LogIndex(0), entries.to_vec())]);
    assert_eq!(
        (server.durable_index(), server.disk.log.len()),
        (LogIndex(0), LogIndex(2)),
        "the old entries do not count"
    );
    // The vote and the snapshot become durable, each as a whole.
    let held = [0, 2].map(|index| {
        system.apply(&Action::Flush(S1, 1)).unwrap();
        assert_eq!(check_state(&system), Ok(()));
        assert_eq!(system.servers.at(S1).unwrap().durable_index(), LogIndex(index));
        system.said.acknowledged.get(&(Term(2), S1)).copied()
    });
    assert_eq!(held, [None, Some(LogIndex(2))], "it is acknowledged once it is durable");
}

#[test]
fn a_log_that_holds_what_a_snapshot_covers_stays() {
    let mut system = conflict();
    system.apply(&Action::UpdateTerm(S1, Term(2))).unwrap();
    let append = Action::HandleAppendEntries { server: S1, leader: S2, prev: LogIndex(0), last: LogIndex(3) };
    system.apply(&append).unwrap();
    let before = system.servers.at(S1).unwrap().clone();
    system.apply(&install(1)).unwrap();
    let server = system.servers.at(S1).unwrap();
    assert_eq!((&server.log, &server.pending), (&before.log, &before.pending));
    assert_eq!((server.commit_index, server.verified), (LogIndex(1), LogIndex(3)));
}

#[test]
fn a_snapshot_of_what_is_not_committed_or_not_known_yet_is_refused() {
    let mut system = conflict();
    let refused = |system: &mut System<u8>, action: &Action<u8>| {
        let before = system.clone();
        let needs = system.apply(action).unwrap_err().needs;
        assert_eq!(*system, before, "{action}");
        needs
    };
    assert_eq!(refused(&mut system, &install(2)), "that term is not later than its own");
    system.apply(&Action::UpdateTerm(S1, Term(2))).unwrap();
    assert_eq!(refused(&mut system, &install(3)), "the leader of that term has committed so much");
    system.servers.at_mut(S1).unwrap().role = Role::Leader;
    assert_eq!(refused(&mut system, &install(2)), "a leader's log holds all that was committed before its term");
    let server = system.servers.at_mut(S1).unwrap();
    (server.role, server.commit_index) = (Role::Follower, LogIndex(2));
    assert_eq!(refused(&mut system, &install(2)), "what is committed stays");
}

/// A snapshot is kept beside the log: one that a server found at its start before its term was durable could be of what no
/// leader of its term knows. What it had acknowledged to that leader would be gone, although its term went on.
#[test]
fn a_snapshot_of_a_later_term_than_the_disk_has_is_noticed() {
    let mut system = conflict();
    // What it holds of the log of term 1 is as good as acknowledged.
    system.said.acknowledged.insert((Term(1), S1), LogIndex(2));
    system.apply(&Action::Restart { server: S1, kept: 0, votes: 0, commit: LogIndex(0) }).unwrap();
    assert_eq!(check_state(&system), Ok(()));
    system.servers.at_mut(S1).unwrap().current_term = Term(2);
    system.apply(&install(1)).unwrap();
    system.apply(&Action::Flush(S1, 1)).unwrap();
    system.servers.at_mut(S1).unwrap().current_term = Term(1);
    assert_eq!(check_state(&system).unwrap_err().invariant, "PromiseKept");
}

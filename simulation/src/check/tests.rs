//! The judge is worth something only if it notices: each test shows it one thing that must not be, beside things that may.

use std::collections::BTreeMap;

use outrigger::engine::{
    AppendEntriesReply, AppendOutcome, Epoch, HeartbeatReply, InstallSnapshotReply, LogTime, Node, RequestId, Round,
    SnapshotId, Token, Vote, VoteReply, VoteRequest, Warrant,
};

use super::*;
use crate::look::Look;
use crate::machine::{Machine, Write};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

/// A log whose entries have these terms.
fn log(terms: &[u64]) -> Stamps {
    let stamp =
        |(index, term): (u64, &u64)| Stamp { id: LogId::new(*term, index), log_time: LogTime(index), digest: 7 };
    Stamps((1..).zip(terms).map(stamp).collect())
}

fn disk(terms: &[u64], vote: Vote) -> Durable {
    let mut disk = Durable::default();
    (disk.vote, disk.log) = (vote, log(terms));
    disk
}

const fn vote(term: u64, candidate: NodeId) -> Vote {
    Vote { term: Term(term), voted_for: Some(candidate) }
}

/// A node of three as a step has left it.
struct Seen3 {
    life: u64,
    callers: Callers,
    look: Look,
    log: Stamps,
    disks: BTreeMap<NodeId, Durable>,
}

fn seen(node: NodeId, role: RoleKind, term: u64, terms: &[u64], commit: u64) -> Seen3 {
    let log = log(terms);
    let look = Look {
        node,
        role,
        term: Term(term),
        vote: Vote::default(),
        leader: None,
        last: log.last(),
        flushed: log.last().index,
        commit: LogIndex(commit),
        applied: LogIndex(0),
        membership_at: LogId::ZERO,
        heir: None,
        awaits_heir: false,
    };
    let disks = [1, 2, 3].map(|id| (NodeId(id), disk(terms, Vote::default()))).into();
    Seen3 { life: 1, callers: Callers::default(), look, log, disks }
}

impl Seen3 {
    fn shown_to(&self, judge: &mut Judge) -> Result<Vec<LogIndex>, Violation> {
        let members = [1, 2, 3].map(|id| (NodeId(id), Node::default()));
        self.counting_by(&Membership::new(members, []), None, judge)
    }

    fn counting_by(
        &self,
        membership: &Membership,
        counted_by: Option<(LogId, &Membership)>,
        judge: &mut Judge,
    ) -> Result<Vec<LogIndex>, Violation> {
        let disks = |id: NodeId| self.disks.get(&id);
        judge
            .observe(&Observed {
                life: self.life,
                may_halt: false,
                look: &self.look,
                membership,
                counted_by,
                log: &self.log,
                checked: 0,
                callers: &self.callers,
                disks: &disks,
            })
            .map(|new| new.map(LogIndex).collect())
    }
}

/// The judge sees these one after the other; which check does the last of them violate?
fn violated(sights: &[Seen3]) -> Check {
    let mut judge = Judge::default();
    let (last, before) = sights.split_last().expect("something is seen");
    before.iter().for_each(|sight| assert_eq!(sight.shown_to(&mut judge).err(), None));
    last.shown_to(&mut judge).expect_err("nobody noticed").check
}

use RoleKind::{Follower, Halted, Leader};

#[test]
fn two_leaders_in_one_term_are_noticed() {
    assert_eq!(violated(&[seen(ONE, Leader, 2, &[1], 0), seen(TWO, Leader, 2, &[1], 0)]), Check::ElectionSafety);
}

#[test]
fn logs_that_part_before_an_entry_of_both_are_noticed() {
    assert_eq!(
        violated(&[seen(ONE, Follower, 3, &[1, 1, 3], 0), seen(TWO, Follower, 3, &[1, 2, 3], 0)]),
        Check::LogMatching
    );
    assert_eq!(violated(&[seen(ONE, Follower, 3, &[2, 1], 0)]), Check::LogMatching);
    let mut other = seen(TWO, Follower, 1, &[1], 0);
    other.log.0[0].digest = 8;
    assert_eq!(violated(&[seen(ONE, Follower, 1, &[1], 0), other]), Check::LogMatching);
}

#[test]
fn log_time_that_goes_back_is_noticed() {
    let mut back = seen(ONE, Follower, 1, &[1, 1], 0);
    back.log.0[1].log_time = LogTime(0);
    assert_eq!(violated(&[back]), Check::LogTime);
}

#[test]
fn a_leader_that_lacks_what_was_committed_is_noticed() {
    assert_eq!(
        violated(&[seen(ONE, Leader, 1, &[1, 1], 2), seen(TWO, Leader, 2, &[1, 2], 0)]),
        Check::LeaderCompleteness
    );
}

#[test]
fn two_committed_entries_at_one_index_are_noticed() {
    assert_eq!(
        violated(&[seen(ONE, Follower, 2, &[1, 1], 2), seen(TWO, Follower, 2, &[1, 2], 2)]),
        Check::StateMachineSafety
    );
}

#[test]
fn a_commit_that_no_quorum_holds_is_noticed() {
    let mut alone = seen(ONE, Leader, 1, &[1, 1], 2);
    alone.disks = BTreeMap::from([(ONE, disk(&[1, 1], Vote::default())), (TWO, disk(&[1], Vote::default()))]);
    assert_eq!(violated(&[alone]), Check::CommittedOnQuorum);
}

#[test]
fn terms_commits_and_what_is_applied_do_not_go_back_while_a_node_lives() {
    assert_eq!(violated(&[seen(ONE, Follower, 3, &[1], 0), seen(ONE, Follower, 2, &[1], 0)]), Check::Monotonic);
    assert_eq!(violated(&[seen(ONE, Follower, 3, &[1, 1], 2), seen(ONE, Follower, 3, &[1, 1], 1)]), Check::Monotonic);
    let mut applied = seen(ONE, Follower, 3, &[1, 1], 1);
    applied.look.applied = LogIndex(2);
    assert_eq!(violated(&[applied]), Check::Monotonic);
}

#[test]
fn a_node_that_halts_or_tells_of_another_log_is_noticed() {
    assert_eq!(violated(&[seen(ONE, Halted, 1, &[1], 0)]), Check::Health);
    let mut other = seen(ONE, Follower, 1, &[1, 1], 0);
    other.look.last = LogId::new(1, 1);
    assert_eq!(violated(&[other]), Check::Health);
}

#[test]
fn a_leader_that_truncates_is_noticed() {
    let mut judge = Judge::default();
    let leader = seen(ONE, Leader, 1, &[1], 0);
    leader.shown_to(&mut judge).unwrap();
    assert_eq!(judge.truncated(&leader.look).unwrap_err().check, Check::LeaderAppendOnly);
    assert_eq!(judge.truncated(&seen(ONE, Follower, 2, &[1], 0).look), Ok(()));
}

fn said(judge: &mut Judge, message: &Message, disk: &Durable) -> Option<Check> {
    judge.said((ONE, Term(2)), TWO, message, disk).err().map(|violation| violation.check)
}

fn granted(term: u64) -> Message {
    Message::RequestVoteReply(VoteReply { term: Term(term), asked: Term(term), granted: true })
}

#[test]
fn a_vote_that_is_not_on_the_disk_is_noticed_and_so_is_a_second_one() {
    let mut judge = Judge::default();
    assert_eq!(said(&mut judge, &granted(2), &disk(&[], vote(2, TWO))), None);
    assert_eq!(said(&mut judge, &granted(2), &disk(&[], vote(3, ONE))), None, "it has voted, and gone on");
    assert_eq!(said(&mut judge, &granted(4), &disk(&[], vote(3, TWO))), Some(Check::Promise));
    let own = Message::RequestVote(VoteRequest { term: Term(2), last: LogId::ZERO, warrant: Warrant::None });
    assert_eq!(said(&mut judge, &own, &disk(&[], vote(2, ONE))), Some(Check::OneVote));
}

#[test]
fn an_acknowledgement_of_what_is_not_on_the_disk_is_noticed() {
    let mut judge = Judge::default();
    let matched = |index| {
        let outcome = AppendOutcome::Matched(LogIndex(index));
        Message::AppendEntriesReply(AppendEntriesReply {
            term: Term(2),
            epoch: Epoch(1),
            request: RequestId(1),
            outcome,
        })
    };
    assert_eq!(said(&mut judge, &matched(1), &disk(&[1], vote(2, TWO))), None);
    assert_eq!(said(&mut judge, &matched(2), &disk(&[1], vote(2, TWO))), Some(Check::Promise));
    assert_eq!(said(&mut judge, &matched(1), &disk(&[1], vote(1, TWO))), Some(Check::Promise), "nor is its term");
    let term = Term(2);
    let beat = |matched| {
        let (received, matched) = (LogIndex(2), LogIndex(matched));
        Message::HeartbeatReply(HeartbeatReply { term, asked: term, round: Round(1), received, matched })
    };
    assert_eq!(said(&mut judge, &beat(0), &disk(&[], vote(1, TWO))), Some(Check::Promise));
    assert_eq!(said(&mut judge, &beat(1), &disk(&[1], vote(2, TWO))), None);
    assert_eq!(said(&mut judge, &beat(2), &disk(&[1], vote(2, TWO))), Some(Check::Promise));
    let snapshot = SnapshotId { last: LogId::new(1, 1), bytes: 9, checksum: 9 };
    let (epoch, request) = (Epoch(1), RequestId(1));
    let held = Message::InstallSnapshotReply(InstallSnapshotReply { term, epoch, request, snapshot, held: Some(9) });
    assert_eq!(said(&mut judge, &held, &disk(&[1], vote(1, TWO))), Some(Check::Promise));
    assert_eq!(said(&mut judge, &held, &disk(&[1], vote(2, TWO))), None);
}

#[test]
fn clients_that_are_told_what_is_not_so_are_noticed() {
    let write = |value| Write { key: 1, value };
    let (first, second) = (LogId::new(1, 2), LogId::new(1, 3));
    let told = || {
        let mut judge = ClientJudge::default();
        judge.committed(write(1), first).unwrap();
        judge.committed(write(2), second).unwrap();
        judge
    };
    let check = |outcome: Result<(), Violation>| outcome.expect_err("nobody noticed").check;
    assert_eq!(told().written(write(1), first, LogIndex(0), 0), Ok(()));
    assert_eq!(check(told().written(write(1), second, LogIndex(0), 0)), Check::Acknowledged);
    assert_eq!(check(told().written(write(1), first, LogIndex(2), 0)), Check::Acknowledged, "it began later than that");
    assert_eq!(check(told().refused(write(1))), Check::AtMostOnce);
    assert_eq!(check(told().committed(write(1), LogId::new(1, 9))), Check::AtMostOnce);
    let mut refused = told();
    refused.refused(write(3)).unwrap();
    assert_eq!(check(refused.committed(write(3), LogId::new(1, 9))), Check::AtMostOnce);
    let mut meant = told();
    meant.meant(write(3), Term(1));
    meant.meant(write(4), Term(1));
    assert_eq!(meant.committed(write(3), LogId::new(1, 9)), Ok(()));
    assert_eq!(check(meant.committed(write(4), LogId::new(2, 10))), Check::Precondition);
    assert_eq!(told().read((1, Some(1)), first.index, LogIndex(2), 0), Ok(()));
    assert_eq!(check(told().read((1, Some(2)), first.index, LogIndex(2), 0)), Check::LinearizableRead);
    assert_eq!(
        check(told().read((1, Some(1)), first.index, LogIndex(3), 0)),
        Check::LinearizableRead,
        "older than is known"
    );
    let mut lost = told();
    lost.written(write(1), first, LogIndex(0), 0).unwrap();
    assert_eq!(lost.kept("a log", |_| Some(first)), Ok(()));
    assert_eq!(check(lost.kept("a log", |_| None)), Check::Acknowledged);
    assert_eq!(check(lost.kept("a log", |_| Some(LogId::new(2, 2)))), Check::Acknowledged, "another term's");
    let shows = |values: &[(u64, u64)]| lost.shown("a state", &values.iter().copied().collect());
    assert_eq!((shows(&[(1, 1)]), shows(&[(1, 2), (2, 7)])), (Ok(()), Ok(())), "it, or what was written later");
    assert_eq!(check(shows(&[])), Check::Acknowledged);
    assert_eq!(check(shows(&[(1, 7)])), Check::Acknowledged, "what nobody has written");
    let mut later = told();
    later.written(write(2), second, LogIndex(0), 0).unwrap();
    assert_eq!(check(later.shown("a state", &[(1, 1)].into())), Check::Acknowledged, "what was written before");
}

#[test]
fn nodes_have_converged_only_when_all_have_applied_the_whole_chain_and_hold_nothing_else() {
    let chain = log(&[1, 1, 2]);
    let is_so = |applied: u64, held: &Stamps| {
        let mut look = seen(ONE, Follower, 2, &[1, 1, 2], 3).look;
        look.applied = LogIndex(3);
        let other = Look { applied: LogIndex(applied), ..look };
        converged([(&look, &chain), (&other, held)].into_iter(), &chain)
    };
    assert!(is_so(3, &chain));
    assert!(!is_so(2, &chain), "one has not applied all");
    assert!(!is_so(3, &log(&[1, 1, 2, 2])), "one holds more");
    assert!(!is_so(3, &log(&[1, 1])), "one holds less");
    let mut other = log(&[1, 1, 2]);
    other.0[1].digest = 8;
    assert!(!is_so(3, &other), "one holds something else");
}

/// A leader counts by what says who the members are, and by what said so before where that is decided by this step.
#[test]
fn what_a_leader_counted_by_is_committed_by_that() {
    let members = |ids: &[u64]| Membership::new(ids.iter().map(|id| (NodeId(*id), Node::default())), []);
    let (three, four) = (members(&[1, 2, 3]), members(&[1, 4, 5]));
    // Entry 2 says that 1, 2 and 3 are the voters, entry 3 that 1, 4 and 5 are.
    let judged = |held_by: [u64; 2], (was, role), commit: u64, counted_by: Option<(LogId, &Membership)>| {
        let mut judge = Judge::default();
        seen(ONE, was, 1, &[1], 1).shown_to(&mut judge).expect("all is well");
        let mut now = seen(ONE, role, 1, &[1, 1, 1], commit);
        now.look.membership_at = LogId::new(1, 3);
        let holds = |id: u64| (NodeId(id), disk(&[1, 1, 1], Vote::default()));
        now.disks = [1].into_iter().chain(held_by).map(holds).collect();
        now.counting_by(&four, counted_by, &mut judge).err().map(|violation| violation.check)
    };
    let at = LogId::new(1, 2);
    assert_eq!(judged([2, 3], (Leader, Leader), 2, Some((at, &three))), None);
    assert_eq!(
        judged([4, 5], (Leader, Leader), 2, Some((at, &three))),
        Some(Check::CommittedOnQuorum),
        "that 1, 2 and 3 vote was decided by others"
    );
    let long_ago = LogId::new(1, 1);
    assert_eq!(judged([4, 5], (Leader, Leader), 2, Some((long_ago, &three))), None, "that had been decided");
    assert_eq!(judged([2, 6], (Leader, Leader), 2, None), Some(Check::CommittedOnQuorum));
    // A leader that leaves its office in the same step has committed as a leader.
    assert_eq!(judged([2, 6], (Leader, Follower), 2, None), Some(Check::CommittedOnQuorum));
    assert_eq!(judged([4, 6], (Leader, Follower), 2, None), None);
    assert_eq!(judged([2, 6], (Follower, Follower), 2, None), None, "it was told so");
}

#[test]
fn a_third_log_is_held_against_every_entry_that_stood_at_an_index() {
    let mut third = seen(NodeId(3), Follower, 2, &[1, 2], 0);
    third.log.0[1].digest = 8;
    let sights = [seen(ONE, Follower, 1, &[1, 1], 0), seen(TWO, Follower, 2, &[1, 2], 0), third];
    assert_eq!(violated(&sights), Check::LogMatching);
}

#[test]
fn each_office_of_a_node_is_held_against_those_of_others() {
    let offices = [(TWO, 3), (ONE, 2), (ONE, 3)].map(|(node, term)| seen(node, Leader, term, &[1], 0));
    assert_eq!(violated(&offices), Check::ElectionSafety);
    // Who learns late that it was elected owes nothing to its own term.
    let mut judge = Judge::default();
    assert_eq!(seen(ONE, Follower, 2, &[1, 2], 2).shown_to(&mut judge).err(), None);
    assert_eq!(seen(TWO, Leader, 2, &[1, 2, 2], 0).shown_to(&mut judge).err(), None);
    assert_eq!(seen(NodeId(3), Follower, 2, &[1], 0).shown_to(&mut judge).err(), None);
    let mut late = Judge::default();
    assert_eq!(seen(ONE, Follower, 2, &[1, 2], 2).shown_to(&mut late).err(), None);
    assert_eq!(seen(TWO, Leader, 2, &[1], 0).shown_to(&mut late).err(), None);
}

#[test]
fn what_a_node_commits_in_a_later_life_is_held_against_the_chain_again() {
    let again = Seen3 { life: 2, ..seen(ONE, Follower, 2, &[1, 2], 2) };
    assert_eq!(violated(&[seen(ONE, Follower, 2, &[1, 1], 2), again]), Check::StateMachineSafety);
    assert_eq!(violated(&[seen(ONE, Follower, 1, &[1, 1], 3)]), Check::Health, "it lacks what it commits");
}

/// Who led once is told what is committed as others are.
#[test]
fn who_leads_no_more_commits_what_it_was_told() {
    let mut judge = Judge::default();
    seen(ONE, Leader, 1, &[1], 0).shown_to(&mut judge).expect("all is well");
    let mut follows = seen(ONE, Follower, 2, &[1, 1], 2);
    follows.disks = BTreeMap::new();
    assert_eq!(follows.shown_to(&mut judge).err(), None);
    seen(ONE, Leader, 3, &[1, 1], 2).shown_to(&mut judge).expect("all is well");
    let again = seen(ONE, Leader, 4, &[1], 0).look;
    assert_eq!(judge.truncated(&again), Ok(()), "it followed in between, in a term that nobody looked at");
}

#[test]
fn whoever_waits_for_entries_of_a_leader_that_has_changed_is_told() {
    let waits = |role, term| {
        let mut seen = seen(ONE, role, term, &[1, 1], 0);
        seen.callers.propose(Token(7), 1, false);
        assert_eq!(seen.callers.accepted(Token(7), LogId::new(1, 2), &Machine::default()), None);
        seen
    };
    let then = |before, now: Seen3| {
        let mut judge = Judge::default();
        seen(ONE, before, 1, &[1, 1], 0).shown_to(&mut judge).expect("all is well");
        now.shown_to(&mut judge).err().map(|violation| violation.check)
    };
    assert_eq!(then(Leader, waits(Follower, 1)), Some(Check::Answers), "it leads no more");
    assert_eq!(then(Follower, waits(Follower, 2)), Some(Check::Answers), "another term");
    assert_eq!((then(Leader, waits(Leader, 1)), then(Follower, waits(Follower, 1))), (None, None));
    let mut awaits = waits(Follower, 2);
    awaits.look.awaits_heir = true;
    assert_eq!(then(Follower, awaits), None, "in an orderly succession nothing is lost");
    let mut committed = waits(Follower, 2);
    committed.look.commit = LogIndex(2);
    assert_eq!(then(Follower, committed), None, "what is committed is not lost");
}

#[test]
fn what_is_applied_does_not_go_back_while_a_node_lives() {
    let applied = |life, applied| {
        let mut seen = Seen3 { life, ..seen(ONE, Follower, 1, &[1, 1], 2) };
        seen.look.applied = LogIndex(applied);
        seen
    };
    assert_eq!(violated(&[applied(1, 2), applied(1, 1)]), Check::Monotonic);
    let mut judge = Judge::default();
    assert_eq!(applied(1, 2).shown_to(&mut judge).err(), None);
    assert_eq!(applied(2, 0).shown_to(&mut judge).err(), None, "a restart begins anew");
}

#[test]
fn a_vote_is_kept_for_whom_it_was_given_and_known_until_another_server_has_the_name() {
    let mut judge = Judge::default();
    assert_eq!(said(&mut judge, &granted(2), &disk(&[], vote(2, ONE))), Some(Check::Promise), "it is another one's");
    let own = Message::RequestVote(VoteRequest { term: Term(2), last: LogId::ZERO, warrant: Warrant::None });
    judge.forget_votes(TWO);
    assert_eq!(said(&mut judge, &own, &disk(&[], vote(2, ONE))), Some(Check::OneVote));
    judge.forget_votes(ONE);
    assert_eq!(said(&mut judge, &own, &disk(&[], vote(2, ONE))), None);
}

#[test]
fn what_clients_were_told_is_known_from_when_they_were_told() {
    let mut judge = ClientJudge::default();
    let (write, first, second) = (Write { key: 1, value: 1 }, LogId::new(1, 2), LogIndex(3));
    judge.committed(write, first).unwrap();
    judge.written(write, first, LogIndex(0), 10).unwrap();
    assert_eq!([9, 10, 11].map(|time| judge.floor_at(time).0), [0, 2, 2]);
    judge.read((1, Some(1)), second, first.index, 20).unwrap();
    assert_eq!((judge.floor(), judge.floor_at(19), judge.floor_at(20)), (second, first.index, second));
    judge.read((1, Some(1)), first.index, LogIndex(0), 30).unwrap();
    assert_eq!((judge.floor(), judge.floor_at(30)), (second, second), "nothing is forgotten");
}

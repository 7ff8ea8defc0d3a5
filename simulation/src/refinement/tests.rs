//! The refinement is worth something only if it notices: each test tells the model one thing that is not so, in a
//! history in which all is well, and the model must refuse it on the spot.

use std::sync::Arc;

use outrigger::engine::{
    AppendEntries, AppendOutcome, Batch, LogId, LogIndex, LogTime, Membership, Message, NodeId, Payload, RoleKind,
    Round, Snapshot, Term, Vote,
};
use outrigger_model::{self as model, Entry};

use super::{After, Note, Refinement, Value, same_log};
use crate::check::Check;
use crate::durable::{Stamp, Stamps};
use crate::history::History;
use crate::look::Look;
use crate::words::is_plain;
use crate::world::World;

mod members;
mod snapshots;

impl Refinement {
    /// From now on a server of the model has voted twice, which no step of it does; and the whole of it is looked at with the next step.
    pub(crate) fn falsify(&mut self) {
        let ids: Vec<_> = self.system.servers.ids().collect();
        let votes = ids.iter().chain([&model::ServerId(99)]).take(2);
        let votes: Vec<_> = votes.map(|candidate| (model::Term(99), ids[0], *candidate)).collect();
        self.system.said.granted.extend(votes);
        self.steps = super::STEPS_PER_CHECK - 1;
    }
}

/// One falsehood; each answers whether it found something to falsify.
pub(crate) enum Falsify {
    /// About the state that a step leaves.
    Step(fn(&mut After<'_>) -> bool),
    /// About a message.
    Message(fn(&mut Message) -> bool),
    /// About a snapshot that is brought.
    Snapshot(fn(&mut Snapshot)),
    /// It has been told.
    Told,
}

impl std::fmt::Debug for Falsify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a falsehood")
    }
}

impl Falsify {
    pub(crate) fn step(&mut self, after: &mut After<'_>) {
        if let Self::Step(falsify) = self
            && falsify(after)
        {
            *self = Self::Told;
        }
    }

    pub(crate) fn message(&mut self, message: &Message) -> Option<Message> {
        let mut falsified = message.clone();
        let is_told = match (&self, &mut falsified) {
            (Self::Message(falsify), falsified) => falsify(falsified),
            (Self::Snapshot(falsify), Message::InstallSnapshot(piece)) => {
                falsify(Arc::make_mut(&mut piece.snapshot));
                true
            }
            _ => false,
        };
        if is_told {
            *self = Self::Told;
        }
        is_told.then_some(falsified)
    }
}

/// The first history in which there is something to falsify is refused, and for this reason.
fn is_refused(falsify: impl Fn() -> Falsify, reason: &str) {
    is_refused_in(|seed| World::new(&History::new(seed)), 9..19, falsify, reason);
}

fn is_refused_in(
    world: impl Fn(u64) -> World,
    seeds: std::ops::Range<u64>,
    falsify: impl Fn() -> Falsify,
    reason: &str,
) {
    for seed in seeds {
        let mut world = world(seed);
        world.falsify = Some(falsify());
        let lived = world.run();
        if !matches!(world.falsify, Some(Falsify::Told)) {
            assert_eq!(lived, Ok(()), "seed {seed} goes wrong by itself");
            continue;
        }
        let violation = lived.expect_err("a falsehood was believed");
        assert_eq!(violation.check, Check::Refinement, "{violation}");
        assert!(violation.reason.contains(reason) && is_plain(&violation.reason), "{violation}");
        return;
    }
    panic!("no history had anything to falsify");
}

fn step(falsify: fn(&mut After<'_>) -> bool, reason: &str) {
    is_refused(|| Falsify::Step(falsify), reason);
}

fn message(falsify: fn(&mut Message) -> bool, reason: &str) {
    is_refused(|| Falsify::Message(falsify), reason);
}

/// Changes what is there, and says that it did.
fn change<T>(there: Option<T>, change: impl FnOnce(T)) -> bool {
    there.map(change).is_some()
}

#[test]
fn a_history_without_falsehoods_is_believed_and_takes_every_action() {
    let mut world = World::new(&History::new(9));
    world.run().expect("all is well");
    assert!(world.report(9).committed > 0);
}

#[test]
fn a_leader_commits_what_no_quorum_holds() {
    step(
        |after| {
            let leads = after.look.role == RoleKind::Leader && after.look.commit < after.look.last.index;
            change(leads.then_some(&mut after.look.commit), |commit| *commit = commit.next())
        },
        "a quorum holds it durably",
    );
}

#[test]
fn a_follower_commits_more_than_it_was_told() {
    step(
        |after| {
            let follows = after.look.role == RoleKind::Follower && after.look.leader.is_some();
            let ahead = follows && after.look.commit < after.look.last.index;
            change(ahead.then_some(&mut after.look.commit), |commit| *commit = commit.next())
        },
        "",
    );
}

/// A candidate commits nothing in any step, so that no action of the model could make these true.
#[test]
fn a_commit_index_is_one_too_high() {
    step(
        |after| {
            let campaigns = after.look.role == RoleKind::Candidate && after.look.commit < after.look.last.index;
            change(campaigns.then_some(&mut after.look.commit), |commit| *commit = commit.next())
        },
        "has committed",
    );
}

#[test]
fn a_commit_index_is_one_too_low() {
    step(
        |after| {
            let campaigns = after.look.role == RoleKind::Candidate && after.look.commit > LogIndex(0);
            change(campaigns.then_some(&mut after.look.commit), |commit| *commit = commit.previous())
        },
        "has committed",
    );
}

#[test]
fn a_vote_is_changed() {
    step(
        |after| {
            let other = after.look.vote.voted_for.map(|node| NodeId(node.0 % 3 + 1));
            change(other, |other| after.look.vote.voted_for = Some(other))
        },
        "vote",
    );
}

#[test]
fn a_term_is_skipped() {
    step(
        |after| {
            change((after.look.vote.term > Term(0)).then_some(()), |()| {
                after.look.vote.term = after.look.vote.term.next();
            })
        },
        "",
    );
}

#[test]
fn a_follower_leads_without_a_vote() {
    step(
        |after| {
            let follows = after.look.role == RoleKind::Follower && after.look.vote.term > Term(0);
            change(follows.then_some(()), |()| after.look.role = RoleKind::Leader)
        },
        "",
    );
}

#[test]
fn a_leader_believes_in_more_than_was_acknowledged() {
    step(
        |after| {
            let first = after.matched.first_mut();
            change(first, |(_, matched)| *matched = matched.next())
        },
        "holds so much of the leader's log durably",
    );
}

#[test]
fn a_node_counts_as_durable_what_is_not() {
    step(
        |after| {
            let ahead = after.look.flushed < after.look.last.index;
            change(ahead.then_some(()), |()| after.look.flushed = after.look.last.index)
        },
        "is durable on",
    );
}

#[test]
fn a_node_forgets_to_write() {
    step(
        |after| {
            let place = after.notes.iter().position(|note| matches!(note, Note::Entries(..)));
            change(place, |place| {
                after.notes.remove(place);
            })
        },
        "pending",
    );
}

#[test]
fn a_node_writes_a_vote_that_it_does_not_have() {
    step(
        |after| {
            let write =
                after.notes.iter().find_map(|note| if let Note::Vote(write) = note { Some(*write) } else { None });
            change(write, |write| after.notes.push(Note::Vote(write)))
        },
        "pending",
    );
}

#[test]
fn a_read_is_confirmed_too_early() {
    message(
        |message| {
            let Message::ReadIndexReply { outcome: Ok(index), .. } = message else { return false };
            change((*index > LogIndex(0)).then_some(index), |index| *index = index.previous())
        },
        "confirms a read",
    );
}

#[test]
fn a_vote_is_given_that_was_not() {
    message(
        |message| {
            let Message::RequestVoteReply(reply) = message else { return false };
            change((!reply.granted).then_some(reply), |reply| reply.granted = true)
        },
        "votes for",
    );
}

#[test]
fn a_candidate_claims_a_longer_log() {
    message(
        |message| {
            let Message::RequestVote(request) = message else { return false };
            request.last.index = request.last.index.next();
            true
        },
        "asks with a log to ",
    );
}

#[test]
fn an_acknowledgement_says_more_than_is_durable() {
    message(
        |message| {
            let Message::AppendEntriesReply(reply) = message else { return false };
            let AppendOutcome::Matched(matched) = &mut reply.outcome else { return false };
            *matched = matched.next();
            true
        },
        "acknowledges",
    );
}

#[test]
fn an_answer_to_a_heartbeat_says_more_than_is_durable() {
    message(
        |message| {
            let Message::HeartbeatReply(reply) = message else { return false };
            reply.matched = LogIndex(reply.matched.0 + 1_000);
            true
        },
        "acknowledges",
    );
}

#[test]
fn a_round_is_answered_that_was_not_begun() {
    message(
        |message| {
            let Message::HeartbeatReply(reply) = message else { return false };
            change((reply.term == reply.asked).then_some(reply), |reply| reply.round = Round(reply.round.0 + 1))
        },
        "answers round",
    );
}

#[test]
fn a_heartbeat_tells_more_than_is_committed() {
    message(
        |message| {
            let Message::Heartbeat(heartbeat) = message else { return false };
            heartbeat.commit = heartbeat.commit.next();
            true
        },
        "tells that",
    );
}

#[test]
fn a_request_tells_more_than_is_committed() {
    message(
        |message| {
            let Message::AppendEntries(append) = message else { return false };
            append.commit = append.commit.next();
            true
        },
        "tells that",
    );
}

#[test]
fn a_leader_tells_by_itself_more_than_is_committed() {
    message(
        |message| {
            let Message::Committed { commit, .. } = message else { return false };
            *commit = commit.next();
            true
        },
        "tells that",
    );
}

#[test]
fn entries_are_sent_that_are_not_the_leaders() {
    message(
        |message| {
            let Message::AppendEntries(AppendEntries { batches, .. }) = message else { return false };
            let Some(batch) = batches.first_mut() else { return false };
            let mut entries: Vec<Payload> = batch.entries().to_vec();
            entries[0] = Payload::command(bytes::Bytes::from_static(b"not its own"));
            *batch = Batch::new(batch.first(), batch.log_time(), Arc::from(entries));
            true
        },
        "not of its log",
    );
}

#[test]
fn entries_are_sent_as_of_another_term() {
    message(
        |message| {
            let Message::AppendEntries(AppendEntries { batches, .. }) = message else { return false };
            let Some(batch) = batches.first_mut() else { return false };
            let first = LogId { term: batch.term().next(), ..batch.first() };
            *batch = Batch::new(first, batch.log_time(), Arc::from(batch.entries()));
            true
        },
        "not of its log",
    );
}

#[test]
fn entries_are_sent_behind_another_entry() {
    message(
        |message| {
            let Message::AppendEntries(AppendEntries { prev, .. }) = message else { return false };
            *prev = LogId { term: prev.term.next(), ..*prev };
            true
        },
        "not of its log",
    );
}

#[test]
fn a_leader_is_in_a_round_that_it_has_not_begun() {
    message(
        |message| {
            let Message::Heartbeat(heartbeat) = message else { return false };
            heartbeat.round = Round(heartbeat.round.0 + 1);
            true
        },
        "is in round",
    );
}

/// A node of three starts from an empty disk, of which one thing is not so; what is said of it.
fn start(falsify: impl FnOnce(&mut Look, &mut Stamps, &mut Vec<(NodeId, LogIndex)>)) -> String {
    start_with(|after| {
        let mut log = after.log.clone();
        falsify(&mut after.look, &mut log, &mut after.matched);
        after.log = Box::leak(Box::new(log));
    })
}

/// The same with whatever a step leaves.
fn start_with(falsify: impl FnOnce(&mut After<'_>)) -> String {
    let node = NodeId(1);
    let look = Look {
        node,
        role: RoleKind::Follower,
        term: Term(0),
        vote: Vote::default(),
        leader: None,
        last: LogId::ZERO,
        flushed: LogIndex(0),
        commit: LogIndex(0),
        applied: LogIndex(0),
        membership_at: LogId::ZERO,
        heir: None,
        awaits_heir: false,
    };
    let (log, matched) = (Stamps::default(), Vec::new());
    let (membership, purged, snapshot) = (Membership::default(), LogId::ZERO, LogId::ZERO);
    let mut after = After {
        look,
        membership: &membership,
        matched,
        log: &log,
        unchanged: 0,
        purged,
        snapshot,
        is_proven: false,
        notes: Vec::new(),
    };
    falsify(&mut after);
    let refused = Refinement::new([1, 2, 3].map(NodeId).into_iter()).restart(&after);
    refused.map_or_else(|violation| violation.reason, |()| "nobody noticed".to_owned())
}

#[test]
fn what_a_node_is_and_holds_is_compared_one_by_one() {
    assert_eq!(start(|_, _, _| ()), "nobody noticed", "all is so");
    let role = start(|look, _, _| look.role = RoleKind::Leader);
    assert!(role.contains("is leader, its model"), "{role}");
    let log = start(|_, log, _| log.0.push(Stamp { id: LogId::new(1, 1), log_time: LogTime(0), digest: 7 }));
    assert!(log.contains("the log of node 1"), "{log}");
    let flushed = start(|look, _, _| look.flushed = LogIndex(1));
    assert!(flushed.contains("is durable on node 1"), "{flushed}");
    let matched = start(|_, _, matched| matched.push((NodeId(2), LogIndex(1))));
    assert!(matched.contains("knows that 2 holds 1, its model that it holds 0"), "{matched}");
}

#[test]
fn two_logs_are_the_same_if_they_have_the_same_terms_and_values_and_length() {
    let stamp = |term, index, digest| Stamp { id: LogId::new(term, index), log_time: LogTime(0), digest };
    let log = |entries: &[(usize, u64)]| -> model::Log<Value> {
        entries.iter().map(|(term, value)| Entry { term: model::Term(*term), value: Value::plain(*value) }).collect()
    };
    let stamps = Stamps(vec![stamp(1, 1, 7), stamp(2, 2, 8)]);
    assert!(same_log(&log(&[(1, 7), (2, 8)]), &stamps, 0));
    assert!(!same_log(&log(&[(1, 7), (1, 8)]), &stamps, 0), "a term");
    assert!(!same_log(&log(&[(1, 7), (2, 9)]), &stamps, 0), "a value");
    assert!(!same_log(&log(&[(1, 7)]), &stamps, 0), "an entry less");
    assert!(!same_log(&log(&[(1, 7), (2, 8), (2, 9)]), &stamps, 0), "an entry more");
    assert!(!same_log(&log(&[(1, 6), (2, 9)]), &stamps, 1), "what is not known");
    assert!(same_log(&log(&[(1, 6), (2, 8)]), &stamps, 1), "what is known is not looked at");
}

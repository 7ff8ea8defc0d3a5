//! Falsehoods about who votes: in histories in which members come and go, and of one election.

use std::sync::Arc;

use outrigger::engine::{
    Consistency, Event, Goal, LogId, LogIndex, LogTime, Majority, Membership, NodeId, NodeSet, RoleKind, Term, Token,
    Vote, VoteResult, WriteId,
};
use outrigger_model::ServerId;
use outrigger_model::extended::{Action, System};

use super::{Falsify, change, is_refused_in};
use crate::durable::{Stamp, Stamps};
use crate::history::History;
use crate::look::Look;
use crate::plan::Trouble;
use crate::refinement::{After, Note, Refinement, Value};
use crate::world::World;
use crate::world::members::node_at;

/// A world in which members come and go often.
fn changing(seed: u64) -> World {
    World::under(&History::new(seed), |plan| {
        plan.spares = plan.spares.max(2);
        plan.change_every /= 4;
        plan.spare(Trouble::Losses);
        plan.spare(Trouble::Disguises);
    })
}

fn step(falsify: fn(&mut After<'_>) -> bool, reason: &str) {
    is_refused_in(changing, 9..59, || Falsify::Step(falsify), reason);
}

fn set(ids: &[u64]) -> NodeSet {
    ids.iter().copied().map(NodeId).collect()
}

/// A membership in which two majorities decide.
fn joint(voters: &[u64], outgoing: &[u64]) -> Membership {
    let all: NodeSet = set(&[voters, outgoing].concat());
    let goal = Goal { voters: set(voters), members: all.clone(), added: NodeSet::new() };
    let nodes = all.into_iter().map(node_at).collect();
    Membership::from_parts(set(voters), set(outgoing), nodes, Some(goal)).expect("a sound membership")
}

/// The last entry that a majority of these voters holds durably, as far as their leader knows.
fn held_by(voters: &NodeSet, after: &After<'_>) -> LogIndex {
    let held = |node: NodeId| {
        let of_other = after.matched.iter().find(|(other, _)| *other == node).map(|(_, matched)| *matched);
        if node == after.look.node { after.look.flushed } else { of_other.unwrap_or(LogIndex(0)) }
    };
    Majority(voters).committed_index(held)
}

/// A leader commits its joint entry as soon as a majority of these voters holds it.
fn commit_joint_entry(after: &mut After<'_>, by: fn(&Membership) -> &NodeSet) -> bool {
    let is_open =
        after.membership.is_joint() && after.look.membership_at.index > after.look.commit && after.look.leads();
    let held =
        is_open.then(|| held_by(by(after.membership), after)).filter(|held| *held >= after.look.membership_at.index);
    // Nobody commits what stands behind it and is of an earlier term, whoever holds it.
    let held = held.filter(|held| after.log.at(*held).is_some_and(|stamp| stamp.id.term == after.look.term));
    change(held, |held| after.look.commit = held)
}

#[test]
fn a_joint_entry_is_committed_by_the_new_majority_alone() {
    step(|after| commit_joint_entry(after, Membership::voters), "a quorum holds it durably");
}

#[test]
fn a_joint_entry_is_committed_by_the_old_majority_alone() {
    step(|after| commit_joint_entry(after, Membership::outgoing), "a quorum holds it durably");
}

/// Whether a leader has committed an entry of its own term.
fn has_begun(after: &After<'_>) -> bool {
    let committed = after.log.0.iter().rev().find(|stamp| stamp.id.index <= after.look.commit);
    committed.is_some_and(|stamp| stamp.id.term == after.look.term)
}

/// A leader that has just appended an entry for a client claims that it is this membership.
fn claim(after: &mut After<'_>, next: &Membership) -> bool {
    let takes_in = |note: &Note| matches!(note, Note::Entries(..));
    let is_ordinary = after.memberships().next().is_none() && after.notes.iter().any(takes_in);
    let last = after.look.last.index;
    let note = Note::Membership(last, Arc::new(next.clone()));
    let may_be = is_ordinary && after.look.leads() && last > after.look.commit && last > after.look.membership_at.index;
    change(may_be.then_some(&mut after.notes), |notes| notes.push(note))
}

#[test]
fn the_new_voters_alone_decide_before_the_joint_entry_is_committed() {
    step(
        |after| {
            let is_open = after.membership.is_joint() && after.look.membership_at.index > after.look.commit;
            is_open && claim(after, &after.membership.settled())
        },
        "the last configuration is committed",
    );
}

#[test]
fn another_change_begins_while_one_is_under_way() {
    step(
        |after| {
            let is_open = !after.membership.is_joint() && after.look.membership_at.index > after.look.commit;
            let own: Vec<u64> = after.membership.voters().iter().map(|node| node.0).collect();
            is_open && has_begun(after) && claim(after, &joint(&[1], &own))
        },
        "the last configuration is committed",
    );
}

#[test]
fn other_voters_decide_without_a_joint_entry() {
    step(
        |after| {
            let is_settled = !after.membership.is_joint() && after.look.membership_at.index <= after.look.commit;
            let others = (1..=3).map(NodeId).find(|node| !after.membership.voters().iter().eq([node]));
            is_settled && has_begun(after) && claim(after, &Membership::new(others.map(node_at), []))
        },
        "leads there in one step",
    );
}

#[test]
fn a_change_begins_before_an_entry_of_its_leaders_term_is_committed() {
    step(
        |after| {
            // The first entry of a term that no other node can hold yet.
            let begins = after.look.last.term == after.look.term
                && after.log.0.iter().rev().nth(1).is_some_and(|before| before.id.term < after.look.term);
            begins && claim(after, &after.membership.clone())
        },
        "it has committed an entry of its own term",
    );
}

#[test]
fn a_node_counts_by_other_voters_than_its_log_says() {
    step(
        |after| {
            let others: &'static Membership = Box::leak(Box::new(Membership::new([node_at(NodeId(99))], [])));
            let is_new = after.unchanged < usize::try_from(after.look.membership_at.index.0).expect("a short log");
            change(is_new.then_some(()), |()| after.membership = others)
        },
        "counts by voters {99}, its model by {node 1",
    );
}

#[test]
fn a_node_has_its_members_from_another_entry() {
    step(
        |after| {
            let has_more = after.look.membership_at.index < after.look.last.index;
            change(has_more.then_some(()), |()| after.look.membership_at = after.look.last)
        },
        "has its members from entry",
    );
}

/// What becomes of node 1, which campaigns by this membership, when it takes office by the votes of these nodes.
fn takes_office(membership: &Membership, votes: &[u64]) -> Result<(), String> {
    let membership = Arc::new(membership.clone());
    let first = Value::membership(&membership);
    let digest = first.digest;
    let servers = [1, 2, 3].map(ServerId).into_iter().collect();
    let mut refinement = Refinement::new([1, 2, 3].map(NodeId).into_iter());
    refinement.system = System::configured(&servers, &first);
    let one = ServerId(1);
    for action in [Action::Timeout(one), Action::Flush(one, 1)] {
        refinement.take(&action).expect("node 1 campaigns");
    }
    for voter in votes.iter().map(|voter| ServerId(usize::try_from(*voter).expect("a small number"))) {
        if voter != one {
            let term = outrigger_model::Term(1);
            let gives = [Action::UpdateTerm(voter, term), Action::GrantVote(voter, one), Action::Flush(voter, 2)];
            gives.iter().for_each(|action| refinement.take(action).expect("it votes for node 1"));
        }
        refinement.take(&Action::CountVote(one, voter)).expect("it has voted for node 1");
    }
    let look = leading(NodeId(1));
    let log = Stamps(vec![Stamp { id: look.last, log_time: LogTime(0), digest }]);
    let (membership, matched) = (&*membership, Vec::new());
    let after = After {
        look,
        membership,
        matched,
        log: &log,
        unchanged: 0,
        purged: LogId::ZERO,
        snapshot: LogId::ZERO,
        is_proven: false,
        notes: Vec::new(),
    };
    refinement.step(&Event::LogFlushed { write: WriteId(0) }, &after).map_err(|violation| violation.reason)
}

#[test]
fn an_election_is_won_by_one_majority_of_two() {
    let need = "it does not hold that a quorum has voted for it";
    let refused = |membership: &Membership, votes: &[u64]| {
        let reason = takes_office(membership, votes).expect_err("a falsehood was believed");
        assert!(reason.contains(need), "{reason}");
    };
    let (shrinks, grows) = (joint(&[1], &[1, 2, 3]), joint(&[1, 2, 3], &[1]));
    refused(&shrinks, &[1]);
    refused(&grows, &[1]);
    refused(&joint(&[2, 3], &[1]), &[1, 2]);
    refused(&joint(&[1], &[2, 3]), &[1, 2]);
    assert_eq!(takes_office(&shrinks, &[1, 3]), Ok(()));
    assert_eq!(takes_office(&grows, &[1, 2]), Ok(()));
    assert_eq!(takes_office(&joint(&[2, 3], &[1]), &[1, 2, 3]), Ok(()));
}

/// A leader that was alone had begun fewer rounds than its model, which began one for a read that was refused: when another
/// member came, the model waited for a round that was never begun (seed 402771).
#[test]
fn a_leader_alone_begins_no_round_for_a_read_that_it_refuses() {
    let (one, node, token) = (ServerId(1), NodeId(1), Token(5));
    let membership = Membership::new([node_at(node)], []);
    let value = Value::membership(&Arc::new(membership.clone()));
    let begun = |notes: Vec<Note>| {
        let mut refinement = Refinement::new([node].into_iter());
        refinement.system = System::configured(&[one].into_iter().collect(), &value);
        for action in
            [Action::Timeout(one), Action::Flush(one, 1), Action::CountVote(one, one), Action::BecomeLeader(one)]
        {
            refinement.take(&action).expect("node 1 leads");
        }
        let look = leading(node);
        let log = Stamps(vec![Stamp { id: look.last, log_time: LogTime(0), digest: value.digest }]);
        let after = After {
            look,
            membership: &membership,
            matched: Vec::new(),
            log: &log,
            unchanged: 0,
            purged: LogId::ZERO,
            snapshot: LogId::ZERO,
            is_proven: false,
            notes,
        };
        refinement.step(&Event::Read { token, consistency: Consistency::Linearizable }, &after).expect("all is well");
        refinement.counts().get("BeginRound").copied().unwrap_or_default()
    };
    assert_eq!([begun(vec![Note::Refused(token)]), begun(vec![Note::Refused(Token(6))]), begun(Vec::new())], [0, 1, 1]);
}

/// A node that leads in term 1; its log is the first entry.
fn leading(node: NodeId) -> Look {
    let (role, term, first, none) = (RoleKind::Leader, Term(1), LogId::new(0, 1), LogIndex(0));
    let (vote, leader) = (Vote { term, voted_for: Some(node) }, Some(node));
    let (last, flushed, commit, applied) = (first, LogIndex(1), none, none);
    Look {
        node,
        role,
        term,
        vote,
        leader,
        last,
        flushed,
        commit,
        applied,
        membership_at: first,
        heir: None,
        awaits_heir: false,
    }
}

/// The mapping says of the whole of a membership what the engine says of it.
#[test]
fn votes_count_in_the_model_as_in_the_engine() {
    use outrigger_model::extended::Value as _;
    let membership = joint(&[1, 2], &[2, 3]);
    let value = Value::membership(&Arc::new(membership.clone()));
    let configuration = value.configuration().expect("a membership is a configuration");
    for yes in 0..8_u64 {
        let agrees = |node: u64| yes >> (node - 1) & 1 == 1;
        let in_engine = membership.quorum().vote_result(|node| Some(agrees(node.0))) == VoteResult::Won;
        assert_eq!(configuration.is_quorum(|server| agrees(server.0 as u64)), in_engine, "{yes:b}");
    }
}

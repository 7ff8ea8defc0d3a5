//! Small clusters of real engines, explored to the end. The counts are what they are because the search is deterministic: one
//! that changes says that engines can do more or less than before. That is no fault by itself, but it wants a reason.

use outrigger_model::explore::{Script, Verdict};
use outrigger_simulation::exploration::{Bounds, Plan, Report, explore};

/// Explores until nothing is left. Nothing is wrong, and everything came that the bounds allow.
#[track_caller]
fn exhaust(bounds: Bounds) -> Report {
    let report = explore(bounds, &Plan::default(), |_| {}).expect("it begins within its bounds");
    if let Some(found) = report.counter_example() {
        panic!("{found}");
    }
    assert!(matches!(report.verdict, Verdict::Exhausted), "{report}");
    assert_eq!(report.missing(), Vec::<&str>::new(), "{report}");
    report
}

#[track_caller]
fn assert_counts(bounds: Bounds, states: u64, transitions: u64, depth: u64) {
    let report = exhaust(bounds);
    assert_eq!((report.states, report.transitions, report.depth), (states, transitions, depth), "{report}");
}

/// Two nodes, one election, one proposal, no fault but loss.
const TWO: Bounds = Bounds { crashes: 0, copies: 0, ..Bounds::PAIR };

#[test]
fn two_nodes_elect_and_commit_whatever_is_lost() {
    assert_counts(TWO, 8_923, 29_655, 22);
}

#[test]
fn two_nodes_survive_a_crash_at_any_moment() {
    assert_counts(Bounds { crashes: 1, ..TWO }, 89_505, 337_961, 25);
}

#[test]
fn two_nodes_survive_a_message_that_comes_twice() {
    assert_counts(Bounds { copies: 1, ..TWO }, 33_499, 131_214, 23);
}

#[test]
fn two_leaders_follow_each_other() {
    assert_counts(Bounds { term_max: 2, log_max: 4, heartbeats: 0, ..TWO }, 11_226, 34_792, 29);
}

#[test]
fn reads_see_what_was_committed_before_them() {
    assert_counts(Bounds { reads: 1, heartbeats: 0, ..TWO }, 24_538, 81_368, 23);
}

#[test]
fn proposals_by_way_of_a_follower_are_taken_in_once() {
    assert_counts(Bounds { proposals: 0, forwards: 1, copies: 1, heartbeats: 0, ..TWO }, 11_114, 42_459, 21);
}

#[test]
fn pre_votes_and_leaders_that_step_down_do_no_harm() {
    let settings = Bounds { pre_vote: true, check_quorum: true, heartbeats: 0, ..TWO };
    assert_counts(settings, 3_390, 12_631, 22);
}

#[test]
fn three_nodes_elect_and_commit_whatever_is_lost() {
    assert_counts(Bounds { nodes: 3, heartbeats: 0, ..TWO }, 64_389, 235_559, 25);
}

#[test]
fn three_nodes_go_through_two_terms() {
    let bounds = Bounds { nodes: 3, term_max: 2, messages_max: 1, heartbeats: 0, proposals: 0, ..TWO };
    assert_counts(bounds, 36_832, 114_747, 28);
}

#[test]
fn reads_by_lease_see_what_was_committed_by_whoever_leads_by_then() {
    let leases = Bounds { leases: true, check_quorum: true, reads: 1, heartbeats: 0, proposals: 0, ..TWO };
    assert_counts(Bounds { term_max: 2, messages_max: 1, ..leases }, 8_980, 31_518, 28);
}

#[test]
fn a_voter_that_starts_again_keeps_the_pledge_that_it_has_forgotten() {
    let leases = Bounds { leases: true, check_quorum: true, reads: 1, heartbeats: 0, proposals: 0, ..TWO };
    assert_counts(Bounds { term_max: 2, messages_max: 1, crashes: 1, ..leases }, 115_327, 434_452, 31);
}

#[test]
fn messages_that_come_too_late_do_nothing() {
    // Kept on their way, they make more states, and none of them is a bad one.
    let few = Bounds { term_max: 2, heartbeats: 0, proposals: 0, ..TWO };
    let (dropped, kept) = (exhaust(few), exhaust(Bounds { keeps_late: true, ..few }));
    assert!(dropped.states < kept.states, "{dropped}\n{kept}");
}

#[test]
fn what_cannot_come_within_the_bounds_is_named() {
    let silent = Bounds { messages_max: 0, ..TWO };
    let report = explore(silent, &Plan::default(), |_| {}).unwrap();
    let missing = report.missing();
    assert!(missing.starts_with(&["heartbeat", "receive", "propose", "request_vote"]), "{missing:?}");
    assert!(!missing.contains(&"election") && !missing.contains(&"read_index"), "{missing:?}");
}

#[test]
fn a_search_begins_where_a_script_leads() {
    let elected = "n1 election; n1 flush; n2 receive 0; n2 flush; n2 flush; n1 receive 0, loses 0 1";
    let plan = Plan { script: Script::parse(elected), ..Plan::default() };
    let report = explore(TWO, &plan, |_| {}).unwrap();
    assert!(report.counter_example().is_none(), "{report}");
    assert_eq!(
        report.states, 131,
        "the leader's first messages were lost, and there is one heartbeat to make good for it"
    );
}

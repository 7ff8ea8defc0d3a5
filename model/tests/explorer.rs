//! The explorer itself: what it counts, where it begins, when it ends, and that a way it shows can be gone again.

mod mutant;

use mutant::{Mutant, Step, follow_the_rules, server};
use outrigger_model::explore::{
    Bounds, CounterExample, Progress, Raft, RaftError, Report, Script, Search, StartError, TransitionSystem, Verdict,
};
use outrigger_model::invariant::{Violation, leader_completeness, one_vote};
use outrigger_model::{Action, Body, LogIndex};

/// Servers, values, last term, longest log, messages in flight.
fn raft([servers, values, term_max, log_max, messages_max]: [usize; 5]) -> Raft {
    Raft::new(Bounds { servers, values, term_max, log_max, messages_max }).expect("bounds in range")
}

fn without(raft: Raft, actions: &[&str]) -> Raft {
    actions.iter().try_fold(raft, |raft, action| raft.without(action)).expect("actions of raft.tla")
}

fn run(raft: Raft) -> Report<Action<u8>, Violation<u8>> {
    Search::new(raft).run().expect("it begins within the bounds")
}

// What is counted.

#[test]
fn what_can_be_counted_by_hand_is_counted_so() {
    let all_but_timeout: Vec<&str> = Action::<u8>::NAMES.into_iter().filter(|name| *name != "Timeout").collect();
    let report = run(without(raft([1, 1, 3, 0, 0]), &all_but_timeout));
    // Terms 1, 2 and 3; the step to term 4 is generated and no more.
    assert_eq!(report.to_string(), "generated=4 distinct=3 depth=3 violations=0");
    let report = run(without(raft([2, 1, 3, 0, 0]), &all_but_timeout));
    // Nine pairs of terms, two steps from each.
    assert_eq!(report.to_string(), "generated=19 distinct=9 depth=5 violations=0");
}

#[test]
fn orbits_hold_every_state_once() {
    let searches = [
        raft([2, 1, 2, 1, 1]),
        raft([2, 2, 2, 2, 1]),
        raft([2, 1, 2, 1, 2]),
        raft([2, 1, 3, 2, 1]),
        without(raft([3, 1, 2, 1, 1]), &["restart", "duplicate", "drop"]),
        without(raft([3, 1, 2, 0, 1]), &["duplicate", "append-entries"]),
        raft([4, 1, 3, 0, 0]),
    ];
    for raft in searches {
        let all = run(raft.clone());
        let orbits = run(raft.clone().with_symmetry().expect("few servers"));
        assert_eq!((orbits.covered, orbits.depth), (all.distinct, all.depth), "{raft:?}");
        assert_eq!((all.covered, all.violations(), orbits.violations()), (all.distinct, 0, 0));
        assert!(orbits.distinct < all.distinct, "{orbits} of {all}");
    }
}

#[test]
fn orbits_of_known_bounds_are_counted() {
    let orbits = |bounds| run(raft(bounds).with_symmetry().expect("few servers")).to_string();
    assert_eq!(orbits([2, 1, 2, 1, 1]), "generated=6475 distinct=831 depth=28 violations=0");
    assert_eq!(orbits([2, 1, 2, 1, 2]), "generated=67577 distinct=6763 depth=32 violations=0");
    // Counted by another search too, which shares nothing with this one.
    assert_eq!(orbits([2, 2, 2, 1, 2]), "generated=98143 distinct=9632 depth=32 violations=0");
    assert_eq!(orbits([2, 1, 2, 2, 1]), "generated=9408 distinct=1224 depth=33 violations=0");
    assert_eq!(orbits([2, 1, 2, 0, 2]), "generated=39739 distinct=3894 depth=23 violations=0");
}

#[test]
fn three_servers_elect_without_a_violation() {
    let raft = without(raft([3, 1, 2, 1, 1]), &["restart", "drop"]).with_symmetry().expect("few servers");
    let report = run(raft);
    assert_eq!(report.verdict, Verdict::Exhausted);
    assert!(report.distinct > 10_000, "{report}");
}

#[test]
fn a_search_says_the_same_each_time() {
    assert_eq!(run(raft([2, 1, 2, 1, 1])), run(raft([2, 1, 2, 1, 1])));
}

// Histories.

/// A server whose restart loses the last entry.
const LOSES_ENTRY: Step = |system, action| {
    follow_the_rules(system, action);
    if let Action::Restart(i) = action {
        server(system, *i).log.pop();
    }
};

#[test]
fn histories_betray_what_the_first_way_to_a_state_hides() {
    let mutant =
        |raft| Mutant { raft, step: LOSES_ENTRY, also: |_| Vec::new(), check: |_, after| leader_completeness(after) };
    let bounds = [1, 1, 3, 1, 1];
    // A leader that restarts with nothing in its log is met first, and then what was lost is forgotten.
    let plain = Search::new(mutant(raft(bounds))).run().expect("it begins within the bounds");
    assert_eq!(plain.verdict, Verdict::Exhausted);
    let found = mutant(raft(bounds).with_histories()).hunt("");
    assert!(matches!(found.violation, Violation::LeaderCompleteness { index: LogIndex(1), .. }), "{found}");
    // Two elections of 5 steps, a request, its commitment, the restart.
    assert_eq!(found.len(), 13, "{found}");
}

#[test]
fn with_histories_there_are_more_states_and_still_no_violation() {
    for bounds in [[2, 1, 2, 1, 1], [2, 2, 2, 1, 1], [2, 1, 3, 1, 1]] {
        let (plain, histories) = (run(raft(bounds)), run(raft(bounds).with_histories()));
        assert!(histories.distinct > plain.distinct, "{histories} against {plain}");
        assert_eq!((histories.verdict, plain.depth <= histories.depth), (Verdict::Exhausted, true));
        let orbits = run(raft(bounds).with_histories().with_symmetry().expect("few servers"));
        assert_eq!(orbits.covered, histories.distinct);
    }
}

// Where it begins and when it ends.

#[test]
fn a_counter_example_is_a_script_that_leads_there() {
    let mutant = || Mutant {
        raft: raft([2, 1, 2, 1, 1]),
        step: |system, action| {
            if let Action::Receive(m) = action
                && let Body::RequestVoteRequest { .. } = m.body
            {
                server(system, m.dest).voted_for = None;
            }
            follow_the_rules(system, action);
        },
        also: |_| Vec::new(),
        check: |_, after| one_vote(&after.system),
    };
    let found = mutant().hunt("Timeout(s1); RequestVote(s1, s1)");
    assert_eq!((found.scripted, found.is_empty()), (2, false));
    let again = mutant().hunt(&found.to_string());
    assert_eq!((&again.actions, &again.violation, &again.last), (&found.actions, &found.violation, &found.last));
    assert_eq!((again.scripted, again.len()), (found.actions.len(), 0));
    // It tells people what a step was, and how it all ended.
    assert!(found.to_string().starts_with("# violated after 7 steps: one vote: s1 voted for s"), "{found}");
    assert!(found.lines[3].ends_with("# HandleRequestVoteRequest"), "{found}");
    assert!(found.last.starts_with("s1: candidate of term 2, "), "{found}");
}

#[test]
fn a_script_may_take_what_the_search_does_not() {
    let raft = without(raft([1, 1, 2, 0, 0]), &["timeout", "restart"]);
    let report = Search::new(raft).after(Script::parse("Timeout(s1)")).run().expect("the script is possible");
    // A candidate in a network that holds nothing: its request is generated, and no more.
    assert_eq!(report.to_string(), "generated=2 distinct=1 depth=1 violations=0");
}

#[test]
fn a_script_need_not_stay_within_the_bounds_but_ends_there() {
    let report = |script| Search::new(raft([1, 1, 2, 0, 0])).after(Script::parse(script)).run();
    let aside = report("Timeout(s1); RequestVote(s1, s1); Receive(s1 -> s1); Receive(s1 -> s1)");
    assert!(aside.is_ok_and(|report| report.distinct > 1));
    let outside = report("Timeout(s1); RequestVote(s1, s1)").unwrap_err();
    assert_eq!(outside, StartError::OutsideBounds { steps: 2 });
    assert!(outside.to_string().starts_with("after 2 steps of the script the search would begin outside"));
    let error = report("Timeout(s1)\nBecomeLeader(s1)").unwrap_err().to_string();
    assert!(
        error.starts_with("line 2: `BecomeLeader(s1)` is not possible there; name one of\n  Restart(s1)"),
        "{error}"
    );
}

#[test]
fn a_limit_ends_a_search_with_a_verdict_of_its_own() {
    let search = |states_max| Search::new(raft([2, 1, 2, 1, 1])).states_max(states_max).run();
    let report = search(500).expect("it begins within the bounds");
    assert_eq!(report.distinct, 500, "{report}");
    let Verdict::NotExhausted { waiting } = report.verdict else { panic!("{report}") };
    assert!(waiting > 0 && waiting < report.distinct);
    let report = search(2_000).expect("it begins within the bounds");
    assert_eq!((report.distinct, report.verdict), (1_645, Verdict::Exhausted));
    let report = search(1_644).expect("it begins within the bounds");
    assert!(report.distinct == 1_644 && report.verdict != Verdict::Exhausted, "one is missing: {report}");
}

#[test]
fn progress_only_goes_on() {
    let mut told: Vec<Progress> = Vec::new();
    let report = Search::new(raft([2, 1, 3, 2, 1])).run_with(|progress| told.push(*progress)).expect("within bounds");
    assert!(told.len() > 5, "told {} times", told.len());
    let goes_on =
        |a: &Progress, b: &Progress| a.generated < b.generated && a.distinct <= b.distinct && a.depth <= b.depth;
    assert!(told.is_sorted_by(goes_on), "{told:?}");
    let last = told.last().expect("told");
    assert!(last.generated <= report.generated && last.distinct <= report.distinct && last.depth <= report.depth);
    assert!(last.bytes >= last.distinct * 36, "{last:?}");
}

#[test]
fn a_search_ends_when_it_is_told_to() {
    let mut left = 3;
    let report = Search::new(raft([2, 1, 3, 2, 1])).run_while(|_| {
        left -= 1;
        left > 0
    });
    let report = report.expect("within bounds");
    let Verdict::NotExhausted { waiting } = report.verdict else { panic!("{report}") };
    assert!(left == 0 && waiting > 0 && waiting < report.distinct, "{report}");
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let bounds = Bounds { servers: 2, values: 1, term_max: 2, log_max: 1, messages_max: 1 };
    let refused = [
        (Bounds { servers: 0, ..bounds }, "the number of servers cannot be 0: choose from 1 to 8"),
        (Bounds { values: 256, ..bounds }, "the number of values cannot be 256: choose from 1 to 255"),
        (Bounds { term_max: 255, ..bounds }, "the last term cannot be 255: choose from 1 to 254"),
        (Bounds { log_max: 255, ..bounds }, "the length of the longest log cannot be 255: choose from 0 to 254"),
        (
            Bounds { messages_max: 255, ..bounds },
            "the number of messages in flight cannot be 255: choose from 0 to 254",
        ),
    ];
    for (bounds, sentence) in refused {
        assert_eq!(Raft::new(bounds).unwrap_err().to_string(), sentence);
    }
    assert!(raft([7, 1, 2, 1, 1]).with_symmetry().is_err());
    let unknown = raft([2, 1, 2, 1, 1]).without("sleep").unwrap_err();
    assert_eq!(unknown, RaftError::UnknownAction("sleep".into()));
    let named = unknown.to_string();
    assert!(named.ends_with(", advance-commit-index, receive, duplicate, drop"), "{named}");
    let names = named.split_once("name one of ").expect("names").1.split(", ");
    without(raft([1, 1, 1, 0, 0]), &names.collect::<Vec<_>>());
    assert!(unknown.to_string().contains("restart, timeout, request-vote"));
    for name in ["RequestVote", "request-vote", "duplicate", "DUPLICATE-MESSAGE", "drop_message"] {
        assert!(raft([2, 1, 2, 1, 1]).without(name).is_ok(), "{name}");
    }
}

// Any system of transitions.

/// Numbers on a ring of ten, a step being one or two; not from 9 to 0, and never 7 if it is so told.
struct Ring {
    is_seven_bad: bool,
    is_closing_bad: bool,
}

impl TransitionSystem for Ring {
    type State = u8;
    type Packed = u8;
    type Action = u8;
    type Violation = String;

    fn initial(&self) -> u8 {
        0
    }

    fn append_actions(&self, _: &u8, actions: &mut Vec<u8>) {
        actions.extend([1, 2]);
    }

    fn step(&self, from: &u8, action: &u8, next: &mut u8) {
        *next = (from + action) % 10;
    }

    fn key(&self, state: &u8, key: &mut Vec<u8>) -> u64 {
        key.push(*state);
        1
    }

    fn check_state(&self, state: &u8) -> Result<(), String> {
        if self.is_seven_bad && *state == 7 { Err("seven".into()) } else { Ok(()) }
    }

    fn check_step(&self, from: &u8, next: &u8) -> Result<(), String> {
        if self.is_closing_bad && (*from, *next) == (9, 0) { Err("closed".into()) } else { Ok(()) }
    }

    fn pack(&self, state: &u8) -> u8 {
        *state
    }

    fn unpack(&self, packed: &u8, state: &mut u8) {
        *state = *packed;
    }
}

fn ring(is_seven_bad: bool, is_closing_bad: bool) -> Report<u8, String> {
    Search::new(Ring { is_seven_bad, is_closing_bad }).run().expect("no bounds, no script")
}

#[track_caller]
fn counter_example(report: Report<u8, String>) -> CounterExample<u8, String> {
    match report.verdict {
        Verdict::Violated(found) => found,
        Verdict::Exhausted | Verdict::NotExhausted { .. } => panic!("nothing was found"),
    }
}

#[test]
fn the_way_to_a_bad_state_is_a_shortest_one() {
    assert_eq!(ring(false, false).to_string(), "generated=21 distinct=10 depth=6 violations=0");
    let found = counter_example(ring(true, false));
    assert_eq!((found.violation.as_str(), found.actions), ("seven", vec![1, 2, 2, 2]));
}

#[test]
fn a_bad_step_to_a_state_that_was_met_is_found() {
    let found = counter_example(ring(false, true));
    assert_eq!((found.violation.as_str(), found.actions), ("closed", vec![1, 2, 2, 2, 2, 1]));
}

#[test]
fn a_bad_beginning_needs_no_step() {
    let search = Search::new(Ring { is_seven_bad: true, is_closing_bad: false }).after(Script::parse("2; 2; 2; 1; 1"));
    let report = search.run().expect("the script is possible");
    assert_eq!(report.violations(), 1);
    // The script is not gone past what is wrong.
    let found = counter_example(report);
    assert_eq!((found.actions.as_slice(), found.scripted, found.len()), ([2, 2, 2, 1].as_slice(), 4, 0));
}

//! Mutants: a build without them makes one that has them, and lets it do the rest.

use std::process::ExitCode;

use outrigger_simulation::mutants;

use crate::output::say;

/// Makes this process the named mutant. If it cannot be: how the process that can has ended, or why there is none.
pub(crate) fn choose(name: &str) -> Option<ExitCode> {
    let Some(mutant) = mutants::find(name) else {
        say(format_args!("explore: {}", mutants::unknown(name)));
        return Some(ExitCode::from(2));
    };
    become_mutant(mutant)
}

#[cfg(outrigger_mutants)]
fn become_mutant(mutant: &mutants::Mutant) -> Option<ExitCode> {
    mutants::choose(mutant);
    None
}

#[cfg(not(outrigger_mutants))]
fn become_mutant(_: &mutants::Mutant) -> Option<ExitCode> {
    Some(mutants::rebuild("explore"))
}

/// Tries all that small bounds find.
#[cfg(not(outrigger_mutants))]
pub(crate) fn try_all() -> std::io::Result<ExitCode> {
    Ok(mutants::rebuild("explore"))
}

#[cfg(outrigger_mutants)]
pub(crate) use trial::try_all;

#[cfg(outrigger_mutants)]
mod trial {
    use std::io;
    use std::panic;
    use std::process::ExitCode;

    use outrigger_model::explore::Script;
    use outrigger_simulation::exploration::{Bounds, Plan, Report, explore_while};
    use outrigger_simulation::{Check, mutants};

    use crate::interrupt;
    use crate::output::{answer, say};
    use crate::progress::Progress;

    const PAIR: Bounds = Bounds::PAIR;
    /// A proposal by way of a follower.
    const FORWARD: Bounds = Bounds { proposals: 0, forwards: 1, heartbeats: 0, ..PAIR };
    /// Three nodes through two terms, without any fault but loss.
    const TWO_TERMS: Bounds =
        Bounds { nodes: 3, term_max: 2, messages_max: 1, crashes: 0, heartbeats: 0, copies: 0, proposals: 0, ..PAIR };
    const WITH_READ: Bounds = Bounds { reads: 1, ..TWO_TERMS };
    const THREE_TERMS: Bounds = Bounds { term_max: 3, log_max: 4, ..TWO_TERMS };

    /// Two or three nodes whose leaders hold leases, and a read by lease.
    const PAIR_ON_LEASE: Bounds =
        Bounds { nodes: 2, log_max: 3, crashes: 1, reads: 1, check_quorum: true, leases: true, ..TWO_TERMS };
    const ON_LEASE: Bounds = Bounds { nodes: 3, heartbeats: 1, ..PAIR_ON_LEASE };
    /// Node 1 leads by the votes of 1 and 2, has committed its entry there, and holds a lease that rests on node 2.
    const LEASED: &str =
        "n1 election; n1 flush, loses 1; n2 receive 0; n2 flush; n2 flush; n1 receive 0, loses 0 1 3; n1 flush;
         n2 receive 0; n2 flush; n1 receive 0, loses 0; n1 heartbeat, loses 1; n2 receive 0; n1 receive 0";

    /// Who is found within which bounds, from where a script leads.
    #[rustfmt::skip] // a table
    const TRIALS: [(&str, Bounds, &str, &[&str]); 7] = [
        ("two nodes, a crash, a copy", PAIR, "", &[
            "vote_twice", "vote_before_flush", "own_vote_before_flush", "refused_vote_counts",
            "vote_forgotten", "quorum_of_half", "quorum_unsorted", "counts_unflushed", "acknowledges_unflushed",
            "heartbeat_acknowledges_unflushed", "acknowledges_at_first_write", "flush_counts_for_all",
            "commits_older_term", "truncates_before_append", "short_request_truncates", "acknowledges_unverified",
            "commit_beyond_verified", "heartbeat_verifies",
        ]),
        ("two nodes, a forwarded proposal", FORWARD, "", &[
            "copy_refused_for_certain", "forward_given_up_for_certain", "earlier_life_forgotten",
        ]),
        ("three nodes, two terms", TWO_TERMS, "", &[
            "vote_without_log_check", "late_vote_counts", "conflict_not_truncated", "old_leader_heard",
            "truncated_write_counts", "term_not_saved", "candidate_keeps_role",
        ]),
        ("three nodes, two terms, a read", WITH_READ, "", &[
            "read_without_round", "read_before_own_entry", "read_from_anywhere", "earlier_round_confirms",
        ]),
        ("three nodes, three terms", THREE_TERMS, "", &[
            "vote_by_log_length", "no_prev_check",
        ]),
        ("two nodes, a read by lease", PAIR_ON_LEASE, "", &["lease_before_own_entry"]),
        ("three nodes, one of them on lease", ON_LEASE, LEASED, &["pledge_not_kept", "restart_forgets_pledge"]),
    ];

    /// Tries all that small bounds find; success is to find them.
    pub(crate) fn try_all() -> io::Result<ExitCode> {
        // An assertion that fails is no news here.
        panic::set_hook(Box::new(|_| {}));
        let [steps, states, transitions] = ["steps", "states", "transitions"];
        answer(format_args!("{:<38}{:<22}{steps:>6}{states:>10}{transitions:>12}  bounds", "mutant", "found by"))?;
        let all = TRIALS.iter().map(|(.., mutants)| mutants.len()).sum();
        let (mut tried, mut found) = (0_usize, 0);
        let mut progress = Progress::new("explore");
        let trials = TRIALS.into_iter().flat_map(|(name, bounds, script, mutants)| {
            mutants.iter().map(move |mutant| (name, bounds, script, *mutant))
        });
        for (name, bounds, script, mutant) in trials {
            let part = format!("mutant {} of {all}, {mutant}", tried + 1);
            progress.begin(format_args!("{part}: {name}"));
            mutants::choose(mutants::find(mutant).expect("a mutant of the table"));
            let plan = Plan { script: Script::parse(script), ..Plan::default() };
            let report = explore_while(bounds, &plan, |told| {
                progress.show(tried as u64, all as u64, format_args!("{part}: {} states", told.distinct));
                !interrupt::came()
            });
            progress.clear();
            if interrupt::came() {
                say(format_args!("explore: interrupted after {tried} of {all} mutants"));
                break;
            }
            tried += 1;
            match report {
                Ok(report) => found += usize::from(tell(mutant, &report, name)?),
                Err(error) => answer(format_args!("{mutant:<38}{error}"))?,
            }
        }
        answer(format_args!("found {found} of {tried}"))?;
        let ended = if found == all { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        Ok(interrupt::code().unwrap_or(ended))
    }

    /// Prints what became of a mutant, and says whether a check of the protocol found it.
    fn tell(mutant: &str, report: &Report, name: &str) -> io::Result<bool> {
        let Report { states, transitions, .. } = report;
        let found = report.counter_example();
        let check = found.map_or_else(|| "nothing".to_owned(), |it| it.violation.check.to_string());
        let steps = found.map_or(0, |it| it.actions.len());
        answer(format_args!("{mutant:<38}{check:<22}{steps:>6}{states:>10}{transitions:>12}  {name}"))?;
        Ok(found.is_some_and(|it| it.violation.check != Check::Assertion))
    }
}

//! Which check is meant to find which mutant.
//!
//! A mutant stands for a check that can fail. If that one no longer saw it, and another one did, as a cluster that is broken comes to
//! grief in many ways, nobody would notice that the first has gone blind. So each mutant has the one check that finds it first in
//! most of its histories, as what is broken is its business; where the model sees a step that is none of Raft's before anything has
//! come of it, that is [`Check::Refinement`]. A history that another check ends counts as none: the next seeds are tried.

use super::Mutant;
use crate::check::{Check, Checks};

/// The mutants that each check is meant to find.
#[rustfmt::skip] // a table
const FOUND_BY: &[(Check, &[&str])] = &[
    (Check::LogTime, &[
        "log_time_begins_anew", "log_time_too_fast",
    ]),
    (Check::OneVote, &[
        "vote_twice",
    ]),
    (Check::Promise, &[
        "vote_before_flush", "own_vote_before_flush", "acknowledges_unflushed", "heartbeat_acknowledges_unflushed",
        "acknowledges_before_term", "acknowledges_at_first_write", "heartbeat_answered_before_term",
        "snapshot_acknowledged_unflushed",
    ]),
    (Check::Version, &[
        "version_raised_unheard", "version_raised_without_learners", "version_of_earlier_life_counts",
        "version_used_before_raise", "version_used_uncommitted", "version_used_unflushed",
        "version_used_to_who_lacks_it", "version_forgotten_by_change", "older_build_takes_part",
        "refused_by_uncommitted", "older_build_heard",
    ]),
    (Check::Monotonic, &[
        "late_applied_rewinds",
    ]),
    (Check::Recovery, &[
        "purges_one_too_many", "store_begins_before_snapshot", "log_snapshot_unsynced", "log_snapshot_name_unsynced",
        "log_snapshot_head_unchecked", "store_forgets_candidate", "store_forgets_peer", "log_flush_without_sync",
        "log_failed_sync_tried_again", "log_full_disk_counts_as_written", "log_cuts_at_corruption",
        "log_checksum_ignored", "log_last_group_dropped", "log_directory_not_synced", "log_renamed_before_sync",
        "log_footer_not_synced", "log_start_not_synced", "log_opens_what_was_refused", "log_repair_not_synced",
        "log_tail_not_written_again", "log_footer_not_written_again", "log_damaged_footer_cut",
        "log_mark_states_nothing", "log_run_not_shortened",
    ]),
    (Check::Membership, &[
        "added_again_at_once", "removed_voters_retained_or_not",
    ]),
    (Check::AtMostOnce, &[
        "forwarded_to_any_term", "forwarded_twice", "copy_refused_for_certain", "forward_refused_for_certain",
        "forward_given_up_for_certain", "earlier_life_forgotten", "earlier_directory_forgotten",
    ]),
    (Check::Precondition, &[
        "proposed_in_any_term", "own_term_refused",
    ]),
    (Check::ExactlyOnce, &[
        "session_retry_applied", "session_answers_with_another", "session_keeps_one_less",
        "session_late_numbers_forgotten", "session_expired_applied", "session_expires_in_use", "session_use_not_noted",
        "session_id_given_again", "session_eviction_of_newest", "session_one_too_many",
        "session_snapshot_without_table", "session_snapshot_renews",
    ]),
    (Check::Answers, &[
        "election_answered_twice", "removed_node_waits_for_leader", "removed_node_lets_reads_wait",
        "newcomer_takes_itself_for_removed", "snapshot_callers_forgotten", "abandoned_not_sent",
    ]),
    (Check::LinearizableRead, &[
        "read_from_anywhere", "follower_read_does_not_wait", "any_read_index_counts", "driver_read_overtakes",
    ]),
    (Check::BoundedStaleness, &[
        "stale_without_bound", "late_word_is_fresh", "stale_before_own_entry",
    ]),
    (Check::Pledge, &[
        "lease_counts_from_reply", "lease_ignores_drift", "lease_by_minority", "pledge_not_kept",
        "restart_forgets_pledge", "acknowledged_at_any_age",
    ]),
    (Check::Refinement, &[
        "vote_without_log_check", "vote_by_log_length", "refused_vote_counts", "late_vote_counts",
        "pre_vote_counts_as_vote", "pre_vote_raises_term", "candidate_keeps_role", "term_not_saved", "vote_forgotten",
        "quorum_of_half", "quorum_unsorted", "counts_unflushed", "commits_older_term", "truncates_before_append",
        "short_request_truncates", "no_prev_check", "conflict_not_truncated", "commit_beyond_verified",
        "heartbeat_verifies", "acknowledges_unverified", "flush_counts_for_all", "flush_told_twice_counts_twice",
        "truncated_write_counts", "joint_commits_by_new_voters", "joint_commits_by_old_voters",
        "joint_entry_commits_by_new_voters", "joint_elects_by_new_voters", "joint_elects_by_old_voters",
        "joint_reads_by_new_voters", "members_count_once_committed", "members_not_rolled_back", "change_beside_another",
        "change_before_own_entry", "learners_count_as_voters", "removed_leader_counts_itself",
        "own_removal_commits_alone", "disrupting_vote_without_log_check", "disrupting_vote_not_saved",
        "settles_before_commit", "purges_beyond_snapshot", "snapshot_counts_unflushed", "snapshot_of_present_term",
        "snapshot_keeps_members", "restart_forgets_snapshot_members", "stale_epoch_counts",
        "late_acknowledgement_rewinds", "stale_conflict_rewinds", "hint_counts_as_match", "commit_restored_too_far",
        "read_before_own_entry", "earlier_round_confirms", "read_without_round", "lease_before_own_entry",
        "transfer_keeps_lease", "store_forgets_membership",
    ]),
    (Check::Lanes, &[
        "stale_snapshot_installed", "late_order_carried_out", "driver_keeps_ended_streams", "driver_starts_last_first",
        "driver_hands_back_last", "tail_not_truncated", "tail_ignores_terms",
    ]),
    (Check::Limits, &[
        "late_sent_counts", "window_ignores_requests", "window_ignores_bytes", "requests_of_any_size",
        "takes_in_any_size", "takes_in_any_count", "takes_in_any_bytes", "takes_in_what_disks_do_not",
        "forwards_any_count", "forwards_any_bytes", "reads_without_limit", "questions_without_limit",
        "promises_pile_up", "follower_appends_without_limit", "pending_reads_dropped",
    ]),
    (Check::Office, &[
        "check_quorum_never_steps_down", "check_quorum_patient", "check_quorum_impatient", "reply_of_who_lags_deposes",
        "check_quorum_by_one", "late_flush_rewinds", "joint_office_by_new_voters",
    ]),
    (Check::Succession, &[
        "transfer_never_given_up", "takes_in_while_transferring", "heir_asked_too_early", "heir_asked_before_commit",
        "late_timeout_now_obeyed", "any_leader_is_the_heir", "given_up_is_done", "vote_beside_leader",
        "lost_election_answered_won", "steps_down_to_come_back", "told_to_step_down_leads_on", "priority_not_taken",
    ]),
    (Check::TermAdoption, &[
        "pre_vote_reply_hides_term",
    ]),
    (Check::Replication, &[
        "late_piece_begins_anew", "driver_ends_all_streams", "lost_request_not_sent_again",
    ]),
    (Check::Candidacy, &[
        "hung_disk_campaigns", "learner_campaigns", "learner_campaigns_unneeded", "removed_voter_never_campaigns",
    ]),
    (Check::Divergence, &[
        "who_differs_goes_on", "leader_that_differs_leads_on",
    ]),
    (Check::Acquaintance, &[
        "claim_always_believed", "leader_hears_any_claim", "leader_hears_who_does_not_depose_it",
        "wiped_node_campaigns", "wiped_peer_heard", "old_copy_heard", "second_copy_heard", "other_cluster_heard",
        "call_for_another_answered", "other_cluster_leads", "leader_of_unknown_cluster_heard", "genesis_not_learnt",
        "other_genesis_heard", "other_founding_heard", "other_founding_let_in", "founding_told_uncommitted",
        "founded_by_each_leader", "founding_forgotten_by_change", "stranger_heard", "peer_not_saved",
    ]),
    (Check::Health, &[
        "hung_disk_keeps_leading", "states_agree_by_first_word", "old_leader_heard",
        "late_request_before_purged_refused", "old_delegation_heard", "purged_entries_skipped",
        "old_heartbeat_reply_counts", "binding_not_checked", "claim_ignored", "wiped_learner_shut_out",
        "tail_skips_an_entry",
    ]),
    (Check::Convergence, &[
        "learner_never_votes", "pre_vote_beside_leader", "election_timer_not_reset", "election_timeout_too_short",
        "leader_without_entry", "predecessors_change_left", "removed_leader_leads_on", "unknown_leader_not_heard",
        "delegate_never_given_up", "damaged_snapshot_kept", "lost_piece_not_sent_again", "conflict_ignored",
        "in_hand_never_freed", "request_ids_used_again", "bound_after_the_vote",
    ]),
];

impl Mutant {
    /// The check that is meant to find it. A mutant that is new has none until it stands in the table.
    #[must_use]
    pub fn found_by(&self) -> Option<Check> {
        FOUND_BY.iter().find(|(_, names)| names.contains(&self.name)).map(|(check, _)| *check)
    }

    /// Whether it counts as found where this check ends a history in which `made` were made. Who leaves checks out may have left out
    /// the one that is meant: then any counts that is a check of the protocol, and so it does for a mutant that is new.
    #[must_use]
    pub fn is_found_by(&self, check: Check, made: Checks) -> bool {
        let meant = self.found_by().filter(|_| made == Checks::ALL);
        check != Check::Assertion && meant.is_none_or(|meant| meant == check)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{MUTANTS, find};
    use super::*;

    #[test]
    fn each_mutant_stands_once_in_the_table_of_who_is_meant_to_find_it() {
        let named: Vec<&str> = FOUND_BY.iter().flat_map(|(_, names)| *names).copied().collect();
        let all: BTreeSet<&str> = named.iter().copied().collect();
        let mutants: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        assert_eq!(all.difference(&mutants).collect::<Vec<_>>(), Vec::<&&str>::new(), "there are no such mutants");
        assert_eq!(mutants.difference(&all).collect::<Vec<_>>(), Vec::<&&str>::new(), "no check is meant to find them");
        assert_eq!(named.len(), all.len(), "two checks are meant to find the same");
        assert!(FOUND_BY.is_sorted_by_key(|(check, _)| *check), "as the checks are");
        assert!(FOUND_BY.iter().all(|(check, _)| *check != Check::Assertion), "what may stand there by luck");
    }

    #[test]
    fn only_the_check_that_is_meant_finds_a_mutant_unless_checks_are_left_out_or_it_is_new() {
        let is_found = |mutant: &Mutant, made| {
            [Check::OneVote, Check::Promise, Check::Assertion].map(|check| mutant.is_found_by(check, made))
        };
        let twice = find("vote_twice").expect("a mutant");
        assert_eq!(is_found(twice, Checks::ALL), [true, false, false]);
        assert_eq!(is_found(twice, Checks::LIGHT), [true, true, false]);
        let new = Mutant { name: "that_is_new", ..*twice };
        assert_eq!(new.found_by(), None);
        assert_eq!(is_found(&new, Checks::ALL), [true, true, false]);
    }
}

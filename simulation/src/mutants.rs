//! The mutants: what each of them breaks. The sites are in the engine, the driver and the log, where `mutate!` names them.
//!
//! A mutant is found when a check of the protocol finds it that is meant to ([`Mutant::found_by`]): an assertion of the code under
//! test that fails does not count, for it may stand there by luck, and no more does another check, for it says nothing of whether
//! the one that is meant can see. `simulate --mutants` tries all.

mod found_by;
mod table;

pub use table::{Find, SOON, table};

/// One named fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mutant {
    /// Its name, as its sites and the command line have it.
    pub name: &'static str,
    /// What it does that must not be done.
    pub breaks: &'static str,
    /// What says that it must not be done.
    pub source: &'static str,
}

const fn mutant(name: &'static str, breaks: &'static str, source: &'static str) -> Mutant {
    Mutant { name, breaks, source }
}

/// Every mutant.
#[rustfmt::skip] // a table
pub const MUTANTS: &[Mutant] = &[
    mutant("vote_twice", "a vote is given to whoever asks", "Raft paper 5.2; TRAPS 21"),
    mutant("vote_without_log_check", "a vote is given to a log that lacks entries", "Raft paper 5.4.1"),
    mutant("vote_by_log_length", "the longer log wins, whatever its terms", "Raft paper 5.4.1; TRAPS 19"),
    mutant("learner_never_votes", "who is a learner by its own log votes for nobody, though others need its vote", "thesis 4.1; TRAPS 23"),
    mutant("vote_before_flush", "a vote is told before it is durable", "TRAPS 12"),
    mutant("own_vote_before_flush", "a candidate counts its own vote before it is durable", "TRAPS 12"),
    mutant("refused_vote_counts", "a refusal counts as a vote", "TRAPS 21"),
    mutant("late_vote_counts", "a vote of an earlier term counts", "Raft paper 5.2"),
    mutant("pre_vote_counts_as_vote", "a pre-vote that comes late counts as a vote", "TRAPS 22"),
    mutant("pre_vote_raises_term", "who is asked for a pre-vote takes its term", "thesis 9.6"),
    mutant("pre_vote_reply_hides_term", "the higher term of who refuses a pre-vote is not adopted", "TRAPS 22"),
    mutant("pre_vote_beside_leader", "pre-votes are given beside a leader that lives", "thesis 9.6"),
    mutant("candidate_keeps_role", "a candidate that sees a higher term stays a candidate", "Raft paper 5.1"),
    mutant("term_not_saved", "a new term is not written down", "Raft paper, figure 2"),
    mutant("vote_forgotten", "a restart keeps the term and forgets the vote", "TRAPS 6"),
    mutant("quorum_of_half", "half of the voters are a quorum", "TRAPS 2"),
    mutant("check_quorum_never_steps_down", "a leader that nobody answers stays", "thesis 6.2"),
    mutant("check_quorum_patient", "a leader that nobody answers stays for twice as long", "thesis 6.2"),
    mutant("check_quorum_impatient", "a leader gives up after half of the time", "thesis 6.2"),
    mutant("reply_of_who_lags_deposes", "a leader gives up when somebody tells it that it lags", "thesis 6.2"),
    mutant("check_quorum_by_one", "one answer keeps a leader in office", "TRAPS 24"),
    mutant("hung_disk_keeps_leading", "a leader whose disk hangs stays in office", "TRAPS 44"),
    mutant("hung_disk_campaigns", "a node whose disk hangs campaigns", "TRAPS 44"),
    mutant("states_agree_by_first_word", "the first who tells of its state is taken for a majority", "FEATURES J"),
    mutant("who_differs_goes_on", "a node that is told that its state differs goes on", "FEATURES J"),
    mutant("leader_that_differs_leads_on", "a leader whose own state is another than a quorum's leads on", "FEATURES J"),
    mutant("election_timer_not_reset", "followers campaign although their leader lives", "Raft paper 5.2"),
    mutant("election_timeout_too_short", "elections end before any answer can come", "TRAPS 25"),
    mutant("log_time_begins_anew", "each leader counts log time from its own beginning", "DESIGN, log time"),
    mutant("log_time_too_fast", "log time goes three times as fast as the leader's clock", "DESIGN, log time"),
    mutant("leader_without_entry", "a new leader appends nothing of its own", "Raft paper 8"),
    mutant("quorum_unsorted", "the index that a quorum holds is taken from an unsorted list", "TRAPS 11"),
    mutant("counts_unflushed", "a leader counts what it has not flushed", "TRAPS 12"),
    mutant("commits_older_term", "entries of older terms are committed by counting", "Raft paper 5.4.2"),
    mutant("truncates_before_append", "what follows the entry before is dropped, equal or not", "TRAPS 9"),
    mutant("short_request_truncates", "a late, shorter request drops what it does not hold", "TRAPS 9"),
    mutant("no_prev_check", "the term of the entry before is not compared", "Raft paper 5.3"),
    mutant("old_leader_heard", "a leader of an earlier term is followed", "Raft paper 5.1"),
    mutant("conflict_not_truncated", "entries that conflict stay, and are acknowledged", "Raft paper 5.3"),
    mutant("commit_beyond_verified", "a follower commits what its leader has not shown to be its own", "TRAPS 10"),
    mutant("heartbeat_verifies", "a heartbeat's commit index counts as shown", "TRAPS 17"),
    mutant("acknowledges_unflushed", "entries are acknowledged before they are durable", "TRAPS 12"),
    mutant("acknowledges_unverified", "the whole log is acknowledged, not what the request has shown", "TRAPS 10"),
    mutant("heartbeat_acknowledges_unflushed", "the answer to a heartbeat acknowledges what is not durable", "TRAPS 12"),
    mutant("acknowledges_before_term", "entries that are durable are acknowledged before the term is", "Raft paper, figure 2; TRAPS 12"),
    mutant("acknowledges_at_first_write", "an acknowledgement waits for the first of the writes that it needs", "TRAPS 13"),
    mutant("heartbeat_answered_before_term", "a heartbeat is answered before its term is durable", "Raft paper, figure 2"),
    mutant("flush_counts_for_all", "the end of one flush counts for later writes", "TRAPS 13"),
    mutant("flush_told_twice_counts_twice", "a flush that is told twice counts for the next one", "TRAPS 13"),
    mutant("late_flush_rewinds", "a flush that is told late takes back later ones", "TRAPS 13"),
    mutant("late_applied_rewinds", "what is said late to be applied takes back what was applied since", "TRAPS 35"),
    mutant("late_sent_counts", "a request that is told late to be sent is taken for the one that is being sent", "TRAPS 15"),
    mutant("truncated_write_counts", "a write that a truncation overtook counts for what took its place", "TRAPS 20"),
    mutant("joint_commits_by_new_voters", "a majority of the new voters commits, while two must", "thesis 4.3"),
    mutant("joint_commits_by_old_voters", "a majority of the old voters commits, while two must", "thesis 4.3"),
    mutant("joint_entry_commits_by_new_voters", "that two majorities decide is decided by the new voters alone", "thesis 4.3"),
    mutant("joint_elects_by_new_voters", "a majority of the new voters elects, while two must", "thesis 4.3"),
    mutant("joint_elects_by_old_voters", "a majority of the old voters elects, while two must", "thesis 4.3"),
    mutant("joint_reads_by_new_voters", "a majority of the new voters confirms a read, while two must", "thesis 4.3, 6.4"),
    mutant("joint_office_by_new_voters", "answers of the new voters alone keep a leader in office", "thesis 4.3, 6.2"),
    mutant("members_count_once_committed", "members count once their entry is committed, not once it is appended", "thesis 4.1"),
    mutant("members_not_rolled_back", "members count on when their entry is truncated", "thesis 4.1"),
    mutant("change_beside_another", "a change begins before the last one is committed", "thesis 4.1"),
    mutant("change_before_own_entry", "a leader changes the members before it has committed an entry of its term", "thesis 4.1"),
    mutant("learners_count_as_voters", "what learners hold counts for the majority", "thesis 4.2.1"),
    mutant("learner_campaigns", "a node campaigns that no membership lets vote", "thesis 4.2.1"),
    mutant("learner_campaigns_unneeded", "a learner that is asked for its vote campaigns, though who asks lacks nothing", "thesis 4.2.2"),
    mutant("removed_leader_counts_itself", "a leader that is removed counts itself for the majority", "thesis 4.2.2"),
    mutant("own_removal_commits_alone", "a leader that is removed commits that by itself, and steps down", "thesis 4.2.2"),
    mutant("transfer_never_given_up", "a transfer to who does not take over goes on for ever", "thesis 3.10; TRAPS 26"),
    mutant("takes_in_while_transferring", "the log grows while the heir catches up", "thesis 3.10"),
    mutant("heir_asked_too_early", "who lacks entries is told to take over", "thesis 3.10"),
    mutant("heir_asked_before_commit", "who has all entries is told to take over before they are committed", "ARCHITECTURE, transfer"),
    mutant("late_timeout_now_obeyed", "a node campaigns at the word of a leader of the past", "thesis 3.10"),
    mutant("any_leader_is_the_heir", "a transfer is done although another node leads", "thesis 3.10"),
    mutant("given_up_is_done", "a transfer that is given up is answered as done", "thesis 3.10"),
    mutant("disrupting_vote_without_log_check", "who may disrupt gets votes of those that have more", "thesis 4.2.3"),
    mutant("disrupting_vote_not_saved", "a vote for who may disrupt is not written down", "TRAPS 12"),
    mutant("vote_beside_leader", "who was cut off deposes a leader that is at work", "thesis 4.2.3"),
    mutant("lost_election_answered_won", "an election by hand is lost and answered as won", "DESIGN, errors"),
    mutant("election_answered_twice", "who asked for an election is answered when it is lost, and again", "TRAPS 35"),
    mutant("steps_down_to_come_back", "who was told to step down campaigns as soon as anybody", "DESIGN, elections"),
    mutant("told_to_step_down_leads_on", "who was told to step down says so, and leads on", "DESIGN, elections"),
    mutant("priority_not_taken", "a priority is answered as taken, and is not", "DESIGN, elections"),
    mutant("settles_before_commit", "the old voters go before two majorities have decided so", "thesis 4.3"),
    mutant("predecessors_change_left", "a new leader does not end the change that another one began", "thesis 4.3"),
    mutant("removed_node_waits_for_leader", "who was removed tells whoever asks it to wait for a leader", "DESIGN, errors"),
    mutant("removed_node_lets_reads_wait", "who was removed lets those wait who asked before it knew", "TRAPS 35"),
    mutant("newcomer_takes_itself_for_removed", "who catches up says that it was removed, as its log does so far", "DESIGN, errors"),
    mutant("removed_leader_leads_on", "a leader that was removed stays in office", "thesis 4.2.2"),
    mutant("removed_voter_never_campaigns", "who is to be removed does not campaign, though its log may be needed", "thesis 4.2.2"),
    mutant("version_raised_unheard", "the version is raised before all members were heard", "FEATURES, cluster version"),
    mutant("version_raised_without_learners", "the version is raised whatever learners speak", "FEATURES, cluster version"),
    mutant("version_of_earlier_life_counts", "what a member spoke in an earlier life counts for the next", "engine/src/version.rs"),
    mutant("version_used_before_raise", "what is new is said although some may not know it", "FEATURES, cluster version"),
    mutant("version_used_uncommitted", "what is new is said before the raise is committed and held", "engine/src/version.rs"),
    mutant("version_used_unflushed", "what is new is said before the leader's own disk has the raise", "engine/src/version.rs"),
    mutant("version_used_to_who_lacks_it", "what is new is said to who does not hold the raise", "engine/src/version.rs"),
    mutant("version_forgotten_by_change", "a change of the members takes the version back", "engine/src/version.rs"),
    mutant("older_build_takes_part", "a build starts from a log that says more than it knows", "engine/src/version.rs"),
    mutant("refused_by_uncommitted", "a raise that is not committed shuts out the older build", "engine/src/version.rs"),
    mutant("older_build_heard", "who speaks less than the cluster is listened to", "engine/src/version.rs"),
    mutant("unknown_leader_not_heard", "a leader is refused by who missed that it was added", "thesis 4.1"),
    mutant("purges_beyond_snapshot", "the log drops what is committed, not what a snapshot covers", "Raft paper 7"),
    mutant("stale_snapshot_installed", "a snapshot of less than what is committed is installed", "TRAPS 30; thesis 5.1"),
    mutant("snapshot_acknowledged_unflushed", "a snapshot is acknowledged before the log is durable that begins behind it", "TRAPS 12"),
    mutant("snapshot_counts_unflushed", "what a snapshot covers counts as durable before the log begins behind it", "TRAPS 12"),
    mutant("snapshot_of_present_term", "a snapshot says that its last entry is of the node's own term", "Raft paper 7"),
    mutant("purges_one_too_many", "the disk drops the first entry that a snapshot does not cover", "Raft paper 7"),
    mutant("snapshot_keeps_members", "the members in the log count on when a snapshot takes its place", "TRAPS 28"),
    mutant("snapshot_callers_forgotten", "who waits for an entry that a snapshot covers is not told", "TRAPS 35"),
    mutant("restart_forgets_snapshot_members", "a start from a snapshot knows no members", "Raft paper 7"),
    mutant("late_request_before_purged_refused", "a late request from before what was purged is refused", "Raft paper 7"),
    mutant("delegate_never_given_up", "the leader waits for ever for who should send a snapshot in its stead", "TRAPS 31"),
    mutant("old_delegation_heard", "a follower sends a snapshot in the stead of a leader whose term is over", "Raft paper 5.1"),
    mutant("late_order_carried_out", "an order to send a piece of a snapshot is carried out again, or late", "TRAPS 31"),
    mutant("damaged_snapshot_kept", "a snapshot that cannot be read to be sent stays the one to be sent", "TRAPS 31, 40"),
    mutant("late_piece_begins_anew", "a late piece of a former snapshot takes the place of what its leader sends now", "TRAPS 31"),
    mutant("lost_piece_not_sent_again", "a piece of a snapshot that was lost is not sent again", "TRAPS 31"),
    mutant("store_begins_before_snapshot", "a start does not let the log begin behind the snapshot that it found", "thesis 5.1"),
    mutant("session_retry_applied", "a command that a session has written already is applied again", "thesis 6.3"),
    mutant("session_answers_with_another", "a retry is answered as the newest command of its session was", "thesis 6.3"),
    mutant("session_keeps_one_less", "the oldest response of the window is dropped while its number is still taken", "thesis 6.3"),
    mutant("session_late_numbers_forgotten", "a number that others have overtaken is not applied", "thesis 6.3"),
    mutant("session_expired_applied", "a command is applied although its session has expired", "thesis 6.3"),
    mutant("session_expires_in_use", "a session expires by when it was looked at last, not by when it was used", "thesis 6.3"),
    mutant("session_use_not_noted", "a session expires although it is used", "thesis 6.3"),
    mutant("session_id_given_again", "sessions are numbered by how many there are", "thesis 6.3"),
    mutant("session_eviction_of_newest", "where there are too many sessions, the newest makes room", "thesis 6.3"),
    mutant("session_one_too_many", "there is one session more than there may be", "thesis 6.3"),
    mutant("session_snapshot_without_table", "a start from a snapshot knows no sessions", "thesis 6.3"),
    mutant("session_snapshot_renews", "a start from a snapshot takes all sessions for just used", "thesis 6.3"),
    mutant("log_snapshot_unsynced", "a snapshot gets its name before it is durable", "TRAPS 42"),
    mutant("log_snapshot_name_unsynced", "the name of a snapshot is not durable when the log drops what it covers", "TRAPS 42"),
    mutant("log_snapshot_head_unchecked", "the checksum of what a snapshot says of itself is not compared", "TRAPS 40, 41"),
    mutant("driver_ends_all_streams", "what goes on loses what it was about to send", "DESIGN, contracts"),
    mutant("purged_entries_skipped", "who lacks what is purged is sent what is left", "TRAPS 18"),
    mutant("stale_epoch_counts", "answers to an earlier stream count", "TRAPS 15"),
    mutant("old_heartbeat_reply_counts", "answers to heartbeats of an earlier term count", "TRAPS 15"),
    mutant("late_acknowledgement_rewinds", "a late acknowledgement takes back a later one", "TRAPS 13"),
    mutant("stale_conflict_rewinds", "a late conflict takes back what has matched", "TRAPS 16"),
    mutant("hint_counts_as_match", "where logs may agree counts as where they do", "Raft paper 5.3"),
    mutant("conflict_ignored", "a leader asks again where the follower said no", "TRAPS 19"),
    mutant("lost_request_not_sent_again", "what was lost on the way is not sent again", "Raft paper 5.3"),
    mutant("window_ignores_requests", "a follower is sent more requests than may be under way", "DESIGN, limits"),
    mutant("window_ignores_bytes", "a follower is sent more bytes than may be under way", "DESIGN, limits"),
    mutant("requests_of_any_size", "a request carries whatever its follower lacks", "DESIGN, limits"),
    mutant("takes_in_any_size", "a leader takes in an entry of any size", "DESIGN, limits"),
    mutant("takes_in_any_count", "a leader takes in any number of entries", "DESIGN, limits"),
    mutant("takes_in_any_bytes", "a leader takes in any number of bytes", "DESIGN, limits"),
    mutant("takes_in_what_disks_do_not", "a leader takes in what its disk does not keep up with", "DESIGN, limits"),
    mutant("forwards_any_count", "a follower has any number of writes on their way to the leader", "DESIGN, limits"),
    mutant("forwards_any_bytes", "a follower has writes of any size on their way to the leader", "DESIGN, limits"),
    mutant("reads_without_limit", "any number of a node's callers wait to read", "DESIGN, limits"),
    mutant("questions_without_limit", "a leader takes any number of its followers' questions", "DESIGN, limits"),
    mutant("promises_pile_up", "while a disk is slow, one more answer is kept for every heartbeat", "DESIGN, limits"),
    mutant("follower_appends_without_limit", "a follower appends while its disk does not keep up", "DESIGN, limits"),
    mutant("in_hand_never_freed", "what is applied still counts against the limits", "TRAPS 35"),
    mutant("commit_restored_too_far", "a restart takes all of its log for committed", "Raft paper, figure 2"),
    mutant("request_ids_used_again", "a restart counts its questions from the beginning", "TRAPS 38"),
    mutant("read_before_own_entry", "a new leader reads before its first entry is committed", "TRAPS 34"),
    mutant("earlier_round_confirms", "a round from before the read confirms it", "thesis 6.4"),
    mutant("read_without_round", "a leader reads without asking whether it leads", "thesis 6.4"),
    mutant("read_from_anywhere", "any node reads what it has", "TRAPS 34"),
    mutant("follower_read_does_not_wait", "a follower reads before it has committed as much as it must show", "thesis 6.4"),
    mutant("lease_counts_from_reply", "a lease begins when heartbeats are answered, not when they were sent", "thesis 6.4.1"),
    mutant("lease_ignores_drift", "a lease is as long as the shortest election timeout, however clocks drift", "thesis 6.4.1; TRAPS 37"),
    mutant("lease_by_minority", "the answer of one voter gives a lease", "thesis 6.4.1"),
    mutant("lease_before_own_entry", "a new leader with a lease reads before its first entry is committed", "thesis 6.4; TRAPS 34"),
    mutant("transfer_keeps_lease", "a leader that hands over goes on reading by its lease", "thesis 6.4.1"),
    mutant("pledge_not_kept", "a voter votes for another while its leader may hold a lease", "thesis 6.4.1"),
    mutant("restart_forgets_pledge", "who starts again votes for another while its leader may hold a lease", "thesis 6.4.1"),
    mutant("acknowledged_at_any_age", "a read that may be old is answered by a round of any age", "DESIGN, reads"),
    mutant("stale_without_bound", "a node serves its state however old it is", "DESIGN, reads"),
    mutant("late_word_is_fresh", "a word of the leader that comes late counts as if nothing later had been heard", "DESIGN, reads"),
    mutant("stale_before_own_entry", "what a leader that has committed nothing of its own has committed counts for all", "DESIGN, reads"),
    mutant("any_read_index_counts", "the answer to an earlier question confirms a read", "TRAPS 38"),
    mutant("proposed_in_any_term", "a proposal that is meant for one term is taken in in any", "DESIGN, write forms"),
    mutant("own_term_refused", "a proposal that is meant for the present term is refused", "DESIGN, write forms"),
    mutant("forwarded_to_any_term", "a leader takes in what it is handed of an earlier term", "DESIGN, write forms"),
    mutant("forwarded_twice", "a copy of a forwarded proposal is taken in too", "thesis 6.3"),
    mutant("copy_refused_for_certain", "a copy of a proposal that was taken in is refused", "thesis 6.3"),
    mutant("forward_refused_for_certain", "a proposal on its way is refused when the term ends", "TRAPS 35"),
    mutant("forward_given_up_for_certain", "a proposal without an answer is refused", "TRAPS 35"),
    mutant("earlier_life_forgotten", "a restarted leader refuses what its earlier life took in", "thesis 6.3"),
    mutant("abandoned_not_sent", "callers are not told that their leader lost its office", "TRAPS 35"),
    mutant("pending_reads_dropped", "reads that wait for a round are not answered when the term ends", "TRAPS 35"),
    mutant("binding_not_checked", "a node is judged by who was met, whatever the log says of its directory", "TRAPS 45"),
    mutant("claim_ignored", "a directory is refused that was bound by an entry that the hearer lacks", "TRAPS 45"),
    mutant("claim_always_believed", "a directory is heard that is not the one bound, whatever it claims", "TRAPS 45"),
    mutant("leader_hears_any_claim", "a leader hears a directory that is not the one bound, as it may lead in vain itself", "TRAPS 45"),
    mutant("leader_hears_who_does_not_depose_it", "a leader hears a directory that is not the one bound, in its own term", "TRAPS 45"),
    mutant("added_again_at_once", "a change that removes a node and adds it again keeps its directory", "TRAPS 45"),
    mutant("removed_voters_retained_or_not", "removed voters stay where they are to leave, and the other way round", "DESIGN, members"),
    mutant("wiped_learner_shut_out", "a learner from another directory than was met is refused", "TRAPS 45"),
    mutant("bound_after_the_vote", "a new voter votes before its directory is bound", "TRAPS 45"),
    mutant("earlier_directory_forgotten", "what another directory under its id led in is refused for certain", "thesis 6.3"),
    mutant("wiped_node_campaigns", "a node whose id is bound to another directory campaigns", "TRAPS 45"),
    mutant("wiped_peer_heard", "a node whose disk was wiped is listened to", "TRAPS 45"),
    mutant("old_copy_heard", "a node that runs from an older copy of its disk is listened to", "TRAPS 45"),
    mutant("second_copy_heard", "two copies of a node that run at once are both listened to", "TRAPS 45"),
    mutant("other_cluster_heard", "a node of another cluster is let in", "DESIGN, cluster id"),
    mutant("call_for_another_answered", "who calls another node is let in", "DESIGN, cluster id"),
    mutant("other_cluster_leads", "a node listens to the leader of another cluster", "DESIGN, cluster id"),
    mutant("leader_of_unknown_cluster_heard", "a leader need not say of which cluster it is", "DESIGN, cluster id"),
    mutant("genesis_not_learnt", "who joins never learns of which cluster it is", "DESIGN, cluster id"),
    mutant("other_genesis_heard", "a node whose cluster began with other members is let in", "DESIGN, cluster id"),
    mutant("other_founding_heard", "a node listens to a cluster that began with the same members", "DESIGN, cluster id"),
    mutant("other_founding_let_in", "a node of a cluster that began with the same members is let in", "DESIGN, cluster id"),
    mutant("founding_told_uncommitted", "a node judges others by a founding that may be truncated", "DESIGN, cluster id"),
    mutant("founded_by_each_leader", "every leader founds the cluster anew", "DESIGN, cluster id"),
    mutant("founding_forgotten_by_change", "a change of the members forgets what the cluster was founded as", "DESIGN, cluster id"),
    mutant("stranger_heard", "a node that is no member is listened to", "TRAPS 45"),
    mutant("peer_not_saved", "the life of a peer that was met is not written down", "TRAPS 45"),
    mutant("driver_keeps_ended_streams", "what an ended stream did not get to send is sent", "DESIGN, lanes"),
    mutant("driver_starts_last_first", "what waited for room starts in the opposite order", "DESIGN, lanes"),
    mutant("driver_hands_back_last", "what finds no room again loses its place", "DESIGN, lanes"),
    mutant("driver_read_overtakes", "a read overtakes what it must see, while both wait for room", "DESIGN, lanes"),
    mutant("tail_not_truncated", "the entries in memory outlive their truncation", "Raft paper 5.3"),
    mutant("tail_ignores_terms", "entries are sent that have taken the place of those that were asked for", "Raft paper 5.3"),
    mutant("tail_skips_an_entry", "a request carries its last entry only", "TRAPS 14"),
    mutant("store_forgets_candidate", "a vote is written down without its candidate", "Raft paper, figure 2"),
    mutant("store_forgets_peer", "a restart does not know whom the node has met", "TRAPS 45"),
    mutant("store_forgets_membership", "a restart does not know the members", "thesis 4.1"),
    mutant("log_flush_without_sync", "a flush does not sync", "VERIFICATION 4"),
    mutant("log_failed_sync_tried_again", "a sync that failed is tried again", "TRAPS 39"),
    mutant("log_full_disk_counts_as_written", "a flush that finds no room succeeds", "TRAPS 43"),
    mutant("log_cuts_at_corruption", "the log is cut where it is damaged, although it was synced", "TRAPS 40"),
    mutant("log_checksum_ignored", "checksums of records are not compared", "TRAPS 40, 41"),
    mutant("log_last_group_dropped", "a start drops the last group that is whole", "VERIFICATION 4"),
    mutant("log_directory_not_synced", "a new segment's name is not synced", "TRAPS 42"),
    mutant("log_renamed_before_sync", "a new segment gets its name before its content is synced", "TRAPS 42"),
    mutant("log_footer_not_synced", "a segment is left before its footer is synced", "VERIFICATION 4"),
    mutant("log_start_not_synced", "the number of a start is not synced", "TRAPS 45"),
    mutant("log_opens_what_was_refused", "a directory that was refused starts again", "TRAPS 45"),
    mutant("log_repair_not_synced", "what a killed process left in the cache counts as durable", "TRAPS 39"),
    mutant("log_tail_not_written_again", "a start syncs the last group that it finds, which the cache may hold as clean", "TRAPS 39"),
    mutant("log_footer_not_written_again", "a start takes a footer in the cache for durable", "TRAPS 39"),
    mutant("log_damaged_footer_cut", "a segment whose footer is damaged is written to again", "TRAPS 40"),
    mutant("log_mark_states_nothing", "a log that rests does not say what it has synced", "VERIFICATION 4"),
    mutant("log_run_not_shortened", "a truncation within a run of entries is forgotten", "Raft paper 5.3"),
];

/// The mutant of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Mutant> {
    MUTANTS.iter().find(|mutant| mutant.name == name)
}

/// What to say of a name that no mutant has: with the one that may have been meant, if any is like it.
///
/// ```
/// use outrigger_simulation::mutants::unknown;
///
/// assert_eq!(unknown("vote_twise"), "no mutant is called vote_twise; did you mean vote_twice? simulate --list-mutants prints all names");
/// assert_eq!(unknown("fog"), "no mutant is called fog; simulate --list-mutants prints all names");
/// ```
#[must_use]
pub fn unknown(name: &str) -> String {
    let near = MUTANTS.iter().map(|mutant| (distance(name, mutant.name), mutant.name)).min();
    // One letter in three may be wrong.
    let meant = near.filter(|(distance, meant)| distance * 3 <= meant.len().min(name.len()));
    let meant = meant.map(|(_, meant)| format!(" did you mean {meant}?")).unwrap_or_default();
    format!("no mutant is called {name};{meant} simulate --list-mutants prints all names")
}

/// How many letters must be put in, left out or replaced to make one name of another (Levenshtein 1966). A `-` passes for a
/// `_`.
fn distance(one: &str, other: &str) -> usize {
    let one = one.replace('-', "_");
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (place, meant) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != meant);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

/// Whether this build holds the mutants: it was made with `--cfg outrigger_mutants`.
#[must_use]
pub const fn are_built_in() -> bool {
    cfg!(outrigger_mutants)
}

/// From now on the whole process is this mutant.
#[cfg(outrigger_mutants)]
pub fn choose(mutant: &Mutant) {
    outrigger_engine::choose_mutant(mutant.name);
    outrigger_log::choose_mutant(mutant.name);
    *CHOSEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(mutant.name);
}

/// The name of the mutant that this process is.
#[cfg(outrigger_mutants)]
static CHOSEN: std::sync::Mutex<Option<&str>> = std::sync::Mutex::new(None);

/// The name of the mutant that this process is, if it is one: the line that replays a failure has it.
#[cfg(outrigger_mutants)]
pub(crate) fn chosen() -> Option<&'static str> {
    *CHOSEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// This build cannot be a mutant.
#[cfg(not(outrigger_mutants))]
pub(crate) const fn chosen() -> Option<&'static str> {
    None
}

#[cfg(not(outrigger_mutants))]
pub use self::rebuild::rebuild;

#[cfg(not(outrigger_mutants))]
mod rebuild {
    use std::env;
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::process::{Command, ExitCode};

    /// Builds the mutants, and lets that build of this crate's `binary` do what this process was asked for.
    #[must_use]
    pub fn rebuild(binary: &str) -> ExitCode {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| package.join("../target"), PathBuf::from);
        let target = target.join("mutants");
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["run", "--bin", binary, "--manifest-path"]).arg(package.join("Cargo.toml"));
        cargo.arg("--target-dir").arg(&target);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        cargo.arg("--").args(env::args_os().skip(1));
        // The encoded form wins where both are set.
        match env::var("CARGO_ENCODED_RUSTFLAGS") {
            Ok(flags) => cargo.env("CARGO_ENCODED_RUSTFLAGS", format!("{flags}\x1f--cfg\x1foutrigger_mutants")),
            Err(_) => {
                let flags = env::var("RUSTFLAGS").unwrap_or_default();
                cargo.env("RUSTFLAGS", format!("{flags} --cfg outrigger_mutants"))
            }
        };
        let built = target.join(if cfg!(debug_assertions) { "debug" } else { "release" });
        let built = built.join(format!("{binary}{}", env::consts::EXE_SUFFIX));
        let (doing, takes) = if built.exists() {
            ("That one is checked for changes", "")
        } else {
            ("One is built now", "; that may take minutes")
        };
        say(&format!("{binary}: mutants need a build of their own. {doing}, in {}{takes}", target.display()));
        match become_process(cargo) {
            Ok(code) => ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
            Err(error) => {
                say(&format!("{binary}: cargo cannot be run: {error}"));
                ExitCode::FAILURE
            }
        }
    }

    /// The process is the command from now on, so that Ctrl-C is for that alone.
    #[cfg(unix)]
    fn become_process(mut command: Command) -> io::Result<Option<i32>> {
        Err(std::os::unix::process::CommandExt::exec(&mut command))
    }

    #[cfg(not(unix))]
    fn become_process(mut command: Command) -> io::Result<Option<i32>> {
        command.status().map(|status| status.code())
    }

    /// Says it on standard error; nobody is stopped because that cannot be written to.
    fn say(line: &str) {
        let _: io::Result<()> = writeln!(io::stderr(), "{line}");
    }
}

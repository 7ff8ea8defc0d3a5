//! What each action needs: for every guard a state in which the action is refused for that reason and no other, and mostly the
//! state beside it in which it is taken.
//!
//! Where the guards before a step leave no such state within reach, a variable is bent: the specification is to say no by
//! itself, and not by what happens to be true.

use super::super::sample::{
    S1, S2, S3, X, Y, after, alone, append, campaign, committed, crash, elected, election, election_alone, fresh,
    joint, replicated, server, stable, take,
};
use super::super::{Action, Command, Role, System};
use crate::log::{LogIndex, Term};
use crate::server_set::{ServerId, ServerSet};

/// The action is refused because of what it `needs`, and changes nothing.
#[track_caller]
fn refuses(system: &System<Command>, action: &Action<Command>, needs: &str) {
    let mut after = system.clone();
    assert_eq!(after.apply(action).map_err(|refusal| refusal.needs), Err(needs), "{action}");
    assert_eq!(after, *system, "what is refused changes nothing");
}

/// The action is taken.
#[track_caller]
fn takes(system: &System<Command>, action: Action<Command>) {
    after(system, [action]);
}

/// [`elected`], but s3 asks for votes in that term too.
fn contested() -> System<Command> {
    let rivals = after(&campaign(), [Action::Timeout(S3), Action::Flush(S3, 1)]);
    after(&rivals, election())
}

/// What makes s2 the leader of term 2 by the vote of s3.
fn succession() -> [Action<Command>; 8] {
    [
        Action::Timeout(S2),
        Action::Flush(S2, 1),
        Action::CountVote(S2, S2),
        Action::UpdateTerm(S3, Term(2)),
        Action::GrantVote(S3, S2),
        Action::Flush(S3, 3),
        Action::CountVote(S2, S3),
        Action::BecomeLeader(S2),
    ]
}

/// [`committed`], and s2 leads in term 2. Nobody has told s1.
fn succeeded() -> System<Command> {
    after(&committed(), succession())
}

/// [`committed`], and a client's read 1 has begun at s1.
fn reading() -> System<Command> {
    after(&committed(), [Action::AskRead(1), Action::BeginRead(S1, 1)])
}

/// [`reading`], and s2 has answered the round that proves that s1 leads.
fn answered() -> System<Command> {
    after(&reading(), [Action::BeginRound(S1), Action::AnswerRound(S2, S1, 1)])
}

/// s1 leads in term 1 by the vote of s2 and begins with the entry of term 0; the logs of the others are empty.
fn initialized_leader() -> System<Command> {
    let initialized = after(&fresh(3), [Action::Initialize(S1, X)]);
    let steps = [Action::Timeout(S1), Action::Flush(S1, 2), Action::CountVote(S1, S1)];
    let campaigns = after(&initialized, steps);
    let joined = after(&campaigns, [Action::UpdateTerm(S2, Term(1)), Action::Flush(S2, 1)]);
    after(&joined, election())
}

fn restart(server: ServerId, kept: usize, votes: usize, commit: usize) -> Action<Command> {
    Action::Restart { server, kept, votes, commit: LogIndex(commit) }
}

fn install(server: ServerId, term: usize, last: usize) -> Action<Command> {
    Action::InstallSnapshot { server, term: Term(term), last: LogIndex(last) }
}

#[test]
fn no_server_of_another_system_takes_a_step() {
    let stranger = ServerId(9);
    let steps = [
        Action::Initialize(stranger, X),
        restart(stranger, 0, 0, 0),
        Action::Flush(stranger, 0),
        Action::UpdateTerm(stranger, Term(1)),
        Action::StepDown(stranger),
        Action::Timeout(stranger),
        Action::GrantVote(stranger, S1),
        Action::CountVote(stranger, S1),
        Action::BecomeLeader(stranger),
        Action::ClientRequest(stranger, vec![X]),
        Action::ChangeConfiguration(stranger, joint(&[1])),
        append(stranger, 0, 0),
        Action::HandleAcknowledgement(stranger, S2, LogIndex(0)),
        Action::HandleAcknowledgement(S1, stranger, LogIndex(0)),
        Action::ForgetMatch(stranger, S2),
        Action::ForgetMatch(S1, stranger),
        Action::AdvanceCommitIndex(stranger, LogIndex(1)),
        Action::HandleCommit(stranger, S1, LogIndex(1)),
        install(stranger, 1, 1),
        Action::BeginRound(stranger),
        Action::AnswerRound(stranger, S1, 0),
        Action::BeginRead(stranger, 1),
        Action::ServeRead(stranger, 1),
    ];
    for step in steps {
        refuses(&reading(), &step, "it names a server of the system");
    }
}

// ---- disks and terms -------------------------------------------------------------------------------------------

#[test]
fn a_server_is_initialized_once_with_what_the_others_began_with() {
    let one = after(&fresh(3), [Action::Initialize(S1, X)]);
    refuses(&one, &Action::Initialize(S2, Y), "every server begins with the same entry");
    takes(&one, Action::Initialize(S2, X));
    refuses(&one, &Action::Initialize(S1, X), "the log is empty");
    let campaigns = after(&one, [Action::Timeout(S2)]);
    refuses(&campaigns, &Action::Initialize(S2, X), "it follows");
}

#[test]
fn a_crash_keeps_no_writes_that_there_were_not() {
    // That s3 is in term 1 is all that it has to write.
    let system = elected();
    refuses(&system, &restart(S3, 2, 0, 0), "no more writes survive than were pending");
    takes(&system, restart(S3, 1, 0, 0));
    refuses(&system, &restart(S3, 0, 2, 0), "no more votes survive than were pending");
    takes(&system, restart(S3, 0, 1, 0));
    refuses(&system, &restart(S3, 1, 1, 0), "no more votes survive than were pending");
    let appended = after(&system, [Action::ClientRequest(S1, vec![X])]);
    refuses(&appended, &restart(S1, 0, 1, 0), "no more votes survive than were pending");
    takes(&appended, restart(S1, 1, 0, 0));
}

#[test]
fn a_crash_leaves_a_commit_index_that_was_known_and_that_the_log_reaches() {
    refuses(&replicated(), &restart(S2, 0, 0, 1), "a commit index that was known survives, or an older one");
    let told = after(&committed(), [append(S3, 0, 1), Action::HandleCommit(S3, S1, LogIndex(1))]);
    refuses(&told, &restart(S3, 1, 0, 1), "what is committed is in the log");
    takes(&told, restart(S3, 1, 0, 0));
    takes(&told, restart(S3, 2, 0, 1));
    refuses(&told, &restart(S3, 2, 0, 2), "a commit index that was known survives, or an older one");
}

#[test]
fn only_pending_writes_are_flushed() {
    refuses(&elected(), &Action::Flush(S3, 2), "so many writes are pending");
    takes(&elected(), Action::Flush(S3, 1));
}

#[test]
fn a_term_is_entered_once_and_only_if_somebody_was_in_it() {
    let system = elected();
    refuses(&system, &Action::UpdateTerm(S2, Term(2)), "somebody was in that term, or in a later one");
    let later = after(&system, [Action::Timeout(S3)]);
    takes(&later, Action::UpdateTerm(S2, Term(2)));
    refuses(&later, &Action::UpdateTerm(S2, Term(1)), "the term is later than its own");
    refuses(&later, &Action::UpdateTerm(S3, Term(1)), "the term is later than its own");
    // Who asked may have forgotten that it ever did.
    let asked = after(&later, [Action::Flush(S3, 2)]);
    let mut forgotten = asked;
    server(&mut forgotten, S3).current_term = Term(1);
    takes(&forgotten, Action::UpdateTerm(S2, Term(2)));
}

#[test]
fn a_follower_has_nothing_to_step_down_from() {
    refuses(&elected(), &Action::StepDown(S2), "it is a candidate or a leader");
    takes(&elected(), Action::StepDown(S1));
    takes(&campaign(), Action::StepDown(S1));
}

// ---- elections -------------------------------------------------------------------------------------------------

#[test]
fn who_leads_or_does_not_know_the_voters_does_not_campaign() {
    refuses(&elected(), &Action::Timeout(S1), "it does not lead");
    takes(&campaign(), Action::Timeout(S1));
    let configured = System::configured(&ServerSet::first(3), &stable(&[1, 2]));
    refuses(&configured, &Action::Timeout(S3), "it has the first configuration");
    takes(&configured, Action::Timeout(S1));
    let mut last = fresh(1);
    server(&mut last, S1).current_term = Term(usize::MAX);
    refuses(&last, &Action::Timeout(S1), "there is a later term");
}

#[test]
fn a_vote_is_for_who_asked_in_this_term_and_for_one_alone() {
    refuses(&elected(), &Action::GrantVote(S3, S2), "the candidate asked for votes in its term");
    takes(&elected(), Action::GrantVote(S3, S1));
    refuses(&campaign(), &Action::GrantVote(S3, S1), "the candidate asked for votes in its term");
    refuses(&contested(), &Action::GrantVote(S2, S3), "it has voted for nobody else in its term");
    takes(&contested(), Action::GrantVote(S2, S1));
}

#[test]
fn a_vote_is_for_a_log_that_lacks_nothing() {
    let asks = [Action::Timeout(S3), Action::Flush(S3, 2), Action::UpdateTerm(S2, Term(2))];
    refuses(
        &after(&replicated(), asks.clone()),
        &Action::GrantVote(S2, S3),
        "the candidate's log lacks nothing of its own",
    );
    takes(&after(&elected(), asks), Action::GrantVote(S2, S3));
}

#[test]
fn a_vote_counts_once_it_is_durable_and_for_a_candidate() {
    let unsaid = after(&campaign(), [Action::GrantVote(S2, S1)]);
    refuses(&unsaid, &Action::CountVote(S1, S2), "that server has voted for it in its term, durably");
    let said = after(&unsaid, [Action::Flush(S2, 1)]);
    takes(&said, Action::CountVote(S1, S2));
    refuses(&after(&said, [Action::StepDown(S1)]), &Action::CountVote(S1, S2), "it is a candidate");
}

#[test]
fn a_quorum_elects_a_candidate_once() {
    refuses(&campaign(), &Action::BecomeLeader(S1), "a quorum has voted for it");
    refuses(&elected(), &Action::BecomeLeader(S1), "it is a candidate");
}

// ---- replication -----------------------------------------------------------------------------------------------

#[test]
fn only_leaders_append_and_clients_append_no_configuration() {
    refuses(&elected(), &Action::ClientRequest(S2, vec![X]), "it leads");
    refuses(&elected(), &Action::ClientRequest(S1, vec![X, stable(&[1, 2, 3])]), "clients change no configuration");
    takes(&elected(), Action::ClientRequest(S1, vec![X, Y]));
}

#[test]
fn the_configuration_changes_step_by_step() {
    let leads = committed();
    let change = |value: &Command| Action::ChangeConfiguration(S1, value.clone());
    refuses(&leads, &change(&X), "it is a configuration");
    refuses(&elected(), &Action::ChangeConfiguration(S2, joint(&[1, 2])), "it leads");
    refuses(&elected(), &change(&joint(&[1, 2])), "it has committed an entry of its own term");
    refuses(&leads, &change(&stable(&[1, 2])), "the last configuration leads there in one step");
    let begun = after(&leads, [change(&joint(&[1, 2]))]);
    refuses(&begun, &change(&stable(&[1, 2])), "the last configuration is committed");
    let steps = [
        Action::Flush(S1, 1),
        append(S2, 1, 2),
        Action::Flush(S2, 1),
        Action::HandleAcknowledgement(S1, S2, LogIndex(2)),
        Action::AdvanceCommitIndex(S1, LogIndex(2)),
    ];
    let halfway = after(&begun, steps);
    refuses(&halfway, &change(&joint(&[1])), "the last configuration leads there in one step");
    takes(&halfway, change(&stable(&[1, 2])));
}

#[test]
fn entries_come_from_the_leader_of_the_term_to_its_followers() {
    let system = replicated();
    refuses(&system, &append(S2, 1, 0), "entries of another server, in order");
    refuses(&after(&system, [Action::StepDown(S1)]), &append(S1, 0, 0), "entries of another server, in order");
    let from_s2 = Action::HandleAppendEntries { server: S3, leader: S2, prev: LogIndex(0), last: LogIndex(0) };
    refuses(&system, &from_s2, "that server leads in its term");
    refuses(&after(&system, [crash(S3)]), &append(S3, 0, 1), "that server leads in its term");
    refuses(&contested(), &append(S3, 0, 0), "it follows");
    takes(&after(&contested(), [Action::StepDown(S3)]), append(S3, 0, 0));
}

#[test]
fn entries_are_there_and_fit_to_what_the_follower_has() {
    let system = replicated();
    refuses(&system, &append(S3, 0, 2), "the leader has these entries");
    takes(&system, append(S3, 0, 1));
    refuses(&system, &append(S3, 1, 1), "it has the entry before them");
    let other = after(&system, [Action::Initialize(S3, X)]);
    refuses(&other, &append(S3, 1, 1), "it has the entry before them");
    // The leader's first entry is of term 0, as is the place behind an empty log.
    let led = initialized_leader();
    refuses(&led, &append(S2, 1, 1), "it has the entry before them");
    takes(&led, append(S2, 0, 1));
}

#[test]
fn an_acknowledgement_was_said_and_counts_for_a_leader() {
    refuses(
        &replicated(),
        &Action::HandleAcknowledgement(S1, S2, LogIndex(2)),
        "that server holds so much of the leader's log durably",
    );
    refuses(
        &replicated(),
        &Action::HandleAcknowledgement(S1, S3, LogIndex(1)),
        "that server holds so much of the leader's log durably",
    );
    takes(&replicated(), Action::HandleAcknowledgement(S1, S2, LogIndex(1)));
    let deposed = after(&replicated(), [Action::StepDown(S1)]);
    refuses(&deposed, &Action::HandleAcknowledgement(S1, S2, LogIndex(1)), "it leads");
    refuses(&deposed, &Action::ForgetMatch(S1, S2), "it leads");
}

#[test]
fn a_leader_commits_what_a_quorum_holds_and_only_once() {
    let commits = Action::AdvanceCommitIndex(S1, LogIndex(1));
    refuses(&replicated(), &commits, "a quorum holds it durably");
    refuses(&committed(), &commits, "it is not committed yet");
    assert!(!committed().can_advance_commit_index(S1, LogIndex(1)));
    let appended = after(&alone(), [Action::ClientRequest(S1, vec![X])]);
    refuses(&appended, &commits, "a quorum holds it durably");
    let flushed = after(&appended, [Action::Flush(S1, 1)]);
    assert!(flushed.can_advance_commit_index(S1, LogIndex(1)));
    takes(&flushed, commits.clone());
    refuses(&after(&flushed, [Action::StepDown(S1)]), &commits, "it leads");
}

/// Raft paper, section 5.4.2.
#[test]
fn a_leader_commits_no_entry_of_an_earlier_term_by_itself() {
    let appended = after(&alone(), [Action::ClientRequest(S1, vec![X]), Action::Flush(S1, 1), crash(S1)]);
    let again = after(&appended, election_alone());
    refuses(&again, &Action::AdvanceCommitIndex(S1, LogIndex(1)), "the entry is of the leader's own term");
    let covered = after(&again, [Action::ClientRequest(S1, vec![Y]), Action::Flush(S1, 1)]);
    takes(&covered, Action::AdvanceCommitIndex(S1, LogIndex(2)));
}

#[test]
fn a_follower_commits_what_its_leader_has_and_what_it_knows_to_be_the_leaders() {
    let learns = |i| Action::HandleCommit(i, S1, LogIndex(1));
    refuses(&replicated(), &learns(S2), "the leader of its term has committed so much");
    refuses(&committed(), &Action::HandleCommit(S2, S3, LogIndex(1)), "the leader of its term has committed so much");
    takes(&committed(), learns(S2));
    refuses(&after(&committed(), [learns(S2)]), &learns(S2), "it is not committed there yet");
    // As long as the leader's, and not the leader's.
    let other = after(&committed(), [Action::Initialize(S3, X)]);
    refuses(&other, &learns(S3), "so much of its log is known to be the leader's");
    takes(&after(&other, [append(S3, 0, 1)]), learns(S3));
    let mut bent = committed();
    server(&mut bent, S3).verified = LogIndex(1);
    refuses(&bent, &learns(S3), "it is in the log");
}

// ---- snapshots -------------------------------------------------------------------------------------------------

#[test]
fn a_snapshot_is_of_what_a_leader_had_committed_by_now() {
    refuses(&replicated(), &install(S3, 1, 1), "the leader of that term has committed so much");
    refuses(&committed(), &install(S3, 0, 0), "the leader of that term has committed so much");
    refuses(&committed(), &install(S3, 2, 0), "the leader of that term has committed so much");
    takes(&committed(), install(S3, 1, 1));
    refuses(&after(&committed(), [crash(S3)]), &install(S3, 1, 1), "that term is not later than its own");
    takes(&succeeded(), install(S3, 1, 1));
    let mut bent = committed();
    bent.said.led.clear();
    refuses(&bent, &install(S3, 1, 1), "somebody leads in that term");
}

#[test]
fn a_snapshot_takes_the_place_of_nothing_that_a_leader_has_or_that_is_committed() {
    let mut leads = committed();
    server(&mut leads, S3).role = Role::Leader;
    refuses(&leads, &install(S3, 1, 1), "a leader's log holds all that was committed before its term");
    takes(&committed(), install(S1, 1, 1));
    let mut holds = after(&committed(), [Action::Initialize(S3, X)]);
    takes(&holds, install(S3, 1, 1));
    server(&mut holds, S3).commit_index = LogIndex(1);
    refuses(&holds, &install(S3, 1, 1), "what is committed stays");
}

// ---- reads -----------------------------------------------------------------------------------------------------

#[test]
fn rounds_are_a_leaders_and_followers_answer_them() {
    refuses(&elected(), &Action::BeginRound(S2), "it leads");
    let begun = after(&contested(), [Action::BeginRound(S1)]);
    refuses(&begun, &Action::AnswerRound(S2, S1, 2), "the leader of its term has begun that round");
    refuses(&begun, &Action::AnswerRound(S2, S3, 1), "the leader of its term has begun that round");
    takes(&begun, Action::AnswerRound(S2, S1, 1));
    refuses(&begun, &Action::AnswerRound(S3, S1, 1), "it follows");
    takes(&after(&begun, [Action::StepDown(S3)]), Action::AnswerRound(S3, S1, 1));
    refuses(&after(&begun, [Action::StepDown(S1)]), &Action::AnswerRound(S1, S1, 1), "it follows");
}

#[test]
fn a_read_is_asked_once_and_begins_at_a_leader() {
    let asked = after(&elected(), [Action::AskRead(1)]);
    refuses(&asked, &Action::AskRead(1), "it was not asked before");
    takes(&asked, Action::AskRead(2));
    refuses(&asked, &Action::BeginRead(S2, 1), "it leads");
    refuses(&asked, &Action::BeginRead(S1, 2), "a client asked for it");
    takes(&asked, Action::BeginRead(S1, 1));
    takes(&reading(), Action::BeginRead(S1, 1));
    let confirmed = after(&answered(), [Action::ConfirmRead(S1, 1)]);
    refuses(&confirmed, &Action::BeginRead(S1, 1), "it is not confirmed yet");
}

#[test]
fn a_read_is_confirmed_by_who_began_it_and_in_the_same_term() {
    let asked = after(&elected(), [Action::AskRead(1)]);
    refuses(&asked, &Action::ConfirmRead(S1, 1), "a leader has begun it");
    // Two leaders of one term cannot be: what the other has heard would prove nothing about the first.
    let mut bent = answered();
    server(&mut bent, S2).role = Role::Leader;
    refuses(&bent, &Action::ConfirmRead(S2, 1), "the leader that began it confirms it");
    let begun = after(&alone(), [Action::AskRead(1), Action::BeginRead(S1, 1), Action::BeginRound(S1)]);
    takes(&begun, Action::ConfirmRead(S1, 1));
    let deposed = after(&begun, [Action::StepDown(S1)]);
    refuses(&deposed, &Action::ConfirmRead(S1, 1), "it leads in that term");
    let mut again = after(&deposed, election_alone());
    take(&mut again, [Action::BeginRound(S1)]);
    refuses(&again, &Action::ConfirmRead(S1, 1), "it leads in that term");
}

#[test]
fn a_quorum_proves_that_a_leader_led_when_the_read_began() {
    let confirms = Action::ConfirmRead(S1, 1);
    refuses(&reading(), &confirms, "a quorum has answered its round");
    assert!(!reading().can_confirm_read(S1, 1));
    // A round from before the read proves nothing.
    let early = after(&committed(), [Action::BeginRound(S1), Action::AnswerRound(S2, S1, 1)]);
    let late = after(&early, [Action::AskRead(1), Action::BeginRead(S1, 1)]);
    refuses(&late, &confirms, "a quorum has answered its round");
    assert!(answered().can_confirm_read(S1, 1));
    let confirmed = after(&answered(), [confirms]);
    assert!(!confirmed.can_confirm_read(S1, 1), "it did already");
}

#[test]
fn a_lease_needs_a_quorum_that_follows_and_nobody_who_leads_later() {
    let by_lease = Action::ConfirmReadByLease(S1, 1);
    refuses(&reading(), &by_lease, "a quorum has answered a round in its term");
    takes(&answered(), by_lease.clone());
    refuses(&after(&answered(), [by_lease.clone()]), &by_lease, "it is not confirmed yet");
    let steps = [Action::AskRead(1), Action::BeginRead(S1, 1), Action::BeginRound(S1)];
    // A follower that has moved on had answered before.
    let mut overtaken = after(&succeeded(), steps);
    overtaken.said.answered.insert((Term(1), S1, S2), 1);
    refuses(&overtaken, &by_lease, "nobody has led in a later term");
    takes(&overtaken, Action::ConfirmOldRead(S1, 1));
}

#[test]
fn an_old_read_needs_a_quorum_that_follows_and_is_confirmed_once() {
    let confirms = Action::ConfirmOldRead(S1, 1);
    refuses(&reading(), &confirms, "a quorum has answered a round in its term");
    refuses(&after(&answered(), [confirms.clone()]), &confirms, "it is not confirmed yet");
}

#[test]
fn a_read_is_served_once_where_all_that_it_must_see_is_committed() {
    refuses(&answered(), &Action::ServeRead(S1, 2), "a client asked for it");
    refuses(&answered(), &Action::ServeRead(S1, 1), "a leader has confirmed it");
    let confirmed = after(&answered(), [Action::ConfirmRead(S1, 1)]);
    refuses(&confirmed, &Action::ServeRead(S2, 1), "what it must see is committed there");
    takes(&after(&confirmed, [Action::HandleCommit(S2, S1, LogIndex(1))]), Action::ServeRead(S2, 1));
    let served = after(&confirmed, [Action::ServeRead(S1, 1)]);
    refuses(&served, &Action::ServeRead(S1, 1), "it was not served yet");
}

// ---- what the actions do ---------------------------------------------------------------------------------------

#[test]
fn a_follower_gives_up_what_its_leader_has_not() {
    let other = after(&committed(), [Action::Initialize(S3, Y), append(S3, 0, 1)]);
    let log = |i| &other.servers.at(i).expect("it is one of the servers").log;
    assert_eq!(log(S3), log(S1));
}

#[test]
fn what_is_known_is_not_forgotten_because_less_is_heard() {
    let mut longer = after(&replicated(), [Action::ClientRequest(S1, vec![Y]), append(S2, 1, 2), Action::Flush(S2, 1)]);
    take(&mut longer, [append(S2, 0, 1)]);
    assert_eq!(server(&mut longer, S2).verified, LogIndex(2));
    let acknowledgements = [2, 1].map(|index| Action::HandleAcknowledgement(S1, S2, LogIndex(index)));
    take(&mut longer, acknowledgements);
    assert_eq!(server(&mut longer, S1).match_index.at(S2), Some(&LogIndex(2)));
    take(&mut longer, [crash(S2), append(S2, 0, 1)]);
    assert_eq!(longer.said.acknowledged.get(&(Term(1), S2)), Some(&LogIndex(2)), "it was said before the crash");
    let rounds = [Action::BeginRound(S1), Action::BeginRound(S1), Action::AnswerRound(S2, S1, 2)];
    let answered = after(&after(&elected(), rounds), [Action::AnswerRound(S2, S1, 1)]);
    assert_eq!(answered.said.answered.get(&(Term(1), S1, S2)), Some(&2));
    let told = after(&committed(), [crash(S1), install(S1, 1, 0)]);
    assert_eq!(told.said.told_in(Term(1)), Some(LogIndex(1)), "the leader was told of less than it had committed");
}

#[test]
fn only_a_follower_knows_by_a_snapshot_what_is_its_leaders() {
    let mut system = after(&committed(), [install(S1, 1, 1), install(S3, 1, 1)]);
    assert_eq!([S1, S3].map(|i| server(&mut system, i).verified), [LogIndex(0), LogIndex(1)]);
}

/// Thesis, section 6.4: a leader knows what is committed once an entry of its own term is.
#[test]
fn a_read_at_a_new_leader_must_see_the_first_entry_of_its_term() {
    let must_see = |system: &System<Command>| {
        let begun = after(system, [Action::AskRead(7), Action::BeginRead(S1, 7)]);
        begun.said.reads.get(&7).and_then(|read| read.begun)
    };
    assert_eq!(must_see(&elected()), Some((S1, Term(1), LogIndex(1), 1)));
    let further =
        [Action::ClientRequest(S1, vec![X, Y]), Action::Flush(S1, 2), Action::AdvanceCommitIndex(S1, LogIndex(2))];
    let further = after(&alone(), further);
    assert_eq!(must_see(&further), Some((S1, Term(1), LogIndex(2), 1)));
    assert_eq!(must_see(&after(&further, [Action::BeginRound(S1)])), Some((S1, Term(1), LogIndex(2), 2)));
}

#[test]
fn a_new_leader_knows_of_nobody_what_it_holds() {
    let mut wins = after(&campaign(), election().into_iter().take(3));
    server(&mut wins, S1).match_index.fill(LogIndex(1));
    take(&mut wins, [Action::BecomeLeader(S1)]);
    assert!(server(&mut wins, S1).match_index.iter().all(|(_, held)| *held == LogIndex::ZERO));
}

#[test]
fn the_first_term_in_which_an_entry_was_committed_counts() {
    let mut system = after(&replicated(), succession());
    let entries = Action::HandleAppendEntries { server: S3, leader: S2, prev: LogIndex(0), last: LogIndex(2) };
    let later = [
        Action::ClientRequest(S2, vec![Y]),
        Action::Flush(S2, 1),
        entries,
        Action::Flush(S3, 2),
        Action::HandleAcknowledgement(S2, S3, LogIndex(2)),
        Action::AdvanceCommitIndex(S2, LogIndex(2)),
    ];
    take(&mut system, later);
    let terms = |system: &System<Command>| system.said.committed.values().map(|(term, _)| term.0).collect::<Vec<_>>();
    assert_eq!(terms(&system), [2, 2]);
    // The old leader hears only now what s2 had said to it.
    take(
        &mut system,
        [Action::HandleAcknowledgement(S1, S2, LogIndex(1)), Action::AdvanceCommitIndex(S1, LogIndex(1))],
    );
    assert_eq!(terms(&system), [1, 2]);
}

#[test]
fn a_candidate_asks_with_the_log_that_it_has_once_its_vote_is_durable() {
    let asked = |system: &System<Command>| system.said.asked.iter().map(|(who, log)| (*who, *log)).collect::<Vec<_>>();
    let twice = after(&fresh(3), [Action::Timeout(S1), Action::Timeout(S1), Action::Flush(S1, 1)]);
    assert_eq!(asked(&twice), [], "it is not in term 1 any more");
    let durable = after(&twice, [Action::Flush(S1, 1)]);
    assert_eq!(asked(&durable), [((Term(2), S1), (Term(0), LogIndex(0)))]);
    let as_leader = [((Term(1), S1), (Term(0), LogIndex(0)))];
    assert_eq!(asked(&replicated()), as_leader, "a leader asks for no votes");
}

#[test]
fn a_vote_that_is_given_again_is_not_written_again() {
    let system = elected();
    assert_eq!(after(&system, [Action::GrantVote(S2, S1)]), system);
}

#[test]
fn a_read_must_see_what_was_committed_before_it_unless_it_may_be_old() {
    let floor = |system: &System<Command>| system.said.reads.get(&1).map(|read| read.floor);
    assert_eq!(floor(&answered()), Some(LogIndex(1)));
    assert_eq!(floor(&after(&answered(), [Action::ConfirmRead(S1, 1)])), Some(LogIndex(1)));
    assert_eq!(floor(&after(&answered(), [Action::ConfirmReadByLease(S1, 1)])), Some(LogIndex(1)));
    assert_eq!(floor(&after(&answered(), [Action::ConfirmOldRead(S1, 1)])), Some(LogIndex(0)));
}

#[test]
fn a_snapshot_of_the_entry_of_term_0_is_no_place_behind_an_empty_log() {
    let steps = [
        append(S2, 0, 1),
        Action::ClientRequest(S1, vec![Y]),
        Action::Flush(S1, 1),
        append(S2, 1, 2),
        Action::Flush(S2, 2),
        Action::HandleAcknowledgement(S1, S2, LogIndex(2)),
        Action::AdvanceCommitIndex(S1, LogIndex(2)),
        Action::UpdateTerm(S3, Term(1)),
        install(S3, 1, 1),
    ];
    let system = after(&initialized_leader(), steps);
    assert_eq!(
        system.servers.at(S3).map(|server| (server.log.len(), server.commit_index)),
        Some((LogIndex(1), LogIndex(1)))
    );
}

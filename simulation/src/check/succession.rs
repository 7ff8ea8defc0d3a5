//! How one leader follows another by somebody's wish, by an account of its own.
//!
//! ```text
//!   a transfer begins ── the log stays as it is ──► over within two election timeouts
//!                          └─ timeout_now, once the heir has all of it
//! ```
//!
//! Time is what the node's own clock shows.

use std::time::Duration;

use outrigger::engine::{Event, Instant, LogIndex, Message, NodeId, RoleKind, Term};

use super::{Violation, require};
use crate::look::Look;

/// What a step was taken for, as far as successions go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Prompt {
    /// A deadline.
    Timeout,
    /// A node says that it leads and wants another one to.
    TimeoutNow(NodeId, Term),
    /// A node asks for a vote, and whether it may depose a leader.
    RequestVote(Term, bool),
    /// Somebody wants the node to lead no more.
    StepDown,
    /// Anything else.
    Other,
}

impl Prompt {
    pub(crate) fn of(event: &Event) -> Self {
        match event {
            Event::Timeout => Self::Timeout,
            Event::StepDown { .. } => Self::StepDown,
            Event::Received { from, message: Some(Message::TimeoutNow { term }) } => Self::TimeoutNow(from.node, *term),
            Event::Received { message: Some(Message::RequestVote(request)), .. } => {
                Self::RequestVote(request.term, request.warrant.may_disrupt())
            }
            _ => Self::Other,
        }
    }
}

/// What is known of one node in one life.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    /// What it was after its last step.
    seen: Option<Look>,
    /// To whom it hands leadership over, since when, and where its log ended then.
    transfer: Option<(NodeId, Instant, LogIndex)>,
    /// When it stepped down because somebody wanted it to, until another node leads or has its vote.
    stepped_down: Option<Instant>,
}

impl Succession {
    /// Judges a step. `ended`: somebody was told what has become of a transfer. `may_vote`: by a membership that may come to count.
    pub(crate) fn judge(
        &mut self,
        prompt: Prompt,
        look: &Look,
        ended: bool,
        timeouts: (Duration, Duration),
        own: Instant,
        may_vote: impl FnOnce() -> bool,
    ) -> Result<(), Violation> {
        if let Some(before) = &self.seen {
            obeys(prompt, before, look, may_vote)?;
            lets_others_go_first(&mut self.stepped_down, prompt, (before, look), timeouts.1, own)?;
        }
        self.seen = Some(*look);
        self.goes_on(prompt, look, ended, timeouts.0, own)
    }

    /// A transfer neither lasts nor lets the log grow.
    fn goes_on(
        &mut self,
        prompt: Prompt,
        look: &Look,
        ended: bool,
        timeout: Duration,
        own: Instant,
    ) -> Result<(), Violation> {
        let (id, last) = (look.node, look.last.index);
        let under_way = self.transfer.filter(|(heir, ..)| !ended && look.heir == Some(*heir));
        let Some((heir, since, end)) = under_way else {
            // Somebody may have been told that another one is under way, and the clock of the node may have been set back since it began.
            let same = self.transfer.filter(|(heir, ..)| look.heir == Some(*heir));
            let began = same.map_or(own, |(_, since, _)| own.max(since));
            self.transfer = look.heir.map(|heir| (heir, began, last));
            return Ok(());
        };
        require!(
            last == end,
            Succession,
            "node {id} hands over to node {heir}, and its log grows from {end} to {last}"
        );
        let lasts = own.since(since);
        let is_over = !matches!(prompt, Prompt::Timeout) || lasts < timeout * 2;
        require!(is_over, Succession, "node {id} hands over to node {heir} for {lasts:?}, and does not give it up");
        Ok(())
    }
}

/// Who stepped down because somebody wanted it to does not campaign by itself before others may have.
fn lets_others_go_first(
    stepped_down: &mut Option<Instant>,
    prompt: Prompt,
    (before, look): (&Look, &Look),
    timeout: Duration,
    own: Instant,
) -> Result<(), Violation> {
    let (id, campaigns) = (look.node, campaigned(before, look) || look.role == RoleKind::PreCandidate);
    if let (Some(since), Prompt::Timeout, true) = (*stepped_down, prompt, campaigns) {
        let rests = own.since(since);
        require!(rests >= timeout, Succession, "node {id} was told to step down, and campaigns {rests:?} later");
    }
    if matches!(prompt, Prompt::StepDown) && before.leads() && !look.leads() {
        *stepped_down = Some(own);
    } else if look.leader.is_some() || look.term > before.term || campaigns {
        *stepped_down = None;
    }
    Ok(())
}

/// Whether the node has begun a campaign in this step.
fn campaigned(before: &Look, look: &Look) -> bool {
    look.vote.term > before.vote.term && look.vote.voted_for == Some(look.node)
}

/// Only its leader may tell a node to campaign, and nobody who may not disrupt deposes a leader that is at work.
fn obeys(prompt: Prompt, before: &Look, look: &Look, may_vote: impl FnOnce() -> bool) -> Result<(), Violation> {
    let id = look.node;
    match prompt {
        Prompt::TimeoutNow(from, term) if campaigned(before, look) => {
            let is_its_leader = before.leader == Some(from) && before.term == term;
            require!(
                is_its_leader,
                Succession,
                "node {id} campaigns at the word of {from}, the leader of term {term} once"
            );
            let may_lead = before.role != RoleKind::Learner || may_vote();
            require!(may_lead, Succession, "node {id} is a learner and campaigns at the word of {from}");
        }
        Prompt::RequestVote(term, false) if before.leads() && term > before.term => {
            let stays = look.leads() && look.term == before.term;
            require!(stays, Succession, "node {id} leads, and is deposed by who asks for a vote in term {term}");
        }
        _ => {}
    }
    Ok(())
}

/// Whether a node may be told to take over: it holds all that its leader has, and all of that is committed, so that nobody's write
/// is in doubt. A leader that is no voter any more cannot wait for that: those that know do not answer it.
pub(crate) fn may_take_over(
    look: &Look,
    is_voter: bool,
    heir: NodeId,
    matched: Option<LogIndex>,
) -> Result<(), Violation> {
    let (id, last, matched) = (look.node, look.last.index, matched.unwrap_or(LogIndex(0)));
    let may_wait = look.leads() && is_voter;
    require!(
        !may_wait || look.commit >= last,
        Succession,
        "node {id} tells node {heir} to take over, and has committed no more than {} of {last}",
        look.commit
    );
    require!(
        !may_wait || matched >= last,
        Succession,
        "node {id} tells node {heir} to take over, which is known to hold entries up to {matched} of {last}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use outrigger::engine::{LogId, Vote};

    use super::*;
    use crate::check::Check;

    const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(200));

    /// What is to be seen of node 1 in term 2, whose log of five entries is committed.
    fn look(role: RoleKind) -> Look {
        let leader = if role == RoleKind::Leader { NodeId(1) } else { NodeId(2) };
        Look {
            node: NodeId(1),
            role,
            term: Term(2),
            vote: Vote { term: Term(2), voted_for: Some(leader) },
            leader: Some(leader),
            last: LogId::new(2, 5),
            flushed: LogIndex(5),
            commit: LogIndex(5),
            applied: LogIndex(5),
            membership_at: LogId::ZERO,
            heir: None,
            awaits_heir: false,
        }
    }

    /// What it is once it has asked for votes in the next term.
    fn candidate(before: &Look) -> Look {
        let (term, voted_for) = (Term(before.term.0 + 1), Some(before.node));
        Look { role: RoleKind::Candidate, term, vote: Vote { term, voted_for }, leader: None, ..*before }
    }

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    /// What is said of the last of these steps: each with how it left the node, whether a transfer has ended, and when it was, in
    /// milliseconds.
    fn said(steps: &[(Prompt, Look, bool, u64)]) -> Option<Check> {
        let mut succession = Succession::default();
        let (last, before) = steps.split_last().expect("there are steps");
        for (prompt, look, ended, millis) in before {
            succession.judge(*prompt, look, *ended, TIMEOUTS, at(*millis), || false).expect("nothing is wrong yet");
        }
        let (prompt, look, ended, millis) = last;
        succession.judge(*prompt, look, *ended, TIMEOUTS, at(*millis), || false).err().map(|violation| violation.check)
    }

    #[test]
    fn a_campaign_at_the_word_of_who_is_not_the_leader_is_noticed() {
        let follower = look(RoleKind::Follower);
        let told = |before: Look, from, term| {
            said(&[
                (Prompt::Other, before, false, 0),
                (Prompt::TimeoutNow(NodeId(from), Term(term)), candidate(&before), false, 1),
            ])
        };
        assert_eq!(told(follower, 2, 2), None);
        assert_eq!(told(follower, 3, 2), Some(Check::Succession));
        assert_eq!(told(follower, 2, 1), Some(Check::Succession), "it led in the term before");
        assert_eq!(told(look(RoleKind::Learner), 2, 2), Some(Check::Succession));
    }

    #[test]
    fn a_leader_that_is_deposed_by_who_may_not_is_noticed() {
        let asked = |may_disrupt| {
            let after = Look { role: RoleKind::Follower, term: Term(3), ..look(RoleKind::Leader) };
            said(&[
                (Prompt::Other, look(RoleKind::Leader), false, 0),
                (Prompt::RequestVote(Term(3), may_disrupt), after, false, 1),
            ])
        };
        assert_eq!((asked(true), asked(false)), (None, Some(Check::Succession)));
    }

    #[test]
    fn a_transfer_during_which_the_log_grows_or_that_never_ends_is_noticed() {
        let hands_over = Look { heir: Some(NodeId(2)), ..look(RoleKind::Leader) };
        let grown = Look { last: LogId::new(2, 6), ..hands_over };
        let then =
            |prompt, look, ended, millis| said(&[(Prompt::Other, hands_over, false, 0), (prompt, look, ended, millis)]);
        assert_eq!(then(Prompt::Other, grown, false, 1), Some(Check::Succession));
        assert_eq!(then(Prompt::Other, Look { heir: None, ..grown }, false, 1), None, "it was given up before");
        assert_eq!(then(Prompt::Other, grown, true, 1), None, "another one begins where it ended");
        assert_eq!(then(Prompt::Timeout, hands_over, false, 199), None);
        assert_eq!(then(Prompt::Other, hands_over, false, 400), None, "it has not looked at the time");
        assert_eq!(then(Prompt::Timeout, hands_over, false, 200), Some(Check::Succession));
        // Another one is refused meanwhile, and the clock was set back since this one began.
        let refused = (Prompt::Other, hands_over, true, 10);
        let still = (Prompt::Timeout, hands_over, false, 210);
        assert_eq!(said(&[(Prompt::Other, hands_over, false, 5), refused, still]), Some(Check::Succession));
        assert_eq!(said(&[(Prompt::Other, hands_over, false, 150), refused, still]), None, "it has only just begun");
    }

    #[test]
    fn who_was_told_to_step_down_and_campaigns_at_once_is_noticed() {
        let deposed = Look { role: RoleKind::Follower, leader: None, ..look(RoleKind::Leader) };
        let campaigns = |after: u64, prompt| {
            said(&[
                (Prompt::Other, look(RoleKind::Leader), false, 0),
                (Prompt::StepDown, deposed, false, 1),
                (prompt, candidate(&deposed), false, 1 + after),
            ])
        };
        assert_eq!(campaigns(199, Prompt::Timeout), Some(Check::Succession));
        assert_eq!(campaigns(200, Prompt::Timeout), None);
        assert_eq!(campaigns(10, Prompt::Other), None, "somebody wants it to");
    }

    #[test]
    fn an_heir_that_may_lack_something_is_noticed() {
        let told = |look: &Look, is_voter, matched: Option<u64>| {
            let told = may_take_over(look, is_voter, NodeId(2), matched.map(LogIndex));
            told.err().map(|violation| violation.check)
        };
        let leader = look(RoleKind::Leader);
        assert_eq!(told(&leader, true, Some(5)), None);
        assert_eq!(told(&leader, true, Some(4)), Some(Check::Succession));
        assert_eq!(told(&leader, true, None), Some(Check::Succession));
        let behind = Look { commit: LogIndex(4), ..leader };
        assert_eq!(told(&behind, true, Some(5)), Some(Check::Succession));
        assert_eq!(
            told(&behind, false, Some(4)),
            None,
            "those that know that it is no voter do not answer it any more"
        );
    }

    #[test]
    fn who_did_not_lead_or_has_heard_of_a_later_term_need_not_rest() {
        let deposed = Look { role: RoleKind::Follower, leader: None, ..look(RoleKind::Leader) };
        let told = |before, between: Option<Look>, campaign: Look| {
            let steps = [(Prompt::Other, before, false, 0), (Prompt::StepDown, deposed, false, 1)];
            let between = between.map(|look| (Prompt::Other, look, false, 2));
            said(&steps.into_iter().chain(between).chain([(Prompt::Timeout, campaign, false, 9)]).collect::<Vec<_>>())
        };
        let campaign = candidate(&deposed);
        assert_eq!(told(look(RoleKind::Leader), None, campaign), Some(Check::Succession));
        assert_eq!(told(deposed, None, campaign), None, "it did not lead");
        let later = Look { term: Term(3), ..deposed };
        assert_eq!(told(look(RoleKind::Leader), Some(later), candidate(&later)), None, "others have gone on");
        let asks = Look { role: RoleKind::PreCandidate, ..deposed };
        assert_eq!(told(look(RoleKind::Leader), None, asks), Some(Check::Succession), "it asks whether it might");
    }

    #[test]
    fn a_learner_that_may_come_to_vote_may_be_told_to_campaign() {
        let learner = look(RoleKind::Learner);
        let mut succession = Succession::default();
        let told = Prompt::TimeoutNow(NodeId(2), Term(2));
        assert_eq!(succession.judge(Prompt::Other, &learner, false, TIMEOUTS, at(0), || true), Ok(()));
        assert_eq!(succession.judge(told, &candidate(&learner), false, TIMEOUTS, at(1), || true), Ok(()));
    }
}

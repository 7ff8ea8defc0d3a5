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
    /// Judges a step. `ended`: somebody was told what has become of a transfer.
    pub(crate) fn judge(
        &mut self,
        prompt: Prompt,
        look: &Look,
        ended: bool,
        timeouts: (Duration, Duration),
        own: Instant,
    ) -> Result<(), Violation> {
        let before = self.seen.replace(*look);
        if let Some(before) = before {
            obeys(prompt, &before, look)?;
            self.lets_others_go_first(prompt, &before, look, timeouts.1, own)?;
        }
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
            self.transfer = look.heir.map(|heir| (heir, own, last));
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

    fn lets_others_go_first(
        &mut self,
        prompt: Prompt,
        before: &Look,
        look: &Look,
        timeout: Duration,
        own: Instant,
    ) -> Result<(), Violation> {
        let (id, campaigns) = (look.node, campaigned(before, look) || look.role == RoleKind::PreCandidate);
        if let (Some(since), Prompt::Timeout, true) = (self.stepped_down, prompt, campaigns) {
            let rests = own.since(since);
            require!(rests >= timeout, Succession, "node {id} was told to step down, and campaigns {rests:?} later");
        }
        if matches!(prompt, Prompt::StepDown) && before.leads() && !look.leads() {
            self.stepped_down = Some(own);
        } else if look.leader.is_some() || look.term > before.term || campaigns {
            self.stepped_down = None;
        }
        Ok(())
    }
}

/// Whether the node has begun a campaign in this step.
fn campaigned(before: &Look, look: &Look) -> bool {
    look.vote.term > before.vote.term && look.vote.voted_for == Some(look.node)
}

/// Only its leader may tell a node to campaign, and nobody who may not disrupt deposes a leader that is at work.
fn obeys(prompt: Prompt, before: &Look, look: &Look) -> Result<(), Violation> {
    let id = look.node;
    match prompt {
        Prompt::TimeoutNow(from, term) if campaigned(before, look) => {
            let is_its_leader = before.leader == Some(from) && before.term == term;
            require!(
                is_its_leader,
                Succession,
                "node {id} campaigns at the word of {from}, the leader of term {term} once"
            );
            let may_lead = before.role != RoleKind::Learner;
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

//! A change of the members, as a leader carries it through (thesis, chapter 4).
//!
//! ```text
//!   request ─► goal appended ─► new voters catch up ─► bound ─► joint appended ─► committed ─► settled appended ─► committed ─► done
//!                                    └─► given up
//! ```
//!
//! What to do next follows from the membership that counts, and from that alone: a new leader ends what its predecessor
//! began, whoever asked for it, and whether that caller still waits. A step is taken once the one before is committed, and
//! an entry of the leader's own term is (that is the gap that single-server changes of the thesis had at first).

use std::sync::Arc;
use std::time::Duration;

use crate::change_members::{ChangeRequest, Precondition, Preconditions};
use crate::command::Command;
use crate::engine::Engine;
use crate::entry::Payload;
use crate::fingerprint::Fingerprint;
use crate::membership::{Membership, Node};
use crate::message::Message;
use crate::node_map::NodeMap;
use crate::progress::Progress;
use crate::refusal::Refusal;
use crate::role::Role;
use crate::timer::Timer;
use crate::types::{Epoch, Instant, LogId, LogIndex, NodeId, Round, Token};

/// A change that a leader carries through. It ends with its leadership; what it has brought into the log goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    /// Who asked, if it was asked here.
    pub(crate) token: Option<Token>,
    /// For how long new voters may acknowledge nothing, and get nothing of a snapshot, while they catch up.
    patience: Duration,
    /// How far they were when they were last seen to get on, and when that was.
    got_on: (Reached, Instant),
    /// The present round of catching up: they must reach this index in less than an election timeout (thesis, section 4.2.1).
    round: (LogIndex, Instant),
    /// Why it is given up, once it is.
    pub(crate) given_up: Option<Refusal>,
}

/// What new voters have, in sum: of what comes first, more is further, whatever follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Reached {
    /// Up to where they have acknowledged entries.
    acknowledged: u64,
    /// Up to where the snapshots that they are brought reach.
    covered: u64,
    /// How many bytes of those they have.
    held: u64,
}

impl Reached {
    /// What is behind `end`, the end of the present round, counts once the slowest has come there: a log that grows, and a voter that
    /// follows it, do not lengthen the patience with another one.
    fn of<'a>(voters: impl Iterator<Item = &'a Progress>, end: LogIndex) -> Self {
        voters.fold(Self::default(), |sum, progress| {
            let (covered, held) = progress.brought();
            Self {
                acknowledged: sum.acknowledged + progress.match_index().min(end).0,
                covered: sum.covered + covered.0,
                held: sum.held + held,
            }
        })
    }
}

impl Change {
    /// A new voter begins with nothing: it has all the time that any other has.
    pub(crate) fn begin_round(&mut self, end: LogIndex, now: Instant) {
        self.got_on = (Reached::default(), now);
        self.round = (end, now);
    }

    /// Moments are left out. No [`Lapse`](crate::Lapse) makes them long past yet: whoever explores changes needs one for each.
    pub(crate) fn fingerprint(&self, out: &mut Fingerprint) {
        let Self { token, patience: _, got_on: (reached, _), round: (end, _), given_up } = self;
        out.tokens(token.as_slice());
        let Reached { acknowledged, covered, held } = reached;
        [*acknowledged, *covered, *held, end.0].into_iter().for_each(|number| out.number(number));
        out.flag(given_up.is_some());
    }
}

impl Engine {
    pub(crate) fn handle_change_members(&mut self, token: Token, request: Arc<ChangeRequest>, now: Instant) {
        if let Role::Leader(leader) = &mut self.role
            && leader.next_change.is_none()
            && leader.change.is_none()
            && self.memberships.last().0.index > self.commit_index
            && self.memberships.effective().of().is_some()
            && leader.term_start <= self.commit_index
            && self.transfer.is_none()
        {
            // Nobody asked for the entry that is under way: nobody need know of it.
            leader.next_change = Some((token, request));
            return;
        }
        self.begin_asked(token, &request, now);
    }

    fn begin_asked(&mut self, token: Token, request: &ChangeRequest, now: Instant) {
        let step = self.first_step(request, now);
        match step {
            Err(refusal) => self.refuse(token, refusal),
            Ok(first) => {
                self.begin_change(Some(token), request.patience, now);
                self.take_step(first, now);
            }
        }
    }

    /// The membership that a change begins with. If it holds already it is said once more: that it does counts only once a quorum
    /// has confirmed that this leader leads.
    fn first_step(&self, request: &ChangeRequest, now: Instant) -> Result<Membership, Refusal> {
        let Role::Leader(leader) = &self.role else {
            return Err(if self.leader().is_some() { Refusal::NotLeader } else { Refusal::NoLeader });
        };
        let (at, membership) = self.memberships.last();
        let (has_own_commit, is_settled) = (self.commit_index >= leader.term_start, at.index <= self.commit_index);
        mutate!(change_before_own_entry, has_own_commit = true);
        mutate!(change_beside_another, is_settled = true);
        if let Some(to) = self.transferring_to() {
            return Err(Refusal::Transferring { to });
        }
        if !has_own_commit {
            return Err(Refusal::NotReady);
        }
        if !is_settled || membership.goal().is_some() {
            return Err(Refusal::ChangeInProgress { at: at.index });
        }
        self.require(request.preconditions)?;
        let changed = membership.changed(&request.change, request.retain)?;
        if changed.is_same_as(membership) {
            return Ok(membership.bound(NodeMap::new(), Some(membership.of().unwrap_or(*at))));
        }
        let missed = self.missed(&changed, now);
        if let Some(silent) = missed
            && self.new_voters(&changed).next().is_none()
        {
            return Err(Refusal::NoMajority { silent });
        }
        // Who takes votes away only, or gives them to nodes that lack nothing and are there, need not wait until anybody has caught up.
        let lacks_nothing = changed.goal().is_some() && self.laggard(&changed, self.commit_index).is_none();
        let is_ready = lacks_nothing && missed.is_none();
        Ok(if is_ready { self.bound_before_they_vote(&changed) } else { changed })
    }

    fn require(&self, wanted: Preconditions) -> Result<(), Refusal> {
        let Preconditions { term, last, membership } = wanted;
        // Entries that only bind members have the members of another one: they all stand for the same.
        let first = self.memberships.effective().of().unwrap_or(self.membership_id());
        // What was rolled back stood for other members, whatever its index; of what is purged nobody knows any more.
        let is_of = |at| at == first || (first < at && at <= self.membership_id() && self.log.has(at));
        let checks = [
            (term.is_none_or(|term| term == self.vote.term), Precondition::Term(self.vote.term)),
            (last.is_none_or(|last| last == self.log.last()), Precondition::Last(self.log.last())),
            (membership.is_none_or(is_of), Precondition::Membership(self.membership_id())),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, actual)) => Err(Refusal::PreconditionFailed { actual }),
            None => Ok(()),
        }
    }

    /// The entry that the membership that counts stands in.
    pub(crate) fn membership_id(&self) -> LogId {
        self.memberships.last().0
    }

    fn begin_change(&mut self, token: Option<Token>, patience: Duration, now: Instant) {
        let end = self.log.last().index;
        let Role::Leader(leader) = &mut self.role else { return };
        leader.change =
            Some(Change { token, patience, got_on: (Reached::default(), now), round: (end, now), given_up: None });
    }

    /// Takes the next step of the change that is under way, if it is time for it. Runs after every event.
    pub(crate) fn advance_change(&mut self, now: Instant) {
        if let Role::Leader(leader) = &mut self.role
            && self.memberships.last().0.index <= self.commit_index
            && let Some((token, request)) = leader.next_change.take()
        {
            self.begin_asked(token, &request, now);
        }
        while let Some(next) = self.next_step(now) {
            self.take_step(next, now);
        }
    }

    fn next_step(&mut self, now: Instant) -> Option<Membership> {
        let Role::Leader(leader) = &self.role else { return None };
        let (at, membership) = self.memberships.last();
        mutate!(settles_before_commit if membership.is_joint(), return Some(membership.settled()));
        mutate!(predecessors_change_left if leader.change.is_none(), return None);
        let is_settled = at.index <= self.commit_index && leader.term_start <= self.commit_index;
        mutate!(change_before_own_entry, is_settled = at.index <= self.commit_index);
        // The log does not grow while its heir catches up: the next leader goes on with what was begun.
        let waits = self.transfer.is_some();
        if !is_settled || (leader.change.is_none() && membership.goal().is_none()) {
            return None;
        }
        let membership = Arc::clone(membership);
        if leader.change.is_none() {
            self.begin_change(None, self.config.change_patience, now);
        }
        if membership.is_joint() {
            return (!waits).then(|| membership.settled());
        }
        if membership.goal().is_some() {
            return if waits { None } else { self.catch_up(&membership, now) };
        }
        self.end_change();
        None
    }

    /// The step that follows when all new voters have caught up, or have not for too long.
    fn catch_up(&mut self, membership: &Membership, now: Instant) -> Option<Membership> {
        let last = self.log.last().index;
        let timeout = self.config.election_timeout_min;
        let (new, missed) = (self.new_voters(membership), self.missed(membership, now));
        let Role::Leader(leader) = &mut self.role else { return None };
        let change = leader.change.as_mut().expect("a change under way is known to its leader");
        let matched = |node: &NodeId| leader.progress.get(node).map_or(LogIndex::ZERO, Progress::match_index);
        let reached = Reached::of(new.clone().filter_map(|node| leader.progress.get(&node)), change.round.0);
        if reached > change.got_on.0 {
            change.got_on = (reached, now);
        }
        let laggard = new.min_by_key(matched);
        let has_come = laggard.is_none_or(|laggard| matched(&laggard) >= change.round.0);
        if has_come && laggard.is_some() && now.since(change.round.1) >= timeout {
            change.round = (last, now);
        } else if has_come && missed.is_none() {
            return Some(self.bound_before_they_vote(membership));
        }
        if now.since(change.got_on.1) <= change.patience {
            return None;
        }
        let lags = laggard.map(|node| Refusal::Lagging { node, matched: matched(&node), last });
        change.given_up = missed.filter(|_| has_come).map(|silent| Refusal::NoMajority { silent }).or(lags);
        Some(membership.given_up())
    }

    /// A voter of a change that is silent, if those that are not are no majority of its voters: its joint step could not be committed,
    /// and not be taken back either.
    fn missed(&self, membership: &Membership, now: Instant) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let (voters, patience) = (&membership.goal()?.voters, self.config.election_timeout_max);
        let lately = |progress: &Progress| now.since(progress.heard_at()) < patience;
        let speaks = |node: &NodeId| *node == self.id() || leader.progress.get(node).is_some_and(lately);
        let silent = voters.iter().find(|node| !speaks(node)).copied();
        silent.filter(|_| 2 * voters.iter().filter(|node| speaks(node)).count() <= voters.len())
    }

    /// Whose votes are to count is bound by an entry that is committed before. Then whatever log it is sent binds it, even one in
    /// which it is no voter yet, and it may lead if nobody else can.
    fn bound_before_they_vote(&self, membership: &Membership) -> Membership {
        let may_vote = |node: &NodeId| membership.is_voter(*node) || membership.bindings().contains_key(node);
        let may_all = membership.goal().is_none_or(|goal| goal.voters.iter().all(may_vote));
        mutate!(bound_after_the_vote, may_all = true);
        if may_all || !self.config.bind_directories {
            return membership.joint();
        }
        // The step binds all of them along: they have caught up, and were heard.
        membership.clone()
    }

    pub(crate) fn new_voters<'a>(&self, membership: &'a Membership) -> impl Iterator<Item = NodeId> + Clone + use<'a> {
        let own = self.id();
        let goal = membership.goal().into_iter().flat_map(|goal| &goal.voters).copied();
        goal.filter(move |node| !membership.voters().contains(node) && *node != own)
    }

    /// A new voter that lacks entries up to this one.
    fn laggard(&self, membership: &Membership, index: LogIndex) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let lacks = |node: &NodeId| leader.progress.get(node).is_none_or(|progress| progress.match_index() < index);
        self.new_voters(membership).find(lacks)
    }

    fn take_step(&mut self, next: Membership, now: Instant) {
        let next = self.bind_along(next);
        self.append_own(Arc::new([Payload::membership(Arc::new(next))]), now);
        if let Role::Leader(leader) = &mut self.role {
            leader.unbound_since = now;
        }
        // With a single voter whose disk is done, or with nobody new to wait for, the step may be committed already.
        self.advance_commit();
    }

    /// The last step is committed: whoever asked is told.
    fn end_change(&mut self) {
        let at = self.membership_id();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(Change { token, given_up, .. }) = leader.change.take() else { return };
        match (token, given_up) {
            (Some(token), Some(refusal)) => self.refuse(token, refusal),
            (Some(token), None) => self.push(Command::Changed { token, at }),
            (None, _) => {}
        }
    }

    /// The members have changed, or those before them are settled. All of those who are members by an entry that may come to count
    /// are heard and spoken to, so that who is removed still learns of it.
    pub(crate) fn follow_memberships(&mut self, now: Instant) {
        let others = self.others();
        self.follow_founding();
        if matches!(self.role, Role::Leader(_)) {
            self.follow_with_streams(&others, now);
        } else if matches!(self.role, Role::Follower(_))
            && self.campaigns_by_itself() != self.timers.is_running(Timer::Election)
        {
            self.arm_election(now);
        }
        // Who knows no members at all is not to forget whom it was told to call.
        if !others.is_empty() || !self.membership().nodes().is_empty() {
            let signature = self.signature();
            self.answered = None;
            self.push(Command::Sign { signature });
            self.push(Command::SetPeers { peers: others });
        }
    }

    fn follow_with_streams(&mut self, others: &NodeMap<Node>, now: Instant) {
        let (term, commit, last) = (self.vote.term, self.commit_index, self.log.last().index);
        let mut next_id = self.next_id;
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.progress.keys().eq(others.keys()) {
            return;
        }
        // Who has left does not campaign any more once it knows that this is settled; nobody will tell it later.
        for target in leader.progress.keys().copied().filter(|node| !others.contains_key(node)) {
            let message = Message::Committed { term, commit };
            self.commands.push_back(Command::SendMessage { target, message });
        }
        leader.progress.retain(|node, _| others.contains_key(node));
        // Who was here before under an id may have left answers on their way.
        let since = if self.config.bind_directories { leader.round } else { Round(0) };
        for node in others.keys() {
            leader.progress.insert_if_absent(*node, || {
                next_id += 1;
                Progress::anew(Epoch(next_id), last, since, None, now)
            });
        }
        self.next_id = next_id;
        let targets = leader.progress.iter().map(|(node, progress)| (*node, progress.epoch())).collect();
        self.push(Command::RebuildReplicationStreams { targets });
    }

    /// A leader that is no voter has done its work once that is committed, and all that it came to office with: it hands over to
    /// the voter that has the most, and steps down even if that one does not take over in time (thesis, section 4.2.2). Runs after
    /// every event.
    pub(crate) fn leave_office(&mut self, now: Instant) {
        let Role::Leader(leader) = &self.role else { return };
        let (at, membership) = self.memberships.last();
        if membership.is_voter(self.id()) || self.transfer.is_some() {
            return;
        }
        let is_settled = at.index.max(leader.term_start) <= self.commit_index && leader.change.is_none();
        if !is_settled {
            return;
        }
        mutate!(removed_leader_leads_on, return);
        match self.best_heir(now) {
            Some(heir) => self.begin_transfer(None, heir, now),
            None => self.step_down(now),
        }
    }
}

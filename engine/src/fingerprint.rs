//! What decides how an engine behaves from now on: the form in which an explorer tells engines apart, so that a search
//! through all that can happen comes to an end.
//!
//! ```text
//!   engine    term 3, log 1/1..3/2, timers on off off off, epoch #7, request #19, ...
//!   engine    ...                                                                            numbers, then names
//!   message   append_entries, epoch #7, request #21, prev 1/1, ...                           ──────────────────────►
//!                                                                                            3 1 1 2 .. │ #0 #1 #0 #2
//! ```
//!
//! Three things make an engine's state grow without end or change without sense, and none of them is in its fingerprint:
//!
//! - *Moments.* Whatever waits for time can come at any time: an explorer brings it about by a [`Lapse`](crate::Lapse) just
//!   before it asks. So a deadline counts as running or not, and when somebody was heard from, or a disk was done, counts not
//!   at all. What has lapsed stays so in the engine, until the peer is heard or the disk is done: of two engines that are equal
//!   in what counts, one may answer "silent" where the other answers "not yet". That is harmless for whoever loses messages and
//!   keeps either of them: all that a leader who was heard lately brings about is that a pre-vote is refused, which counts like
//!   silence, or that a request for votes is not heard, which is like its loss, and a leader whose followers or disk were silent
//!   resigns at once when it looks. (Such a disk would keep that node from campaigning, too, until it is done: nobody explores that lapse.)
//!   What a node has pledged to a leader counts until it lapses; which of its rounds a leader knows
//!   the time of does not, for whoever explores leases lets all of them lapse together. For how long a change of the members has
//!   not got on is not among the lapses yet: nobody explores such changes.
//! - *Chance.* It decides nothing but deadlines.
//! - *Names* that increase for ever: epochs, requests, rounds. An engine asks of them only which are equal, and of some
//!   which came first; a new one differs from all that there are, and comes after them, but for the next round, which is the
//!   one that reads wait for already. So only that counts, among all that engines and messages still hold:
//!   [`Fingerprint::canonical`] numbers those of a whole system anew, by where they are met first, or by their order. Writes
//!   are counted from the last durable one: what lies before it is past.
//!
//! Left out besides, as they decide nothing that an explorer asks for: whom this node refuses or is refused by, which a status
//! shows, and who was answered wherever it is; log time, which entries carry for the state machine; why a node has halted, since
//! it stays so; which refusal a caller gets, as long as it is as certain; a vote that was refused, for a campaign that is lost
//! ends like one that is pending; which request an acknowledgement answers, for what is acknowledged counts by its index; and
//! where members are reached. Settings decide much: a search gives all engines of a node the same, and compares no others.
//!
//! All else counts. Types are taken apart field by field, so that a field that is added later does not compile until it is
//! decided what it counts; batches and memberships alone are read by their methods, and want care by hand.

use std::sync::Arc;

use crate::binding::Binding;
use crate::command::Command;
use crate::consistency::Proof;
use crate::engine::Engine;
use crate::entry::{Body, Payload};
use crate::meeting::Met;
use crate::membership::Membership;
use crate::message::{AppendEntries, AppendEntriesReply, AppendOutcome, Heartbeat, HeartbeatReply, Message};
use crate::message::{DelegateSnapshot, InstallSnapshot, InstallSnapshotReply, VoteReply, VoteRequest, Wanted};
use crate::refusal::Refusal;
use crate::role::{Campaign, Follower, Forward, Forwards, Leader, Role};
use crate::snapshot::{Snapshot, SnapshotId};
use crate::types::{Epoch, Incarnation, LogId, NodeId, Peer, RequestId, Round, Term, Token, Vote};
use crate::version::Version;
use crate::writes::Promise;

/// What counts of an engine or a message. It is one part of a system; [`Fingerprint::canonical`] joins the parts.
///
/// Fingerprints have an order, so that a bag of messages can be kept in one: the names in it do not change that order
/// when all are numbered anew.
///
/// ```
/// use outrigger_engine::*;
///
/// // A node that beats the drum for an hour is the same node.
/// let config = EngineConfig::new(Peer::new(NodeId(1), Incarnation::default()), 42);
/// let mut engine = Engine::new(config, Restored::default(), Instant(0));
/// let key = |engine: &Engine| {
///     let mut key = Vec::new();
///     Fingerprint::canonical([&engine.fingerprint()].into_iter(), &mut key);
///     key
/// };
/// let before = key(&engine);
/// engine.handle_event(Event::Timeout, Instant(3_600_000_000_000));
/// assert_eq!(key(&engine), before);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    /// What counts as it is, in a form that shows by itself where it ends.
    numbers: Vec<u8>,
    /// What counts by its order only; how many there are, and of which family, follows from `numbers`.
    names: Vec<Name>,
}

/// A number that stands for nothing but itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Name {
    family: Family,
    value: u64,
}

/// Names are compared within these, each with the node that gives them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Family {
    /// Of streams; only asked whether they are equal.
    Epoch(NodeId),
    /// Of `append_entries`; only asked whether they are equal.
    Append(NodeId),
    /// Of questions for a read index; only asked whether they are equal.
    Question(NodeId),
    /// Of proposals on their way to a leader, which takes only later ones.
    Forward(NodeId),
    /// Of heartbeats, which begin anew with each term; what was sent before one and has not arrived is lost.
    Round(NodeId, Term),
}

impl Family {
    /// Whether an engine asks which of two came first.
    const fn has_order(self) -> bool {
        matches!(self, Self::Forward(_) | Self::Round(..))
    }
}

impl Fingerprint {
    /// Appends to `key` what tells a system from all others, where `parts` are its engines and messages in some fixed
    /// order: equal keys are systems that behave the same.
    pub fn canonical<'a>(parts: impl Iterator<Item = &'a Self> + Clone, key: &mut Vec<u8>) {
        let names = parts.clone().flat_map(|part| &part.names);
        let mut ordered: Vec<Name> = names.clone().filter(|name| name.family.has_order()).copied().collect();
        ordered.sort_unstable();
        ordered.dedup();
        parts.for_each(|part| key.extend_from_slice(&part.numbers));
        let mut met: Vec<Name> = Vec::new();
        for name in names {
            let place = if name.family.has_order() {
                ordered.partition_point(|other| other < name)
            } else {
                met.iter().position(|other| other == name).unwrap_or_else(|| {
                    met.push(*name);
                    met.len() - 1
                })
            };
            push(key, place as u64);
        }
    }

    /// Adds a number that counts as it is.
    pub fn number(&mut self, number: u64) {
        push(&mut self.numbers, number);
    }

    /// Adds bytes that count as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.numbers.extend_from_slice(bytes);
    }

    /// Adds whom a node has promised what.
    pub fn vote(&mut self, Vote { term, voted_for }: Vote) {
        self.number(term.0);
        self.node(voted_for);
    }

    /// Adds the identity of an entry.
    pub fn log_id(&mut self, LogId { term, index }: LogId) {
        self.number(term.0);
        self.number(index.0);
    }

    /// Adds what an entry carries.
    pub fn payload(&mut self, Payload { session, sequence, body }: &Payload) {
        self.number(session.0);
        self.number(*sequence);
        match body {
            Body::Blank => self.number(0),
            Body::Command(command) => {
                self.number(1);
                self.bytes(command);
            }
            Body::Membership(membership) => {
                self.number(2);
                self.membership(membership);
            }
            Body::RegisterSession { time_to_live_ms } => {
                self.number(3);
                self.number(*time_to_live_ms);
            }
        }
    }

    // ---- what the other files build on -------------------------------------------------------------------------

    pub(crate) fn flag(&mut self, flag: bool) {
        self.numbers.push(u8::from(flag));
    }

    pub(crate) fn size(&mut self, size: usize) {
        self.number(size as u64);
    }

    /// Whoever gives tokens out chooses them, and may choose few.
    pub(crate) fn tokens(&mut self, tokens: &[Token]) {
        self.size(tokens.len());
        tokens.iter().for_each(|token| self.number(token.0));
    }

    pub(crate) fn epoch(&mut self, of: NodeId, Epoch(value): Epoch) {
        self.names.push(Name { family: Family::Epoch(of), value });
    }

    pub(crate) fn append(&mut self, of: NodeId, RequestId(value): RequestId) {
        self.names.push(Name { family: Family::Append(of), value });
    }

    pub(crate) fn question(&mut self, of: NodeId, RequestId(value): RequestId) {
        self.names.push(Name { family: Family::Question(of), value });
    }

    pub(crate) fn forward(&mut self, of: NodeId, RequestId(value): RequestId) {
        self.names.push(Name { family: Family::Forward(of), value });
    }

    pub(crate) fn round(&mut self, of: NodeId, term: Term, Round(value): Round) {
        self.names.push(Name { family: Family::Round(of, term), value });
    }

    /// Every member counts with its id and how it votes; where it is reached decides nothing.
    pub(crate) fn membership(&mut self, membership: &Arc<Membership>) {
        for set in [membership.voters(), membership.outgoing()] {
            self.size(set.len());
            set.iter().for_each(|node| self.number(node.0));
        }
        self.size(membership.nodes().len());
        membership.nodes().keys().for_each(|node| self.number(node.0));
        // So that what is explored in a cluster of the first version has the names that it always had.
        if membership.version() > Version::FIRST {
            self.number(u64::from(membership.version().0));
        }
        self.number(membership.founding().0);
        self.size(membership.bindings().len());
        for (node, Binding { directory, at }) in membership.bindings() {
            [node.0, *directory].into_iter().for_each(|number| self.number(number));
            self.log_id(*at);
        }
        self.flag(membership.of().is_some());
        membership.of().iter().for_each(|at| self.log_id(*at));
        self.flag(membership.goal().is_some());
        let sets = membership.goal().into_iter().flat_map(|goal| [&goal.voters, &goal.members, &goal.added]);
        for set in sets {
            self.size(set.len());
            set.iter().for_each(|node| self.number(node.0));
        }
    }

    /// What waits for a write is a message, or a question to all voters.
    pub(crate) fn promise(&mut self, own: Peer, promise: &Promise) {
        match promise {
            Promise::OwnVote(term) => {
                self.number(0);
                self.number(term.0);
            }
            Promise::Command(Command::SendMessage { target, message }) => {
                self.number(1);
                self.message(own, *target, message);
            }
            Promise::Command(Command::SendVote { targets, request, pre_vote }) => {
                self.number(2);
                self.size(targets.len());
                targets.iter().for_each(|target| self.number(target.0));
                self.vote_request(*request);
                self.flag(*pre_vote);
            }
            Promise::Command(Command::ReceiveSnapshot { snapshot, offset, chunk }) => {
                self.number(3);
                self.snapshot(snapshot);
                self.number(*offset);
                self.size(chunk.len());
            }
            Promise::Command(command) => panic!("nobody is promised by `{command}`"),
        }
    }

    fn node(&mut self, node: Option<NodeId>) {
        self.flag(node.is_some());
        node.iter().for_each(|node| self.number(node.0));
    }

    fn incarnation(&mut self, Incarnation { id, start, nonce }: Incarnation) {
        [id, start, nonce].into_iter().for_each(|number| self.number(number));
    }

    fn met(&mut self, node: NodeId, Met { life, version }: &Met, version_counts: bool) {
        self.number(node.0);
        self.incarnation(*life);
        if version_counts {
            self.number(version.map_or(0, |version| u64::from(version.0)));
        }
    }

    /// A refusal counts like silence: a campaign that is lost ends like one that is pending.
    fn campaign(&mut self, Campaign { votes, warrant, token }: &Campaign) {
        self.number(*warrant as u64);
        self.tokens(token.as_slice());
        let granted = || votes.iter().filter(|(_, granted)| **granted);
        self.size(granted().count());
        granted().for_each(|(node, _)| self.number(node.0));
    }

    fn vote_request(&mut self, VoteRequest { term, last, warrant }: VoteRequest) {
        self.number(warrant as u64);
        self.number(term.0);
        self.log_id(last);
    }

    fn vote_reply(&mut self, VoteReply { term, asked, granted }: VoteReply) {
        self.number(term.0);
        self.number(asked.0);
        self.flag(granted);
    }

    fn message(&mut self, from: Peer, to: NodeId, message: &Message) {
        let kind = match message {
            Message::PreVote(_) => 0,
            Message::PreVoteReply(_) => 1,
            Message::RequestVote(_) => 2,
            Message::RequestVoteReply(_) => 3,
            Message::AppendEntries(_) => 4,
            Message::AppendEntriesReply(_) => 5,
            Message::Heartbeat(_) => 6,
            Message::HeartbeatReply(_) => 7,
            Message::Committed { .. } => 8,
            Message::ReadIndex { .. } => 9,
            Message::ReadIndexReply { .. } => 10,
            Message::Propose { .. } => 11,
            Message::ProposeReply { .. } => 12,
            Message::TimeoutNow { .. } => 13,
            Message::InstallSnapshot(_) => 14,
            Message::InstallSnapshotReply(_) => 15,
            Message::HashState { .. } => 16,
            Message::StateHashed { .. } => 17,
            Message::StateDiffers { .. } => 18,
            Message::DelegateSnapshot(_) => 19,
        };
        [kind, from.node.0, to.0].into_iter().for_each(|number| self.number(number));
        self.incarnation(from.incarnation);
        [from.genesis.0, from.founding.0].into_iter().for_each(|number| self.number(number));
        self.flag(from.bound.is_some());
        from.bound.iter().for_each(|at| self.log_id(*at));
        match message {
            Message::PreVote(request) | Message::RequestVote(request) => self.vote_request(*request),
            Message::PreVoteReply(reply) | Message::RequestVoteReply(reply) => self.vote_reply(*reply),
            Message::AppendEntries(request) => self.append_entries(from.node, request),
            Message::AppendEntriesReply(reply) => self.append_entries_reply(to, *reply),
            Message::Heartbeat(request) => self.heartbeat(from.node, *request),
            Message::HeartbeatReply(reply) => self.heartbeat_reply(to, *reply),
            Message::Committed { term, commit } => [term.0, commit.0].into_iter().for_each(|it| self.number(it)),
            Message::ReadIndex { term, request, proof } => {
                self.number(term.0);
                self.question(from.node, *request);
                self.proof(*proof);
            }
            Message::ReadIndexReply { request, outcome } => {
                self.question(to, *request);
                self.outcome(outcome.map(|index| LogId { term: Term(0), index }));
            }
            Message::Propose { term, request, entries } => {
                self.number(term.0);
                self.forward(from.node, *request);
                self.size(entries.len());
                entries.iter().for_each(|entry| self.payload(entry));
            }
            Message::ProposeReply { request, outcome } => {
                self.forward(to, *request);
                self.outcome(*outcome);
            }
            Message::TimeoutNow { term } => self.number(term.0),
            Message::HashState { term, at } => [term.0, at.0].into_iter().for_each(|it| self.number(it)),
            Message::StateHashed { at, hash } => [at.0, hash.0].into_iter().for_each(|it| self.number(it)),
            Message::StateDiffers { term, at, agreed } => {
                [term.0, at.0, agreed.0].into_iter().for_each(|it| self.number(it));
            }
            Message::DelegateSnapshot(order) => self.delegate_snapshot(from.node, *order),
            Message::InstallSnapshot(request) => self.install_snapshot(request),
            Message::InstallSnapshotReply(reply) => self.install_snapshot_reply(to, *reply),
        }
    }

    fn delegate_snapshot(&mut self, from: NodeId, it: DelegateSnapshot) {
        let DelegateSnapshot { term, target, epoch, request, wanted } = it;
        [term.0, target.0].into_iter().for_each(|it| self.number(it));
        self.epoch(from, epoch);
        self.append(from, request);
        match wanted {
            Wanted::Newest { covers } => [0, covers.0].into_iter().for_each(|it| self.number(it)),
            Wanted::Piece { id, offset } => {
                [1, offset].into_iter().for_each(|it| self.number(it));
                self.snapshot_id(id);
            }
        }
    }

    fn install_snapshot_reply(&mut self, to: NodeId, it: InstallSnapshotReply) {
        let InstallSnapshotReply { term, epoch, request, snapshot, held } = it;
        self.number(term.0);
        self.epoch(to, epoch);
        self.append(to, request);
        self.snapshot_id(snapshot);
        self.number(held.map_or(0, |held| held + 1));
    }

    fn install_snapshot(&mut self, it: &InstallSnapshot) {
        let InstallSnapshot { term, leader, epoch, request, snapshot, offset, chunk } = it;
        [term.0, leader.0].into_iter().for_each(|it| self.number(it));
        self.epoch(*leader, *epoch);
        self.append(*leader, *request);
        self.snapshot(snapshot);
        self.number(*offset);
        self.size(chunk.len());
    }

    /// Log time decides nothing; what a snapshot holds is known by its id.
    pub(crate) fn snapshot(&mut self, it: &Snapshot) {
        let Snapshot { id, log_time: _, membership, membership_at, genesis } = it;
        self.number(genesis.0);
        self.snapshot_id(*id);
        self.membership(membership);
        self.log_id(*membership_at);
    }

    pub(crate) fn snapshot_id(&mut self, SnapshotId { last, bytes, checksum }: SnapshotId) {
        self.log_id(last);
        self.number(bytes);
        self.number(u64::from(checksum));
    }

    fn append_entries(&mut self, from: NodeId, it: &AppendEntries) {
        let AppendEntries { term, epoch, request, prev, batches, commit } = it;
        self.number(term.0);
        self.epoch(from, *epoch);
        self.append(from, *request);
        self.log_id(*prev);
        self.size(batches.len());
        for batch in batches {
            self.log_id(batch.first());
            self.size(batch.len());
            batch.entries().iter().for_each(|entry| self.payload(entry));
        }
        self.number(commit.0);
    }

    fn append_entries_reply(&mut self, to: NodeId, it: AppendEntriesReply) {
        let AppendEntriesReply { term, epoch, request, outcome } = it;
        self.number(term.0);
        self.epoch(to, epoch);
        match outcome {
            // Acknowledgements count whichever request they answer.
            AppendOutcome::Matched(index) => [0, index.0].into_iter().for_each(|number| self.number(number)),
            AppendOutcome::Conflict { hint } => {
                self.number(1);
                self.append(to, request);
                self.log_id(hint);
            }
            AppendOutcome::Stale => self.number(2),
        }
    }

    fn heartbeat(&mut self, from: NodeId, Heartbeat { term, round, commit, pledge }: Heartbeat) {
        self.number(term.0);
        self.round(from, term, round);
        self.number(commit.0);
        self.flag(!pledge.is_zero());
    }

    /// How old a round may be is a matter of time, which an explorer chooses.
    pub(crate) fn proof(&mut self, proof: Proof) {
        self.number(match proof {
            Proof::Round => 0,
            Proof::Lease => 1,
            Proof::Age(_) => 2,
        });
    }

    fn heartbeat_reply(&mut self, to: NodeId, it: HeartbeatReply) {
        let HeartbeatReply { term, asked, round, received, matched } = it;
        [term.0, asked.0, received.0, matched.0].into_iter().for_each(|number| self.number(number));
        self.round(to, asked, round);
    }

    /// Of a refusal counts whether it is certain: nobody tells the others apart.
    fn outcome(&mut self, outcome: Result<LogId, Refusal>) {
        match outcome {
            Ok(id) => {
                self.number(0);
                self.log_id(id);
            }
            Err(refusal) => self.number(1 + u64::from(refusal.is_certain())),
        }
    }

    fn role(&mut self, own: Peer, term: Term, role: &Role) {
        match role {
            Role::Follower(follower) => {
                self.number(0);
                self.follower(own.node, follower);
            }
            Role::PreCandidate(campaign) => {
                self.number(1);
                self.campaign(campaign);
            }
            Role::Candidate(campaign) => {
                self.number(2);
                self.campaign(campaign);
            }
            Role::Leader(leader) => {
                self.number(3);
                self.leader(own.node, term, leader);
            }
        }
    }

    fn follower(&mut self, own: NodeId, follower: &Follower) {
        let Follower { leader, heard_at: _, verified, reads, lendings } = follower;
        self.node(*leader);
        self.number(verified.0);
        reads.fingerprint(own, self);
        lendings.fingerprint(*leader, self);
    }

    fn forwards(&mut self, own: NodeId, Forwards { waiting, bytes }: &Forwards) {
        self.size(*bytes);
        self.size(waiting.len());
        for (request, Forward { token, bytes, deadline: _ }) in waiting {
            self.forward(own, *request);
            self.number(token.0);
            self.size(*bytes);
        }
    }

    fn leader(&mut self, own: NodeId, term: Term, leader: &Leader) {
        let Leader {
            term_start,
            progress,
            round,
            // When rounds were sent: a moment.
            rounds: _,
            lease_given_up,
            reads,
            confirmed,
            in_hand,
            change,
            next_change,
            // A moment.
            unbound_since: _,
            comparison: _,
        } = leader;
        self.tokens(next_change.as_ref().map(|(token, _)| *token).as_slice());
        self.flag(*lease_given_up);
        self.number(term_start.0);
        self.size(progress.len());
        for (node, progress) in progress {
            self.number(node.0);
            progress.fingerprint(own, term, self);
        }
        self.round(own, term, *round);
        self.size(reads.len());
        reads.iter().for_each(|read| read.fingerprint(own, term, self));
        self.size(confirmed.len());
        for (index, token) in confirmed {
            self.number(index.0);
            self.number(token.0);
        }
        in_hand.fingerprint(self);
        self.flag(change.is_some());
        change.iter().for_each(|change| change.fingerprint(self));
    }
}

impl Message {
    /// What counts of this message on its way.
    #[must_use]
    pub fn fingerprint(&self, from: Peer, to: NodeId) -> Fingerprint {
        let mut out = Fingerprint::default();
        out.message(from, to, self);
        out
    }
}

impl Engine {
    /// The last of the numbers that epochs and requests are drawn from: a new name is above it. It is in no fingerprint, but
    /// who wants to put one engine in the place of another has to see that they agree in it too.
    #[must_use]
    pub const fn last_name(&self) -> u64 {
        self.next_id
    }

    /// What counts of this engine: two that are equal in it behave the same from now on, for whoever chooses when time
    /// passes. See the file `fingerprint` for what is left out, and why.
    ///
    /// # Panics
    /// If there are commands that were not polled: they are part of what is to come.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let Self {
            config,
            vote,
            log,
            writes,
            commit_index,
            applied,
            memberships,
            snapshots,
            genesis,
            founding,
            peers,
            refusals: _,
            answered: _,
            role,
            timers,
            log_clock: _,
            log_time: _,
            random: _,
            next_id: _,
            born_with,
            begins,
            has_heard_leader,
            forwarded,
            forwards,
            awaits_heir,
            elections,
            // When it campaigns: a moment.
            priority: _,
            pledge,
            // Nobody explores with states compared.
            hashing: _,
            // They decide on nothing but stale reads, which nobody explores.
            fresh_at: _,
            told: _,
            transfer,
            commands,
            fault,
        } = self;
        assert!(commands.is_empty(), "{} commands are not polled", commands.len());
        let own = config.node;
        // Room for what a small cluster's engine takes: an explorer asks for millions of these.
        let mut out = Fingerprint { numbers: Vec::with_capacity(256), names: Vec::with_capacity(16) };
        out.flag(fault.is_some());
        out.number(own.node.0);
        out.incarnation(own.incarnation);
        out.vote(*vote);
        out.vote(*born_with);
        log.fingerprint(&mut out);
        writes.fingerprint(own, &mut out);
        [commit_index.0, applied.0].into_iter().for_each(|number| out.number(number));
        memberships.fingerprint(&mut out);
        snapshots.fingerprint(&mut out);
        [genesis.0, founding.0].into_iter().for_each(|number| out.number(number));
        out.size(peers.len());
        // What they speak decides nothing once the cluster's version is as high as this node can raise it.
        let may_raise = memberships.last().1.version() < config.node.version;
        peers.iter().for_each(|(node, met)| out.met(*node, met, may_raise));
        out.size(forwarded.len());
        for ((node, directory), request) in forwarded {
            out.number(node.0);
            out.number(*directory);
            out.forward(*node, *request);
        }
        out.forwards(own.node, forwards);
        out.flag(*has_heard_leader && self.config.bind_directories);
        out.flag(*begins && self.config.bind_directories);
        out.flag(*awaits_heir);
        out.flag(*elections);
        out.flag(pledge.is_some());
        out.flag(transfer.is_some());
        transfer.iter().for_each(|transfer| transfer.fingerprint(&mut out));
        timers.fingerprint(&mut out);
        out.role(own, vote.term, role);
        out
    }
}

/// Seven bits a byte, the lowest first, the highest bit telling that more follow.
fn push(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return;
        }
    }
}

//! The engine: its state, and the dispatch of events to those who handle them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::binding::remembered;
use crate::command::{Command, StateMachineRequest};
use crate::compare::Hashing;
use crate::config::EngineConfig;
use crate::entry::{Batch, Body, Payload};
use crate::event::Event;
use crate::lease::Pledge;
use crate::log_ids::LogIds;
use crate::meeting::{Met, Refusals};
use crate::membership::{Membership, Memberships, Node};
use crate::message::Message;
use crate::node_map::NodeMap;
use crate::progress::Progress;
use crate::random::Random;
use crate::refusal::{Fault, Inconsistency, Refusal};
use crate::restored::Restored;
use crate::role::{Follower, Forwards, Role, Succession};
use crate::snapshot::{Snapshot, Snapshots};
use crate::status::{RoleKind, Status};
use crate::timer::{Timer, Timers};
use crate::transfer::Transfer;
use crate::types::{
    Epoch, Founding, Genesis, Instant, LogId, LogIndex, LogTime, NodeId, Peer, RequestId, Term, Token, Vote,
};
use crate::writes::{Promise, Writes};

/// Each start of a node has so many bits of request ids for itself: enough for a million a second for half a year.
const ID_BITS: u32 = 44;

/// The Raft consensus algorithm as a pure function of (state, event, now).
///
/// Everything that decides is in here; whoever owns an engine hands it events, executes its commands in the order of
/// their [lanes](crate::Lane), and reports back with events. See the [crate](crate) for a picture and an example.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Engine {
    /// Settings; they do not change.
    pub(crate) config: EngineConfig,
    /// `current_term` and `voted_for`, as accepted. The term never goes back.
    pub(crate) vote: Vote,
    /// Which ids the log holds, as accepted.
    pub(crate) log: LogIds,
    /// What of the log is durable, and what waits for that.
    pub(crate) writes: Writes,
    /// Entries up to here are committed; never goes back, never beyond the log.
    pub(crate) commit_index: LogIndex,
    /// Entries up to here are applied; never beyond `commit_index`.
    pub(crate) applied: LogIndex,
    /// The members.
    pub(crate) memberships: Memberships,
    /// What of the log is in a snapshot, here and elsewhere.
    pub(crate) snapshots: Snapshots,
    /// How this node's cluster began, as far as it knows; once known, it stays.
    pub(crate) genesis: Genesis,
    /// As what it was founded, as far as this node knows that to be committed; once known, it stays.
    pub(crate) founding: Founding,
    /// The highest life of each peer that was met.
    pub(crate) peers: NodeMap<Met>,
    /// Who refuses whom, lately.
    pub(crate) refusals: Refusals,
    /// The life that was last asked to be answered wherever it is, since the members were told.
    pub(crate) answered: Option<Peer>,
    /// What the node does now.
    pub(crate) role: Role,
    /// Deadlines.
    pub(crate) timers: Timers,
    /// Log time of the last entry that another leader stamped, and when it was accepted.
    pub(crate) log_clock: (LogTime, Instant),
    /// Log time of the last accepted entry: no later entry gets an earlier one.
    pub(crate) log_time: LogTime,
    /// Spreads the election timeouts.
    pub(crate) random: Random,
    /// The last epoch or request id.
    pub(crate) next_id: u64,
    /// The vote that this life began with: in terms before it, and in its own, an earlier life may have led.
    pub(crate) born_with: Vote,
    /// Whether this directory began its log itself, as the first nodes of a cluster do: nothing of it came from a leader. It stands
    /// among the peers that it remembers, as its own.
    pub(crate) begins: bool,
    /// Whether this life has heard from a leader, or was one; not kept where no directories are bound.
    pub(crate) has_heard_leader: bool,
    /// The last forwarded proposal that was seen of each node, in any role: older ones are copies, or came too late.
    /// By directory: each numbers its own.
    pub(crate) forwarded: BTreeMap<(NodeId, u64), RequestId>,
    /// Entries of this node's callers that are on their way to the leader.
    pub(crate) forwards: Forwards,
    /// Whether one leader is following another in order: those who wait for what the last one took in are not told yet that nobody
    /// knows. Until the next leader is heard from, or is not.
    pub(crate) awaits_heir: bool,
    /// Whether this node campaigns by itself.
    pub(crate) elections: bool,
    /// How much it wants to lead.
    pub(crate) priority: u8,
    /// That this node neither votes for another than its leader nor campaigns: no role, term or member ends it.
    pub(crate) pledge: Option<Pledge>,
    /// When a leader had committed no more than this node has now, as last heard.
    pub(crate) fresh_at: Option<Instant>,
    /// The highest that leaders were heard to have committed, in the last term in which one was heard. It may be more than this node has,
    /// and it outlives the role: the same leader may be heard again.
    pub(crate) told: (Term, LogIndex),
    /// What was hashed of this node's own state, and what is to be.
    pub(crate) hashing: Hashing,
    /// Leadership that is being handed over. It outlives the leadership: whoever asked is told once the new leader is known.
    pub(crate) transfer: Option<Transfer>,
    /// What is to be done and was not polled yet.
    pub(crate) commands: VecDeque<Command>,
    /// Set once the node has stopped taking part.
    pub(crate) fault: Option<Fault>,
}

impl Engine {
    /// A node that starts from what it found on its disk.
    ///
    /// # Panics
    /// If the settings do not [validate](EngineConfig::validate), or if what was restored contradicts itself: whoever
    /// restores checks it first.
    #[must_use]
    pub fn new(config: EngineConfig, restored: Restored, now: Instant) -> Self {
        if let Err(error) = config.validate() {
            panic!("invalid settings: {error}");
        }
        mutate!(vote_forgotten, restored = Restored { vote: Vote { voted_for: None, ..restored.vote }, ..restored });
        mutate!(commit_restored_too_far, restored = Restored { commit: restored.last.index, ..restored });
        let too_old = restored.too_old(config.node.version);
        let log = LogIds::restore(restored.terms, restored.last, restored.purged);
        let covered = restored.snapshot.as_ref().map_or(LogId::ZERO, |snapshot| snapshot.last());
        let purged = log.purged();
        assert!(
            log.has(covered),
            "the snapshot ends at {covered}; the log, from {purged} to {}, does not hold that",
            log.last()
        );
        let commit = restored.commit.max(covered.index);
        assert!(commit <= log.last().index, "commit {commit} beyond the log's {}", log.last());
        assert!(restored.vote.term >= log.last().term, "term {} behind the log's {}", restored.vote.term, log.last());
        let members_of = restored.snapshot.clone();
        mutate!(restart_forgets_snapshot_members, members_of = None);
        let (peers, has_begun) = remembered(config.node, restored.peers);
        let is_untouched = peers.is_empty() && !has_begun && restored.last != LogId::ZERO;
        let start = config.node.incarnation.start;
        assert!(start < 1 << (64 - ID_BITS), "{start} starts use up the numbers of requests");
        let mut engine = Self {
            random: Random::new(config.seed),
            vote: restored.vote,
            writes: Writes::restore(log.last().index, now),
            log,
            commit_index: covered.index,
            applied: LogIndex::ZERO,
            memberships: Memberships::restore(members_of.as_deref(), restored.memberships),
            snapshots: Snapshots::restore(restored.snapshot.clone(), restored.log_bytes, now),
            genesis: if restored.genesis.is_known() { restored.genesis } else { config.node.genesis },
            founding: Founding::UNKNOWN,
            peers,
            refusals: Refusals::default(),
            answered: None,
            role: Role::Follower(Follower::default()),
            timers: Timers::default(),
            log_clock: (restored.log_time, now),
            log_time: restored.log_time,
            // No id of an earlier start is used again.
            next_id: start << ID_BITS,
            born_with: restored.vote,
            begins: has_begun,
            has_heard_leader: false,
            forwarded: BTreeMap::new(),
            forwards: Forwards::default(),
            awaits_heir: false,
            elections: true,
            priority: config.priority,
            // An earlier life may have pledged itself to a leader, and has forgotten it. One that knew no term had met none.
            pledge: (restored.vote.term > Term(0)).then(|| Pledge::new(now, config.election_timeout_min)),
            fresh_at: None,
            told: (Term(0), LogIndex::ZERO),
            hashing: Hashing::default(),
            transfer: None,
            commands: VecDeque::new(),
            fault: None,
            config,
        };
        mutate!(restart_forgets_pledge, engine.pledge = None);
        mutate!(request_ids_used_again, engine.next_id = 0);
        if let Some(fault) = too_old {
            engine.halt(fault);
            return engine;
        }
        if is_untouched {
            engine.begin_log();
        }
        engine.begin_life(restored.snapshot, commit, now);
        engine
    }

    /// Has what was there done once more that only memory held.
    fn begin_life(&mut self, snapshot: Option<Arc<Snapshot>>, commit: LogIndex, now: Instant) {
        if let Some(snapshot) = snapshot {
            self.push(Command::StateMachine(StateMachineRequest::InstallSnapshot { snapshot }));
        }
        self.set_commit(commit);
        // What is committed settles who the members are: the first event has nothing of it left to do.
        self.memberships.take_changed();
        self.follow_memberships(now);
        self.check();
    }

    /// Takes in one event. Everything that follows from it is then in [`Engine::poll_command`].
    ///
    /// `now` must not be earlier than when the event reached this node: a runtime takes what has arrived and reads the clock then, not
    /// the other way round. What has waited since may only seem to have come later. [Leases](crate::EngineConfig::lease) rest on it,
    /// and on that the clock of a node's next life, in [`Engine::new`], is read after its last one has ended.
    ///
    /// # Panics
    /// If the runtime reports what cannot have happened, such as the flush of a write that was never asked for. No
    /// message of a peer makes it panic.
    pub fn handle_event(&mut self, event: Event, now: Instant) {
        if self.fault.is_some() {
            return self.refuse_when_halted(&event);
        }
        self.forget_refusals(now);
        self.writes.look_at_disk(now);
        match event {
            Event::Timeout => self.handle_timeout(now),
            Event::Initialize { token, membership } => self.handle_initialize(token, membership, now),
            Event::Propose { token, entries, only_in } => self.handle_propose(token, entries, only_in, now),
            Event::ChangeMembers { token, request } => self.handle_change_members(token, request, now),
            Event::Read { token, consistency } => self.handle_read(token, consistency, now),
            Event::TransferLeadership { token, to } => self.handle_transfer_leadership(token, to, now),
            Event::Elect { token, pre_vote } => self.handle_elect(token, pre_vote, now),
            Event::StepDown { token } => self.handle_step_down(token, now),
            Event::ForgetLeader { token } => self.handle_forget_leader(token),
            Event::SetElections { token, on } => self.handle_set_elections(token, on, now),
            Event::SetPriority { token, priority } => self.handle_set_priority(token, priority),
            Event::Received { from, message } => self.handle_received(from, message, now),
            Event::Refused { by, met, reason } => self.handle_refused(by, met, reason, now),
            Event::Misfit { node, reason } => self.handle_misfit(node, reason, now),
            Event::LogFlushed { write } => self.handle_log_flushed(write, now),
            Event::StorageFailed { reason } => self.halt(Fault::Storage { reason }),
            Event::Sent { target, epoch, request, last, bytes } => {
                self.handle_sent(target, epoch, request, last, bytes);
            }
            Event::ReplicateGone { target, epoch, request } => self.handle_replicate_gone(target, epoch, request),
            Event::Applied { last } => self.handle_applied(last, now),
            Event::TakeSnapshot { token } => self.handle_take_snapshot(token),
            Event::Purge { token, keep_entries } => self.handle_purge(token, keep_entries),
            Event::SnapshotBuilt { snapshot } => self.handle_snapshot_built(snapshot, now),
            Event::SnapshotFailed { .. } => self.handle_snapshot_failed(now),
            Event::SnapshotReceived { id, held } => self.handle_snapshot_received(id, held, now),
            Event::SnapshotSpoiled { id, .. } => self.handle_snapshot_spoiled(id),
            Event::SnapshotSent { target, epoch, request } => self.handle_snapshot_sent(target, epoch, request),
            Event::SnapshotUnreadable { target, epoch, request, id, .. } => {
                self.handle_snapshot_unreadable(id, now);
                self.handle_replicate_gone(target, epoch, request);
            }
            Event::SnapshotRotten { id, .. } => self.handle_snapshot_unreadable(id, now),
            Event::StateHashed { at, hash } => self.handle_own_hash(at, hash),
            Event::StateMachineFailed { at, reason } => self.halt(Fault::StateMachine { at, reason }),
        }
        self.advance_change(now);
        self.keep_membership(now);
        if self.memberships.take_changed() {
            self.follow_memberships(now);
            // Those who count now may have answered already; a leader that is alone is asked by nobody else to look.
            self.confirm_reads(now);
        }
        self.leave_office(now);
        self.snapshot_by_policy(now);
        self.ask_heir();
        self.replicate();
        self.check();
    }

    /// The next thing to do, in order; `None` when there is nothing more until the next event.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Event::Timeout`] is due; `None` when never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What the node is and knows now.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            node: self.id(),
            role: self.role_kind(),
            term: self.vote.term,
            leader: self.leader(),
            last: self.log.last(),
            flushed: self.writes.flushed_index(),
            disk_hangs: self.writes.silent_for() >= self.config.election_timeout_max,
            purged: self.log.purged(),
            snapshot: self.snapshots.last(),
            commit: self.commit_index,
            applied: self.applied,
            membership: Arc::clone(self.memberships.effective()),
            membership_at: self.membership_id(),
            matched: self.matched().collect(),
            brought: self.progress().filter_map(|(node, progress)| Some((node, progress.bringing()?))).collect(),
            version: self.version(),
            versions: self.versions(),
            version_held_back_by: self.version_held_back_by(),
            refused_by: self.refusals.by(),
            refuses: self.refusals.of(),
        }
    }

    /// To whom this leader is handing its leadership over.
    #[must_use]
    pub fn transferring_to(&self) -> Option<NodeId> {
        self.transfer.as_ref().filter(|_| matches!(self.role, Role::Leader(_))).map(Transfer::to)
    }

    /// Whether one leader is following another in order: those who wait for what the last one took in are not told yet that
    /// nobody knows. They are as soon as the next leader is not heard from in time.
    #[must_use]
    pub const fn awaits_heir(&self) -> bool {
        self.awaits_heir
    }

    /// How much the node wants to lead, as it was told last.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        self.priority
    }

    /// What the node does now; cheaper than the whole [`Engine::status`].
    #[must_use]
    pub fn role_kind(&self) -> RoleKind {
        match &self.role {
            _ if self.fault.is_some() => RoleKind::Halted,
            Role::Leader(_) => RoleKind::Leader,
            Role::Candidate(_) => RoleKind::Candidate,
            Role::PreCandidate(_) => RoleKind::PreCandidate,
            Role::Follower(_) if self.membership().is_voter(self.id()) => RoleKind::Follower,
            Role::Follower(_) => RoleKind::Learner,
        }
    }

    /// The term, and who leads in it as far as the node knows.
    #[must_use]
    pub fn leadership(&self) -> (Term, Option<NodeId>) {
        (self.vote.term, self.leader())
    }

    /// The commit index.
    #[must_use]
    pub const fn commit_index(&self) -> LogIndex {
        self.commit_index
    }

    /// The id of the entry at `index` as accepted; `None` beyond the log, and before the last entry that was purged.
    #[must_use]
    pub fn log_id(&self, index: LogIndex) -> Option<LogId> {
        self.log.id_at(index)
    }

    /// The term and the vote in it, as accepted.
    #[must_use]
    pub const fn vote(&self) -> Vote {
        self.vote
    }

    /// The last applied entry; at most the commit index.
    #[must_use]
    pub const fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The last entry of the log, as accepted.
    #[must_use]
    pub const fn last_log_id(&self) -> LogId {
        self.log.last()
    }

    /// What stands before the first entry of the log: it and all before it is in a snapshot only.
    #[must_use]
    pub const fn purged(&self) -> LogId {
        self.log.purged()
    }

    /// The last entry that the newest durable snapshot covers; [`LogId::ZERO`] before there is one.
    #[must_use]
    pub fn snapshot(&self) -> LogId {
        self.snapshots.last()
    }

    /// Up to here the log is durable.
    #[must_use]
    pub const fn flushed_index(&self) -> LogIndex {
        self.writes.flushed_index()
    }

    /// The members, by the last entry of the log that says who they are.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.memberships.effective()
    }

    /// The entry that the membership stands in; [`LogId::ZERO`] before there is one.
    #[must_use]
    pub fn membership_at(&self) -> LogId {
        self.membership_id()
    }

    /// What a leader knows of the others' durable logs, in the order of their ids; nothing on any other node.
    pub fn matched(&self) -> impl Iterator<Item = (NodeId, LogIndex)> + '_ {
        self.progress().map(|(node, progress)| (node, progress.match_index()))
    }

    fn progress(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        let progress = match &self.role {
            Role::Leader(leader) => Some(leader.progress.iter()),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        };
        progress.into_iter().flatten().map(|(node, progress)| (*node, progress))
    }

    // ---- what the other files build on -------------------------------------------------------------------------

    pub(crate) const fn id(&self) -> NodeId {
        self.config.node.node
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(self.id()),
            Role::Follower(follower) => follower.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// Everybody else who is a member by any entry that may come to count.
    pub(crate) fn others(&self) -> NodeMap<Node> {
        let mut all = self.memberships.everybody();
        all.remove(&self.id());
        all
    }

    pub(crate) fn push(&mut self, command: Command) {
        if let Command::SendMessage { target, message } = &command {
            let (since, spoken) = (message.since(), self.version());
            assert!(self.may_send(*target, since), "{target} is told of version {since} in a cluster of {spoken}");
        }
        self.commands.push_back(command);
    }

    pub(crate) fn send(&mut self, target: NodeId, message: Message) {
        self.push(Command::SendMessage { target, message });
    }

    pub(crate) fn refuse(&mut self, token: Token, refusal: Refusal) {
        self.push(Command::Refused { token, refusal });
    }

    /// The command leaves once the node's term and vote are durable.
    pub(crate) fn push_after_vote(&mut self, command: Command, now: Instant) {
        let write = self.writes.of_vote();
        self.push_after(write, Promise::Command(command), now);
    }

    pub(crate) fn push_after(&mut self, write: crate::WriteId, promise: Promise, now: Instant) {
        if let Some(promise) = self.writes.promise(write, promise) {
            self.keep(promise, now);
        }
    }

    pub(crate) fn next_epoch(&mut self) -> Epoch {
        self.next_id += 1;
        Epoch(self.next_id)
    }

    /// Whether an earlier life of this node may have led in `term`.
    pub(crate) fn may_have_led(&self, term: Term) -> bool {
        mutate!(earlier_life_forgotten, return false);
        let Vote { term: born, voted_for } = self.born_with;
        // Another directory may have led under this id until it was removed, before any leader that this life has heard from.
        mutate!(earlier_directory_forgotten, return term < born);
        (self.config.bind_directories && !self.has_heard_leader)
            || term < born
            || (term == born && voted_for == Some(self.id()))
    }

    /// Whether this node campaigns when it has heard from no leader for long.
    pub(crate) fn campaigns_by_itself(&self) -> bool {
        self.elections && self.memberships.may_vote(self.id()) && self.is_the_member()
    }

    /// Whether this node was removed, and nobody tells it any more who leads, or answers what it asks. One that a leader brings up
    /// may not have come to the entry yet that added it.
    pub(crate) fn is_removed(&self, now: Instant) -> bool {
        mutate!(removed_node_waits_for_leader, return false);
        mutate!(newcomer_takes_itself_for_removed, return !self.memberships.may_hold(self.id()));
        !self.memberships.may_hold(self.id()) && !self.has_live_leader(now)
    }

    /// Starts the election timer anew, if this node campaigns by itself.
    pub(crate) fn arm_election(&mut self, now: Instant) {
        if self.campaigns_by_itself() {
            self.arm_campaign(now);
        } else {
            self.timers.stop(Timer::Election);
        }
    }

    /// Starts the election timer anew: so long a campaign lasts.
    pub(crate) fn arm_campaign(&mut self, now: Instant) {
        let (min, max) = (self.config.election_timeout_min, self.config.election_timeout_max);
        let wait =
            self.random.between(min, max) + (max - min) / u32::from(u8::MAX) * u32::from(u8::MAX - self.priority);
        mutate!(election_timeout_too_short, wait = wait / 500);
        self.timers.set(Timer::Election, now + wait);
    }

    /// Whether the disk has finished a write lately, or has nothing to do.
    pub(crate) fn disk_works(&mut self, now: Instant) -> bool {
        self.writes.look_at_disk(now) < self.config.election_timeout_max
    }

    /// Whether this node must keep silent towards its leader, and has for longer than that one would be waited for: its term is on the
    /// way to a disk that hangs. So it is with a leader that was deposed because its disk hangs.
    pub(crate) fn is_silenced(&mut self, now: Instant) -> bool {
        !self.writes.has_durable_term() && !self.disk_works(now)
    }

    /// Log time now: the last entry's plus what has passed since.
    pub(crate) fn log_time(&self, now: Instant) -> LogTime {
        let (last, at) = self.log_clock;
        mutate!(log_time_begins_anew, return LogTime(u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX)));
        let passed = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        mutate!(log_time_too_fast, passed = passed * 3);
        LogTime(last.0.saturating_add(passed)).max(self.log_time)
    }

    /// Appends batches that follow the log's last entry.
    pub(crate) fn append(&mut self, batches: Vec<Batch>, now: Instant) {
        let Some(last) = batches.last().map(Batch::last) else { return };
        let bytes = batches.iter().map(Batch::bytes).sum();
        self.snapshots.count(bytes);
        for batch in &batches {
            self.log.append(batch.first(), batch.last());
            self.adopt_memberships(batch);
            self.log_time = batch.log_time();
            // A leader's clock runs on from where its term began, so that rounding does not add up.
            if !matches!(self.role, Role::Leader(_)) {
                self.log_clock = (batch.log_time(), now);
            }
        }
        let write = self.writes.accept_entries(last.index, bytes);
        self.push(Command::AppendInputEntries { write, batches });
    }

    fn adopt_memberships(&mut self, batch: &Batch) {
        if !batch.has_membership() {
            return;
        }
        for (offset, entry) in (0..).zip(batch.entries()) {
            if let Body::Membership(membership) = &entry.body {
                let at = LogId { term: batch.term(), index: LogIndex(batch.first().index.0 + offset) };
                self.memberships.append(at, Arc::clone(membership));
            }
        }
    }

    /// Entries up to `commit` are committed: they may be applied, and reads of them may be answered.
    pub(crate) fn set_commit(&mut self, commit: LogIndex) {
        if commit == self.commit_index {
            return;
        }
        assert!(commit > self.commit_index, "commit goes back from {} to {commit}", self.commit_index);
        let last = self.log.id_at(commit).expect("only what the log holds is committed");
        let first = std::mem::replace(&mut self.commit_index, commit).next();
        self.memberships.commit(commit);
        self.push(Command::SaveCommitted { commit });
        self.push_apply(first, last);
        self.release_reads();
    }

    // ---- events that concern no role ---------------------------------------------------------------------------

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Election => self.handle_election_timeout(now),
                Timer::Heartbeat => self.handle_heartbeat_timeout(now),
                Timer::CheckQuorum => self.handle_check_quorum(now),
                Timer::Requests => self.handle_request_timeout(now),
                Timer::Transfer => self.handle_transfer_timeout(now),
            }
        }
    }

    fn handle_initialize(&mut self, token: Token, membership: Arc<Membership>, now: Instant) {
        if self.log.last() != LogId::ZERO {
            return self.refuse(token, Refusal::AlreadyInitialized);
        }
        if membership.voters().is_empty() {
            return self.refuse(token, Refusal::NoVoters);
        }
        let (cluster, spoken) = (membership.version(), self.config.node.version);
        if self.is_too_old_for(cluster, true).is_some() {
            // There is no cluster yet in which it could do harm: whoever asked may ask for another one.
            return self.refuse(token, Refusal::VersionNotSpoken { cluster, spoken });
        }
        let first = LogId::new(0, 1);
        self.begin_log();
        self.append(vec![Batch::new(first, LogTime(0), Arc::new([Payload::membership(membership)]))], now);
        self.push(Command::Accepted { token, first });
    }

    fn handle_received(&mut self, from: Peer, message: Option<Message>, now: Instant) {
        match self.meet(from, message.as_ref(), now) {
            Err(reason) => return self.push(Command::RefusePeer { peer: from, reason }),
            Ok(true) => {}
            Ok(false) => self.follow_directory(from, message.as_ref(), now),
        }
        let Some(message) = message else { return self.greet(from) };
        if let Err(inconsistency) = message.check_range() {
            return self.refuse_inconsistent(from, inconsistency, now);
        }
        if self.is_unheard(&message, now) {
            return;
        }
        self.learn_genesis(from, &message);
        let term = message.term().filter(|term| *term > self.vote.term);
        mutate!(pre_vote_reply_hides_term, term = term.filter(|_| !matches!(message, Message::PreVoteReply(_))));
        if let Some(term) = term {
            let may_disrupt = matches!(&message, Message::RequestVote(request) if request.warrant.may_disrupt());
            self.adopt_term(term, if may_disrupt { Succession::Orderly } else { Succession::Abrupt }, now);
        }
        self.answer_wherever(from, &message, now);
        let node = from.node;
        let handled = match message {
            Message::PreVote(request) => self.handle_pre_vote(node, request, now),
            Message::PreVoteReply(reply) => self.handle_pre_vote_reply(node, reply, now),
            Message::RequestVote(request) => self.handle_request_vote(node, request, now),
            Message::RequestVoteReply(reply) => self.handle_request_vote_reply(node, reply, now),
            Message::AppendEntries(request) => self.handle_append_entries(node, request, now),
            Message::AppendEntriesReply(reply) => self.handle_append_entries_reply(node, reply, now),
            Message::Heartbeat(request) => self.handle_heartbeat(node, request, now),
            Message::HeartbeatReply(reply) => self.handle_heartbeat_reply(node, reply, now),
            Message::Committed { term, commit } => self.handle_committed(node, term, commit, now),
            Message::ReadIndex { term, request, proof } => self.handle_read_index(node, term, (request, proof), now),
            Message::ReadIndexReply { request, outcome } => self.handle_read_index_reply(request, outcome, now),
            Message::Propose { term, request, entries } => self.handle_forwarded(from, term, request, entries, now),
            Message::ProposeReply { request, outcome } => self.handle_propose_reply(request, outcome),
            Message::TimeoutNow { term } => self.handle_timeout_now(node, term, now),
            Message::HashState { term, at } => {
                self.handle_hash_state(node, term, at);
                Ok(())
            }
            Message::StateHashed { at, hash } => {
                self.note_hash(node, at, hash);
                Ok(())
            }
            Message::StateDiffers { term, at, agreed } => {
                self.handle_state_differs(node, term, at, agreed);
                Ok(())
            }
            Message::InstallSnapshot(request) => self.handle_install_snapshot(node, request, now),
            Message::InstallSnapshotReply(reply) => self.handle_install_snapshot_reply(node, reply, now),
            Message::DelegateSnapshot(order) => self.handle_delegate_snapshot(node, order, now),
        };
        if let Err(inconsistency) = handled {
            self.refuse_inconsistent(from, inconsistency, now);
        }
    }

    fn handle_log_flushed(&mut self, write: crate::WriteId, now: Instant) {
        self.writes.flush(write);
        while let Some(promise) = self.writes.take_kept() {
            if self.writes.peek_kept().is_some_and(|next| next.supersedes(&promise)) {
                continue;
            }
            self.keep(promise, now);
        }
        self.advance_commit();
    }

    fn keep(&mut self, promise: Promise, now: Instant) {
        match promise {
            Promise::Command(command) => self.push(command),
            Promise::OwnVote(term) => self.handle_own_vote(term, now),
        }
    }

    fn handle_applied(&mut self, last: LogIndex, now: Instant) {
        assert!(last <= self.commit_index, "applied {last}, but only {} is committed", self.commit_index);
        mutate!(late_applied_rewinds if last < self.applied, self.applied = last; return);
        self.applied = self.applied.max(last);
        if let Role::Leader(leader) = &mut self.role {
            mutate!(in_hand_never_freed, return);
            leader.in_hand.remove_through(self.applied);
        }
        self.install_when_idle(now);
    }

    pub(crate) fn halt(&mut self, fault: Fault) {
        let election = self.take_campaign_token();
        self.leave_role(Succession::Abrupt);
        self.abandon_forwards();
        self.role = Role::Follower(Follower::default());
        self.timers = Timers::default();
        // Nothing more is applied here: whoever waits for it, under any leader, is told so.
        self.push(Command::Abandoned { from: self.applied.next() });
        let transfer = self.transfer.take().and_then(|transfer| transfer.token);
        for token in self.leave_snapshots().into_iter().chain(transfer).chain(election) {
            self.refuse(token, Refusal::Halted);
        }
        self.fault = Some(fault.clone());
        self.push(Command::Halt { fault });
    }

    fn refuse_when_halted(&mut self, event: &Event) {
        if let Event::Propose { token, .. }
        | Event::Read { token, .. }
        | Event::Initialize { token, .. }
        | Event::TakeSnapshot { token }
        | Event::ChangeMembers { token, .. }
        | Event::TransferLeadership { token, .. }
        | Event::Elect { token, .. }
        | Event::StepDown { token }
        | Event::ForgetLeader { token }
        | Event::SetElections { token, .. }
        | Event::SetPriority { token, .. }
        | Event::Purge { token, .. } = event
        {
            self.refuse(*token, Refusal::Halted);
        }
    }
}

/// What the handling of a message comes to: done, or the message contradicts what Raft guarantees.
pub(crate) type Handled = Result<(), Inconsistency>;

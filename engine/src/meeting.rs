//! Who is listened to, and who does not listen: nodes are known by the lives they live.
//!
//! ```text
//!   a peer speaks ──► bound by the log to another directory (`binding.rs`)? ─ yes ─► refused, unless this node is behind
//!                          └─ no ─► met before? ── same life, or a later start ─────────► heard (and remembered, durably)
//!                                └── wiped, older copy, second copy ──────► refused, and told which life was met
//!
//!   a peer refuses this node ──► shows a life that outranks this one? ─ yes ─► marked durably, stopped for good
//!                                                                    └─ no ──► told in the status, for a while
//! ```
//!
//! A node that learns from a refusal that it lacks what it may have acknowledged must never come back: its start number
//! grows with each start, so that an older copy would pass for the original in time. A peer that is an older copy itself
//! cannot do this to a good node: all that it can have met are lower starts. One that was wiped has met nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::binding::any_life_of;
use crate::command::Command;
use crate::engine::Engine;
use crate::message::{Message, Part};
use crate::refusal::{Fault, Inconsistency, PeerRefusal, outranks};
use crate::types::{Incarnation, Instant, NodeId, Peer};
use crate::version::Version;

/// So many nodes are remembered by one that does not know its cluster's members yet.
const PEERS_MAX: usize = 4096;
/// For so long a refusal that is not repeated is told. A transport tries again, and so repeats it, more often.
const TOLD_FOR: Duration = Duration::from_secs(5);

/// What was met under a node's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Met {
    /// The highest life.
    pub(crate) life: Incarnation,
    /// What that life speaks, if this one has heard it: it is not stored, as the next one may speak another.
    pub(crate) version: Option<Version>,
}

impl Met {
    /// As an earlier life of this node met it.
    pub(crate) const fn restored(life: Incarnation) -> Self {
        Self { life, version: None }
    }
}

/// Who refuses whom, lately. What is older goes with the next event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Refusals {
    /// Who refuses this node, why and when; members only, so that there is a bound.
    by: BTreeMap<NodeId, (String, Instant)>,
    /// Whom this node refuses as it contradicts Raft, or fits in no handshake, how and when; at most `PEERS_MAX` and the members.
    of: BTreeMap<NodeId, (String, Instant)>,
}

impl Refusals {
    fn is_empty(&self) -> bool {
        self.by.is_empty() && self.of.is_empty()
    }

    fn forget(&mut self, now: Instant) {
        self.by.retain(|_, (_, at)| now.since(*at) < TOLD_FOR);
        self.of.retain(|_, (_, at)| now.since(*at) < TOLD_FOR);
    }

    pub(crate) fn by(&self) -> BTreeMap<NodeId, String> {
        self.by.iter().map(|(node, (reason, _))| (*node, reason.clone())).collect()
    }

    pub(crate) fn of(&self) -> BTreeMap<NodeId, String> {
        self.of.iter().map(|(node, (reason, _))| (*node, reason.clone())).collect()
    }
}

impl Engine {
    /// Who speaks must live in the highest life that was met under its id. Answers whether it is heard only by its claim.
    pub(crate) fn meet(&mut self, from: Peer, message: Option<&Message>, now: Instant) -> Result<bool, PeerRefusal> {
        if from.node == self.id() {
            return Err(PeerRefusal::OwnId);
        }
        self.check_cluster(from, message)?;
        self.check_version(from)?;
        let is_known = self.memberships.may_hold(from.node);
        mutate!(stranger_heard, is_known = true);
        if !is_known {
            match message {
                // Nothing was said yet; as what it comes to depends on what it says, nothing is remembered either.
                None => return Ok(false),
                Some(message) if self.may_be_unknown(message, now) => {}
                Some(_) => return Err(PeerRefusal::NotMember),
            }
        }
        self.meet_life(from, message)
    }

    /// Nothing of another cluster counts, whatever the two have in common: its terms and entries are no later ones of this one's. Who
    /// was started to join does not know its own before somebody who does has led it, or asked it for a vote; until then it has
    /// nothing to say but answers. So whoever leads or asks must know.
    fn check_cluster(&self, from: Peer, message: Option<&Message>) -> Result<(), PeerRefusal> {
        mutate!(other_cluster_leads, return Ok(()));
        let (ours, theirs) = (self.founding, from.founding);
        mutate!(other_founding_heard, theirs = ours);
        if ours.contradicts(theirs) {
            return Err(PeerRefusal::OtherFounding { ours, theirs });
        }
        let (ours, theirs) = (self.genesis, from.genesis);
        let must_know = message.is_some_and(|message| message.part() != Part::Follower);
        let is_lost = must_know && ours.is_known() && !theirs.is_known();
        mutate!(leader_of_unknown_cluster_heard, is_lost = false);
        if is_lost || ours.contradicts(theirs) { Err(PeerRefusal::OtherCluster { ours, theirs }) } else { Ok(()) }
    }

    /// The first that leads a node, or asks it for a vote, tells it of which cluster it is: before it takes over anything of what that
    /// one says. A node's next life knows by its log, if that has anything.
    pub(crate) fn learn_genesis(&mut self, from: Peer, message: &Message) {
        mutate!(genesis_not_learnt, return);
        if self.genesis.is_known() || !from.genesis.is_known() || message.part() == Part::Follower {
            return;
        }
        (self.genesis, self.founding) = (from.genesis, from.founding);
        let signature = self.signature();
        self.push(Command::Sign { signature });
    }

    /// What the log says for certain of this node's cluster is what it is.
    pub(crate) fn follow_founding(&mut self) {
        let founding = self.memberships.founding();
        if founding.is_known() {
            self.founding = founding;
        }
    }

    /// Whoever leads, or asks for a vote that it may get, is answered there where it says that it is reached: the members that are
    /// known here may be older than its address. Once for each of its connections, until the members are told again. Called once the
    /// term of the message is this node's, if it is not an earlier one.
    pub(crate) fn answer_wherever(&mut self, from: Peer, message: &Message, now: Instant) {
        let is_stale = message.term().is_some_and(|term| term < self.vote.term);
        let is_repeated = self.answered.is_some_and(|peer| peer.is_same_life(&from));
        if is_stale || is_repeated || !self.expects_answer(from.node, message, now) {
            return;
        }
        self.answered = Some(from);
        self.push(Command::AnswerPeer { peer: from });
    }

    /// Whether this is of whom this node takes for its leader, or takes now, or may elect.
    fn expects_answer(&self, from: NodeId, message: &Message, now: Instant) -> bool {
        match message.part() {
            // The answer is the leader's, whoever sends in its stead.
            Part::Leader if matches!(message, Message::InstallSnapshot(request) if request.leader != from) => false,
            Part::Leader => self.leader().is_none_or(|leader| leader == from),
            Part::Candidate => !self.has_live_leader(now),
            Part::Follower => false,
        }
    }

    /// It has connected anew: what was to be done to answer it may have ended with its last connection.
    pub(crate) fn greet(&mut self, from: Peer) {
        self.answered = self.answered.filter(|peer| !peer.is_same_life(&from));
    }

    /// Answers whether this one is heard only as the log must say what this node does not know yet.
    fn meet_life(&mut self, from: Peer, message: Option<&Message>) -> Result<bool, PeerRefusal> {
        let life = from.incarnation;
        let known = self.peers.get(&from.node).copied();
        let remembered = known.map(|known| known.life);
        if let Some(directory) = self.directory_of(from.node, known.as_ref()).filter(|directory| *directory != life.id)
        {
            mutate!(wiped_peer_heard, return Ok(false));
            if self.is_behind(from, message) {
                // Not remembered: what this node knows of the members says otherwise, and will be put right by the log.
                return Ok(true);
            }
            let met = remembered.filter(|met| met.id == directory).unwrap_or(any_life_of(directory));
            return Err(PeerRefusal::OtherIncarnation { met });
        }
        // Another directory than was met is heard here as a learner's, or by the word of the log: it has starts of its own.
        let met = remembered.filter(|met| met.id == life.id);
        mutate!(old_copy_heard if met.is_some_and(|met| met.id == life.id && met.start > life.start), return Ok(false));
        mutate!(
            second_copy_heard if met.is_some_and(|met| met.id == life.id && met.start == life.start),
            return Ok(false)
        );
        match met {
            Some(met) if met == life => {
                // A life that an earlier start of this node met speaks what it says now.
                if known.is_some_and(|known| known.version != Some(from.version)) {
                    self.peers.insert(from.node, Met { life, version: Some(from.version) });
                }
                return Ok(false);
            }
            Some(met) if met.start > life.start => return Err(PeerRefusal::EarlierStart { met }),
            Some(met) if met.start == life.start => return Err(PeerRefusal::SecondCopy { met }),
            None if remembered.is_none() && self.peers.len() >= PEERS_MAX => {
                return Err(PeerRefusal::TooMany { limit: PEERS_MAX });
            }
            Some(_) | None => {}
        }
        self.remember(from);
        Ok(false)
    }

    fn remember(&mut self, from: Peer) {
        let version = Some(from.version);
        mutate!(
            version_of_earlier_life_counts,
            version = self.peers.get(&from.node).and_then(|known| known.version).or(version)
        );
        self.peers.insert(from.node, Met { life: from.incarnation, version });
        mutate!(peer_not_saved, return);
        let write = self.writes.accept();
        self.push(Command::SavePeer { write, peer: from.claiming(None) });
    }

    /// Whether somebody may say this who is no member as far as this node knows. It may have missed how the members changed:
    /// then a leader tells it, or a candidate needs its vote (thesis, section 4.1). Where a leader is at work, who asks for votes
    /// is one that was removed (section 4.2.3).
    fn may_be_unknown(&self, message: &Message, now: Instant) -> bool {
        mutate!(unknown_leader_not_heard, return false);
        match message.part() {
            Part::Leader => true,
            Part::Candidate => !self.has_live_leader(now),
            Part::Follower => false,
        }
    }

    /// A peer that was listened to contradicts what Raft guarantees.
    pub(crate) fn refuse_inconsistent(&mut self, peer: Peer, inconsistency: Inconsistency, now: Instant) {
        self.refusals.of.insert(peer.node, (inconsistency.to_string(), now));
        self.push(Command::RefusePeer { peer, reason: PeerRefusal::Inconsistent(inconsistency) });
    }

    /// Who is where a member is said to be is not that member.
    pub(crate) fn handle_misfit(&mut self, node: NodeId, reason: String, now: Instant) {
        if self.memberships.everybody().contains_key(&node) {
            self.refusals.of.insert(node, (reason, now));
        }
    }

    /// A peer does not listen to this node. It is believed only if this node would listen to it, and knows it as a member.
    pub(crate) fn handle_refused(&mut self, by: Peer, met: Option<Incarnation>, reason: String, now: Instant) {
        if self.membership().nodes().is_empty() || !self.memberships.may_hold(by.node) {
            return;
        }
        if let Err(reason) = self.meet(by, None, now) {
            return self.push(Command::RefusePeer { peer: by, reason });
        }
        self.refusals.by.insert(by.node, (reason, now));
        let own = self.config.node.incarnation;
        // A directory that was added in the place of another one may be told so by somebody who does not know that yet.
        let is_known_to_all = |met: &Incarnation| met.id == own.id || self.has_only_its_beginning();
        if let Some(met) = met.filter(|met| outranks(*met, own) && is_known_to_all(met)) {
            self.push(Command::SaveRefusal { by, met });
            self.halt(Fault::Refused { by: by.node, met, own });
        }
    }

    /// Forgets refusals that were not repeated.
    pub(crate) fn forget_refusals(&mut self, now: Instant) {
        // Hardly ever is there any, and this is asked before every event.
        if !self.refusals.is_empty() {
            self.refusals.forget(now);
        }
    }
}

//! Messages on their way: a bag, of which any one arrives next.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use outrigger::engine::{Fingerprint, Message, NodeId, Peer};

/// One message on its way.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) from: Peer,
    pub(super) to: NodeId,
    pub(super) message: Message,
    /// What counts of it; messages are ordered by it.
    pub(super) fingerprint: Fingerprint,
}

/// What counts of messages is all that nodes ever ask of them.
impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Envelope {}

impl Hash for Envelope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl Envelope {
    pub(super) fn new(from: Peer, to: NodeId, message: Message) -> Self {
        let fingerprint = message.fingerprint(from, to);
        Self { from, to, message, fingerprint }
    }

    /// What kind of message it is.
    pub(super) const fn kind(&self) -> &'static str {
        match &self.message {
            Message::PreVote(_) => "pre_vote",
            Message::PreVoteReply(_) => "pre_vote_reply",
            Message::RequestVote(_) => "request_vote",
            Message::RequestVoteReply(_) => "request_vote_reply",
            Message::AppendEntries(_) => "append_entries",
            Message::AppendEntriesReply(_) => "append_entries_reply",
            Message::Heartbeat(_) => "heartbeat",
            Message::HeartbeatReply(_) => "heartbeat_reply",
            Message::Committed { .. } => "committed",
            Message::ReadIndex { .. } => "read_index",
            Message::ReadIndexReply { .. } => "read_index_reply",
            Message::Propose { .. } => "propose",
            Message::ProposeReply { .. } => "propose_reply",
            Message::TimeoutNow { .. } => "timeout_now",
            Message::HashState { .. } => "hash_state",
            Message::StateHashed { .. } => "state_hashed",
            Message::StateDiffers { .. } => "state_differs",
            Message::InstallSnapshot(_) => "install_snapshot",
            Message::InstallSnapshotReply(_) => "install_snapshot_reply",
            Message::DelegateSnapshot(_) => "delegate_snapshot",
        }
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}: {}", self.from.node, self.to, self.message)
    }
}

/// The bag, sorted, so that equal bags are equal lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Network(Vec<Arc<Envelope>>);

impl Network {
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Arc<Envelope>> {
        self.0.iter()
    }

    pub(super) fn add(&mut self, envelope: Arc<Envelope>) {
        let place = self.0.partition_point(|other| other.fingerprint <= envelope.fingerprint);
        self.0.insert(place, envelope);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Envelope) -> bool) {
        self.0.retain(|envelope| keep(envelope));
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.0.remove(place);
    }

    /// The places of messages that differ: which of two equal ones arrives makes no difference.
    pub(super) fn different(&self) -> impl Iterator<Item = (usize, &Arc<Envelope>)> {
        let is_new = |place: usize| place == 0 || self.0[place - 1].fingerprint != self.0[place].fingerprint;
        self.0.iter().enumerate().filter(move |(place, _)| is_new(*place))
    }
}

//! How a node is, as it tells a client.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrigger_engine::{Brought, LogId, LogIndex, Membership, NodeId, RoleKind, Term, Version};

use crate::network::DecodeError;
use crate::network::codec;
use crate::network::fields::Fields;
use crate::network::frame::FrameBuffer;
use crate::store::envelope;

/// A node at one moment, as [`Client::status`](super::Client::status) tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Which node.
    pub node: NodeId,
    /// What it does.
    pub role: RoleKind,
    /// Its term.
    pub term: Term,
    /// The leader of the term, as far as the node knows.
    pub leader: Option<NodeId>,
    /// The last entry of its log, durable or not.
    pub last: LogId,
    /// The last durable index of its log.
    pub flushed: LogIndex,
    /// The last entry that its newest durable snapshot covers; [`LogId::ZERO`] if it has none.
    pub snapshot: LogId,
    /// What stands before the first entry of its log: it and all before it is in the snapshot only.
    pub purged: LogId,
    /// Up to which index it knows entries to be committed.
    pub committed: LogIndex,
    /// Up to which index its state machine has applied them.
    pub applied: LogIndex,
    /// The members as this node has them: who votes, who only learns, and where a change leads that is under way. Without any
    /// on a node that waits to be added.
    pub membership: Membership,
    /// The entry that it stands in.
    pub membership_at: LogId,
    /// On a leader: up to which index each other member's log is known to be durable and equal.
    pub matched: BTreeMap<NodeId, LogIndex>,
    /// On a leader: how much of a snapshot each member has that is being brought one, as its log does not reach back to what that one
    /// lacks.
    pub brought: BTreeMap<NodeId, Brought>,
    /// The cluster's version, as far as the node knows it to be committed; [`Membership::version`] may be rolled back yet.
    pub version: Version,
    /// Which version each node speaks, as far as this one has heard it in this life; its own too.
    pub versions: BTreeMap<NodeId, Version>,
    /// Where clients reach each node whose address is known.
    pub client_addresses: BTreeMap<NodeId, String>,
    /// What is wrong, in a line for people: see [`Metrics::trouble`](crate::Metrics::trouble).
    pub fault: Option<String>,
}

const ROLES: [RoleKind; 6] = [
    RoleKind::Learner,
    RoleKind::Follower,
    RoleKind::PreCandidate,
    RoleKind::Candidate,
    RoleKind::Leader,
    RoleKind::Halted,
];

impl NodeStatus {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = FrameBuffer::default();
        let role = ROLES.iter().position(|role| *role == self.role).and_then(|role| u8::try_from(role).ok());
        out.put_u64(self.node.0);
        out.put_u8(role.unwrap_or(u8::MAX));
        out.put_u64(self.term.0);
        out.put_u8(self.leader.is_some().into());
        out.put_u64(self.leader.unwrap_or_default().0);
        for number in [self.last.term.0, self.last.index.0, self.flushed.0, self.committed.0, self.applied.0] {
            out.put_u64(number);
        }
        for id in [self.snapshot, self.purged, self.membership_at] {
            out.put_u64(id.term.0);
            out.put_u64(id.index.0);
        }
        let mut membership = Vec::new();
        envelope::encode_membership(&self.membership, &mut membership);
        out.put_bytes(&membership.into());
        out.put_length(self.matched.len());
        for (node, index) in &self.matched {
            out.put_u64(node.0);
            out.put_u64(index.0);
        }
        out.put_length(self.brought.len());
        for (node, Brought { held, bytes }) in &self.brought {
            [node.0, *held, *bytes].into_iter().for_each(|number| out.put_u64(number));
        }
        out.put_u32(self.version.0.into());
        out.put_length(self.versions.len());
        for (node, version) in &self.versions {
            out.put_u64(node.0);
            out.put_u32(version.0.into());
        }
        out.put_length(self.client_addresses.len());
        for (node, address) in &self.client_addresses {
            out.put_u64(node.0);
            out.put_text(address);
        }
        out.put_u8(self.fault.is_some().into());
        out.put_text(self.fault.as_deref().unwrap_or_default());
        out.to_vec().into()
    }

    pub(super) fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(body);
        let (node, role) = (NodeId(fields.u64()?), fields.u8()?);
        let role = ROLES.get(usize::from(role)).ok_or(DecodeError::Invalid { what: "role", value: role.into() })?;
        let term = Term(fields.u64()?);
        let (leads, leader) = (fields.bool("leader")?, NodeId(fields.u64()?));
        let last = codec::log_id(&mut fields)?;
        let [flushed, committed, applied] = [LogIndex(fields.u64()?), LogIndex(fields.u64()?), LogIndex(fields.u64()?)];
        let (snapshot, purged) = (codec::log_id(&mut fields)?, codec::log_id(&mut fields)?);
        let membership_at = codec::log_id(&mut fields)?;
        let membership = envelope::decode_membership(&fields.bytes()?)?;
        let count = fields.count(8 + 8)?;
        let place = |fields: &mut Fields| Ok((NodeId(fields.u64()?), LogIndex(fields.u64()?)));
        let matched = (0..count).map(|_| place(&mut fields)).collect::<Result<_, DecodeError>>()?;
        let count = fields.count(8 + 8 + 8)?;
        let brought =
            |fields: &mut Fields| Ok((NodeId(fields.u64()?), Brought { held: fields.u64()?, bytes: fields.u64()? }));
        let brought = (0..count).map(|_| brought(&mut fields)).collect::<Result<_, DecodeError>>()?;
        let version = |fields: &mut Fields| {
            let version = fields.u32()?;
            let invalid = |_| DecodeError::Invalid { what: "version", value: version.into() };
            u16::try_from(version).map(Version).map_err(invalid)
        };
        let cluster = version(&mut fields)?;
        let count = fields.count(8 + 4)?;
        let spoken = |fields: &mut Fields| Ok((NodeId(fields.u64()?), version(fields)?));
        let versions = (0..count).map(|_| spoken(&mut fields)).collect::<Result<_, DecodeError>>()?;
        let count = fields.count(8 + 4)?;
        let address = |fields: &mut Fields| Ok((NodeId(fields.u64()?), fields.text()?));
        let client_addresses = (0..count).map(|_| address(&mut fields)).collect::<Result<_, DecodeError>>()?;
        let (failed, fault) = (fields.bool("fault")?, fields.text()?);
        fields.finish()?;
        let (leader, fault) = (leads.then_some(leader), failed.then_some(fault));
        Ok(Self {
            node,
            role: *role,
            term,
            leader,
            last,
            flushed,
            snapshot,
            purged,
            committed,
            applied,
            membership,
            membership_at,
            matched,
            brought,
            version: cluster,
            versions,
            client_addresses,
            fault,
        })
    }
}

#[cfg(test)]
mod tests {
    use outrigger_engine::{Goal, Node, NodeSet};

    use super::*;

    fn joint() -> Membership {
        let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<NodeSet>();
        let nodes = [0, 2, 5].map(|id| (NodeId(id), Node { address: format!("n{id}:1") }));
        let goal = Goal { voters: ids(&[0, 2]), members: ids(&[0, 2, 5]), added: ids(&[0]) };
        Membership::from_parts(ids(&[0, 2]), ids(&[2, 5]), nodes.into(), Some(goal)).unwrap()
    }

    fn status() -> NodeStatus {
        NodeStatus {
            node: NodeId(2),
            role: RoleKind::Follower,
            term: Term(3),
            leader: Some(NodeId(0)),
            last: LogId::new(3, 9),
            flushed: LogIndex(8),
            snapshot: LogId::new(2, 5),
            purged: LogId::new(2, 4),
            committed: LogIndex(7),
            applied: LogIndex(6),
            membership: joint(),
            membership_at: LogId::new(3, 7),
            version: Version(2),
            versions: [(NodeId(0), Version(2)), (NodeId(5), Version::FIRST)].into(),
            matched: [(NodeId(0), LogIndex(4)), (NodeId(5), LogIndex(0))].into(),
            brought: [(NodeId(5), Brought { held: 100, bytes: 4_000_000 })].into(),
            client_addresses: [(NodeId(0), "a:1".to_owned()), (NodeId(2), "[::1]:2".to_owned())].into(),
            fault: Some("the disk is full".to_owned()),
        }
    }

    #[test]
    fn a_status_comes_back_in_every_role() {
        for role in ROLES {
            let status = NodeStatus { role, ..status() };
            assert_eq!(NodeStatus::decode(status.encode()), Ok(status));
        }
        let bare = NodeStatus { leader: None, fault: None, ..status() };
        assert_eq!(NodeStatus::decode(bare.encode()), Ok(bare));
    }

    #[test]
    fn a_status_that_ends_early_or_late_is_refused() {
        let bytes = status().encode();
        for cut in 0..bytes.len() {
            assert!(NodeStatus::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        assert!(NodeStatus::decode([&bytes[..], &[0]].concat().into()).is_err());
    }
}

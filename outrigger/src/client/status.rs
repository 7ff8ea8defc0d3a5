//! How a node is, as it tells a client.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrigger_engine::{LogId, LogIndex, NodeId, RoleKind, Term};

use crate::network::DecodeError;
use crate::network::fields::Fields;
use crate::network::frame::FrameBuffer;

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
    /// Up to which index it knows entries to be committed.
    pub committed: LogIndex,
    /// Up to which index its state machine has applied them.
    pub applied: LogIndex,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Members that do not vote.
    pub learners: Vec<NodeId>,
    /// Where clients reach each node whose address is known.
    pub client_addresses: BTreeMap<NodeId, String>,
    /// Why the node has stopped, if it did so by a fault; else who refuses whom, if anybody does.
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
        for nodes in [&self.voters, &self.learners] {
            out.put_length(nodes.len());
            nodes.iter().for_each(|node| out.put_u64(node.0));
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
        let last = LogId { term: Term(fields.u64()?), index: LogIndex(fields.u64()?) };
        let [flushed, committed, applied] = [LogIndex(fields.u64()?), LogIndex(fields.u64()?), LogIndex(fields.u64()?)];
        let (voters, learners) = (nodes(&mut fields)?, nodes(&mut fields)?);
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
            committed,
            applied,
            voters,
            learners,
            client_addresses,
            fault,
        })
    }
}

fn nodes(fields: &mut Fields) -> Result<Vec<NodeId>, DecodeError> {
    let count = fields.count(8)?;
    (0..count).map(|_| fields.u64().map(NodeId)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> NodeStatus {
        NodeStatus {
            node: NodeId(2),
            role: RoleKind::Follower,
            term: Term(3),
            leader: Some(NodeId(0)),
            last: LogId::new(3, 9),
            flushed: LogIndex(8),
            committed: LogIndex(7),
            applied: LogIndex(6),
            voters: vec![NodeId(0), NodeId(2)],
            learners: vec![NodeId(5)],
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

//! Changes of the members as they travel: what a client asks for, and what came of it.
//!
//! ```text
//!   request       retain bool | patience u64, in ms | term, last, membership: bool and what is wanted | change
//!   change        1u8 ids | 2u8 nodes | 3u8 ids | 4u8 ids | 5u8 nodes | 6u8 nodes | 7u8 ids | 8u8 nodes | 9u8 count, changes
//!   ids, nodes    count u32, then for each: id u64, and of a node its address
//!   answer        0u8 entry, membership to the end | refusal (see network::codec)
//! ```

use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::{
    ChangeMembers, ChangeRequest, LogId, Membership, Node, NodeId, NodeMap, NodeSet, Preconditions, Refusal, Term,
};

use crate::network::DecodeError;
use crate::network::codec;
use crate::network::fields::Fields;
use crate::network::frame::FrameBuffer;
use crate::store::envelope;

/// The longest change that a node takes: thousands of members. It is appended as one entry, and held in memory for good.
pub(super) const CHANGE_BYTES_MAX: usize = 64 << 10;

/// Batches stand in batches no deeper than this: whoever reads one must not run out of stack.
const DEPTH_MAX: usize = 4;

/// The shortest change: its kind, and a count.
const CHANGE_BYTES_MIN: usize = 1 + 4;

/// What a change of the members came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersChanged {
    /// The entry that says who the members are: the last one of this change, or one of the next change, if that has begun.
    pub at: LogId,
    /// Who they are by that entry.
    pub membership: Membership,
}

pub(super) fn encode_request(request: &ChangeRequest) -> Bytes {
    let ChangeRequest { change, retain, patience, preconditions } = request;
    let Preconditions { term, last, membership } = preconditions;
    let mut out = FrameBuffer::default();
    out.put_u8((*retain).into());
    out.put_u64(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
    out.put_u8(term.is_some().into());
    term.iter().for_each(|term| out.put_u64(term.0));
    for wanted in [last, membership] {
        out.put_u8(wanted.is_some().into());
        wanted.iter().for_each(|id| put_id(&mut out, *id));
    }
    put_change(&mut out, change);
    out.to_vec().into()
}

pub(super) fn decode_request(body: Bytes) -> Result<ChangeRequest, DecodeError> {
    let mut fields = Fields::new(body);
    let (retain, patience) = (fields.bool("retain")?, Duration::from_millis(fields.u64()?));
    let term = wanted(&mut fields, |fields| fields.u64().map(Term))?;
    let (last, membership) = (wanted(&mut fields, codec::log_id)?, wanted(&mut fields, codec::log_id)?);
    let change = change(&mut fields, DEPTH_MAX)?;
    fields.finish()?;
    Ok(ChangeRequest { change, retain, patience, preconditions: Preconditions { term, last, membership } })
}

pub(super) fn encode_answer(answer: &Result<MembersChanged, Refusal>) -> Bytes {
    let mut out = FrameBuffer::default();
    codec::put_outcome(&mut out, answer, |out, MembersChanged { at, membership }| {
        put_id(out, *at);
        out.put_with(|text| envelope::encode_membership(membership, text));
    });
    out.to_vec().into()
}

pub(super) fn decode_answer(body: Bytes) -> Result<Result<MembersChanged, Refusal>, DecodeError> {
    let mut fields = Fields::new(body);
    let at = codec::outcome(&mut fields, codec::log_id)?;
    match at {
        Ok(at) => Ok(Ok(MembersChanged { at, membership: envelope::decode_membership(&fields.rest())? })),
        Err(refusal) => fields.finish().map(|()| Err(refusal)),
    }
}

fn put_id(out: &mut FrameBuffer, id: LogId) {
    out.put_u64(id.term.0);
    out.put_u64(id.index.0);
}

fn wanted<T>(
    fields: &mut Fields,
    read: impl FnOnce(&mut Fields) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    fields.bool("precondition")?.then(|| read(fields)).transpose()
}

fn put_change(out: &mut FrameBuffer, change: &ChangeMembers) {
    match change {
        ChangeMembers::AddVoterIds(ids) => put_ids(out, 1, ids),
        ChangeMembers::AddVoters(nodes) => put_nodes(out, 2, nodes),
        ChangeMembers::RemoveVoters(ids) => put_ids(out, 3, ids),
        ChangeMembers::ReplaceAllVoters(ids) => put_ids(out, 4, ids),
        ChangeMembers::AddNodes(nodes) => put_nodes(out, 5, nodes),
        ChangeMembers::SetNodes(nodes) => put_nodes(out, 6, nodes),
        ChangeMembers::RemoveNodes(ids) => put_ids(out, 7, ids),
        ChangeMembers::ReplaceAllNodes(nodes) => put_nodes(out, 8, nodes),
        ChangeMembers::Batch(changes) => {
            out.put_u8(9);
            out.put_length(changes.len());
            changes.iter().for_each(|change| put_change(out, change));
        }
    }
}

fn put_ids(out: &mut FrameBuffer, kind: u8, ids: &NodeSet) {
    out.put_u8(kind);
    out.put_length(ids.len());
    ids.iter().for_each(|id| out.put_u64(id.0));
}

fn put_nodes(out: &mut FrameBuffer, kind: u8, nodes: &NodeMap<Node>) {
    out.put_u8(kind);
    out.put_length(nodes.len());
    for (id, node) in nodes {
        out.put_u64(id.0);
        out.put_text(&node.address);
    }
}

fn change(fields: &mut Fields, depth: usize) -> Result<ChangeMembers, DecodeError> {
    Ok(match fields.u8()? {
        1 => ChangeMembers::AddVoterIds(ids(fields)?),
        2 => ChangeMembers::AddVoters(nodes(fields)?),
        3 => ChangeMembers::RemoveVoters(ids(fields)?),
        4 => ChangeMembers::ReplaceAllVoters(ids(fields)?),
        5 => ChangeMembers::AddNodes(nodes(fields)?),
        6 => ChangeMembers::SetNodes(nodes(fields)?),
        7 => ChangeMembers::RemoveNodes(ids(fields)?),
        8 => ChangeMembers::ReplaceAllNodes(nodes(fields)?),
        9 if depth > 0 => {
            let count = fields.count(CHANGE_BYTES_MIN)?;
            let changes = (0..count).map(|_| change(fields, depth - 1)).collect::<Result<_, _>>()?;
            ChangeMembers::Batch(changes)
        }
        kind => return Err(DecodeError::Invalid { what: "change of the members", value: kind.into() }),
    })
}

fn ids(fields: &mut Fields) -> Result<NodeSet, DecodeError> {
    let count = fields.count(8)?;
    (0..count).map(|_| fields.u64().map(NodeId)).collect()
}

fn nodes(fields: &mut Fields) -> Result<NodeMap<Node>, DecodeError> {
    let count = fields.count(8 + 4)?;
    (0..count).map(|_| Ok((NodeId(fields.u64()?), Node { address: fields.text()? }))).collect()
}

#[cfg(test)]
mod tests {
    use outrigger_engine::LogIndex;

    use super::*;

    fn ids(ids: &[u64]) -> NodeSet {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    fn nodes(ids: &[u64]) -> NodeMap<Node> {
        ids.iter().map(|id| (NodeId(*id), Node { address: format!("10.0.0.{id}:7101") })).collect()
    }

    fn requests() -> Vec<ChangeRequest> {
        let all = vec![
            ChangeMembers::AddVoterIds(ids(&[4])),
            ChangeMembers::AddVoters(nodes(&[4, 5])),
            ChangeMembers::RemoveVoters(ids(&[1, 2])),
            ChangeMembers::ReplaceAllVoters(ids(&[])),
            ChangeMembers::AddNodes(nodes(&[6])),
            ChangeMembers::SetNodes(nodes(&[1])),
            ChangeMembers::RemoveNodes(ids(&[u64::MAX])),
            ChangeMembers::ReplaceAllNodes(nodes(&[])),
        ];
        let mut requests: Vec<ChangeRequest> = all.iter().cloned().map(Into::into).collect();
        let preconditions =
            Preconditions { term: Some(Term(3)), last: Some(LogId::new(3, 9)), membership: Some(LogId::new(2, 1)) };
        let patience = Duration::from_millis(1_234);
        let batch = ChangeMembers::Batch(vec![ChangeMembers::Batch(all)]);
        requests.push(ChangeRequest { change: batch, retain: true, patience, preconditions });
        requests
    }

    #[test]
    fn every_request_comes_back_and_none_that_ends_early_or_late() {
        for request in requests() {
            let bytes = encode_request(&request);
            assert_eq!(decode_request(bytes.clone()), Ok(request));
            for cut in 0..bytes.len() {
                assert!(decode_request(bytes.slice(..cut)).is_err(), "cut at {cut}");
            }
            assert!(decode_request([&bytes[..], &[0]].concat().into()).is_err());
        }
    }

    #[test]
    fn batches_within_batches_end_somewhere() {
        let nested =
            |depth| (0..depth).fold(ChangeMembers::Batch(Vec::new()), |inner, _| ChangeMembers::Batch(vec![inner]));
        let read = |depth| decode_request(encode_request(&nested(depth).into()));
        assert!(read(DEPTH_MAX - 1).is_ok());
        assert_eq!(read(DEPTH_MAX), Err(DecodeError::Invalid { what: "change of the members", value: 9 }));
    }

    #[test]
    fn both_answers_come_back() {
        let at = LogId::new(3, 12);
        let membership = Membership::new(nodes(&[1, 2, 3]), nodes(&[4]));
        let refusal = Refusal::Lagging { node: NodeId(4), matched: LogIndex(3), last: LogIndex(10) };
        for answer in [Ok(MembersChanged { at, membership }), Err(refusal)] {
            let bytes = encode_answer(&answer);
            assert_eq!(decode_answer(bytes.clone()), Ok(answer));
            assert!(decode_answer(bytes.slice(..bytes.len() - 1)).is_err());
            assert!(decode_answer([&bytes[..], &[0]].concat().into()).is_err());
        }
    }
}

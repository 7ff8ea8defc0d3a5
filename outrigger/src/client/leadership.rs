//! Wishes for another leader as they travel, and what came of them.
//!
//! ```text
//!   transfer   request   node u64, 0 for any
//!              answer    0u8 leader u64, term u64 | 1u8 .. 7u8 why not
//!   elect      request   pre_vote bool
//!              answer    0u8 term u64 | 1u8 .. 5u8 why not
//! ```

use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::{LogIndex, NodeId, NotElected, NotTransferred, Term, Transferred};

use crate::network::DecodeError;
use crate::network::fields::Fields;
use crate::network::frame::FrameBuffer;

pub(super) fn encode_heir(to: Option<NodeId>) -> Bytes {
    numbers(&[to.map_or(0, |node| node.0)])
}

pub(super) fn decode_heir(body: Bytes) -> Result<Option<NodeId>, DecodeError> {
    let mut fields = Fields::new(body);
    let to = fields.u64()?;
    fields.finish().map(|()| (to != 0).then_some(NodeId(to)))
}

pub(super) fn encode_pre_vote(pre_vote: bool) -> Bytes {
    vec![pre_vote.into()].into()
}

pub(super) fn decode_pre_vote(body: Bytes) -> Result<bool, DecodeError> {
    let mut fields = Fields::new(body);
    let pre_vote = fields.bool("pre-vote")?;
    fields.finish().map(|()| pre_vote)
}

pub(super) fn encode_transferred(answer: &Result<Transferred, NotTransferred>) -> Bytes {
    match answer {
        Ok(Transferred { leader, term }) => tagged(0, &[leader.0, term.0]),
        Err(NotTransferred::NotLeader) => tagged(1, &[]),
        Err(NotTransferred::NotVoter { node }) => tagged(2, &[node.0]),
        Err(NotTransferred::NobodyElse) => tagged(3, &[]),
        Err(NotTransferred::InProgress { to }) => tagged(4, &[to.0]),
        Err(NotTransferred::Lagging { node, matched, last }) => tagged(5, &[node.0, matched.0, last.0]),
        Err(NotTransferred::NoAnswer { node }) => tagged(6, &[node.0]),
        // The weakest of them stands for what this codec has no word for.
        Err(NotTransferred::LeadershipLost | _) => tagged(7, &[]),
    }
}

pub(super) fn decode_transferred(body: Bytes) -> Result<Result<Transferred, NotTransferred>, DecodeError> {
    let mut fields = Fields::new(body);
    let answer = match fields.u8()? {
        0 => Ok(Transferred { leader: NodeId(fields.u64()?), term: Term(fields.u64()?) }),
        1 => Err(NotTransferred::NotLeader),
        2 => Err(NotTransferred::NotVoter { node: NodeId(fields.u64()?) }),
        3 => Err(NotTransferred::NobodyElse),
        4 => Err(NotTransferred::InProgress { to: NodeId(fields.u64()?) }),
        5 => {
            let node = NodeId(fields.u64()?);
            Err(NotTransferred::Lagging { node, matched: LogIndex(fields.u64()?), last: LogIndex(fields.u64()?) })
        }
        6 => Err(NotTransferred::NoAnswer { node: NodeId(fields.u64()?) }),
        7 => Err(NotTransferred::LeadershipLost),
        tag => return Err(DecodeError::Invalid { what: "outcome of a transfer", value: tag.into() }),
    };
    fields.finish().map(|()| answer)
}

pub(super) fn encode_elected(answer: Result<Term, NotElected>) -> Bytes {
    match answer {
        Ok(term) => tagged(0, &[term.0]),
        Err(NotElected::NotVoter) => tagged(1, &[]),
        Err(NotElected::Refused) => tagged(2, &[]),
        Err(NotElected::Overtaken) => tagged(4, &[]),
        Err(NotElected::Pledged { left }) => tagged(5, &[u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)]),
        Err(NotElected::NoAnswer | _) => tagged(3, &[]),
    }
}

pub(super) fn decode_elected(body: Bytes) -> Result<Result<Term, NotElected>, DecodeError> {
    let mut fields = Fields::new(body);
    let answer = match fields.u8()? {
        0 => Ok(Term(fields.u64()?)),
        1 => Err(NotElected::NotVoter),
        2 => Err(NotElected::Refused),
        3 => Err(NotElected::NoAnswer),
        4 => Err(NotElected::Overtaken),
        5 => Err(NotElected::Pledged { left: Duration::from_nanos(fields.u64()?) }),
        tag => return Err(DecodeError::Invalid { what: "outcome of an election", value: tag.into() }),
    };
    fields.finish().map(|()| answer)
}

fn numbers(numbers: &[u64]) -> Bytes {
    let mut out = FrameBuffer::default();
    numbers.iter().for_each(|number| out.put_u64(*number));
    out.to_vec().into()
}

fn tagged(tag: u8, of: &[u64]) -> Bytes {
    [&[tag], &numbers(of)[..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_and_what_came_of_them_come_back() {
        for to in [None, Some(NodeId(3)), Some(NodeId(u64::MAX))] {
            assert_eq!(decode_heir(encode_heir(to)), Ok(to));
        }
        for pre_vote in [false, true] {
            assert_eq!(decode_pre_vote(encode_pre_vote(pre_vote)), Ok(pre_vote));
        }
        let node = NodeId(9);
        for answer in [
            Ok(Transferred { leader: NodeId(2), term: Term(7) }),
            Err(NotTransferred::NotLeader),
            Err(NotTransferred::NotVoter { node }),
            Err(NotTransferred::NobodyElse),
            Err(NotTransferred::InProgress { to: node }),
            Err(NotTransferred::Lagging { node, matched: LogIndex(3), last: LogIndex(u64::MAX) }),
            Err(NotTransferred::NoAnswer { node }),
            Err(NotTransferred::LeadershipLost),
        ] {
            let encoded = encode_transferred(&answer);
            assert_eq!(decode_transferred(encoded.clone()), Ok(answer));
            for cut in 0..encoded.len() {
                assert!(decode_transferred(encoded.slice(..cut)).is_err(), "{answer:?} cut to {cut}");
            }
        }
        for answer in [
            Ok(Term(7)),
            Err(NotElected::NotVoter),
            Err(NotElected::Refused),
            Err(NotElected::NoAnswer),
            Err(NotElected::Overtaken),
            Err(NotElected::Pledged { left: Duration::from_nanos(400_000_001) }),
        ] {
            assert_eq!(decode_elected(encode_elected(answer)), Ok(answer));
        }
        assert!(decode_transferred(tagged(8, &[])).is_err());
        assert!(decode_elected(tagged(6, &[])).is_err());
        assert!(decode_pre_vote(Bytes::new()).is_err());
    }
}

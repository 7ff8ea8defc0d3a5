//! Messages to send: each kind once, numbered ones, and a huge one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_engine::{
    AppendEntries, AppendEntriesReply, AppendOutcome, Batch, Epoch, Heartbeat, HeartbeatReply, LogId, LogIndex,
    LogTime, Membership, Message, Node, NodeId, Payload, Proof, Refusal, RequestId, Round, StateHash, Term, VoteReply,
    VoteRequest, Warrant,
};

/// A small message, told from others by its number.
pub(super) fn urgent(number: u64) -> Message {
    Message::Committed { term: Term(9), commit: LogIndex(number) }
}

/// Entries of this many bytes, told from others by a number.
pub(super) fn bulk(number: u64, bytes: usize) -> Message {
    append(number, [Payload::command(vec![7; bytes].into())].into())
}

/// Three entries of 4 MiB and a few small ones.
pub(super) fn huge() -> Message {
    let large = |byte: u8| Payload::command(Bytes::from(vec![byte; 4 << 20]));
    append(1, [large(1), Payload::blank(), large(2), Payload::command(Bytes::from_static(b"x")), large(3)].into())
}

fn append(number: u64, entries: Arc<[Payload]>) -> Message {
    let batch = Batch::new(LogId::new(3, 1 + number), LogTime(5), entries);
    Message::AppendEntries(AppendEntries {
        term: Term(3),
        epoch: Epoch(4),
        request: RequestId(number),
        prev: LogId::new(3, number),
        batches: vec![batch],
        commit: LogIndex(number),
    })
}

/// Each kind of message, and each kind of answer.
pub(super) fn every_message() -> Vec<Message> {
    let (term, request, round) = (Term(5), RequestId(6), Round(7));
    let asked = VoteRequest { term, last: LogId::new(4, 3), warrant: Warrant::Leader };
    let reply = VoteReply { term, asked: Term(8), granted: true };
    let append_reply =
        |outcome| Message::AppendEntriesReply(AppendEntriesReply { term, epoch: Epoch(2), request, outcome });
    let node = |id: u64| (NodeId(id), Node { address: format!("10.0.0.{id}:7101") });
    let membership = Payload::membership(Arc::new(Membership::new([node(1), node(2)], [node(3)])));
    vec![
        Message::PreVote(VoteRequest { warrant: Warrant::None, ..asked }),
        Message::PreVoteReply(reply),
        Message::RequestVote(asked),
        Message::RequestVoteReply(VoteReply { granted: false, ..reply }),
        append(1, [membership, Payload::blank(), Payload::command(Bytes::from_static(b"set x"))].into()),
        append_reply(AppendOutcome::Matched(LogIndex(9))),
        append_reply(AppendOutcome::Conflict { hint: LogId::new(1, 2) }),
        append_reply(AppendOutcome::Stale),
        Message::Heartbeat(Heartbeat { term, round, commit: LogIndex(1), pledge: Duration::from_millis(500) }),
        Message::HeartbeatReply(HeartbeatReply {
            term,
            asked: term,
            round,
            received: LogIndex(3),
            matched: LogIndex(2),
        }),
        Message::Committed { term, commit: LogIndex(8) },
        Message::ReadIndex { term, request, proof: Proof::Age(Duration::from_millis(9)) },
        Message::ReadIndexReply { request, outcome: Ok(LogIndex(4)) },
        Message::ReadIndexReply { request, outcome: Err(Refusal::Overloaded { current: 2, limit: 1 }) },
        Message::Propose { term, request, entries: [Payload::command(Bytes::from_static(b"set y"))].into() },
        Message::ProposeReply { request, outcome: Ok(LogId::new(5, 6)) },
        Message::ProposeReply { request, outcome: Err(Refusal::Unknown) },
        Message::TimeoutNow { term },
        Message::HashState { term, at: LogIndex(9) },
        Message::StateHashed { at: LogIndex(9), hash: StateHash(u64::MAX) },
        Message::StateDiffers { term, at: LogIndex(9), agreed: StateHash(7) },
    ]
}

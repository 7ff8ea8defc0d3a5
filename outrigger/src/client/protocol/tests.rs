//! Every frame of the client protocol there and back, cut and damaged.

use bytes::BytesMut;

use super::*;
use crate::network::frame::split;
use crate::network::random::Random;

fn framed(put: impl FnOnce(&mut FrameBuffer)) -> Frame {
    let mut output = FrameBuffer::default();
    put(&mut output);
    split(&mut BytesMut::from(&output.to_vec()[..]), 1 << 20).unwrap().unwrap()
}

fn request(operation: Operation, body: &'static [u8]) -> Request {
    Request { id: 7, patience: Duration::from_millis(900), operation, body: Bytes::from_static(body) }
}

fn outcomes() -> [Outcome; 5] {
    [
        Outcome::Done { applied: LogIndex(0), body: Bytes::from_static(b"answer") },
        Outcome::Done { applied: LogIndex(u64::MAX), body: Bytes::new() },
        Outcome::NotNow { reason: "no leader".to_owned() },
        Outcome::Never { reason: "too large".to_owned() },
        Outcome::Unknown { reason: String::new() },
    ]
}

#[test]
fn hello_and_welcome_come_back() {
    assert_eq!(hello(framed(|output| put_hello(9, output).unwrap())), Ok(9));
    let frame = framed(|output| put_welcome(9, NodeId(3), output).unwrap());
    assert_eq!((frame.kind, welcome(frame.body)), (WELCOME, Ok((9, NodeId(3)))));
}

#[test]
fn what_is_no_hello_of_this_version_is_refused() {
    let good = framed(|output| put_hello(9, output).unwrap());
    for cut in 0..good.body.len() {
        assert_eq!(hello(Frame { body: good.body.slice(..cut), ..good.clone() }), Err(Rejection::NoHello));
    }
    assert_eq!(hello(Frame { kind: REQUEST, ..good.clone() }), Err(Rejection::NoHello));
    let mut newer = good.body.to_vec();
    newer[8] = 9;
    let refused = hello(Frame { body: newer.into(), ..good });
    assert_eq!(refused, Err(Rejection::Protocol { ours: PROTOCOL_VERSION, theirs: 9 }));
}

#[test]
fn requests_come_back() {
    let bound = Duration::from_micros(500_001);
    let (acknowledged, stale) =
        (Consistency::Acknowledged { age_max: bound }, Consistency::Stale { staleness_max: bound });
    let reads = [Consistency::Linearizable, Consistency::Lease, acknowledged, stale];
    let reads = reads.map(|consistency| Operation::Query { consistency });
    for request in reads
        .into_iter()
        .chain([Operation::QueryLocal, Operation::Status])
        .chain([Operation::Write, Operation::ChangeMembers, Operation::Transfer, Operation::Elect])
        .chain([Operation::Snapshot, Operation::SaveSnapshot, Operation::Purge, Operation::SetPriority])
        .map(|operation| request(operation, b"body"))
    {
        let frame = framed(|output| request.encode(1 << 20, output).unwrap());
        assert_eq!((frame.kind, Request::decode(frame.body)), (REQUEST, Ok(request)));
    }
    let mut body = framed(|output| request(Operation::Write, b"").encode(1 << 20, output).unwrap()).body.to_vec();
    body[16] = 99;
    assert_eq!(Request::decode(body.into()), Err(DecodeError::Invalid { what: "operation", value: 99 }));
}

#[test]
fn outcomes_come_back() {
    for outcome in outcomes() {
        let frame = framed(|output| outcome.encode(5, 1 << 20, output));
        assert_eq!((frame.kind, Outcome::decode(frame.body)), (REPLY, Ok((5, outcome))));
    }
}

#[test]
fn a_leader_comes_back() {
    let leader = Leader { term: Term(4), address: "[::1]:7201".to_owned() };
    let frame = framed(|output| leader.encode(output).unwrap());
    assert_eq!((frame.kind, Leader::decode(frame.body)), (LEADER, Ok(leader)));
}

#[test]
fn an_answer_beyond_the_limit_becomes_a_doubt_and_a_long_reason_is_cut() {
    let large = Outcome::Done { applied: LogIndex(1), body: vec![0; 101].into() };
    let told = Outcome::decode(framed(|output| large.encode(5, 100, output)).body).unwrap();
    assert!(matches!(&told, (5, Outcome::Unknown { reason }) if reason.contains("118 bytes")), "{told:?}");
    let wordy = Outcome::Never { reason: "ü".repeat(5000) };
    let told = Outcome::decode(framed(|output| wordy.encode(5, 1 << 20, output)).body).unwrap();
    assert_eq!(told.1, Outcome::Never { reason: "ü".repeat(512) });
}

#[test]
fn damaged_bodies_never_panic() {
    let mut random = Random::new(8);
    let bodies: Vec<Bytes> =
        outcomes().iter().map(|outcome| framed(|out| outcome.encode(5, 1 << 20, out)).body).collect();
    for _ in 0..20_000 {
        let mut body = bodies[usize::try_from(random.below(5)).unwrap()].to_vec();
        body.truncate(usize::try_from(random.below(body.len() as u64 + 1)).unwrap());
        for byte in &mut body {
            if random.below(5) == 0 {
                *byte = random.next().to_le_bytes()[0];
            }
        }
        let body = Bytes::from(body);
        let _decoded = (Request::decode(body.clone()), Leader::decode(body.clone()), welcome(body.clone()));
        if let Ok((id, outcome)) = Outcome::decode(body.clone()) {
            assert_eq!(framed(|output| outcome.encode(id, 1 << 20, output)).body, body);
        }
    }
}

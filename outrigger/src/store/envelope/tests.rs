//! The layout byte by byte, and what hostile bytes come to.

use super::*;
use crate::network::random::Random;

fn encoded(payload: &Payload) -> Bytes {
    let mut out = Vec::new();
    encode(payload, &mut out);
    Bytes::from(out)
}

fn ids(ids: &[u64]) -> NodeSet {
    ids.iter().map(|id| NodeId(*id)).collect()
}

fn joint() -> Membership {
    let node = |address: &str| Node { address: address.to_owned() };
    let nodes = [(1, "a:1"), (2, "b:2"), (3, ""), (300, "zürich:9")].map(|(id, address)| (NodeId(id), node(address)));
    let goal = Goal { voters: ids(&[1, 2]), members: ids(&[1, 2, 300]), added: ids(&[300]) };
    Membership::from_parts(ids(&[1, 2]), ids(&[1, 3]), nodes.into(), Some(goal)).unwrap()
}

/// Node 300 alone is bound, by an entry that has the members of 2/7, in a cluster of version 2 that was founded.
fn kept() -> Membership {
    let binding = Binding { directory: 0x0102, at: LogId::new(3, 9) };
    let bound = joint().with_bindings([(NodeId(300), binding)].into(), Some(LogId::new(2, 7)));
    bound.unwrap().with_version(Version(2)).founded(Founding(0x0304))
}

fn some_payloads() -> Vec<Payload> {
    let bodies = [
        Body::Blank,
        Body::Command(Bytes::new()),
        Body::Command(Bytes::from_static(&[0, 0x80, 255])),
        Body::Membership(Arc::new(Membership::default())),
        Body::Membership(Arc::new(joint())),
        Body::Membership(Arc::new(kept())),
        Body::Membership(Arc::new(joint().with_version(Version(0x0102)))),
        Body::Membership(Arc::new(joint().founded(Founding(u64::MAX)))),
        Body::RegisterSession { time_to_live_ms: 3_600_000 },
    ];
    let sessions = [(0, 0), (7, 0), (0, 7), (u64::MAX, u64::MAX)];
    let payload =
        |body: &Body, (session, sequence)| Payload { session: SessionId(session), sequence, body: body.clone() };
    bodies.iter().flat_map(|body| sessions.map(|session| payload(body, session))).collect()
}

#[test]
fn the_layout_is_fixed_byte_by_byte() {
    assert_eq!(&encoded(&Payload::blank())[..], [1]);
    assert_eq!(&encoded(&Payload::command(Bytes::from_static(b"xy")))[..], b"\x02xy");
    let in_session = Payload { session: SessionId(0x0102), sequence: 3, body: Body::Blank };
    assert_eq!(&encoded(&in_session)[..], [0x81, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(&encoded(&Payload::register_session(0x0102))[..], [4, 2, 1, 0, 0, 0, 0, 0, 0]);
    let membership = encoded(&Payload::membership(Arc::new(joint())));
    #[rustfmt::skip]
    assert_eq!(&membership[..], [
        &[3, 0][..],
        &[1, 0, 0, 0, 0, 0, 0, 0,   15, 3, 0, 0, 0], b"a:1",
        &[2, 0, 0, 0, 0, 0, 0, 0,   13, 3, 0, 0, 0], b"b:2",
        &[3, 0, 0, 0, 0, 0, 0, 0,   2,  0, 0, 0, 0], b"",
        &[44, 1, 0, 0, 0, 0, 0, 0,  24, 9, 0, 0, 0], "zürich:9".as_bytes(),
    ].concat());
    let kept = encoded(&Payload::membership(Arc::new(kept())));
    #[rustfmt::skip]
    assert_eq!(&kept[..], [
        &[3, 7][..],
        &[2, 0, 0, 0, 0, 0, 0, 0,   7, 0, 0, 0, 0, 0, 0, 0,   2, 0,   4, 3, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0, 0, 0, 0,   15, 3, 0, 0, 0], b"a:1",
        &[2, 0, 0, 0, 0, 0, 0, 0,   13, 3, 0, 0, 0], b"b:2",
        &[3, 0, 0, 0, 0, 0, 0, 0,   2,  0, 0, 0, 0], b"",
        &[44, 1, 0, 0, 0, 0, 0, 0,  56, 9, 0, 0, 0], "zürich:9".as_bytes(),
            &[2, 1, 0, 0, 0, 0, 0, 0,   3, 0, 0, 0, 0, 0, 0, 0,   9, 0, 0, 0, 0, 0, 0, 0],
    ].concat());
}

#[test]
fn every_payload_comes_back() {
    for payload in some_payloads() {
        let bytes = encoded(&payload);
        assert_eq!(bytes.len(), encoded_len(&payload));
        assert_eq!(decode(bytes), Ok(payload));
    }
}

#[test]
fn a_command_is_a_slice_of_the_input() {
    let bytes = encoded(&Payload::command(Bytes::from(vec![9; 100])));
    let Ok(Payload { body: Body::Command(command), .. }) = decode(bytes.clone()) else { panic!("a command") };
    assert_eq!(command.as_ptr(), bytes[1..].as_ptr());
}

#[test]
fn each_kind_of_nonsense_has_its_error() {
    let refused = |bytes: &[u8]| decode(Bytes::copy_from_slice(bytes)).unwrap_err();
    let node = |id: u8, role: u8, address: &[u8]| {
        [&[id, 0, 0, 0, 0, 0, 0, 0, role, u8::try_from(address.len()).unwrap(), 0, 0, 0], address].concat()
    };
    let headed = |head: &[u8]| [&[3], head, &node(1, 1, b"a")].concat();
    let members = |nodes: &[Vec<u8>]| [&[3, 0][..], &nodes.concat()].concat();
    assert_eq!(refused(&[]), EnvelopeError::Short { needed: 1, found: 0 });
    assert_eq!(refused(&[0]), EnvelopeError::UnknownKind { kind: 0 });
    assert_eq!(refused(&[5, 1]), EnvelopeError::UnknownKind { kind: 5 });
    assert_eq!(refused(&[1, 1]), EnvelopeError::BlankWithBody { bytes: 1 });
    assert_eq!(refused(&[4, 1]), EnvelopeError::Short { needed: 8, found: 1 });
    assert_eq!(refused(&[4, 0, 0, 0, 0, 0, 0, 0, 0, 1]), EnvelopeError::SessionWithBody { bytes: 1 });
    assert_eq!(refused(&[0x81, 1, 0]), EnvelopeError::Short { needed: 8, found: 2 });
    assert_eq!(refused(&[&[0x82][..], &[0; 16]].concat()), EnvelopeError::EmptySession);
    assert_eq!(refused(&[3]), EnvelopeError::Short { needed: 1, found: 0 });
    assert_eq!(refused(&headed(&[8])), EnvelopeError::UnknownParts { parts: 8 });
    assert_eq!(refused(&headed(&[2, 1, 0])), EnvelopeError::UnknownParts { parts: 2 }, "the first version is not said");
    assert_eq!(
        refused(&headed(&[&[4][..], &[0; 8]].concat())),
        EnvelopeError::UnknownParts { parts: 4 },
        "nothing is said"
    );
    assert_eq!(refused(&[3, 2, 2, 0]), EnvelopeError::UnknownParts { parts: 2 }, "of nobody");
    for role in [64, 128] {
        let unknown = EnvelopeError::UnknownRole { node: NodeId(2), role };
        assert_eq!(refused(&members(&[node(1, 1, b"a"), node(2, role, b"")])), unknown);
    }
    assert_eq!(refused(&members(&[node(1, 2, b"")])), EnvelopeError::ContradictoryMembership, "joint without a goal");
    assert_eq!(refused(&members(&[node(1, 1, b"\xff")])), EnvelopeError::BadAddress { node: NodeId(1) });
    let twice = EnvelopeError::Unsorted { before: NodeId(2), found: NodeId(2) };
    assert_eq!(refused(&members(&[node(2, 1, b"a"), node(2, 1, b"b")])), twice);
    let back = EnvelopeError::Unsorted { before: NodeId(2), found: NodeId(1) };
    assert_eq!(refused(&members(&[node(2, 1, b"a"), node(1, 1, b"b")])), back);
}

#[test]
fn a_hostile_length_is_refused_before_anything_is_allocated() {
    let node = [&[3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1][..], &u32::MAX.to_le_bytes()].concat();
    assert_eq!(decode(Bytes::from(node)), Err(EnvelopeError::Short { needed: u32::MAX as usize, found: 0 }));
}

#[test]
fn what_decodes_encodes_to_the_same_bytes() {
    let mut random = Random::new(11);
    let mut decoded = 0;
    for round in 0..60_000 {
        let mut bytes = match some_payloads().get(round % 45) {
            Some(payload) => encoded(payload).to_vec(),
            None => (0..random.below(40)).map(|_| random.next().to_le_bytes()[0]).collect(),
        };
        if !bytes.is_empty() && random.below(4) > 0 {
            let place = usize::try_from(random.below(bytes.len() as u64)).unwrap();
            bytes[place] ^= 1 << random.below(8);
        }
        bytes.truncate(usize::try_from(random.below(bytes.len() as u64 * 2 + 1)).unwrap());
        let bytes = Bytes::from(bytes);
        if let Ok(payload) = decode(bytes.clone()) {
            assert_eq!(encoded(&payload), bytes, "{payload:?}");
            decoded += 1;
        }
    }
    assert!(decoded > 10_000, "only {decoded} of the cases decoded");
}

#[test]
fn equal_memberships_are_equal_bytes() {
    let node = |id: u64| (NodeId(id), Node { address: format!("h:{id}") });
    let mut forward = Vec::new();
    encode_membership(&Membership::new([node(1), node(2), node(3)], [node(4)]), &mut forward);
    let mut backward = Vec::new();
    encode_membership(&Membership::new([node(3), node(2), node(1)], [node(4)]), &mut backward);
    assert_eq!(forward, backward);
}

#[test]
fn where_nobody_is_a_member_nothing_is_said_of_all() {
    let nobody = Membership::new([], []).with_version(Version(2)).founded(Founding(3));
    let nobody = Payload::membership(Arc::new(nobody));
    assert_eq!(encoded(&nobody)[..], [3, 0]);
    assert_eq!(encoded_len(&nobody), 2);
}

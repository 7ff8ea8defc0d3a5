//! Hellos and rejections there and back, and who is refused for what.

use bytes::BytesMut;

use super::*;
use crate::network::frame::split;

fn local(node: u64) -> Local {
    let peer = Peer::new(NodeId(node), Incarnation { id: 10 + node, start: 2, nonce: 5 });
    let peer = peer.of(Genesis(9)).founded(Founding(12));
    let (client_address, peer_address) = (Some(format!("[::1]:720{node}")), Some(format!("[::1]:710{node}")));
    Local { cluster: 77, peer, client_address, peer_address }
}

fn frame(output: &FrameBuffer) -> Frame {
    split(&mut BytesMut::from(&output.to_vec()[..]), BODY_BYTES_MAX).unwrap().unwrap()
}

fn framed(hello: &Hello) -> Frame {
    let mut output = FrameBuffer::default();
    hello.encode(&mut output).unwrap();
    frame(&output)
}

#[test]
fn a_hello_comes_back_and_is_taken() {
    let hello = Hello::new(&local(1), NodeId(2));
    assert_eq!(Hello::decode(framed(&hello)), Ok(hello.clone()));
    assert_eq!(hello.check(&local(2), None), Ok(()));
    assert_eq!(Hello::new(&local(2), NodeId(1)).check(&local(1), Some(NodeId(2))), Ok(()));
    let silent = Hello { client_address: None, peer_address: None, ..hello.clone() };
    assert_eq!(Hello::decode(framed(&silent)), Ok(silent));
    let peer = hello.peer.speaking(Version(3)).claiming(Some(LogId::new(4, 5))).founded(Founding(6));
    let other = Hello { peer, ..hello };
    assert_eq!(Hello::decode(framed(&other)), Ok(other));
}

#[test]
fn a_hello_says_a_version_that_there_can_be() {
    let hello = framed(&Hello::new(&local(1), NodeId(2)));
    // Behind what names the protocol, and ten numbers.
    let at = 8 + 4 + 10 * 8;
    let said = |version: u32| {
        let mut body = hello.body.to_vec();
        body[at..at + 4].copy_from_slice(&version.to_le_bytes());
        Hello::decode(Frame { body: body.into(), ..hello.clone() }).map(|hello| hello.peer.version)
    };
    assert_eq!(said(9), Ok(Version(9)));
    assert_eq!([0, 0x1_0001].map(said), [Err(Rejection::NoHello), Err(Rejection::NoHello)]);
}

#[test]
fn each_misfit_is_refused_by_name() {
    let refused = |change: fn(&mut Hello), dialled| {
        let mut hello = Hello::new(&local(1), NodeId(2));
        change(&mut hello);
        hello.check(&local(2), dialled).unwrap_err()
    };
    assert_eq!(refused(|hello| hello.cluster = 78, None), Rejection::Cluster { ours: 77, theirs: 78 });
    let wrong = Rejection::WrongNode { asked: NodeId(3), found: NodeId(2) };
    assert_eq!(refused(|hello| hello.target = NodeId(3), None), wrong);
    let wrong = Rejection::WrongNode { asked: NodeId(3), found: NodeId(1) };
    assert_eq!(refused(|_| (), Some(NodeId(3))), wrong);
    assert_eq!(refused(|hello| hello.peer.node = NodeId(2), None), Rejection::OwnId { node: NodeId(2) });
    let other = Rejection::Genesis { ours: Genesis(9), theirs: Genesis(8) };
    assert_eq!(refused(|hello| hello.peer.genesis = Genesis(8), None), other);
    let other = Rejection::Founding { ours: Founding(12), theirs: Founding(13) };
    assert_eq!(refused(|hello| hello.peer.founding = Founding(13), None), other);
}

#[test]
fn who_does_not_know_the_initial_membership_yet_is_taken() {
    let unknown = |peer: Peer| peer.of(Genesis::UNKNOWN).founded(Founding::UNKNOWN);
    let joining = |node| Local { peer: unknown(local(node).peer), ..local(node) };
    assert_eq!(Hello::new(&joining(1), NodeId(2)).check(&local(2), None), Ok(()));
    assert_eq!(Hello::new(&local(1), NodeId(2)).check(&joining(2), None), Ok(()));
}

#[test]
fn a_hello_of_another_protocol_version_is_refused_whatever_follows() {
    let mut output = FrameBuffer::default();
    let body = |body: &mut FrameBuffer| {
        body.put_u64(MAGIC);
        body.put_u32(2);
        body.put_slice(b"a layout of the future");
    };
    output.frame(kind::HELLO, 0, BODY_BYTES_MAX, body).unwrap();
    assert_eq!(Hello::decode(frame(&output)), Err(Rejection::Protocol { ours: 1, theirs: 2 }));
}

#[test]
fn what_is_no_hello_is_refused() {
    let hello = framed(&Hello::new(&local(1), NodeId(2)));
    for cut in 0..hello.body.len() {
        let body = hello.body.slice(..cut);
        assert_eq!(Hello::decode(Frame { body, ..hello.clone() }), Err(Rejection::NoHello), "cut at {cut}");
    }
    assert_eq!(Hello::decode(Frame { kind: kind::PING, ..hello.clone() }), Err(Rejection::NoHello));
    let mut body = hello.body.to_vec();
    body[0] ^= 1;
    assert_eq!(Hello::decode(Frame { body: body.into(), ..hello }), Err(Rejection::NoHello));
}

#[test]
fn every_rejection_comes_back() {
    let all = [
        Rejection::NoHello,
        Rejection::Protocol { ours: 1, theirs: 2 },
        Rejection::Cluster { ours: 3, theirs: 4 },
        Rejection::WrongNode { asked: NodeId(5), found: NodeId(6) },
        Rejection::OwnId { node: NodeId(7) },
        Rejection::Genesis { ours: Genesis(8), theirs: Genesis(9) },
        Rejection::Full { limit: 10 },
        Rejection::NotMember { node: NodeId(4) },
        Rejection::Founding { ours: Founding(11), theirs: Founding(12) },
        Rejection::Peer { reason: "wiped".to_owned(), met: None },
        Rejection::Peer { reason: "old".to_owned(), met: Some(Incarnation { id: 1, start: 2, nonce: 3 }) },
    ];
    for rejection in all {
        let mut output = FrameBuffer::default();
        rejection.encode(&mut output).unwrap();
        assert_eq!(Rejection::decode(frame(&output).body), Ok(rejection));
    }
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let mut output = FrameBuffer::default();
    Rejection::Peer { reason: "ü".repeat(TEXT_BYTES_MAX), met: None }.encode(&mut output).unwrap();
    let expected = Rejection::Peer { reason: "ü".repeat(TEXT_BYTES_MAX / 2), met: None };
    assert_eq!(Rejection::decode(frame(&output).body), Ok(expected));
}

/// A hello that does not fit is never sent: the node would reach nobody.
#[test]
fn an_address_that_is_too_long_to_be_said_is_not_said() {
    let long = || Some("a".repeat(TEXT_BYTES_MAX + 1));
    let longest = "a".repeat(TEXT_BYTES_MAX);
    let local = Local { client_address: long(), peer_address: Some(longest.clone()), ..local(1) };
    let hello = Hello::new(&local, NodeId(2));
    assert_eq!((&hello.client_address, &hello.peer_address), (&None, &Some(longest)));
    assert_eq!(Hello::decode(framed(&hello)), Ok(hello));
    let local = Local { peer_address: long(), ..local };
    assert_eq!(Hello::new(&local, NodeId(2)).peer_address, None);
}

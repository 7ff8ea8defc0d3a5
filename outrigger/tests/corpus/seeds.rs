//! What our own encoders make is in the corpora, as `valid-*`, and the first half of each, as `cut-*`: so that a fuzzer need not guess
//! the layouts.
//!
//! When a layout gets something new, `UPDATE_CORPORA=1 cargo test --package outrigger --test corpus` writes it anew; what is not made
//! any more stays.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use outrigger::engine::{
    AppendEntries, AppendEntriesReply, AppendOutcome, Batch, Binding, Body, Epoch, Founding, Genesis, Goal, Heartbeat,
    HeartbeatReply, Incarnation, LogId, LogIndex, LogTime, Membership, Message, Node, NodeId, NodeMap, Payload, Peer,
    Proof, Refusal, RequestId, Round, SessionId, StateHash, Term, Version, VoteReply, VoteRequest, Warrant,
};
use outrigger::network::codec;
use outrigger::network::frame::{self, BODY_BYTES_MAX, Frame, FrameBuffer};
use outrigger::network::handshake::{Hello, Rejection};
use outrigger::runtime::sessions::{SessionLimits, Sessions};
use outrigger::store::envelope;
use outrigger::store::snapshots::{Moment, encode_head};
use outrigger_log::{FaultyDisk, GroupId, Log, LogPosition, OpenOptions, PeerIdentity, Record, Snapshots};

type Seeds = BTreeMap<String, Vec<u8>>;

/// Everything that is made, by corpus.
fn all() -> Result<[(&'static str, Seeds); 10], Box<dyn Error>> {
    let [segments, records, identities] = log_files()?;
    let (messages, frames) = messages()?;
    Ok([
        ("log_segment", segments),
        ("log_records", records),
        ("log_identity", identities),
        ("log_snapshot", snapshots()?),
        ("wire_frames", frames),
        ("wire_message", messages),
        ("wire_handshake", handshakes()?),
        ("wire_client", client_frames()),
        ("envelope", envelopes()),
        ("snapshot", snapshot_beginnings()?),
    ])
}

#[test]
fn the_corpora_have_what_our_own_encoders_make_today() -> Result<(), Box<dyn Error>> {
    let writes = std::env::var_os("UPDATE_CORPORA").is_some();
    for (corpus, seeds) in all()? {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(corpus);
        let halves = seeds.iter().filter_map(|(name, bytes)| {
            Some((format!("cut-{}", name.strip_prefix("valid-")?), bytes[..bytes.len() / 2].to_vec()))
        });
        for (name, bytes) in seeds.clone().into_iter().chain(halves) {
            let path = directory.join(name);
            if writes {
                fs::write(&path, bytes)?;
                continue;
            }
            let is_same = fs::read(&path).is_ok_and(|held| held == bytes);
            assert!(is_same, "{} is not what is made today: UPDATE_CORPORA=1 writes it anew", path.display());
        }
    }
    Ok(())
}

/// Whole segments, what stands within them, and identities: all as a log writes them.
fn log_files() -> Result<[Seeds; 3], Box<dyn Error>> {
    let directory = Path::new("/log");
    let options = OpenOptions { segment_bytes: 4_096, ..OpenOptions::new(7, 1, 0xfeed, 0xbeef) };
    let (mut segments, mut records, mut identities) = (Seeds::new(), Seeds::new(), Seeds::new());
    for (name, workload) in workloads() {
        let disk = FaultyDisk::new();
        let mut log = Log::open(disk.clone(), directory, options)?;
        workload(&mut log)?;
        let path = directory.join("00000000000000000001.segment");
        let image = disk.bytes_of(&path).ok_or("no segment")?;
        let body = image.get(512..image.len() - 512).unwrap_or_default();
        let used = body.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        records.insert(format!("valid-{name}"), body[..used].to_vec());
        let is_sealed = disk.files().contains_key(&directory.join("00000000000000000002.segment"));
        segments.insert(format!("{}-{name}", if is_sealed { "sealed" } else { "valid" }), image);
        log.refuse(3, PeerIdentity { incarnation: 1, start: 2, nonce: 3 })?;
        let of = |name: &str| disk.bytes_of(&directory.join(name)).unwrap_or_default();
        for choice in [0, 2] {
            identities.insert(format!("valid-identity-{choice}-{name}"), [&[choice][..], &of("identity")].concat());
            identities.insert(format!("refused-{choice}-{name}"), [&[choice + 1][..], &of("refused")].concat());
        }
    }
    Ok([segments, records, identities])
}

/// Whole snapshots and receptions, as they are and to be mended.
fn snapshots() -> Result<Seeds, Box<dyn Error>> {
    let (directory, position) = (Path::new("/log"), LogPosition { term: 2, index: 9 });
    let mut seeds = Seeds::new();
    for (name, head, length) in [("empty", 0, 0), ("small", 5, 90), ("head", 300, 1), ("blocks", 9, (64 << 10) + 7)] {
        let disk = FaultyDisk::new();
        let snapshots = Snapshots::open(disk.clone(), directory, 7)?;
        let mut build = snapshots.build(position, Bytes::from(vec![3; head]))?;
        build.write_all(&vec![7; length])?;
        build.finish()?;
        let path = directory.join("snapshots/snapshot-00000000000000000009-00000000000000000002");
        let file = disk.bytes_of(&path).ok_or("no snapshot")?;
        // A large one once, and of an empty one nothing is ever held.
        let choices: &[u8] = if length > 1_000 { &[1] } else { &[0, 1, 2, 3, 4, 5] };
        for choice in choices {
            let is_held = choice & 1 == 0 || length > 0;
            let prefix = if is_held { "valid" } else { "nothing" };
            seeds.insert(format!("{prefix}-{choice}-{name}"), [&[*choice][..], &file].concat());
        }
    }
    Ok(seeds)
}

type Workload = fn(&mut Log<FaultyDisk>) -> Result<(), Box<dyn Error>>;

fn workloads() -> [(&'static str, Workload); 6] {
    [
        ("vote", |log| {
            log.append(GroupId(1), Record::Vote { term: 3, voted_for: Some(2) })?;
            log.append(GroupId(2), Record::Vote { term: 4, voted_for: None })?;
            Ok(log.flush()?)
        }),
        ("entries", |log| {
            entries(log, 1, 3, 20, false)?;
            entries(log, 2, 2, 0, true)?;
            Ok(log.flush()?)
        }),
        ("groups", |log| {
            entries(log, 1, 2, 5, false)?;
            log.flush()?;
            log.append(GroupId(1), Record::Committed { index: 1 })?;
            log.flush()?;
            log.append(GroupId(1), Record::Truncate { after: 1 })?;
            entries(log, 2, 1, 30, true)?;
            log.flush()?;
            Ok(log.mark()?)
        }),
        ("purge", |log| {
            entries(log, 1, 4, 9, false)?;
            log.append(GroupId(1), Record::Committed { index: 3 })?;
            log.append(GroupId(1), Record::Purge { through: LogPosition { term: 1, index: 2 } })?;
            log.flush()?;
            log.append(GroupId(1), Record::Purge { through: LogPosition { term: 5, index: 9 } })?;
            Ok(log.flush()?)
        }),
        ("peers", |log| {
            for node in 1..4 {
                let identity = PeerIdentity { incarnation: node, start: 2, nonce: 3 };
                log.append(GroupId(2), Record::Peer { node, identity })?;
            }
            Ok(log.flush()?)
        }),
        ("footer", |log| {
            log.append(GroupId(2), Record::Peer { node: 2, identity: PeerIdentity::default() })?;
            log.append(GroupId(1), Record::Vote { term: 3, voted_for: Some(2) })?;
            entries(log, 1, 2, 30, true)?;
            log.append(GroupId(1), Record::Committed { index: 1 })?;
            log.flush()?;
            entries(log, 2, 2, 500, false)?;
            log.flush()?;
            entries(log, 2, 2, 900, false)?;
            Ok(log.flush()?)
        }),
    ]
}

fn entries(
    log: &mut Log<FaultyDisk>,
    term: u64,
    count: usize,
    bytes: usize,
    marked: bool,
) -> Result<(), Box<dyn Error>> {
    let first = log.group(GroupId(1)).map_or(0, |state| state.last.index) + 1;
    let payloads = vec![Bytes::from(vec![7; bytes]); count];
    Ok(log.append(GroupId(1), Record::Entries { term, first, log_time: 5, payloads: &payloads, marked })?)
}

fn payloads() -> Vec<(&'static str, Payload)> {
    let node = |address: &str| Node { address: address.to_owned() };
    let nodes: NodeMap<Node> = [(NodeId(1), node("a:1")), (NodeId(2), node("[::1]:2")), (NodeId(3), node("ü"))].into();
    let goal = Goal {
        voters: [NodeId(1), NodeId(2)].into(),
        members: [NodeId(1), NodeId(2)].into(),
        added: [NodeId(2)].into(),
    };
    let joint = Membership::from_parts([NodeId(1), NodeId(2)].into(), [NodeId(1)].into(), nodes, Some(goal));
    let joint = joint.expect("voters are nodes");
    let founded = joint.clone().with_version(Version(2)).founded(Founding(6));
    let binding = Binding { directory: 7, at: LogId::new(1, 3) };
    let bound = founded.with_bindings([(NodeId(2), binding)].into(), Some(LogId::new(0, 1)));
    let (membership, bound) = (Body::Membership(Arc::new(joint)), Body::Membership(Arc::new(bound.expect("a node"))));
    let plain = |body| Payload { session: SessionId(0), sequence: 0, body };
    let in_session = |body| Payload { session: SessionId(5), sequence: 6, body };
    let command = || Body::Command(Bytes::from_static(b"set x"));
    vec![
        ("blank", plain(Body::Blank)),
        ("command", plain(command())),
        ("empty", plain(Body::Command(Bytes::new()))),
        ("membership", plain(membership.clone())),
        ("membership-bound", plain(bound)),
        ("register-session", plain(Body::RegisterSession { time_to_live_ms: 3_600_000 })),
        ("session-blank", in_session(Body::Blank)),
        ("session-command", in_session(command())),
        ("session-membership", in_session(membership)),
    ]
}

fn envelopes() -> Seeds {
    let encoded = |(name, payload): (&str, Payload)| {
        let mut bytes = Vec::new();
        envelope::encode(&payload, &mut bytes);
        (format!("valid-{name}"), bytes)
    };
    payloads().into_iter().map(encoded).collect()
}

/// Heads and tables of sessions, as they stand in snapshots.
fn snapshot_beginnings() -> Result<Seeds, Box<dyn Error>> {
    let mut all = Seeds::new();
    for (name, payload) in payloads() {
        let Body::Membership(membership) = payload.body else { continue };
        let (last, log_time, membership_at) = (LogId::new(3, 900), LogTime(12_345), LogId::new(2, 7));
        let head = encode_head(&Moment { last, log_time, membership_at, membership }, Genesis(0xfeed));
        all.insert(format!("valid-head-{name}"), [&[0][..], &head].concat());
    }
    let mut sessions = Sessions::new(SessionLimits::STANDARD);
    let mut table = |name: &str, sessions: &Sessions| {
        let mut bytes = vec![1];
        sessions.write(&mut bytes)?;
        all.insert(format!("valid-table-{name}"), bytes);
        Ok::<(), Box<dyn Error>>(())
    };
    table("empty", &sessions)?;
    for (index, session) in [(4, "one"), (5, "two"), (6, "three")] {
        let _ = sessions.admit(LogIndex(index), LogTime(index), &Payload::register_session(60_000));
        table(&format!("registered-{session}"), &sessions)?;
        for sequence in [1, 3, 2] {
            let command = Payload::command(Bytes::from_static(b"set x")).in_session(SessionId(index), sequence);
            let _ = sessions.admit(LogIndex(10 * index + sequence), LogTime(index), &command);
            match sequence {
                1 => sessions.keep(&command, Bytes::from_static(b"done")),
                3 => sessions.keep(&command, Bytes::new()),
                _ => sessions.keep_nothing(&command),
            }
        }
        table(&format!("kept-{session}"), &sessions)?;
    }
    // What announces far more than it brings.
    all.insert("hostile-sessions".to_owned(), [&[1, 1][..], &[0xff; 4], &[0; 60]].concat());
    all.insert("hostile-responses".to_owned(), [&[1, 1, 1, 0, 0, 0][..], &[1; 40], &[0xff; 4], &[0; 60]].concat());
    all.insert("hostile-members".to_owned(), [&[0, 1][..], &[0; 32], &[0xff; 4], &[0; 60]].concat());
    Ok(all)
}

/// The bodies behind their kinds, and the frames.
fn messages() -> Result<(Seeds, Seeds), Box<dyn Error>> {
    let (mut bodies, mut frames) = (Seeds::new(), Seeds::new());
    for (name, message) in every_message() {
        let mut output = FrameBuffer::default();
        codec::encode(&message, 1, BODY_BYTES_MAX, &mut output)?;
        frames.insert(format!("valid-{name}"), output.to_vec());
        bodies.insert(format!("valid-{name}"), kind_and_body(&output)?);
    }
    let several: Vec<u8> = frames.values().take(4).flatten().copied().collect();
    frames.insert("valid-several".to_owned(), several);
    // What announces far more than it brings.
    for (name, kind, before) in [("propose", 27, 16), ("append", 20, 48)] {
        let body = [&[kind][..], &vec![1; before], &[0xff; 4], &[0; 60]].concat();
        bodies.insert(format!("hostile-count-{name}"), body);
    }
    let length = u32::try_from(BODY_BYTES_MAX)?.to_le_bytes();
    frames.insert("hostile-length".to_owned(), [&length[..], &[0; 4], &[1, 16], &[0; 36]].concat());
    Ok((bodies, frames))
}

fn every_message() -> Vec<(&'static str, Message)> {
    let (term, request, id) = (Term(3), RequestId(9), LogId::new(2, 7));
    let (epoch, round, commit) = (Epoch(4), Round(5), LogIndex(6));
    let entries: Arc<[Payload]> = payloads().into_iter().map(|(_, payload)| payload).collect();
    let batch = |first| Batch::new(LogId::new(3, first), LogTime(8), Arc::clone(&entries));
    let append = |batches| AppendEntries { term, epoch, request, prev: id, batches, commit };
    let answer = |outcome| Message::AppendEntriesReply(AppendEntriesReply { term, epoch, request, outcome });
    let refused = |refusal| Message::ProposeReply { request, outcome: Err(refusal) };
    vec![
        ("pre-vote", Message::PreVote(VoteRequest { term, last: id, warrant: Warrant::Operator })),
        ("pre-vote-reply", Message::PreVoteReply(VoteReply { term, asked: term, granted: true })),
        ("request-vote", Message::RequestVote(VoteRequest { term, last: id, warrant: Warrant::Operator })),
        ("request-vote-reply", Message::RequestVoteReply(VoteReply { term, asked: term, granted: false })),
        ("append", Message::AppendEntries(append([batch(8), batch(15)].into_iter().collect()))),
        ("append-nothing", Message::AppendEntries(append(std::iter::empty().collect()))),
        ("append-matched", answer(AppendOutcome::Matched(commit))),
        ("append-conflict", answer(AppendOutcome::Conflict { hint: id })),
        ("append-stale", answer(AppendOutcome::Stale)),
        ("heartbeat", Message::Heartbeat(Heartbeat { term, round, commit, pledge: Duration::ZERO })),
        (
            "heartbeat-reply",
            Message::HeartbeatReply(HeartbeatReply { term, asked: term, round, received: commit, matched: commit }),
        ),
        ("committed", Message::Committed { term, commit }),
        ("read-index", Message::ReadIndex { term, request, proof: Proof::Round }),
        ("read-index-reply", Message::ReadIndexReply { request, outcome: Ok(commit) }),
        ("read-index-refused", Message::ReadIndexReply { request, outcome: Err(Refusal::NoLeader) }),
        ("propose", Message::Propose { term, request, entries }),
        ("propose-reply", Message::ProposeReply { request, outcome: Ok(id) }),
        ("propose-overloaded", refused(Refusal::Overloaded { current: 9, limit: 8 })),
        ("hash-state", Message::HashState { term, at: commit }),
        ("state-hashed", Message::StateHashed { at: commit, hash: StateHash(7) }),
        ("state-differs", Message::StateDiffers { term, at: commit, agreed: StateHash(7) }),
        ("propose-too-large", refused(Refusal::EntryTooLarge { bytes: 9, limit: 8 })),
    ]
}

/// The kind and the body of the one frame in there.
fn kind_and_body(output: &FrameBuffer) -> Result<Vec<u8>, Box<dyn Error>> {
    let found = frame::split(&mut BytesMut::from(&output.to_vec()[..]), BODY_BYTES_MAX)?;
    let Frame { kind, body, .. } = found.ok_or("no whole frame")?;
    Ok([&[kind][..], &body].concat())
}

fn handshakes() -> Result<Seeds, Box<dyn Error>> {
    let mut seeds = Seeds::new();
    let incarnation = Incarnation { id: 1, start: 2, nonce: 3 };
    for (name, address) in [("hello", None), ("hello-address", Some("127.0.0.1:7201".to_owned()))] {
        let peer = Peer::new(NodeId(1), incarnation).of(Genesis(5)).founded(Founding(6));
        let (target, client_address, peer_address) = (NodeId(2), address.clone(), address);
        let hello = Hello { cluster: 7, peer, target, client_address, peer_address };
        let mut output = FrameBuffer::default();
        hello.encode(&mut output)?;
        seeds.insert(format!("valid-{name}"), [&[0][..], &kind_and_body(&output)?[1..]].concat());
    }
    let rejections = [
        Rejection::NoHello,
        Rejection::Protocol { ours: 1, theirs: 2 },
        Rejection::Cluster { ours: 1, theirs: 2 },
        Rejection::WrongNode { asked: NodeId(1), found: NodeId(2) },
        Rejection::OwnId { node: NodeId(1) },
        Rejection::Genesis { ours: Genesis(1), theirs: Genesis(2) },
        Rejection::Founding { ours: Founding(1), theirs: Founding(2) },
        Rejection::Full { limit: 9 },
        Rejection::Peer { reason: "wiped".to_owned(), met: None },
        Rejection::Peer { reason: "copied".to_owned(), met: Some(incarnation) },
        Rejection::NotMember { node: NodeId(4) },
    ];
    for (at, rejection) in rejections.iter().enumerate() {
        let mut output = FrameBuffer::default();
        rejection.encode(&mut output)?;
        seeds.insert(format!("valid-rejection-{at}"), [&[1][..], &kind_and_body(&output)?[1..]].concat());
    }
    Ok(seeds)
}

/// The frames between clients and nodes, by hand: their encoders are no part of the interface.
fn client_frames() -> Seeds {
    let numbers = |numbers: &[u64]| -> Vec<u8> { numbers.iter().flat_map(|number| number.to_le_bytes()).collect() };
    let text = |text: &str| [&u32::try_from(text.len()).unwrap_or(0).to_le_bytes()[..], text.as_bytes()].concat();
    let seed =
        |name: &str, kind: u8, parts: &[&[u8]]| (format!("valid-{name}"), [&[kind][..], &parts.concat()].concat());
    let mut seeds = Seeds::from([
        seed("hello", 64, &[b"OUTRCLNT", &[1, 0, 0, 0], &numbers(&[7])]),
        seed("welcome", 65, &[&numbers(&[7, 2])]),
        seed("leader", 68, &[&numbers(&[3]), &text("127.0.0.1:7201")]),
        seed("leader-unknown", 68, &[&numbers(&[3]), &text("")]),
        seed("done", 67, &[&numbers(&[5]), &[0], &numbers(&[9]), b"answer"]),
        seed("not-now", 67, &[&numbers(&[5]), &[1], &text("no leader")]),
        seed("never", 67, &[&numbers(&[5]), &[2], &text("too large")]),
        seed("unknown", 67, &[&numbers(&[5]), &[3], &text("lost")]),
    ]);
    let lease = [&[1][..], &numbers(&[0])].concat();
    seeds.extend([seed("request-9", 66, &[&numbers(&[5, 1_000]), &[9], &lease, b"body"])]);
    for operation in (1..=8).chain([10]) {
        seeds.extend([seed(&format!("request-{operation}"), 66, &[&numbers(&[5, 1_000]), &[operation], b"body"])]);
    }
    // Two voters, by the envelope of an entry without its kind.
    let member = |id: u64| [&numbers(&[id])[..], &[1], &text("a:1")].concat();
    let members = [&[0][..], &member(1), &member(2)].concat();
    let members_len = u32::try_from(members.len()).unwrap_or(0).to_le_bytes();
    let status = [
        &numbers(&[2])[..],
        &[1],
        &numbers(&[3]),
        &[1],
        &numbers(&[1, 3, 9, 8, 7, 6, 2, 5, 2, 4, 3, 7]),
        &members_len,
        &members,
        &1_u32.to_le_bytes(),
        &numbers(&[5, 4]),
        &1_u32.to_le_bytes(),
        &numbers(&[5, 100, 4_000_000]),
        &2_u32.to_le_bytes(),
        &1_u32.to_le_bytes(),
        &numbers(&[2]),
        &1_u32.to_le_bytes(),
        &1_u32.to_le_bytes(),
        &numbers(&[2]),
        &text("a:1"),
        &[1],
        &text("the disk is full"),
    ]
    .concat();
    let batch = [&[9][..], &2_u32.to_le_bytes(), &[2], &1_u32.to_le_bytes(), &numbers(&[4]), &text("a:4")].concat();
    let change = [&batch[..], &[3], &1_u32.to_le_bytes(), &numbers(&[1])].concat();
    let head = [&[1][..], &numbers(&[10_000]), &[1], &numbers(&[3]), &[0, 1], &numbers(&[3, 7])].concat();
    seeds.extend([
        seed("status", 0, &[&status]),
        seed("change", 1, &[&head, &change]),
        seed("changed", 2, &[&[0], &numbers(&[3, 9]), &members]),
        seed("wanted", 3, &[&numbers(&[1 << 20]), &[1]]),
        seed("opened", 4, &[&numbers(&[3, 9, 8]), &[7, 0, 0, 0], &4_u32.to_le_bytes(), b"headpiece of it"]),
        seed("lagging", 2, &[&[16], &numbers(&[4, 3, 10])]),
    ]);
    seeds
}

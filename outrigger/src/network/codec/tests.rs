//! Every message there and back; cut, damaged and invented ones.

use bytes::BytesMut;
use outrigger_engine::{Binding, Goal, LogId, Membership, Node, NodeId, NodeMap, NodeSet, SessionId};

use super::*;
use crate::network::frame::{BODY_BYTES_MAX, split};
use crate::network::random::Random;

/// What the cases of these tests are made of.
struct Cases(Random);

impl Cases {
    fn number(&mut self) -> u64 {
        match self.0.below(4) {
            0 => self.0.below(3),
            1 => u64::MAX - self.0.below(3),
            _ => self.0.next(),
        }
    }

    fn count(&mut self, bound: u64) -> usize {
        usize::try_from(self.0.below(bound)).unwrap()
    }

    fn id(&mut self) -> LogId {
        LogId::new(self.number(), self.number())
    }

    fn snapshot_id(&mut self) -> SnapshotId {
        SnapshotId { last: self.id(), bytes: self.number(), checksum: u32::MAX / 3 }
    }

    fn flag(&mut self) -> bool {
        self.0.below(2) == 0
    }

    fn membership(&mut self) -> Membership {
        let text = ["", "a:1", "10.0.0.1:7101", "zürich:9"];
        let nodes: NodeMap<Node> = (0..self.0.below(5))
            .map(|_| (NodeId(self.number()), Node { address: text[self.count(4)].to_owned() }))
            .collect();
        let mut some = |of: &NodeSet| of.iter().copied().filter(|_| self.flag()).collect::<NodeSet>();
        let ids: NodeSet = nodes.keys().copied().collect();
        let (voters, outgoing, members) = (some(&ids), some(&ids), some(&ids));
        let goal = Goal { voters: some(&members), added: some(&members), members };
        let whole = Membership::from_parts(voters.clone(), outgoing, nodes.clone(), Some(goal));
        // Not all of them are sound; a stable one with these voters always is.
        let whole =
            whole.or_else(|| Membership::from_parts(voters, NodeSet::new(), nodes, None)).expect("a stable membership");
        let bound = ids.into_iter().filter(|_| self.flag()).collect::<Vec<_>>();
        let binding = |(number, id)| (id, Binding { directory: number, at: LogId::new(number, 9) });
        let bindings: NodeMap<Binding> = (0..).zip(bound).map(binding).collect();
        let of = (!bindings.is_empty() && self.flag()).then(|| LogId::new(1, 2));
        whole.with_bindings(bindings, of).expect("only members are bound")
    }

    fn payload(&mut self) -> Payload {
        let body = match self.0.below(6) {
            0 => Body::Blank,
            1 => Body::Membership(Arc::new(self.membership())),
            2 => Body::Command(Bytes::from(vec![7; 4000 + self.count(200)])),
            _ => Body::Command((0..self.0.below(20)).map(|_| self.0.next().to_le_bytes()[0]).collect()),
        };
        let in_session = self.flag();
        let mut number = || if in_session { self.number() } else { 0 };
        Payload { session: SessionId(number()), sequence: number(), body }
    }

    fn entries(&mut self) -> Arc<[Payload]> {
        (0..=self.0.below(4)).map(|_| self.payload()).collect()
    }

    fn batch(&mut self) -> Batch {
        let entries = self.entries();
        let first = LogId::new(self.number(), 1 + self.0.below(u64::MAX - 10));
        let whole = Batch::new(first, LogTime(self.number()), entries);
        // A cut batch must travel as what is visible of it.
        if self.flag() { whole.after(first.index).unwrap_or(whole) } else { whole }
    }

    fn refusal(&mut self) -> Refusal {
        let size = usize::try_from(self.0.next() >> 32).unwrap();
        let node = NodeId(self.number());
        match self.0.below(27) {
            0 => Refusal::NoLeader,
            1 => Refusal::NotLeader,
            2 => Refusal::LeadershipLost,
            3 => Refusal::Overloaded { current: size, limit: size / 2 },
            4 => Refusal::EntryTooLarge { bytes: size, limit: size / 2 },
            5 => Refusal::AlreadyInitialized,
            6 => Refusal::NoVoters,
            7 => Refusal::Unknown,
            8 => Refusal::Undecodable,
            9 => Refusal::UnknownNode { node },
            10 => Refusal::AddressDiffers { node },
            11 => Refusal::StillVoter { node },
            12 => Refusal::ChangeInProgress { at: LogIndex(self.number()) },
            13 => Refusal::NotReady,
            14 => Refusal::Lagging { node, matched: LogIndex(self.number()), last: LogIndex(self.number()) },
            15 => Refusal::PreconditionFailed { actual: Precondition::Term(Term(self.number())) },
            16 => Refusal::PreconditionFailed { actual: Precondition::Last(self.id()) },
            19 => Refusal::TooStale { staleness: Some(self.duration()), staleness_max: self.duration() },
            20 => Refusal::TooStale { staleness: None, staleness_max: self.duration() },
            21 => Refusal::AddedAgain { node },
            22 => Refusal::NotMember,
            23 => Refusal::AddressTaken { node, by: NodeId(self.number()) },
            24 => Refusal::NoMajority { silent: node },
            25 => Refusal::DiskHangs,
            18 => Refusal::Transferring { to: node },
            17 => Refusal::PreconditionFailed { actual: Precondition::Membership(self.id()) },
            _ => Refusal::Halted,
        }
    }

    fn duration(&mut self) -> Duration {
        Duration::from_nanos(self.number())
    }

    fn vote_request(&mut self) -> VoteRequest {
        let warrant = [Warrant::None, Warrant::Operator, Warrant::Leader][usize::try_from(self.0.below(3)).unwrap()];
        VoteRequest { term: Term(self.number()), last: self.id(), warrant }
    }

    fn proof(&mut self) -> Proof {
        match self.0.below(3) {
            0 => Proof::Round,
            1 => Proof::Lease,
            _ => Proof::Age(self.duration()),
        }
    }

    fn vote_reply(&mut self) -> VoteReply {
        VoteReply { term: Term(self.number()), asked: Term(self.number()), granted: self.flag() }
    }

    fn append_outcome(&mut self) -> AppendOutcome {
        match self.0.below(3) {
            0 => AppendOutcome::Matched(LogIndex(self.number())),
            1 => AppendOutcome::Conflict { hint: self.id() },
            _ => AppendOutcome::Stale,
        }
    }

    fn message(&mut self, kind: u8) -> Message {
        let (term, request) = (Term(self.number()), RequestId(self.number()));
        let (round, commit) = (Round(self.number()), LogIndex(self.number()));
        match kind {
            PRE_VOTE => Message::PreVote(self.vote_request()),
            PRE_VOTE_REPLY => Message::PreVoteReply(self.vote_reply()),
            REQUEST_VOTE => Message::RequestVote(self.vote_request()),
            REQUEST_VOTE_REPLY => Message::RequestVoteReply(self.vote_reply()),
            APPEND_ENTRIES => {
                let batches = (0..self.0.below(4)).map(|_| self.batch()).collect();
                let (epoch, prev) = (Epoch(self.number()), self.id());
                Message::AppendEntries(AppendEntries { term, epoch, request, prev, batches, commit })
            }
            APPEND_ENTRIES_REPLY => {
                let (epoch, outcome) = (Epoch(self.number()), self.append_outcome());
                Message::AppendEntriesReply(AppendEntriesReply { term, epoch, request, outcome })
            }
            HEARTBEAT => Message::Heartbeat(Heartbeat { term, round, commit, pledge: self.duration() }),
            HEARTBEAT_REPLY => Message::HeartbeatReply(HeartbeatReply {
                term,
                asked: Term(self.number()),
                round,
                received: commit,
                matched: LogIndex(self.number()),
            }),
            COMMITTED => Message::Committed { term, commit },
            READ_INDEX => Message::ReadIndex { term, request, proof: self.proof() },
            READ_INDEX_REPLY => {
                let outcome = if self.flag() { Ok(commit) } else { Err(self.refusal()) };
                Message::ReadIndexReply { request, outcome }
            }
            PROPOSE => Message::Propose { term, request, entries: self.entries() },
            PROPOSE_REPLY => {
                let outcome = if self.flag() { Ok(self.id()) } else { Err(self.refusal()) };
                Message::ProposeReply { request, outcome }
            }
            TIMEOUT_NOW => Message::TimeoutNow { term },
            INSTALL_SNAPSHOT => {
                let id = self.snapshot_id();
                let (membership, membership_at) = (Arc::new(self.membership()), self.id());
                let (log_time, genesis) = (LogTime(self.number()), Genesis(self.number()));
                let snapshot = Arc::new(Snapshot { id, log_time, membership, membership_at, genesis });
                let (epoch, offset, chunk) = (Epoch(self.number()), self.number(), vec![7; self.count(5_000)].into());
                let leader = NodeId(self.number());
                Message::InstallSnapshot(InstallSnapshot { term, leader, epoch, request, snapshot, offset, chunk })
            }
            INSTALL_SNAPSHOT_REPLY => {
                let (epoch, snapshot) = (Epoch(self.number()), self.snapshot_id());
                let held = self.flag().then(|| self.number());
                Message::InstallSnapshotReply(InstallSnapshotReply { term, epoch, request, snapshot, held })
            }
            DELEGATE_SNAPSHOT => {
                let (target, epoch) = (NodeId(self.number()), Epoch(self.number()));
                let wanted = if self.flag() {
                    Wanted::Newest { covers: commit }
                } else {
                    Wanted::Piece { id: self.snapshot_id(), offset: self.number() }
                };
                Message::DelegateSnapshot(DelegateSnapshot { term, target, epoch, request, wanted })
            }
            HASH_STATE => Message::HashState { term, at: commit },
            STATE_HASHED => Message::StateHashed { at: commit, hash: StateHash(self.number()) },
            STATE_DIFFERS => Message::StateDiffers { term, at: commit, agreed: StateHash(self.number()) },
            _ => panic!("there is no kind {kind}"),
        }
    }
}

fn encoded(message: &Message) -> (u8, Bytes) {
    let mut output = FrameBuffer::default();
    encode(message, 5, BODY_BYTES_MAX, &mut output).unwrap();
    let frame = split(&mut BytesMut::from(&output.to_vec()[..]), BODY_BYTES_MAX).unwrap().unwrap();
    assert_eq!(frame.group, 5);
    (frame.kind, frame.body)
}

#[test]
fn every_message_comes_back() {
    let mut cases = Cases(Random::new(3));
    for round in 0..400 {
        for kind in PRE_VOTE..=DELEGATE_SNAPSHOT {
            let message = cases.message(kind);
            let (found, body) = encoded(&message);
            assert_eq!(found, kind);
            assert!(bytes(&message) + 16 >= body.len(), "queues count {} for {} bytes", bytes(&message), body.len());
            assert_eq!(decode(kind, body), Ok(message), "round {round}, kind {kind}");
        }
    }
}

#[test]
fn a_message_that_ends_early_or_late_is_refused() {
    let mut cases = Cases(Random::new(4));
    for _ in 0..10 {
        for kind in PRE_VOTE..=DELEGATE_SNAPSHOT {
            let (_, body) = encoded(&cases.message(kind));
            for cut in (0..body.len()).rev().take(300).chain(0..body.len().min(300)) {
                assert!(decode(kind, body.slice(..cut)).is_err(), "kind {kind} cut at {cut} of {}", body.len());
            }
            let longer = Bytes::from([&body[..], &[0]].concat());
            assert!(decode(kind, longer).is_err(), "kind {kind} with a byte too many");
        }
    }
}

#[test]
fn damaged_and_invented_bodies_never_panic_and_what_decodes_is_canonical() {
    let mut cases = Cases(Random::new(5));
    let mut taken = 0;
    for _ in 0..3000 {
        for kind in PRE_VOTE..=DELEGATE_SNAPSHOT + 1 {
            let mut body = match kind {
                PRE_VOTE..=DELEGATE_SNAPSHOT if cases.flag() => encoded(&cases.message(kind)).1.to_vec(),
                _ => (0..cases.0.below(120)).map(|_| (cases.0.next() & cases.0.next()).to_le_bytes()[0]).collect(),
            };
            for _ in 0..cases.0.below(4) {
                if !body.is_empty() {
                    let place = cases.count(body.len() as u64);
                    body[place] ^= 1 << cases.0.below(8);
                }
            }
            let body = Bytes::from(body);
            if let Ok(message) = decode(kind, body.clone()) {
                assert_eq!(encoded(&message), (kind, body));
                taken += 1;
            }
        }
    }
    assert!(taken > 5000, "only {taken} damaged messages still had a meaning: the test hardly tests");
}

#[test]
fn a_count_that_the_body_does_not_pay_for_allocates_nothing() {
    let fixed = [0; 48];
    let body = Bytes::from([&fixed[..], &u32::MAX.to_le_bytes()].concat());
    let missing = u32::MAX as usize * BATCH_BYTES_MIN;
    assert_eq!(decode(APPEND_ENTRIES, body), Err(DecodeError::Truncated { at: 52, missing }));
    let body = Bytes::from([&[0; 16][..], &u32::MAX.to_le_bytes(), &[0; 100]].concat());
    let missing = u32::MAX as usize * ENTRY_BYTES_MIN - 100;
    assert_eq!(decode(PROPOSE, body), Err(DecodeError::Truncated { at: 20, missing }));
}

#[test]
fn what_a_batch_asserts_is_checked_before_one_is_made() {
    let batch = |first: u64, count: u32| {
        let head = [0, 0, 0, 0, 0, 0].map(u64::to_le_bytes).concat();
        let ids = [1, first, 0].map(u64::to_le_bytes).concat();
        let blank = [1, 0, 0, 0, 1].repeat(count.try_into().unwrap());
        Bytes::from(
            [
                &head[..],
                &1u32.to_le_bytes(),
                &ids,
                &count.to_le_bytes(),
                &blank,
                &[0; 5][..5 * usize::from(count == 0)],
            ]
            .concat(),
        )
    };
    let index = |value| Err(DecodeError::Invalid { what: "index of a first entry", value });
    assert_eq!(decode(APPEND_ENTRIES, batch(0, 1)), index(0));
    assert_eq!(decode(APPEND_ENTRIES, batch(u64::MAX - 2, 2)), index(u64::MAX - 2));
    assert_eq!(decode(APPEND_ENTRIES, batch(u64::MAX, 2)), index(u64::MAX));
    assert!(decode(APPEND_ENTRIES, batch(u64::MAX - 4, 2)).is_ok());
    assert_eq!(decode(APPEND_ENTRIES, batch(1, 0)), Err(DecodeError::Invalid { what: "count of entries", value: 0 }));
}

#[test]
fn a_command_is_a_slice_of_the_frame() {
    let command = Bytes::from(vec![8; 100]);
    let propose =
        Message::Propose { term: Term(1), request: RequestId(1), entries: [Payload::command(command)].into() };
    let (kind, body) = encoded(&propose);
    let Ok(Message::Propose { entries, .. }) = decode(kind, body.clone()) else { panic!("a propose") };
    let Body::Command(found) = &entries[0].body else { panic!("a command") };
    assert!(body.as_ptr_range().contains(&found.as_ptr()));
}

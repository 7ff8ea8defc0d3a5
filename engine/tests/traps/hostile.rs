//! A stream of well-typed nonsense: random messages with small random numbers, at a node in whatever role it gets into.
//! It must not panic, its term, vote and commit index must not go back, and what is committed must stay.

use super::*;

/// Xorshift: 64 bits of state, enough to mix up small numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// Terms near the node's own, so that every comparison goes both ways; seldom one that jumps.
fn term(dice: &mut Dice, own: Term) -> Term {
    let near = (own.0 + dice.below(4)).saturating_sub(2);
    Term(if dice.one_in(400) { near + 1 } else { near.min(own.0) })
}

fn log_id(dice: &mut Dice, desk: &Desk) -> LogId {
    let last = desk.engine.status().last;
    let least = u64::from(!dice.one_in(50));
    let index = LogIndex((last.index.0 + dice.below(4)).saturating_sub(dice.below(6)).max(least));
    match desk.engine.log_id(index) {
        Some(held) if !dice.one_in(4) => held,
        _ => LogId { term: term(dice, desk.term()), index },
    }
}

fn payload(dice: &mut Dice) -> Payload {
    match dice.below(40) {
        0 => Payload::blank(),
        1 => Payload::membership(voters(&[1, 2, 3 + dice.below(2)])),
        size => command(&"x".repeat(usize::try_from(size).unwrap())),
    }
}

fn entries(dice: &mut Dice) -> Arc<[Payload]> {
    (0..=dice.below(3)).map(|_| payload(dice)).collect()
}

fn append_entries(dice: &mut Dice, desk: &Desk) -> AppendEntries {
    let (own, prev) = (desk.term(), log_id(dice, desk));
    let (mut batches, mut before) = (Vec::new(), prev);
    for _ in 0..dice.below(4) {
        let term =
            if dice.one_in(3) { term(dice, own) } else { Term(before.term.0.max(own.0.saturating_sub(dice.below(2)))) };
        let index = if dice.one_in(30) { LogIndex(1 + dice.below(9)) } else { before.index.next() };
        let batch = Batch::new(LogId { term, index }, LogTime(dice.below(9)), entries(dice));
        before = batch.last();
        batches.push(batch);
    }
    let commit = LogIndex(if dice.one_in(50) { u64::MAX } else { dice.below(before.index.0 + 2) });
    let (epoch, request) = (Epoch(dice.below(9)), RequestId(dice.below(9)));
    AppendEntries { term: term(dice, own), epoch, request, prev, batches, commit }
}

fn refusal_of(dice: &mut Dice) -> Refusal {
    [Refusal::NotLeader, Refusal::Unknown, Refusal::Overloaded { current: 1, limit: 1 }]
        [usize::try_from(dice.below(3)).unwrap()]
}

/// The names of the node's own questions: they are drawn from the numbers of its start.
fn request_id(dice: &mut Dice, asked: &[RequestId]) -> RequestId {
    let place = usize::try_from(dice.below(8)).unwrap();
    asked.iter().rev().nth(place).copied().unwrap_or(RequestId(dice.below(9)))
}

fn message(dice: &mut Dice, desk: &Desk, asked: &[RequestId]) -> Message {
    let (own, last) = (desk.term(), desk.engine.status().last.index.0);
    let index = LogIndex(dice.below(last + 3));
    let vote_reply = |dice: &mut Dice| VoteReply {
        term: term(dice, own),
        asked: Term(own.0 + dice.below(2)),
        granted: !dice.one_in(3),
    };
    let stream = (0..8).find_map(|_| {
        let place = usize::try_from(dice.below(desk.sent.len().max(1) as u64)).ok()?;
        desk.sent.get(desk.sent.len().checked_sub(1 + place.min(6))?)
    });
    let (epoch, request) = stream.map_or((Epoch(1), RequestId(1)), |(_, epoch, request)| (*epoch, *request));
    match dice.below(16) {
        0 => Message::PreVote(VoteRequest {
            term: Term(own.0 + dice.below(3)),
            last: log_id(dice, desk),
            warrant: warrant(dice),
        }),
        1 => Message::PreVoteReply(vote_reply(dice)),
        2 => Message::RequestVote(VoteRequest {
            term: term(dice, own),
            last: log_id(dice, desk),
            warrant: warrant(dice),
        }),
        3 | 4 => Message::RequestVoteReply(vote_reply(dice)),
        5..=7 => Message::AppendEntries(append_entries(dice, desk)),
        8 | 9 => {
            let hint = log_id(dice, desk);
            let outcome = [AppendOutcome::Matched(index), AppendOutcome::Conflict { hint }, AppendOutcome::Stale];
            let outcome = outcome[usize::try_from(dice.below(3)).unwrap()];
            Message::AppendEntriesReply(AppendEntriesReply { term: term(dice, own), epoch, request, outcome })
        }
        10 => {
            let pledge = Duration::from_millis(if dice.one_in(2) { 0 } else { dice.below(900) });
            let (term, round, commit) = (term(dice, own), Round(dice.below(9)), LogIndex(dice.below(last + 3)));
            Message::Heartbeat(Heartbeat { term, round, commit, pledge })
        }
        11 => {
            let (term, asked, round) = (term(dice, own), term(dice, own), Round(dice.below(9)));
            let matched = LogIndex(dice.below(last + 3));
            Message::HeartbeatReply(HeartbeatReply { term, asked, round, received: index.max(matched), matched })
        }
        12 => Message::Committed { term: term(dice, own), commit: index },
        13 if dice.one_in(2) => {
            let proof = [Proof::Round, Proof::Lease, Proof::Age(Duration::from_millis(dice.below(600)))];
            let proof = proof[usize::try_from(dice.below(3)).unwrap()];
            Message::ReadIndex { term: term(dice, own), request: RequestId(dice.below(99)), proof }
        }
        13 => {
            let outcome = if dice.one_in(3) { Err(refusal_of(dice)) } else { Ok(index) };
            Message::ReadIndexReply { request: request_id(dice, asked), outcome }
        }
        14 => Message::Propose { term: term(dice, own), request: RequestId(dice.below(999)), entries: entries(dice) },
        _ => {
            let outcome = if dice.one_in(3) { Err(refusal_of(dice)) } else { Ok(log_id(dice, desk)) };
            Message::ProposeReply { request: request_id(dice, asked), outcome }
        }
    }
}

fn warrant(dice: &mut Dice) -> Warrant {
    [Warrant::None, Warrant::Operator, Warrant::Leader][usize::try_from(dice.below(3)).unwrap()]
}

/// What else can happen to a node; what the runtime reports is always true.
fn event(dice: &mut Dice, desk: &Desk, asked: &[RequestId], token: u64) -> Event {
    match dice.below(24) {
        0..=2 => Event::Timeout,
        8 => Event::Propose { token: Token(token), entries: Arc::new([command("mine")]), only_in: None },
        3 => {
            let bound = Duration::from_millis(dice.below(600));
            let (acknowledged, stale) =
                (Consistency::Acknowledged { age_max: bound }, Consistency::Stale { staleness_max: bound });
            let all = [Consistency::Linearizable, Consistency::Lease, acknowledged, stale];
            Event::Read { token: Token(token), consistency: all[usize::try_from(dice.below(4)).unwrap()] }
        }
        4 | 5 => Event::LogFlushed { write: WriteId(desk.written.0.saturating_sub(dice.below(3))) },
        6 => Event::Applied { last: LogIndex(dice.below(desk.commit() + 1)) },
        7 if !desk.sent.is_empty() => {
            let (target, epoch, request) = desk.sent[desk.sent.len() - 1];
            Event::ReplicateGone { target, epoch, request }
        }
        _ => {
            let node = 2 + dice.below(4);
            let from = if dice.one_in(200) { peer(node, 1 + dice.below(2)) } else { peer(node, 2) };
            Event::Received { from, message: Some(message(dice, desk, asked)) }
        }
    }
}

/// What must hold from one event to the next.
struct Watch {
    vote: Vote,
    /// The ids of what is committed, from index 1 on.
    committed: Vec<LogId>,
    roles: std::collections::BTreeMap<&'static str, u64>,
    /// Who waits for an answer of a read.
    reads: std::collections::BTreeSet<u64>,
}

impl Watch {
    fn look(&mut self, desk: &Desk, commands: &[Command]) {
        let vote = desk.engine.vote();
        assert!(vote.term >= self.vote.term, "the term goes back: {:?} to {vote:?}", self.vote);
        if vote.term == self.vote.term && self.vote.voted_for.is_some() {
            assert_eq!(vote, self.vote, "a vote is taken back");
        }
        self.vote = vote;
        assert!(desk.commit() >= self.committed.len() as u64, "the commit index goes back");
        for index in self.committed.len() as u64 + 1..=desk.commit() {
            self.committed.push(desk.engine.log_id(LogIndex(index)).expect("only what is there is committed"));
        }
        let tail = self.committed.len().saturating_sub(20);
        for id in &self.committed[tail..] {
            assert_eq!(desk.engine.log_id(id.index), Some(*id), "a committed entry was replaced");
        }
        *self.roles.entry(desk.engine.role_kind().name()).or_default() += 1;
        for command in commands {
            let (Command::Refused { token, .. } | Command::StateMachine(StateMachineRequest::Read { token })) = command
            else {
                continue;
            };
            self.reads.remove(&token.0);
        }
    }
}

fn storm(seed: u64, events: u64, roles: &mut std::collections::BTreeMap<&'static str, u64>) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut desk = Desk::with(&[1, 2, 3], |config| {
        config.seed = seed;
        config.pre_vote = !seed.is_multiple_of(3);
        config.check_quorum = !seed.is_multiple_of(5);
        config.limits.uncommitted_entries_max = 20;
        config.limits.unflushed_bytes_max = 2000;
        config.limits.forwards_max = 6;
        config.lease = (config.check_quorum && seed.is_multiple_of(2)).then_some(Duration::from_millis(400));
    });
    let (reads, roles_seen) = (Default::default(), std::mem::take(roles));
    let mut watch = Watch { vote: desk.engine.vote(), committed: Vec::new(), roles: roles_seen, reads };
    let mut asked = Vec::new();
    for step in 0..events {
        let event = event(&mut dice, &desk, &asked, step);
        match &event {
            Event::Timeout if !dice.one_in(4) => desk.now = desk.now + Duration::from_millis(dice.below(120)),
            Event::Timeout => desk.now = desk.now.max(desk.engine.poll_timeout().unwrap_or(desk.now)),
            Event::Read { token, .. } => drop(watch.reads.insert(token.0)),
            _ => {}
        }
        desk.sends = !dice.one_in(5);
        let commands = desk.feed(event);
        for message in messages(&commands) {
            if let Message::ReadIndex { request, .. } | Message::Propose { request, .. } = message {
                asked.push(*request);
            }
        }
        watch.look(&desk, &commands);
    }
    // Whoever still waits is told when the node halts.
    let commands = desk.feed(Event::StorageFailed { reason: "the end".into() });
    watch.look(&desk, &commands);
    assert_eq!(watch.reads, Default::default(), "reads that nobody answered");
    *roles = watch.roles;
}

#[test]
fn no_message_makes_a_node_panic_go_back_or_lose_what_is_committed() {
    let mut roles = std::collections::BTreeMap::new();
    for seed in 1..=400 {
        storm(seed, 800, &mut roles);
    }
    for role in ["follower", "pre-candidate", "candidate", "leader"] {
        assert!(roles.get(role).is_some_and(|steps| *steps > 3_000), "every role for thousands of events: {roles:?}");
    }
}

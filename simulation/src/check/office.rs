//! A leader's office: how long it lasts, and what its holder may ask of the others, by an account of its own.
//!
//! ```text
//!   elected ── answers of a quorum, each within the longest election timeout of the one before ──► goes on
//!                └── silence for that long ──► seen at the next look, a heartbeat later at most ──► over, and no sooner
//! ```
//!
//! Time is what the leader's own clock shows: it is judged by what it can know.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger::engine::{
    AppendEntries, AppendOutcome, EngineConfig, Epoch, InstallSnapshot, Instant, Limits, LogId, LogIndex, Membership,
    Message, NodeId, NodeSet, Round, Term,
};

use super::{Violation, require};
use crate::by_node::ByNode;
use crate::count::counted;
use crate::look::Look;
use crate::runtime::Effect;

/// What the settings of a cluster say about offices.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// For so long a quorum may be silent.
    silence_max: Duration,
    /// Nobody campaigns sooner by itself.
    timeout_min: Duration,
    /// So often a leader looks at least.
    look_every: Duration,
    /// A process that was disturbed less long ago, in nanoseconds, may have missed what its disk did.
    pardon: u64,
    limits: Limits,
}

impl Terms {
    pub(crate) fn new(config: EngineConfig) -> Self {
        let (silence_max, look_every) = (config.election_timeout_max, config.heartbeat_interval);
        let pardon = u64::try_from((silence_max * 2).as_nanos()).unwrap_or(u64::MAX);
        Self { silence_max, timeout_min: config.election_timeout_min, look_every, pardon, limits: config.limits }
    }
}

impl Terms {
    /// The shortest and the longest election timeout.
    pub(crate) const fn election_timeouts(&self) -> (Duration, Duration) {
        (self.timeout_min, self.silence_max)
    }

    /// A process that was disturbed less long ago, in nanoseconds, may have missed what its disk did.
    pub(crate) const fn pardon(&self) -> u64 {
        self.pardon
    }
}

/// Within so many of the longest election timeouts a node has looked at its disk often enough to know that it hangs, whatever its
/// priority and its clock are.
const HUNG_TIMEOUTS: u32 = 6;

/// A node begins to campaign by itself, and its disk has finished nothing for so long.
pub(crate) fn campaigns(id: NodeId, terms: &Terms, hangs: Duration) -> Result<(), Violation> {
    let hangs_surely = hangs > terms.silence_max * HUNG_TIMEOUTS;
    require!(!hangs_surely, Candidacy, "node {id} campaigns, although its disk has hung for {hangs:?}");
    Ok(())
}

/// The term of the leader whom a message answers, and the stream whose request it answers, if it is one's.
pub(crate) fn answered(message: &Message) -> Option<(Term, Option<Epoch>)> {
    match message {
        // What is stale answers a request of an earlier term, though it may tell of this one.
        Message::AppendEntriesReply(reply) if reply.outcome != AppendOutcome::Stale => {
            Some((reply.term, Some(reply.epoch)))
        }
        Message::HeartbeatReply(reply) => Some((reply.asked, None)),
        Message::InstallSnapshotReply(reply) => Some((reply.term, Some(reply.epoch))),
        _ => None,
    }
}

/// Another node, as a leader sees it.
#[derive(Clone, Debug)]
struct Other {
    /// When it answered last; in the beginning, when the office began or the node was added.
    heard: Instant,
    /// The stream that leads to it, once a request has left.
    epoch: Option<Epoch>,
    /// How many requests went to it since.
    requests: usize,
    /// The bytes of their entries, without the first one's: that may have been on its way when the answer came.
    bytes: usize,
    /// The last heartbeat that it answered, at least the last before it was sent something; and how many it has answered since,
    /// as one that lacks entries and has nothing under way.
    waits: (Round, u32),
    /// What it was sent last is a piece of a snapshot.
    is_brought_snapshot: bool,
    /// The last heartbeat that left before it was added: what answers an earlier one may be of another directory under its id.
    since: Round,
}

impl Other {
    /// Somebody that has just been heard.
    const fn heard(heard: Instant, since: Round) -> Self {
        Self { heard, epoch: None, requests: 0, bytes: 0, waits: (Round(0), 0), is_brought_snapshot: false, since }
    }
}

/// A follower that lacks entries and has nothing under way answers fewer heartbeats that have left since it was sent something:
/// one may overtake that, and one tells the leader that it is lost.
const WAITS_MAX: u32 = 4;

/// The office of a leader in one term.
#[derive(Clone, Debug)]
pub(crate) struct Office {
    term: Term,
    /// The last entry before it began.
    before: LogIndex,
    /// The last entry when it was looked at last.
    last: LogIndex,
    /// Who votes, the entry that says so, and since when it counts.
    membership: Membership,
    membership_at: LogId,
    counts_since: Instant,
    /// Every other member, by any entry that may come to count.
    others: ByNode<Other>,
    /// How many those are.
    size: usize,
    /// The last round of heartbeats.
    round: Round,
}

impl Office {
    /// A node leads from now on; `before` is the last entry that is not its own.
    pub(crate) fn begin(term: Term, before: LogIndex, membership: &Membership, at: LogId, now: Instant) -> Self {
        let (last, membership) = (before.next(), membership.clone());
        let (membership_at, counts_since) = (at, now);
        let (others, size, round) = (ByNode::default(), 0, Round(0));
        Self { term, before, last, membership, membership_at, counts_since, others, size, round }
    }

    /// The members after a step, and whom the leader speaks to: those who join begin as if they had just been heard.
    pub(crate) fn follow<I: Iterator<Item = NodeId>>(
        &mut self,
        membership: &Membership,
        at: LogId,
        others: impl Fn() -> I,
        now: Instant,
    ) {
        if self.membership_at != at {
            (self.membership, self.membership_at, self.counts_since) = (membership.clone(), at, now);
        } else if others().count() == self.size {
            return;
        }
        let mut known = std::mem::take(&mut self.others);
        let since = self.round;
        let mut other = |node| known.remove(node).unwrap_or(Other::heard(now, since));
        self.others = others().map(|node| (node, other(node))).collect();
        self.size = self.others.values().count();
    }

    pub(crate) const fn term(&self) -> Term {
        self.term
    }

    /// An answer came; only one to this leader in this term counts, and only by the stream that leads there now.
    pub(crate) fn hear(&mut self, from: NodeId, (term, epoch): (Term, Option<Epoch>), now: Instant) {
        let Some(other) = self.others.at_mut(from).filter(|_| term == self.term) else { return };
        if epoch.is_none() || epoch == other.epoch {
            *other = Other { heard: other.heard.max(now), requests: 0, bytes: 0, ..*other };
        }
    }

    /// Whether an answer to a heartbeat comes from before the node was added.
    pub(crate) fn is_late(&self, from: NodeId, round: Round) -> bool {
        self.others.at(from).is_some_and(|other| round <= other.since && other.since > Round(0))
    }

    /// It turns to another node, to send it something.
    pub(crate) fn turns_to(&mut self, node: NodeId) {
        let round = self.round;
        self.others.at_mut(node).into_iter().for_each(|other| other.waits = (round, 0));
    }

    /// A heartbeat leaves.
    pub(crate) fn beats(&mut self, term: Term, round: Round) {
        if term == self.term {
            self.round = self.round.max(round);
        }
    }

    /// A follower has answered a heartbeat, and nothing is being sent to it; `matched` is what it is known to hold durably. Of
    /// pieces of a snapshot a leader may wait for the answer for long.
    pub(crate) fn serves(
        &mut self,
        look: &Look,
        follower: NodeId,
        (round, received): (Round, LogIndex),
        matched: LogIndex,
    ) -> Result<(), Violation> {
        let Some(other) = self.others.at_mut(follower) else { return Ok(()) };
        if round <= other.waits.0 {
            return Ok(());
        }
        let is_idle = received <= matched && matched < look.last.index && !other.is_brought_snapshot;
        other.waits = (round, if is_idle { other.waits.1 + 1 } else { 0 });
        let (id, last, beats) = (look.node, look.last.index, other.waits.1);
        require!(
            beats < WAITS_MAX,
            Replication,
            "node {follower} has answered {beats} heartbeats of node {id}, and is not sent what it lacks: {matched} of {last}"
        );
        Ok(())
    }

    /// For how long the leader `node` has had no quorum: while two majorities decide, one of them is enough to be silent.
    fn silence(&self, node: NodeId, now: Instant) -> Duration {
        let of = |voters: &NodeSet| {
            let heard_at = |voter: &NodeId| self.others.at(*voter).map(|other| other.heard);
            let mut heard: Vec<Instant> = voters.iter().filter_map(heard_at).collect();
            heard.sort_unstable();
            // A leader that votes is one of the quorum, and needs no answer.
            let needed = (voters.len() / 2 + 1).saturating_sub(usize::from(voters.contains(&node)));
            if voters.is_empty() || needed == 0 {
                return Duration::ZERO;
            }
            heard.iter().rev().nth(needed - 1).map_or(Duration::MAX, |heard| now.since(*heard))
        };
        of(self.membership.voters()).max(of(self.membership.outgoing()))
    }

    /// It has looked at the time, and goes on.
    pub(crate) fn goes_on(&self, node: NodeId, terms: &Terms, now: Instant) -> Result<(), Violation> {
        // Who has just become a voter may have been silent for long: that is seen at the next look.
        let silence = self.silence(node, now).min(now.since(self.counts_since));
        let at_most = terms.silence_max + terms.look_every;
        require!(silence <= at_most, Office, "node {node} leads, and no quorum has answered for {silence:?}");
        Ok(())
    }

    /// It gives up, though nobody has told it to, on whatever occasion; `hangs` says for how long its disk has not finished a
    /// write. One that is no voter any more may go at any time.
    pub(crate) fn gives_up(&self, node: NodeId, terms: &Terms, now: Instant, hangs: Duration) -> Result<(), Violation> {
        let silence = self.silence(node, now);
        // That the disk has nothing to do is seen at a look only.
        let hangs_long = hangs + terms.look_every * 2 >= terms.silence_max;
        let is_removed = !self.membership.is_voter(node);
        require!(
            silence >= terms.silence_max || hangs_long || is_removed,
            Office,
            "node {node} leads no more, although a quorum answered {silence:?} ago and its disk hangs for {hangs:?}"
        );
        Ok(())
    }

    /// A request leaves to another node. Until that is heard again, no more are under way than may be.
    pub(crate) fn sends(
        &mut self,
        node: NodeId,
        to: NodeId,
        sent: &AppendEntries,
        terms: &Terms,
    ) -> Result<(), Violation> {
        self.turns_to(to);
        let (bytes, entries) = size(sent);
        let is_within = bytes <= terms.limits.append_bytes_max || entries == 1;
        require!(is_within, Limits, "node {node} sends {entries} entries of {bytes} bytes to {to} at once");
        let Some(other) = self.others.at_mut(to).filter(|_| sent.term == self.term) else { return Ok(()) };
        if other.epoch < Some(sent.epoch) {
            // Another stream begins: what the last one had under way goes nowhere.
            (other.epoch, other.requests, other.bytes) = (Some(sent.epoch), 0, 0);
        }
        if other.epoch > Some(sent.epoch) {
            // One of a stream that has ended was slow to be sent: its leader has long given it up.
            return Ok(());
        }
        other.is_brought_snapshot = false;
        other.requests += 1;
        if other.requests > 1 {
            let (others, before, limits) = (other.requests - 2, other.bytes, &terms.limits);
            let has_room = others < limits.inflight_requests_max && before < limits.inflight_bytes_max;
            require!(
                has_room,
                Limits,
                "node {node} sends to {to} while requests are under way: {others}, of {before} bytes"
            );
            other.bytes += bytes;
        }
        Ok(())
    }

    /// A piece of a snapshot leaves to another node, or the order to send one there.
    pub(crate) fn brings(&mut self, to: NodeId, term: Term, epoch: Epoch) {
        self.turns_to(to);
        if let Some(other) = self.others.at_mut(to).filter(|_| term == self.term) {
            other.epoch = other.epoch.max(Some(epoch));
            other.is_brought_snapshot = true;
        }
    }

    /// After a step: what it took in, was not alone, and is not applied stays within bounds; only memberships are never
    /// turned away. `in_hand` tells the bytes of what stands behind an entry and is not applied, and of what came last.
    pub(crate) fn takes_in(
        &mut self,
        look: &Look,
        terms: &Terms,
        in_hand: impl FnOnce(LogIndex) -> (usize, usize),
    ) -> Result<(), Violation> {
        let last = look.last.index;
        let taken = last.0 - std::mem::replace(&mut self.last, last).0;
        let membership_at = self.membership_at.max(look.membership_at);
        if taken == 0 || membership_at.index.0 > last.0 - taken {
            return Ok(());
        }
        let (held, limit) = (last.0 - look.applied.max(self.before).0, terms.limits.uncommitted_entries_max as u64);
        let may_be = held <= limit.max(taken);
        let entries = || counted(taken, "entry", "entries");
        require!(may_be, Limits, "node {} takes in {}, and has {held} in hand", look.node, entries());
        let (bytes, last_bytes) = in_hand(self.before);
        let may_hold = bytes <= terms.limits.uncommitted_bytes_max.max(last_bytes);
        require!(may_hold, Limits, "node {} takes in {last_bytes} bytes and has {bytes} in hand", look.node);
        Ok(())
    }
}

/// A piece of a snapshot leaves, whoever sends it.
pub(crate) fn sends_piece(node: NodeId, to: NodeId, piece: &InstallSnapshot, terms: &Terms) -> Result<(), Violation> {
    let (bytes, at_most) = (piece.chunk.len(), terms.limits.snapshot_chunk_bytes_max);
    require!(bytes <= at_most, Limits, "node {node} sends {bytes} bytes of a snapshot to {to} at once");
    Ok(())
}

/// The bytes and the number of the entries of a request.
fn size(sent: &AppendEntries) -> (usize, usize) {
    sent.batches.iter().fold((0, 0), |(bytes, entries), batch| (bytes + batch.bytes(), entries + batch.len()))
}

/// A flush lets what waited for it leave, and of the answers to the heartbeats of one term only the last: there was one more
/// to wait for with each vote that is durable now.
pub(crate) fn answers_after_flush(node: NodeId, effects: &[Effect], votes: usize) -> Result<(), Violation> {
    if effects.len() <= votes + 1 {
        return Ok(());
    }
    let mut answers: BTreeMap<(NodeId, Term), usize> = BTreeMap::new();
    for effect in effects {
        if let Effect::Send(to, Message::HeartbeatReply(reply)) = effect {
            *answers.entry((*to, reply.asked)).or_default() += 1;
        }
    }
    let worst = answers.into_iter().max_by_key(|(_, count)| *count);
    worst.map_or(Ok(()), |((to, term), count)| {
        let may_be = count <= votes + 1;
        require!(may_be, Limits, "node {node} has kept {count} answers to the heartbeats of {to} in term {term}");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger::engine::{
        AppendEntriesReply, Batch, Goal, HeartbeatReply, Incarnation, LogTime, Node, Payload, Peer, RequestId,
        RoleKind, Round, Vote,
    };

    use super::*;
    use crate::check::Check;

    const ONE: NodeId = NodeId(1);
    const TERM: Term = Term(3);
    /// Silence that is allowed, and the time between two looks, in milliseconds.
    const SILENCE: u64 = 1_000;
    const LOOK: u64 = 100;

    fn terms() -> Terms {
        let mut config = EngineConfig::new(Peer::new(ONE, Incarnation::default()), 7);
        config.election_timeout_max = Duration::from_millis(SILENCE);
        config.heartbeat_interval = Duration::from_millis(LOOK);
        config.limits.inflight_requests_max = 2;
        config.limits.inflight_bytes_max = 1_000;
        config.limits.uncommitted_entries_max = 4;
        Terms::new(config)
    }

    fn at(milliseconds: u64) -> Instant {
        Instant(0) + Duration::from_millis(milliseconds)
    }

    /// Where the members stand in the log.
    const MEMBERS_AT: LogId = LogId { term: Term(0), index: LogIndex(1) };

    fn voters(ids: impl IntoIterator<Item = u64>) -> Membership {
        Membership::new(ids.into_iter().map(|id| (NodeId(id), Node::default())), [])
    }

    fn others(membership: &Membership) -> impl Iterator<Item = NodeId> {
        membership.nodes().keys().copied().filter(|node| *node != ONE)
    }

    /// Node 1 leads these from moment 0 on; its log ended with entry 10.
    fn office_of(membership: &Membership) -> Office {
        let mut office = Office::begin(TERM, LogIndex(10), membership, MEMBERS_AT, at(0));
        office.follow(membership, MEMBERS_AT, || others(membership), at(0));
        office
    }

    /// It leads five.
    fn office() -> Office {
        office_of(&voters(1..=5))
    }

    /// An answer that belongs to no stream.
    const BEAT: (Term, Option<Epoch>) = (TERM, None);

    fn check(outcome: Result<(), Violation>) -> Option<Check> {
        outcome.err().map(|violation| violation.check)
    }

    #[test]
    fn a_leader_without_a_quorum_goes_on_until_the_next_look_and_no_longer() {
        let mut office = office();
        let goes_on = |office: &Office, now| check(office.goes_on(ONE, &terms(), at(now)));
        assert_eq!(goes_on(&office, SILENCE + LOOK), None);
        assert_eq!(goes_on(&office, SILENCE + LOOK + 1), Some(Check::Office));
        office.hear(NodeId(2), BEAT, at(500));
        assert_eq!(goes_on(&office, SILENCE + LOOK + 1), Some(Check::Office), "two of five are no quorum");
        office.hear(NodeId(3), (Term(2), None), at(500));
        assert_eq!(goes_on(&office, SILENCE + LOOK + 1), Some(Check::Office), "an answer to another leader");
        office.hear(NodeId(3), BEAT, at(600));
        office.hear(NodeId(3), BEAT, at(400));
        assert_eq!(goes_on(&office, 500 + SILENCE + LOOK), None);
        assert_eq!(goes_on(&office, 500 + SILENCE + LOOK + 1), Some(Check::Office));
    }

    #[test]
    fn a_leader_with_a_quorum_does_not_give_up_unless_its_disk_hangs() {
        let gives_up = |now, hangs| check(office().gives_up(ONE, &terms(), at(now), Duration::from_millis(hangs)));
        assert_eq!(gives_up(SILENCE, 0), None);
        assert_eq!(gives_up(SILENCE - 1, 0), Some(Check::Office));
        assert_eq!(gives_up(0, SILENCE - 2 * LOOK), None);
        assert_eq!(gives_up(0, SILENCE - 2 * LOOK - 1), Some(Check::Office));
    }

    #[test]
    fn a_leader_alone_is_its_own_quorum() {
        let office = office_of(&voters([1]));
        assert_eq!(check(office.goes_on(ONE, &terms(), at(100 * SILENCE))), None);
        assert_eq!(check(office.gives_up(ONE, &terms(), at(100 * SILENCE), Duration::ZERO)), Some(Check::Office));
    }

    /// The voters change from 1, 2 and 3 to 1, 4 and 5.
    fn joint() -> Membership {
        let set = |ids: [u64; 3]| ids.map(NodeId).into_iter().collect::<NodeSet>();
        let goal = Goal { voters: set([1, 4, 5]), members: set([1, 4, 5]), added: NodeSet::new() };
        let nodes = (1..=5).map(|id| (NodeId(id), Node::default())).collect();
        Membership::from_parts(set([1, 4, 5]), set([1, 2, 3]), nodes, Some(goal)).expect("a sound membership")
    }

    #[test]
    fn while_two_majorities_decide_both_must_answer() {
        let heard = |nodes: &[u64]| {
            let mut office = office_of(&joint());
            nodes.iter().for_each(|node| office.hear(NodeId(*node), BEAT, at(500)));
            let goes_on = check(office.goes_on(ONE, &terms(), at(SILENCE + LOOK + 1)));
            (goes_on, check(office.gives_up(ONE, &terms(), at(SILENCE), Duration::ZERO)))
        };
        assert_eq!(heard(&[2, 4]), (None, Some(Check::Office)));
        assert_eq!(heard(&[4, 5]), (Some(Check::Office), None), "nobody of those who voted before");
        assert_eq!(heard(&[2, 3]), (Some(Check::Office), None), "nobody of those who will");
    }

    #[test]
    fn a_change_of_the_voters_gives_a_leader_until_the_look_after_it() {
        let mut office = office_of(&voters([1, 2, 3, 4]));
        let (later, next) = (voters([1, 4]), LogId { term: TERM, index: LogIndex(12) });
        office.hear(NodeId(2), BEAT, at(900));
        office.hear(NodeId(3), BEAT, at(900));
        let goes_on = |office: &Office, now| check(office.goes_on(ONE, &terms(), at(now)));
        assert_eq!(goes_on(&office, SILENCE + LOOK + 1), None);
        office.follow(&later, next, || others(&later), at(1_200));
        assert_eq!(goes_on(&office, 1_200 + SILENCE + LOOK), None);
        assert_eq!(goes_on(&office, 1_200 + SILENCE + LOOK + 1), Some(Check::Office), "node 4 never answered");
        assert_eq!(check(office.gives_up(ONE, &terms(), at(1_200), Duration::ZERO)), None, "it may give up at once");
    }

    #[test]
    fn what_answers_a_heartbeat_from_before_a_node_was_added_may_be_of_its_predecessor() {
        let (all, fewer) = (voters([1, 2, 3]), voters([1, 2]));
        let entry = |index| LogId { term: TERM, index: LogIndex(index) };
        let mut office = office_of(&all);
        office.beats(TERM, Round(7));
        assert!(!office.is_late(NodeId(3), Round(3)), "it was there from the beginning");
        office.follow(&fewer, entry(12), || others(&fewer), at(100));
        office.follow(&all, entry(13), || others(&all), at(200));
        let is_late = |node, round| office.is_late(NodeId(node), Round(round));
        assert_eq!([is_late(3, 7), is_late(3, 8), is_late(2, 7)], [true, false, false]);
    }

    #[test]
    fn who_was_removed_needs_the_others_and_may_go() {
        let mut office = office_of(&voters([1, 2, 3]));
        let (later, next) = (voters([2, 3]), LogId { term: TERM, index: LogIndex(12) });
        office.follow(&later, next, || others(&later), at(0));
        office.hear(NodeId(2), BEAT, at(500));
        let goes_on = check(office.goes_on(ONE, &terms(), at(SILENCE + LOOK + 1)));
        assert_eq!(goes_on, Some(Check::Office), "one of two is no quorum, and it does not count itself");
        assert_eq!(check(office.gives_up(ONE, &terms(), at(501), Duration::ZERO)), None);
    }

    #[test]
    fn a_follower_that_answers_is_sent_what_it_lacks() {
        let answers = |office: &mut Office, round: u64, received: u64, matched: u64| {
            let (look, two) = (leading(LogIndex(14), LogIndex(3)), NodeId(2));
            check(office.serves(&look, two, (Round(round), LogIndex(received)), LogIndex(matched)))
        };
        let mut office = office();
        assert!((1..=3).all(|round| answers(&mut office, round, 10, 10).is_none()));
        assert_eq!(answers(&mut office, 3, 10, 10), None, "the same answer once more");
        assert_eq!(answers(&mut office, 4, 10, 10), Some(Check::Replication));
        office.beats(TERM, Round(9));
        office.turns_to(NodeId(2));
        assert!((5..=12).all(|round| answers(&mut office, round, 10, 10).is_none()));
        assert_eq!(answers(&mut office, 13, 12, 10), None, "two are being written");
        assert!((14..=20).all(|round| answers(&mut office, round, 14, 14).is_none()), "it has all");
    }

    #[test]
    fn who_comes_back_begins_anew() {
        let (all, less) = (voters([1, 2, 3]), voters([1, 3]));
        let mut office = office_of(&all);
        let sends = |office: &mut Office| check(office.sends(ONE, NodeId(2), &request(TERM, 1), &terms()));
        for _ in 0..3 {
            assert_eq!(sends(&mut office), None);
        }
        let at_index = |index| LogId { term: TERM, index: LogIndex(index) };
        office.follow(&less, at_index(12), || others(&less), at(10));
        office.follow(&all, at_index(13), || others(&all), at(20));
        assert_eq!(sends(&mut office), None, "what was under way went with its stream");
        let mut office = office_of(&all);
        for _ in 0..3 {
            assert_eq!(sends(&mut office), None);
        }
        office.hear(NodeId(2), (TERM, Some(Epoch(7))), at(30));
        assert_eq!(sends(&mut office), Some(Check::Limits), "an answer to another stream");
        office.hear(NodeId(2), (TERM, Some(Epoch(1))), at(30));
        assert_eq!(sends(&mut office), None);
    }

    /// Seed 1000004428: a node was removed and added again while one that was meant for its first stream was slow to be sent.
    #[test]
    fn what_an_ended_stream_sends_late_is_not_under_way_in_the_next() {
        let mut office = office();
        let mut sends =
            |epoch| check(office.sends(ONE, NodeId(2), &AppendEntries { epoch, ..request(TERM, 1) }, &terms()));
        assert_eq!([Epoch(1), Epoch(2), Epoch(2)].map(&mut sends), [None; 3]);
        assert_eq!([Epoch(1), Epoch(1), Epoch(2)].map(&mut sends), [None; 3], "the first stream has ended");
        assert_eq!(sends(Epoch(2)), Some(Check::Limits));
    }

    fn request(term: Term, bytes: usize) -> AppendEntries {
        let payload = Payload::command(bytes::Bytes::from(vec![0; bytes]));
        let batch = Batch::new(LogId::new(3, 11), LogTime(0), Arc::from([payload]));
        let (epoch, request, prev) = (Epoch(1), RequestId(1), LogId::new(2, 10));
        AppendEntries { term, epoch, request, prev, batches: vec![batch], commit: LogIndex(10) }
    }

    #[test]
    fn requests_under_way_stay_within_their_limits_until_an_answer_comes() {
        let sends = |office: &mut Office, sent: &AppendEntries| check(office.sends(ONE, NodeId(2), sent, &terms()));
        let mut office = office();
        // The first may have been on its way when the last answer came; two more are the limit.
        for _ in 0..3 {
            assert_eq!(sends(&mut office, &request(TERM, 1)), None);
        }
        assert_eq!(sends(&mut office, &request(TERM, 1)), Some(Check::Limits));
        assert_eq!(sends(&mut office, &request(Term(2), 1)), None, "what an earlier office sent is not of this one");
        office.hear(NodeId(3), BEAT, at(1));
        assert_eq!(sends(&mut office, &request(TERM, 1)), Some(Check::Limits), "another node answered");
        office.hear(NodeId(2), BEAT, at(1));
        assert_eq!(sends(&mut office, &request(TERM, 5_000)), None);
        assert_eq!(sends(&mut office, &request(TERM, 1_000)), None, "what the first carries does not count");
        assert_eq!(sends(&mut office, &request(TERM, 1)), Some(Check::Limits), "as many bytes as may be");
    }

    /// Node 1 leads; its log is durable, and committed as far as it is applied.
    fn leading(last: LogIndex, applied: LogIndex) -> Look {
        let (last, flushed) = (LogId { term: TERM, index: last }, last);
        let (role, leader, vote) = (RoleKind::Leader, Some(ONE), Vote::default());
        let (commit, membership_at) = (applied, MEMBERS_AT);
        Look {
            node: ONE,
            role,
            term: TERM,
            vote,
            leader,
            last,
            flushed,
            commit,
            applied,
            membership_at,
            heir: None,
            awaits_heir: false,
        }
    }

    #[test]
    fn a_leader_takes_in_no_more_than_it_may_have_in_hand() {
        let takes_in = |office: &mut Office, last: u64, applied: u64| {
            let look = leading(LogIndex(last), LogIndex(applied));
            check(office.takes_in(&look, &terms(), |_| (0, 0)))
        };
        let mut office = office();
        assert_eq!(takes_in(&mut office, 14, 3), None, "what was there before is not in hand");
        assert_eq!(takes_in(&mut office, 15, 10), Some(Check::Limits), "five, of which one came now");
        assert_eq!(takes_in(&mut office, 15, 10), None, "nothing is taken in");
        assert_eq!(takes_in(&mut office, 16, 12), None, "what is applied is not in hand");
        assert_eq!(takes_in(&mut office, 26, 16), None, "a proposal that is larger by itself, alone");
        assert_eq!(takes_in(&mut office, 36, 25), Some(Check::Limits), "and not alone");
        let (later, next) = (voters(1..=3), LogId { term: TERM, index: LogIndex(37) });
        office.follow(&later, next, || others(&later), at(0));
        assert_eq!(takes_in(&mut office, 37, 25), None, "a membership is never turned away");
        assert_eq!(takes_in(&mut office, 38, 25), Some(Check::Limits), "what comes after it is");
    }

    #[test]
    fn a_leader_takes_in_no_more_bytes_than_it_may_have_in_hand() {
        let mut terms = terms();
        terms.limits.uncommitted_bytes_max = 100;
        let takes_in = |taken: u64, bytes: (usize, usize)| {
            let last = LogIndex(11 + taken);
            let look = leading(last, last);
            check(office().takes_in(&look, &terms, |before| if before == LogIndex(10) { bytes } else { (0, 0) }))
        };
        assert_eq!(takes_in(1, (100, 30)), None);
        assert_eq!(takes_in(1, (101, 30)), Some(Check::Limits));
        assert_eq!(takes_in(0, (101, 30)), None, "nothing is taken in");
        assert_eq!(takes_in(1, (500, 500)), None, "a proposal that is larger by itself, alone");
        assert_eq!(takes_in(1, (501, 500)), Some(Check::Limits), "and not alone");
    }

    #[test]
    fn a_request_carries_as_many_bytes_as_it_may_or_one_entry() {
        let one = request(TERM, 10);
        let two = AppendEntries { batches: vec![one.batches[0].clone(), request(TERM, 11).batches[0].clone()], ..one };
        let sends = |sent: &AppendEntries, append_bytes_max| {
            let mut terms = terms();
            terms.limits.append_bytes_max = append_bytes_max;
            check(office().sends(ONE, NodeId(2), sent, &terms))
        };
        let bytes = size(&two).0;
        assert_eq!(sends(&two, bytes), None);
        assert_eq!(sends(&two, bytes - 1), Some(Check::Limits));
        assert_eq!(sends(&request(TERM, 5_000), bytes), None, "a single larger entry travels");
    }

    #[test]
    fn answers_to_heartbeats_do_not_pile_up_while_a_disk_is_slow() {
        let answer = |to, term| {
            let (asked, round, none) = (Term(term), Round(1), LogIndex(0));
            let reply = HeartbeatReply { term: TERM, asked, round, received: none, matched: none };
            Effect::Send(NodeId(to), Message::HeartbeatReply(reply))
        };
        let kept = |effects: &[Effect], votes| check(answers_after_flush(ONE, effects, votes));
        assert_eq!(kept(&[answer(2, 3), answer(3, 3), answer(2, 2)], 0), None, "to others, or to an earlier leader");
        assert_eq!(kept(&[answer(2, 3), answer(3, 3), answer(2, 3)], 0), Some(Check::Limits));
        assert_eq!(kept(&[answer(2, 3), answer(2, 3)], 1), None, "another vote came between them");
    }

    #[test]
    fn only_what_answers_a_leader_in_its_term_is_an_answer() {
        let reply = |outcome| {
            let reply = AppendEntriesReply { term: TERM, epoch: Epoch(1), request: RequestId(1), outcome };
            answered(&Message::AppendEntriesReply(reply))
        };
        assert_eq!(reply(AppendOutcome::Matched(LogIndex(1))), Some((TERM, Some(Epoch(1)))));
        assert_eq!(reply(AppendOutcome::Stale), None);
        let none = LogIndex(0);
        let beat = HeartbeatReply { term: TERM, asked: Term(2), round: Round(1), received: none, matched: none };
        assert_eq!(answered(&Message::HeartbeatReply(beat)), Some((Term(2), None)), "the term of the one who asked");
        assert_eq!(answered(&Message::Committed { term: TERM, commit: none }), None);
    }

    #[test]
    fn who_campaigns_beside_a_disk_that_has_hung_for_long_is_noticed() {
        let long = Duration::from_millis(SILENCE) * HUNG_TIMEOUTS;
        assert_eq!(check(campaigns(ONE, &terms(), long)), None);
        assert_eq!(check(campaigns(ONE, &terms(), long + Duration::from_nanos(1))), Some(Check::Candidacy));
    }

    #[test]
    fn a_heartbeat_of_another_office_says_nothing_of_what_left_before() {
        let answers = |office: &mut Office, round: u64| {
            let look = leading(LogIndex(14), LogIndex(3));
            check(office.serves(&look, NodeId(2), (Round(round), LogIndex(10)), LogIndex(10)))
        };
        let mut office = office();
        office.beats(Term(2), Round(9));
        office.turns_to(NodeId(2));
        assert!((1..=3).all(|round| answers(&mut office, round).is_none()));
        assert_eq!(answers(&mut office, 4), Some(Check::Replication));
    }

    #[test]
    fn a_leader_may_wait_for_a_piece_of_a_snapshot_but_not_once_it_sends_entries_again() {
        let answers = |office: &mut Office| {
            let look = leading(LogIndex(14), LogIndex(3));
            (1..=9).find_map(|round| check(office.serves(&look, NodeId(2), (Round(round), LogIndex(10)), LogIndex(10))))
        };
        let mut office = office();
        office.brings(NodeId(2), TERM, Epoch(1));
        assert_eq!(answers(&mut office), None);
        assert_eq!(check(office.sends(ONE, NodeId(2), &request(TERM, 1), &terms())), None);
        assert_eq!(answers(&mut office), Some(Check::Replication));
    }

    #[test]
    fn a_piece_of_a_snapshot_ends_the_stream_before_it_and_its_answer_counts() {
        let mut office = office();
        let sends = |office: &mut Office| check(office.sends(ONE, NodeId(2), &request(TERM, 1), &terms()));
        assert_eq!([(); 3].map(|()| sends(&mut office)), [None; 3]);
        office.brings(NodeId(2), TERM, Epoch(2));
        assert_eq!(sends(&mut office), None, "that was slow to be sent");
        let snapshot = outrigger::engine::SnapshotId { last: LogId::new(1, 1), bytes: 9, checksum: 9 };
        let (epoch, request) = (Epoch(2), RequestId(1));
        let reply = outrigger::engine::InstallSnapshotReply { term: TERM, epoch, request, snapshot, held: Some(9) };
        assert_eq!(answered(&Message::InstallSnapshotReply(reply)), Some((TERM, Some(Epoch(2)))));
    }

    #[test]
    fn a_membership_that_came_in_this_step_is_not_turned_away_either() {
        let mut office = office();
        let grown =
            Look { membership_at: LogId { term: TERM, index: LogIndex(16) }, ..leading(LogIndex(16), LogIndex(3)) };
        assert_eq!(check(office.takes_in(&leading(LogIndex(14), LogIndex(3)), &terms(), |_| (0, 0))), None);
        assert_eq!(check(office.takes_in(&grown, &terms(), |_| (0, 0))), None);
        let more = Look { last: LogId { term: TERM, index: LogIndex(17) }, ..grown };
        assert_eq!(check(office.takes_in(&more, &terms(), |_| (0, 0))), Some(Check::Limits));
    }
}

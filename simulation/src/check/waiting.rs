//! How much waits for a node's engine, by an account of its own: what its callers want of their leader, and what others ask
//! of it.
//!
//! ```text
//!   propose, read ──► on its way ──► accepted, refused, or handed to the state machine
//!   a question of another node ──► asked ──► answered
//! ```

use outrigger::engine::{Command, Event, Limits, Message, NodeId, Payload, StateMachineRequest, Token};

use super::{Violation, require};

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// The bytes of each proposal that was neither accepted nor refused.
    writes: Vec<(Token, usize)>,
    /// Reads that were neither refused nor handed to the state machine.
    reads: Vec<Token>,
    /// How many questions of other nodes were not answered.
    questions: usize,
    /// Whether the present step is for one of those.
    is_question: bool,
    /// Whether it is for anything of all this; no other can exceed a limit.
    grows: bool,
}

impl Waiting {
    /// An event is handed to the engine.
    pub(crate) fn begins(&mut self, event: &Event) {
        (self.is_question, self.grows) = (false, true);
        match event {
            Event::Received { message: Some(Message::ReadIndex { .. }), .. } => {
                self.is_question = true;
                self.questions += 1;
            }
            Event::Propose { token, entries, .. } => {
                self.writes.push((*token, entries.iter().map(Payload::bytes).sum()));
            }
            Event::Read { token, .. } => {
                self.reads.push(*token);
            }
            _ => self.grows = false,
        }
    }

    /// The engine says something.
    pub(crate) fn ends(&mut self, command: &Command) {
        match command {
            Command::Accepted { token, .. } | Command::Refused { token, .. } => {
                self.writes.retain(|(waiting, _)| waiting != token);
                self.reads.retain(|waiting| waiting != token);
            }
            Command::StateMachine(StateMachineRequest::Read { token }) => {
                self.reads.retain(|waiting| waiting != token);
            }
            Command::SendMessage { message: Message::ReadIndexReply { .. }, .. } => {
                self.questions = self.questions.saturating_sub(1);
            }
            // Whom it does not listen to it does not answer.
            Command::RefusePeer { .. } if self.is_question => {
                self.is_question = false;
                self.questions = self.questions.saturating_sub(1);
            }
            _ => {}
        }
    }

    /// Whether anybody waits for a read. Not before the state machine's lane has room are those seen that the engine has let go.
    pub(crate) fn has_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// After a step. Reads that the engine has let go are not seen before the state machine's lane has room for them.
    pub(crate) fn check(&self, node: NodeId, limits: &Limits, has_room: bool) -> Result<(), Violation> {
        if !self.grows {
            return Ok(());
        }
        let (count, bytes) = (self.writes.len(), self.writes.iter().map(|(_, bytes)| bytes).sum::<usize>());
        let may_be = count <= limits.forwards_max && (bytes <= limits.uncommitted_bytes_max || count <= 1);
        require!(may_be, Limits, "node {node} has {count} writes of {bytes} bytes on their way to its leader");
        let (reads, questions) = (self.reads.len(), self.questions);
        let may_wait = !has_room || reads + questions <= limits.forwards_max;
        require!(may_wait, Limits, "{reads} reads and {questions} questions wait on node {node}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger::engine::{Consistency, Incarnation, LogId, Peer, PeerRefusal, Proof, Refusal, RequestId, Term};

    use super::*;
    use crate::check::Check;

    const ONE: NodeId = NodeId(1);
    const OTHER: Peer = Peer::new(NodeId(2), Incarnation { id: 1, start: 1, nonce: 1 });

    /// The check that says no, where two writes, or two reads and questions, are allowed.
    fn check(waiting: &Waiting, has_room: bool) -> Option<Check> {
        let bytes = Payload::OVERHEAD_BYTES + 10;
        let limits = Limits { forwards_max: 2, uncommitted_bytes_max: 2 * bytes, ..Limits::default() };
        waiting.check(ONE, &limits, has_room).err().map(|violation| violation.check)
    }

    fn begun(events: impl IntoIterator<Item = Event>) -> Waiting {
        let mut waiting = Waiting::default();
        events.into_iter().for_each(|event| waiting.begins(&event));
        waiting
    }

    fn propose(token: u64, bytes: usize) -> Event {
        let payload = Payload::command(bytes::Bytes::from(vec![0; bytes]));
        Event::Propose { token: Token(token), entries: Arc::from([payload]), only_in: None }
    }

    fn read(token: u64) -> Event {
        Event::Read { token: Token(token), consistency: Consistency::Linearizable }
    }

    fn question() -> Event {
        let message = Message::ReadIndex { term: Term(1), request: RequestId(1), proof: Proof::Round };
        Event::Received { from: OTHER, message: Some(message) }
    }

    fn refused(token: u64) -> Command {
        Command::Refused { token: Token(token), refusal: Refusal::NoLeader }
    }

    #[test]
    fn writes_on_their_way_stay_within_their_count_and_bytes() {
        assert_eq!(check(&begun([propose(1, 10), propose(2, 10)]), true), None, "at the limit of both");
        assert_eq!(check(&begun([propose(1, 10), propose(2, 11)]), true), Some(Check::Limits), "a byte too many");
        assert_eq!(check(&begun([propose(1, 500)]), true), None, "what is larger by itself passes alone");
        let mut waiting = begun([propose(1, 1), propose(2, 1), propose(3, 1)]);
        assert_eq!(check(&waiting, true), Some(Check::Limits), "one too many");
        waiting.ends(&refused(1));
        assert_eq!(check(&waiting, true), None);
        waiting.begins(&propose(4, 1));
        waiting.ends(&Command::Accepted { token: Token(4), first: LogId::new(1, 1) });
        assert_eq!(check(&waiting, true), None);
    }

    #[test]
    fn reads_and_the_questions_of_others_stay_within_one_limit() {
        let mut waiting = begun([read(1), question()]);
        assert_eq!(check(&waiting, true), None);
        waiting.begins(&read(2));
        assert_eq!(check(&waiting, true), Some(Check::Limits));
        assert_eq!(check(&waiting, false), None, "some may be on their way to the state machine");
        let answered = Message::ReadIndexReply { request: RequestId(1), outcome: Err(Refusal::NotLeader) };
        waiting.ends(&Command::SendMessage { target: OTHER.node, message: answered });
        assert_eq!(check(&waiting, true), None);
        waiting.begins(&question());
        assert_eq!(check(&waiting, true), Some(Check::Limits));
        waiting.ends(&Command::RefusePeer { peer: OTHER, reason: PeerRefusal::NotMember });
        assert_eq!(check(&waiting, true), None, "whom it does not listen to it does not answer");
        waiting.begins(&read(3));
        waiting.ends(&Command::RefusePeer { peer: OTHER, reason: PeerRefusal::NotMember });
        assert_eq!(check(&waiting, true), Some(Check::Limits), "that was not for a question");
        waiting.ends(&Command::StateMachine(StateMachineRequest::Read { token: Token(1) }));
        waiting.ends(&refused(2));
        assert_eq!(check(&begun([read(1), read(2), read(3)]), true), Some(Check::Limits));
        assert_eq!(check(&waiting, true), None);
    }

    #[test]
    fn a_step_that_brings_nothing_exceeds_nothing_and_a_refusal_belongs_to_its_own_step() {
        let mut waiting = begun([read(1), question(), read(2)]);
        assert_eq!(check(&waiting, true), Some(Check::Limits));
        waiting.begins(&Event::Timeout);
        assert_eq!(check(&waiting, true), None);
        let mut waiting = begun([question(), question(), read(1)]);
        waiting.ends(&Command::RefusePeer { peer: OTHER, reason: PeerRefusal::NotMember });
        assert_eq!(check(&waiting, true), Some(Check::Limits), "the read came last, and it is not of that");
    }

    #[test]
    fn writes_are_counted_however_small_they_are() {
        let limits = Limits { forwards_max: 2, uncommitted_bytes_max: 10_000, ..Limits::default() };
        let judge = |count| begun((1..=count).map(|token| propose(token, 1))).check(ONE, &limits, true).is_ok();
        assert!(judge(2) && !judge(3));
    }
}

//! What a node says must be among what the model lets it say.

use outrigger::engine::{AppendEntries, AppendOutcome, Batch, LogIndex, Message, NodeId, Term};
use outrigger_model::ServerId;

use super::{Question, Refinement, index, model, node, server, term};
use crate::check::{Violation, require};
use crate::trace::digest;
use crate::words::or;

impl Refinement {
    /// A node sends a message.
    pub(crate) fn said(&mut self, from: NodeId, to: NodeId, message: &Message) -> Result<(), Violation> {
        let (i, j) = (server(from), server(to));
        match message {
            Message::RequestVote(request) => {
                let asked = self.system.said.asked.get(&(term(request.term), i)).copied();
                let says = Some((term(request.last.term), index(request.last.index)));
                let last = |ends: Option<_>| {
                    or(ends.map(|(term, index): (model::Term, model::LogIndex)| format!("{term}/{index}")), "nothing")
                };
                let (own, its_model) = (last(says), last(asked));
                require!(asked == says, Refinement, "node {from} asks with a log to {own}, its model to {its_model}");
            }
            Message::RequestVoteReply(reply) if reply.granted => {
                let vote = (term(reply.asked), i, j);
                let voted = self.system.said.granted.contains(&vote);
                require!(voted, Refinement, "node {from} votes for {to} in term {}, its model does not", reply.asked);
            }
            Message::AppendEntries(append) => self.sent(i, append)?,
            Message::AppendEntriesReply(reply) => {
                if let AppendOutcome::Matched(matched) = reply.outcome {
                    self.acknowledged(i, reply.term, matched)?;
                }
            }
            Message::Heartbeat(heartbeat) => {
                self.told(i, heartbeat.term, heartbeat.commit)?;
                let begun = self.system.said.begun.get(&(term(heartbeat.term), i)).copied().unwrap_or_default();
                let round = heartbeat.round.0;
                require!(round <= begun as u64, Refinement, "node {from} is in round {round}, its model in {begun}");
            }
            Message::HeartbeatReply(reply) => {
                self.acknowledged(i, reply.asked, reply.matched)?;
                let answered = self.system.said.answered.get(&(term(reply.asked), j, i)).copied().unwrap_or_default();
                let is_late = reply.term > reply.asked;
                let round = reply.round.0;
                require!(
                    is_late || round <= answered as u64,
                    Refinement,
                    "node {from} answers round {round}, its model {answered}"
                );
            }
            Message::Committed { term, commit } => self.told(i, *term, *commit)?,
            Message::InstallSnapshot(piece) => self.brings(i, piece)?,
            Message::ReadIndex { request, .. } => self.ask(Question::Follower(from, *request))?,
            Message::ReadIndexReply { request, outcome: Ok(at) } => {
                let read = self.reads.get(&Question::Follower(to, *request));
                let read = read.and_then(|read| self.system.said.reads.get(read));
                let confirmed = read.and_then(|read| read.confirmed);
                require!(
                    confirmed.is_some_and(|confirmed| index(*at) >= confirmed),
                    Refinement,
                    "node {from} confirms a read of {to} at {at}, its model {}",
                    or(confirmed.map(|confirmed| format!("not before {confirmed}")), "has not confirmed it")
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// Entries are those of the leader's log.
    fn sent(&self, i: ServerId, append: &AppendEntries) -> Result<(), Violation> {
        let led = self.system.said.led.get(&(term(append.term), i));
        let holds = |batch: &Batch| {
            let first = index(batch.first().index).0;
            batch.entries().iter().enumerate().all(|(offset, payload)| {
                let at = outrigger_model::LogIndex(first + offset);
                let held = led.and_then(|led| led.entry(at));
                held.is_some_and(|held| held.term == term(batch.term()) && held.value.digest == digest(payload))
            })
        };
        let has_prev = led.is_some_and(|led| led.term_at(index(append.prev.index)) == term(append.prev.term));
        let is_its_log = has_prev && append.batches.iter().all(holds);
        require!(
            is_its_log,
            Refinement,
            "node {} sends what is not of its log in term {}: {}",
            node(i),
            append.term,
            Message::AppendEntries(append.clone())
        );
        self.told(i, append.term, append.commit)
    }

    /// A leader tells no more than it has committed.
    pub(super) fn told(&self, i: ServerId, in_term: Term, commit: LogIndex) -> Result<(), Violation> {
        let told = self.system.said.told.get(&(term(in_term), i)).copied();
        let holds = told.is_some_and(|told| index(commit) <= told);
        require!(
            holds,
            Refinement,
            "node {} tells that {commit} is committed in term {in_term}, its model tells {}",
            node(i),
            or(told, "nothing")
        );
        Ok(())
    }

    /// A follower acknowledges no more than it holds durably of its leader's log.
    fn acknowledged(&self, i: ServerId, in_term: Term, matched: LogIndex) -> Result<(), Violation> {
        let held = self.system.said.acknowledged.get(&(term(in_term), i)).copied().unwrap_or_default();
        require!(
            index(matched) <= held,
            Refinement,
            "node {} acknowledges {matched} in term {in_term}, its model {held}",
            node(i)
        );
        Ok(())
    }
}

//! Forms of a write, for callers that want less than [`Raft::write`] answers, or more than one answer, or ask for it under a
//! condition.
//!
//! ```text
//!                         in an inbox ──► in the leader's log ──► committed ──► applied on this node
//!   write_and_forget           *
//!   write_until_committed                                             *
//!   barrier                                                                           *  (nothing is applied)
//!   write, write_each                                                                 *  with its response
//!   write_in_term                           (in that term only)                       *  with its response
//! ```

use std::collections::VecDeque;

use outrigger_engine::{LogId, Payload, Term};

use super::{NotSubmitted, Raft};
use crate::LargeStateMachine;
use crate::error::WriteError;
use crate::runtime::arrivals::Conditional;
use crate::runtime::encoded::encode;
use crate::runtime::respond::{Failure, Reply, Slot};

impl<S: LargeStateMachine> Raft<S> {
    /// As [`Raft::write`], but answers as soon as the command is certain to be applied, and with its place in the log rather than a
    /// response: a majority of the nodes hold it durably, and the state machine, which may be slow, may still have to come to it.
    /// A [`Raft::read`] that begins afterwards sees it.
    ///
    /// Dropping the future leaves the outcome open.
    ///
    /// # Errors
    /// As [`Raft::write`].
    ///
    /// ```no_run
    /// # async fn example<S: outrigger::StateMachine<Command = u64>>(raft: outrigger::Raft<S>) -> Result<(), outrigger::Error> {
    /// let place = raft.write_until_committed(5).await?;
    /// println!("entry {place} cannot be lost any more");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_until_committed(&self, command: S::Command) -> Result<LogId, WriteError> {
        let submit = move |raft: &Self| {
            let payload = raft.payload(encode(&command)?)?;
            let (slot, reply) = Slot::committed();
            raft.0.inbox.write(payload, slot)?;
            Ok(reply)
        };
        self.answered(submit, self.0.config.request_timeout).await
    }

    /// Writes an entry that changes nothing, and answers its place in the log once this node has applied all before it: whatever
    /// was written before, by anybody, is then part of what [`Raft::read_local`] sees on this node. It costs as much as a write;
    /// to see what was written, [`Raft::read`] is cheaper.
    ///
    /// It is safe to repeat. Dropping the future leaves nothing behind but the entry.
    ///
    /// # Errors
    /// As [`Raft::write`].
    ///
    /// ```no_run
    /// # async fn example<S: outrigger::StateMachine>(raft: outrigger::Raft<S>) -> Result<(), outrigger::Error> {
    /// raft.barrier().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn barrier(&self) -> Result<LogId, WriteError> {
        let submit = |raft: &Self| {
            let (slot, reply) = Slot::passed();
            raft.0.inbox.write(Payload::blank(), slot)?;
            Ok(reply)
        };
        self.answered(submit, self.0.config.request_timeout).await
    }

    /// As [`Raft::write`], if the cluster is still led in this term, and thereby by the leader that was elected in it: for who has
    /// decided by something that only holds as long as that one leads, such as a lock that it hands out. From any node; the term
    /// is in [`Metrics::term`](crate::Metrics::term).
    ///
    /// # Errors
    /// [`WriteError::NotApplied`] with [`Refusal::PreconditionFailed`](crate::engine::Refusal::PreconditionFailed) once this node
    /// knows of another term, which it names; otherwise as [`Raft::write`].
    ///
    /// ```no_run
    /// # async fn example<S: outrigger::StateMachine<Command = u64>>(raft: outrigger::Raft<S>) -> Result<(), outrigger::Error> {
    /// let term = raft.metrics().latest().term;
    /// // ... something that only holds for the leader of this term ...
    /// raft.write_in_term(term, 5).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_in_term(&self, term: Term, command: S::Command) -> Result<S::Response, WriteError> {
        let submit = move |raft: &Self| {
            let payload = raft.payload(encode(&command)?)?;
            let (slot, reply) = Slot::one();
            raft.0.inbox.write_conditional(Conditional { term, payload, slot })?;
            Ok(reply)
        };
        self.answered(submit, self.0.config.request_timeout).await
    }

    /// Hands a command over and waits for nothing. Whether it is ever applied is not told: without a leader, or when too much is
    /// in hand, it comes to nothing. What one caller hands over is applied in that order, as far as it is.
    ///
    /// # Errors
    /// [`WriteError`] if it is certain already that it comes to nothing: it is too large, cannot be encoded, this node has too much
    /// in hand or has stopped.
    pub fn write_and_forget(&self, command: S::Command) -> Result<(), WriteError> {
        let submit = move || -> Result<(), NotSubmitted> {
            let payload = self.payload(encode(&command)?)?;
            Ok(self.0.inbox.write(payload, Slot::Nobody)?)
        };
        submit().map_err(WriteError::from)
    }

    /// Changes the state by several commands, one right after the other, and answers each as soon as it is applied, in order:
    /// [`Raft::write_many`] for who will not wait for the last before dealing with the first. Waits for a leader, up to
    /// [`Config::request_timeout`](crate::Config::request_timeout); from then on each command has its own answer, and what is
    /// refused is not tried again.
    ///
    /// Dropping what it returns leaves the outcome of the rest open.
    ///
    /// # Errors
    /// [`WriteError`] if nothing of it was begun.
    ///
    /// ```no_run
    /// # async fn example<S: outrigger::StateMachine<Command = u64>>(raft: outrigger::Raft<S>) -> Result<(), outrigger::Error>
    /// # where S::Response: std::fmt::Debug {
    /// let mut responses = raft.write_each((1..=1_000).collect()).await?;
    /// while let Some(response) = responses.next().await {
    ///     println!("{:?}", response?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_each(&self, commands: Vec<S::Command>) -> Result<Writes<S>, WriteError> {
        let encoded = commands.iter().map(|command| self.payload(encode(command)?));
        let payloads = encoded.collect::<Result<Vec<_>, NotSubmitted>>()?;
        if payloads.is_empty() {
            return Ok(Writes { replies: VecDeque::new() });
        }
        if self.metrics().latest().leader.is_none() {
            self.retry_from_now(self.0.config.request_timeout).wait().await;
        }
        let (slots, replies) = payloads.iter().map(|_| Slot::one()).unzip();
        self.0.inbox.write_each(payloads, slots).map_err(WriteError::from)?;
        Ok(Writes { replies })
    }
}

/// The responses to [`Raft::write_each`], in the order of the commands.
#[must_use = "the responses come one by one, from `next`"]
pub struct Writes<S: LargeStateMachine> {
    replies: VecDeque<Reply<S::Response>>,
}

impl<S: LargeStateMachine> Writes<S> {
    /// The response to the next command, once that is applied; `None` when there was one for each.
    ///
    /// Cancel safe: a response that was not handed out is the next one still.
    pub async fn next(&mut self) -> Option<Result<S::Response, WriteError>> {
        let answer: Result<_, Failure> = self.replies.front_mut()?.await;
        self.replies.pop_front();
        Some(answer.map_err(WriteError::from))
    }

    /// How many responses are still to come.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.replies.len()
    }
}

impl<S: LargeStateMachine> std::fmt::Debug for Writes<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writes").field("remaining", &self.replies.len()).finish()
    }
}

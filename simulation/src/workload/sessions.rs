//! Clients that write in sessions: what is in doubt they write again under the same number, until they know.
//!
//! ```text
//!   no session ──► register ──► write 1 ──► in doubt ──► write 1 again ──► written ──► write 2 ...
//!                                  └──► expired: nobody knows, or certainly not; register again
//! ```
//!
//! Several clients share a session, so that numbers overtake each other. Some old write comes once more from time to time,
//! as a copy would that was late; sessions rest, so that they expire.

use std::collections::{BTreeMap, BTreeSet};

use outrigger::engine::{Consistency, LogIndex, Payload, SessionId, Token};

use super::Wish;
use crate::check::SessionJudge;
use crate::machine::Write;
use crate::plan::{MILLISECOND, SessionPlan};
use crate::rng::Rng;

/// One write under one number.
#[derive(Clone, Debug)]
pub(crate) struct Once {
    pub(crate) write: Write,
    /// With its session and number.
    pub(crate) payload: Payload,
}

/// A write that is not settled.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) once: Once,
    /// Which request it was last.
    pub(super) token: Token,
    /// The highest place that any client knew when it began.
    pub(super) floor: LogIndex,
    /// Whether a try may be applied yet.
    pub(super) in_doubt: bool,
}

/// What some clients share.
#[derive(Debug, Default)]
struct Held {
    session: Option<SessionId>,
    /// The last number that was given; 0 before the first.
    last: u64,
    /// The numbers that are not settled.
    tried: BTreeSet<u64>,
    /// Until then nobody writes in it.
    rests_until: u64,
    /// Which client registers it.
    registers: Option<u64>,
}

/// The sessions of all clients.
#[derive(Debug)]
pub(crate) struct ClientSessions {
    rng: Rng,
    plan: SessionPlan,
    /// A client has the one at its number, modulo their count.
    held: Vec<Held>,
    /// By client.
    pub(super) pending: BTreeMap<u64, Pending>,
    /// Writes that are settled, some of them.
    settled: Vec<Payload>,
    /// What must come of it all.
    pub(crate) judge: SessionJudge,
}

/// So many settled writes are remembered, to come again.
const SETTLED_MAX: usize = 8;

impl ClientSessions {
    pub(crate) fn new(mut plan: SessionPlan) -> Self {
        let held = (0..plan.shared).map(|_| Held::default()).collect();
        let (rng, judge) = (plan.rng.fork(), SessionJudge::new(plan.limits));
        Self { rng, plan, held, pending: BTreeMap::new(), settled: Vec::new(), judge }
    }

    fn place(&self, client: u64) -> usize {
        usize::try_from(client).expect("a small number") % self.held.len()
    }

    /// What a client does that wants to write; in a hurry it does nothing else first.
    pub(super) fn wish(&mut self, client: u64, writes: &[Write], is_hurried: bool, now: u64) -> Option<Wish> {
        let place = self.place(client);
        if !is_hurried {
            if !self.settled.is_empty() && self.rng.chance(100_000) {
                return Some(Wish::Copy(self.rng.pick(&self.settled).clone()));
            }
            if self.rng.chance(100_000) {
                return None;
            }
            if now < self.held[place].rests_until {
                return Some(Wish::Read(writes[0].key, Consistency::Linearizable));
            }
        }
        let padding = self.rng.count(0, 40);
        let held = &mut self.held[place];
        let Some(session) = held.session else {
            // Where few sessions may live, those that register at once would take each other's place for ever.
            if is_hurried && held.registers.is_some_and(|other| other != client) {
                return None;
            }
            held.registers = Some(client);
            return Some(Wish::Register(self.plan.time_to_live_ms));
        };
        if !is_hurried && self.rng.chance(50_000) {
            return Some(Wish::KeepAlive(session));
        }
        let sequence = held.last + 1;
        if held.tried.first().is_some_and(|oldest| sequence - oldest >= self.plan.limits.window) {
            return Some(Wish::Read(writes[0].key, Consistency::Linearizable));
        }
        held.last = sequence;
        held.tried.insert(sequence);
        let payload = writes[0].encode(padding).in_session(session, sequence);
        Some(Wish::Once(Once { write: writes[0], payload }))
    }

    /// A client registers no more, whatever it was told.
    pub(super) fn has_registered(&mut self, client: u64) {
        let place = self.place(client);
        self.held[place].registers.take_if(|registers| *registers == client);
    }

    /// A client was told that its session is registered.
    pub(super) fn registered(&mut self, client: u64, session: SessionId) {
        let place = self.place(client);
        // Another client may have been told of another one meanwhile: that is as good.
        if self.held[place].session.is_none() {
            self.held[place] = Held { session: Some(session), ..Held::default() };
        }
    }

    /// A client was told that its session is gone.
    pub(super) fn expired(&mut self, client: u64, session: SessionId) {
        let place = self.place(client);
        if self.held[place].session == Some(session) {
            self.held[place] = Held::default();
        }
    }

    /// A client knows what became of its write, or will never know.
    pub(super) fn settle(&mut self, client: u64) -> Option<Pending> {
        let pending = self.pending.remove(&client)?;
        let (place, payload) = (self.place(client), &pending.once.payload);
        if self.held[place].session == Some(payload.session) {
            self.held[place].tried.remove(&payload.sequence);
        }
        Some(pending)
    }

    /// A client was told that its write is applied: it may come once more, and the session may rest.
    pub(super) fn written(&mut self, client: u64, payload: Payload, now: u64) {
        if self.settled.len() == SETTLED_MAX {
            self.settled.remove(0);
        }
        self.settled.push(payload);
        let place = self.place(client);
        if self.rng.chance(50_000) {
            let rest = self.rng.between(1, 2 * self.plan.time_to_live_ms);
            self.held[place].rests_until = now + rest * MILLISECOND;
        }
    }

    /// Whether a client that hears that its write was refused gives it up.
    pub(super) fn gives_up(&mut self) -> bool {
        self.rng.chance(500_000)
    }
}

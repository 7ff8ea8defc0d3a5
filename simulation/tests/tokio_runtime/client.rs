//! Clients: they write and read through any node, and believe what they are told.
//!
//! What an error says about a write is taken at its word: what is not applied must never show, what is unknown may. A
//! call that is answered by nothing at all within [`ANSWER_WITHIN`] is what must never happen.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger::{Outcome, Raft, ReadError, WriteError};
use outrigger_simulation::linearizability::HistoryError;
use tokio::time::{sleep, timeout};

use crate::plan::{ANSWER_WITHIN, Plan};
use crate::record::Record;
use crate::register::{Answer, Change, Command, Register, Seen};
use crate::rng::Rng;
use crate::slot::Slot;
use crate::trace::Trace;

/// Why writes were in doubt, as the errors say.
const DOUBTS: [&str; 2] =
    ["write in doubt: leadership changed", "write in doubt: no answer within the request timeout"];

/// See the module.
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) rng: Rng,
    pub(crate) plan: Arc<Plan>,
    pub(crate) trace: Trace,
    pub(crate) slots: Vec<Arc<Slot>>,
    pub(crate) record: Arc<Mutex<Record>>,
}

impl Client {
    /// Calls one node after the other, until then.
    pub(crate) async fn live(mut self, until: Duration) {
        while self.trace.now() < until {
            sleep(Duration::from_millis(self.rng.below(self.plan.rest_max))).await;
            let any = self.rng.pick(&self.slots);
            let leader = self.slots.iter().find(|slot| self.plan.is_crowded && slot.leads());
            let Some(raft) = leader.unwrap_or(any).raft() else { continue };
            match self.rng.below(10) {
                0..5 => drop(self.write(&raft, 1).await),
                5 => {
                    let size = self.rng.count(2, 3);
                    self.write(&raft, size).await;
                }
                6 => self.read_local(&raft).await,
                _ => drop(self.read(&raft).await),
            }
        }
    }

    /// How long this call is waited for: as long as it takes, but for a client that loses its patience.
    fn patience(&mut self) -> Duration {
        if self.rng.chance(50_000) { Duration::from_millis(self.rng.below(500)) } else { ANSWER_WITHIN }
    }

    /// What became of waiting; none if there was no answer.
    fn in_time<T, E>(&self, answer: Result<T, E>, patience: Duration) -> Option<T> {
        if answer.is_err() && patience == ANSWER_WITHIN {
            self.trace.violate(format!("client {} was not answered within {patience:?}", self.id));
        } else if answer.is_err() {
            self.trace.count("call given up", &[self.id]);
        }
        answer.ok()
    }

    /// Writes so many commands, which stay together. Answers whether they were applied.
    pub(crate) async fn write(&mut self, raft: &Raft<Register>, size: usize) -> bool {
        let called = self.trace.note("write called", &[self.id, raft.config().id], String::new);
        let commands: Vec<_> = (0..size).map(|_| self.command(called)).collect();
        let calls: Vec<_> = commands.iter().map(|command| (command.call, command.change)).collect();
        let patience = self.patience();
        let answer = match <[Command; 1]>::try_from(commands) {
            Ok([command]) => timeout(patience, raft.write(command)).await.map(|one| one.map(|one| vec![one])),
            Err(commands) => timeout(patience, raft.write_many(commands)).await,
        };
        self.in_time(answer, patience).is_some_and(|answer| self.note_answer(&calls, &answer))
    }

    fn command(&mut self, called: u64) -> Command {
        let key = self.rng.below(self.plan.keys);
        let record = Arc::clone(&self.record);
        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
        let change = match self.rng.below(8) {
            0 => Change::Delete,
            // One of the last calls may well have left its value.
            1 | 2 => Change::Cas(record.calls().saturating_sub(self.rng.between(1, 8))),
            _ => Change::Put,
        };
        record.write(self.id, called, key, change, self.rng.count(0, 200))
    }

    fn note_answer(&self, calls: &[(u64, Change)], answer: &Result<Vec<Answer>, WriteError>) -> bool {
        let what = match answer {
            Ok(_) => "write answered",
            Err(WriteError::Stopped) => "write refused: the node has stopped",
            Err(error) if error.outcome() == Outcome::NotApplied => "write refused",
            Err(_) => "write in doubt",
        };
        let places: Vec<u64> = answer.iter().flatten().map(|answer| answer.place).collect();
        let at = self.trace.note(what, &places, || format!("{answer:?}"));
        self.trace.count(what, &[]);
        for why in DOUBTS {
            let said = why.trim_start_matches("write in doubt: ");
            if answer.as_ref().is_err_and(|error| error.to_string().contains(said)) {
                self.trace.count(why, &[]);
            }
        }
        if places.iter().zip(places.iter().skip(1)).any(|(one, next)| one + 1 != *next) {
            self.trace.violate(format!("commands of one group are at {places:?}"));
        }
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let noted: Result<(), HistoryError> = match answer {
            Ok(answers) => calls.iter().zip(answers).try_for_each(|(call, answer)| record.written(*call, at, *answer)),
            Err(error) if error.outcome() == Outcome::NotApplied => {
                calls.iter().try_for_each(|(call, _)| record.refused(*call))
            }
            Err(_) => Ok(()),
        };
        noted.expect("each call has one answer");
        answer.is_ok()
    }

    /// Reads what everybody agrees on. Answers whether it could.
    pub(crate) async fn read(&mut self, raft: &Raft<Register>) -> bool {
        let key = self.rng.below(self.plan.keys);
        let called = self.trace.note("read called", &[self.id, raft.config().id], String::new);
        let read = self.record.lock().unwrap_or_else(PoisonError::into_inner).read(self.id, called, key);
        let patience = self.patience();
        let answer = timeout(patience, raft.read(move |state| state.seen(key))).await;
        let Some(answer) = self.in_time(answer, patience) else { return false };
        match answer {
            Ok(seen) => {
                let Seen { place, chain, .. } = seen;
                let at = self.trace.note("read answered", &[place, chain], || format!("{seen:?}"));
                self.trace.count("read answered", &[]);
                let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
                record.seen(read, at, seen).expect("each call has one answer");
                true
            }
            Err(ReadError::Panicked { reason }) => {
                self.trace.violate(format!("a read panicked: {reason}"));
                false
            }
            Err(error) => {
                self.trace.note("read refused", &[], || error.to_string());
                self.trace.count("read refused", &[]);
                false
            }
        }
    }

    /// Reads what one node has: it may be old, but never wait for anybody.
    async fn read_local(&mut self, raft: &Raft<Register>) {
        let answer = timeout(ANSWER_WITHIN, raft.read_local(|state| state.seen(0))).await;
        match self.in_time(answer, ANSWER_WITHIN) {
            Some(Ok(seen)) => self.trace.count("local read answered", &[seen.place, seen.chain]),
            Some(Err(_)) => self.trace.count("local read refused", &[]),
            None => {}
        }
    }
}

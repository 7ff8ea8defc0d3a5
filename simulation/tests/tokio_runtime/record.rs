//! What clients asked for and were told, and how it is held against what the cluster ends with.

use outrigger_simulation::linearizability::key_value::{Expect, KeyValue, Operation, Outcome};
use outrigger_simulation::linearizability::{
    Fate, History, HistoryError, Limits, OperationId, Verdict, check, check_applied,
};

use crate::register::{Answer, Change, Command, Key, Register, Seen, chains};

/// A search of one key that takes longer is given up; the order of the log decides then, as it does anyway.
const SEARCH_STEPS: u64 = 100_000;

/// See the module.
#[derive(Default)]
pub(crate) struct Record {
    history: History<Operation<Key, u64>, Outcome<u64>>,
    /// The reads that were answered, and what they saw.
    reads: Vec<(OperationId, Seen)>,
}

impl Record {
    /// How many calls there were.
    pub(crate) fn calls(&self) -> u64 {
        self.history.len() as u64
    }

    /// A client calls a write.
    pub(crate) fn write(&mut self, client: u64, at: u64, key: Key, change: Change, ballast: usize) -> Command {
        let call = self.calls();
        let operation = match change {
            Change::Put => Operation::Put { key, value: call },
            Change::Delete => Operation::Delete { key },
            Change::Cas(expected) => Operation::Cas { key, expect: Expect::Value(expected), value: call },
        };
        self.history.call(client, at, operation);
        Command { call, key, change, ballast: vec![0; ballast] }
    }

    /// A client calls a read.
    pub(crate) fn read(&mut self, client: u64, at: u64, key: Key) -> OperationId {
        self.history.call(client, at, Operation::Get { key })
    }

    /// A write was answered.
    pub(crate) fn written(&mut self, command: (u64, Change), at: u64, answer: Answer) -> Result<(), HistoryError> {
        let (call, change) = command;
        let revision = Some(answer.place);
        let outcome = match change {
            Change::Put => Outcome::Written { revision },
            Change::Delete => Outcome::Deleted { existed: answer.existed, revision },
            Change::Cas(_) if answer.has_changed => Outcome::Written { revision },
            Change::Cas(_) => Outcome::Mismatch,
        };
        self.history.returned(self.operation(call), at, outcome)
    }

    /// A write will never happen, its client was told.
    pub(crate) fn refused(&mut self, call: u64) -> Result<(), HistoryError> {
        self.history.refused(self.operation(call))
    }

    /// A read was answered.
    pub(crate) fn seen(&mut self, read: OperationId, at: u64, seen: Seen) -> Result<(), HistoryError> {
        self.reads.push((read, seen));
        let (value, revision) = seen.value.unzip();
        self.history.returned(read, at, Outcome::Got { value, revision })
    }

    fn operation(&self, call: u64) -> OperationId {
        let at = usize::try_from(call).expect("a call is a place in memory");
        let found = self.history.invocations().nth(at);
        found.map(|(id, _)| id).expect("a call is given its number by its history")
    }

    /// Holds everything against the state that all nodes end with: the order of the log explains every answer, in real
    /// time; nothing acknowledged is missing, nothing refused is there, nothing is there twice; and the history alone is
    /// linearizable. Answers whether the search for that was given up.
    pub(crate) fn check(&self, state: &Register) -> Result<bool, String> {
        let operations: Vec<OperationId> = self.history.invocations().map(|(id, _)| id).collect();
        let named = |call: &u64| operations.get(usize::try_from(*call).ok()?).copied();
        let mut applied = Vec::new();
        for (place, call) in (1..).zip(&state.applied) {
            applied.push((place, named(call).ok_or_else(|| format!("call {call} was never made, and is applied"))?));
        }
        let chains = chains(&state.applied);
        for (read, seen) in &self.reads {
            let chain = usize::try_from(seen.place).ok().and_then(|place| chains.get(place));
            if chain != Some(&seen.chain) {
                return Err(format!("the read {read} saw {} writes in another order than was applied", seen.place));
            }
        }
        let reads: Vec<_> = self.reads.iter().map(|(read, seen)| (seen.place, *read)).collect();
        check_applied(&KeyValue::new(), &self.history, &applied, &reads).map_err(|found| found.to_string())?;
        match check(&KeyValue::new(), &self.history, Limits::steps(SEARCH_STEPS)) {
            Verdict::Linearizable(_) => Ok(false),
            Verdict::Undecided(_) => Ok(true),
            Verdict::Violated(violation) => Err(violation.to_string()),
        }
    }

    /// The writes and reads that were answered, refused, and left in doubt.
    pub(crate) fn tally(&self) -> [u64; 3] {
        let mut tally = [0; 3];
        for (_, invocation) in self.history.invocations() {
            let place = match invocation.fate {
                Fate::Returned { .. } => 0,
                Fate::Refused => 1,
                Fate::Unknown => 2,
            };
            tally[place] += 1;
        }
        tally
    }
}

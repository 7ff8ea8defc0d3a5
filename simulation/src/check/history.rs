//! What clients asked and were told, as a history that is checked for linearizability by itself, without a look at any log,
//! and once more along the log.

use std::collections::BTreeMap;

use outrigger::engine::{LogIndex, Token};

use super::{Check, Violation};
use crate::linearizability::key_value::{KeyValue, Operation, Outcome};
use crate::linearizability::{History, Limits, OperationId, Verdict, check, check_applied};
use crate::machine::{Answer, Write};
use crate::workload::Wish;

/// So many steps for each register: a history of a simulation takes some thousand.
const STEPS_MAX: u64 = 1_000_000;

/// The clients' history.
#[derive(Debug, Default)]
pub(crate) struct ClientHistory {
    history: History<Operation<u64, u64>, Outcome<u64>>,
    /// The operations of each wish that is not settled, in order.
    open: BTreeMap<Token, Vec<OperationId>>,
    /// The write of each value.
    writes: BTreeMap<u64, OperationId>,
    /// The writes that were committed, in the order of the log.
    applied: Vec<(u64, OperationId)>,
    /// The reads, with the last index that each saw.
    reads: Vec<(u64, OperationId)>,
}

impl ClientHistory {
    /// A client wishes.
    pub(crate) fn called(&mut self, client: u64, token: Token, wish: &Wish, now: u64) {
        let operations = match wish {
            Wish::Read(key) => vec![self.history.call(client, now, Operation::Get { key: *key })],
            Wish::Write(writes) => writes.iter().map(|write| self.write(client, *write, now)).collect(),
        };
        self.open.insert(token, operations);
    }

    fn write(&mut self, client: u64, Write { key, value }: Write, now: u64) -> OperationId {
        let operation = self.history.call(client, now, Operation::Put { key, value });
        self.writes.insert(value, operation);
        operation
    }

    /// An entry was committed.
    pub(crate) fn committed(&mut self, write: Write, at: LogIndex) {
        self.applied.extend(self.writes.get(&write.value).map(|operation| (at.0, *operation)));
    }

    /// A client is answered. What is never answered stays unknown.
    pub(crate) fn answered(&mut self, token: Token, answer: &Answer, now: u64) {
        for (operation, offset) in self.open.remove(&token).unwrap_or_default().into_iter().zip(0..) {
            let settled = match answer {
                Answer::Written(first) => {
                    let revision = Some(first.index.0 + offset);
                    self.history.returned(operation, now, Outcome::Written { revision })
                }
                Answer::Read(at, value) => {
                    self.reads.push((at.0, operation));
                    self.history.returned(operation, now, Outcome::Got { value: *value, revision: None })
                }
                Answer::Refused => self.history.refused(operation),
                Answer::Unknown => Ok(()),
            };
            settled.expect("each wish is settled once, after it was asked");
        }
    }

    /// Checks all of it along the log and, if it is to be searched, by the answers alone. Answers whether the search came to
    /// its end.
    pub(crate) fn check(&self, searches: bool) -> Result<bool, Violation> {
        let violated = |reason| Violation { check: Check::Linearizability, reason };
        check_applied(&KeyValue::new(), &self.history, &self.applied, &self.reads)
            .map_err(|violation| violated(violation.to_string()))?;
        if !searches {
            return Ok(false);
        }
        match check(&KeyValue::new(), &self.history, Limits::steps(STEPS_MAX)) {
            Verdict::Linearizable { .. } => Ok(true),
            Verdict::Undecided(_) => Ok(false),
            Verdict::Violated(violation) => Err(violated(violation.to_string())),
        }
    }
}

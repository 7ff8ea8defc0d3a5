//! What clients asked and were told, as a history that is checked for linearizability by itself, without a look at any log,
//! and once more along the log.

use std::ops::Range;

use outrigger::engine::{Consistency, LogIndex, Token};

use super::{Check, Violation};
use crate::linearizability::key_value::{KeyValue, Operation, Outcome};
use crate::linearizability::{History, Limits, OperationId, Verdict, check, check_applied};
use crate::machine::{Answer, Write};
use crate::words;
use crate::workload::Wish;

/// So many steps for each register: a history of a simulation takes some thousand.
const STEPS_MAX: u64 = 1_000_000;

/// So many operations most worlds have.
const ROOM: usize = 1 << 10;

/// The clients' history.
#[derive(Debug)]
pub(crate) struct ClientHistory {
    history: History<Operation<u64, u64>, Outcome<u64>>,
    /// The request of each operation: what the trace knows it by.
    requests: Vec<Token>,
    /// The operations of each wish that is not settled, which were called one after the other. No client has two such wishes, so
    /// they are few.
    open: Vec<(Token, Range<usize>)>,
    /// The write of each value: values are counted.
    writes: Vec<Option<OperationId>>,
    /// The writes that were committed, in the order of the log.
    applied: Vec<(u64, OperationId)>,
    /// The reads, with the last index that each saw.
    reads: Vec<(u64, OperationId)>,
}

impl Default for ClientHistory {
    fn default() -> Self {
        let (requests, writes) = (Vec::with_capacity(ROOM), Vec::with_capacity(ROOM));
        let (history, open) = (History::with_capacity(ROOM), Vec::new());
        Self { history, requests, open, writes, applied: Vec::new(), reads: Vec::new() }
    }
}

impl ClientHistory {
    /// A client wishes.
    pub(crate) fn called(&mut self, client: u64, token: Token, wish: &Wish, now: u64) {
        let first = self.history.len();
        match wish {
            // A read of the past is not one of an object that does one thing at a time.
            Wish::Read(_, Consistency::Acknowledged { .. } | Consistency::Stale { .. }) => return,
            Wish::Read(key, _) => {
                self.history.call(client, now, Operation::Get { key: *key });
            }
            Wish::Write(writes) => writes.iter().for_each(|write| self.write(client, *write, now)),
            Wish::Once(once) => self.write(client, once.write, now),
            Wish::Copy(_) | Wish::Register(_) | Wish::KeepAlive(_) => return,
        }
        let operations = first..self.history.len();
        self.requests.resize(operations.end, token);
        self.open.push((token, operations));
    }

    fn write(&mut self, client: u64, Write { key, value }: Write, now: u64) {
        let operation = self.history.call(client, now, Operation::Put { key, value });
        let place = usize::try_from(value).expect("values are counted from the first");
        if self.writes.len() <= place {
            self.writes.resize(place + 1, None);
        }
        self.writes[place] = Some(operation);
    }

    /// The operations of a wish that is settled now.
    fn settle(&mut self, token: Token) -> Range<usize> {
        let place = self.open.iter().position(|(open, _)| *open == token);
        place.map_or(0..0, |place| self.open.swap_remove(place).1)
    }

    /// A client asks again what it has asked before: it is the same operation.
    pub(crate) fn called_again(&mut self, before: Token, token: Token) {
        let operations = self.settle(before);
        self.open.push((token, operations));
    }

    /// An entry was committed.
    pub(crate) fn committed(&mut self, write: Write, at: LogIndex) {
        let operation = usize::try_from(write.value).ok().and_then(|place| *self.writes.get(place)?);
        self.applied.extend(operation.map(|operation| (at.0, operation)));
    }

    /// A client is answered. What is never answered stays unknown.
    pub(crate) fn answered(&mut self, token: Token, answer: &Answer, now: u64) {
        for (operation, offset) in self.settle(token).map(OperationId::at).zip(0..) {
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
                Answer::Unknown | Answer::Denied(_) | Answer::Alive(_) => Ok(()),
            };
            settled.expect("each wish is settled once, after it was asked");
        }
    }

    /// Checks all of it along the log and, if it is to be searched, by the answers alone. Answers whether the search came to
    /// its end.
    pub(crate) fn check(&self, searches: bool) -> Result<bool, Violation> {
        check_applied(&KeyValue::new(), &self.history, &self.applied, &self.reads)
            .map_err(|violation| self.violated(violation.to_string(), &violation.operations()))?;
        if searches { self.search() } else { Ok(false) }
    }

    /// Checks it by the answers alone, without a look at the log. Answers whether the search came to its end.
    fn search(&self) -> Result<bool, Violation> {
        match check(&KeyValue::new(), &self.history, Limits::steps(STEPS_MAX)) {
            Verdict::Linearizable { .. } => Ok(true),
            Verdict::Undecided(_) => Ok(false),
            Verdict::Violated(violation) => Err(self.violated(violation.to_string(), &[violation.stuck])),
        }
    }

    fn violated(&self, reason: String, operations: &[OperationId]) -> Violation {
        let named = operations.iter().map(|id| format!("{id} is {} in the trace", self.request(*id)));
        let reason = [reason].into_iter().chain(named).collect::<Vec<_>>().join("\n");
        Violation { check: Check::Linearizability, reason }
    }

    fn request(&self, operation: OperationId) -> String {
        words::request(self.requests.get(operation.index()).copied())
    }
}

#[cfg(test)]
mod tests {
    use outrigger::engine::LogId;

    use super::*;
    use crate::words::is_plain;

    /// Of a client's write of register 4, and of another one's read of it later on, which was answered so.
    fn of_a_read(answer: Option<u64>) -> ClientHistory {
        let mut history = ClientHistory::default();
        let write = Write { key: 4, value: 70 };
        history.called(1, Token(35), &Wish::Write(vec![write]), 10);
        history.answered(Token(35), &Answer::Written(LogId::new(2, 9)), 20);
        history.committed(write, LogIndex(9));
        history.called(2, Token(36), &Wish::Read(4, Consistency::Linearizable), 30);
        history.answered(Token(36), &Answer::Read(LogIndex(9), answer), 40);
        history
    }

    /// Where the two do not agree, one of them is wrong; each is to notice by itself.
    #[test]
    fn a_read_that_misses_what_was_written_is_noticed_along_the_log_and_without_it() {
        let (right, wrong) = (of_a_read(Some(70)), of_a_read(None));
        assert_eq!((right.check(false), right.check(true), right.search()), (Ok(false), Ok(true), Ok(true)));
        let of = |judged: Result<bool, Violation>| judged.expect_err("nobody noticed").check;
        assert_eq!((of(wrong.check(false)), of(wrong.search())), (Check::Linearizability, Check::Linearizability));
    }

    #[test]
    fn what_a_client_was_told_is_said_in_words_that_lead_to_the_trace() {
        let said = of_a_read(None).check(false).expect_err("a read that misses what was written").reason;
        assert_eq!(
            said,
            "client 2 was told by #1, get 4: nothing, and at its place, index 9, there was 70 of revision 9\n\
             #1 is request #36 in the trace"
        );
        assert!(is_plain(&said), "{said}");
    }

    /// A write that was asked for twice, and then answered like this.
    fn asked_again(answer: Answer) -> ClientHistory {
        let mut history = ClientHistory::default();
        history.called(1, Token(35), &Wish::Write(vec![Write { key: 4, value: 70 }]), 10);
        history.called_again(Token(35), Token(36));
        history.answered(Token(36), &answer, 20);
        history
    }

    #[test]
    fn the_answer_to_who_asked_again_is_that_of_the_write() {
        assert_eq!(asked_again(Answer::Unknown).check(true), Ok(true));
        let lost = asked_again(Answer::Written(LogId::new(2, 9))).check(false).expect_err("nobody has committed it");
        assert_eq!(lost.check, Check::Linearizability);
    }

    #[test]
    fn a_write_that_was_refused_and_is_committed_is_noticed_along_the_log() {
        let mut refused = asked_again(Answer::Refused);
        assert_eq!(refused.check(false), Ok(false));
        refused.committed(Write { key: 4, value: 70 }, LogIndex(9));
        assert_eq!(refused.check(false).expect_err("it has its effect").check, Check::Linearizability);
    }

    #[test]
    fn a_read_by_a_lease_is_one_of_an_object_and_one_of_the_past_is_not() {
        let read = |consistency| {
            let mut history = of_a_read(Some(70));
            history.called(3, Token(37), &Wish::Read(4, consistency), 50);
            history.answered(Token(37), &Answer::Read(LogIndex(9), None), 60);
            history.check(false).err().map(|violation| violation.check)
        };
        let long = std::time::Duration::from_secs(60);
        assert_eq!(read(Consistency::Lease), Some(Check::Linearizability));
        assert_eq!(read(Consistency::Acknowledged { age_max: long }), None);
        assert_eq!(read(Consistency::Stale { staleness_max: long }), None);
    }
}

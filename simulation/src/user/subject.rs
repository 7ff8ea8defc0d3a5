//! The user's state machine in a simulated cluster: one on each node, and one beside them that applies every committed
//! command once. What a node answers, what it holds, what it would put into a snapshot: all must be as with that one.
//!
//! ```text
//!   committed chain   put a ── put b ── add c ── ...
//!                       │        │        │
//!   reference           r1,s1    r2,s2    r3,s3           response and state after each command, once
//!   node 1              r1,s1    r2,s2    ·               compared as it applies
//!   node 2              r1,s1  ╳ r1,s1    r2,s2  ...      after a restart it applies all of it again
//!                                  └─ snapshot ─► restored copy goes on in its place
//!   node 3 ─ snapshot of node 1 ─► s2      r3,s3          whoever lacks what was purged, and whoever starts from a snapshot
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::rc::Rc;

use bytes::Bytes;
use outrigger::engine::{LogIndex, NodeId, Payload};

use super::machine::State;
use super::verdict;
use crate::check::Violation;
use crate::machine::Write;
use crate::rng::Rng;
use crate::trace::digest;

/// So many bytes of state are serialised for each command, on average: a larger state is looked at less often.
const BYTES_PER_COMMAND: usize = 4 << 10;
/// How often, where a state is looked at, a node goes on with a copy that was restored from it. In parts per million.
const RESTORES: u64 = 60_000;
/// How often it is looked whether a clone stays as it is while the original goes on.
const CLONES: u64 = 60_000;

/// Makes a state as it is before the first command.
pub(crate) type Maker = Rc<dyn Fn() -> Box<dyn State>>;

/// What every node must come to by one command.
pub(super) struct Due {
    pub(super) command: Bytes,
    pub(super) response: Bytes,
    /// The digest of the state's bytes, if it was looked at.
    pub(super) state: Option<u64>,
}

/// The machine beside the cluster, and what it came to.
pub(super) struct Reference {
    /// Makes a state for each node and each life: a clone of one would share its hash keys with all others.
    pub(super) make: Maker,
    /// After the last command of `due`.
    pub(super) state: Box<dyn State>,
    /// What each committed command must lead to.
    pub(super) due: BTreeMap<LogIndex, Due>,
    /// How many bytes may be serialised; a look takes what the last one took.
    credit: usize,
    /// How large the state was when it was looked at last.
    state_bytes: usize,
    /// What went wrong first.
    violation: Option<Violation>,
    /// Whether each command is printed with its response.
    print: bool,
}

impl Reference {
    fn committed(&mut self, index: LogIndex, command: Bytes) -> Result<(), Violation> {
        let response = self.state.apply(&command);
        let stopped = |fault| verdict::fault(&verdict::place(&*self.state, index, &command), fault);
        let response = response.map_err(stopped)?;
        if self.print {
            let response = self.state.response_text(&response);
            let place = verdict::place(&*self.state, index, &command);
            // As the lines of the trace that it stands between.
            let _: std::io::Result<()> = writeln!(std::io::stdout(), "{:10} committed {place}: {response}", "");
        }
        self.credit = self.credit.saturating_add(BYTES_PER_COMMAND);
        let mut state = None;
        if self.credit >= self.state_bytes {
            let bytes = self.state.bytes().map_err(stopped)?;
            self.credit = 0;
            self.state_bytes = bytes.len();
            state = Some(digest(&bytes));
        }
        self.due.insert(index, Due { command, response, state });
        Ok(())
    }

    /// All commands are committed: whatever its size, the last state is looked at.
    fn finish(&mut self) -> Result<(), Violation> {
        let Some((index, due)) = self.due.last_key_value() else { return Ok(()) };
        let stopped = |fault| verdict::fault(&verdict::place(&*self.state, *index, &due.command), fault);
        let state = Some(digest(&self.state.bytes().map_err(stopped)?));
        self.due.last_entry().into_iter().for_each(|mut last| last.get_mut().state = state);
        Ok(())
    }

    fn violate(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }
}

/// The user's state machine, for the world to host.
#[derive(Clone)]
pub(crate) struct Subject(Rc<RefCell<Reference>>);

impl Subject {
    pub(crate) fn new(make: Maker, print: bool) -> Self {
        let state = make();
        let due = BTreeMap::new();
        Self(Rc::new(RefCell::new(Reference { make, state, due, credit: 0, state_bytes: 0, violation: None, print })))
    }

    /// The machine of one node in one life.
    pub(crate) fn replica(&self, node: NodeId, rng: Rng) -> Replica {
        let state = (self.0.borrow().make)();
        Replica { subject: self.clone(), node, state, rng, last: LogIndex::ZERO, restored_at: None, cloned: None }
    }

    /// An entry was committed: from now on it is known what it leads to.
    pub(crate) fn committed(&self, index: LogIndex, payload: &Payload) -> Result<(), Violation> {
        let Some(command) = Write::behind(payload) else { return Ok(()) };
        self.0.borrow_mut().committed(index, command)
    }

    /// The command that an entry carries, if it carries one.
    pub(crate) fn text(&self, payload: &Payload) -> Option<String> {
        Write::behind(payload).map(|command| self.0.borrow().state.command_text(&command))
    }

    /// Something went wrong where nobody could be told.
    pub(crate) fn violate(&self, violation: Violation) {
        self.0.borrow_mut().violate(violation);
    }

    /// The history is over: what every node holds now is compared.
    pub(crate) fn finish(&self) -> Result<(), Violation> {
        self.0.borrow_mut().finish()
    }

    /// What went wrong first, if anything did.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        self.0.borrow().violation.clone().map_or(Ok(()), Err)
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("commands", &self.0.borrow().due.len()).finish_non_exhaustive()
    }
}

/// A clone of a state, taken as a snapshot takes one.
struct Cloned {
    /// After the command at this index.
    at: LogIndex,
    /// The bytes of the original then.
    bytes: Bytes,
    state: Box<dyn State>,
}

/// The user's state machine on one node, in one life.
pub(crate) struct Replica {
    subject: Subject,
    pub(super) node: NodeId,
    /// After the command at `last`.
    pub(super) state: Box<dyn State>,
    /// Decides when its state is restored or cloned.
    rng: Rng,
    /// The index of the last command that it applied.
    pub(super) last: LogIndex,
    /// Where the state was restored last, if it was.
    pub(super) restored_at: Option<LogIndex>,
    /// A clone that must not change when the original does.
    cloned: Option<Cloned>,
}

impl Replica {
    /// Applies a committed command and holds what comes of it against the reference.
    pub(crate) fn apply(&mut self, index: LogIndex, command: &[u8]) {
        let subject = self.subject.clone();
        let mut reference = subject.0.borrow_mut();
        // The world ends with the first violation: what comes after it tells nothing.
        if reference.violation.is_none()
            && let Err(violation) = self.apply_beside(&reference, index, command)
        {
            reference.violate(violation);
        }
    }

    fn apply_beside(&mut self, reference: &Reference, index: LogIndex, command: &[u8]) -> Result<(), Violation> {
        let response = self.state.apply(command);
        let response =
            response.map_err(|fault| verdict::fault(&verdict::place(&*self.state, index, command), fault))?;
        self.last = index;
        self.check_clone(command)?;
        let Some(due) = reference.due.get(&index) else { return Ok(()) };
        if response != due.response {
            return Err(verdict::response_differs(reference, self, &response));
        }
        if due.state.is_some() {
            let bytes = self.compare(reference, due)?;
            self.snapshot(reference, &bytes)?;
        }
        Ok(())
    }

    /// Where the state was restored last, if it was.
    pub(crate) const fn restored_at(&self) -> Option<LogIndex> {
        self.restored_at
    }

    /// A linearizable read runs on this state, or the history is over: it must be what the reference had come to, if that
    /// was looked at.
    pub(crate) fn look(&self) {
        let mut reference = self.subject.0.borrow_mut();
        if let Some(due) = reference.due.get(&self.last).filter(|due| due.state.is_some())
            && let Err(violation) = self.compare(&reference, due)
        {
            reference.violate(violation);
        }
    }

    /// The state's bytes, which are the reference's if those are known.
    fn compare(&self, reference: &Reference, due: &Due) -> Result<Bytes, Violation> {
        let stopped = |fault| verdict::fault(&verdict::place(&*self.state, self.last, &due.command), fault);
        let bytes = self.state.bytes().map_err(stopped)?;
        if due.state.is_some_and(|state| state != digest(&bytes)) {
            return Err(verdict::state_differs(reference, self));
        }
        Ok(bytes)
    }

    /// At times, what a snapshot does: the state is cloned while it goes on, or a copy restored from its bytes goes on in
    /// its place.
    fn snapshot(&mut self, reference: &Reference, bytes: &Bytes) -> Result<(), Violation> {
        let of_snapshot = |fault| verdict::snapshot_fault(self.node, self.last, fault);
        if self.rng.chance(CLONES) {
            let state = self.state.copy().map_err(of_snapshot)?;
            self.cloned = Some(Cloned { at: self.last, bytes: bytes.clone(), state });
        } else if self.rng.chance(RESTORES) {
            let restored = self.state.restored(bytes).map_err(of_snapshot)?;
            if restored.bytes().map_err(of_snapshot)? != *bytes {
                return Err(verdict::restored_differs(reference, self, &*restored));
            }
            self.state = restored;
            self.restored_at = Some(self.last);
        }
        Ok(())
    }

    /// What a snapshot of the node holds, made of a clone as production does it.
    pub(crate) fn snapshot_bytes(&self) -> Bytes {
        let bytes = self.state.copy().and_then(|copy| copy.bytes());
        bytes.unwrap_or_else(|fault| {
            self.subject.violate(verdict::snapshot_fault(self.node, self.last, fault));
            Bytes::new()
        })
    }

    /// The node goes on from a snapshot that covers the entries up to `last`.
    pub(crate) fn install(&mut self, last: LogIndex, snapshot: &Bytes) {
        let subject = self.subject.clone();
        let mut reference = subject.0.borrow_mut();
        if reference.violation.is_none()
            && let Err(violation) = self.install_beside(&reference, last, snapshot)
        {
            reference.violate(violation);
        }
    }

    fn install_beside(&mut self, reference: &Reference, last: LogIndex, snapshot: &Bytes) -> Result<(), Violation> {
        let covered = reference.due.range(..=last).next_back();
        self.last = covered.map_or(LogIndex::ZERO, |(index, _)| *index);
        let restored = self.state.restored(snapshot);
        self.state = restored.map_err(|fault| verdict::snapshot_fault(self.node, self.last, fault))?;
        (self.restored_at, self.cloned) = (Some(self.last), None);
        covered.map_or(Ok(()), |(_, due)| self.compare(reference, due).map(drop))
    }

    /// The clone that was taken before this command, if one was, is as it was.
    fn check_clone(&mut self, command: &[u8]) -> Result<(), Violation> {
        let Some(Cloned { at, bytes, state }) = self.cloned.take() else { return Ok(()) };
        let is_same = state.bytes().map_err(|fault| verdict::snapshot_fault(self.node, at, fault))? == bytes;
        if is_same { Ok(()) } else { Err(verdict::clone_differs(self, at, &*state, command)) }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("node", &self.node).field("last", &self.last).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use outrigger::StateMachine;
    use outrigger::engine::{LogId, LogTime};
    use serde::{Deserialize, Serialize};

    use super::super::machine::{Typed, encode_command};
    use super::*;
    use crate::check::Check;
    use crate::machine::Machine;

    /// Counts its commands.
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Counter(u64);

    /// The same, in a field that no snapshot holds.
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Forgetful {
        #[serde(skip)]
        count: u64,
    }

    impl StateMachine for Counter {
        type Command = u64;
        type Response = u64;

        fn apply(&mut self, command: u64) -> u64 {
            self.0 += command;
            self.0
        }
    }

    impl StateMachine for Forgetful {
        type Command = u64;
        type Response = u64;

        fn apply(&mut self, command: u64) -> u64 {
            self.count += command;
            self.count
        }
    }

    /// Node 2 goes on from a snapshot of node 1; what is said of it after one more command.
    fn goes_on_from_a_snapshot<S: StateMachine<Command = u64> + Default>() -> Result<(), Violation> {
        let subject = Subject::new(Rc::new(|| Box::new(Typed(S::default()))), false);
        let (mut rng, ids) = (Rng::new(7), [1, 2, 3].map(|index| LogId::new(1, index)));
        let [mut one, mut two] = [1, 2].map(|node| {
            let mut machine = Machine::default();
            machine.host(subject.replica(NodeId(node), rng.fork()));
            machine
        });
        let payloads = ids.map(|id| {
            let command = encode_command::<S>(&id.index.0).expect("a number has an encoding");
            Write { key: 1, value: id.index.0 }.encode_with(&command)
        });
        for (id, payload) in ids.iter().zip(&payloads) {
            subject.committed(id.index, payload)?;
        }
        for (id, payload) in ids.iter().zip(&payloads).take(2) {
            one.apply(*id, LogTime(0), payload);
        }
        two.restore(one.registers().clone(), &[], one.user_bytes().as_ref(), ids[..2].to_vec());
        assert_eq!((two.last(), two.restored_at()), (LogIndex(2), Some(LogIndex(2))));
        subject.check()?;
        two.apply(ids[2], LogTime(0), &payloads[2]);
        subject.check()
    }

    #[test]
    fn a_machine_goes_on_from_the_snapshot_of_another_node() {
        assert_eq!(goes_on_from_a_snapshot::<Counter>(), Ok(()));
    }

    #[test]
    fn what_a_snapshot_of_another_node_does_not_hold_is_missed() {
        let violation = goes_on_from_a_snapshot::<Forgetful>().unwrap_err();
        assert_eq!(violation.check, Check::Snapshot, "{violation}");
        assert!(violation.reason.contains("had been restored from a snapshot"), "{violation}");
    }
}

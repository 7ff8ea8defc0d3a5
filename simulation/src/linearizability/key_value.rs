//! A store of registers that can be read, written, deleted, and compared and set: what most tests need.
//!
//! A *revision* is a number that each change of a key gets and that only grows along the changes of one key, as the log
//! index of a write does or etcd's `mod_revision`. Clients may be told it with every answer, with some, or never; what
//! they are told must fit together:
//!
//! ```text
//!   put ──► Written 5 ──► Known(5) ── put, answered without ──► After(5) ── get ──► Got 9 ──► Known(9)
//! ```

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use super::{Effect, Specification};

/// The specification of a key-value store; each key is a register of its own.
///
/// # Examples
/// See [`linearizability`](super).
#[derive(Clone, Copy, Debug)]
pub struct KeyValue<K, V>(PhantomData<fn() -> (K, V)>);

impl<K, V> KeyValue<K, V> {
    /// A store in which no key has a value.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K, V> Default for KeyValue<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a client asks of a [`KeyValue`] store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation<K, V> {
    /// What is there?
    Get {
        /// Where.
        key: K,
    },
    /// Be this value.
    Put {
        /// Where.
        key: K,
        /// What.
        value: V,
    },
    /// Be no value.
    Delete {
        /// Where.
        key: K,
    },
    /// Be this value if that is there, else stay as you are.
    Cas {
        /// Where.
        key: K,
        /// What must be there.
        expect: Expect<V>,
        /// What comes in its place.
        value: V,
    },
}

/// What must be there for a [`Cas`](Operation::Cas) to write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expect<V> {
    /// No value.
    Absent,
    /// This value.
    Value(V),
    /// A value, and its last change was this one.
    Revision(u64),
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<V> {
    /// To a get: what is there.
    Got {
        /// `None` if nothing is.
        value: Option<V>,
        /// Of the value's last change, if that is told; of no meaning where there is no value.
        revision: Option<u64>,
    },
    /// To a put or cas: it is there now. To a delete: nothing is there now, and nobody says whether something was.
    Written {
        /// Of this change, if that is told.
        revision: Option<u64>,
    },
    /// To a delete: nothing is there now.
    Deleted {
        /// Whether something was.
        existed: bool,
        /// Of this change, if that is told; of no meaning where nothing changed.
        revision: Option<u64>,
    },
    /// To a cas: something else was there, and still is.
    Mismatch,
}

/// What is known of the revision of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revision {
    /// It is this one.
    Known(u64),
    /// It is above this one.
    After(u64),
}

impl Revision {
    /// No change has a revision at or below this before the next one does.
    const fn floor(self) -> u64 {
        match self {
            Self::Known(floor) | Self::After(floor) => floor,
        }
    }

    /// Whether it can be `told`.
    const fn admits(self, told: u64) -> bool {
        match self {
            Self::Known(known) => known == told,
            Self::After(floor) => told > floor,
        }
    }
}

/// The state behind one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Register<V> {
    /// What is there.
    pub value: Option<V>,
    /// Of the last change, deletes included; `Known(0)` before the first.
    pub revision: Revision,
}

impl<V: Clone + Eq> Register<V> {
    /// A change, of which this revision is told.
    fn change(&self, value: Option<V>, told: Option<u64>) -> Option<Self> {
        let floor = self.revision.floor();
        let revision = match told {
            None => Revision::After(floor),
            Some(told) if told > floor => Revision::Known(told),
            Some(_) => return None,
        };
        Some(Self { value, revision })
    }

    /// The same register, of which this revision is told.
    fn learn(&self, told: Option<u64>) -> Option<Self> {
        match told {
            Some(told) if self.value.is_some() => {
                let revision = Revision::Known(told);
                self.revision.admits(told).then(|| Self { value: self.value.clone(), revision })
            }
            _ => Some(self.clone()),
        }
    }

    /// The same register, of which it is known that it is as expected; `None` if it cannot be.
    fn meet(&self, expect: &Expect<V>) -> Option<Self> {
        match expect {
            Expect::Absent => self.value.is_none().then(|| self.clone()),
            Expect::Value(value) => (self.value.as_ref() == Some(value)).then(|| self.clone()),
            Expect::Revision(told) => self.value.as_ref().and_then(|_| self.learn(Some(*told))),
        }
    }

    /// Whether the register can be other than expected.
    fn can_miss(&self, expect: &Expect<V>) -> bool {
        match expect {
            Expect::Absent => self.value.is_some(),
            Expect::Value(value) => self.value.as_ref() != Some(value),
            Expect::Revision(told) => self.value.is_none() || self.revision != Revision::Known(*told),
        }
    }
}

impl<K: Clone + Ord + Debug, V: Clone + Eq + Hash + Debug> Specification for KeyValue<K, V> {
    type Key = K;
    type State = Register<V>;
    type Operation = Operation<K, V>;
    type Outcome = Outcome<V>;

    fn key(&self, operation: &Operation<K, V>) -> K {
        match operation {
            Operation::Get { key }
            | Operation::Put { key, .. }
            | Operation::Delete { key }
            | Operation::Cas { key, .. } => key.clone(),
        }
    }

    fn initial(&self, _: &K) -> Register<V> {
        Register { value: None, revision: Revision::Known(0) }
    }

    /// As every [`Specification`]; that a cas which missed did *not* meet a revision is not remembered where the
    /// revision is unknown, so that some wrong answers about revisions pass. No right answer is ever refused.
    fn step(
        &self,
        state: &Register<V>,
        operation: &Operation<K, V>,
        outcome: Option<&Outcome<V>>,
    ) -> Option<Register<V>> {
        match (operation, outcome) {
            (Operation::Get { .. }, None) => Some(state.clone()),
            (Operation::Get { .. }, Some(Outcome::Got { value, revision })) => {
                if *value == state.value {
                    state.learn(*revision)
                } else {
                    None
                }
            }
            (Operation::Put { value, .. }, None) => state.change(Some(value.clone()), None),
            (Operation::Put { value, .. }, Some(Outcome::Written { revision })) => {
                state.change(Some(value.clone()), *revision)
            }
            (Operation::Delete { .. }, None) => delete(state, None),
            (Operation::Delete { .. }, Some(Outcome::Written { revision })) => delete(state, *revision),
            (Operation::Delete { .. }, Some(Outcome::Deleted { existed, revision })) => {
                if *existed == state.value.is_some() { delete(state, *revision) } else { None }
            }
            (Operation::Cas { expect, value, .. }, None) => state.meet(expect)?.change(Some(value.clone()), None),
            (Operation::Cas { expect, value, .. }, Some(Outcome::Written { revision })) => {
                state.meet(expect)?.change(Some(value.clone()), *revision)
            }
            (Operation::Cas { expect, .. }, Some(Outcome::Mismatch)) => state.can_miss(expect).then(|| state.clone()),
            // No answer to that question.
            (
                Operation::Get { .. } | Operation::Put { .. } | Operation::Delete { .. } | Operation::Cas { .. },
                Some(_),
            ) => None,
        }
    }

    fn effect(&self, operation: &Operation<K, V>) -> Effect {
        match operation {
            Operation::Get { .. } => Effect::Nothing,
            Operation::Put { .. } => Effect::Overwrites,
            Operation::Delete { .. } | Operation::Cas { .. } => Effect::Depends,
        }
    }

    /// ```
    /// use outrigger_simulation::linearizability::Specification;
    /// use outrigger_simulation::linearizability::key_value::{KeyValue, Operation, Outcome};
    ///
    /// let (get, got) = (Operation::Get { key: 4 }, Outcome::Got { value: Some(7), revision: Some(12) });
    /// assert_eq!(KeyValue::new().operation_text(&get, Some(&got)), "get 4: 7 of revision 12");
    /// let put = Operation::Put { key: 4, value: 8 };
    /// assert_eq!(KeyValue::new().operation_text(&put, None), "put 8 into 4: ?");
    /// ```
    fn operation_text(&self, operation: &Operation<K, V>, outcome: Option<&Outcome<V>>) -> String {
        let asked = match operation {
            Operation::Get { key } => format!("get {key:?}"),
            Operation::Put { key, value } => format!("put {value:?} into {key:?}"),
            Operation::Delete { key } => format!("delete {key:?}"),
            Operation::Cas { key, expect, value } => {
                let expected = match expect {
                    Expect::Absent => "nothing is there".to_owned(),
                    Expect::Value(value) => format!("{value:?} is there"),
                    Expect::Revision(revision) => format!("revision {revision} is there"),
                };
                format!("put {value:?} into {key:?} if {expected}")
            }
        };
        let of = |revision: &Option<u64>| revision.map(|it| format!(" of revision {it}")).unwrap_or_default();
        let told = match outcome {
            None => "?".to_owned(),
            Some(Outcome::Got { value: None, .. }) => "nothing".to_owned(),
            Some(Outcome::Got { value: Some(value), revision }) => format!("{value:?}{}", of(revision)),
            Some(Outcome::Written { revision: None }) => "done".to_owned(),
            Some(Outcome::Written { revision: Some(revision) }) => format!("done, as revision {revision}"),
            Some(Outcome::Deleted { existed: true, revision }) => {
                format!(
                    "something was there{}",
                    revision.map(|it| format!(", gone as revision {it}")).unwrap_or_default()
                )
            }
            Some(Outcome::Deleted { existed: false, .. }) => "nothing was there".to_owned(),
            Some(Outcome::Mismatch) => "something else is there".to_owned(),
        };
        format!("{asked}: {told}")
    }

    fn state_text(&self, Register { value, revision }: &Register<V>) -> String {
        let Some(value) = value else { return "nothing".to_owned() };
        match revision {
            Revision::Known(revision) => format!("{value:?} of revision {revision}"),
            Revision::After(0) => format!("{value:?}"),
            Revision::After(floor) => format!("{value:?} of a revision above {floor}"),
        }
    }
}

/// Where nothing was, nothing changes.
fn delete<V: Clone + Eq>(state: &Register<V>, told: Option<u64>) -> Option<Register<V>> {
    if state.value.is_some() { state.change(None, told) } else { Some(state.clone()) }
}

//! What a search has to say: how far it is, what it counted, how it ended, and the way to a violation.

use super::TransitionSystem;
use std::fmt;

/// How far a search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// States generated so far, also those met before or outside the bounds.
    pub generated: u64,
    /// Distinct states so far.
    pub distinct: u64,
    /// The depth of the states that are being searched.
    pub depth: u64,
    /// Distinct states that wait to be searched.
    pub waiting: u64,
    /// What the set of states that were met occupies, in bytes; the queue comes on top.
    pub bytes: u64,
}

/// What a search counted, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<A, V> {
    /// States generated: the results of all steps, and the initial state.
    pub generated: u64,
    /// Distinct states within the bounds; orbits under symmetry.
    pub distinct: u64,
    /// The number of states in the longest of the shortest ways from the initial one, itself included.
    pub depth: u64,
    /// States that the distinct ones stand for: more than them only under symmetry.
    pub covered: u64,
    /// How it ended.
    pub verdict: Verdict<A, V>,
}

impl<A, V> Report<A, V> {
    /// The number of violations found: a search ends with the first.
    #[must_use]
    pub fn violations(&self) -> u64 {
        u64::from(matches!(self.verdict, Verdict::Violated(_)))
    }
}

impl<A, V> fmt::Display for Report<A, V> {
    /// Prints one line: `generated=12861 distinct=1645 depth=28 violations=0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generated, distinct, depth, .. } = self;
        write!(f, "generated={generated} distinct={distinct} depth={depth} violations={}", self.violations())
    }
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<A, V> {
    /// Every state within the bounds was visited, and nothing is wrong in any.
    Exhausted,
    /// The limit on states was reached: the bounds are not exhausted, and nothing is wrong so far.
    NotExhausted {
        /// How many distinct states were not searched any more.
        waiting: u64,
    },
    /// Something is wrong.
    Violated(CounterExample<A, V>),
}

/// A shortest way from where the search began to what must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterExample<A, V> {
    /// What is wrong.
    pub violation: V,
    /// The actions from the initial state on, those of the script first.
    pub actions: Vec<A>,
    /// How many of the actions are the script's. The others are as few as can be.
    pub scripted: usize,
    /// A line for each action, for people.
    pub lines: Vec<String>,
    /// The last state, for people.
    pub last: String,
}

impl<A, V> CounterExample<A, V> {
    /// How many steps the search itself took.
    #[must_use]
    pub fn len(&self) -> usize {
        self.actions.len() - self.scripted
    }

    /// Whether the violation is where the search began.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<A, V: fmt::Display> fmt::Display for CounterExample<A, V> {
    /// Prints what is wrong, the actions as a script that leads there, and the last state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# violated after {} steps: {}", self.actions.len(), self.violation)?;
        for (number, line) in (1..).zip(&self.lines) {
            if number == 1 && self.scripted > 0 {
                writeln!(f, "# the script")?;
            }
            if number == self.scripted + 1 && self.scripted > 0 {
                writeln!(f, "# the search")?;
            }
            writeln!(f, "{number:>3}. {line}")?;
        }
        for line in self.last.lines() {
            writeln!(f, "# {line}")?;
        }
        Ok(())
    }
}

/// The report of a search through the system `T`.
pub(super) type ReportOf<T> = Report<<T as TransitionSystem>::Action, <T as TransitionSystem>::Violation>;

/// A way from the initial state, with what is printed of it.
pub(super) struct Way<T: TransitionSystem> {
    /// What was done.
    pub(super) actions: Vec<T::Action>,
    /// A line for each action.
    pub(super) lines: Vec<String>,
    /// Where it leads.
    pub(super) state: T::State,
}

impl<T: TransitionSystem> Way<T> {
    /// The way that has not begun.
    pub(super) fn new(system: &T) -> Self {
        Self { actions: Vec::new(), lines: Vec::new(), state: system.initial() }
    }

    /// Goes on by `action` to the state `next`.
    pub(super) fn push(&mut self, system: &T, action: T::Action, next: T::State) {
        self.lines.push(system.describe(&self.state, &action));
        self.actions.push(action);
        self.state = next;
    }

    /// The way as the counter-example that ends in `violation`, its first `scripted` actions being the script's.
    pub(super) fn end(self, system: &T, violation: T::Violation, scripted: usize) -> Verdict<T::Action, T::Violation> {
        let last = system.show(&self.state);
        Verdict::Violated(CounterExample { violation, actions: self.actions, scripted, lines: self.lines, last })
    }
}

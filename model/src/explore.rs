//! The explorer: visits every state that a system can reach within bounds, and shows the shortest way to a bad one.
//!
//! A [`TransitionSystem`] is anything with states, steps and invariants: [`Raft`] is raft.tla within bounds. A
//! [`Search`] goes through it breadth first, so that a state is met by a shortest way and so is a violation.
//!
//! ```text
//!             ┌────────────── pack ◀── check_state ◀── remember ◀─────────────┐
//!             ▼                                                               │ no
//!   queue ─ unpack ─▶ state ─ actions ─▶ step ─▶ check_step ─▶ is_within ─▶ key: seen?
//!                                                                  │ no       │ yes
//!                                                                  ▼          ▼
//!                                                          generated, and no more
//! ```
//!
//! # What is counted
//! As TLC counts: *generated* is every step's result and each initial state; *distinct* are the states within the bounds,
//! told apart by their key; *depth* is the number of states on the longest of the shortest ways, the initial one included.
//! A state outside the bounds is generated, but neither distinct nor searched further. With symmetry, distinct counts
//! orbits, and [`Report::covered`] the states in them.
//!
//! # How sure it is
//! Of a state that was visited, 128 bits of a keyed hash of its key are kept (SipHash-1-3 twice, under two prefixes), and
//! the number of its parent. Two different states that share all 128 bits would be taken for one. Among n states this has
//! a probability of about n² / 2¹²⁹: for 20 million states 6 × 10⁻²⁵, for a billion 1.5 × 10⁻²¹. A counter-example is had
//! from the parents by taking the steps again.
//!
//! What lies outside the bounds is not visited, and [`Raft`] tells states apart by what TLC is told to look at here, which
//! is all but the histories: of two ways to a state, only the history of the first is checked further. An invariant that
//! a history alone betrays may slip through; [`Raft::with_histories`] makes histories part of a state's identity, and
//! then nothing does.
//!
//! # Example
//! ```
//! use outrigger_model::explore::{Bounds, Raft, Search, Verdict};
//!
//! let bounds = Bounds { servers: 2, values: 1, term_max: 2, log_max: 1, messages_max: 1 };
//! let report = Search::new(Raft::new(bounds)?).run()?;
//! assert_eq!((report.generated, report.distinct, report.depth), (12_861, 1_645, 28));
//! assert!(matches!(report.verdict, Verdict::Exhausted));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same from a shell, with all that it can be told:
//! `cargo run --release -p outrigger-model --example explore -- --help`.

mod encoding;
mod raft;
mod report;
#[cfg(test)]
mod sample;
mod script;
mod search;
mod seen;
mod symmetry;

pub use raft::{Bounds, PackedModel, Raft, RaftError};
pub use report::{CounterExample, Progress, Report, Verdict};
pub use script::{Script, ScriptError};
pub use search::{Search, StartError};

use std::fmt;

/// States, the steps between them, and what must hold: all that a [`Search`] needs to know.
///
/// What a system is to be told once (bounds, symmetry, what is switched off) is in the value that implements this.
///
/// ```
/// use outrigger_model::explore::{Search, TransitionSystem, Verdict};
///
/// /// A clock that must never show 12.
/// struct Clock;
///
/// impl TransitionSystem for Clock {
///     type State = u8;
///     type Packed = u8;
///     type Action = &'static str;
///     type Violation = String;
///
///     fn initial(&self) -> u8 {
///         1
///     }
///     fn append_actions(&self, _: &u8, actions: &mut Vec<&'static str>) {
///         actions.extend(["tick", "leap"]);
///     }
///     fn step(&self, from: &u8, action: &&'static str, next: &mut u8) {
///         *next = (from + if *action == "tick" { 1 } else { 5 }) % 24;
///     }
///     fn key(&self, state: &u8, key: &mut Vec<u8>) -> u64 {
///         key.push(*state);
///         1
///     }
///     fn check_state(&self, state: &u8) -> Result<(), String> {
///         if *state == 12 { Err("it is twelve".into()) } else { Ok(()) }
///     }
///     fn pack(&self, state: &u8) -> u8 {
///         *state
///     }
///     fn unpack(&self, packed: &u8, state: &mut u8) {
///         *state = *packed;
///     }
/// }
///
/// let report = Search::new(Clock).run()?;
/// let Verdict::Violated(found) = report.verdict else { panic!("twelve is not far") };
/// assert_eq!(found.actions, ["tick", "leap", "leap"]);
/// # Ok::<(), outrigger_model::explore::StartError>(())
/// ```
pub trait TransitionSystem {
    /// A state that steps can be taken from.
    type State: Clone;
    /// A state as it waits in the queue, where there may be millions. Without a smaller form, the state itself.
    type Packed;
    /// What is done in a step. Its text names it in scripts and counter-examples, so different enabled actions have
    /// different texts.
    type Action: fmt::Display;
    /// What is said of a state or a step that must not be.
    type Violation: fmt::Display;

    /// The state in which everything begins.
    fn initial(&self) -> Self::State;

    /// Adds every action that is possible in `state` to `actions`, always in the same order.
    fn append_actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>);

    /// Adds every action that a script may name: also what a search is told never to take.
    fn append_scripted_actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>) {
        self.append_actions(state, actions);
    }

    /// Makes `next`, which may hold anything, what `action` leads to from the state `from`.
    fn step(&self, from: &Self::State, action: &Self::Action, next: &mut Self::State);

    /// Whether `state` is within the bounds; one that is not is not searched further.
    fn is_within(&self, _state: &Self::State) -> bool {
        true
    }

    /// Writes into the empty `key` what `state` is told apart by: equal bytes are taken for the same state, whatever
    /// was or is to be remembered beside. Asked only of states within the bounds. Returns how many states have this key:
    /// the size of the orbit under symmetry, else 1.
    fn key(&self, state: &Self::State, key: &mut Vec<u8>) -> u64;

    /// Adds to `next`, which is new, what its key does not look at and `step` therefore left out: histories.
    fn remember(&self, _from: &Self::State, _action: &Self::Action, _next: &mut Self::State) {}

    /// What must hold in each state; asked once, of the first that has its key.
    ///
    /// # Errors
    /// What does not hold.
    fn check_state(&self, _state: &Self::State) -> Result<(), Self::Violation> {
        Ok(())
    }

    /// What must hold over each step, whether it leads to a new state or not.
    ///
    /// # Errors
    /// What does not hold.
    fn check_step(&self, _from: &Self::State, _next: &Self::State) -> Result<(), Self::Violation> {
        Ok(())
    }

    /// The small form of `state`.
    fn pack(&self, state: &Self::State) -> Self::Packed;

    /// Makes `state`, which may hold anything, what was packed.
    fn unpack(&self, packed: &Self::Packed, state: &mut Self::State);

    /// The line that a counter-example prints for `action` in the state `from`. It begins with the action's text, and
    /// whatever follows comes after a `#`, so that the line can be a script's.
    fn describe(&self, _from: &Self::State, action: &Self::Action) -> String {
        action.to_string()
    }

    /// What a counter-example prints of its last state; a line ends with a line feed.
    fn show(&self, _state: &Self::State) -> String {
        String::new()
    }
}

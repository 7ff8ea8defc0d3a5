//! Exploration: all that a small cluster of real engines can do within bounds, until nothing new is left.
//!
//! The engines are those of production. Everything else is a choice of the explorer: which timer falls due, which message
//! arrives, which is lost or comes twice, which write becomes durable, who crashes and with how much on its disk. A search
//! breadth first ([`outrigger_model::explore`]) tries all choices in all states, tells states apart by the engines'
//! [fingerprint](outrigger::engine::Fingerprint), and ends when every state that can be reached has been visited.
//!
//! ```text
//!              timer ─┐                         ┌─ lost, for ever
//!   crash, restart ─┐ │   ┌────────────┐  sends ├─ on its way, in no order, perhaps twice ─┐
//!                   ▼ ▼   │   Engine   ├────────┘                                          │
//!   message ─────────────►│            │◄──────────────────────────────────────────────────┘
//!   write durable ───────►└────────────┘
//! ```
//!
//! # What is bounded
//! Terms, entries, messages on their way, and how often clients ask, messages come twice and nodes crash: see [`Bounds`]. What
//! is lost is not bounded, nor the order in which anything happens. A message is lost when it is sent,
//! which is the same to everybody as later; so what is on its way does arrive, or the rest of the story happens before. A
//! node that is down is one to which nothing happens until it is started again, so a crash and the start are one step.
//!
//! What is *not* explored: a state machine or a connection that holds its lane up, disks that fail, changes of membership,
//! and everything beyond the bounds. A disk that hangs makes its leader resign, as a silent quorum does, which is explored.
//!
//! # What is checked
//! After every step: one leader a term, one vote a node and term, logs that match, leaders that have all that was committed
//! before them, one committed log that is durable on a quorum as it grows, promises that are durable when they leave, reads
//! that see what was committed before they were asked, proposals that are committed at most once and never after they were
//! refused, and every assertion of the engine. What of the past these need is part of a state (`exploration/history.rs`).
//! And every step is held against the [extended model](outrigger_model::extended), as in the simulator: it must be a step of the
//! model, or some, and what is sent must be among what the model lets a node say (`exploration/beside.rs`).

use std::fmt;

use outrigger_model::explore::{CounterExample, Progress, Script, Search, StartError, Verdict};

mod action;
mod beside;
mod history;
mod late;
mod network;
mod node;
mod pool;
mod promise;
mod system;
#[cfg(test)]
mod tests;

pub use action::Action;
pub use system::{Cluster, State};

use crate::check::Violation;
use crate::count::Counts;

/// What a search stays within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The number of nodes, all voters; 1 to 5.
    pub nodes: u8,
    /// The last term of any node: nobody campaigns for a later one, nor asks for pre-votes. Nodes begin in term 0.
    pub term_max: u8,
    /// The length of the longest log, with the initial membership that every log begins with.
    pub log_max: u8,
    /// The most messages on their way that will arrive; any number more may be lost.
    pub messages_max: u8,
    /// How many crashes there are, all nodes together.
    pub crashes: u8,
    /// How often leaders' heartbeat timers fire and questions for a read index are asked again, all together. A term begins
    /// with a heartbeat by itself, and each read with a question or a heartbeat.
    pub heartbeats: u8,
    /// How many messages arrive and leave a copy behind.
    pub copies: u8,
    /// How many entries clients propose to leaders.
    pub proposals: u8,
    /// How many entries clients propose to followers, which hand them to their leaders.
    pub forwards: u8,
    /// How many reads clients ask for, of any node that knows a leader.
    pub reads: u8,
    /// Whether messages are lost. If not, what does not fit is out of bounds.
    pub loss: bool,
    /// Whether messages stay on their way that come too late to do anything.
    pub keeps_late: bool,
    /// Whether candidates ask for pre-votes first.
    pub pre_vote: bool,
    /// Whether a leader that hears from no quorum steps down.
    pub check_quorum: bool,
    /// Whether leaders hold leases, and reads are answered by them. Time ends a lease at any moment, and a pledge once no leader's
    /// lease lasts. Only with `check_quorum`.
    pub leases: bool,
}

impl Bounds {
    /// Two nodes, one election, one proposal, one crash, loss and one copy: what any pair must survive.
    pub const PAIR: Self = Self {
        nodes: 2,
        term_max: 1,
        log_max: 3,
        messages_max: 2,
        crashes: 1,
        heartbeats: 1,
        copies: 1,
        proposals: 1,
        forwards: 0,
        reads: 0,
        loss: true,
        keeps_late: false,
        pre_vote: false,
        check_quorum: false,
        leases: false,
    };
}

impl Default for Bounds {
    /// [`Bounds::PAIR`].
    fn default() -> Self {
        Self::PAIR
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it stayed within.
    pub bounds: Bounds,
    /// Distinct states that were visited.
    pub states: u64,
    /// Steps that were taken from them.
    pub transitions: u64,
    /// The number of steps on the longest of the shortest ways.
    pub depth: u64,
    /// How it ended.
    pub verdict: Verdict<Action, Violation>,
    /// How often each kind of action was taken.
    pub actions: Counts,
    /// How often each kind of message was delivered.
    pub messages: Counts,
}

impl Report {
    /// A shortest way to what is wrong, if anything is.
    #[must_use]
    pub const fn counter_example(&self) -> Option<&CounterExample<Action, Violation>> {
        match &self.verdict {
            Verdict::Violated(found) => Some(found),
            Verdict::Exhausted | Verdict::NotExhausted { .. } => None,
        }
    }

    /// The kinds of actions and messages that the bounds allow and that never came: if there are any, less was tried than it
    /// seems.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let Bounds {
            nodes,
            crashes,
            heartbeats,
            copies,
            proposals,
            forwards,
            reads,
            pre_vote,
            check_quorum,
            leases,
            ..
        } = self.bounds;
        let many = nodes > 1;
        let actions = [
            ("election", true),
            ("flush", true),
            ("heartbeat", heartbeats > 0),
            ("receive", many),
            ("duplicate", many && copies > 0),
            ("crash", crashes > 0),
            ("propose", proposals > 0),
            ("forward", many && forwards > 0),
            ("read", reads > 0),
            ("leader silent", nodes > 2 && pre_vote),
            ("quorum silent", many && check_quorum),
            ("lease over", leases),
            ("pledge over", leases),
        ];
        let messages = [
            ("pre_vote", many && pre_vote),
            ("pre_vote_reply", many && pre_vote),
            ("request_vote", many),
            ("request_vote_reply", many),
            ("append_entries", many),
            ("append_entries_reply", many),
            ("heartbeat", many),
            ("heartbeat_reply", many),
            ("propose", many && forwards > 0),
            ("propose_reply", many && forwards > 0),
            ("read_index", many && reads > 0),
            ("read_index_reply", many && reads > 0),
        ];
        let never = |counts: &Counts, name: &str| !counts.contains_key(name);
        let actions = actions.into_iter().filter(|(name, due)| *due && never(&self.actions, name));
        let messages = messages.into_iter().filter(|(name, due)| *due && never(&self.messages, name));
        actions.chain(messages).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Report {
    /// One line for programs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bounds { nodes, term_max, log_max, messages_max, crashes, heartbeats, .. } = self.bounds;
        let Bounds { copies, proposals, forwards, reads, loss, keeps_late, pre_vote, check_quorum, leases, .. } =
            self.bounds;
        let Self { states, transitions, depth, .. } = self;
        write!(
            f,
            "nodes={nodes} term_max={term_max} log_max={log_max} messages_max={messages_max} crashes={crashes} "
        )?;
        write!(f, "heartbeats={heartbeats} copies={copies} proposals={proposals} forwards={forwards} reads={reads} ")?;
        write!(
            f,
            "loss={loss} keeps_late={keeps_late} pre_vote={pre_vote} check_quorum={check_quorum} leases={leases} "
        )?;
        let violations = u8::from(self.counter_example().is_some());
        write!(f, "states={states} transitions={transitions} depth={depth} violations={violations}")
    }
}

/// How a search begins and ends.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What leads to where the search begins; a printed counter-example is a script.
    pub script: Script,
    /// How many states it visits at most.
    pub states_max: Option<u64>,
    /// Whether steps are *not* held against the extended model: three times faster, in half the memory.
    pub without_model: bool,
}

/// Visits every state within the bounds, or finds a shortest way to what is wrong, and tells `progress` how far it is.
/// [`explore_while`] can be stopped.
///
/// ```
/// use outrigger_simulation::exploration::{Bounds, Plan, explore};
///
/// let bounds = Bounds { crashes: 0, copies: 0, ..Bounds::default() };
/// let report = explore(bounds, &Plan::default(), |_| {})?;
/// assert!(report.counter_example().is_none() && report.missing().is_empty());
/// # Ok::<(), outrigger_model::explore::StartError>(())
/// ```
///
/// # Errors
/// If the script cannot be taken, or leads out of the bounds.
///
/// # Panics
/// If the bounds have no node, or more than five, or leases without check-quorum.
pub fn explore(bounds: Bounds, plan: &Plan, mut progress: impl FnMut(&Progress)) -> Result<Report, StartError> {
    explore_while(bounds, plan, |told| {
        progress(told);
        true
    })
}

/// [`explore`], which asks `goes_on` each time whether to. Who says no gets what was found so far, with
/// [`Verdict::NotExhausted`].
///
/// # Errors
/// As [`explore`].
///
/// # Panics
/// As [`explore`].
pub fn explore_while(
    bounds: Bounds,
    plan: &Plan,
    goes_on: impl FnMut(&Progress) -> bool,
) -> Result<Report, StartError> {
    assert!((1..=5).contains(&bounds.nodes), "{} nodes; choose from 1 to 5", bounds.nodes);
    assert!(bounds.check_quorum || !bounds.leases, "leases without check_quorum, which an engine refuses");
    let mut search = Search::new(Cluster::new(bounds, !plan.without_model)).after(plan.script.clone());
    if let Some(states_max) = plan.states_max {
        search = search.states_max(states_max);
    }
    let found = search.run_while(goes_on)?;
    let (actions, messages) = search.into_system().into_counts();
    Ok(Report {
        bounds,
        states: found.distinct,
        transitions: found.generated - 1,
        depth: found.depth - 1,
        verdict: found.verdict,
        actions,
        messages,
    })
}

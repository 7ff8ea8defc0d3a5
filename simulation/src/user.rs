//! A user's own state machine under everything that the simulation has.
//!
//! ```text
//!   test ──► Sim ──► conditions ──► plan ─┐
//!             └────► commands ────────────┼──► world ──► each node applies ──► compared with a machine beside it
//!   seeds ────────────────────────────────┘                 │
//!     ▲                                                     └──► Failure ──► shrunk, drawn, told how to replay it
//!     └─────────────────── the line that replays it ◄──────────────────────────────┘
//! ```
//!
//! A user's command travels behind a write of the simulation's own registers, in the same entry. So whatever is checked of
//! those, in every history, is checked of the entries that carry the user's commands.

use std::rc::Rc;
use std::time::Instant;

use outrigger::StateMachine;

use crate::report::{Report, Total};
use crate::{Failure, History};

mod conditions;
mod failing;
mod machine;
mod random;
mod replay;
mod seeds;
mod sim;
mod subject;
mod text;
mod verdict;

pub use random::Rng;
pub use seeds::{Seeds, SeedsError};
pub(crate) use sim::Commands;
pub use sim::Sim;
pub(crate) use subject::{Replica, Subject};

use machine::Typed;
use subject::Maker;

/// Lives through one history for each seed with a state machine of one's own, as `describe` says. For a `#[test]`.
///
/// What is checked, and what a failure looks like, is on the front page of this [crate](crate). If nothing goes wrong, a line
/// says what was lived through; `cargo test -- --nocapture` shows it.
///
/// A history that goes wrong is shrunk: for 20 s, or as long as [`Seeds::shrink_for`] says, and 1000 tries at most, a smaller
/// one is looked for in which the same check fails, until no kind of trouble, client or single trouble more can be left out.
/// For that `describe` is called again for each try, and must say the same each time. The failure names what could be left
/// out, says whether that is all, and names the line that replays what is left. `OUTRIGGER_DIAGRAM=FILE.svg` before that line
/// draws it; [`Seeds::from_env`] has all variables.
///
/// # Panics
/// With the [`Failure`] of the first seed in which something goes wrong, shrunk, and when `describe` names no clients.
#[track_caller]
pub fn run<S: StateMachine + Default>(seeds: Seeds, describe: impl FnMut(&mut Sim<S>)) -> Total {
    run_with(seeds, S::default, describe)
}

/// As [`run`], from a state of one's own. `state` is called for each node and each of its lives, and must make the same
/// each time, as [`Raft::start`](https://docs.rs/outrigger) wants it.
///
/// ```
/// use outrigger_simulation::{Seeds, run_with};
/// # use outrigger::StateMachine;
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// # struct Stock(u32);
/// # impl StateMachine for Stock {
/// #     type Command = u32;
/// #     type Response = bool;
/// #     fn apply(&mut self, wanted: u32) -> bool {
/// #         let left = self.0.checked_sub(wanted);
/// #         self.0 = left.unwrap_or(self.0);
/// #         left.is_some()
/// #     }
/// # }
///
/// run_with(Seeds::count(2), || Stock(1000), |sim| {
///     sim.clients(3, |rng| if rng.chance(0.5) { 1 } else { 7 });
/// });
/// ```
///
/// # Panics
/// As [`run`].
#[track_caller]
pub fn run_with<S: StateMachine>(
    seeds: Seeds,
    state: impl Fn() -> S + 'static,
    describe: impl FnMut(&mut Sim<S>),
) -> Total {
    let (is_one, began) = (seeds.trace, Instant::now());
    match try_run_with(seeds, state, describe) {
        Ok(total) => {
            println!("{total}, in {:.1} s: all as it must be", began.elapsed().as_secs_f64());
            if is_one {
                println!(
                    "if this history has failed before, something in the state machine is not deterministic: see \"When a \
                     replay goes well\" in the documentation of outrigger-simulation"
                );
            }
            total
        }
        Err(failure) => panic!("{failure}"),
    }
}

/// As [`run_with`], for those who want the failure itself.
///
/// # Errors
/// The [`Failure`] of the first seed in which something goes wrong, shrunk.
///
/// # Panics
/// When `describe` names no clients.
#[expect(clippy::needless_pass_by_value, reason = "a test says Seeds::from_env() and no more")]
pub fn try_run_with<S: StateMachine>(
    seeds: Seeds,
    state: impl Fn() -> S + 'static,
    mut describe: impl FnMut(&mut Sim<S>),
) -> Result<Total, Failure> {
    let make: Maker = Rc::new(move || Box::new(Typed(state())));
    let mut live = |history: History| {
        let mut sim = Sim::new();
        describe(&mut sim);
        sim.live(history, Rc::clone(&make))
    };
    let mut total = Total::new();
    for seed in seeds.all() {
        let history = seeds.history(seed);
        let lived = live(history.clone()).map_err(|failure| failing::shrunk(&seeds, &history, failure, &mut live));
        failing::draw(&seeds, &history, &lived, &mut live);
        total.add(&lived.map_err(|failure| replay::replayed(failure, &seeds))?);
    }
    Ok(total)
}

/// Lives through one history of what a test describes.
type Live<'a> = dyn FnMut(History) -> Result<Report, Failure> + 'a;

//! One history: the seed that it comes from, what of it is checked, and who is told.

use std::panic::{self, AssertUnwindSafe};

use crate::check::{Check, Checks, Violation};
use crate::diagram::Diagram;
use crate::report::Report;
use crate::shrink::Changes;
use crate::trace::Telling;
use crate::world::World;
use crate::{Failure, panic_words};

/// What is to be lived through, and how closely it is watched.
///
/// ```
/// use outrigger_simulation::{Checks, History};
///
/// let report = History::new(1).checks(Checks::LIGHT).live()?;
/// assert!(report.written > 0, "the cluster served");
/// # Ok::<(), outrigger_simulation::Failure>(())
/// ```
#[derive(Clone, Debug)]
pub struct History {
    /// Decides everything that happens.
    pub(crate) seed: u64,
    pub(crate) checks: Checks,
    pub(crate) telling: Telling,
    pub(crate) diagram: Option<Diagram>,
    pub(crate) changes: Changes,
    /// From this time on, each trouble that strikes is taken for a violation.
    #[cfg(test)]
    pub(crate) falls_over: Option<u64>,
}

impl History {
    /// The history of a seed, with all checks.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            checks: Checks::ALL,
            telling: Telling::Nothing,
            diagram: None,
            changes: Changes::default(),
            #[cfg(test)]
            falls_over: None,
        }
    }

    /// Makes these of the dearer checks. What happens is the same with any.
    #[must_use]
    pub fn checks(self, checks: Checks) -> Self {
        Self { checks, ..self }
    }

    /// Digests everything that happens into [`Report::digest`].
    #[must_use]
    pub fn digested(self) -> Self {
        Self { telling: Telling::Digest, ..self }
    }

    /// Prints everything that happens to standard output.
    #[must_use]
    pub fn printed(self) -> Self {
        Self { telling: Telling::Print, ..self }
    }

    /// Draws the end of it.
    ///
    /// ```
    /// use outrigger_simulation::{Diagram, History};
    ///
    /// let diagram = Diagram::default();
    /// assert!(History::new(1).drawn(&diagram).live().is_ok());
    /// assert!(diagram.svg("seed 1", None).starts_with("<svg"));
    /// ```
    #[must_use]
    pub fn drawn(self, diagram: &Diagram) -> Self {
        Self { diagram: Some(diagram.clone()), ..self }
    }

    /// Leaves these out of it.
    #[must_use]
    pub fn changed(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// The seed that decides it.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// What is left out of it.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    #[cfg(test)]
    pub(crate) fn falling_over(self, from: u64) -> Self {
        Self { falls_over: Some(from), ..self }
    }

    /// Lives through it.
    ///
    /// # Errors
    /// What went wrong first.
    pub fn live(&self) -> Result<Report, Failure> {
        self.live_in(World::new(self))
    }

    /// Lives through it in a world that was made for it.
    pub(crate) fn live_in(&self, mut world: World) -> Result<Report, Failure> {
        let violation = match panic::catch_unwind(AssertUnwindSafe(|| world.run())) {
            Ok(Ok(())) => return Ok(world.report(self.seed)),
            Ok(Err(violation)) => violation,
            Err(panic) => Violation { check: Check::Assertion, reason: panic_words(&*panic) },
        };
        Err(world.failure(self.seed, violation))
    }
}

//! The clock of a node: what the engine's moments mean.

use outrigger_engine::Instant;

/// Counts from the start of its node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }

    pub(crate) fn now(self) -> Instant {
        Instant(0) + self.origin.elapsed()
    }

    /// The moment as tokio's timers know it.
    pub(crate) fn at(self, instant: Instant) -> tokio::time::Instant {
        self.origin + instant.since(Instant(0))
    }
}

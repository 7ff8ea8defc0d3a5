//! Looking again instead of sleeping: waking a thread costs tens of microseconds, many times what one write costs.
//!
//! Whoever expects something soon looks again a number of times before it goes to sleep. Whether that pays is learned: as
//! long as it does, each wait begins with it; when it was in vain several times in a row, only a few waits try it again, so
//! that an idle node costs nothing. Looks are counted, not timed: what runs under a simulated clock repeats.
//!
//! RaftCore does it when nothing is left but to wait for callers, and then for as many as came last: who hurries from one
//! to the next makes many small batches of what would be a large one. A caller does it when there is no other.

use std::sync::Mutex;

/// So many waits in a row look in vain before most of them sleep at once...
const TRIES: u32 = 8;
/// ... and then one of so many tries it again.
const PAUSE: u32 = 128;

/// What one waiting place has learned.
#[derive(Debug)]
pub(crate) struct Spin {
    /// How often a wait looks before it sleeps.
    looks_max: u32,
    /// How often the wait that is under way still looks.
    looks_left: u32,
    /// How many waits more may look in vain; at most `TRIES`.
    tries_left: u32,
    /// How many waits more sleep at once, when no tries are left; below `PAUSE`.
    pause_left: u32,
}

impl Spin {
    /// With one processor nothing can arrive from another thread while this one looks: there it never does.
    pub(crate) const fn new(looks_max: u32, processors: usize) -> Self {
        Self { looks_max: if processors == 1 { 0 } else { looks_max }, looks_left: 0, tries_left: 0, pause_left: 0 }
    }

    /// A wait begins for which looking may pay.
    pub(crate) const fn begin(&mut self) {
        if self.tries_left == 0 && self.pause_left > 0 {
            self.pause_left -= 1;
            self.looks_left = 0;
        } else {
            self.looks_left = self.looks_max;
        }
    }

    /// A wait begins that sleeps at once.
    pub(crate) const fn begin_asleep(&mut self) {
        self.looks_left = 0;
    }

    /// A look has found nothing: whether to look again instead of sleeping, unless it is too late for that.
    pub(crate) fn looks_again(&mut self, is_late: impl FnOnce() -> bool) -> bool {
        if self.looks_left == 0 {
            return false;
        }
        let is_late = is_late();
        self.looks_left = if is_late { 0 } else { self.looks_left - 1 };
        if self.looks_left == 0 {
            self.tries_left = self.tries_left.saturating_sub(1);
            self.pause_left = PAUSE - 1;
        }
        !is_late
    }

    /// A look has found what the wait was for.
    pub(crate) const fn found(&mut self) {
        // What was there at the first look says nothing.
        if 0 < self.looks_left && self.looks_left < self.looks_max {
            self.tries_left = TRIES;
        }
    }
}

/// Where callers look for their answers, at most one of them at a time.
#[derive(Debug)]
pub(crate) struct Lookout(Mutex<Spin>);

impl Lookout {
    pub(crate) const fn new(looks_max: u32, processors: usize) -> Self {
        Self(Mutex::new(Spin::new(looks_max, processors)))
    }

    /// Looks, and keeps its thread meanwhile, until it finds something or the caller should sleep.
    pub(crate) fn find<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let mut spin = self.0.try_lock().ok()?;
        spin.begin();
        loop {
            let found = look();
            if found.is_some() {
                spin.found();
            }
            if found.is_some() || !spin.looks_again(|| false) {
                return found;
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine with several processors.
    const fn spin() -> Spin {
        Spin { looks_max: 3, looks_left: 0, tries_left: 0, pause_left: 0 }
    }

    /// A wait for what comes after so many looks; how often it looked again.
    fn wait(spin: &mut Spin, comes_after: u32) -> u32 {
        spin.begin();
        for look in 0..comes_after {
            if !spin.looks_again(|| false) {
                return look;
            }
        }
        spin.found();
        comes_after
    }

    #[test]
    fn looking_goes_on_as_long_as_it_pays_and_is_seldom_tried_once_it_does_not() {
        let mut spin = spin();
        assert_eq!(wait(&mut spin, 2), 2, "the first wait tries it");
        for _ in 0..TRIES {
            assert_eq!(wait(&mut spin, 100), 3);
        }
        let looked: Vec<_> = (0..2 * PAUSE).map(|_| wait(&mut spin, 100)).collect();
        assert_eq!(looked.iter().sum::<u32>(), 2 * 3, "{looked:?}");
        while wait(&mut spin, 2) < 2 {}
        assert_eq!(wait(&mut spin, 100), 3, "one success is enough to begin anew");
    }

    #[test]
    fn what_is_there_at_once_says_nothing() {
        let mut spin = spin();
        assert_eq!(wait(&mut spin, 100), 3);
        assert_eq!(wait(&mut spin, 0), 0);
        assert_eq!(wait(&mut spin, 100), 0, "nobody looked for it");
    }

    #[test]
    fn one_caller_looks_and_the_others_sleep() {
        let lookout = Lookout(Mutex::new(spin()));
        let mut looks = 0;
        let nothing = lookout.find(|| {
            looks += 1;
            assert_eq!(lookout.find(|| Some(())), None, "another looks already");
            None::<()>
        });
        assert_eq!((nothing, looks), (None, 4));
        while lookout.find(|| Some(())).is_none() {}
    }
}

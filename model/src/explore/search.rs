//! The search: breadth first through a [`TransitionSystem`], from its initial state or from where a script leads.
//!
//! States are numbered as they are met, and searched in that order, so the queue needs no numbers. A level is the states
//! of one depth; the last one's number is where the depth grows:
//!
//! ```text
//!   number   0 │ 1 2 3 │ 4 5 6 7 8 9 │ 10 11          searched │ waiting
//!   depth    1 │   2   │      3      │   4
//!                           ▲         ▲
//!                        searching   level_end
//! ```

use super::TransitionSystem;
use super::report::{Progress, ReportOf, Verdict, Way};
use super::script::{Script, ScriptError};
use super::seen::{Fingerprint, Seen};
use std::collections::VecDeque;
use std::fmt;

/// After how many searched states progress is told.
const PROGRESS_EVERY: u64 = 1 << 12;

/// A search through a system, ready to run.
pub struct Search<T> {
    /// What is searched.
    system: T,
    /// What leads to where the search begins.
    script: Script,
    /// How many distinct states it meets at most.
    states_max: u64,
}

/// Why a search could not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// A step of the script cannot be taken.
    Script(ScriptError),
    /// The state in which the search would begin is outside the bounds, so that nothing would be searched.
    OutsideBounds {
        /// How many steps of a script lead there.
        steps: usize,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Script(error) => error.fmt(f),
            Self::OutsideBounds { steps } => {
                write!(f, "after {steps} steps of the script the search would begin outside the bounds: widen them")
            }
        }
    }
}

impl std::error::Error for StartError {}

impl From<ScriptError> for StartError {
    fn from(error: ScriptError) -> Self {
        Self::Script(error)
    }
}

impl<T: TransitionSystem> Search<T> {
    /// A search through all of `system` that its bounds allow, from its initial state.
    pub const fn new(system: T) -> Self {
        Self { system, script: Script::new(), states_max: Seen::LEN_MAX - (1 << 16) }
    }

    /// Begins where `script` leads. Its steps need not stay within the bounds, but the last state does. The state where
    /// the search begins counts as the initial one, with depth 1.
    #[must_use]
    pub fn after(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    /// Ends when `states_max` distinct states were met, the first among them; some four billion at most.
    #[must_use]
    pub fn states_max(mut self, states_max: u64) -> Self {
        self.states_max = states_max.min(self.states_max);
        self
    }

    /// The system that was searched: it may have counted what it was asked.
    pub fn into_system(self) -> T {
        self.system
    }

    /// Searches until a violation is found, the bounds are exhausted or the limit on states is reached.
    ///
    /// # Errors
    /// [`StartError::Script`] if a step of the script is not possible, [`StartError::OutsideBounds`] if the state in which
    /// the search would begin is outside the bounds.
    pub fn run(&self) -> Result<ReportOf<T>, StartError> {
        self.run_with(|_| {})
    }

    /// [`Search::run`], telling `progress` how far it is, some hundred times a second. Whoever prints it knows the time.
    ///
    /// # Errors
    /// As [`Search::run`].
    pub fn run_with(&self, mut progress: impl FnMut(&Progress)) -> Result<ReportOf<T>, StartError> {
        self.run_while(|told| {
            progress(told);
            true
        })
    }

    /// [`Search::run_with`], asking `goes_on` each time whether to. Who says no gets what was found so far, with
    /// [`Verdict::NotExhausted`] if any state is left.
    ///
    /// # Errors
    /// As [`Search::run`].
    pub fn run_while(&self, mut goes_on: impl FnMut(&Progress) -> bool) -> Result<ReportOf<T>, StartError> {
        let start = match self.start()? {
            Start::Ready(way) => way,
            Start::Violated(report) => return Ok(report),
        };
        if !self.system.is_within(&start.state) {
            return Err(StartError::OutsideBounds { steps: self.script.len() });
        }
        let mut run = Run::new(&self.system, &start.state, self.states_max);
        loop {
            let is_enough = run.searched.is_multiple_of(PROGRESS_EVERY) && !goes_on(&run.progress());
            if (is_enough || run.seen.len() >= self.states_max) && run.waiting() > 0 {
                let verdict = Verdict::NotExhausted { waiting: run.waiting() };
                return Ok(run.report(verdict));
            }
            match run.search_next() {
                Searched::All => return Ok(run.report(Verdict::Exhausted)),
                Searched::One => {}
                Searched::Violation { action, violation } => {
                    let mut way = run.way_to_searched(start);
                    let next = run.next.clone();
                    way.push(&self.system, action, next);
                    return Ok(run.report(way.end(&self.system, violation, self.script.len())));
                }
            }
        }
    }

    /// Takes the steps of the script, checking as the search does.
    fn start(&self) -> Result<Start<T>, ScriptError> {
        let system = &self.system;
        let mut way = Way::new(system);
        let mut violated = system.check_state(&way.state).err();
        for choose in self.script.choices() {
            if violated.is_some() {
                break;
            }
            let mut actions = Vec::new();
            system.append_scripted_actions(&way.state, &mut actions);
            let texts: Vec<String> = actions.iter().map(T::Action::to_string).collect();
            let action = actions.swap_remove(choose(&texts)?);
            let mut next = way.state.clone();
            system.step(&way.state, &action, &mut next);
            system.remember(&way.state, &action, &mut next);
            violated = system.check_step(&way.state, &next).and_then(|()| system.check_state(&next)).err();
            way.push(system, action, next);
        }
        Ok(match violated {
            None => Start::Ready(way),
            Some(violation) => {
                let scripted = way.actions.len();
                let verdict = way.end(system, violation, scripted);
                Start::Violated(ReportOf::<T> { generated: 1, distinct: 1, depth: 1, covered: 1, verdict })
            }
        })
    }
}

/// Where a script has led.
enum Start<T: TransitionSystem> {
    /// To where the search begins.
    Ready(Way<T>),
    /// To a violation.
    Violated(ReportOf<T>),
}

/// What came of searching the next state.
enum Searched<A, V> {
    /// There was none: all are searched.
    All,
    /// Its successors are known.
    One,
    /// `action` leads to what must not be.
    Violation {
        /// What was done in the state that was searched.
        action: A,
        /// What is wrong then.
        violation: V,
    },
}

/// What a step led to.
struct Successor {
    /// Which of the actions it was.
    place: usize,
    /// What the state is told apart by.
    fingerprint: Fingerprint,
    /// How many states its key stands for.
    covered: u64,
}

/// A search that is under way.
struct Run<'s, T: TransitionSystem> {
    system: &'s T,
    /// So many states are met at most.
    states_max: u64,
    /// All states met.
    seen: Seen,
    /// The states that wait, in the order of their numbers; the first one's is `searched`.
    queue: VecDeque<T::Packed>,
    /// How many states are searched: the number of the next.
    searched: u64,
    /// States generated, the initial one among them.
    generated: u64,
    /// The depth of the state that is searched.
    depth: u64,
    /// The number of the first state that is deeper.
    level_end: u64,
    /// The sum of what the keys of distinct states stand for.
    covered: u64,
    /// The state that is searched.
    current: T::State,
    /// What a step led to; between steps anything.
    next: T::State,
    /// The actions of `current`.
    actions: Vec<T::Action>,
    /// What they lead to within the bounds.
    successors: Vec<Successor>,
    /// The key of `next`.
    key: Vec<u8>,
}

impl<'s, T: TransitionSystem> Run<'s, T> {
    /// A search that has met `start` alone.
    fn new(system: &'s T, start: &T::State, states_max: u64) -> Self {
        let mut key = Vec::new();
        let covered = system.key(start, &mut key);
        Self {
            system,
            states_max,
            seen: Seen::new(Fingerprint::of(&key)),
            queue: VecDeque::from([system.pack(start)]),
            searched: 0,
            generated: 1,
            depth: 1,
            level_end: 1,
            covered,
            current: start.clone(),
            next: start.clone(),
            actions: Vec::new(),
            successors: Vec::new(),
            key,
        }
    }

    /// Searches the state that has waited longest.
    fn search_next(&mut self) -> Searched<T::Action, T::Violation> {
        let Some(packed) = self.queue.pop_front() else {
            return Searched::All;
        };
        if self.searched == self.level_end {
            self.depth += 1;
            self.level_end = self.seen.len();
        }
        self.system.unpack(&packed, &mut self.current);
        self.actions.clear();
        self.system.append_actions(&self.current, &mut self.actions);
        if let Err((place, violation)) = self.generate().and_then(|()| self.meet()) {
            return Searched::Violation { action: self.actions.swap_remove(place), violation };
        }
        self.searched += 1;
        Searched::One
    }

    /// Takes every step from the state that is searched, and keeps what it leads to within the bounds as successors.
    fn generate(&mut self) -> Result<(), (usize, T::Violation)> {
        let system = self.system;
        self.successors.clear();
        for (place, action) in self.actions.iter().enumerate() {
            system.step(&self.current, action, &mut self.next);
            self.generated += 1;
            system.check_step(&self.current, &self.next).map_err(|violation| (place, violation))?;
            if system.is_within(&self.next) {
                self.key.clear();
                let covered = system.key(&self.next, &mut self.key);
                self.successors.push(Successor { place, fingerprint: Fingerprint::of(&self.key), covered });
            }
        }
        Ok(())
    }

    /// Adds the successors that were not met before. Few are new, so it is cheaper to take their steps again than to keep
    /// all successors until they are looked up together.
    fn meet(&mut self) -> Result<(), (usize, T::Violation)> {
        let system = self.system;
        self.seen.fetch(self.successors.iter().map(|successor| successor.fingerprint));
        let parent = u32::try_from(self.searched).unwrap_or(u32::MAX);
        for Successor { place, fingerprint, covered } in &self.successors {
            // The state that made it enough waits, so that nobody takes the search for exhausted.
            if self.seen.len() >= self.states_max {
                break;
            }
            if self.seen.insert(*fingerprint, parent) {
                self.covered += covered;
                let action = &self.actions[*place];
                system.step(&self.current, action, &mut self.next);
                system.remember(&self.current, action, &mut self.next);
                system.check_state(&self.next).map_err(|violation| (*place, violation))?;
                self.queue.push_back(system.pack(&self.next));
            }
        }
        Ok(())
    }

    /// How many states wait to be searched.
    fn waiting(&self) -> u64 {
        self.queue.len() as u64
    }

    fn progress(&self) -> Progress {
        Progress {
            generated: self.generated,
            distinct: self.seen.len(),
            depth: self.depth,
            waiting: self.waiting(),
            bytes: self.seen.bytes(),
        }
    }

    /// The report of the search as far as it came.
    fn report(&self, verdict: Verdict<T::Action, T::Violation>) -> ReportOf<T> {
        // States that were met but not searched yet are one deeper than the level that is searched.
        let depth = self.depth + u64::from(self.seen.len() > self.level_end);
        let Self { generated, covered, .. } = *self;
        ReportOf::<T> { generated, distinct: self.seen.len(), depth, covered, verdict }
    }

    /// The way to the state that is searched: `start`, and the steps by which the search went, taken again.
    fn way_to_searched(&self, start: Way<T>) -> Way<T> {
        let mut way = start;
        for fingerprint in self.seen.way_to(u32::try_from(self.searched).unwrap_or(u32::MAX)) {
            let mut next = way.state.clone();
            let action = self.first_action_to(fingerprint, &way.state, &mut next);
            self.system.remember(&way.state, &action, &mut next);
            way.push(self.system, action, next);
        }
        way
    }

    /// The first action that leads from `from` to the state of `fingerprint`, which becomes `next`. (The first was what
    /// the search took, so under symmetry the state is the one that it searched and not another of the orbit.)
    fn first_action_to(&self, fingerprint: Fingerprint, from: &T::State, next: &mut T::State) -> T::Action {
        let mut actions = Vec::new();
        self.system.append_actions(from, &mut actions);
        let leads_there = |action: &T::Action| {
            self.system.step(from, action, next);
            let mut key = Vec::new();
            self.system.is_within(next) && {
                self.system.key(next, &mut key);
                Fingerprint::of(&key) == fingerprint
            }
        };
        let place = actions.iter().position(leads_there);
        assert!(place.is_some(), "the system does not take the same steps again: it is no function of its state");
        actions.swap_remove(place.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{CounterExample, Report};
    use super::*;

    /// A tree in which each place has three below it, down to where the bounds end. Beside its place a state remembers the sum
    /// of the steps that led there.
    #[derive(Clone, Copy)]
    struct Tree {
        /// Places from here on are outside the bounds.
        end: u64,
        /// A sum that is so large is bad.
        bad_sum: u64,
        /// This step is bad.
        bad_step: u64,
    }

    const TREE: Tree = Tree { end: 64, bad_sum: u64::MAX, bad_step: 0 };

    impl TransitionSystem for Tree {
        type State = (u64, u64);
        type Packed = (u64, u64);
        type Action = u64;
        type Violation = &'static str;

        fn initial(&self) -> (u64, u64) {
            (0, 0)
        }

        fn append_actions(&self, _: &(u64, u64), actions: &mut Vec<u64>) {
            actions.extend([1, 2, 3]);
        }

        fn step(&self, (place, _): &(u64, u64), action: &u64, next: &mut (u64, u64)) {
            *next = (place * 4 + action, 0);
        }

        fn is_within(&self, (place, _): &(u64, u64)) -> bool {
            *place < self.end
        }

        fn key(&self, (place, _): &(u64, u64), key: &mut Vec<u8>) -> u64 {
            key.extend(place.to_le_bytes());
            5
        }

        fn remember(&self, (_, sum): &(u64, u64), action: &u64, next: &mut (u64, u64)) {
            next.1 = sum + action;
        }

        fn check_state(&self, (_, sum): &(u64, u64)) -> Result<(), &'static str> {
            if *sum < self.bad_sum { Ok(()) } else { Err("the sum is bad") }
        }

        fn check_step(&self, (from, _): &(u64, u64), (next, _): &(u64, u64)) -> Result<(), &'static str> {
            if next - 4 * from == self.bad_step { Err("the step is bad") } else { Ok(()) }
        }

        fn pack(&self, state: &(u64, u64)) -> (u64, u64) {
            *state
        }

        fn unpack(&self, packed: &(u64, u64), state: &mut (u64, u64)) {
            *state = *packed;
        }

        fn describe(&self, (_, sum): &(u64, u64), action: &u64) -> String {
            format!("{action} # behind {sum}")
        }

        fn show(&self, (_, sum): &(u64, u64)) -> String {
            sum.to_string()
        }
    }

    /// What is found at the end of these steps, the first of which are a script's, and what the sums before each are.
    fn found(violation: &'static str, steps: &[u64], scripted: usize) -> Verdict<u64, &'static str> {
        let sums = steps.iter().scan(0, |sum, step| Some(std::mem::replace(sum, *sum + step)));
        let lines = steps.iter().zip(sums).map(|(step, sum)| format!("{step} # behind {sum}")).collect();
        let last = steps.iter().sum::<u64>().to_string();
        Verdict::Violated(CounterExample { violation, actions: steps.to_vec(), scripted, lines, last })
    }

    fn run(tree: Tree, script: &str) -> Report<u64, &'static str> {
        Search::new(tree).after(Script::parse(script)).run().expect("it begins within the bounds")
    }

    #[test]
    fn every_state_is_counted_with_what_it_stands_for() {
        let all = Report { generated: 121, distinct: 40, depth: 4, covered: 200, verdict: Verdict::Exhausted };
        assert_eq!(run(TREE, ""), all);
    }

    #[test]
    fn what_is_remembered_is_checked_and_shown() {
        assert_eq!(run(Tree { bad_sum: 9, ..TREE }, "").verdict, found("the sum is bad", &[3, 3, 3], 0));
        assert_eq!(run(Tree { bad_sum: 9, ..TREE }, "2; 3").verdict, Verdict::Exhausted);
        assert_eq!(run(Tree { bad_sum: 8, ..TREE }, "2; 3").verdict, found("the sum is bad", &[2, 3, 3], 2));
        let Verdict::Violated(at_once) = run(Tree { bad_step: 2, ..TREE }, "").verdict else {
            panic!("two is not far")
        };
        assert_eq!((at_once.violation, at_once.actions), ("the step is bad", vec![2]));
    }

    #[test]
    fn a_script_ends_at_what_is_wrong() {
        let sum = run(Tree { bad_sum: 6, ..TREE }, "3; 3; 3");
        let verdict = found("the sum is bad", &[3, 3], 2);
        assert_eq!(sum, Report { generated: 1, distinct: 1, depth: 1, covered: 1, verdict });
        assert_eq!(run(Tree { bad_step: 2, ..TREE }, "1; 2; 3").verdict, found("the step is bad", &[1, 2], 2));
        assert_eq!(run(Tree { bad_sum: 0, ..TREE }, "1").verdict, found("the sum is bad", &[], 0));
    }

    #[test]
    fn a_search_begins_within_the_bounds() {
        let begins = |end, script| Search::new(Tree { end, ..TREE }).after(Script::parse(script)).run().err();
        assert_eq!(begins(0, ""), Some(StartError::OutsideBounds { steps: 0 }));
        assert_eq!((begins(15, "3; 3"), begins(16, "3; 3")), (Some(StartError::OutsideBounds { steps: 2 }), None));
    }

    #[test]
    fn a_search_meets_no_more_states_than_it_may() {
        let limited = |states_max| Search::new(TREE).states_max(states_max).run().expect("it begins within the bounds");
        let after = |generated, distinct, depth, waiting| {
            let verdict = Verdict::NotExhausted { waiting };
            Report { generated, distinct, depth, covered: 5 * distinct, verdict }
        };
        assert_eq!(limited(1), after(1, 1, 1, 1));
        assert_eq!(limited(2), after(4, 2, 2, 1));
        assert_eq!(limited(4), after(4, 4, 2, 3));
        assert_eq!(limited(5), after(7, 5, 3, 3));
        assert_eq!(limited(41).verdict, Verdict::Exhausted);
    }

    #[test]
    fn a_limit_is_only_ever_lowered() {
        let most = Search::new(TREE).states_max;
        assert!(most < Seen::LEN_MAX);
        assert_eq!(Search::new(TREE).states_max(u64::MAX).states_max, most);
        assert_eq!(Search::new(TREE).states_max(3).states_max(5).states_max, 3);
    }
}

//! A user's state machine under simulation: a good one survives, and each way of being broken is found and named.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::Command as Process;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger::StateMachine;
use outrigger_simulation::{Check, Failure, Seeds, Sim, Total, run, run_with, try_run_with};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What all stores here understand.
#[derive(Clone, Serialize, Deserialize)]
enum Command {
    Put(String, u64),
    Delete(String),
    CompareAndSet { key: String, expected: Option<u64>, new: u64 },
}

/// So many seeds a broken machine may survive; most are found in the first.
const SEEDS: u64 = 20;

fn try_run<S: StateMachine + Default>(seeds: Seeds, describe: impl FnMut(&mut Sim<S>)) -> Result<Total, Failure> {
    try_run_with(seeds, S::default, describe)
}

fn command(rng: &mut outrigger_simulation::Rng) -> Command {
    let key = rng.key(6);
    match rng.number(0..10) {
        0..6 => Command::Put(key, rng.number(0..4)),
        6..8 => Command::Delete(key),
        _ => {
            let expected = rng.chance(0.8).then(|| rng.number(0..4));
            Command::CompareAndSet { key, expected, new: rng.number(0..4) }
        }
    }
}

/// So many seeds; what goes wrong is left as it is.
fn unshrunk(count: u64) -> Seeds {
    Seeds::count(count).shrink_for(Duration::ZERO)
}

/// The failure of a machine that understands [`Command`].
fn failure_of<S: StateMachine<Command = Command> + Default>() -> Failure {
    let found = try_run::<S>(unshrunk(SEEDS), |sim| {
        sim.clients(4, command);
    });
    let failure = found.expect_err("a broken machine survives");
    println!("{failure}\n");
    failure
}

fn is_found<S: StateMachine<Command = Command> + Default>(check: Check, words: &[&str]) {
    let failure = failure_of::<S>();
    assert_eq!(failure.violation.check, check, "{failure}");
    for words in words {
        assert!(failure.to_string().contains(words), "{words:?} is not said in: {failure}");
    }
}

fn panic_of(run: impl FnOnce()) -> String {
    let panic = panic::catch_unwind(AssertUnwindSafe(run)).expect_err("no panic");
    panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap()
}

// ---- machines that are as they should be ---------------------------------------------------------------------------

#[derive(Clone, Default, Serialize, Deserialize)]
struct Store(BTreeMap<String, u64>);

impl StateMachine for Store {
    type Command = Command;
    type Response = Option<u64>;

    fn apply(&mut self, command: Command) -> Option<u64> {
        match command {
            Command::Put(key, value) => self.0.insert(key, value),
            Command::Delete(key) => self.0.remove(&key),
            Command::CompareAndSet { key, expected, new } => {
                let before = self.0.get(&key).copied();
                if before == expected {
                    self.0.insert(key, new);
                }
                before
            }
        }
    }
}

#[test]
fn store_survives_everything() {
    let total = run::<Store>(Seeds::from_env_or(SEEDS), |sim| {
        sim.cluster(5).crash(0.01).partition(0.02).torn_writes(0.01);
        sim.clients(8, command);
        sim.check_linearizable();
    });
    assert!(total.written > 50 * total.seeds, "{total:?}");
    assert!(total.faults["kill"] > total.seeds && total.faults["power cut"] > total.seeds, "{total:?}");
    assert!(total.undecided < total.seeds, "the search for an order never ended: {total:?}");
}

/// Hash order is no fault where it does not show.
#[derive(Clone, Default)]
struct Hidden(HashMap<String, u64>);

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.iter().collect::<BTreeMap<_, _>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        HashMap::deserialize(deserializer).map(Self)
    }
}

impl StateMachine for Hidden {
    type Command = Command;
    type Response = usize;

    fn apply(&mut self, command: Command) -> usize {
        match command {
            Command::Put(key, value) | Command::CompareAndSet { key, new: value, .. } => self.0.insert(key, value),
            Command::Delete(key) => self.0.remove(&key),
        };
        self.0.len()
    }
}

#[test]
fn a_hash_map_whose_order_nobody_sees_survives() {
    run::<Hidden>(Seeds::count(5), |sim| {
        sim.clients(4, command);
    });
}

/// Larger than what is looked at after every command.
#[test]
fn a_large_state_survives_and_is_not_looked_at_too_often() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Large(Vec<u64>);

    impl StateMachine for Large {
        type Command = u64;
        type Response = u64;
        fn apply(&mut self, at: u64) -> u64 {
            let at = usize::try_from(at).unwrap() % self.0.len();
            self.0[at] += 1;
            self.0[at]
        }
    }

    let total = run_with(
        Seeds::count(4),
        || Large(vec![u64::MAX >> 8; 100_000]),
        |sim| {
            sim.clients(4, |rng| rng.number(0..100_000));
        },
    );
    assert!(total.written > 100, "{total:?}");
}

#[test]
fn without_faults_nothing_goes_wrong_but_the_trials_of_peace() {
    let total = run::<Store>(Seeds::count(3), |sim| {
        sim.cluster(3).seconds(2).without_faults().clients(2, command);
    });
    let struck: Vec<_> = total.faults.iter().filter(|(_, count)| **count > 0).collect();
    let allowed =
        ["power cut", "power cut in a recovery", "crash in the middle of a flush", "message cut off", "snapshot taken"];
    assert!(struck.iter().all(|(name, _)| allowed.contains(name)), "{struck:?}");
    assert_eq!(total.faults["power cut"], total.seeds, "{struck:?}");
    assert!(total.unknown <= total.seeds, "only who asked the node that restarts: {total:?}");
}

#[test]
fn a_crash_comes_as_often_as_its_chance_says() {
    let total = run::<Store>(Seeds::count(10), |sim| {
        sim.cluster(5).seconds(20).without_faults().crash(0.01);
        sim.clients(1, command);
    });
    // Five nodes, 200 tenths of a second, one in a hundred: ten in each history. Some find nobody alive.
    let each = total.faults["kill"] as f64 / total.seeds as f64;
    assert!((7.0..12.0).contains(&each), "{each} in each history");
}

// ---- machines that are broken --------------------------------------------------------------------------------------

#[derive(Clone, Default, Serialize, Deserialize)]
struct HashStore(HashMap<String, u64>);

impl StateMachine for HashStore {
    type Command = Command;
    type Response = Option<u64>;

    fn apply(&mut self, command: Command) -> Option<u64> {
        match command {
            Command::Put(key, value) | Command::CompareAndSet { key, new: value, .. } => self.0.insert(key, value),
            Command::Delete(key) => self.0.remove(&key),
        }
    }
}

#[test]
fn a_hash_map_that_serialises_in_hash_order_is_found() {
    is_found::<HashStore>(Check::Determinism, &["in another order. A HashMap", "node ", "HashStore({\"key-"]);
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct FirstKey(Hidden);

impl StateMachine for FirstKey {
    type Command = Command;
    type Response = Option<String>;

    fn apply(&mut self, command: Command) -> Option<String> {
        if let Command::Put(key, value) = command {
            self.0.0.insert(key, value);
        }
        self.0.0.keys().next().cloned()
    }
}

#[test]
fn an_answer_in_hash_order_is_found() {
    is_found::<FirstKey>(
        Check::Determinism,
        &["answers the command at index ", "Some(\"key-", "apply must be deterministic"],
    );
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Clocked {
    last_change: u128,
}

impl StateMachine for Clocked {
    type Command = Command;
    type Response = ();

    fn apply(&mut self, _: Command) {
        self.last_change = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    }
}

#[test]
fn a_clock_that_is_read_in_apply_is_found() {
    is_found::<Clocked>(Check::Determinism, &["Clocked { last_change: ", "no clock"]);
}

thread_local! {
    /// How often the machine below has looked at its clock.
    static LOOKS: Cell<u64> = const { Cell::new(0) };
}

/// Reads a clock so coarse that it moves once, after the first look.
#[derive(Clone, Default, Serialize, Deserialize)]
struct WholeSeconds {
    last_change: u64,
}

impl StateMachine for WholeSeconds {
    type Command = Command;
    type Response = ();

    fn apply(&mut self, _: Command) {
        self.last_change = LOOKS.replace(LOOKS.get() + 1).min(1);
    }
}

/// Whoever applies the commands once more comes to what the node holds: to show that as the difference would show none.
#[test]
fn a_clock_that_stands_still_again_is_not_shown_as_two_states_that_are_the_same() {
    let failure = failure_of::<WholeSeconds>();
    assert_eq!(failure.violation.check, Check::Determinism, "{failure}");
    let said = failure.to_string();
    assert_eq!(said.matches("WholeSeconds { last_change: 1 }").count(), 1, "{said}");
    assert!(said.contains("Applied again just now, the same commands lead to the same; at the time, "), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.starts_with("a replay may go well")), "{said}");
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Lottery;

impl StateMachine for Lottery {
    type Command = Command;
    type Response = u64;

    fn apply(&mut self, _: Command) -> u64 {
        RandomState::new().hash_one("a random number without a crate") % 100
    }
}

#[test]
fn a_random_number_in_apply_is_found() {
    is_found::<Lottery>(Check::Determinism, &["answers the command at index ", "no random number"]);
}

/// Counts in a field that no snapshot holds.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Forgetful {
    last: u64,
    #[serde(skip)]
    count: u64,
}

impl StateMachine for Forgetful {
    type Command = Command;
    type Response = u64;

    fn apply(&mut self, command: Command) -> u64 {
        if let Command::Put(_, value) = command {
            self.last = value;
        }
        self.count += 1;
        self.count
    }
}

#[test]
fn a_field_that_matters_and_is_not_serialised_is_found() {
    is_found::<Forgetful>(Check::Snapshot, &["had been restored from a snapshot", "#[serde(skip)]"]);
}

#[test]
fn a_diagram_shows_commands_and_restores_and_where_it_goes_wrong() {
    let file = std::env::temp_dir().join(format!("outrigger-user-{}.svg", std::process::id()));
    let found = try_run::<Forgetful>(unshrunk(SEEDS).drawn_into(&file), |sim| {
        sim.cluster(3).clients(4, command);
    });
    let (failure, svg) = (found.expect_err("it is broken"), std::fs::read_to_string(&file).unwrap());
    std::fs::remove_file(&file).unwrap();
    let asked_of_a_leader_and_of_another = [" asked: Put(", ">propose Put("];
    let at_its_node = [">restored from snapshot at ", "<circle class='fatal'", ">here it goes wrong</text>"];
    for words in asked_of_a_leader_and_of_another.iter().chain(&at_its_node) {
        assert!(svg.contains(words), "{words} is missing; {failure}\n{svg}");
    }
    for line in failure.violation.reason.lines().skip(1).filter(|line| line.len() < 80) {
        assert!(svg.contains(&format!(">{line}</text>")), "the line is broken elsewhere: {line}\n{svg}");
    }
}

/// Knows whether it is the first that its node has.
#[derive(Clone, Serialize, Deserialize)]
struct Reborn(bool);

impl StateMachine for Reborn {
    type Command = Command;
    type Response = bool;

    fn apply(&mut self, _: Command) -> bool {
        self.0
    }
}

#[test]
fn what_differs_only_after_a_restart_is_found() {
    let made = Cell::new(0);
    let make = move || {
        made.set(made.get() + 1);
        // One is beside the three nodes.
        Reborn(made.get() > 4)
    };
    let found = try_run_with(unshrunk(1), make, |sim| {
        sim.cluster(3).clients(4, command);
    });
    let failure = found.unwrap_err();
    assert_eq!(failure.violation.check, Check::Determinism, "{failure}");
    assert!(failure.faults.keys().any(|fault| ["kill", "power cut"].contains(fault)), "{failure:?}");
}

/// So large that after the first command it is looked at in the end alone.
#[derive(Clone, Serialize, Deserialize)]
struct LateClock {
    ballast: Vec<u64>,
    commands: u64,
    last_change: u128,
}

impl StateMachine for LateClock {
    type Command = Command;
    type Response = ();

    fn apply(&mut self, _: Command) {
        self.commands += 1;
        if self.commands > 1 {
            self.last_change = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        }
    }
}

#[test]
fn the_last_state_is_looked_at_however_large_it_is() {
    let start = || LateClock { ballast: vec![u64::MAX; 1 << 20], commands: 0, last_change: 0 };
    let found = try_run_with(unshrunk(1), start, |sim| {
        sim.cluster(3).seconds(1).without_faults().clients(1, command);
    });
    let failure = found.unwrap_err();
    assert_eq!(failure.violation.check, Check::Determinism, "{failure}");
    assert!(failure.to_string().len() < 2000, "a large state is printed in whole");
}

/// Sorts on the way in: what is read back is not what was written.
#[derive(Clone, Default, Serialize)]
struct Sorted(Vec<u64>);

impl<'de> Deserialize<'de> for Sorted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Vec::deserialize(deserializer)?;
        values.sort_unstable();
        Ok(Self(values))
    }
}

impl StateMachine for Sorted {
    type Command = Command;
    type Response = ();

    fn apply(&mut self, command: Command) {
        if let Command::Put(_, value) = command {
            self.0.push(value);
        }
    }
}

#[test]
fn a_state_that_is_restored_as_another_is_found() {
    is_found::<Sorted>(Check::Snapshot, &["restored from its bytes and serialised again it is another", "Sorted(["]);
}

/// A clone is the same object.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<u64>>);

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.lock().unwrap().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Arc::new(Mutex::new(u64::deserialize(deserializer)?))))
    }
}

impl StateMachine for Shared {
    type Command = Command;
    type Response = u64;

    fn apply(&mut self, _: Command) -> u64 {
        let mut count = self.0.lock().unwrap();
        *count += 1;
        *count
    }
}

#[test]
fn a_clone_that_changes_with_the_original_is_found() {
    is_found::<Shared>(Check::Snapshot, &["That changes the clone", "Arc<Mutex<..>>"]);
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Touchy(BTreeMap<String, u64>);

impl StateMachine for Touchy {
    type Command = Command;
    type Response = ();

    fn apply(&mut self, command: Command) {
        match command {
            Command::Put(key, value) => drop(self.0.insert(key, value)),
            // Not for the first command: what went well before is to be traced.
            Command::Delete(key) => assert!(self.0.remove(&key).is_some() || self.0.is_empty(), "there is no {key}"),
            Command::CompareAndSet { .. } => {}
        }
    }
}

#[test]
fn a_panic_in_apply_is_reported_with_its_command() {
    is_found::<Touchy>(
        Check::Apply,
        &["apply panics on the command at index ", "Delete(\"key-", "there is no key-", "every node"],
    );
}

#[test]
fn a_command_that_does_not_decode_is_reported() {
    /// Postcard writes no names: nobody can tell which of them was meant.
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Vague {
        Number(u64),
        Text(String),
    }

    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Sink;

    impl StateMachine for Sink {
        type Command = Vague;
        type Response = ();
        fn apply(&mut self, _: Vague) {}
    }

    let found = try_run::<Sink>(unshrunk(1), |sim| {
        sim.clients(1, |rng| if rng.chance(0.5) { Vague::Number(3) } else { Vague::Text("x".into()) });
    });
    let failure = found.unwrap_err();
    assert_eq!(failure.violation.check, Check::Encoding, "{failure}");
    assert!(failure.to_string().contains("a command is encoded and does not decode"), "{failure}");
}

#[test]
fn a_command_that_is_too_large_is_reported() {
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Sink;

    impl StateMachine for Sink {
        type Command = String;
        type Response = ();
        fn apply(&mut self, _: String) {}
    }

    let found = try_run::<Sink>(unshrunk(1), |sim| {
        sim.clients(1, |_| "x".repeat(5 << 20));
    });
    let failure = found.unwrap_err();
    assert_eq!(failure.violation.check, Check::Encoding, "{failure}");
    assert!(failure.to_string().contains("has 5242884 bytes; a node takes"), "{failure}");
}

// ---- seeds and replays ---------------------------------------------------------------------------------------------

#[test]
fn a_failure_is_the_same_again_under_its_seed() {
    for failure in [failure_of::<Touchy>(), failure_of::<Forgetful>(), failure_of::<Shared>()] {
        let seeds = || Seeds::range(failure.seed..failure.seed + 1).shrink_for(Duration::ZERO);
        let again = match failure.violation.check {
            Check::Apply => try_run::<Touchy>(seeds(), |sim| _ = sim.clients(4, command)),
            _ if failure.to_string().contains("clone") => try_run::<Shared>(seeds(), |sim| _ = sim.clients(4, command)),
            _ => try_run::<Forgetful>(seeds(), |sim| _ = sim.clients(4, command)),
        };
        assert_eq!(again.unwrap_err(), failure);
    }
}

/// What the environment asks the next test's child to do.
const BREAK: &str = "OUTRIGGER_TEST_BREAK";

#[test]
fn does_nothing_unless_the_next_test_runs_it() {
    if std::env::var_os(BREAK).is_some() {
        run::<Touchy>(Seeds::from_env(), |sim| _ = sim.clients(4, command));
    }
}

fn run_the_test_before(variables: &[(&str, &str)]) -> String {
    let test = "does_nothing_unless_the_next_test_runs_it";
    let mut child = Process::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture"]);
    for variable in ["SEED", "SEEDS", "WITHOUT", "CLIENTS", "SPARE", "ONLY", "DIAGRAM", "SHRINK_SECONDS"] {
        child.env_remove(format!("OUTRIGGER_{variable}"));
    }
    let output = child.env(BREAK, "1").envs(variables.iter().copied()).output().unwrap();
    assert!(!output.status.success(), "it does not fail");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// How a failure begins to say that all that is left of it is needed.
const MINIMAL: &str = "no kind, client or single trouble more can be left out (";

#[test]
fn the_line_that_a_failing_test_prints_replays_it() {
    let first = run_the_test_before(&[("OUTRIGGER_SEEDS", "40"), ("OUTRIGGER_SHRINK_SECONDS", "600")]);
    let said = |output: &str| {
        let from = output.rfind("\nseed ").unwrap_or_else(|| panic!("no failure in {output}"));
        let to = output[from..].find("\ndraw it").expect("how to draw it") + from;
        let lines = output[from..to].split('\n').filter(|line| !line.starts_with(MINIMAL));
        lines.collect::<Vec<_>>().join("\n")
    };
    let failure = said(&first);
    // Only who has looked for less knows.
    assert!(first.contains(&format!("\n{MINIMAL}")), "{first}");
    let line = failure.split_once("replay it with: ").expect("the line that replays it").1;
    let (variables, command) = line.split_once("cargo ").expect("a command of cargo");
    let wanted =
        " -p outrigger-simulation --test user does_nothing_unless_the_next_test_runs_it -- --exact --nocapture";
    assert!(command.starts_with("test ") && command.ends_with(wanted), "{line}");
    // No trouble is needed for it, and one client is enough.
    let left_out = "left out of its history: 26 of 26 kinds of trouble, all clients but 1\n";
    assert!(failure.contains(left_out) && variables.contains(" OUTRIGGER_CLIENTS=1 "), "{failure}");
    assert!(first.matches("panicked at").count() < 10, "the panics of all tries are told: {first}");

    let variables: Vec<_> = variables.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
    let again = run_the_test_before(&variables);
    assert_eq!(said(&again), failure);
    assert!(first.contains("a smaller history is looked for") && !again.contains("a smaller history is looked for"));
    assert!(again.contains(" committed the command at "), "the user's commands are not traced");
    assert!(again.contains(" node 1 > ") && !first.contains(" node 1 > "), "one seed alone is traced");

    let file = file_of("replay");
    let drawn = run_the_test_before(&[variables.as_slice(), &[("OUTRIGGER_DIAGRAM", file.to_str().unwrap())]].concat());
    std::fs::remove_file(&file).unwrap();
    let steps = |output: &str| output.matches(" node 1 > ").count();
    assert_eq!((said(&drawn), steps(&drawn)), (failure, steps(&again)), "what is drawn is traced once");
}

/// A file for one test.
fn file_of(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("outrigger-{test}-{}.svg", std::process::id()))
}

/// Lives through histories of a machine that goes wrong once nodes have started twice since all started: once they do
/// anyway, when it is asked whether the cluster comes to rest.
fn run_what_two_restarts_break(seeds: Seeds) -> Result<Total, Failure> {
    let made = Rc::new(Cell::new(0));
    let is_made = Rc::clone(&made);
    let make = move || {
        made.set(made.get() + 1);
        // One is beside the three nodes.
        Reborn(made.get() > 5)
    };
    try_run_with(seeds, make, |sim| {
        is_made.set(0);
        sim.cluster(3).clients(4, command);
    })
}

#[test]
fn a_failure_is_shrunk_to_what_it_takes_and_drawn() {
    let (file, seed) = (file_of("shrunk"), 1);
    let seeds = Seeds::range(seed..seed + 1).drawn_into(&file);
    let first = run_what_two_restarts_break(seeds.clone().shrink_for(Duration::ZERO)).unwrap_err();
    let drawn_first = std::fs::read_to_string(&file).unwrap();
    let failure = run_what_two_restarts_break(seeds.shrink_for(Duration::from_secs(600))).unwrap_err();
    let drawn = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();

    assert_eq!((first.changes.to_string().as_str(), first.clients), ("", 4), "{first}");
    assert!(!first.to_string().contains("left out"), "{first}");
    assert_eq!(failure.violation.check, first.violation.check, "{failure}");
    assert!(failure.clients < 4, "{failure}");
    let said = failure.to_string();
    let left_out = said.split_once("\nleft out of its history: ").expect("what was left out").1;
    let clients = format!("single troubles, all clients but {}\n", failure.clients);
    assert!(left_out.contains(" of 26 kinds of trouble (all but ") && left_out.contains(&clients), "{said}");
    assert!(left_out.contains(&format!("\n{MINIMAL}")), "{said}");

    assert!(
        drawn_first.contains(&format!("seed {seed}")) && !drawn_first.contains("without"),
        "{}",
        &drawn_first[..2000]
    );
    assert!(
        drawn.contains("kinds of trouble, with")
            && drawn.contains(" single trouble")
            && drawn.contains("Determinism is violated"),
        "{}",
        &drawn[..2000]
    );
    let again = run_what_two_restarts_break(Seeds::one(seed).changed((*failure.changes).clone()));
    let mut again = again.unwrap_err();
    again.shrunk = failure.shrunk;
    assert_eq!(again, failure, "it can be replayed");
}

#[test]
fn no_smaller_history_is_looked_for_once_the_time_is_over() {
    let at_once = run_what_two_restarts_break(Seeds::range(1..2).shrink_for(Duration::from_nanos(1)));
    assert_eq!(at_once, run_what_two_restarts_break(unshrunk(1)));
}

/// Goes wrong in the first histories that it lives through, and never again: each try that fails does so by luck.
#[test]
fn a_smaller_history_that_does_not_fail_again_is_not_told_of() {
    let (histories, made) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (lived, is_made) = (Rc::clone(&histories), Rc::clone(&made));
    let make = move || {
        made.set(made.get() + 1);
        Reborn(made.get() > 1 && lived.get() <= 3)
    };
    let file = file_of("luck");
    let seeds = Seeds::range(1..2).shrink_for(Duration::from_secs(600)).drawn_into(&file);
    let failure = try_run_with(seeds, make, |sim| {
        is_made.set(0);
        histories.set(histories.get() + 1);
        sim.cluster(3).seconds(1).clients(4, command);
    });
    let drawn = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let failure = failure.unwrap_err();
    assert!(histories.get() > 3, "it was tried");
    assert_eq!((failure.changes.to_string().as_str(), failure.clients), ("", 4), "{failure}");
    assert!(!drawn.contains("is violated"), "nothing is: it went well when it was drawn");
}

#[test]
fn a_history_that_goes_well_is_drawn_only_if_it_alone_is_meant() {
    let (many, one) = (file_of("many"), file_of("one"));
    let describe = |sim: &mut Sim<Store>| _ = sim.cluster(3).seconds(1).clients(1, command);
    run::<Store>(Seeds::count(1).drawn_into(&many), describe);
    run::<Store>(Seeds::one(1).drawn_into(&one), describe);
    let drawn = std::fs::read_to_string(&one).unwrap();
    std::fs::remove_file(&one).unwrap();
    assert!(!many.exists());
    assert!(drawn.starts_with("<svg") && drawn.contains("append_entries"), "{}", &drawn[..2000]);
}

#[test]
fn who_does_not_ask_the_environment_is_told_so() {
    let without = failure_of::<Touchy>();
    assert!(without.replay().ends_with("--nocapture # once the test takes Seeds::from_env()"), "{without}");
}

/// What a child process prints that runs the test of the good machine, with nothing else in the environment.
fn run_the_good_machine(variable: &str, value: &str) -> String {
    let mut child = Process::new(std::env::current_exe().unwrap());
    child.args(["store_survives_everything", "--exact", "--nocapture"]);
    for variable in ["SEED", "SEEDS", "WITHOUT", "CLIENTS", "SPARE", "ONLY", "DIAGRAM"] {
        child.env_remove(format!("OUTRIGGER_{variable}"));
    }
    String::from_utf8(child.env(variable, value).output().unwrap().stdout).unwrap()
}

#[test]
fn a_test_that_passes_says_what_it_lived_through() {
    let said = run_the_good_machine("OUTRIGGER_SEEDS", "4");
    let line = said.lines().find(|line| line.contains("4 histories, ")).unwrap_or_else(|| panic!("{said}"));
    for part in [" s of virtual time, ", " writes, ", " faults (", " kills and ", " s: all as it must be"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    assert!(!said.contains("has failed before"), "{said}");
    // Whoever replays a failure and sees it go well is told what that means.
    let replayed = run_the_good_machine("OUTRIGGER_SEED", "3");
    let words =
        ["1 history, ", "if this history has failed before, something in the state machine is not deterministic"];
    assert!(words.iter().all(|words| replayed.contains(words)), "{}", &replayed[replayed.len().saturating_sub(2000)..]);
}

#[test]
fn a_drawing_that_cannot_be_written_is_told_by_the_variable_that_asks_for_it() {
    let file = ("OUTRIGGER_DIAGRAM", "/nowhere/at/all.svg");
    let said = run_the_test_before(&[("OUTRIGGER_SEEDS", "20"), ("OUTRIGGER_SHRINK_SECONDS", "0"), file]);
    assert!(said.contains("OUTRIGGER_DIAGRAM: /nowhere/at/all.svg cannot be written: "), "{said}");
}

#[test]
fn garbage_in_the_environment_is_named() {
    let said = run_the_test_before(&[("OUTRIGGER_SEEDS", "a few")]);
    assert!(said.contains("OUTRIGGER_SEEDS is \"a few\"; it must be how many seeds"), "{said}");
}

#[test]
fn who_forgets_the_clients_is_told_so() {
    let said = panic_of(|| drop(run::<Store>(Seeds::count(1), |sim| _ = sim.cluster(3))));
    assert!(said.contains("no clients: say what they write, as in sim.clients(8,"), "{said}");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let said = |describe: fn(&mut Sim<Store>)| panic_of(|| drop(run::<Store>(Seeds::count(1), describe)));
    assert!(said(|sim| _ = sim.crash(1.5)).contains("sim.crash(1.5): a probability is from 0.0 to 1.0"));
    assert!(said(|sim| _ = sim.cluster(0)).contains("sim.cluster(0): a cluster has 1 to 9 nodes"));
    assert!(said(|sim| _ = sim.seconds(0)).contains("sim.seconds(0): a history lasts 1 to 3600 seconds"));
    assert!(said(|sim| _ = sim.clients(0, command)).contains("sim.clients(0, ..)"));
}

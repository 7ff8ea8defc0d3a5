//! All members are replaced by others in one change, while clients write and read and leaders are killed in the middle of it.
//!
//! ```text
//!   voters     1 2 3 4 5 ── catching up ── joint ── 6 7 8 9 10 ── catching up ── joint ── 1 2 3 4 5 ── ..
//!   kill -9         the leader, at another moment of each change; then whoever leads next, twice, whether or not it is over by then
//!   clients    ──────────────────────────────────────────────────────────────────────── all linearizable
//! ```
//!
//! `OUTRIGGER_CHURN_CHANGES` says how many changes. Another test kills one leader in each step of a change, as its log then shows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger::{Client, NodeStatus, Outcome};
use outrigger_server::store::{Answer, Change, Command, Query, Store};
use outrigger_simulation::linearizability::key_value::{self, KeyValue, Operation};
use outrigger_simulation::linearizability::{History, Limits, Verdict, check};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, PATIENCE, Ran, run, wait_until};

const WITNESSES: u64 = 6;
const KEYS: u64 = 3;
/// So many leaders die in a change.
const KILLS: u32 = 3;

/// What clients did and were told, with the time of each call and answer.
struct Testimony {
    began: Instant,
    history: Mutex<History<Operation<u64, u64>, key_value::Outcome<u64>>>,
    answered: AtomicU64,
    next_value: AtomicU64,
    next_client: AtomicU64,
    is_over: AtomicBool,
}

impl Testimony {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap()
    }
}

fn key(key: u64) -> Bytes {
    format!("churn/{key}").into()
}

/// Asks for one thing; `Err` says whether it was certainly not done.
async fn ask(client: &Client<Store>, operation: &Operation<u64, u64>) -> Result<key_value::Outcome<u64>, Outcome> {
    match *operation {
        Operation::Put { key, value } => {
            let command = Command::Put { key: self::key(key), value: value.to_string().into() };
            let response = client.write(command).await.map_err(|error| error.outcome())?;
            assert!(matches!(response, Ok(Change::Done { .. })), "{response:?}");
            Ok(key_value::Outcome::Written { revision: None })
        }
        Operation::Get { key } => {
            let answer = client.query(Query::Get { key: self::key(key) }).await.map_err(|error| error.outcome())?;
            let Answer::Value(found) = answer else { panic!("another question was answered: {answer:?}") };
            let value = found.map(|found| std::str::from_utf8(&found.value).unwrap().parse().unwrap());
            Ok(key_value::Outcome::Got { value, revision: None })
        }
        ref other => panic!("nobody asks for {other:?}"),
    }
}

async fn bear_witness(client: Client<Store>, testimony: Arc<Testimony>) {
    let mut me = testimony.next_client.fetch_add(1, Ordering::Relaxed);
    for turn in me.. {
        if testimony.is_over.load(Ordering::Relaxed) {
            return;
        }
        let key = turn % KEYS;
        let operation = match turn % 5 {
            0 | 1 => Operation::Put { key, value: testimony.next_value.fetch_add(1, Ordering::Relaxed) },
            _ => Operation::Get { key },
        };
        let called = testimony.history.lock().unwrap().call(me, testimony.now(), operation.clone());
        let told = ask(&client, &operation).await;
        let (now, mut history) = (testimony.now(), testimony.history.lock().unwrap());
        match told {
            Ok(outcome) => history.returned(called, now, outcome).unwrap(),
            Err(Outcome::NotApplied) => history.refused(called).unwrap(),
            // It may yet take effect, at any time: whoever goes on is somebody else.
            Err(_) => me = testimony.next_client.fetch_add(1, Ordering::Relaxed),
        }
        drop(history);
        testimony.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Clients that write and read a few keys until it is over.
struct Witnesses {
    runtime: Runtime,
    testimony: Arc<Testimony>,
    tasks: Vec<JoinHandle<()>>,
}

impl Witnesses {
    fn call(endpoints: &[String]) -> Self {
        let testimony = Arc::new(Testimony {
            began: Instant::now(),
            history: Mutex::new(History::new()),
            answered: AtomicU64::new(0),
            next_value: AtomicU64::new(0),
            next_client: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let runtime = Runtime::new().unwrap();
        let connect = || runtime.block_on(Client::<Store>::connect(endpoints.to_vec())).unwrap().with_timeout(PATIENCE);
        let tasks = (0..WITNESSES).map(|_| runtime.spawn(bear_witness(connect(), Arc::clone(&testimony)))).collect();
        Self { runtime, testimony, tasks }
    }

    #[track_caller]
    fn go_on(&self) {
        let enough = self.testimony.answered.load(Ordering::Relaxed) + 20 * WITNESSES;
        wait_until("clients are answered", || self.testimony.answered.load(Ordering::Relaxed) >= enough);
    }

    /// Ends it, and holds all that they saw against what one store would have said.
    fn judge(self) {
        self.testimony.is_over.store(true, Ordering::Relaxed);
        self.tasks.into_iter().for_each(|task| self.runtime.block_on(task).unwrap());
        let history = self.testimony.history.lock().unwrap();
        println!("{} writes and reads", history.len());
        match check(&KeyValue::new(), &history, Limits::default()) {
            Verdict::Linearizable(_) => {}
            verdict => panic!("{verdict:?}"),
        }
    }
}

fn places(cluster: &Cluster, ids: Range<usize>) -> String {
    let place = |node: &harness::Node| format!("{}={}", node.id, node.peer_address());
    cluster.nodes[ids].iter().map(place).collect::<Vec<_>>().join(",")
}

/// The same for nodes by their ids.
fn places_of(cluster: &Cluster, ids: &BTreeSet<u64>) -> String {
    let place = |id: &u64| usize::try_from(*id).unwrap();
    places(cluster, place(ids.first().unwrap()) - 1..place(ids.last().unwrap()))
}

/// Asks for these voters, and goes on meanwhile.
fn change(cluster: &Cluster, places: &str) -> mpsc::Receiver<Ran> {
    let (tell, ended) = mpsc::channel();
    let (endpoints, places) = (cluster.endpoints().join(","), places.to_owned());
    std::thread::spawn(move || {
        tell.send(run(["--endpoints", &endpoints, "--timeout", "60s", "member", "change", "--voters", &places]))
    });
    ended
}

/// The voters, and whether a change is under way, as the newest leader has it.
fn voters(cluster: &Cluster) -> Option<(Value, bool)> {
    let ran = cluster.run(&["--timeout", "5s", "member", "list", "--output", "json"]);
    let listed: Value = serde_json::from_str(&ran.stdout).ok()?;
    Some((listed["voters"].clone(), !listed["goal"].is_null()))
}

/// Leaders die meanwhile: the first after `delay`, each other one as soon as it leads. Returns once the change is over after that.
fn replace_all(cluster: &mut Cluster, ids: Range<usize>, delay: Duration) {
    let (wanted, places) = (json!(ids.clone().map(|place| place + 1).collect::<Vec<_>>()), places(cluster, ids));
    let mut asked = change(cluster, &places);
    let mut kills = 0;
    let began = Instant::now();
    loop {
        if kills < KILLS {
            let leader = cluster.leader();
            // What is waited for is a moment, another one in each change: nothing tells from outside when a step begins.
            std::thread::sleep(delay.saturating_sub(began.elapsed()));
            cluster.nodes[leader].kill();
            cluster.nodes[leader].start();
            kills += 1;
        }
        let seen = voters(cluster);
        if kills == KILLS && seen == Some((wanted.clone(), false)) {
            return;
        }
        if let Ok(ran) = asked.try_recv() {
            assert!([Some(0), Some(1), Some(3), Some(4)].contains(&ran.code), "{ran:?}");
            let is_idle = seen.is_some_and(|(voters, is_changing)| voters != wanted && !is_changing);
            // Its leader died before it had begun.
            if is_idle {
                asked = change(cluster, &places);
            }
        }
        assert!(began.elapsed() < PATIENCE * 2, "{:?} instead of {wanted}", voters(cluster));
    }
}

/// Where a change of the members is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Who is to vote receives the log.
    CatchingUp,
    /// Both majorities decide.
    Joint,
    /// The new voters decide alone, and the entry that says so is about to be committed.
    Settled,
}

const STEPS: [Step; 3] = [Step::CatchingUp, Step::Joint, Step::Settled];

impl Step {
    /// By what somebody knows of the members: is there anybody who is to vote no more, do all of the new ones vote, are they there.
    const fn of(is_joint: bool, is_done: bool, is_begun: bool) -> Option<Self> {
        match (is_joint, is_done, is_begun) {
            (true, ..) => Some(Self::Joint),
            (false, true, _) => Some(Self::Settled),
            (false, false, true) => Some(Self::CatchingUp),
            (false, false, false) => None,
        }
    }

    /// The step that a running node is in.
    fn shown(status: &NodeStatus, wanted: &BTreeSet<u64>) -> Option<Self> {
        let members = &status.membership;
        let is_done = members.voters().iter().map(|node| node.0).eq(wanted.iter().copied());
        Self::of(members.is_joint(), is_done, members.goal().is_some())
    }

    /// The step that a node was in when it died: by the last members in its log.
    fn found(node: &harness::Node, wanted: &BTreeSet<u64>) -> Option<Self> {
        let dumped = run(["log", "dump", "--data-dir", node.data_dir.to_str().unwrap(), "--output", "json"]);
        let mut lines = dumped.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let last = lines.rfind(|line| line["type"] == "members").expect("there are members in its log");
        let members = last["members"].as_array().unwrap();
        let ids = |flag: &str, is: bool| -> BTreeSet<u64> {
            members.iter().filter(|it| it[flag] == is).map(|it| it["id"].as_u64().unwrap()).collect()
        };
        Self::of(!ids("outgoing", true).is_empty(), ids("voter", true) == *wanted, !ids("voter", false).is_empty())
    }
}

/// Kills the leader as soon as it is seen in this step of the change. Answers in which it died, if in any.
fn kill_in(cluster: &mut Cluster, step: Step, wanted: &BTreeSet<u64>, witnesses: &Witnesses) -> Option<Step> {
    let leader = cluster.leader();
    let endpoint = vec![cluster.nodes[leader].endpoint()];
    let client = witnesses.runtime.block_on(Client::<Store>::connect(endpoint)).unwrap().with_timeout(PATIENCE);
    let asked = change(cluster, &places_of(cluster, wanted));
    let looks = async { while Step::shown(&client.status().await.unwrap(), wanted) < Some(step) {} };
    witnesses.runtime.block_on(async { tokio::time::timeout(PATIENCE, looks).await }).expect("it comes to that step");
    cluster.nodes[leader].kill();
    let died = Step::found(&cluster.nodes[leader], wanted);
    cluster.nodes[leader].start();
    let ran = asked.recv().unwrap();
    assert!([Some(0), Some(1), Some(3), Some(4)].contains(&ran.code), "{ran:?}");
    died
}

/// Brings a change to its end that somebody began, or nobody did.
fn end_change(cluster: &Cluster, wanted: &BTreeSet<u64>) {
    let is_there = || voters(cluster) == Some((json!(wanted), false));
    wait_until("all voters are others", || {
        is_there() || {
            change(cluster, &places_of(cluster, wanted)).recv().unwrap();
            is_there()
        }
    });
}

/// Five voters, five more nodes that wait to be added, and clients.
fn five_of_ten() -> (Cluster, Witnesses) {
    let mut cluster = Cluster::started(5);
    for _ in 0..5 {
        cluster.join();
    }
    cluster.done(&["put", "city", "Oslo"]);
    let witnesses = Witnesses::call(&cluster.endpoints());
    witnesses.go_on();
    (cluster, witnesses)
}

/// What was written before all of it, and what clients saw of it.
fn judge(cluster: &Cluster, witnesses: Witnesses) {
    witnesses.judge();
    assert_eq!(cluster.done(&["get", "city"]), "Oslo\n");
}

/// What is aimed at is a moment of a few milliseconds: it is tried until a leader has died in each step.
#[test]
fn whoever_dies_in_any_step_of_a_change_the_next_leader_ends_it() {
    const TRIES: usize = 40;
    let (mut cluster, witnesses) = five_of_ten();
    let mut died_in: BTreeMap<Step, usize> = BTreeMap::new();
    for number in 0..TRIES {
        let Some(step) = STEPS.into_iter().find(|step| !died_in.contains_key(step)) else { break };
        let wanted: BTreeSet<u64> = if number % 2 == 0 { (6..=10).collect() } else { (1..=5).collect() };
        if let Some(died) = kill_in(&mut cluster, step, &wanted, &witnesses) {
            *died_in.entry(died).or_default() += 1;
        }
        end_change(&cluster, &wanted);
        witnesses.go_on();
    }
    println!("leaders died in {died_in:?}");
    assert!(STEPS.iter().all(|step| died_in.contains_key(step)), "in {TRIES} changes leaders died in {died_in:?}");
    judge(&cluster, witnesses);
}

#[test]
fn all_members_are_replaced_while_leaders_are_killed_in_the_middle_of_it() {
    let changes = std::env::var("OUTRIGGER_CHURN_CHANGES").map_or(4, |changes| changes.parse().unwrap());
    let (mut cluster, witnesses) = five_of_ten();
    for number in 0..changes {
        let ids = if number % 2 == 0 { 5..10 } else { 0..5 };
        replace_all(&mut cluster, ids, Duration::from_millis(15 * (number % 8)));
        witnesses.go_on();
    }
    judge(&cluster, witnesses);
}

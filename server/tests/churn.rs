//! All members are replaced by others in one change, while clients write and read and leaders are killed in the middle of it.
//!
//! ```text
//!   voters     1 2 3 4 5 ── catching up ── joint ── 6 7 8 9 10 ── catching up ── joint ── 1 2 3 4 5 ── ..
//!   kill -9         the leader, at another moment of each change; then whoever leads next, twice, whether or not it is over by then
//!   clients    ──────────────────────────────────────────────────────────────────────── all linearizable
//! ```
//!
//! `OUTRIGGER_CHURN_CHANGES` says how many changes.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger::{Client, Outcome};
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

#[test]
fn all_members_are_replaced_while_leaders_are_killed_in_the_middle_of_it() {
    let changes = std::env::var("OUTRIGGER_CHURN_CHANGES").map_or(4, |changes| changes.parse().unwrap());
    let mut cluster = Cluster::started(5);
    for _ in 0..5 {
        cluster.join();
    }
    cluster.done(&["put", "city", "Oslo"]);
    let witnesses = Witnesses::call(&cluster.endpoints());
    witnesses.go_on();
    for number in 0..changes {
        let ids = if number % 2 == 0 { 5..10 } else { 0..5 };
        replace_all(&mut cluster, ids, Duration::from_millis(15 * (number % 8)));
        witnesses.go_on();
    }
    witnesses.judge();
    assert_eq!(cluster.done(&["get", "city"]), "Oslo\n");
}

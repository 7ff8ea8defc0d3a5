//! Nothing acknowledged is ever lost: three processes, writers with unique values, `kill -9` of one, two and all three
//! nodes, round after round, and an account of every single write.
//!
//! ```text
//!   acknowledged    must be there, with exactly its value, after every round and at the end
//!   not applied     must not be there
//!   unknown         may be there with its value, or not; only those hear it who give up early
//!   nothing else may be there
//! ```
//!
//! `OUTRIGGER_KILL_ROUNDS` says how many rounds; each is one of: the leader, a follower and the leader, all three.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use outrigger::{Client, Outcome};
use outrigger_server::store::{Answer, Change, Command, Page, Query, RANGE_KEYS_MAX, Store};
use tokio::runtime::Runtime;

#[allow(dead_code, reason = "each test file uses its part of it")]
mod harness;

use harness::{Cluster, Node, wait_until};

const WRITERS: u64 = 16;
/// Who has so much time is never left in doubt: a session tells what became of a write that was tried again.
const STEADY_MILLIS: u64 = 120_000;
/// How many writes must be acknowledged between one crash and the next.
const WRITES_BETWEEN: u64 = 50;

/// What the cluster said of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Acknowledged,
    NotApplied { reason: String },
    Unknown,
}

/// Everything that was ever tried.
#[derive(Default)]
struct Account {
    /// By number; each number is written by one attempt, once.
    said: Mutex<BTreeMap<u64, Said>>,
    acknowledged: AtomicU64,
    next: AtomicU64,
    is_over: AtomicBool,
}

fn key(write: u64) -> Bytes {
    format!("kill/{write:012}").into()
}

fn value(write: u64) -> Bytes {
    format!("only write {write} has this value").into()
}

async fn write_until_over(client: Client<Store>, is_steady: bool, account: Arc<Account>) {
    while !account.is_over.load(Ordering::Relaxed) {
        let write = account.next.fetch_add(1, Ordering::Relaxed);
        // Absent is expected, so that a write that is applied twice or late would show.
        let command = Command::CompareAndSwap { key: key(write), expected: None, value: value(write) };
        let said = match client.write(command).await {
            Ok(response) => {
                assert!(matches!(response, Ok(Change::Done { .. })), "write {write}: {response:?}");
                account.acknowledged.fetch_add(1, Ordering::Relaxed);
                Said::Acknowledged
            }
            Err(error) if error.outcome() == Outcome::NotApplied => Said::NotApplied { reason: error.to_string() },
            Err(error) => {
                assert!(!is_steady, "write {write} had time to be tried again until its session knew: {error}");
                Said::Unknown
            }
        };
        account.said.lock().unwrap().insert(write, said);
    }
}

async fn read_all(client: &Client<Store>) -> BTreeMap<Bytes, Bytes> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let query = Query::Range { prefix: Bytes::new(), after: after.take(), limit: RANGE_KEYS_MAX };
        let Answer::Page(Page { entries, more }) = client.query(query).await.unwrap() else {
            panic!("another question was answered");
        };
        after = entries.last().map(|(key, _)| key.clone());
        found.extend(entries.into_iter().map(|(key, entry)| (key, entry.value)));
        if !more {
            return found;
        }
    }
}

/// Settles the account against what is there. What is still under way does not count yet.
fn settle(account: &BTreeMap<u64, Said>, found: &BTreeMap<Bytes, Bytes>) {
    for (&write, said) in account {
        match (said, found.get(&key(write))) {
            (Said::Acknowledged, None) => panic!("LOST: write {write} was acknowledged and is gone"),
            (Said::NotApplied { reason }, Some(_)) => panic!("write {write} is there, and was reported: {reason}"),
            (_, Some(there)) => assert_eq!(*there, value(write), "write {write}"),
            (Said::NotApplied { .. } | Said::Unknown, None) => {}
        }
    }
}

/// Whom a round kills: the leader, the leader and another, all.
fn victims(cluster: &Cluster, round: u64) -> Vec<usize> {
    let leader = cluster.leader();
    let other = (leader + 1 + usize::from(round.is_multiple_of(2))) % 3;
    match round % 3 {
        0 => vec![leader],
        1 => vec![leader, other],
        _ => vec![0, 1, 2],
    }
}

fn wait_for_writes(account: &Account, what: &str) {
    let enough = account.acknowledged.load(Ordering::Relaxed) + WRITES_BETWEEN;
    wait_until(what, || account.acknowledged.load(Ordering::Relaxed) >= enough);
}

fn play_round(cluster: &mut Cluster, account: &Account, round: u64) {
    wait_for_writes(account, "writes are acknowledged before the crash");
    let victims = victims(cluster, round);
    for &place in &victims {
        cluster.nodes[place].kill();
    }
    if victims.len() == 1 {
        wait_for_writes(account, "two of three go on without the leader");
    }
    for &place in &victims {
        cluster.nodes[place].spawn();
    }
    for &place in &victims {
        assert!(!cluster.nodes[place].ready().is_empty());
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let rounds = std::env::var("OUTRIGGER_KILL_ROUNDS").map_or(6, |rounds| rounds.parse().unwrap());
    lose_nothing(Cluster::started(3), rounds);
}

/// Snapshots come so often, and leave so little in the log, that nodes are killed while they take, send and receive them.
#[test]
fn nothing_acknowledged_is_lost_by_kill_9_while_snapshots_are_taken() {
    let rounds = std::env::var("OUTRIGGER_KILL_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let often = ["--snapshot-entries", "20", "--snapshot-keep-entries", "5"];
    let cluster = lose_nothing(Cluster::started_with(3, &often), rounds);
    for row in cluster.status() {
        let index = |name: &str| row[name].as_u64().unwrap();
        assert!(index("snapshot") > 0 && index("purged") > 0, "nothing was ever purged: {row}");
    }
    let taken_in = cluster.nodes.iter().filter(|node| node.logged().contains("a snapshot has come from another node"));
    println!("{} of 3 nodes were sent a snapshot", taken_in.count());
}

/// Kills nodes round after round while keys are written, and settles the account after each.
fn lose_nothing(mut cluster: Cluster, rounds: u64) -> Cluster {
    let runtime = Runtime::new().unwrap();
    let account = Arc::new(Account::default());
    let client = runtime.block_on(Client::<Store>::connect(cluster.endpoints())).unwrap();
    // The impatient ones give up while there is no leader: what they are told must be true as well.
    let patience = |writer: u64| [200, 700, 5_000, STEADY_MILLIS][usize::try_from(writer % 4).unwrap()];
    let writer = |writer| {
        let patience = patience(writer);
        let client = client.clone().with_timeout(Duration::from_millis(patience));
        write_until_over(client, patience == STEADY_MILLIS, Arc::clone(&account))
    };
    let writers: Vec<_> = (0..WRITERS).map(|number| runtime.spawn(writer(number))).collect();

    let patient = client.clone().with_timeout(harness::PATIENCE);
    for round in 0..rounds {
        play_round(&mut cluster, &account, round);
        // What was said before the read must be true in the read.
        let said = account.said.lock().unwrap().clone();
        settle(&said, &runtime.block_on(read_all(&patient)));
    }
    wait_for_writes(&account, "writes are acknowledged after the last crash");
    account.is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }

    let said = account.said.lock().unwrap().clone();
    let found = runtime.block_on(read_all(&patient));
    settle(&said, &found);
    let known = (0..account.next.load(Ordering::Relaxed)).map(key);
    assert!(found.keys().eq(known.filter(|key| found.contains_key(key)).collect::<Vec<_>>().iter()), "strangers");
    assert_states_agree(&cluster);
    let acknowledged = said.values().filter(|said| **said == Said::Acknowledged).count();
    let unknown = said.values().filter(|said| **said == Said::Unknown).count();
    let not_applied = said.len() - acknowledged - unknown;
    println!(
        "{rounds} rounds: {acknowledged} acknowledged, {not_applied} not applied, {unknown} unknown; nothing lost"
    );
    for node in &mut cluster.nodes {
        assert_eq!(node.stop("TERM").code(), Some(0), "{}", node.logged());
    }
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.nodes.iter_mut().for_each(|node| assert!(!node.ready().is_empty()));
    assert_eq!(runtime.block_on(read_all(&patient)), found, "a clean restart of all changes nothing");
    cluster
}

/// All three state machines are the same once they have applied the same.
fn assert_states_agree(cluster: &Cluster) {
    let mut rows = Vec::new();
    wait_until("all nodes have applied all that is committed", || {
        rows = cluster.status();
        rows.iter().all(|row| row["error"].is_null() && row["applied"] == rows[0]["applied"])
    });
    assert!(rows.iter().all(|row| row["state_hash"] == rows[0]["state_hash"]), "{rows:?}");
}

#[test]
fn the_account_would_notice_a_lost_write() {
    let said = BTreeMap::from([
        (1, Said::Acknowledged),
        (2, Said::Unknown),
        (3, Said::NotApplied { reason: "no leader".to_owned() }),
    ]);
    let full = BTreeMap::from([(key(1), value(1)), (key(2), value(2))]);
    settle(&said, &full);
    settle(&said, &BTreeMap::from([(key(1), value(1))]));
    for wrong in [
        BTreeMap::from([(key(2), value(2))]),
        BTreeMap::from([(key(1), value(2))]),
        BTreeMap::from([(key(1), value(1)), (key(2), value(1))]),
        BTreeMap::from([(key(1), value(1)), (key(3), value(3))]),
    ] {
        assert!(std::panic::catch_unwind(|| settle(&said, &wrong)).is_err(), "{wrong:?}");
    }
}

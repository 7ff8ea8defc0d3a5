//! A replicated, durable store with linearizable reads: the whole program. A cluster of one node, to begin with:
//!
//! `cargo run -p outrigger --example store -- --data-dir store-1 --initial-cluster 1=127.0.0.1:7101`

use std::collections::BTreeMap;

use outrigger::{Config, Raft, StateMachine};
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Store(BTreeMap<String, String>);

#[derive(Serialize, Deserialize)]
enum Command {
    Put(String, String),
    Delete(String),
}

impl StateMachine for Store {
    type Command = Command;
    type Response = Option<String>;

    fn apply(&mut self, command: Command) -> Option<String> {
        match command {
            Command::Put(key, value) => self.0.insert(key, value),
            Command::Delete(key) => self.0.remove(&key),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), outrigger::Error> {
    let raft = Raft::start(Config::parse(), Store::default()).await?;
    raft.write(Command::Delete("town".into())).await?;
    let previous = raft.write(Command::Put("city".into(), "Oslo".into())).await?;
    let current = raft.read(|store| store.0.get("city").cloned()).await?;
    println!("{previous:?} -> {current:?}");
    raft.stopped().await
}

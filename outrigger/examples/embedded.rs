//! Three nodes in one process, without a network: a write on any node, the leader stopped, the others going on.
//!
//! `cargo run -p outrigger --example embedded`

use std::sync::Arc;

use outrigger::network::InProcessNetwork;
use outrigger::{Config, Error, Outcome, Raft, StateMachine, WriteError};
use serde::{Deserialize, Serialize};

/// A list of names.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Guests(Vec<String>);

impl StateMachine for Guests {
    type Command = String;
    type Response = usize;

    fn apply(&mut self, name: String) -> usize {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
        self.0.len()
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let network = InProcessNetwork::default();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        // Addresses are needed in a network only; here they just have to differ.
        let initial_cluster = (1..=3).map(|id| (id, format!("node-{id}:1"))).collect();
        let config = Config { id, initial_cluster, ..Config::default() };
        let builder = Raft::builder(config, Guests::default()).transport(Arc::new(network.transport()));
        nodes.push(builder.start().await?);
    }

    for (node, name) in nodes.iter().zip(["Ada", "Grace", "Barbara"]) {
        let count = node.write(name.to_owned()).await?;
        println!("node {} wrote {name}: {count} guests", node.config().id);
    }

    let leader = nodes[0].metrics().wait_for(|metrics| metrics.leader.is_some()).await?.leader;
    let place = nodes.iter().position(|node| leader.is_some_and(|leader| leader.0 == node.config().id));
    let stopped = nodes.remove(place.unwrap_or(0));
    println!("node {} leads; it is stopped", stopped.config().id);
    stopped.shutdown().await?;

    let count = write_surely(&nodes[0], "Frances").await?;
    println!("node {} wrote Frances: {count} guests", nodes[0].config().id);
    let names = nodes[1].read(|guests| guests.0.join(", ")).await?;
    println!("node {} reads: {names}", nodes[1].config().id);
    for node in nodes {
        node.shutdown().await?;
    }
    Ok(())
}

/// A write whose outcome is unknown may be tried again here, because a name that is on the list stays there once.
async fn write_surely(node: &Raft<Guests>, name: &str) -> Result<usize, WriteError> {
    loop {
        match node.write(name.to_owned()).await {
            Err(error) if error.outcome() == Outcome::Unknown => println!("{error}; once more"),
            answer => return answer,
        }
    }
}

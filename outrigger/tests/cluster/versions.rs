//! Two versions of a program in one cluster.

use std::sync::Arc;
use std::time::Duration;

use outrigger::engine::Refusal;
use outrigger::network::InProcessNetwork;
use outrigger::{Raft, StateMachine, WriteError};
use serde::{Deserialize, Serialize};

use crate::counter::config;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Old(u64);

#[derive(Serialize, Deserialize)]
enum OldCommand {
    Add(u64),
}

impl StateMachine for Old {
    type Command = OldCommand;
    type Response = u64;
    fn apply(&mut self, OldCommand::Add(number): OldCommand) -> u64 {
        self.0 += number;
        self.0
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct New(u64);

#[derive(Serialize, Deserialize)]
enum NewCommand {
    Add(u64),
    Reset,
}

impl StateMachine for New {
    type Command = NewCommand;
    type Response = u64;
    fn apply(&mut self, command: NewCommand) -> u64 {
        match command {
            NewCommand::Add(number) => self.0 += number,
            NewCommand::Reset => self.0 = 0,
        }
        self.0
    }
}

/// Found by an attack: such a command was committed, and stopped every node, at each start again.
#[tokio::test]
async fn a_command_that_the_leader_does_not_know_is_refused_and_stops_nobody() {
    let network = InProcessNetwork::default();
    let mut old = Vec::new();
    for id in [1, 2] {
        let builder = Raft::builder(config(id), Old::default()).transport(Arc::new(network.transport()));
        old.push(builder.start().await.unwrap());
    }
    // The new version never leads.
    let patient = outrigger::Config {
        election_timeout_min: Duration::from_secs(3_000),
        election_timeout_max: Duration::from_secs(3_600),
        ..config(3)
    };
    let new = Raft::builder(patient, New::default()).transport(Arc::new(network.transport())).start().await.unwrap();
    assert_eq!(new.write(NewCommand::Add(4)).await, Ok(4), "what both know is done");
    assert_eq!(new.write(NewCommand::Reset).await, Err(WriteError::NotApplied { refusal: Refusal::Undecodable }));
    assert_eq!(old[0].write(OldCommand::Add(1)).await, Ok(5), "the cluster serves on");
    assert_eq!(new.read(|state| state.0).await, Ok(5));
    for node in &old {
        node.shutdown().await.unwrap();
    }
    new.shutdown().await.unwrap();
}

/// Before anything is written: it would begin, or join, a cluster in whose version it has no word.
#[tokio::test]
async fn a_node_that_is_told_to_speak_what_its_build_does_not_is_not_started() {
    for version in [0, 3] {
        let network = InProcessNetwork::default();
        let config = outrigger::Config { speak_version_max: version, ..config(1) };
        let error = Raft::builder(config, Old::default()).transport(Arc::new(network.transport())).start().await;
        let text = outrigger::Error::from(error.expect_err("no build speaks that")).to_string();
        let wanted = format!("version {version} is not spoken by this build, which speaks versions 1 to 2");
        assert!(text.contains(&wanted), "{text}");
    }
}

//! `outrigger transfer`, `outrigger elect` and `outrigger priority`: have a certain node lead.
//!
//! ```text
//!   priority   how much a node wants to lead when the leader dies
//!   transfer   the leader hands over, in order: clients wait for a few round trips, and no write is lost or in doubt
//!   elect      a node campaigns on its own account: for when there is no leader, or none that answers
//! ```

use std::time::Duration;

use clap::Args;
use outrigger::engine::NodeId;
use outrigger::{Client, ClientError};
use outrigger_server::store::Store;
use serde::Serialize;
use tokio::task::JoinSet;

use super::status::Output;
use super::{Failure, Reach, print};

const TRANSFER_EXAMPLES: &str = "\
Examples:
  outrigger --endpoints 127.0.0.1:7201,127.0.0.1:7202,127.0.0.1:7203 transfer 2
  outrigger transfer                          # to the voter that lacks the least
  outrigger transfer 2 --output json          # for programs

A leader that is stopped with SIGTERM or SIGINT does this by itself. While it lasts, for an election timeout at most, the leader
takes no writes; clients wait and see nothing of it. If node ID does not take over in time, the leader leads on.
Exit codes: 0 node ID leads, 1 it does not and trying again will not help by itself (the message says why), 2 usage, 3 nobody
answered, or another transfer is under way (safe to try again), 5 done, but the answer could not be printed.";

const ELECT_EXAMPLES: &str = "\
Examples:
  outrigger --endpoints 127.0.0.1:7201,127.0.0.1:7202,127.0.0.1:7203 elect 2
  outrigger elect 2 --force                   # even beside a leader that is at work
  outrigger elect 2 --output json             # for programs

Node ID must be one of the endpoints. It is elected if a majority answers and its log lacks nothing that a majority has. To
replace a leader that works, `outrigger transfer` is better: writes that wait during `elect --force` may end in doubt.
Exit codes: 0 node ID leads, 1 it was not elected (the message says why), 2 usage, 3 it did not answer, or no majority did (safe
to try again), 5 done, but the answer could not be printed.";

const PRIORITY_EXAMPLES: &str = "\
Examples:
  outrigger --endpoints 127.0.0.1:7201,127.0.0.1:7202,127.0.0.1:7203 priority 3 0
  outrigger priority 3 255                    # as much as any other
  outrigger priority 3 0 --output json        # for programs

When a leader dies, of two nodes that have the same log one of 255 always campaigns before one of 0, and mostly before one between.
It counts until the node starts again, from when `outrigger serve --priority` does. Nobody is deposed by it; `outrigger transfer`
hands leadership over. Node ID must be one of the endpoints. Exit codes: 0 done, 2 usage, 3 it did not answer (safe to try again),
5 done, but the answer could not be printed.";

/// Hand leadership over to a node
#[derive(Args)]
#[command(after_help = TRANSFER_EXAMPLES)]
pub(super) struct Transfer {
    /// The voter that shall lead; without it, the one that lacks the least
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: Option<u64>,
    /// A sentence for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

/// Have a node campaign now
#[derive(Args)]
#[command(after_help = ELECT_EXAMPLES)]
pub(super) struct Elect {
    /// The node
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// Do not ask for pre-votes first: depose a leader that is at work
    #[arg(long)]
    force: bool,
    /// A sentence for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

/// Say how much a node shall want to lead
#[derive(Args)]
#[command(after_help = PRIORITY_EXAMPLES)]
pub(super) struct Priority {
    /// The node
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// How much, from 0 to 255, the most
    #[arg(value_name = "NUMBER")]
    priority: u8,
    /// A sentence for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

/// Who leads now.
#[derive(Serialize)]
struct Leads {
    leader: u64,
    term: u64,
}

impl Leads {
    fn print(&self, output: Output) -> Result<(), Failure> {
        match output {
            Output::Table => print(|out| writeln!(out, "node {} leads in term {}", self.leader, self.term)),
            Output::Json => {
                let json = serde_json::to_string(self).map_err(Failure::plain)?;
                print(|out| writeln!(out, "{json}"))
            }
        }
    }
}

impl Transfer {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let client = self.reach.within(outer).client().await?;
        let next = client.transfer_leadership(self.id.map(NodeId)).await.map_err(|error| failure(&error))?;
        Leads { leader: next.leader.0, term: next.term.0 }.print(self.output)
    }
}

impl Elect {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let reach = self.reach.within(outer);
        let client = client_of(self.id, reach.endpoints()?, reach.timeout()).await?;
        let term = client.elect(!self.force).await.map_err(|error| failure(&error))?;
        Leads { leader: self.id, term: term.0 }.print(self.output)
    }
}

impl Priority {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let (node, priority) = (self.id, self.priority);
        let reach = self.reach.within(outer);
        let client = client_of(node, reach.endpoints()?, reach.timeout()).await?;
        client.set_priority(priority).await.map_err(|error| failure(&error))?;
        match self.output {
            Output::Table => print(|out| writeln!(out, "node {node} has priority {priority}")),
            Output::Json => print(|out| writeln!(out, "{}", serde_json::json!({"node": node, "priority": priority}))),
        }
    }
}

/// A client that talks to this node and to no other.
async fn client_of(id: u64, endpoints: Vec<String>, timeout: Duration) -> Result<Client<Store>, Failure> {
    let mut asked = JoinSet::new();
    for endpoint in endpoints {
        asked.spawn(async move {
            let client = Client::<Store>::connect([endpoint]).await?.with_timeout(timeout);
            client.status().await.map(|status| (status.node, client))
        });
    }
    let mut silent = None;
    while let Some(answer) = asked.join_next().await {
        match answer.map_err(Failure::plain)? {
            Ok((NodeId(node), client)) if node == id => return Ok(client),
            Ok(_) => {}
            Err(error) => silent = Some(error),
        }
    }
    Err(match silent {
        Some(error) => Failure::not_applied(format_args!("node {id} did not answer: {error}")),
        None => {
            Failure::usage(format_args!("node {id} is none of the endpoints; add its client address to --endpoints"))
        }
    })
}

/// What an error means for whoever wants a leader: what may pass by itself has a code of its own.
fn failure(error: &ClientError) -> Failure {
    match error {
        ClientError::NotTransferred { .. } | ClientError::NotElected { .. } if error.is_retryable() => {
            Failure::not_applied(error)
        }
        ClientError::NotTransferred { .. } | ClientError::NotElected { .. } => Failure::plain(error),
        error => Failure::of_client(error),
    }
}

#[cfg(test)]
mod tests {
    use outrigger::engine::{LogIndex, NotElected, NotTransferred};

    use super::*;

    /// A mutant that nothing noticed: a node that was away was said to be none of the endpoints, a usage error.
    #[tokio::test]
    async fn a_node_that_may_be_the_one_and_does_not_answer_is_worth_another_try() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let failure = client_of(2, vec![gone], Duration::from_millis(300)).await.map(drop).unwrap_err();
        assert_eq!(failure.code, 3);
        assert!(failure.message.contains("node 2 did not answer: "), "{}", failure.message);
    }

    #[test]
    fn what_may_pass_by_itself_is_told_from_what_does_not() {
        let node = NodeId(2);
        let lagging = NotTransferred::Lagging { node, matched: LogIndex(1), last: LogIndex(2) };
        for (code, why) in [
            (1, NotTransferred::NotVoter { node }),
            (1, NotTransferred::NobodyElse),
            (1, lagging),
            (1, NotTransferred::NoAnswer { node }),
            (3, NotTransferred::InProgress { to: node }),
            (3, NotTransferred::LeadershipLost),
        ] {
            assert_eq!(failure(&ClientError::NotTransferred { why }).code, code, "{why}");
        }
        for (code, why) in [
            (1, NotElected::NotVoter),
            (1, NotElected::Refused),
            (3, NotElected::NoAnswer),
            (3, NotElected::Overtaken),
            (3, NotElected::Pledged { left: Duration::ZERO }),
        ] {
            assert_eq!(failure(&ClientError::NotElected { why }).code, code, "{why}");
        }
    }
}

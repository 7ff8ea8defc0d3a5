//! One node at one moment, asked for itself alone.

use std::time::Duration;

use outrigger::{Client, NodeStatus};
use outrigger_server::store::{Answer, Query, Store, Summary};

/// What a node says of itself.
pub(crate) struct Observed {
    /// Asked for after the state, if that was told: so that what is committed is never below what is applied.
    pub(crate) status: NodeStatus,
    /// The state, and the index up to which it holds the log; or why that was not told in time: a node that is busy loading a snapshot
    /// or applying its log says how it is all the same.
    pub(crate) state: Result<(u64, Summary), String>,
}

/// Asks the node at an endpoint, and no other.
pub(crate) async fn observe(endpoint: &str, timeout: Duration) -> Result<Observed, String> {
    let client = Client::<Store>::connect([endpoint]).await.map_err(|error| error.to_string())?;
    let client = client.with_timeout(timeout);
    let status = client.status().await.map_err(|error| error.to_string())?;
    let state = match client.query_local(Query::Summary).await {
        Ok(state) => match state.answer {
            Answer::Summary(summary) => Ok((state.applied.0, summary)),
            _ => return Err("it answered another question: its version differs from this program's".to_owned()),
        },
        Err(error) => return Ok(Observed { status, state: Err(format!("its state is not told: {error}")) }),
    };
    let status = client.status().await.map_err(|error| error.to_string())?;
    Ok(Observed { status, state })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger::{Config, Raft, StateMachine};
    use outrigger_server::store::Command;
    use serde::{Deserialize, Serialize};
    use tokio::sync::Mutex;

    use super::*;

    /// A store that is busy for as long as somebody holds the lock.
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Busy {
        store: Store,
        #[serde(skip)]
        lock: Arc<Mutex<()>>,
    }

    impl StateMachine for Busy {
        type Command = Command;
        type Response = <Store as StateMachine>::Response;

        fn apply(&mut self, command: Command) -> Self::Response {
            self.store.apply(command)
        }
    }

    impl outrigger::Query for Busy {
        type Query = Query;
        type Answer = Answer;

        fn query(&self, query: Query) -> Answer {
            // The others go on with what this thread would have done next.
            let _waits = tokio::task::block_in_place(|| self.lock.blocking_lock());
            self.store.query(query)
        }
    }

    /// Found by reading: a node that loads or applies for long was shown as one that is dead.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_node_whose_state_is_busy_says_how_it_is() {
        let state = Busy::default();
        let lock = Arc::clone(&state.lock);
        let config = Config {
            listen_peer: "127.0.0.1:0".to_owned(),
            initial_cluster: [(1, "127.0.0.1:7101".to_owned())].into(),
            ..Config::default()
        };
        let raft = Raft::start(config, state).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        raft.serve_clients(listener).await;
        let busy = lock.lock().await;
        let observed = observe(&endpoint, Duration::from_millis(300)).await.unwrap();
        assert_eq!(observed.status.node.0, 1);
        assert!(observed.state.is_err_and(|error| error.contains("its state is not told")));
        drop(busy);
        let observed = observe(&endpoint, Duration::from_secs(20)).await.unwrap();
        assert!(observed.state.is_ok_and(|(applied, _)| applied <= observed.status.committed.0));
        raft.shutdown().await.unwrap();
    }
}

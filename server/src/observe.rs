//! One node at one moment, asked for itself alone.

use std::time::Duration;

use outrigger::{Client, NodeStatus};
use outrigger_server::store::{Answer, Query, Store, Summary};

/// What a node says of itself.
pub(crate) struct Observed {
    /// Asked for after the state: so that what is committed is never below what is applied.
    pub(crate) status: NodeStatus,
    /// The index up to which the state holds the log.
    pub(crate) applied: u64,
    /// The state at `applied`.
    pub(crate) summary: Summary,
}

/// Asks the node at an endpoint, and no other.
pub(crate) async fn observe(endpoint: &str, timeout: Duration) -> Result<Observed, String> {
    let client = Client::<Store>::connect([endpoint]).await.map_err(|error| error.to_string())?;
    let client = client.with_timeout(timeout);
    let state = client.query_local(Query::Summary).await.map_err(|error| error.to_string())?;
    let Answer::Summary(summary) = state.answer else {
        return Err("it answered another question: its version differs from this program's".to_owned());
    };
    let status = client.status().await.map_err(|error| error.to_string())?;
    Ok(Observed { status, applied: state.applied.0, summary })
}

//! What a node tells its log of its own place among the members, once each time that it changes.
//!
//! ```text
//!   waits to be added ──► member ──► removed ──► member ...
//! ```

use outrigger::engine::NodeId;
use outrigger::{Metrics, MetricsReceiver};

/// A node's place among the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has no log, and nobody has added it.
    Waits,
    /// It votes, or learns.
    Member { votes: bool },
    /// It was a member.
    Removed,
}

impl Standing {
    /// `None` for who is about to learn it: as it begins a cluster, or while an older part of the log arrives.
    fn of(metrics: &Metrics, joins: bool) -> Option<Self> {
        let membership = &metrics.membership;
        if membership.nodes().contains_key(&metrics.node) {
            Some(Self::Member { votes: membership.is_voter(metrics.node) })
        } else if metrics.waits_to_be_added() {
            joins.then_some(Self::Waits)
        } else {
            metrics.is_removed().then_some(Self::Removed)
        }
    }
}

/// Tells the log until the node stops. `joins` says whether it is to be added to a running cluster, `peer` where the others reach
/// it.
pub(super) async fn tell(mut metrics: MetricsReceiver, joins: bool, peer: String) {
    let mut told = None;
    let mut latest = metrics.latest();
    loop {
        if let Some(standing) = Standing::of(&latest, joins).filter(|standing| told != Some(*standing)) {
            say(standing, told, &latest, &peer);
            told = Some(standing);
        }
        match metrics.changed().await {
            Ok(changed) => latest = changed,
            Err(_) => return,
        }
    }
}

fn say(standing: Standing, before: Option<Standing>, metrics: &Metrics, peer: &str) {
    let NodeId(node) = metrics.node;
    match standing {
        Standing::Waits => {
            tracing::info!(
                node,
                "waits to be added: say `outrigger member add {node}={peer}` with the members' endpoints"
            );
        }
        // Who starts as what it was has nothing to tell.
        Standing::Member { .. } if before.is_none() => {}
        Standing::Member { votes } => {
            let does = if votes { "votes" } else { "learns" };
            tracing::info!(node, members = %metrics.membership, "is a member and {does}");
        }
        Standing::Removed => tracing::warn!(node, "{}", metrics.trouble().unwrap_or_default()),
    }
}

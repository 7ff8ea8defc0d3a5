//! The cluster as its leader sees it, or who comes closest.

use std::time::Duration;

use outrigger::engine::{LogId, LogIndex, RoleKind, Term};
use outrigger::{Client, NodeStatus};
use outrigger_server::store::Store;
use tokio::task::JoinSet;

/// What one endpoint says of itself.
async fn ask(endpoint: String, timeout: Duration) -> Result<NodeStatus, String> {
    let client = Client::<Store>::connect([endpoint]).await.map_err(|error| error.to_string())?;
    client.with_timeout(timeout).status().await.map_err(|error| error.to_string())
}

/// The status of the leader, wherever it is; without one, that of the node that knows the newest members.
pub(super) async fn view(endpoints: &[String], timeout: Duration) -> Result<NodeStatus, String> {
    let asked: JoinSet<_> = endpoints.iter().map(|endpoint| ask(endpoint.clone(), timeout)).collect();
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    for answer in asked.join_all().await {
        match answer {
            Ok(status) => found.push(status),
            Err(error) => reasons.push(error),
        }
    }
    let Some(newest) = found.iter().max_by_key(|status| rank(status)) else {
        return Err(format!("none of {} endpoints answered: {}", endpoints.len(), reasons.join("; ")));
    };
    if newest.role != RoleKind::Leader
        && let Some(leader) = newest.leader.and_then(|leader| newest.client_addresses.get(&leader))
        && let Ok(status) = ask(leader.clone(), timeout).await
        && rank(&status) > rank(newest)
    {
        return Ok(status);
    }
    Ok(newest.clone())
}

/// Whom to believe: a leader of the highest term, else who has the newest entry that says who the members are.
fn rank(status: &NodeStatus) -> impl Ord + use<> {
    rank_of(status.role == RoleKind::Leader, status.term, status.membership_at, status.committed)
}

fn rank_of(leads: bool, term: Term, membership_at: LogId, committed: LogIndex) -> impl Ord + use<> {
    (leads.then_some(term), membership_at, committed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_there_is_said_with_a_reason() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error = view(&[gone.clone(), other.clone()], Duration::from_millis(300)).await.unwrap_err();
        assert!(error.contains("none of 2 endpoints") && error.contains(&gone) && error.contains(&other), "{error}");
    }

    /// A mutant that nothing noticed: of two that say that they lead, the one whose log says more was believed. It may have been
    /// deposed, and what it says may be gone.
    #[test]
    fn a_leader_of_a_later_term_is_believed_whatever_an_older_one_has_in_its_log() {
        let rank = |leads, term, at| rank_of(leads, Term(term), at, LogIndex(7));
        let ranks =
            [rank(false, 9, LogId::new(9, 90)), rank(true, 5, LogId::new(5, 80)), rank(true, 6, LogId::new(4, 40))];
        assert!(ranks.is_sorted(), "followers, then leaders by their terms");
        assert!(rank(false, 6, LogId::new(4, 40)) < rank(false, 5, LogId::new(5, 41)));
    }
}

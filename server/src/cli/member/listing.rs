//! `outrigger member list`, and the members as JSON.
//!
//! ```text
//!   node  role     address         client          log
//!   1     voter    127.0.0.1:7101  127.0.0.1:7201  3400          leads
//!   2     voter    127.0.0.1:7102  127.0.0.1:7202  3400 of 3400
//!   4     learner  127.0.0.1:7104  -               1200 of 3400  becomes a voter
//! ```

use std::collections::BTreeMap;

use clap::Args;
use outrigger::engine::{Brought, LogId, Membership, NodeId, NodeSet, RoleKind, Version};
use outrigger::{MembersChanged, NodeStatus};
use serde::{Serialize, Serializer};

use super::super::status::Output;
use super::super::{Failure, Reach, founding, print};
use super::progress::of_snapshot;
use super::view::view;
use crate::table::Table;

/// Show the members, and how far each one's log reaches
///
/// As the leader has them; without a leader, as the node that has the newest.
#[derive(Args)]
#[command(after_help = "Examples:
  outrigger member list
  outrigger member list --output json      # for programs")]
pub(super) struct List {
    /// A table for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

impl List {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let reach = self.reach.within(outer);
        let status = view(&reach.endpoints()?, reach.timeout()).await.map_err(Failure::not_applied)?;
        let listing = Listing::new(&status);
        match self.output {
            Output::Table => print(|out| write!(out, "{}", listing.table())),
            Output::Json => {
                let json = serde_json::to_string(&listing).map_err(Failure::plain)?;
                print(|out| writeln!(out, "{json}"))
            }
        }
    }
}

/// An entry of the log.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    term: u64,
    index: u64,
}

impl From<LogId> for Entry {
    fn from(id: LogId) -> Self {
        Self { term: id.term.0, index: id.index.0 }
    }
}

/// The members by an entry of the log.
#[derive(Debug, Serialize)]
pub(crate) struct Members {
    entry: Entry,
    /// The cluster's version, as it is committed: what all members speak, or less.
    cluster_version: u16,
    /// What its first leader has founded the cluster as; null before that.
    founding: Option<String>,
    voters: Vec<u64>,
    /// Who voted before the change that is under way; empty when there is none.
    outgoing: Vec<u64>,
    learners: Vec<u64>,
    /// Where the change leads that is under way.
    goal: Option<Goal>,
}

#[derive(Debug, Serialize)]
struct Goal {
    voters: Vec<u64>,
    members: Vec<u64>,
}

impl Members {
    pub(crate) fn new(membership: &Membership, at: LogId, version: Version) -> Self {
        let list = |ids: &NodeSet| ids.iter().map(|id| id.0).collect();
        Self {
            entry: at.into(),
            cluster_version: version.0,
            founding: founding(membership),
            voters: list(membership.voters()),
            outgoing: list(membership.outgoing()),
            learners: membership.learners().map(|id| id.0).collect(),
            goal: membership.goal().map(|goal| Goal { voters: list(&goal.voters), members: list(&goal.members) }),
        }
    }
}

/// What came of a change.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    #[serde(flatten)]
    members: Members,
    /// Whether anything is otherwise than before; null if that is not known.
    is_new: Option<bool>,
}

impl Changed {
    pub(super) fn new(changed: &MembersChanged, is_new: Option<bool>) -> Self {
        Self { members: Members::new(&changed.membership, changed.at, changed.membership.version()), is_new }
    }
}

/// The members, and how far each is.
#[derive(Debug, Serialize)]
struct Listing {
    /// Which node says so, and in which term.
    seen_by: u64,
    term: u64,
    /// Null when nobody leads, as far as it knows.
    leader: Option<u64>,
    #[serde(flatten)]
    by_role: Members,
    members: Vec<Member>,
}

#[derive(Debug, Serialize)]
struct Member {
    id: u64,
    address: String,
    /// The data directory that is bound to the id; null before it was.
    directory: Option<String>,
    client: Option<String>,
    /// `voter` or `learner`, as it counts now.
    role: &'static str,
    /// Where the change leads that is under way: `voter`, `learner` or `none`; null if it stays what it is.
    becomes: Option<&'static str>,
    leads: bool,
    /// Which version its build speaks; null if who says so has not heard from it.
    version: Option<u16>,
    /// Up to which index its log is known to be durable and equal; null on who does not lead.
    matched: Option<u64>,
    /// The last index of the log of who says so.
    last: u64,
    /// How much it has of a snapshot that it is brought, in bytes; null if it is brought none, and on who does not lead.
    #[serde(serialize_with = "snapshot")]
    snapshot: Option<Brought>,
}

/// As `{"held":1024,"bytes":4096}`.
fn snapshot<S: Serializer>(brought: &Option<Brought>, serializer: S) -> Result<S::Ok, S::Error> {
    let fields = brought.map(|Brought { held, bytes }| BTreeMap::from([("held", held), ("bytes", bytes)]));
    fields.serialize(serializer)
}

impl Listing {
    fn new(status: &NodeStatus) -> Self {
        let leads = status.role == RoleKind::Leader;
        let members = status.membership.nodes().iter().map(|(id, node)| {
            let own = (leads && *id == status.node).then_some(status.flushed);
            Member {
                id: id.0,
                address: node.address.clone(),
                directory: status.membership.bindings().get(id).map(|binding| format!("{:016x}", binding.directory)),
                client: status.client_addresses.get(id).cloned(),
                role: if status.membership.is_voter(*id) { "voter" } else { "learner" },
                becomes: becomes(&status.membership, *id),
                leads: status.leader == Some(*id),
                version: status.versions.get(id).map(|version| version.0),
                matched: own.or_else(|| status.matched.get(id).copied()).map(|index| index.0),
                last: status.last.index.0,
                snapshot: status.brought.get(id).copied(),
            }
        });
        Self {
            seen_by: status.node.0,
            term: status.term.0,
            leader: status.leader.map(|leader| leader.0),
            members: members.collect(),
            by_role: Members::new(&status.membership, status.membership_at, status.version),
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["node", "role", "address", "client", "speaks", "log", ""]);
        for member in &self.members {
            let becomes = match member.becomes {
                Some("none") => Some("leaves".to_owned()),
                becomes => becomes.map(|role| format!("becomes a {role}")),
            };
            let leads = member.leads.then(|| "leads".to_owned());
            let brought = member.snapshot.as_ref().map(of_snapshot);
            table.push([
                member.id.to_string(),
                member.role.to_owned(),
                member.address.clone(),
                member.client.clone().unwrap_or_else(|| "-".to_owned()),
                member.version.map_or_else(|| "-".to_owned(), |version| version.to_string()),
                member.matched.map_or_else(|| "-".to_owned(), |matched| format!("{matched} of {}", member.last)),
                [leads, becomes, brought].into_iter().flatten().collect::<Vec<_>>().join(", "),
            ]);
        }
        table
    }
}

/// What a member becomes by the change that is under way, if that is something else.
fn becomes(membership: &Membership, id: NodeId) -> Option<&'static str> {
    let goal = membership.goal()?;
    match (goal.voters.contains(&id), goal.members.contains(&id)) {
        (true, _) => (!membership.is_voter(id)).then_some("voter"),
        (false, true) => membership.is_voter(id).then_some("learner"),
        (false, false) => Some("none"),
    }
}

#[cfg(test)]
mod tests {
    use outrigger::engine::{ChangeMembers, Node};

    use super::*;

    #[test]
    fn what_a_member_becomes_is_said_while_it_is_something_else() {
        let nodes = |ids: &[u64]| ids.iter().map(|id| (NodeId(*id), Node::default())).collect::<Vec<_>>();
        let stable = Membership::new(nodes(&[1, 2]), nodes(&[5]));
        let swap = ChangeMembers::Batch(vec![
            ChangeMembers::AddVoters(nodes(&[3, 5]).into_iter().collect()),
            ChangeMembers::RemoveVoters([NodeId(2)].into()),
        ]);
        let of = |membership: &Membership| [1, 2, 3, 5].map(|id| becomes(membership, NodeId(id)));
        let catching_up = stable.changed(&swap, false).unwrap();
        assert_eq!(of(&stable), [None; 4]);
        assert_eq!(of(&catching_up), [None, Some("none"), Some("voter"), Some("voter")]);
        assert_eq!(of(&catching_up.joint()), [None, Some("none"), None, None]);
        assert_eq!(of(&stable.changed(&swap, true).unwrap())[1], Some("learner"));
    }
}

//! `outrigger member`: who belongs to the cluster, and changes of that.
//!
//! ```text
//!   add 4=ADDR ──► any endpoint ──► the leader:  4 receives the log ─► both majorities ─► done ──► entry, members
//!                                     │ asked twice a second
//!                                     └─► stderr: node 4 catches up: 1200 of 3400 entries
//! ```

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand};
use outrigger::engine::{ChangeMembers, ChangeRequest, LogId, Membership, Node, NodeId, NodeMap, NodeSet, Refusal};
use outrigger::{ClientError, Config, MembersChanged};

use super::status::Output;
use super::{Failure, Reach, print};
use advice::{failure, nothing_done};
use listing::Changed;
use view::view;

pub(super) use listing::Members;

mod advice;
mod listing;
mod progress;
mod view;

/// How long a change may take when nothing else is said: new voters receive the log first.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// A new voter that acknowledges nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A learner that is promoted is expected to lack next to nothing: an election timeout.
const PROMOTION_SILENCE_MAX: Duration = Duration::from_secs(1);

/// How long a node may take to say who the members are before a change; without it, nobody is told whether there was anything to do.
const BEFORE_PATIENCE: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  outrigger serve --id 4 --data-dir n4 --listen-peer 127.0.0.1:7104 --listen-client 127.0.0.1:7204 \\
      --join 1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103
  outrigger member add 4=127.0.0.1:7104       it receives the log, then it votes
  outrigger member remove 1                   the leader too: another one takes over
  outrigger member change --voters 2,3,5=127.0.0.1:7105
  outrigger member list

A change goes on when this command ends before it, and when the leader dies: the next one ends it. Exit codes: 0 done,
1 refused as the members are, 2 usage, 3 not changed (safe to try again), 4 unknown (see `outrigger member list`),
5 done, but the answer could not be printed.";

/// List and change the members of the cluster
#[derive(Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Member {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    List(listing::List),
    Add(Add),
    AddLearner(AddLearner),
    Promote(Promote),
    Demote(Demote),
    Remove(Remove),
    Update(Update),
    Change(Change),
}

/// What all changes have in common.
#[derive(Args)]
struct How {
    /// A line for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

/// Add voters: they receive the log, and vote once they have caught up
///
/// Start them first, with `serve --join`. One that is a learner already is promoted.
#[derive(Args)]
#[command(after_help = "Example:
  outrigger member add 4=127.0.0.1:7104 5=127.0.0.1:7105")]
struct Add {
    /// The node, and where its peers reach it
    #[arg(required = true, value_name = "ID=PEER_ADDR", value_parser = member)]
    nodes: Vec<(u64, String)>,
    #[command(flatten)]
    how: How,
}

/// Add learners: they receive the log and do not vote
#[derive(Args)]
#[command(after_help = "Example:
  outrigger member add-learner 4=127.0.0.1:7104")]
struct AddLearner {
    /// The node, and where its peers reach it
    #[arg(required = true, value_name = "ID=PEER_ADDR", value_parser = member)]
    nodes: Vec<(u64, String)>,
    #[command(flatten)]
    how: How,
}

/// Let learners vote
///
/// A learner that lags is refused unless --wait is said.
#[derive(Args)]
#[command(after_help = "Examples:
  outrigger member promote 4
  outrigger member promote 4 --wait --timeout 10m      # it lacks much")]
struct Promote {
    /// The learner
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u64>,
    /// Wait until it has caught up, for most of the timeout if it is silent
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    how: How,
}

/// Take voters their vote; they stay as learners
#[derive(Args)]
#[command(after_help = "Example:
  outrigger member demote 4")]
struct Demote {
    /// The voter
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u64>,
    #[command(flatten)]
    how: How,
}

/// Remove members, voters or learners
///
/// Stop them afterwards: they say in their status that they were removed. A leader may be among them.
#[derive(Args)]
#[command(after_help = "Example:
  outrigger member remove 1 2")]
struct Remove {
    /// The member
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u64>,
    #[command(flatten)]
    how: How,
}

/// Say where members are reached from now on
///
/// Nobody tries the address, not even the leader's own. Put a wrong one right by another update, before its node is restarted.
#[derive(Args)]
#[command(after_help = "Example:
  outrigger member update 4=10.0.0.4:7101      # then restart node 4 there")]
struct Update {
    /// The member, and where its peers reach it
    #[arg(required = true, value_name = "ID=PEER_ADDR", value_parser = member)]
    nodes: Vec<(u64, String)>,
    #[command(flatten)]
    how: How,
}

/// Change to exactly these voters, in one step
///
/// Voters that are not named leave. Who is no member yet needs an address.
#[derive(Args)]
#[command(after_help = "Examples:
  outrigger member change --voters 1,2,6=127.0.0.1:7106      # 6 instead of 3
  outrigger member change --voters 1,2 --keep                # the others stay as learners")]
struct Change {
    /// Who votes: members by id, new ones with where their peers reach them
    #[arg(long, required = true, value_name = "ID[=PEER_ADDR],...", value_delimiter = ',', value_parser = voter)]
    voters: Vec<(u64, Option<String>)>,
    /// Voters that are not named stay as learners
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    how: How,
}

impl Member {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let (request, how) = match self.verb {
            Verb::List(list) => return list.run(outer).await,
            Verb::Add(Add { nodes, how }) => (ChangeMembers::AddVoters(distinct(nodes)?).into(), how),
            Verb::AddLearner(AddLearner { nodes, how }) => (ChangeMembers::AddNodes(distinct(nodes)?).into(), how),
            Verb::Promote(Promote { ids, wait, how }) => {
                let patience = if wait { Duration::MAX } else { PROMOTION_SILENCE_MAX };
                (ChangeRequest { patience, ..ChangeMembers::AddVoterIds(set(ids)).into() }, how)
            }
            Verb::Demote(Demote { ids, how }) => {
                (ChangeRequest { retain: true, ..ChangeMembers::RemoveVoters(set(ids)).into() }, how)
            }
            Verb::Remove(Remove { ids, how }) => (removal(set(ids)), how),
            Verb::Update(Update { nodes, how }) => (ChangeMembers::SetNodes(distinct(nodes)?).into(), how),
            Verb::Change(Change { voters, keep, how }) => {
                (ChangeRequest { retain: keep, ..replacement(voters)?.into() }, how)
            }
        };
        change(request, how, outer).await
    }
}

fn set(ids: Vec<u64>) -> NodeSet {
    ids.into_iter().map(NodeId).collect()
}

/// Who is named, each once.
fn distinct(nodes: Vec<(u64, String)>) -> Result<NodeMap<Node>, Failure> {
    let mut distinct = NodeMap::new();
    for (id, address) in nodes {
        if distinct.insert(NodeId(id), Node { address }).is_some() {
            return Err(Failure::usage(format_args!("node {id} is named twice")));
        }
    }
    Ok(distinct)
}

/// Removes whoever is named, whether it votes: voters become learners first, and learners leave.
fn removal(ids: NodeSet) -> ChangeRequest {
    let steps = vec![ChangeMembers::RemoveVoters(ids.clone()), ChangeMembers::RemoveNodes(ids)];
    ChangeRequest { retain: true, ..ChangeMembers::Batch(steps).into() }
}

fn replacement(voters: Vec<(u64, Option<String>)>) -> Result<ChangeMembers, Failure> {
    let ids: NodeSet = voters.iter().map(|(id, _)| NodeId(*id)).collect();
    if ids.len() < voters.len() {
        return Err(Failure::usage("a node is named twice among the voters"));
    }
    let new = voters.into_iter().filter_map(|(id, address)| Some((id, address?))).collect();
    Ok(ChangeMembers::Batch(vec![ChangeMembers::AddVoters(distinct(new)?), ChangeMembers::ReplaceAllVoters(ids)]))
}

/// Why nobody got on: who leads knows, if it is not only slow.
async fn with_trouble(failure: Failure, error: &ClientError, endpoints: &[String]) -> Failure {
    let ClientError::MembersNotChanged { refusal: Refusal::Lagging { .. } } = error else { return failure };
    let Ok(status) = view(endpoints, BEFORE_PATIENCE).await else { return failure };
    let Some(trouble) = status.fault else { return failure };
    Failure { message: format!("{}; node {} says: {trouble}", failure.message, status.node), ..failure }
}

/// Asks for a change, tells how far it is, and prints what came of it.
async fn change(mut request: ChangeRequest, how: How, outer: &Reach) -> Result<(), Failure> {
    let reach = how.reach.within(outer);
    let timeout = reach.timeout.unwrap_or(CHANGE_TIMEOUT);
    // The leader gives up before the caller does, so that the caller hears why.
    let silence_max = if request.patience == Duration::MAX { Duration::MAX } else { SILENCE_MAX };
    request.patience = request.patience.min(silence_max).min(timeout * 3 / 4);
    let client = reach.client().await?.with_timeout(timeout);
    let endpoints = reach.endpoints()?;
    let asked = request.change.clone();
    let before = client.clone().with_timeout(BEFORE_PATIENCE).status().await.ok();
    let before = before.map(|status| stem(status.membership_at, &status.membership));
    let told: Infallible = tokio::select! {
        biased;
        changed = client.change_members(request) => {
            return match changed {
                Ok(changed) => {
                    let is_new = before.map(|before| before != stem(changed.at, &changed.membership));
                    print_changed(&changed, is_new, &asked, how.output)
                }
                Err(error) => Err(with_trouble(failure(&error, &asked), &error, &endpoints).await),
            };
        }
        told = progress::tell(&endpoints) => told,
    };
    match told {}
}

/// The entry since which the members are what they are: later ones may say them once more.
fn stem(at: LogId, membership: &Membership) -> LogId {
    membership.of().unwrap_or(at)
}

/// `is_new` says whether anything has changed, if that is known: what holds already is no error, as a change whose answer was lost is
/// asked for again.
fn print_changed(
    changed: &MembersChanged,
    is_new: Option<bool>,
    asked: &ChangeMembers,
    output: Output,
) -> Result<(), Failure> {
    match output {
        Output::Table => {
            let note = if is_new == Some(false) { nothing_done(asked) } else { String::new() };
            print(|out| writeln!(out, "{}, by entry {}{note}", changed.membership, changed.at))
        }
        Output::Json => {
            let json = serde_json::to_string(&Changed::new(changed, is_new)).map_err(Failure::plain)?;
            print(|out| writeln!(out, "{json}"))
        }
    }
}

/// A node and where its peers reach it.
fn member(text: &str) -> Result<(u64, String), String> {
    match voter(text)? {
        (id, Some(address)) => Ok((id, address)),
        (id, None) => Err(format!("the address is missing; write {id}=HOST:PORT")),
    }
}

/// A node, and where its peers reach it if that is said.
fn voter(text: &str) -> Result<(u64, Option<String>), String> {
    let (id, address) = text.split_once('=').map_or((text, None), |(id, address)| (id, Some(address.trim())));
    let id = id.trim().parse().map_err(|_| format!("`{id}` is not a node id; write a number such as 4"))?;
    if id == 0 {
        return Err("no node has the id 0; ids begin at 1".to_owned());
    }
    let Some(address) = address else { return Ok((id, None)) };
    if !Config::is_address(address) {
        return Err(format!("`{address}` is not HOST:PORT, such as 127.0.0.1:7104"));
    }
    if address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified()) {
        return Err(format!("others cannot reach a node at {address}"));
    }
    Ok((id, Some(address.to_owned())))
}

#[cfg(test)]
mod tests {
    use outrigger::engine::Refusal;

    use super::*;

    #[test]
    fn a_node_is_an_id_and_an_address_that_others_can_reach() {
        assert_eq!(member("4=10.0.0.4:7101"), Ok((4, "10.0.0.4:7101".to_owned())));
        assert_eq!(voter(" 4 = [::1]:7101"), Ok((4, Some("[::1]:7101".to_owned()))));
        assert_eq!(voter("4"), Ok((4, None)));
        for (text, part) in [
            ("4", "address is missing"),
            ("four=a:1", "`four` is not a node id"),
            ("0=a:1", "ids begin at 1"),
            ("4=a", "`a` is not HOST:PORT"),
            ("4=a:0", "is not HOST:PORT"),
            ("4=0.0.0.0:7101", "cannot reach"),
        ] {
            let error = member(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn voters_and_learners_are_removed_alike_and_strangers_are_not() {
        let nodes = |ids: &[u64]| ids.iter().map(|id| (NodeId(*id), Node::default())).collect::<Vec<_>>();
        let members = Membership::new(nodes(&[1, 2, 3]), nodes(&[4, 5]));
        let ChangeRequest { change, retain, .. } = removal([3, 4].map(NodeId).into());
        let goal = members.changed(&change, retain).unwrap().goal().cloned().unwrap();
        assert_eq!((goal.voters, goal.members), ([1, 2].map(NodeId).into(), [1, 2, 5].map(NodeId).into()));
        let ChangeRequest { change, retain, .. } = removal([9].map(NodeId).into());
        assert_eq!(members.changed(&change, retain), Err(Refusal::UnknownNode { node: NodeId(9) }));
    }

    #[test]
    fn a_node_that_is_named_twice_is_a_mistake() {
        let twice = vec![(4, "a:1".to_owned()), (4, "b:1".to_owned())];
        assert_eq!(distinct(twice).unwrap_err().code, 2);
        assert_eq!(replacement(vec![(4, None), (4, Some("a:1".to_owned()))]).unwrap_err().code, 2);
    }
}

//! `outrigger demo --chaos`: everything that may happen to a cluster, at once, while it is written to.
//!
//! ```text
//!   writers  ──●●●──●●──────●●●●●●●──●●●●──●●●─────●●●●●●●●●●●●●──●●●●●──┤ the account
//!   trouble     kill ──── restart    add 4    pause ── wake   remove 2   ┤ wake, restart, wait for changes ── compare
//!                  transfer   snapshot    kill the leader ── restart     ┤
//! ```
//!
//! A majority of the voters, and of those that a change leads to, always runs: what is seen is how the cluster serves
//! meanwhile, not that it cannot without one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use outrigger::engine::{ChangeMembers, Membership, Node, NodeId, NodeSet};
use outrigger::{Client, ClientError};
use outrigger_server::store::Store;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::cluster::{Cluster, Leader};
use super::dice::Dice;
use super::workload::Killing;
use super::{PATIENCE, WRITE_TIMEOUT, connect, tell};
use crate::cli::Failure;
use crate::table::Table;

/// How long the cluster is left alone between two troubles, in milliseconds.
const REST: std::ops::Range<u64> = 100..900;
/// How long a node is away, in milliseconds: shorter and longer than an election takes.
const AWAY: std::ops::Range<u64> = 200..4_000;
/// No fewer voters are left.
const VOTERS_MIN: usize = 3;
/// No more nodes are started.
const NODES_MAX: usize = 7;
/// How long whoever orders something waits for it.
const ORDER: Duration = Duration::from_secs(20);

/// What happens to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    LeaderKilled,
    NodeKilled,
    NodePaused,
    MemberAdded,
    MemberRemoved,
    LeadershipMoved,
    SnapshotTaken,
}

impl Trouble {
    const ALL: [Self; 7] = [
        Self::LeaderKilled,
        Self::NodeKilled,
        Self::NodePaused,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::LeadershipMoved,
        Self::SnapshotTaken,
    ];
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeaderKilled => "leader killed",
            Self::NodeKilled => "node killed",
            Self::NodePaused => "node paused",
            Self::MemberAdded => "member added",
            Self::MemberRemoved => "member removed",
            Self::LeadershipMoved => "leadership moved",
            Self::SnapshotTaken => "snapshot taken",
        })
    }
}

/// How often what happened, and how often it was ordered and refused, or its answer lost.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    done: u64,
    not_done: u64,
}

/// The troubles of a demonstration, side by side.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<Trouble, Tally>);

impl Troubles {
    fn note(&mut self, trouble: Trouble, is_done: bool) {
        let tally = self.0.entry(trouble).or_default();
        *if is_done { &mut tally.done } else { &mut tally.not_done } += 1;
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&["trouble", "times", "refused or in doubt"]);
        for trouble in Trouble::ALL {
            let Tally { done, not_done } = self.0.get(&trouble).copied().unwrap_or_default();
            table.push([trouble.to_string(), done.to_string(), not_done.to_string()]);
        }
        table
    }
}

/// An order that has come to its end.
struct Ended {
    trouble: Trouble,
    what: String,
    outcome: Result<(), ClientError>,
}

/// Makes trouble.
pub(super) struct Chaos<'a> {
    cluster: &'a mut Cluster,
    dice: Dice,
    began: Instant,
    /// Which nodes come back, and when.
    away: BTreeMap<u64, Instant>,
    /// Orders under way.
    orders: JoinSet<Ended>,
    /// Of those, whether one changes the members.
    changes: bool,
    /// Whom the writers go by.
    client: watch::Sender<Client<Store>>,
    /// How many writes are acknowledged.
    written: watch::Receiver<u64>,
    killings: mpsc::UnboundedSender<Killing>,
    troubles: Troubles,
}

impl<'a> Chaos<'a> {
    pub(super) fn new(
        cluster: &'a mut Cluster,
        seed: u64,
        client: watch::Sender<Client<Store>>,
        written: watch::Receiver<u64>,
        killings: mpsc::UnboundedSender<Killing>,
    ) -> Self {
        Self {
            cluster,
            dice: Dice::new(seed),
            began: Instant::now(),
            away: BTreeMap::new(),
            orders: JoinSet::new(),
            changes: false,
            client,
            written,
            killings,
            troubles: Troubles::default(),
        }
    }

    /// Makes trouble for so long, and then none any more: all members run, no change is under way, and no other process is
    /// left.
    pub(super) async fn run(mut self, duration: Duration) -> Result<Troubles, Failure> {
        // What a failover takes is part of the account.
        let mut trouble = Trouble::LeaderKilled;
        while self.began.elapsed() < duration {
            self.cause(trouble).await?;
            tokio::time::sleep(Duration::from_millis(self.dice.between(REST))).await;
            while let Some(ended) = self.orders.try_join_next() {
                self.end(ended).await?;
            }
            let now = Instant::now();
            while let Some(back) = self.away.iter().find(|(_, until)| **until <= now).map(|(id, _)| *id) {
                self.bring_back(back).await?;
            }
            trouble = *self.dice.pick(&Trouble::ALL);
        }
        self.heal().await
    }

    /// Lets something happen, if the cluster can bear it now.
    async fn cause(&mut self, trouble: Trouble) -> Result<(), Failure> {
        let Leader { node: leader, membership, .. } = self.cluster.leader().await?;
        match trouble {
            Trouble::LeaderKilled if self.may_go(leader, &membership) => self.kill(leader, trouble),
            Trouble::NodeKilled | Trouble::NodePaused => {
                let others: Vec<u64> = self.cluster.ids().into_iter().filter(|id| *id != leader).collect();
                let id = *self.dice.pick(&others);
                if self.may_go(id, &membership) && trouble == Trouble::NodeKilled {
                    self.kill(id, trouble);
                } else if self.may_go(id, &membership) {
                    self.pause(id)?;
                }
            }
            Trouble::MemberAdded if !self.changes && self.cluster.ids().len() < NODES_MAX => {
                let (id, address) = self.cluster.join().await?;
                let change = ChangeMembers::AddVoters([(NodeId(id), Node { address })].into());
                self.change(trouble, format!("node {id} added"), change).await?;
            }
            Trouble::MemberRemoved
                if !self.changes && self.away.is_empty() && membership.voters().len() > VOTERS_MIN =>
            {
                let voters: Vec<NodeId> = membership.voters().iter().copied().collect();
                let id = *self.dice.pick(&voters);
                self.change(trouble, format!("node {id} removed"), ChangeMembers::RemoveVoters([id].into())).await?;
            }
            Trouble::LeadershipMoved => {
                let running = |id: &NodeId| id.0 != leader && self.cluster.is_running(id.0);
                let heirs: Vec<NodeId> = membership.voters().iter().copied().filter(running).collect();
                if heirs.is_empty() {
                    return Ok(());
                }
                let heir = *self.dice.pick(&heirs);
                let what = format!("leadership moved from node {leader} to node {heir}");
                self.order(trouble, what, move |client| async move {
                    client.transfer_leadership(Some(heir)).await.map(drop)
                })
                .await?;
            }
            Trouble::SnapshotTaken => {
                let what = "snapshot taken".to_owned();
                self.order(trouble, what, |client| async move { client.snapshot().await.map(drop) }).await?;
            }
            // Not now.
            Trouble::LeaderKilled | Trouble::MemberAdded | Trouble::MemberRemoved => {}
        }
        Ok(())
    }

    /// Whether a majority runs without this node.
    fn may_go(&self, id: u64, membership: &Membership) -> bool {
        let runs = |voter: &&NodeId| voter.0 != id && self.cluster.is_running(voter.0);
        let is_enough = |voters: &NodeSet| voters.iter().filter(runs).count() > voters.len() / 2;
        // While a change is under way, it is less certain who is needed.
        self.cluster.is_running(id)
            && (!self.changes || self.away.is_empty())
            && [membership.voters(), membership.outgoing()].into_iter().all(|it| it.is_empty() || is_enough(it))
    }

    fn kill(&mut self, id: u64, trouble: Trouble) {
        let killing = self.cluster.kill(id);
        if trouble == Trouble::LeaderKilled {
            // The account may have ended by a failure, which is told.
            let _ = self.killings.send(killing);
        }
        let led = if trouble == Trouble::LeaderKilled { ", which led" } else { "" };
        self.leave(id, trouble, &format!("node {id} killed{led}"));
    }

    fn pause(&mut self, id: u64) -> Result<(), Failure> {
        let paused = self.cluster.node(id).pause();
        paused.map_err(|error| Failure::plain(format_args!("cannot pause node {id}: {error}")))?;
        self.leave(id, Trouble::NodePaused, &format!("node {id} paused"));
        Ok(())
    }

    fn leave(&mut self, id: u64, trouble: Trouble, what: &str) {
        self.troubles.note(trouble, true);
        let away = Duration::from_millis(self.dice.between(AWAY));
        self.away.insert(id, Instant::now() + away);
        self.say(&format!("{what}, for {:.1} s", away.as_secs_f64()));
    }

    async fn bring_back(&mut self, id: u64) -> Result<(), Failure> {
        self.away.remove(&id);
        if self.cluster.node(id).pid().is_none() {
            self.cluster.restart(id).await?;
            self.say(&format!("node {id} restarted"));
        } else {
            let woken = self.cluster.node(id).wake();
            woken.map_err(|error| Failure::plain(format_args!("cannot wake node {id}: {error}")))?;
            self.say(&format!("node {id} goes on"));
        }
        Ok(())
    }

    async fn change(&mut self, trouble: Trouble, what: String, change: ChangeMembers) -> Result<(), Failure> {
        self.changes = true;
        self.order(trouble, what, |client| async move { client.change_members(change).await.map(drop) }).await
    }

    /// Has somebody order something, and wait for it.
    async fn order<F: Future<Output = Result<(), ClientError>> + Send>(
        &mut self,
        trouble: Trouble,
        what: String,
        order: impl FnOnce(Client<Store>) -> F + Send + 'static,
    ) -> Result<(), Failure> {
        let client = connect(self.cluster.endpoints(), ORDER).await?;
        self.orders.spawn(async move { Ended { trouble, what, outcome: order(client).await } });
        Ok(())
    }

    async fn end(&mut self, ended: Result<Ended, tokio::task::JoinError>) -> Result<(), Failure> {
        let ended = ended.map_err(|error| Failure::plain(format_args!("an order failed: {error}")))?;
        let Ended { trouble, what, outcome } = ended;
        let is_change = matches!(trouble, Trouble::MemberAdded | Trouble::MemberRemoved);
        self.troubles.note(trouble, outcome.is_ok());
        match &outcome {
            Ok(()) => self.say(&what),
            Err(error) => self.say(&format!("not done or in doubt: {what}: {error}")),
        }
        if is_change {
            self.changes = false;
            self.dismiss_strangers().await?;
        }
        Ok(())
    }

    /// Ends the processes that are members no more, or never became one, unless a change may still make them one; clients go by
    /// the others from then on.
    async fn dismiss_strangers(&mut self) -> Result<(), Failure> {
        let Leader { membership, .. } = self.cluster.leader().await?;
        if membership.is_joint() || membership.goal().is_some() {
            return Ok(());
        }
        for id in self.cluster.ids() {
            if !membership.nodes().contains_key(&NodeId(id)) {
                self.cluster.dismiss(id)?;
                self.away.remove(&id);
            }
        }
        let client = connect(self.cluster.endpoints(), WRITE_TIMEOUT).await?;
        self.client.send_replace(client);
        Ok(())
    }

    /// Ends all trouble.
    async fn heal(mut self) -> Result<Troubles, Failure> {
        while let Some(id) = self.away.keys().next().copied() {
            self.bring_back(id).await?;
        }
        while let Some(ended) = self.orders.join_next().await {
            self.end(ended).await?;
        }
        let began = Instant::now();
        loop {
            let Leader { membership, .. } = self.cluster.leader().await?;
            if !membership.is_joint() && membership.goal().is_none() {
                break;
            }
            if began.elapsed() >= PATIENCE {
                return Err(Failure::plain(format_args!("a change of the members did not end within {PATIENCE:?}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.dismiss_strangers().await?;
        Ok(self.troubles)
    }

    fn say(&self, what: &str) {
        let (seconds, written) = (self.began.elapsed().as_secs_f64(), *self.written.borrow());
        tell(&format!("{seconds:5.1} s  {written:>9} writes  {what}"));
    }
}

//! The processes of a demonstration: started, killed, started again, and never left behind.

use std::path::Path;
use std::time::{Duration, Instant};

use outrigger::engine::Membership;

use super::PATIENCE;
use super::ground::{Ground, free_ports};
use super::process::{Node, StartError};
use super::report::NodeState;
use super::workload::Killing;
use crate::cli::Failure;
use crate::observe::{Observed, observe};

/// How often to try other ports, or the same port again, when somebody else had one.
const ATTEMPTS: u32 = 5;
/// How often to look whether something has happened.
const LOOK: Duration = Duration::from_millis(20);
/// How long a node may take to say how it is.
const OBSERVE: Duration = Duration::from_secs(2);

/// Some nodes on this machine. Dropping it kills them and removes their data, unless it was told to keep them.
pub(super) struct Cluster {
    // Dropped before `ground`: the processes are gone before their files go.
    nodes: Vec<Node>,
    ground: Ground,
    /// No other node gets it again.
    last_id: u64,
}

/// Who leads.
pub(super) struct Leader {
    pub(super) node: u64,
    pub(super) term: u64,
    /// The members, as it has them.
    pub(super) membership: Membership,
}

impl Cluster {
    /// Starts `count` nodes in `dir` and waits until all are ready.
    pub(super) async fn start(count: u64, dir: Option<&Path>) -> Result<Self, Failure> {
        let place = || dir.map_or("the temporary directory".to_owned(), |dir| dir.display().to_string());
        let ground =
            Ground::new(dir).map_err(|error| Failure::plain(format_args!("cannot use {}: {error}", place())))?;
        super::tell(&format!("starting {count} nodes in {}", ground.root().display()));
        let mut cluster = Self { nodes: Vec::new(), ground, last_id: count };
        let mut attempt = 1;
        loop {
            match cluster.start_nodes(count).await {
                Ok(()) => return Ok(cluster),
                Err(error) if error.is_address_in_use && attempt < ATTEMPTS => {
                    super::tell("somebody took a port: trying others");
                    attempt += 1;
                    cluster.nodes.clear();
                    cluster.ground.clear().map_err(Failure::plain)?;
                }
                Err(error) => return Err(Failure::plain(error.message)),
            }
        }
    }

    async fn start_nodes(&mut self, count: u64) -> Result<(), StartError> {
        let count = usize::try_from(count).expect("a handful of nodes");
        let ports = free_ports(2 * count).map_err(|error| StartError::of(&error))?;
        let (peers, clients) = ports.split_at(count);
        let members: Vec<String> = (1_u64..).zip(peers).map(|(id, port)| format!("{id}=127.0.0.1:{port}")).collect();
        for ((id, peer), client) in (1..).zip(peers).zip(clients) {
            let beginning = ("--initial-cluster", members.join(","));
            self.nodes.push(Node::new(id, (*peer, *client), beginning, self.ground.root()));
        }
        // All are started before any is waited for: none is ready sooner for being alone.
        for node in &mut self.nodes {
            node.spawn()?;
        }
        for node in &mut self.nodes {
            node.ready(PATIENCE).await?;
        }
        Ok(())
    }

    /// Where clients reach the nodes.
    pub(super) fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(Node::endpoint).collect()
    }

    /// Waits until a node leads.
    pub(super) async fn leader(&mut self) -> Result<Leader, Failure> {
        let began = Instant::now();
        loop {
            self.all_live()?;
            let mut leader: Option<Leader> = None;
            for node in self.nodes.iter().filter(|node| node.is_running()) {
                let Ok(Observed { status, .. }) = observe(&node.endpoint(), OBSERVE).await else { continue };
                let is_newer = leader.as_ref().is_none_or(|leader| leader.term < status.term.0);
                if status.leader == Some(status.node) && is_newer {
                    leader = Some(Leader { node: node.id(), term: status.term.0, membership: status.membership });
                }
            }
            match leader {
                Some(leader) => return Ok(leader),
                None if began.elapsed() < PATIENCE => tokio::time::sleep(LOOK).await,
                None => return Err(Failure::plain(format_args!("no node became leader within {PATIENCE:?}"))),
            }
        }
    }

    /// That every node that was started and not killed is there. Asked again and again: one that is taken for running is killed and
    /// started as if nothing had been.
    pub(super) fn all_live(&mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            let id = node.id();
            let ended =
                node.ended().map_err(|error| Failure::plain(format_args!("cannot look at node {id}: {error}")))?;
            if let Some(status) = ended {
                let words = node.last_words();
                return Err(Failure::plain(format_args!("node {id} has stopped by itself: {status}\n{words}")));
            }
        }
        Ok(())
    }

    /// Kills whoever leads now, as a crash would: no warning, no last word. Says which node that was.
    pub(super) async fn kill_leader(&mut self) -> Result<(u64, Killing), Failure> {
        let leader = self.leader().await?.node;
        Ok((leader, self.kill(leader)))
    }

    /// Kills a node that runs.
    pub(super) fn kill(&mut self, id: u64) -> Killing {
        let sent = Instant::now();
        self.node(id).kill();
        Killing { sent, dead: Instant::now() }
    }

    /// Starts a node that was killed, with the data that it left.
    pub(super) async fn restart(&mut self, id: u64) -> Result<(), Failure> {
        let node = self.node(id);
        let mut attempt = 1;
        loop {
            let started = match node.spawn() {
                Ok(()) => node.ready(PATIENCE).await,
                Err(error) => Err(error),
            };
            match started {
                Ok(()) => return Ok(()),
                Err(error) if error.is_address_in_use && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(Failure::plain(error.message)),
            }
        }
    }

    /// Starts a node with an empty directory, which waits to be added; answers its id and where its peers reach it.
    pub(super) async fn join(&mut self) -> Result<(u64, String), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::plain(format_args!("cannot start another node: {error}"));
        let ports = free_ports(2).map_err(|error| failed(&error))?;
        self.last_id += 1;
        let peers: Vec<String> =
            self.nodes.iter().map(|node| format!("{}={}", node.id(), node.peer_address())).collect();
        let beginning = ("--join", peers.join(","));
        let mut node = Node::new(self.last_id, (ports[0], ports[1]), beginning, self.ground.root());
        let started = node.spawn();
        self.nodes.push(node);
        started.map_err(|error| failed(&error.message))?;
        let node = self.node(self.last_id);
        node.ready(PATIENCE).await.map_err(|error| failed(&error.message))?;
        Ok((node.id(), node.peer_address()))
    }

    /// Ends a node that is no member any more, for good.
    pub(super) fn dismiss(&mut self, id: u64) -> Result<(), Failure> {
        // Dropping it kills the process.
        self.nodes.retain(|node| node.id() != id);
        // Its log of 128 MiB is in the way of those that come after it.
        let data = self.ground.root().join(format!("node-{id}"));
        let removed = std::fs::remove_dir_all(&data);
        removed.map_err(|error| Failure::plain(format_args!("cannot remove {}: {error}", data.display())))
    }

    /// The nodes, whether they run or not.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.nodes.iter().map(Node::id).collect()
    }

    /// Whether a node is there and answers, as far as this process knows.
    pub(super) fn is_running(&self, id: u64) -> bool {
        self.nodes.iter().any(|node| node.id() == id && node.is_running())
    }

    /// # Panics
    /// If there is no such node.
    pub(super) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id() == id).expect("a node of this cluster")
    }

    /// Waits until every node has applied the whole log of the leader, and shows the states.
    pub(super) async fn settled(&mut self) -> Result<Vec<NodeState>, Failure> {
        let began = Instant::now();
        loop {
            self.all_live()?;
            let seen = self.observe_all().await;
            let is_late = began.elapsed() >= PATIENCE;
            match seen {
                Ok((seen, committed)) if is_settled(&seen, committed) || is_late => return Ok(seen),
                Err(error) if is_late => return Err(Failure::plain(error)),
                Ok(_) | Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// The states of all nodes, and up to where any of them says that the log is committed.
    async fn observe_all(&self) -> Result<(Vec<NodeState>, u64), String> {
        let (mut seen, mut committed) = (Vec::with_capacity(self.nodes.len()), 0);
        for node in &self.nodes {
            let late = |error| format!("node {} does not answer: {error}", node.id());
            let Observed { status, state } = observe(&node.endpoint(), OBSERVE).await.map_err(late)?;
            let (applied, summary) = state.map_err(late)?;
            committed = committed.max(status.committed.0);
            let role = status.role.name().to_owned();
            seen.push(NodeState { node: status.node.0, role, term: status.term.0, applied, summary });
        }
        Ok((seen, committed))
    }

    /// What the nodes logged last, for one who must find out why something failed.
    pub(super) fn last_words(&self) -> String {
        self.nodes.iter().map(Node::last_words).collect()
    }

    /// From now on the nodes live without this process.
    pub(super) fn keep(&mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            node.release()
                .map_err(|error| Failure::plain(format_args!("cannot release node {}: {error}", node.id())))?;
        }
        self.ground.keep();
        Ok(())
    }

    /// What to try on a cluster that was kept, and how to end it.
    pub(super) fn advice(&self) -> String {
        let program = std::env::current_exe().map_or("outrigger".to_owned(), |path| path.display().to_string());
        let program = quoted(&program);
        let pids: Vec<String> = self.nodes.iter().filter_map(Node::pid).map(|pid| pid.to_string()).collect();
        format!(
            "The cluster is up. Try:\n  \
             export OUTRIGGER_ENDPOINTS={endpoints}\n  \
             {program} status\n  \
             {program} put city Oslo\n  \
             {program} get city\n  \
             {program} get --prefix demo/00000000\n\
             and end it with:\n  \
             kill {pids} && rm -r {files}{directory}\n",
            endpoints = self.endpoints().join(","),
            pids = pids.join(" "),
            files = self.files().iter().map(|file| quoted(file)).collect::<Vec<_>>().join(" "),
            directory = self
                .ground
                .created()
                .map_or(String::new(), |root| { format!(" && rmdir {}", quoted(&root.display().to_string())) }),
        )
    }

    /// What the nodes have made, those too that are gone: whatever else comes to lie beside it is somebody's.
    fn files(&self) -> Vec<String> {
        let names = (1..=self.last_id).flat_map(|id| [format!("node-{id}"), format!("node-{id}.log")]);
        let paths = names.map(|name| self.ground.root().join(name)).filter(|path| path.exists());
        paths.map(|path| path.display().to_string()).collect()
    }
}

/// A word as a shell takes it, whatever is in it.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-+:=@%,".contains(char);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether all have applied all that is committed.
fn is_settled(seen: &[NodeState], committed: u64) -> bool {
    seen.iter().all(|state| state.applied == committed)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_takes_a_quoted_word_as_it_was() {
        for word in ["/data/outrigger-demo-Ab12", "my data", "it's; rm -rf ~", "$HOME `id` \"x\" \\ *", "", "a\nb"] {
            let ran = Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(word))).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&ran.stdout), word);
        }
        assert_eq!(quoted("/data/outrigger-demo-Ab12/node-1.log"), "/data/outrigger-demo-Ab12/node-1.log");
    }
}

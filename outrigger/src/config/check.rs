//! What settings must satisfy. Each fault is told with the numbers or addresses that do not fit, and what to do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use outrigger_engine as engine;
use outrigger_engine::{Incarnation, Peer};

use super::{Config, DURATION_MAX};
use crate::network::frame::BODY_BYTES_MAX;

/// What travels in a frame beside the bytes of one entry: more than enough.
const BESIDE_BYTES: usize = 64 << 10;

/// Why settings do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A duration or limit of the consensus algorithm is zero, or two durations are in the wrong order.
    #[error(transparent)]
    Engine(#[from] engine::ConfigError),
    /// A value that must be above zero is zero.
    #[error("{name} is 0; it must be above 0")]
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// A duration is longer than any that makes sense. Sums of such would overflow.
    #[error("{name} is {duration:?}, the most is {DURATION_MAX:?}, which is a year")]
    TooLong {
        /// The setting.
        name: &'static str,
        /// Its value.
        duration: Duration,
    },
    /// What one connection may hold is more than all of them may.
    #[error("connection_answers_bytes_max is {one}, which exceeds answers_bytes_max {all}; one is a part of the other")]
    AnswersLimits {
        /// `connection_answers_bytes_max`, in bytes.
        one: usize,
        /// `answers_bytes_max`, in bytes.
        all: usize,
    },
    /// What a limit lets in would not fit in a frame, so that it could never be sent.
    #[error("{name} is {bytes} bytes, the most is {bytes_max} bytes: a frame between nodes has {BODY_BYTES_MAX} bytes")]
    TooLarge {
        /// The limit.
        name: &'static str,
        /// Its value.
        bytes: usize,
        /// What it may be.
        bytes_max: usize,
    },
    /// At this rate a piece of a snapshot would take longer than a second.
    #[error(
        "snapshot_bytes_per_second_max is {rate}, which is below snapshot_chunk_bytes_max {chunk_bytes_max}: at least one piece a \
         second must be allowed; raise it, lower the other, or set it to 0 for no limit"
    )]
    SnapshotRate {
        /// `snapshot_bytes_per_second_max`.
        rate: u64,
        /// `snapshot_chunk_bytes_max`.
        chunk_bytes_max: usize,
    },
    /// Two nodes have the same address, spelled in two ways.
    #[error("nodes {first} and {second} of the initial cluster are both at {place} ({addresses}); each needs its own")]
    SamePlace {
        /// A node.
        first: u64,
        /// Another.
        second: u64,
        /// What the initial cluster names.
        addresses: String,
        /// Where both lead.
        place: SocketAddr,
    },
    /// The cluster has no name.
    #[error("the name of the cluster is empty; give it one")]
    NoClusterName,
    /// This node is not a member of the cluster that it should begin.
    #[error("node {id} is missing from the initial cluster, whose nodes are {members}; add it or correct its id")]
    OwnIdMissing {
        /// This node.
        id: u64,
        /// The nodes that are named.
        members: String,
    },
    /// Two nodes have the same address.
    #[error("nodes {first} and {second} of the initial cluster have the same address {address}; each needs its own")]
    DuplicateAddress {
        /// The address.
        address: String,
        /// A node that has it.
        first: u64,
        /// Another.
        second: u64,
    },
    /// An address cannot be read.
    #[error("{name} is `{address}`, which is not HOST:PORT: {reason}")]
    BadAddress {
        /// The setting.
        name: String,
        /// Its value.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An address that others should use stands for "all addresses of this machine".
    #[error("others cannot reach {name} `{address}`; set {instead} to an address that they can")]
    Unspecified {
        /// The setting.
        name: String,
        /// Its value.
        address: String,
        /// The setting that helps.
        instead: &'static str,
    },
    /// A node would begin a new cluster and join a running one.
    #[error("both initial_cluster and join are set; a node begins a new cluster or joins a running one")]
    BeginsAndJoins,
    /// A node would join itself alone.
    #[error("join names no node but {id}, which is this one; name members of the running cluster")]
    JoinsItself {
        /// This node.
        id: u64,
    },
    /// A node would tell another address than the initial cluster names.
    #[error("advertise_peer is {advertised}, but the initial cluster names {named} for node {id}; they must be equal")]
    OtherAddress {
        /// This node.
        id: u64,
        /// `advertise_peer`.
        advertised: String,
        /// Its address in `initial_cluster`.
        named: String,
    },
}

/// See [`Config::validate`].
pub(super) fn validate(config: &Config) -> Result<(), ConfigError> {
    ids(config)?;
    durations(config)?;
    let anyone = Peer::new(config.node(), Incarnation::default());
    config.engine(anyone, 0).validate()?;
    if config.request_timeout.is_zero() {
        return Err(ConfigError::Zero { name: "request_timeout" });
    }
    if let Some(name) = config.limits.zero() {
        return Err(ConfigError::Zero { name });
    }
    let (one, all) = (config.limits.connection_answers_bytes_max, config.limits.answers_bytes_max);
    if one > all {
        return Err(ConfigError::AnswersLimits { one, all });
    }
    frames(config)?;
    let (rate, chunk_bytes_max) = (config.snapshot_bytes_per_second_max, config.limits.snapshot_chunk_bytes_max);
    if rate > 0 && rate < chunk_bytes_max as u64 {
        return Err(ConfigError::SnapshotRate { rate, chunk_bytes_max });
    }
    if config.cluster.is_empty() {
        return Err(ConfigError::NoClusterName);
    }
    own_addresses(config)?;
    if !config.initial_cluster.is_empty() && !config.join.is_empty() {
        return Err(ConfigError::BeginsAndJoins);
    }
    join(config)?;
    initial_cluster(config)
}

/// Whether the clock can count as far.
fn durations(config: &Config) -> Result<(), ConfigError> {
    let all = [
        ("heartbeat_interval", config.heartbeat_interval),
        ("election_timeout_min", config.election_timeout_min),
        ("election_timeout_max", config.election_timeout_max),
        ("lease", config.lease),
        ("request_timeout", config.request_timeout),
        ("snapshot_interval", config.snapshot_interval),
        ("state_check_interval", config.state_check_interval),
    ];
    match all.into_iter().find(|(_, duration)| *duration > DURATION_MAX) {
        Some((name, duration)) => Err(ConfigError::TooLong { name, duration }),
        None => Ok(()),
    }
}

/// The engine would take 0 for an id as any other. It is refused because it is what a variable holds that nobody has set, on each node.
fn ids(config: &Config) -> Result<(), ConfigError> {
    let names = [
        (config.id == 0, "id"),
        (config.initial_cluster.contains_key(&0), "the id of a node in initial_cluster"),
        (config.join.contains_key(&0), "the id of a node in join"),
    ];
    let name = names.into_iter().find(|(is_zero, _)| *is_zero).map(|(_, name)| name);
    name.map_or(Ok(()), |name| Err(ConfigError::Zero { name }))
}

/// The members of the cluster that this node is to be added to.
fn join(config: &Config) -> Result<(), ConfigError> {
    for (id, address) in &config.join {
        place(&format!("the address of node {id} in join"), address)?;
    }
    if !config.join.is_empty() && config.advertise_peer.is_none() {
        // Nobody has an address for this node yet: whoever adds it goes by what it says.
        reachable("listen_peer", &config.listen_peer, "advertise_peer")?;
    }
    let id = config.id;
    let is_alone = !config.join.is_empty() && config.join.keys().all(|other| *other == id);
    if is_alone { Err(ConfigError::JoinsItself { id }) } else { Ok(()) }
}

/// Whether what the limits let in can be sent.
fn frames(config: &Config) -> Result<(), ConfigError> {
    let limits = &config.limits;
    let all = [
        ("entry_bytes_max", limits.entry_bytes_max, BODY_BYTES_MAX - BESIDE_BYTES),
        // Many small entries have more beside them than they count for.
        ("append_bytes_max", limits.append_bytes_max, BODY_BYTES_MAX / 2),
        ("snapshot_chunk_bytes_max", limits.snapshot_chunk_bytes_max, BODY_BYTES_MAX / 2),
        ("requests_bytes_max", limits.requests_bytes_max, BODY_BYTES_MAX),
    ];
    match all.into_iter().find(|(_, bytes, bytes_max)| bytes > bytes_max) {
        Some((name, bytes, bytes_max)) => Err(ConfigError::TooLarge { name, bytes, bytes_max }),
        None => Ok(()),
    }
}

/// See [`Config::listens_elsewhere`].
pub(super) fn listens_elsewhere(config: &Config, named: &str) -> bool {
    if let Some(advertised) = &config.advertise_peer {
        return advertised != named;
    }
    let port = |address: &str| address.rsplit_once(':').map(|(_, port)| port.parse::<u16>().ok());
    if port(&config.listen_peer) != port(named) {
        return true;
    }
    match (config.listen_peer.parse::<SocketAddr>(), named.parse::<SocketAddr>()) {
        (Ok(listens), Ok(named)) => !listens.ip().is_unspecified() && listens.ip() != named.ip(),
        // What a name stands for is the network's business.
        _ => false,
    }
}

/// Whether an address to listen on is one to go to: no wish for any port, nor all addresses of a machine.
pub(super) fn leads_somewhere(address: &str) -> bool {
    let is_wish = address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port == 0));
    !is_wish && address.parse::<SocketAddr>().map_or(true, |address| !address.ip().is_unspecified())
}

/// The addresses to listen on and those to tell others.
fn own_addresses(config: &Config) -> Result<(), ConfigError> {
    well_formed("listen_peer", &config.listen_peer)?;
    if let Some(address) = &config.advertise_peer {
        reachable("advertise_peer", address, "it")?;
    }
    match (&config.listen_client, &config.advertise_client) {
        (_, Some(advertised)) => reachable("advertise_client", advertised, "it"),
        (Some(listen), None) => reachable("listen_client", listen, "advertise_client"),
        (None, None) => Ok(()),
    }?;
    config.listen_client.as_deref().map_or(Ok(()), |address| well_formed("listen_client", address))
}

/// The members of a new cluster; none for a node that has its log already.
fn initial_cluster(config: &Config) -> Result<(), ConfigError> {
    let cluster = &config.initial_cluster;
    let mut owners = BTreeMap::new();
    for (id, address) in cluster {
        place(&format!("the address of node {id} in initial_cluster"), address)?;
        if let Some(first) = owners.insert(address, *id) {
            return Err(ConfigError::DuplicateAddress { address: address.clone(), first, second: *id });
        }
    }
    match (cluster.get(&config.id), &config.advertise_peer) {
        (None, _) if !cluster.is_empty() => {
            let members = cluster.keys().map(u64::to_string).collect::<Vec<_>>().join(", ");
            Err(ConfigError::OwnIdMissing { id: config.id, members })
        }
        (Some(named), Some(advertised)) if named != advertised => {
            Err(ConfigError::OtherAddress { id: config.id, advertised: advertised.clone(), named: named.clone() })
        }
        _ => Ok(()),
    }
}

/// Whether others can find a node at an address.
fn place(name: &str, address: &str) -> Result<(), ConfigError> {
    reachable(name, address, "it")?;
    if address.ends_with(":0") {
        let reason = "port 0 is no place to find a node";
        return Err(ConfigError::BadAddress { name: name.to_owned(), address: address.to_owned(), reason });
    }
    Ok(())
}

/// Whether an address can be called.
pub(super) fn is_place(address: &str) -> bool {
    let port = || address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    well_formed("", address).is_ok() && port() != Some(0)
}

/// Whether an address is `HOST:PORT`, where the host may be a name, and an IPv6 address stands in brackets.
fn well_formed(name: &str, address: &str) -> Result<(), ConfigError> {
    let bad = |reason| Err(ConfigError::BadAddress { name: name.to_owned(), address: address.to_owned(), reason });
    if address.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    let Some((host, port)) = address.rsplit_once(':') else { return bad("it has no port") };
    if port.parse::<u16>().is_err() {
        return bad("the port is not a number from 0 to 65535");
    }
    if host.is_empty() {
        return bad("it has no host");
    }
    if host.contains(|char: char| ":[]/".contains(char) || char.is_whitespace() || char.is_control()) {
        return bad("the host is not a name or an address; IPv6 addresses stand in brackets, such as [::1]:7101");
    }
    Ok(())
}

/// Whether others can use an address.
fn reachable(name: &str, address: &str, instead: &'static str) -> Result<(), ConfigError> {
    well_formed(name, address)?;
    let host = address.parse::<SocketAddr>().map(|address| address.ip());
    match host {
        Ok(ip) if ip.is_unspecified() => {
            Err(ConfigError::Unspecified { name: name.to_owned(), address: address.to_owned(), instead })
        }
        _ => Ok(()),
    }
}

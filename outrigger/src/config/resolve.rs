//! Whether two members have one address under two spellings, as `localhost:7101` and `127.0.0.1:7101` are: names are looked
//! up, as far as they can be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Config, ConfigError};

/// How long names are looked up. A name server that is down or slow must not keep a node from starting.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the members of the initial cluster listen in different places, as far as that can be told now.
pub(crate) async fn distinct(config: &Config) -> Result<(), ConfigError> {
    let mut lookups = JoinSet::new();
    for (id, address) in config.initial_cluster.clone() {
        lookups.spawn(async move {
            let found = lookup_host(&address).await.map(Iterator::collect::<Vec<SocketAddr>>);
            (id, found.unwrap_or_default())
        });
    }
    let mut places = BTreeMap::new();
    let all = async {
        while let Some(looked_up) = lookups.join_next().await {
            // A lookup that failed names no place.
            places.extend(looked_up);
        }
    };
    // Who has not answered by then names none either.
    let _ = timeout(PATIENCE, all).await;
    let mut owners: BTreeMap<SocketAddr, u64> = BTreeMap::new();
    for (second, place) in places.iter().flat_map(|(id, places)| places.iter().map(|place| (*id, canonical(*place)))) {
        let first = *owners.entry(place).or_insert(second);
        if first != second {
            let address = |id| config.initial_cluster.get(&id).cloned().unwrap_or_default();
            let addresses = format!("{} and {}", address(first), address(second));
            return Err(ConfigError::SamePlace { first, second, addresses, place });
        }
    }
    Ok(())
}

/// An IPv4 address that is written as an IPv6 one is the same place.
fn canonical(place: SocketAddr) -> SocketAddr {
    SocketAddr::new(place.ip().to_canonical(), place.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn judged(cluster: &str) -> Result<(), ConfigError> {
        let initial_cluster = Config::parse_cluster(cluster).unwrap();
        distinct(&Config { initial_cluster, ..Config::default() }).await
    }

    #[tokio::test]
    async fn one_place_under_two_spellings_is_refused_with_both() {
        for (one, other) in [
            ("127.0.0.1:7101", "localhost:7101"),
            ("[::1]:7101", "[0:0:0:0:0:0:0:1]:7101"),
            ("127.0.0.1:7101", "[::ffff:127.0.0.1]:7101"),
        ] {
            let refused = judged(&format!("1={one},2=127.0.0.1:7102,3={other}")).await.unwrap_err().to_string();
            assert!(refused.contains("nodes 1 and 3") && refused.contains(&format!("{one} and {other}")), "{refused}");
        }
    }

    #[tokio::test]
    async fn other_ports_and_names_that_nobody_knows_pass() {
        assert_eq!(judged("1=127.0.0.1:7101,2=localhost:7102").await, Ok(()));
        assert_eq!(judged("1=no.such.host.invalid:7101,2=neither.this.one.invalid:7101").await, Ok(()));
    }
}

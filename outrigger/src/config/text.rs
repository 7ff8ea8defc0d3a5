//! Settings as text: durations such as `150ms`, and the initial cluster.

use std::collections::BTreeMap;
use std::time::Duration;

/// Reads a duration such as `150ms`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write a number and a unit, such as 150ms or 2s"))
}

/// Reads `1=10.0.0.1:7101,2=10.0.0.2:7101`.
pub(super) fn parse_cluster(text: &str) -> Result<BTreeMap<u64, String>, String> {
    let mut cluster = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (id, address) = part.split_once('=').ok_or_else(|| format!("`{part}` has no `=`; write ID=HOST:PORT"))?;
        let id = id.trim().parse().map_err(|_| format!("`{id}` is not a node id; write a number such as 1"))?;
        if let Some(first) = cluster.insert(id, address.trim().to_owned()) {
            return Err(format!("node {id} is named twice, with {first} and with {address}; ids are unique"));
        }
    }
    Ok(cluster)
}

/// Durations as text, for serde.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(D::Error::custom)
    }
}

//! What was written, and whether it is still there.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrigger::Client;
use outrigger_server::store::{Answer, Page, Query, RANGE_KEYS_MAX, Store};

use crate::cli::Failure;

const PREFIX: &str = "demo/";

/// The key of a write.
pub(super) fn key(write: u64) -> Bytes {
    format!("{PREFIX}{write:09}").into()
}

/// The value of a write: no other write has it.
pub(super) fn value(write: u64) -> Bytes {
    format!("value of write {write}").into()
}

/// Reads every key back and counts those that are missing or changed.
pub(super) async fn lost(client: &Client<Store>, writes: u64) -> Result<u64, Failure> {
    let found = read_all(client).await?;
    let is_lost = |&write: &u64| found.get(&key(write)) != Some(&value(write));
    let lost: Vec<u64> = (0..writes).filter(is_lost).collect();
    for write in lost.iter().take(10) {
        super::tell(&format!("lost: write {write} reads {:?}", found.get(&key(*write))));
    }
    Ok(u64::try_from(lost.len()).expect("a length fits 64 bits"))
}

async fn read_all(client: &Client<Store>) -> Result<BTreeMap<Bytes, Bytes>, Failure> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let query = Query::Range { prefix: PREFIX.into(), after: after.take(), limit: RANGE_KEYS_MAX };
        let page = match client.query(query).await {
            Ok(Answer::Page(page)) => page,
            Ok(other) => return Err(Failure::plain(format_args!("the cluster answered another question: {other:?}"))),
            Err(error) => return Err(Failure::plain(format_args!("cannot read the keys back: {error}"))),
        };
        let Page { entries, more } = page;
        after = entries.last().map(|(key, _)| key.clone());
        found.extend(entries.into_iter().map(|(key, entry)| (key, entry.value)));
        if !more || after.is_none() {
            return Ok(found);
        }
    }
}

//! `outrigger status`: what each node says of itself, side by side.
//!
//! ```text
//!   node  endpoint        role      term  leader  last  committed  applied  snapshot  purged  state hash
//!   1     127.0.0.1:7201  follower  4     2       1207  1207       1207     1000      0       5d1c06fb1b1dd12e
//!   2     127.0.0.1:7202  leader    4     2       1207  1207       1207     1000      900     5d1c06fb1b1dd12e
//!   -     127.0.0.1:7203  -         -     -       -     -          -        -         -       -                 not answered: ...
//! ```

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use outrigger::engine::RoleKind;
use serde::Serialize;
use tokio::task::JoinSet;

use super::member::Members;
use super::{Failure, Reach, print};
use crate::observe::{Observed, observe};
use crate::table::Table;

/// Show each endpoint's role, term, log and state
///
/// As JSON also the members as each node has them, and on the leader how far each one's log reaches; see `member list`.
///
/// Exits with 3 when no endpoint answers.
#[derive(Args)]
#[command(after_help = "Examples:
  outrigger --endpoints 127.0.0.1:7201,127.0.0.1:7202,127.0.0.1:7203 status
  outrigger status --output json      # for programs")]
pub(super) struct Status {
    /// A table for people, or JSON for programs
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

/// One node, or why it cannot be asked: then all but the endpoint and the error are null.
#[derive(Debug, Default, Serialize)]
struct Row {
    node: Option<u64>,
    endpoint: String,
    role: Option<String>,
    term: Option<u64>,
    leader: Option<u64>,
    last_index: Option<u64>,
    committed: Option<u64>,
    /// Null, as the hash is, if the state was not told in time.
    applied: Option<u64>,
    /// Up to which index its newest snapshot covers the log; 0 without one.
    snapshot: Option<u64>,
    /// Up to which index the log was dropped, because a snapshot covers it.
    purged: Option<u64>,
    /// The members as this node has them; null on one that waits to be added.
    members: Option<Members>,
    /// On a leader: up to which index each other member's log is known to be durable and equal.
    matched: Option<BTreeMap<u64, u64>>,
    /// Taken at `applied`. Text, because many readers of JSON round numbers of 64 bits.
    state_hash: Option<String>,
    /// Why it cannot be asked, or what it says is wrong.
    error: Option<String>,
}

impl Status {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let reach = self.reach.within(outer);
        let rows = rows(&reach).await?;
        match self.output {
            Output::Table => print(|out| write!(out, "{}", table(&rows)))?,
            Output::Json => {
                let json = serde_json::to_string(&rows).map_err(Failure::plain)?;
                print(|out| writeln!(out, "{json}"))?;
            }
        }
        if rows.iter().all(|row| row.node.is_none()) {
            return Err(Failure::not_applied(format_args!("none of {} endpoints answered", rows.len())));
        }
        Ok(())
    }
}

/// Asks all endpoints at once; the rows come in the endpoints' order.
async fn rows(reach: &Reach) -> Result<Vec<Row>, Failure> {
    let mut asked = JoinSet::new();
    for (place, endpoint) in reach.endpoints()?.into_iter().enumerate() {
        let timeout = reach.timeout();
        asked.spawn(async move {
            let row = match observe(&endpoint, timeout).await {
                Ok(observed) => Row::new(observed),
                Err(error) => Row { error: Some(error), ..Row::default() },
            };
            (place, Row { endpoint, ..row })
        });
    }
    let mut rows = asked.join_all().await;
    rows.sort_unstable_by_key(|(place, _)| *place);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

impl Row {
    fn new(observed: Observed) -> Self {
        let Observed { status, state } = observed;
        let (state, late) = state.map_or_else(|late| (None, Some(late)), |state| (Some(state), None));
        let is_member_of_any = !status.membership.nodes().is_empty();
        let matched = status.matched.iter().map(|(node, index)| (node.0, index.0)).collect();
        Self {
            node: Some(status.node.0),
            role: Some(status.role.name().to_owned()),
            term: Some(status.term.0),
            leader: status.leader.map(|leader| leader.0),
            last_index: Some(status.last.index.0),
            committed: Some(status.committed.0),
            applied: state.as_ref().map(|(applied, _)| *applied),
            snapshot: Some(status.snapshot.index.0),
            purged: Some(status.purged.index.0),
            state_hash: state.map(|(_, summary)| format!("{:016x}", summary.hash)),
            members: is_member_of_any.then(|| Members::new(&status.membership, status.membership_at, status.version)),
            matched: (status.role == RoleKind::Leader).then_some(matched),
            error: status.fault.or(late),
            ..Self::default()
        }
    }
}

impl Row {
    /// What is wrong, or worth a word.
    fn note(&self) -> String {
        let waits = self.node.is_some() && self.members.is_none();
        self.error.clone().or_else(|| waits.then(|| "waits to be added".to_owned())).unwrap_or_default()
    }
}

fn table(rows: &[Row]) -> Table {
    let heads = [
        "node",
        "endpoint",
        "role",
        "term",
        "leader",
        "last",
        "committed",
        "applied",
        "snapshot",
        "purged",
        "state hash",
        "",
    ];
    let mut table = Table::new(&heads);
    for row in rows {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        table.push([
            number(row.node),
            row.endpoint.clone(),
            text(&row.role),
            number(row.term),
            number(row.leader),
            number(row.last_index),
            number(row.committed),
            number(row.applied),
            number(row.snapshot),
            number(row.purged),
            text(&row.state_hash),
            row.note(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_every_field_also_of_a_node_that_is_away() {
        let row = Row { endpoint: "a:1".to_owned(), error: Some("away".to_owned()), ..Row::default() };
        assert_eq!(
            serde_json::to_string(&[row]).unwrap(),
            concat!(
                r#"[{"node":null,"endpoint":"a:1","role":null,"term":null,"leader":null,"last_index":null,"#,
                r#""committed":null,"applied":null,"snapshot":null,"purged":null,"members":null,"matched":null,"#,
                r#""state_hash":null,"error":"away"}]"#
            )
        );
    }
}

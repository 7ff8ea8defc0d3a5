//! How far a change is, on standard error, for whoever waits for it.

use std::convert::Infallible;
use std::io::Write;
use std::time::Duration;

use outrigger::NodeStatus;
use outrigger::engine::Brought;
use tokio::time::{MissedTickBehavior, interval};

use super::view::view;

/// How often the leader is asked.
const INTERVAL: Duration = Duration::from_millis(500);

/// Tells how far the change is that is under way, whenever that is something new, for as long as it is polled.
pub(super) async fn tell(endpoints: &[String]) -> Infallible {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    // A change that is done at once needs no words.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Ok(status) = view(endpoints, INTERVAL * 2).await else { continue };
        let line = describe(&status);
        if !line.is_empty() && line != told {
            // The change does not depend on anybody listening.
            let _ = writeln!(std::io::stderr(), "{line}");
            told = line;
        }
    }
}

/// How far a log is that has so many entries of all. What its leader's log has dropped comes as a snapshot, of which nothing counts
/// before all of it is there: a zero that stays is no node that does nothing.
fn so_far(matched: u64, last: u64, purged: u64, brought: Option<&Brought>) -> String {
    let snapshot = match brought {
        Some(brought) => format!("; {}", of_snapshot(brought)),
        None if matched < purged => format!(", of which the first {purged} come as a snapshot"),
        None => String::new(),
    };
    format!("{matched} of {last} entries{snapshot}")
}

/// How much has come of a snapshot.
pub(super) fn of_snapshot(Brought { held, bytes }: &Brought) -> String {
    format!("{} of a snapshot of {}", bytes_of(*held), bytes_of(*bytes))
}

/// So many bytes for people, in the largest unit of which there is one.
fn bytes_of(bytes: u64) -> String {
    match bytes {
        ..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// What is under way, in a line; empty if nothing is.
fn describe(status: &NodeStatus) -> String {
    let membership = &status.membership;
    let Some(goal) = membership.goal() else { return String::new() };
    if membership.is_joint() {
        return format!("the voters change: {membership}");
    }
    let last = status.last.index.0;
    let new = goal.voters.iter().filter(|node| !membership.voters().contains(node)).map(|node| {
        match status.matched.get(node) {
            Some(matched) => {
                let so_far = so_far(matched.0, last, status.purged.index.0, status.brought.get(node));
                format!("node {node} catches up: {so_far}")
            }
            None => format!("node {node} catches up"),
        }
    });
    new.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by a user: "0 of 804 entries" for as long as a snapshot was on its way.
    #[test]
    fn who_is_sent_a_snapshot_first_is_told_from_who_does_nothing() {
        assert_eq!(so_far(0, 804, 800, None), "0 of 804 entries, of which the first 800 come as a snapshot");
        assert_eq!(so_far(800, 804, 800, None), "800 of 804 entries");
        assert_eq!(so_far(0, 804, 0, None), "0 of 804 entries");
        let brought = |held, bytes| so_far(0, 804, 800, Some(&Brought { held, bytes }));
        assert_eq!(brought(0, 1_023), "0 of 804 entries; 0 bytes of a snapshot of 1023 bytes");
        assert_eq!(brought(1_024, 20 << 20), "0 of 804 entries; 1 KiB of a snapshot of 20 MiB");
    }
}

//! What came of it: the states side by side, the sentence at the end, and whether it is good.

use std::time::Duration;

use outrigger_server::store::Summary;

use super::chaos::Troubles;
use crate::table::Table;

/// One node after all writes.
#[derive(Clone, Debug)]
pub(super) struct NodeState {
    pub(super) node: u64,
    pub(super) role: String,
    pub(super) term: u64,
    pub(super) applied: u64,
    /// Taken at `applied`.
    pub(super) summary: Summary,
}

/// The outcome of a demonstration.
pub(super) struct Report {
    pub(super) acknowledged: u64,
    /// How many more may have been applied, because they were written anew.
    pub(super) doubts: u64,
    /// How many acknowledged keys could not be read back as they were written.
    pub(super) lost: u64,
    /// From the SIGKILL to the next acknowledgement.
    pub(super) failover: Duration,
    pub(super) states: Vec<NodeState>,
    /// What has happened, if that was more than one crash.
    pub(super) troubles: Option<Troubles>,
}

impl Report {
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&["node", "role", "term", "applied", "keys", "state hash"]);
        for NodeState { node, role, term, applied, summary } in &self.states {
            let [node, term, applied] = [node, term, applied].map(u64::to_string);
            table.push([node, role.clone(), term, applied, summary.keys.to_string(), format!("{:016x}", summary.hash)]);
        }
        table
    }

    pub(super) fn last_line(&self) -> String {
        let Self { acknowledged, lost, failover, .. } = self;
        format!("acknowledged {acknowledged}, lost {lost}, failover {} ms", failover.as_millis())
    }

    /// Nothing lost, nothing applied twice, and the same state everywhere.
    pub(super) fn verdict(&self) -> Result<(), String> {
        if self.lost > 0 {
            return Err(format!("{} of {} acknowledged writes are lost", self.lost, self.acknowledged));
        }
        let mut summaries = self.states.iter().map(|state| (state.applied, state.summary));
        let first = summaries.next();
        match (first, summaries.all(|summary| Some(summary) == first)) {
            (Some((_, Summary { revision, .. })), true) => {
                let Self { acknowledged, doubts, .. } = *self;
                // Every write that is applied is one revision.
                match (acknowledged..=acknowledged + doubts).contains(&revision) {
                    true => Ok(()),
                    false => Err(format!("{revision} writes were applied, and {acknowledged} are acknowledged")),
                }
            }
            (Some(_), false) => Err("the nodes hold different states".to_owned()),
            (None, _) => Err("no node was asked for its state".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lost: u64, hashes: &[u64]) -> Report {
        let state = |(place, &hash): (usize, &u64)| NodeState {
            node: u64::try_from(place).unwrap() + 1,
            role: "follower".to_owned(),
            term: 2,
            applied: 12,
            summary: Summary { hash, keys: 10, revision: 10 },
        };
        let states = hashes.iter().enumerate().map(state).collect();
        Report { acknowledged: 10, doubts: 0, lost, failover: Duration::from_micros(734_900), states, troubles: None }
    }

    #[test]
    fn the_last_line_has_its_fixed_form() {
        assert_eq!(report(0, &[7]).last_line(), "acknowledged 10, lost 0, failover 734 ms");
    }

    #[test]
    fn only_equal_states_with_nothing_lost_are_good() {
        assert_eq!(report(0, &[7, 7, 7]).verdict(), Ok(()));
        assert!(report(1, &[7, 7, 7]).verdict().is_err());
        assert!(report(0, &[7, 7, 8]).verdict().is_err());
        assert!(report(0, &[]).verdict().is_err());
        let mut behind = report(0, &[7, 7, 7]);
        behind.states[2].applied -= 1;
        assert!(behind.verdict().is_err());
        let mut twice = report(0, &[7, 7, 7]);
        twice.states.iter_mut().for_each(|state| state.summary.revision = 11);
        assert!(twice.verdict().is_err());
        twice.doubts = 1;
        assert_eq!(twice.verdict(), Ok(()), "that may have been the one");
    }

    #[test]
    fn the_table_has_a_line_per_node() {
        let table = report(0, &[7, 255]).table().to_string();
        assert_eq!(table.lines().count(), 3);
        assert!(table.contains("2     follower  2     12       10    00000000000000ff"), "{table}");
    }
}

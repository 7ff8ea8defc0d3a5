//! From marks to rows: rounds of heartbeats that follow each other share one, and it is looked up where each message ends.

use std::collections::BTreeSet;

use outrigger::engine::{NodeId, Term};

use super::{Mark, Marks, Sent};

/// How one copy of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// At this time, in a process that lives.
    Arrives(u64),
    /// At this time, where no process runs.
    Dead(u64),
    /// Somewhere between the two.
    Lost,
    /// Where a link is cut.
    Cut,
    /// Not before the history does.
    OnItsWay,
}

/// What stands in one row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    /// One mark.
    Mark(&'a Mark),
    /// Rounds of heartbeats in one term.
    Heartbeats { until: u64, term: Term, rounds: usize, messages: usize, lost: usize },
}

/// All rows, each with the time at which it begins.
pub(super) fn rows(marks: &Marks) -> Vec<(u64, Row<'_>)> {
    let all: Vec<(u64, &Mark)> = marks.marks.iter().map(|(now, mark)| (*now, mark)).collect();
    let mut rows = Vec::new();
    let mut from = 0;
    while let Some((now, mark)) = all.get(from) {
        let term = heartbeat(mark).map(|it| it.heartbeat);
        let like = |(_, other): &&(u64, &Mark)| term.is_some() && heartbeat(other).map(|it| it.heartbeat) == term;
        let run = all[from..].iter().take_while(like).count();
        match heartbeats(marks, &all[from..from + run]) {
            Some(row) => {
                rows.push((*now, row));
                from += run;
            }
            None => {
                if !is_superseded(*now, mark, all.get(from + 1)) {
                    rows.push((*now, Row::Mark(mark)));
                }
                from += 1;
            }
        }
    }
    rows
}

/// Whether a node has a role for no time at all: what starts is a learner until it has read who the voters are.
fn is_superseded(now: u64, mark: &Mark, next: Option<&(u64, &Mark)>) -> bool {
    match (mark, next) {
        (Mark::Role { node, .. }, Some((then, Mark::Role { node: other, .. }))) => *then == now && node == other,
        _ => false,
    }
}

fn heartbeat(mark: &Mark) -> Option<&Sent> {
    let Mark::Message(sent) = mark else { return None };
    sent.heartbeat.is_some().then_some(sent)
}

/// One row for a run of heartbeats and their answers, if there are two rounds of them or more.
fn heartbeats<'a>(marks: &Marks, run: &[(u64, &'a Mark)]) -> Option<Row<'a>> {
    let sent = || run.iter().filter_map(|(now, mark)| Some((*now, heartbeat(mark)?)));
    let term = sent().next()?.1.heartbeat?;
    let begins: BTreeSet<(u64, NodeId)> =
        sent().filter(|(_, it)| !it.is_reply).map(|(now, it)| (now, it.from)).collect();
    let is_lost = |fates: &[Fate]| fates.iter().all(|fate| !matches!(fate, Fate::Arrives(_) | Fate::OnItsWay));
    let lost = sent().filter(|(now, it)| is_lost(&marks.fates(*now, it))).count();
    let until = run.last()?.0;
    let (rounds, messages) = (begins.len(), run.len());
    (rounds >= 2).then_some(Row::Heartbeats { until, term, rounds, messages, lost })
}

impl Marks {
    /// How each copy of a message that left at this time ends.
    pub(super) fn fates(&self, left: u64, sent: &Sent) -> Vec<Fate> {
        if sent.arrives.is_empty() {
            return vec![if sent.is_cut { Fate::Cut } else { Fate::Lost }];
        }
        sent.arrives.iter().map(|at| self.fate(left, sent.to, *at)).collect()
    }

    fn fate(&self, left: u64, to: NodeId, at: u64) -> Fate {
        let condition = self.before.get(&to).copied().unwrap_or_default();
        let (mut lives, mut arrives) = (condition.lives, at);
        if condition.paused_until > at {
            arrives = condition.paused_until;
        }
        for (now, mark) in &self.marks {
            if *now > arrives {
                break;
            }
            match mark {
                Mark::Process { node, lives: now_lives, .. } if *node == to => lives = *now_lives,
                // What reaches a process that stands still waits for it.
                Mark::Pause { node, until, .. } if *node == to && *until > arrives && *now <= at => arrives = *until,
                Mark::Emptied if (left..at).contains(now) => return Fate::Lost,
                _ => {}
            }
        }
        match (arrives > self.end, lives) {
            (true, _) => Fate::OnItsWay,
            (false, true) => Fate::Arrives(arrives),
            (false, false) => Fate::Dead(arrives),
        }
    }
}

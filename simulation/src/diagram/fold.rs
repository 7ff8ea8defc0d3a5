//! From marks to rows: what is repeated shares one, and it is looked up where each message ends.

use std::collections::BTreeMap;

use outrigger::engine::{NodeId, Term};

use super::{Mark, Marks, Sent, TICK_LETTERS, Tick, seconds};

/// So often something must be seen before it shares a row with its like.
const REPEATED: usize = 3;
/// So many rounds of heartbeats share a row.
const ROUNDS: usize = 2;
/// What is repeated among more kinds of things than this is told by nobody in one line.
const KINDS_MAX: usize = 12;
/// So many of the last marks are drawn one by one, unless they are heartbeats: they lead to what goes wrong.
const LAST: usize = 12;
/// What disks and clients do within so much time shares a row, in nanoseconds.
const AT_ONCE: u64 = 1_000_000;

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
#[derive(Clone, Debug)]
pub(super) enum Row<'a> {
    /// One mark.
    Mark(&'a Mark),
    /// What disks and clients do at about one time; no text is too long for its column, or it is alone.
    Ticks { until: u64, ticks: Vec<&'a Tick> },
    /// The same things again and again.
    Repeated { until: u64, text: String },
}

/// What is repeated, and how often.
#[derive(Debug, Default)]
struct Count {
    times: usize,
    /// Between whom, or at whose disk or to whose client.
    links: Vec<(NodeId, NodeId)>,
    /// When each round of heartbeats began, and whose it is.
    rounds: Vec<(u64, NodeId)>,
    /// The term of the heartbeats.
    term: Option<Term>,
}

impl Count {
    /// What all others are told at once is no repetition.
    const fn is_repeated(&self) -> bool {
        if self.term.is_some() { self.rounds.len() >= ROUNDS } else { self.times >= REPEATED * self.links.len() }
    }

    fn add(&mut self, now: u64, mark: &Mark) {
        self.times += 1;
        let link = match mark {
            Mark::Message(sent) => {
                self.term = sent.heartbeat;
                let round = (now, sent.from);
                if sent.heartbeat.is_some() && !sent.is_reply && !self.rounds.contains(&round) {
                    self.rounds.push(round);
                }
                (sent.from, sent.to)
            }
            Mark::Tick(tick) => (tick.node, tick.node),
            _ => return,
        };
        if !self.links.contains(&link) {
            self.links.push(link);
        }
    }

    fn text(&self, shape: &str) -> String {
        if let Some(term) = self.term {
            return format!("{} rounds of heartbeats, term {term}", self.rounds.len());
        }
        let links = self.links.iter().filter(|(from, to)| from != to);
        let links: Vec<String> = links.map(|(from, to)| format!("{from}\u{2192}{to}")).collect();
        let links = if (1..=3).contains(&links.len()) { format!(" ({})", links.join(", ")) } else { String::new() };
        format!("{} times {}{links}", self.times, shape.replace(" #", ""))
    }
}

/// All rows, each with the time at which it begins.
pub(super) fn rows(marks: &Marks) -> Vec<(u64, Row<'_>)> {
    let all: Vec<(u64, &Mark)> = marks.marks.iter().map(|(now, mark)| (*now, mark)).collect();
    let mut rows = Vec::new();
    let mut from = 0;
    while let Some((now, mark)) = all.get(from) {
        if let Some((run, text)) = repeated(marks, &all[from..]) {
            rows.push((*now, Row::Repeated { until: all[from + run - 1].0, text }));
            from += run;
            continue;
        }
        match mark {
            Mark::Tick(tick) => add_tick(&mut rows, *now, tick),
            _ if is_superseded(*now, mark, &all[from + 1..]) => {}
            _ => rows.push((*now, Row::Mark(mark))),
        }
        from += 1;
    }
    rows
}

/// Puts a tick into the last row, if there is room beside what stands there.
fn add_tick<'a>(rows: &mut Vec<(u64, Row<'a>)>, now: u64, tick: &'a Tick) {
    let letters = |tick: &Tick| tick.text.chars().count();
    if let Some((began, Row::Ticks { until, ticks })) = rows.last_mut()
        && now - *began <= AT_ONCE
        && ticks.iter().all(|other| letters(other) <= TICK_LETTERS)
    {
        let beside = ticks.iter().filter(|other| other.node == tick.node).map(|other| letters(other) + 2);
        if beside.sum::<usize>() + letters(tick) <= TICK_LETTERS {
            *until = now;
            ticks.push(tick);
            return;
        }
    }
    rows.push((now, Row::Ticks { until: now, ticks: vec![tick] }));
}

/// Whether a node has a role for no time at all: what starts is a learner until it has read who the voters are.
fn is_superseded(now: u64, mark: &Mark, behind: &[(u64, &Mark)]) -> bool {
    let next = behind.iter().find(|(_, mark)| !matches!(mark, Mark::Tick(_)));
    match (mark, next) {
        (Mark::Role { node, .. }, Some((then, Mark::Role { node: other, .. }))) => *then == now && node == other,
        _ => false,
    }
}

/// What a mark has in common with those that repeat it.
fn shape(mark: &Mark) -> Option<&str> {
    match mark {
        Mark::Message(Sent { heartbeat: Some(_), .. }) => Some("heartbeat"),
        Mark::Message(sent) => Some(&sent.shape),
        Mark::Tick(tick) => tick.shape.as_deref(),
        _ => None,
    }
}

/// How many of the first marks share one row, and what is told of them: as many as there are while each is repeated.
fn repeated(marks: &Marks, all: &[(u64, &Mark)]) -> Option<(usize, String)> {
    let mut counts: BTreeMap<(&str, Option<Term>), Count> = BTreeMap::new();
    let mut order = Vec::new();
    let mut run = 0;
    for (place, (now, mark)) in all.iter().enumerate() {
        let term = if let Mark::Message(sent) = mark { sent.heartbeat } else { None };
        let Some(shape) = shape(mark).filter(|_| term.is_some() || place + LAST < all.len()) else { break };
        let key = (shape, term);
        if !counts.contains_key(&key) {
            order.push(key);
        }
        counts.entry(key).or_default().add(*now, mark);
        // Two terms are two stories.
        if order.len() > KINDS_MAX || counts.keys().filter(|(_, term)| term.is_some()).count() > 1 {
            break;
        }
        if counts.values().all(Count::is_repeated) {
            run = place + 1;
        }
    }
    (run > 0).then(|| (run, told(marks, &all[..run], &order)))
}

fn told(marks: &Marks, run: &[(u64, &Mark)], order: &[(&str, Option<Term>)]) -> String {
    let mut counts: BTreeMap<(&str, Option<Term>), Count> = BTreeMap::new();
    for (now, mark) in run {
        let term = if let Mark::Message(sent) = mark { sent.heartbeat } else { None };
        counts.entry((shape(mark).unwrap_or_default(), term)).or_default().add(*now, mark);
    }
    let parts: Vec<String> = order.iter().filter_map(|key| counts.get(key).map(|count| count.text(key.0))).collect();
    let sent =
        || run.iter().filter_map(|(now, mark)| if let Mark::Message(sent) = mark { Some((*now, sent)) } else { None });
    let is_lost = |fates: &[Fate]| fates.iter().all(|fate| !matches!(fate, Fate::Arrives(_) | Fate::OnItsWay));
    let lost = sent().filter(|(now, it)| is_lost(&marks.fates(*now, it))).count();
    let lost = if lost > 0 { format!("; {lost} of {} messages lost", sent().count()) } else { String::new() };
    let lasts = run.last().map_or(0, |last| last.0) - run.first().map_or(0, |first| first.0);
    let between = if parts.len() > 2 { "\n" } else { "; " };
    format!("within {}: {}{lost}", seconds(lasts), parts.join(between))
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
        let before = self.before.get(&to);
        let mut lives = before.is_some_and(|condition| condition.lives);
        let mut arrives = before.map_or(at, |condition| condition.paused_until.max(at));
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

//! What the trace says of what happens between the nodes. Engines neither see it nor say it.

use outrigger::engine::{Message, NodeId, Peer};

use super::World;
use crate::diagram::Mark;
use crate::network::Delays;
use crate::plan::MILLISECOND;

impl World {
    /// The network, or all of the world, is another now: whoever reads a trace or a drawing must know.
    pub(super) fn announce(&mut self, what: impl Fn(&Self) -> String) {
        if self.trace.is_told() {
            let words = what(self);
            self.trace.tell(self.now, None, || words);
        }
        self.mark(|| Mark::World { text: what(self) });
    }

    /// What becomes of a message, or of a handshake, unless it arrives once and in time.
    #[cold]
    pub(super) fn tell_way(&mut self, (from, target): (NodeId, NodeId), message: Option<&Message>, delays: Delays) {
        let what = said(message);
        let arrivals: Vec<u64> = delays.into_iter().collect();
        let late = |delay: &u64| format!("after {} ms", delay / MILLISECOND);
        let becomes = match &arrivals[..] {
            [] if self.network.cuts(from, target) => "is cut off".to_owned(),
            [] => "is lost".to_owned(),
            [one] if *one <= self.plan.delay.1 => return,
            [one] => format!("is held up, and arrives {}", late(one)),
            copies => {
                format!("is doubled, and arrives {}", copies.iter().map(late).collect::<Vec<_>>().join(" and "))
            }
        };
        self.trace.tell(self.now, Some(from), || format!("to {target}: {what} {becomes}"));
    }

    /// A message reaches nobody, if nobody is there.
    #[cold]
    pub(super) fn tell_arrival(&mut self, target: NodeId, from: Peer, message: Option<&Message>) {
        if self.nodes.at(target).is_none_or(|node| node.running.is_none()) {
            let what = said(message);
            self.trace.tell(self.now, Some(target), || format!("does not run, and misses from {}: {what}", from.node));
        }
    }
}

/// What is on its way, of which a handshake is no message.
fn said(message: Option<&Message>) -> String {
    message.map_or_else(|| "its handshake".to_owned(), ToString::to_string)
}

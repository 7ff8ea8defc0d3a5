//! Who is not to be listened to, and says what another has just said: it must change nothing.

use outrigger::engine::{
    Engine, Event, Founding, Genesis, Incarnation, Instant, LogId, Message, NodeId, Peer, RoleKind,
};
use outrigger::network::Local;

use super::World;
use crate::check::{Violation, require};
use crate::count::note;
use crate::look::Look;
use crate::network::is_let_in;
use crate::node::CLUSTER;
use crate::plan::Trouble;
use crate::rng::Rng;
use crate::runtime::Effect;

impl World {
    /// At times somebody who is none of the members says what was just said: it must change nothing.
    pub(super) fn speak_strangely(
        &mut self,
        id: NodeId,
        said_by: Peer,
        message: Option<&Message>,
    ) -> Result<(), Violation> {
        let odds = self.plan.odds(Trouble::Strangers);
        let Some(node) = self.nodes.at_mut(id) else { return Ok(()) };
        if !node.rng.chance(odds) {
            return Ok(());
        }
        let (own, now, nodes) = (node.clock.at(self.now), Instant(self.now), self.plan.nodes + self.plan.spares);
        let Some(running) = &mut node.running else { return Ok(()) };
        // Who does not know the members yet listens to anybody.
        if running.runtime.accepted.0.is_empty() {
            return Ok(());
        }
        let engine = running.driver.engine();
        let Some((kind, from)) = Stranger { nodes, engine, said_by, message }.draw(&mut node.rng) else {
            return Ok(());
        };
        // A leader may be about to take a step of a change, or to bind whom it knows, because time has passed, whoever speaks.
        let membership = engine.membership();
        if membership.goal().is_some() || membership.bindings().len() < membership.nodes().len() {
            return Ok(());
        }
        note(&mut self.faults, kind);
        call_strangely(running.runtime.me, NodeId(1 + id.0 % nodes), from.incarnation, is_let_in)?;
        let event = Event::Received { from, message: message.cloned() };
        let (before, due, effects) =
            (Look::at(id, running.driver.engine()), running.driver.poll_timeout(), running.runtime.effects.len());
        running.runtime.now = now;
        running.runtime.trace.note(now, id, '>', &event);
        if let Some(waiting) = &mut running.runtime.waiting {
            waiting.begins(&event);
        }
        running.driver.step(event, own, &mut running.runtime);
        let same = Look::at(id, running.driver.engine()) == before && running.driver.poll_timeout() == due;
        let answers: Vec<Effect> = running.runtime.effects.drain(effects..).collect();
        running.runtime.notes.clear();
        let is_refused =
            before.role == RoleKind::Halted || matches!(&answers[..], [Effect::RefusePeer(peer, _)] if *peer == from);
        let does = if is_refused { "refuses it, and is not as it was before" } else { "does not refuse it" };
        require!(same && is_refused, Acquaintance, "node {id} listens to {from} ({kind}): it {does}");
        Ok(())
    }
}

/// What a stranger is drawn for.
struct Stranger<'a> {
    /// How many nodes have ids.
    nodes: u64,
    /// Whom it speaks to.
    engine: &'a Engine,
    /// Who has just said it.
    said_by: Peer,
    /// What.
    message: Option<&'a Message>,
}

impl Stranger<'_> {
    /// Somebody who must not be listened to, and what it is counted as.
    fn draw(&self, rng: &mut Rng) -> Option<(&'static str, Peer)> {
        let (chance, incarnation) = (rng.below(10), Incarnation { id: rng.next(), ..Incarnation::default() });
        let own = self.engine.signature();
        match chance {
            0..2 => Some(("stranger refused", Peer::new(own.node, incarnation).of(own.genesis))),
            2..5 => self.foreigner(own, incarnation).map(|from| ("node of another cluster refused", from)),
            _ => {
                let nobody = Peer::new(NodeId(self.nodes + 1), incarnation).of(own.genesis);
                // A node that missed how the members changed cannot know who leads, or who needs its vote.
                let nobody = || (!self.leads_or_asks() && self.message.is_some()).then_some(nobody);
                self.impostor(incarnation).or_else(nobody).map(|from| ("stranger refused", from))
            }
        }
    }

    /// Whether whoever says this leads, or asks for a vote.
    fn leads_or_asks(&self) -> bool {
        matches!(
            self.message,
            Some(
                Message::AppendEntries(_)
                    | Message::InstallSnapshot(_)
                    | Message::DelegateSnapshot(_)
                    | Message::Heartbeat(_)
                    | Message::Committed { .. }
                    | Message::TimeoutNow { .. }
                    | Message::HashState { .. }
                    | Message::StateDiffers { .. }
                    | Message::PreVote(_)
                    | Message::RequestVote(_)
            )
        )
    }

    /// The very one who has just spoken, but of another cluster, which may have begun alike; or one that leads, or asks for votes, and
    /// knows of none.
    fn foreigner(&self, own: Peer, incarnation: Incarnation) -> Option<Peer> {
        match incarnation.id % 3 {
            0 => Some(self.said_by.of(Genesis(own.genesis.0 + 1))),
            1 => self.leads_or_asks().then_some(self.said_by.of(Genesis::UNKNOWN)),
            _ => own.founding.is_known().then_some(self.said_by.founded(Founding(own.founding.0 ^ 1))),
        }
    }

    /// Another directory than the one that is bound to the speaker's id, half of the times that it might say this to a leader. Whatever
    /// entry it claims to be bound by, no leader lacks it, but for one that a later term has deposed.
    fn impostor(&self, incarnation: Incarnation) -> Option<Peer> {
        let Self { engine, said_by, message, .. } = self;
        let is_bound = engine.membership().bindings().contains_key(&said_by.node);
        let deposes = message.is_none_or(|message| message.term().is_some_and(|term| term > engine.vote().term));
        let may_be = engine.role_kind() == RoleKind::Leader && is_bound && !deposes && incarnation.id.is_multiple_of(2);
        let claim = LogId { term: engine.vote().term, index: engine.last_log_id().index.next() };
        may_be.then(|| Peer::new(said_by.node, incarnation).claiming(Some(claim)).of(engine.signature().genesis))
    }
}

/// Somebody calls a node and says one thing that does not fit: the handshake, which answers whether it lets one in, must not.
fn call_strangely(
    me: Peer,
    caller: NodeId,
    incarnation: Incarnation,
    is_let_in: impl Fn(&Local, &Local, NodeId) -> bool,
) -> Result<(), Violation> {
    let fits = |peer: Peer| {
        let peer = peer.of(Genesis(1)).founded(Founding(1));
        Local { cluster: CLUSTER, peer, client_address: None, peer_address: None }
    };
    let (local, call) = (fits(me), fits(Peer::new(caller, incarnation)));
    let calls = [
        ("is of another cluster", Local { cluster: CLUSTER + 1, ..call.clone() }, me.node),
        ("began with other members", Local { peer: call.peer.of(Genesis(2)), ..call.clone() }, me.node),
        ("was founded as another one", Local { peer: call.peer.founded(Founding(2)), ..call.clone() }, me.node),
        ("calls another node", call.clone(), NodeId(me.node.0 + 1)),
        ("has the same id", Local { peer: Peer { node: me.node, ..call.peer }, ..call.clone() }, me.node),
    ];
    // A cluster of one node has nobody who could call it.
    let lets_in = caller == me.node || is_let_in(&local, &call, me.node);
    require!(lets_in, Acquaintance, "node {} does not let {caller} in, which says all that it must", me.node);
    for (what, call, target) in calls {
        let lets_in = is_let_in(&local, &call, target);
        require!(!lets_in, Acquaintance, "node {} lets {} in, which {what}", me.node, call.peer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::refusing;
    use super::*;
    use crate::check::Check;

    #[test]
    fn the_handshake_lets_in_who_fits_and_nobody_else() {
        let (me, other) = (Peer::new(NodeId(1), Incarnation::default()), Incarnation { id: 7, start: 1, nonce: 1 });
        let judge = |lets_in: &dyn Fn(&Local, &Local, NodeId) -> bool| {
            refusing(call_strangely(me, NodeId(2), other, |local, call, target| lets_in(local, call, target)))
        };
        assert_eq!(judge(&is_let_in), None);
        assert_eq!(judge(&|_, _, _| false), Some(Check::Acquaintance));
        assert_eq!(judge(&|_, _, _| true), Some(Check::Acquaintance));
        assert_eq!(judge(&|local, call, _| call.peer.node != local.peer.node), Some(Check::Acquaintance), "in part");
    }
}

//! A mutant: raft.tla with a rule broken, to be searched like the sound one.

use outrigger_model::explore::{CounterExample, PackedModel, Raft, Script, Search, TransitionSystem, Verdict};
use outrigger_model::invariant::Violation;
use outrigger_model::{Action, Model, Server, ServerId, System};

/// How a step goes: the rules' way, or a broken one.
pub(crate) type Step = fn(&mut System<u8>, &Action<u8>);

/// What must hold over a step from one model to another.
pub(crate) type Check = fn(&Model<u8>, &Model<u8>) -> Result<(), Violation<u8>>;

/// What a search of a mutant finds.
pub(crate) type Found = CounterExample<Action<u8>, Violation<u8>>;

/// A broken raft.tla.
pub(crate) struct Mutant {
    /// The sound one, with the bounds of the search.
    pub(crate) raft: Raft,
    /// What a step does, also where it does not break a rule.
    pub(crate) step: Step,
    /// Actions that the rules would not allow.
    pub(crate) also: fn(&System<u8>) -> Vec<Action<u8>>,
    /// The one invariant that is looked at.
    pub(crate) check: Check,
}

/// The step of the rules.
pub(crate) fn follow_the_rules(system: &mut System<u8>, action: &Action<u8>) {
    system.apply(action).expect("what is enabled can be applied");
}

pub(crate) fn server(system: &mut System<u8>, id: ServerId) -> &mut Server<u8> {
    let server = system.servers.at_mut(id);
    server.expect("a server of the system")
}

impl Mutant {
    /// A shortest way to a violation, begun by `script`. The same search of the sound raft.tla, over as many steps as the
    /// way has, finds nothing: that is for `explorer.rs` and the counts to show.
    #[track_caller]
    pub(crate) fn hunt(self, script: &str) -> Found {
        let report = Search::new(self).after(Script::parse(script)).run().expect("the script is possible");
        match report.verdict {
            Verdict::Violated(found) => found,
            Verdict::Exhausted | Verdict::NotExhausted { .. } => panic!("the mutant was not found: {report}"),
        }
    }
}

impl TransitionSystem for Mutant {
    type State = Model<u8>;
    type Packed = PackedModel;
    type Action = Action<u8>;
    type Violation = Violation<u8>;

    fn initial(&self) -> Model<u8> {
        self.raft.initial()
    }

    fn append_actions(&self, model: &Model<u8>, actions: &mut Vec<Action<u8>>) {
        self.raft.append_actions(model, actions);
        for action in (self.also)(&model.system) {
            if !actions.contains(&action) {
                actions.push(action);
            }
        }
    }

    fn append_scripted_actions(&self, model: &Model<u8>, actions: &mut Vec<Action<u8>>) {
        self.raft.append_scripted_actions(model, actions);
    }

    fn step(&self, from: &Model<u8>, action: &Action<u8>, next: &mut Model<u8>) {
        next.clone_from(from);
        (self.step)(&mut next.system, action);
        // For searches that tell states apart by their histories, whose keys need them.
        self.raft.remember(from, action, next);
    }

    fn is_within(&self, model: &Model<u8>) -> bool {
        self.raft.is_within(model)
    }

    fn key(&self, model: &Model<u8>, key: &mut Vec<u8>) -> u64 {
        self.raft.key(model, key)
    }

    fn remember(&self, from: &Model<u8>, action: &Action<u8>, next: &mut Model<u8>) {
        self.raft.remember(from, action, next);
    }

    fn check_state(&self, model: &Model<u8>) -> Result<(), Violation<u8>> {
        (self.check)(model, model)
    }

    fn check_step(&self, from: &Model<u8>, next: &Model<u8>) -> Result<(), Violation<u8>> {
        (self.check)(from, next)
    }

    fn pack(&self, model: &Model<u8>) -> PackedModel {
        self.raft.pack(model)
    }

    fn unpack(&self, packed: &PackedModel, model: &mut Model<u8>) {
        self.raft.unpack(packed, model);
    }

    fn describe(&self, from: &Model<u8>, action: &Action<u8>) -> String {
        self.raft.describe(from, action)
    }

    fn show(&self, model: &Model<u8>) -> String {
        self.raft.show(model)
    }
}

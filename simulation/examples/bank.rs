//! A bank that replicates its accounts, and the test that it survives everything: copy both into your own crate.
//!
//! `cargo test -p outrigger-simulation --example bank`, or, for a thousand histories with figures,
//! `OUTRIGGER_SEEDS=1000 cargo run --release -p outrigger-simulation --example bank`

use std::collections::BTreeMap;

use outrigger::StateMachine;
use outrigger_simulation::{Rng, Seeds, run};
use serde::{Deserialize, Serialize};

/// What each account holds.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Bank {
    accounts: BTreeMap<String, u64>,
    /// All that was ever paid in: no transfer makes or loses money.
    paid_in: u64,
}

#[derive(Serialize, Deserialize)]
enum Command {
    PayIn { to: String, amount: u64 },
    Transfer { from: String, to: String, amount: u64 },
}

#[derive(Serialize, Deserialize)]
enum Refusal {
    /// There is no such account.
    NoAccount,
    /// It does not hold so much.
    TooLittle { balance: u64 },
}

impl StateMachine for Bank {
    type Command = Command;
    /// What the account that was paid from or into holds now.
    type Response = Result<u64, Refusal>;

    fn apply(&mut self, command: Command) -> Result<u64, Refusal> {
        let balance = match command {
            Command::PayIn { to, amount } => {
                self.paid_in += amount;
                self.credit(to, amount)
            }
            Command::Transfer { from, to, amount } => {
                let balance = self.accounts.get_mut(&from).ok_or(Refusal::NoAccount)?;
                *balance = balance.checked_sub(amount).ok_or(Refusal::TooLittle { balance: *balance })?;
                self.credit(to, amount);
                self.accounts[&from]
            }
        };
        // In a simulation a panic is reported with the command that led to it.
        assert_eq!(self.accounts.values().sum::<u64>(), self.paid_in, "money was made or lost");
        Ok(balance)
    }
}

impl Bank {
    fn credit(&mut self, to: String, amount: u64) -> u64 {
        let balance = self.accounts.entry(to).or_default();
        *balance += amount;
        *balance
    }
}

/// What a customer wants next.
fn wish(rng: &mut Rng) -> Command {
    if rng.chance(0.3) {
        return Command::PayIn { to: rng.key(5), amount: rng.number(1..100) };
    }
    Command::Transfer { from: rng.key(5), to: rng.key(5), amount: rng.number(1..100) }
}

fn survive() {
    run::<Bank>(Seeds::from_env(), |sim| {
        sim.cluster(5).crash(0.01).partition(0.02).torn_writes(0.01);
        sim.clients(8, wish);
        sim.check_linearizable();
    });
}

fn main() {
    survive();
}

#[test]
fn bank_survives_everything() {
    survive();
}

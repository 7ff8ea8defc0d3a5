//! The command line: verbs, where they find the cluster, and what their exit codes mean.
//!
//! ```text
//!   0  done                      3  not applied, or not answered: safe to try again
//!   1  absent or not equal;      4  unknown: it may have been applied, or may be yet
//!      for member: refused;
//!      for snapshot: not taken,
//!      not saved or restored;
//!      for transfer, elect: the
//!      node does not lead;
//!      for log: damaged, or not
//!      to be looked into;
//!      for serve and demo:
//!      failed
//!   2  usage: the command itself is wrong
//!   5  done, but the answer could not be printed
//! 130  interrupted: snapshot save and demo by a signal, serve by a second one
//! ```

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use outrigger::engine::Membership;
use outrigger::{Client, ClientError, Config, Outcome};
use outrigger_server::store::Store;

use crate::demo::Demo;

mod kv;
mod leadership;
mod log;
mod member;
mod progress;
pub(crate) mod serve;
mod snapshot;
mod status;

/// Where the endpoints come from when no flag names them.
const ENDPOINTS_VARIABLE: &str = "OUTRIGGER_ENDPOINTS";

const EXAMPLES: &str = "\
Examples:
  outrigger demo                                       a cluster of three on this machine, with a crash
  outrigger serve --id 1 --data-dir n1 --listen-peer 127.0.0.1:7101 --listen-client 127.0.0.1:7201 \\
      --initial-cluster 1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103
  export OUTRIGGER_ENDPOINTS=127.0.0.1:7201,127.0.0.1:7202,127.0.0.1:7203
  outrigger put city Oslo
  outrigger get city
  outrigger cas city Oslo Bergen
  outrigger status
  outrigger member list
  outrigger snapshot
  outrigger snapshot save monday.snapshot
  outrigger transfer 2
  outrigger elect 2
  outrigger priority 3 0
  outrigger log verify --data-dir n1                   # of a node that is stopped

Exit codes: 0 done, 1 absent, not equal or refused, 2 usage, 3 not applied or not answered (safe to try again),
4 unknown (the write may have been applied, or may be yet), 5 done, but the answer could not be printed.";

/// A replicated key-value store: a node, its client, and a demonstration in one program.
#[derive(Parser)]
#[command(name = "outrigger", version, after_help = EXAMPLES, subcommand_required = true)]
struct Cli {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Serve(Box<serve::Serve>),
    Put(kv::Put),
    Get(kv::Get),
    Del(kv::Delete),
    Cas(kv::CompareAndSwap),
    Status(status::Status),
    Member(member::Member),
    Snapshot(snapshot::Snapshot),
    Transfer(leadership::Transfer),
    Elect(leadership::Elect),
    Priority(leadership::Priority),
    Log(log::Log),
    Demo(Demo),
}

/// How to reach the cluster; may stand before the verb and behind it, where it wins.
#[derive(Args, Clone, Debug, Default)]
struct Reach {
    /// Client addresses of some nodes of the cluster; any that answers will do [env: OUTRIGGER_ENDPOINTS]
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    endpoints: Option<Vec<String>>,
    /// How long to try before giving up [default: 5s, and 60s to change members and for snapshots]
    #[arg(long, value_name = "DURATION", value_parser = patience)]
    timeout: Option<Duration>,
}

impl Reach {
    /// These, filled up by `outer`, the environment and the defaults.
    fn within(self, outer: &Self) -> Self {
        let from_environment = || {
            let list = std::env::var(ENDPOINTS_VARIABLE).ok()?;
            Some(list.split(',').map(str::to_owned).collect())
        };
        Self {
            endpoints: self.endpoints.or_else(|| outer.endpoints.clone()).or_else(from_environment),
            timeout: self.timeout.or(outer.timeout),
        }
    }

    fn endpoints(&self) -> Result<Vec<String>, Failure> {
        let listed = self.endpoints.iter().flatten().map(|endpoint| endpoint.trim().to_owned());
        let endpoints: Vec<String> = listed.filter(|endpoint| !endpoint.is_empty()).collect();
        if endpoints.is_empty() {
            let message = format!("no endpoint: say --endpoints HOST:PORT,... or set {ENDPOINTS_VARIABLE}");
            return Err(Failure::usage(message));
        }
        match endpoints.iter().find(|endpoint| !Config::is_address(endpoint)) {
            Some(wrong) => Err(Failure::usage(format!("endpoint `{wrong}` is not HOST:PORT, such as 127.0.0.1:7201"))),
            None => Ok(endpoints),
        }
    }

    fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(5))
    }

    async fn client(&self) -> Result<Client<Store>, Failure> {
        let client = Client::connect(self.endpoints()?).await.map_err(|error| Failure::of_client(&error))?;
        // Its session is of no use to anybody when the command has ended.
        Ok(client.with_timeout(self.timeout()).with_session_time_to_live(self.timeout() * SESSION_TIMES))
    }
}

/// A session of a command is kept for so many times its timeout: clocks may run at different speeds, and log time is the
/// leader's.
const SESSION_TIMES: u32 = 4;

/// A duration such as `5s` or `150ms`, above zero.
fn patience(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a timeout of 0 leaves no time to try; say 5s, for example".to_owned()),
        Ok(duration) if duration > PATIENCE_MAX => Err("the longest timeout is 365days".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// Nobody waits longer.
const PATIENCE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why a verb did not do what it was asked: the exit code, and a sentence for people.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Absent or not equal, and whatever else went wrong without being one of the others.
    pub(crate) fn plain(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// The command itself is wrong: trying again will not help.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// Certainly not applied; or a read, which changes nothing, without an answer.
    fn not_applied(message: impl Display) -> Self {
        Self { code: 3, message: message.to_string() }
    }

    /// Done, but nobody hears of it: a code of its own, because 1 would say that a `cas` was not equal.
    fn unprinted(error: &std::io::Error) -> Self {
        Self { code: 5, message: format!("done, but the answer cannot be written to standard output: {error}") }
    }

    /// Ended by a signal, with the code that shells give it.
    pub(crate) fn interrupted(message: impl Display) -> Self {
        Self { code: 130, message: message.to_string() }
    }

    /// What an error of the client says about the command.
    fn of_client(error: &ClientError) -> Self {
        let code = match error.outcome() {
            Outcome::NotApplied => 3,
            Outcome::Applied => 5,
            Outcome::Unknown => 4,
        };
        Self { code, message: error.to_string() }
    }

    fn report(&self) -> ExitCode {
        // Where even this cannot be said, the exit code still is.
        let _ = writeln!(std::io::stderr(), "outrigger: {}", self.message);
        ExitCode::from(self.code)
    }
}

/// Reads the command line, does what it says, and tells how it went.
pub(crate) fn run() -> ExitCode {
    let Cli { reach, verb } = Cli::parse();
    let mut builder = match verb {
        Verb::Serve(_) | Verb::Demo(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::plain(format_args!("cannot start the async runtime: {error}")).report(),
    };
    let outcome = runtime.block_on(run_verb(verb, &reach));
    // A name that still resolves on a blocking thread must not hold the exit up.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Writes to standard output, all at once.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Failure> {
    let mut text = Vec::new();
    write(&mut text)
        .and_then(|()| std::io::stdout().lock().write_all(&text))
        .and_then(|()| std::io::stdout().flush())
        .map_err(|error| Failure::unprinted(&error))
}

/// What the cluster was founded as, as it is printed; nothing before that.
fn founding(membership: &Membership) -> Option<String> {
    Some(membership.founding()).filter(|founding| founding.is_known()).map(|founding| founding.to_string())
}

async fn run_verb(verb: Verb, reach: &Reach) -> Result<(), Failure> {
    match verb {
        Verb::Serve(serve) => serve.run().await,
        Verb::Put(put) => put.run(reach).await,
        Verb::Get(get) => get.run(reach).await,
        Verb::Del(delete) => delete.run(reach).await,
        Verb::Cas(swap) => swap.run(reach).await,
        Verb::Status(status) => status.run(reach).await,
        Verb::Member(member) => member.run(reach).await,
        Verb::Snapshot(snapshot) => snapshot.run(reach).await,
        Verb::Transfer(transfer) => transfer.run(reach).await,
        Verb::Elect(elect) => elect.run(reach).await,
        Verb::Priority(priority) => priority.run(reach).await,
        Verb::Log(log) => log.run(),
        Verb::Demo(demo) => demo.run().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(endpoints: Option<&[&str]>) -> Reach {
        let endpoints = endpoints.map(|list| list.iter().map(|&endpoint| endpoint.to_owned()).collect());
        Reach { endpoints, timeout: None }
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn endpoints_stand_before_or_behind_the_verb_and_the_later_wins() {
        let cli = parse("outrigger --endpoints a:1,b:2 get k").unwrap();
        let Verb::Get(get) = cli.verb else { panic!("another verb") };
        assert_eq!(get.reach.within(&cli.reach).endpoints().unwrap(), ["a:1", "b:2"]);

        let cli = parse("outrigger --endpoints a:1 get k --endpoints c:3").unwrap();
        let Verb::Get(get) = cli.verb else { panic!("another verb") };
        assert_eq!(get.reach.within(&cli.reach).endpoints().unwrap(), ["c:3"]);
    }

    #[test]
    fn endpoints_that_are_none_are_usage_errors() {
        for (endpoints, part) in [
            (None, "no endpoint"),
            (Some(&[""][..]), "no endpoint"),
            (Some(&["a"]), "`a` is not HOST:PORT"),
            (Some(&["a:1", "b:0"]), "`b:0` is not HOST:PORT"),
            (Some(&[":7201"]), "`:7201` is not HOST:PORT"),
            (Some(&["a:70000"]), "`a:70000` is not HOST:PORT"),
            (Some(&["http://x:1"]), "`http://x:1` is not HOST:PORT"),
            (Some(&["a b:1"]), "`a b:1` is not HOST:PORT"),
            (Some(&["::1:7104"]), "`::1:7104` is not HOST:PORT"),
        ] {
            let failure = reach(endpoints).endpoints().unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        assert_eq!(reach(Some(&[" a:1 ", "[::1]:2"])).endpoints().unwrap(), ["a:1", "[::1]:2"]);
    }
}

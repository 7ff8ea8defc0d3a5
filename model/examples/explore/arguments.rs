//! The command line, read by hand: the model depends on nothing, not even to parse flags.

use outrigger_model::explore::Bounds;
use outrigger_model::{ServerId, ServerSet, extended};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Visits every state that raft.tla can reach within bounds, and prints a shortest way to a violated invariant. With
--extended the same for the extended model: batches, writes that are not durable at once, step-down, reads, configurations,
snapshots.

Usage: cargo run --release -p outrigger-model --example explore -- [OPTIONS]

Bounds (a state outside is generated, but neither counted as distinct nor searched further):
  --servers N        servers, 1 to 8                               [default: 2]
  --values N         values that clients may ask for: 1, 2, ...    [default: 1]
  --max-term N       last term; servers begin in term 1            [default: 2]
  --max-log N        entries in the longest log                    [default: 1]
  --max-messages N   messages in flight, no two of them equal      [default: 1]

Of the extended model:
  --extended         search it instead of raft.tla; --values, --max-messages, --symmetry and --histories are raft.tla's,
                     servers begin in term 0, of LIST below there is `restart` alone, which a script cannot take then either,
                     and steps that lead outside or change nothing are not generated
  --max-batch N      entries that a client asks for at once        [default: 1]
  --reads N          reads that clients ask for                    [default: 0]
  --configurations PATH  voters, and what they are changed to, by two majorities: `1:1,2` begins with server 1 as the only
                     voter, and server 2 may join it; `1,2:2,3:1` goes further
  --snapshots        servers install snapshots
  --leases           leaders confirm reads by lease
  --instant          writes are durable at once, and what is heard is counted at once; no less is found by it if servers do
                     not crash

What is searched:
  --symmetry         take states for one that differ in the names of servers only (up to 6 servers)
  --histories        tell states apart by their histories too: more states, and no way to one is left out
  --without LIST     actions never taken, by commas: restart, timeout, request-vote, append-entries, become-leader,
                     client-request, advance-commit-index, receive, duplicate, drop
  --script FILE      begin where the actions of FILE lead; a printed counter-example is such a file
  --prefix TEXT      the same with the actions themselves, `;` between them
  --max-states N     end after N distinct states, 1 or more, exhausted or not

Output:
  --output FORMAT    text or json (one object on one line)         [default: text]
  --quiet            no progress on standard error
  --help             print this text

Examples:
  explore --servers 2 --values 1 --max-term 2 --max-log 1 --max-messages 1
  explore --servers 3 --max-messages 2 --symmetry --max-states 20000000
  explore --servers 3 --max-term 3 --without restart,duplicate --prefix 'Timeout(s1); RequestVote(s1, s2)'
  explore --servers 3 --max-term 5 --without restart,duplicate,drop --script model/tests/scripts/figure_8.txt
  explore --extended --servers 2 --max-term 2 --max-log 2 --max-batch 2 --without restart
  explore --extended --servers 3 --max-term 2 --max-log 4 --configurations 1,2:2,3 --instant --without restart

The last line counts as TLC counts: generated=12861 distinct=1645 depth=28 violations=0

Exit code: 0 nothing is wrong and the bounds are exhausted, 1 a violation (printed before the last line),
           or the output cannot be written, 2 wrong usage, 3 nothing is wrong so far, but --max-states was reached first
";

/// What a search is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) bounds: Bounds,
    /// Whether the extended model is searched.
    pub(crate) is_extended: bool,
    /// The bounds that only the extended model has, as far as they were given.
    pub(crate) batch_max: Option<usize>,
    pub(crate) reads: Option<u64>,
    /// Voters, and what they are changed to.
    pub(crate) configurations: Option<Vec<ServerSet>>,
    pub(crate) has_snapshots: bool,
    pub(crate) has_leases: bool,
    pub(crate) is_instant: bool,
    pub(crate) has_symmetry: bool,
    pub(crate) has_histories: bool,
    /// Names of actions, as they were written.
    pub(crate) without: Vec<String>,
    pub(crate) script: Option<ScriptSource>,
    pub(crate) states_max: Option<u64>,
    pub(crate) is_json: bool,
    pub(crate) is_quiet: bool,
}

/// Where a script is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScriptSource {
    /// The name of a file.
    File(String),
    /// The script itself.
    Text(String),
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Help,
    Explore(Arguments),
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            bounds: Bounds { servers: 2, values: 1, term_max: 2, log_max: 1, messages_max: 1 },
            is_extended: false,
            batch_max: None,
            reads: None,
            configurations: None,
            has_snapshots: false,
            has_leases: false,
            is_instant: false,
            has_symmetry: false,
            has_histories: false,
            without: Vec::new(),
            script: None,
            states_max: None,
            is_json: false,
            is_quiet: false,
        }
    }
}

/// Reads the words after the program's name. A flag's value follows it as the next word, or after a `=`.
///
/// # Errors
/// What is wrong with which word, as a sentence.
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Request, String> {
    let mut arguments = Arguments::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (flag, attached) = match word.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        if matches!(flag.as_str(), "--help" | "-h") {
            return Ok(Request::Help);
        }
        if arguments.switch(&flag) {
            if attached.is_some() {
                return Err(format!("{flag} takes no value"));
            }
            continue;
        }
        arguments.set(&flag, || attached.or_else(|| words.next()).ok_or_else(|| format!("{flag} needs a value")))?;
    }
    Ok(Request::Explore(arguments))
}

impl Arguments {
    /// Turns on what `flag` stands for; `false` if it is no switch.
    fn switch(&mut self, flag: &str) -> bool {
        match flag {
            "--extended" => self.is_extended = true,
            "--symmetry" => self.has_symmetry = true,
            "--histories" => self.has_histories = true,
            "--quiet" => self.is_quiet = true,
            "--snapshots" => self.has_snapshots = true,
            "--leases" => self.has_leases = true,
            "--instant" => self.is_instant = true,
            _ => return false,
        }
        true
    }

    /// Sets what `flag` stands for to its value.
    fn set(&mut self, flag: &str, value: impl FnOnce() -> Result<String, String>) -> Result<(), String> {
        match flag {
            "--servers" => self.bounds.servers = number(flag, &value()?)?,
            "--values" => self.bounds.values = number(flag, &value()?)?,
            "--max-term" => self.bounds.term_max = number(flag, &value()?)?,
            "--max-log" => self.bounds.log_max = number(flag, &value()?)?,
            "--max-messages" => self.bounds.messages_max = number(flag, &value()?)?,
            "--max-batch" => self.batch_max = Some(number(flag, &value()?)?),
            "--reads" => self.reads = Some(number(flag, &value()?)?),
            "--configurations" => self.configurations = Some(path(flag, &value()?)?),
            "--max-states" => {
                let states_max = number(flag, &value()?)?;
                if states_max == 0 {
                    return Err("--max-states cannot be `0`: a search meets one state at least".into());
                }
                self.states_max = Some(states_max);
            }
            "--without" => self.without.extend(value()?.split(',').map(|name| name.trim().to_owned())),
            "--script" => self.script(ScriptSource::File(value()?))?,
            "--prefix" => self.script(ScriptSource::Text(value()?))?,
            "--output" => {
                self.is_json = match value()?.as_str() {
                    "json" => true,
                    "text" => false,
                    other => return Err(format!("--output cannot be `{other}`: text or json")),
                }
            }
            other => return Err(format!("unknown option `{other}`")),
        }
        Ok(())
    }

    /// The bounds of a search through the extended model.
    ///
    /// # Errors
    /// If something was asked for that only raft.tla has.
    pub(crate) fn extended_bounds(&self) -> Result<extended::Bounds, String> {
        let Bounds { servers, values, term_max, log_max, messages_max } = self.bounds;
        let usual = Self::default().bounds;
        if !(1..=8).contains(&servers) {
            return Err(format!("the number of servers cannot be {servers}: choose from 1 to 8"));
        }
        if self.has_symmetry || self.has_histories || (values, messages_max) != (usual.values, usual.messages_max) {
            return Err("--values, --max-messages, --symmetry and --histories do not go with --extended".into());
        }
        if let Some(other) = self.without.iter().find(|name| !name.eq_ignore_ascii_case("restart")) {
            return Err(format!("--without cannot be `{other}` with --extended: only `restart`"));
        }
        let outside = |voters: &ServerSet| voters.iter().any(|voter| !(1..=servers).contains(&voter.0));
        if self.configurations.iter().flatten().any(outside) {
            return Err(format!("--configurations cannot name others than the servers 1 to {servers}"));
        }
        let (restarts, snapshots, is_instant) = (self.without.is_empty(), self.has_snapshots, self.is_instant);
        let (batch_max, reads) = (self.batch_max.unwrap_or(1), self.reads.unwrap_or(0));
        let leases = self.has_leases;
        Ok(extended::Bounds { term_max, log_max, batch_max, reads, leases, restarts, snapshots, is_instant })
    }

    /// # Errors
    /// If something was asked for that only the extended model has.
    pub(crate) fn refuse_extended(&self) -> Result<(), String> {
        let switches = self.is_instant || self.has_snapshots || self.has_leases;
        match (self.batch_max, self.reads, &self.configurations, switches) {
            (None, None, None, false) => Ok(()),
            _ => Err(
                "--max-batch, --reads, --leases, --configurations, --snapshots and --instant go with --extended only"
                    .into(),
            ),
        }
    }

    fn script(&mut self, source: ScriptSource) -> Result<(), String> {
        match self.script.replace(source) {
            None => Ok(()),
            Some(_) => Err("--script and --prefix: a search begins in one place only".into()),
        }
    }
}

/// Sets of voters, none of them empty: `1,2:2,3`.
fn path(flag: &str, value: &str) -> Result<Vec<ServerSet>, String> {
    let voters = |set: &str| set.split(',').map(|id| number(flag, id.trim()).map(ServerId)).collect();
    value.split(':').map(voters).collect()
}

fn number<N: std::str::FromStr>(flag: &str, value: &str) -> Result<N, String> {
    value.replace('_', "").parse().map_err(|_| format!("{flag} cannot be `{value}`: a number is needed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Request, String> {
        parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn every_option_is_heard() {
        let line = "--servers 3 --values=2 --max-term 4 --max-log 5 --max-messages 6 --max-states 1_000 --symmetry \
                    --histories --quiet --without restart,duplicate --without drop --script story.txt --output json \
                    --extended --max-batch 7 --reads 8 --snapshots --leases --instant --configurations 1,2:3";
        let expected = Arguments {
            bounds: Bounds { servers: 3, values: 2, term_max: 4, log_max: 5, messages_max: 6 },
            is_extended: true,
            batch_max: Some(7),
            reads: Some(8),
            configurations: Some(vec![ServerSet::first(2), [ServerId(3)].into_iter().collect()]),
            has_snapshots: true,
            has_leases: true,
            is_instant: true,
            has_symmetry: true,
            has_histories: true,
            without: ["restart", "duplicate", "drop"].map(String::from).to_vec(),
            script: Some(ScriptSource::File("story.txt".into())),
            states_max: Some(1_000),
            is_json: true,
            is_quiet: true,
        };
        assert_eq!(parsed(line), Ok(Request::Explore(expected)));
        assert_eq!(parsed(""), Ok(Request::Explore(Arguments::default())));
    }

    #[test]
    fn help_comes_before_anything_else() {
        assert_eq!(parsed("--servers 3 --help --nonsense"), Ok(Request::Help));
        let options = ["--servers", "--prefix", "--max-states", "--output", "--without", "--histories"];
        assert!(options.iter().all(|option| HELP.contains(option)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = [
            ("--servers", "--servers needs a value"),
            ("--servers three", "--servers cannot be `three`: a number is needed"),
            ("--max-term -1", "--max-term cannot be `-1`: a number is needed"),
            ("--symmetry=yes", "--symmetry takes no value"),
            ("--configurations 1:", "--configurations cannot be ``: a number is needed"),
            ("--output xml", "--output cannot be `xml`: text or json"),
            ("--script a --prefix b", "--script and --prefix: a search begins in one place only"),
            ("--max-states 0", "--max-states cannot be `0`: a search meets one state at least"),
            ("three", "unknown option `three`"),
        ];
        for (line, sentence) in wrong {
            assert_eq!(parsed(line), Err(sentence.to_owned()), "{line}");
        }
    }
}

//! The verbs that change and read keys. Keys and values are bytes: what the shell passes goes in as it is.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use outrigger::{Client, ClientError, Consistency};
use outrigger_server::store::{
    Answer, Change, Command, Page, Query, RANGE_KEYS_MAX, Store, VALUE_BYTES_MAX, Versioned, check_key,
};

use super::{Failure, Reach, print};

/// Set a key
///
/// Prints the revision that the change made.
#[derive(Args)]
#[command(after_help = "Examples:
  outrigger --endpoints 127.0.0.1:7201,127.0.0.1:7202 put city Oslo
  outrigger put photo --stdin < photo.jpg      # a value too long for a command line")]
pub(super) struct Put {
    /// 1 to 4,096 bytes
    key: OsString,
    /// Up to 1,048,576 bytes; put `--` before values that begin with a dash
    #[arg(required_unless_present = "stdin")]
    value: Option<OsString>,
    /// Read the value from standard input
    #[arg(long, conflicts_with = "value")]
    stdin: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
}

impl Put {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let value = match self.value {
            Some(value) => bytes(value),
            None => read_value()?,
        };
        let command = Command::Put { key: bytes(self.key), value };
        change(command, &self.reach.within(outer)).await
    }
}

/// Print the value of a key
///
/// Exits with 1 when the key is absent.
#[derive(Args)]
#[command(after_help = "Examples:
  outrigger get city
  outrigger get --prefix user/        # every key that begins so, with its value
  outrigger get --consistency stale --staleness-max 500ms city
  outrigger get --local city          # one node's own state, which may be out of date")]
pub(super) struct Get {
    /// The key, or with --prefix what the keys begin with
    key: OsString,
    /// Print every key that begins with KEY, one `key<TAB>value` per line, in order
    #[arg(long)]
    prefix: bool,
    /// Ask one node for its own state, which may be out of date
    #[arg(long, conflicts_with_all = ["consistency", "age_max", "staleness_max"])]
    local: bool,
    /// How new the state must be: with all that was acknowledged before (the leader asks the others, or has a lease), or with what
    /// was some time ago
    #[arg(long, value_enum, default_value_t = Freshness::Linearizable)]
    consistency: Freshness,
    /// With `acknowledged`: how long ago the leader may have asked the others
    #[arg(long, value_name = "TIME", value_parser = age, required_if_eq("consistency", "acknowledged"))]
    age_max: Option<Duration>,
    /// With `stale`: how long ago the node that answers may have heard from the leader
    #[arg(long, value_name = "TIME", value_parser = age, required_if_eq("consistency", "stale"))]
    staleness_max: Option<Duration>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// How new the state must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Freshness {
    /// With all that was acknowledged before
    Linearizable,
    /// The same, as far as the clocks of the nodes keep within their bound
    Lease,
    /// With all that was acknowledged a while ago, see --age-max
    Acknowledged,
    /// With all that had come to the node that is asked a while ago, see --staleness-max
    Stale,
}

impl Get {
    /// How new the state must be; `None` for whatever one node has.
    fn consistency(&self) -> Result<Option<Consistency>, Failure> {
        let unused = match self.consistency {
            Freshness::Acknowledged => self.staleness_max.map(|_| ("--staleness-max", "stale")),
            Freshness::Stale => self.age_max.map(|_| ("--age-max", "acknowledged")),
            _ => self
                .age_max
                .map(|_| ("--age-max", "acknowledged"))
                .or(self.staleness_max.map(|_| ("--staleness-max", "stale"))),
        };
        if let Some((option, consistency)) = unused {
            return Err(Failure::usage(format_args!("{option} says nothing without --consistency {consistency}")));
        }
        let consistency = match self.consistency {
            Freshness::Linearizable => Consistency::Linearizable,
            Freshness::Lease => Consistency::Lease,
            Freshness::Acknowledged => Consistency::Acknowledged { age_max: self.age_max.unwrap_or_default() },
            Freshness::Stale => Consistency::Stale { staleness_max: self.staleness_max.unwrap_or_default() },
        };
        Ok((!self.local).then_some(consistency))
    }

    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let consistency = self.consistency()?;
        let reader = Reader { client: self.reach.within(outer).client().await?, consistency };
        let key = bytes(self.key);
        if self.prefix {
            return reader.print_prefix(&key).await;
        }
        check_key(&key).map_err(Failure::usage)?;
        let Some(versioned) = reader.value(key.clone()).await? else {
            return Err(Failure::plain(format_args!("no key `{}`", key.escape_ascii())));
        };
        print(|out| {
            out.write_all(&versioned.value)?;
            out.write_all(b"\n")
        })
    }
}

/// Delete a key
///
/// Prints the revision that the change made. Exits with 1 when the key is absent.
#[derive(Args)]
#[command(after_help = "Example:
  outrigger del city")]
pub(super) struct Delete {
    /// 1 to 4,096 bytes
    key: OsString,
    #[command(flatten)]
    reach: Reach,
}

impl Delete {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let command = Command::Delete { key: bytes(self.key) };
        change(command, &self.reach.within(outer)).await
    }
}

/// Set a key if it has the value that is expected
///
/// Prints the revision that the change made. Exits with 1 when the key is absent or has another value.
#[derive(Args)]
#[command(after_help = "Example:
  outrigger cas city Oslo Bergen      # Bergen, if it is Oslo")]
pub(super) struct CompareAndSwap {
    /// 1 to 4,096 bytes
    key: OsString,
    /// The value that the key must have
    old: OsString,
    /// The value that it gets, up to 1,048,576 bytes
    new: OsString,
    #[command(flatten)]
    reach: Reach,
}

impl CompareAndSwap {
    pub(super) async fn run(self, outer: &Reach) -> Result<(), Failure> {
        let (key, expected, value) = (bytes(self.key), Some(bytes(self.old)), bytes(self.new));
        let command = Command::CompareAndSwap { key, expected, value };
        change(command, &self.reach.within(outer)).await
    }
}

/// Sends one change and prints its revision.
async fn change(command: Command, reach: &Reach) -> Result<(), Failure> {
    command.check().map_err(Failure::usage)?;
    let response = reach.client().await?.write(command).await.map_err(|error| Failure::of_client(&error))?;
    match response.map_err(Failure::not_applied)? {
        Change::Done { revision } => print(|out| writeln!(out, "revision {revision}")),
        Change::Absent => Err(Failure::plain("nothing changed: the key is absent")),
        Change::NotEqual { revision } => {
            let message = format!("nothing changed: the key has another value, set by revision {revision}");
            Err(Failure::plain(message))
        }
        other => Err(Failure::plain(format_args!("this client is too old to understand the answer {other:?}"))),
    }
}

/// Asks, either for what is true now or for what some node knows.
struct Reader {
    client: Client<Store>,
    /// `None` for whatever one node has.
    consistency: Option<Consistency>,
}

impl Reader {
    async fn ask(&self, query: Query) -> Result<Answer, Failure> {
        let answered = match self.consistency {
            Some(consistency) => self.client.query_with(consistency, query).await,
            None => self.client.query_local(query).await.map(|answered| answered.answer),
        };
        // A read changes nothing, however it fails.
        answered.map_err(|error: ClientError| Failure::not_applied(error))
    }

    async fn value(&self, key: Bytes) -> Result<Option<Versioned>, Failure> {
        match self.ask(Query::Get { key }).await? {
            Answer::Value(value) => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    async fn page(&self, prefix: Bytes, after: Option<Bytes>) -> Result<Page, Failure> {
        match self.ask(Query::Range { prefix, after, limit: RANGE_KEYS_MAX }).await? {
            Answer::Page(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// Page after page: each is true when it is read, the whole is not one moment.
    async fn print_prefix(&self, prefix: &Bytes) -> Result<(), Failure> {
        let mut page = self.page(prefix.clone(), None).await?;
        if page.entries.is_empty() {
            return Err(Failure::plain(format_args!("no key begins with `{}`", prefix.escape_ascii())));
        }
        loop {
            print(|out| page.entries.iter().try_for_each(|(key, entry)| write_line(out, key, &entry.value)))?;
            match page.entries.last() {
                Some((last, _)) if page.more => page = self.page(prefix.clone(), Some(last.clone())).await?,
                _ => return Ok(()),
            }
        }
    }
}

fn write_line(out: &mut dyn Write, key: &[u8], value: &[u8]) -> std::io::Result<()> {
    out.write_all(key)?;
    out.write_all(b"\t")?;
    out.write_all(value)?;
    out.write_all(b"\n")
}

/// A duration such as `500ms`; 0s too.
fn age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn unexpected(answer: &Answer) -> Failure {
    Failure::plain(format_args!("the node answered another question: {answer:?}"))
}

fn bytes(argument: OsString) -> Bytes {
    argument.into_encoded_bytes().into()
}

/// The whole of standard input, or as much of it as shows that it is too long.
fn read_value() -> Result<Bytes, Failure> {
    let mut value = Vec::new();
    let bytes_max = u64::try_from(VALUE_BYTES_MAX).expect("a limit fits 64 bits");
    let read = std::io::stdin().take(bytes_max + 1).read_to_end(&mut value);
    read.map_err(|error| Failure::usage(format_args!("cannot read the value from standard input: {error}")))?;
    Ok(value.into())
}

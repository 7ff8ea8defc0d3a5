//! Directories that begin with a snapshot: whole or not there, whatever interrupts it, and never in the place of another.

mod meddled;
mod workload;

use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use meddled::{Before, Meddled};
use outrigger_log::{
    Access, Disk, DiskFile, FaultyDisk, FoundError, GroupId, Inspection, Log, LogPosition, OpenError, OpenOptions,
    Record, Snapshot, Snapshots, found, verify,
};
use workload::{directory, tiny};

const POSITION: LogPosition = LogPosition { term: 3, index: 90 };
const SEGMENT: u64 = 8 << 10;

fn make(disk: &FaultyDisk, body: &[u8]) -> Result<Snapshot, FoundError> {
    let mut body = body;
    found(disk, directory(), &tiny(SEGMENT), POSITION, Bytes::from_static(b"members"), &mut body)
}

/// Opens log and snapshots; the body of the snapshot.
fn start(disk: &FaultyDisk) -> Result<Option<Vec<u8>>, OpenError> {
    let log = Log::open(disk.clone(), directory(), tiny(SEGMENT))?;
    let snapshots = Snapshots::open(disk.clone(), directory(), log.identity().cluster).unwrap();
    let Some(newest) = snapshots.newest() else { return Ok(None) };
    assert_eq!((newest.id.position, newest.head), (POSITION, Bytes::from_static(b"members")));
    let mut body = Vec::new();
    snapshots.reader(newest.id).unwrap().body().read_to_end(&mut body).unwrap();
    Ok(Some(body))
}

#[test]
fn two_directories_of_the_same_body_differ_in_their_identity_only() {
    let (one, other) = (FaultyDisk::new(), FaultyDisk::new());
    let built = make(&one, b"state").unwrap();
    let options = OpenOptions { node: 2, incarnation: 5, ..tiny(SEGMENT) };
    let again = found(&other, directory(), &options, POSITION, "members".into(), &mut &b"state"[..]).unwrap();
    assert_eq!(built, again);
    assert!(!one.files().contains_key(&directory().join("restore.new")));
    assert_eq!(verify(&one, directory(), &mut |_| {}).unwrap().damage, []);
    assert_eq!(start(&one).unwrap().unwrap(), b"state");
    let log = Log::open(other, directory(), OpenOptions { nonce: 9, ..options }).unwrap();
    assert_eq!((log.identity().node, log.identity().incarnation, log.identity().start), (2, 5, 1));
    assert_eq!(log.group(GroupId(0)), None);
}

#[test]
fn a_crash_at_any_step_leaves_nothing_to_start_from_or_all_and_it_can_be_done_again() {
    let (mut unfinished, mut complete) = (0, 0);
    for step in 0..80 {
        for seed in 0..6 {
            let disk = FaultyDisk::new();
            disk.power_off_after(step);
            let made = make(&disk, b"state");
            disk.crash(seed);
            let story = format!("step {step}, seed {seed}");
            let crashed = disk.fork();
            match start(&disk) {
                Ok(Some(body)) => {
                    assert_eq!(body, b"state", "{story}");
                    complete += 1;
                    let again = make(&disk, b"state");
                    assert!(matches!(again, Err(FoundError::Occupied { .. })), "{story}: {again:?}");
                }
                Err(OpenError::Unfinished { .. }) => unfinished += 1,
                // Before the first step was durable there is nothing, as on any new disk.
                Ok(None) => assert!(crashed.files().keys().all(|name| name.ends_with("lock")), "{story}"),
                Err(error) => panic!("{story}: {error}"),
            }
            assert!(made.is_err() || start(&crashed.fork()).unwrap().is_some(), "{story}: it was said to be made");
            let expected = match make(&crashed, b"once more") {
                Ok(_) => &b"once more"[..],
                // It was complete, and only that nobody had been told.
                Err(FoundError::Occupied { .. }) => b"state",
                Err(error) => panic!("{story}: {error}"),
            };
            assert_eq!(start(&crashed).unwrap().unwrap(), expected, "{story}");
        }
    }
    assert!(unfinished > 50 && complete > 10, "{unfinished} unfinished, {complete} complete");
}

#[test]
fn what_a_directory_holds_is_left_as_it_is() {
    let disk = FaultyDisk::new();
    let mut log = Log::open(disk.clone(), directory(), tiny(SEGMENT)).unwrap();
    log.append(GroupId(0), Record::Vote { term: 1, voted_for: None }).unwrap();
    log.flush().unwrap();
    let running = make(&disk, b"state");
    assert!(matches!(running, Err(FoundError::Occupied { .. })), "{running:?}");
    drop(log);
    for there in ["identity", "letter"] {
        let disk = if there == "identity" { disk.fork() } else { FaultyDisk::new() };
        if there != "identity" {
            disk.create_directory(directory()).unwrap();
            disk.create(&directory().join(there)).unwrap();
        }
        let before = disk.files();
        assert!(matches!(make(&disk, b"state"), Err(FoundError::Occupied { .. })), "{there}");
        assert_eq!(disk.files(), before, "{there}");
    }
}

#[test]
fn a_body_that_cannot_be_read_or_written_leaves_nothing_to_start_from() {
    struct Broken(u32);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            buffer.fill(1);
            if self.0 < 4 { Ok(buffer.len()) } else { Err(io::Error::other("rotten")) }
        }
    }
    let disk = FaultyDisk::new();
    let failed = found(&disk, directory(), &tiny(SEGMENT), POSITION, Bytes::new(), &mut Broken(0));
    assert!(matches!(&failed, Err(FoundError::Body(error)) if error.to_string() == "rotten"), "{failed:?}");
    assert!(matches!(start(&disk), Err(OpenError::Unfinished { .. })));
    assert!(matches!(Inspection::open(disk.clone(), directory()), Err(OpenError::Unfinished { .. })));

    disk.limit_bytes(Some(4_000));
    let full = make(&disk, &[7; 100_000]);
    assert!(matches!(&full, Err(FoundError::Snapshot(error)) if error.is_full()), "{full:?}");
    disk.limit_bytes(None);
    make(&disk, b"state").unwrap();
    assert_eq!(start(&disk).unwrap().unwrap(), b"state");
}

#[test]
fn a_directory_that_somebody_else_makes_is_locked() {
    let disk = FaultyDisk::new();
    disk.create_directory(directory()).unwrap();
    let lock = disk.lock(&directory().join("lock")).unwrap();
    assert!(matches!(make(&disk, b"state"), Err(FoundError::Open(OpenError::Locked { .. }))));
    drop(lock);
    make(&disk, b"state").unwrap();
    let file = disk.open(Path::new("/log/identity"), Access::Read).unwrap();
    assert_eq!(file.length().unwrap(), 60);
}

#[test]
fn what_somebody_else_has_made_before_the_directory_was_locked_is_left_as_it_is() {
    let disk = FaultyDisk::new();
    let meddled = Meddled::new(disk.clone());
    let other = disk.clone();
    meddled.once(Before::Lock, move || drop(make(&other, b"theirs").unwrap()));
    let (options, body) = (tiny(SEGMENT), &mut &b"ours"[..]);
    let made = found(&meddled, directory(), &options, POSITION, Bytes::from_static(b"members"), body);
    assert!(matches!(made, Err(FoundError::Occupied { .. })), "{made:?}");
    assert_eq!(start(&disk).unwrap().unwrap(), b"theirs");
}

#[test]
fn options_that_cannot_be_leave_no_directory() {
    let disk = FaultyDisk::new();
    let options = OpenOptions { segment_bytes: 1_000, ..tiny(SEGMENT) };
    let made = found(&disk, directory(), &options, POSITION, "members".into(), &mut &b""[..]);
    assert!(matches!(made, Err(FoundError::Open(OpenError::InvalidOptions { .. }))), "{made:?}");
    assert_eq!(disk.counts().operations, 0);
}

#[test]
fn a_snapshot_of_an_earlier_call_does_not_stand_in_the_way_though_it_is_newer() {
    let disk = FaultyDisk::new();
    disk.create_directory(directory()).unwrap();
    disk.create(&directory().join("restore.new")).unwrap();
    let snapshots = Snapshots::open(disk.clone(), directory(), 7).unwrap();
    let newer = LogPosition { index: POSITION.index + 1, ..POSITION };
    snapshots.build(newer, Bytes::new()).unwrap().finish().unwrap();
    drop(snapshots);
    make(&disk, b"state").unwrap();
    assert_eq!(start(&disk).unwrap().unwrap(), b"state");
}

#[test]
fn a_log_that_was_started_is_left_as_it_is_though_the_mark_is_there() {
    let disk = FaultyDisk::new();
    make(&disk, b"state").unwrap();
    start(&disk).unwrap();
    disk.create(&directory().join("restore.new")).unwrap();
    let before = disk.files();
    let again = make(&disk, b"other");
    assert!(matches!(&again, Err(FoundError::Occupied { found, .. }) if found == "identity"), "{again:?}");
    assert_eq!(disk.files(), before);
}

/// The identity alone would make a log of what is left, and an empty one.
#[test]
fn a_crash_of_a_call_that_begins_anew_never_leaves_an_identity_without_its_snapshot() {
    let mut begun = 0;
    for step in 0..80 {
        let half = FaultyDisk::new();
        half.power_off_after(step);
        let _ = make(&half, b"state");
        half.crash_with(&mut |_| 0);
        let has = |name: &str| half.files().contains_key(&directory().join(name));
        if !has("restore.new") || !has("identity") {
            continue;
        }
        begun += 1;
        let whole = half.fork();
        make(&whole, b"another").unwrap();
        assert_eq!(start(&whole).unwrap().unwrap(), b"another");
        for again in 0..80 {
            for seed in 0..6 {
                let disk = half.fork();
                disk.power_off_after(again);
                let made = make(&disk, b"state");
                disk.crash(seed);
                match start(&disk) {
                    Ok(body) => assert_eq!(body.unwrap_or_default(), b"state", "steps {step}, {again}, seed {seed}"),
                    Err(error) => assert!(made.is_err() && matches!(error, OpenError::Unfinished { .. }), "{error}"),
                }
            }
        }
    }
    assert!(begun > 0);
}

#[test]
fn a_body_whose_reading_is_interrupted_is_read_on() {
    struct Interrupted<'a>(&'a [u8], bool);

    impl Read for Interrupted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(buffer) }
        }
    }

    let disk = FaultyDisk::new();
    let mut body = Interrupted(b"state", false);
    found(&disk, directory(), &tiny(SEGMENT), POSITION, "members".into(), &mut body).unwrap();
    assert_eq!(start(&disk).unwrap().unwrap(), b"state");
}

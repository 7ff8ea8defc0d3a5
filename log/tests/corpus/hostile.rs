//! Bytes that nobody wrote, where the log expects its own: whatever they are, it must refuse, cut or read them.
//!
//! ```text
//!   segment   the bytes are the whole file of a segment
//!   records   the bytes are groups, records and footers; all checksums are mended, so that their content is believed
//!   identity  the bytes are the file `identity`, or the mark of a refusal
//!   snapshot  the bytes are the file of a snapshot, or of a reception that is to be resumed
//! ```
//!
//! Shared by the fuzzers and by the test of their corpus. Nothing is asserted of *what* is answered to garbage but that
//! it is the same again after the next start, that nothing panics, and that no file makes the log ask for more memory
//! than the file has bytes.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use outrigger_log::{
    Access, Disk, DiskFile, FaultyDisk, FaultyFile, FaultyLock, GroupId, GroupState, Log, LogPosition, OpenError,
    OpenOptions, Record, Snapshot, SnapshotError, SnapshotId, Snapshots,
};

/// More is cut off: every layout has room within.
const INPUT_BYTES_MAX: usize = 32 << 10;
const SECTOR: usize = 512;
const GROUP_HEADER: usize = 64;
const RECORD_HEADER: usize = 48;
const FOOTER: u8 = 7;
/// What is left free behind the groups, so that something can be appended.
const FREE_BYTES: usize = 4 * SECTOR;
const INCARNATION: u64 = 0xfeed;
/// That of segment 1: it was made by no start.
const GENERATION: u64 = 0;
/// Behind this no index is appended: a log may end at the last number that there is.
const INDEX_MAX: u64 = u64::MAX - 8;

const CLUSTER: u64 = 7;
/// More of a snapshot is cut off: two blocks, and a part of a third.
const SNAPSHOT_BYTES_MAX: usize = 160 << 10;
const POSITION: LogPosition = LogPosition { term: 2, index: 9 };
const SNAPSHOT_NAME: &str = "snapshot-00000000000000000009-00000000000000000002";
const HEADER: usize = 64;
const BLOCK: usize = 64 << 10;
const END: usize = 40;

fn directory() -> &'static Path {
    Path::new("/log")
}

fn file(name: &str) -> PathBuf {
    directory().join(name)
}

fn options() -> OpenOptions {
    OpenOptions { segment_bytes: 4_096, ..OpenOptions::new(CLUSTER, 1, INCARNATION, 0xbeef) }
}

/// A disk that lets nobody ask for more bytes than a file has: who asks has allocated them.
#[derive(Clone)]
struct Sparing(FaultyDisk);

struct SparingFile(FaultyFile);

impl Disk for Sparing {
    type File = SparingFile;
    type Lock = FaultyLock;

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.0.create_directory(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.0.list(directory)
    }

    fn create(&self, path: &Path) -> io::Result<SparingFile> {
        self.0.create(path).map(SparingFile)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<SparingFile> {
        self.0.open(path, access).map(SparingFile)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.0.sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<FaultyLock> {
        self.0.lock(path)
    }

    fn lock_directory(&self, directory: &Path) -> io::Result<FaultyLock> {
        self.0.lock_directory(directory)
    }
}

impl DiskFile for SparingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let length = self.length()?.max(SECTOR as u64);
        assert!(buffer.len() as u64 <= length, "{} bytes are asked for, and {length} are there", buffer.len());
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

/// An empty log, closed, with these bytes in one of its files.
fn planted(name: &str, bytes: &[u8]) -> FaultyDisk {
    static EMPTY: OnceLock<FaultyDisk> = OnceLock::new();
    let empty = EMPTY.get_or_init(|| {
        let disk = FaultyDisk::new();
        drop(Log::open(disk.clone(), directory(), options()).expect("a new log"));
        disk
    });
    let disk = empty.fork();
    plant(&disk, name, bytes);
    disk
}

fn plant(disk: &FaultyDisk, name: &str, bytes: &[u8]) {
    let planted = disk.create(&file(name)).expect("a disk without faults");
    planted.write_all_at(bytes, 0).expect("a disk without faults");
    planted.sync_all().expect("a disk without faults");
    disk.sync_directory(directory()).expect("a disk without faults");
}

fn name_of_segment(sequence: u64) -> String {
    format!("{sequence:020}.segment")
}

/// The bytes are the whole file of the only segment. Answers whether the log was opened.
pub fn segment(input: &[u8]) -> bool {
    let input = input.get(..INPUT_BYTES_MAX).unwrap_or(input);
    open_and_use(&planted(&name_of_segment(1), input))
}

/// The bytes are what stands between the first sector and the trailer of a segment, but for its checksums. A group with
/// a footer makes it a sealed one. Answers whether the log was opened.
pub fn records(input: &[u8]) -> bool {
    let input = input.get(..INPUT_BYTES_MAX).unwrap_or(input);
    let (mut body, footer) = mended(input);
    body.resize(body.len() + FREE_BYTES, 0);
    let length = SECTOR + body.len() + SECTOR;
    let mut image = segment_header(1, length);
    image.extend_from_slice(&body);
    image.extend_from_slice(&footer.map_or_else(|| vec![0; SECTOR], trailer));
    let disk = planted(&name_of_segment(1), &image);
    if footer.is_some() {
        let mut next = segment_header(2, 8 * SECTOR);
        next.resize(8 * SECTOR, 0);
        plant(&disk, &name_of_segment(2), &next);
    }
    open_and_use(&disk)
}

/// The first byte chooses the file, and whether its checksum is mended; the others are its bytes. Answers whether the
/// log was opened.
pub fn identity(input: &[u8]) -> bool {
    let Some((choice, bytes)) = input.get(..INPUT_BYTES_MAX).unwrap_or(input).split_first() else { return false };
    let mut bytes = bytes.to_vec();
    if choice & 2 != 0
        && let Some(end) = bytes.len().checked_sub(4)
    {
        let checksum = crc32c::crc32c(&bytes[..end]);
        bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    }
    open_and_use(&planted(if choice & 1 == 0 { "identity" } else { "refused" }, &bytes))
}

/// The first byte chooses the file, and how much of it is mended; the others are its bytes. Answers whether the snapshot was
/// opened, or something of the reception is held.
pub fn snapshot(input: &[u8]) -> bool {
    let Some((choice, bytes)) = input.get(..SNAPSHOT_BYTES_MAX).unwrap_or(input).split_first() else { return false };
    let mut bytes = bytes.to_vec();
    if choice & 2 != 0 {
        mend_snapshot(&mut bytes);
    }
    if choice & 4 != 0 && bytes.len() >= HEADER + END {
        let end = bytes.len() - END;
        mend_checksum(&mut bytes[..HEADER]);
        mend_checksum(&mut bytes[end..]);
    }
    let disk = FaultyDisk::new();
    drop(Snapshots::open(disk.clone(), directory(), CLUSTER).expect("a new directory"));
    let name = if choice & 1 == 0 { SNAPSHOT_NAME } else { "receiving" };
    let planted = disk.create(&file("snapshots").join(name)).expect("a disk without faults");
    planted.write_all_at(&bytes, 0).expect("a disk without faults");
    if choice & 1 == 0 { read_snapshot(&disk) } else { resume_reception(&disk, &bytes) }
}

fn open_snapshots(disk: &FaultyDisk) -> Result<Snapshots<Sparing>, SnapshotError> {
    Snapshots::open(Sparing(disk.clone()), directory(), CLUSTER)
}

/// Opens the snapshot, reads all of it in two ways, and replaces it.
fn read_snapshot(disk: &FaultyDisk) -> bool {
    let before = disk.files();
    let snapshots = match open_snapshots(disk) {
        Ok(snapshots) => snapshots,
        Err(error) => {
            assert!(!matches!(error, SnapshotError::Disk(_)), "the disk is without faults: {error}");
            let _ = error.to_string();
            assert_eq!(disk.files(), before, "changed, though refused: {error}");
            return false;
        }
    };
    let newest = snapshots.newest().expect("it has the name of one");
    let (reader, mut body) = (snapshots.reader(newest.id).expect("the newest"), Vec::new());
    if reader.body().read_to_end(&mut body).is_ok() {
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&newest.head), &body);
        assert_eq!((body.len() as u64, checksum), (newest.id.bytes, newest.id.checksum), "what was read to the end");
        for offset in [0, 1, body.len() / 2, body.len()] {
            let found = reader.read_at(offset as u64, usize::MAX).expect("all of it was read");
            assert_eq!(found, body.get(offset..).unwrap_or_default(), "from {offset}");
        }
    }
    drop(snapshots);
    let snapshots = open_snapshots(disk).expect("it was opened before");
    assert_eq!(snapshots.newest().as_ref(), Some(&newest), "the second start finds something else");
    let position = LogPosition { index: newest.id.position.index + 1, ..newest.id.position };
    let mut build = snapshots.build(position, Bytes::new()).expect("a newer one");
    build.write_all(b"more").expect("a disk without faults");
    let built = build.finish().expect("a disk without faults");
    drop(snapshots);
    assert_eq!(open_snapshots(disk).expect("it was built").newest(), Some(built));
    true
}

/// Announces what the file says that it is, as well as that can be told, and goes on with it.
fn resume_reception(disk: &FaultyDisk, bytes: &[u8]) -> bool {
    let Ok(snapshots) = open_snapshots(disk) else { return false };
    let word =
        |at: usize| bytes.get(at..at + 8).map_or(0, |word| u64::from_le_bytes(word.try_into().unwrap_or([0; 8])));
    let half = |at: usize| u32::try_from(word(at) & 0xffff_ffff).unwrap_or(0);
    let head_bytes = usize::try_from(half(52)).unwrap_or(usize::MAX);
    let head = bytes.get(HEADER..).and_then(|rest| rest.get(..head_bytes)).unwrap_or_default();
    let position = LogPosition { term: word(24), index: word(32) };
    let id = SnapshotId { position, bytes: word(40), checksum: half(48) };
    let announced = Snapshot { id, head: Bytes::copy_from_slice(head) };
    let mut receiver = match snapshots.receive(announced.clone()) {
        Ok(receiver) => receiver,
        Err(error) => {
            assert!(matches!(error, SnapshotError::TooLarge { .. }), "{error}");
            return false;
        }
    };
    let held = receiver.held();
    assert!(held <= id.bytes && held <= bytes.len() as u64, "{held} bytes are held of {}", bytes.len());
    let lacking = usize::try_from((id.bytes - held).min(100)).unwrap_or(0);
    assert_eq!(receiver.write(held, &vec![0; lacking]).expect("a disk without faults"), held + lacking as u64);
    match receiver.finish() {
        Ok(received) => assert_eq!((&received, snapshots.newest()), (&announced, Some(announced.clone()))),
        Err(SnapshotError::Incomplete { .. } | SnapshotError::NotAsAnnounced { .. }) => {
            assert_eq!(snapshots.newest(), None);
        }
        Err(error) => panic!("{error}"),
    }
    held > 0
}

/// Makes the bytes a whole snapshot, whose head is as long as its field says, if that can be.
fn mend_snapshot(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().max(HEADER + END), 0);
    let room = bytes.len() - HEADER - END;
    let head = usize::try_from(word(bytes, 52)).unwrap_or(usize::MAX).min(room);
    // A block has one byte at least, behind which its checksum stands.
    let last = (room - head) % (BLOCK + 4);
    if (1..=4).contains(&last) {
        bytes.resize(bytes.len() + 5 - last, 0);
    }
    let end = bytes.len() - END;
    let (beginning, rest) = bytes.split_at_mut(HEADER + head);
    let mut whole = crc32c::crc32c(&beginning[HEADER..]);
    let head_checksum = whole;
    let mut body = 0;
    for (number, stored) in rest[..end - HEADER - head].chunks_mut(BLOCK + 4).enumerate() {
        let (data, sum) = stored.split_at_mut(stored.len() - 4);
        whole = crc32c::crc32c_append(whole, data);
        let mut binding = [POSITION.term, POSITION.index, number as u64].map(u64::to_le_bytes).concat();
        binding.extend_from_slice(&u32::try_from(data.len()).unwrap_or(0).to_le_bytes());
        sum.copy_from_slice(&crc32c::crc32c_append(crc32c::crc32c(data), &binding).to_le_bytes());
        body += data.len() as u64;
    }
    let mut id = [POSITION.term, POSITION.index, body].map(u64::to_le_bytes).concat();
    id.extend_from_slice(&whole.to_le_bytes());
    bytes[..16].copy_from_slice(b"OUTRSNAP\x01\0\0\0\0\0\0\0");
    bytes[16..24].copy_from_slice(&CLUSTER.to_le_bytes());
    bytes[24..52].copy_from_slice(&id);
    bytes[52..56].copy_from_slice(&u32::try_from(head).unwrap_or(0).to_le_bytes());
    bytes[56..60].copy_from_slice(&head_checksum.to_le_bytes());
    mend_checksum(&mut bytes[..HEADER]);
    bytes[end..end + 8].copy_from_slice(b"OUTRSNEN");
    bytes[end + 8..end + 36].copy_from_slice(&id);
    mend_checksum(&mut bytes[end..]);
}

/// Puts the checksum of all that is before it into the last four bytes.
fn mend_checksum(bytes: &mut [u8]) {
    let (checked, sum) = bytes.split_at_mut(bytes.len() - 4);
    sum.copy_from_slice(&crc32c::crc32c(checked).to_le_bytes());
}

/// Opens the log, reads all that it has, appends to it, and opens it again.
fn open_and_use(disk: &FaultyDisk) -> bool {
    let open = || Log::open(Sparing(disk.clone()), directory(), options());
    let before = disk.files();
    let mut log = match open() {
        Ok(log) => log,
        Err(error) => {
            assert!(!matches!(error, OpenError::Disk(_)), "the disk is without faults: {error}");
            let _ = error.to_string();
            assert_eq!(disk.files(), before, "changed, though refused: {error}");
            return false;
        }
    };
    let groups: Vec<(GroupId, GroupState)> = states(&log);
    let intact = read_all(&log, &groups);
    drop(log);
    log = open().expect("it was opened before");
    assert_eq!(states(&log), groups, "the second start finds something else");
    assert_eq!(log.cut(), None, "what was cut once is cut");
    for (group, state) in &groups {
        let (last, payloads) = (state.last, [Bytes::from_static(b"more")]);
        if state.vote.term < u64::MAX {
            log.append(*group, Record::Vote { term: state.vote.term + 1, voted_for: Some(1) }).expect("not poisoned");
        }
        if last.index < INDEX_MAX {
            let run = Record::Entries {
                term: last.term,
                first: last.index + 1,
                log_time: 0,
                payloads: &payloads,
                marked: true,
            };
            log.append(*group, run).expect("not poisoned");
        }
    }
    log.flush().expect("a disk without faults");
    log.mark().expect("a disk without faults");
    log.preparer().prepare().expect("a disk without faults");
    let appended = states(&log);
    assert!(!intact || read_all(&log, &appended), "what was intact is no more");
    drop(log);
    assert_eq!(states(&open().expect("it was opened before")), appended, "what was appended");
    true
}

fn states(log: &Log<Sparing>) -> Vec<(GroupId, GroupState)> {
    log.groups().filter_map(|group| Some((group, log.group(group)?.clone()))).collect()
}

/// Reads every entry, in small and in large pieces: whether all of them are intact.
fn read_all(log: &Log<Sparing>, groups: &[(GroupId, GroupState)]) -> bool {
    let reader = log.reader();
    for (group, state) in groups {
        let Some(next) = state.purged.index.checked_add(1).filter(|next| *next <= state.last.index) else { continue };
        for bytes_max in [0, 100, usize::MAX] {
            if let Ok(runs) = reader.entries(*group, next, state.last.index, bytes_max) {
                assert_eq!(runs.first().map(|run| run.first), Some(next), "the first that was asked for");
            }
        }
        assert!(
            reader.entries(*group, state.last.index, state.last.index, 0).is_ok_and(|runs| runs.len() == 1)
                || reader.verify().is_err()
        );
    }
    reader.verify().is_ok()
}

/// The bytes in whole sectors, with the magic, the place and the checksum of every group and record that they could be;
/// and where the footer is, if there is one.
fn mended(input: &[u8]) -> (Vec<u8>, Option<(usize, usize)>) {
    let mut body = input.to_vec();
    body.resize(body.len().div_ceil(SECTOR).max(2) * SECTOR, 0);
    let (mut at, mut footer) = (0, None);
    while body.len() - at >= SECTOR && body[at..at + GROUP_HEADER].iter().any(|&byte| byte != 0) {
        let offset = SECTOR + at;
        let claimed = usize::try_from(word(&body, at + 8)).unwrap_or(usize::MAX);
        let bytes = claimed.min(body.len() - at - GROUP_HEADER);
        let first = at + GROUP_HEADER;
        let records = mend_records(&mut body[..first + bytes], first);
        let group = &mut body[at..first];
        group[..8].copy_from_slice(b"OUTRGRUP");
        group[8..12].copy_from_slice(&u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes());
        group[12..16].copy_from_slice(&records.to_le_bytes());
        group[16..24].copy_from_slice(&1_u64.to_le_bytes());
        group[24..32].copy_from_slice(&GENERATION.to_le_bytes());
        group[32..40].copy_from_slice(&(offset as u64).to_le_bytes());
        let checksum = crc32c::crc32c(&group[..60]);
        group[60..].copy_from_slice(&checksum.to_le_bytes());
        let end = at + (GROUP_HEADER + bytes).div_ceil(SECTOR) * SECTOR;
        if bytes >= RECORD_HEADER && body[first + 8] == FOOTER && records == 1 {
            footer = Some((offset, end - at));
        }
        at = end;
    }
    (body, footer)
}

/// Mends the checksums of the records from `at` to the end of the bytes; answers how many there are.
fn mend_records(body: &mut [u8], mut at: usize) -> u32 {
    let mut records = 0;
    while body.len() - at >= RECORD_HEADER {
        let length = usize::try_from(word(body, at)).unwrap_or(usize::MAX).clamp(RECORD_HEADER, body.len() - at);
        let record = &mut body[at..at + length];
        let length_field = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        record[..4].copy_from_slice(&length_field);
        let mut checked = record[8..].to_vec();
        checked.extend_from_slice(&length_field);
        for word in [1, GENERATION, (SECTOR + at) as u64] {
            checked.extend_from_slice(&word.to_le_bytes());
        }
        record[4..8].copy_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
        records += 1;
        at += length;
    }
    records
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
    four.map_or(u32::MAX, u32::from_le_bytes)
}

fn segment_header(sequence: u64, length: usize) -> Vec<u8> {
    let mut header = b"OUTRSEGM\x01\0\0\0\0\0\0\0".to_vec();
    for word in [sequence, GENERATION, INCARNATION, length as u64] {
        header.extend_from_slice(&word.to_le_bytes());
    }
    finish_sector(header)
}

fn trailer((offset, bytes): (usize, usize)) -> Vec<u8> {
    let mut trailer = b"OUTRTRAI".to_vec();
    for word in [1, GENERATION, offset as u64, bytes as u64, SECTOR as u64] {
        trailer.extend_from_slice(&word.to_le_bytes());
    }
    finish_sector(trailer)
}

fn finish_sector(mut sector: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&sector);
    sector.extend_from_slice(&checksum.to_le_bytes());
    sector.resize(SECTOR, 0);
    sector
}

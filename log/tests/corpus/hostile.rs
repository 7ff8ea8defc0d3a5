//! Bytes that nobody wrote, where the log expects its own: whatever they are, it must refuse, cut or read them.
//!
//! ```text
//!   segment   the bytes are the whole file of a segment
//!   records   the bytes are groups, records and footers; all checksums are mended, so that their content is believed
//!   identity  the bytes are the file `identity`, or the mark of a refusal
//! ```
//!
//! Shared by the fuzzers and by the test of their corpus. Nothing is asserted of *what* is answered to garbage but that
//! it is the same again after the next start, that nothing panics, and that no file makes the log ask for more memory
//! than the file has bytes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use outrigger_log::{
    Access, Disk, DiskFile, FaultyDisk, FaultyFile, FaultyLock, GroupId, GroupState, Log, OpenError, OpenOptions,
    Record,
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

fn directory() -> &'static Path {
    Path::new("/log")
}

fn file(name: &str) -> PathBuf {
    directory().join(name)
}

fn options() -> OpenOptions {
    OpenOptions { segment_bytes: 4_096, ..OpenOptions::new(7, 1, INCARNATION, 0xbeef) }
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

//! What has the right checksum and is wrong all the same: no disk makes that, a fault of ours would.

use std::path::Path;

use bytes::Bytes;

use super::{Damage, verify};
use crate::disk::{Access, Disk, DiskFile};
use crate::record::{self, Record};
use crate::segment::{self, FIRST_GROUP, FooterGroup, GROUP_HEADER, GroupHeader, SECTOR, SegmentHeader, Trailer, size};
use crate::state::GroupId;
use crate::{FaultyDisk, Log, OpenOptions};

const GROUP: GroupId = GroupId(1);

/// A closed directory whose first segment is sealed, and the bytes of that.
fn sealed() -> (FaultyDisk, Vec<u8>, SegmentHeader) {
    let (disk, directory) = (FaultyDisk::new(), Path::new("/log"));
    let options = OpenOptions { segment_bytes: 8 << 10, ..OpenOptions::new(7, 1, 2, 3) };
    let mut log = Log::open(disk.clone(), directory, options).unwrap();
    let payloads = [Bytes::from_static(&[7; 300])];
    let mut first = 1;
    while !disk.files().contains_key(&segment::path(directory, 3)) {
        log.append(GROUP, Record::Entries { term: 1, first, log_time: 0, payloads: &payloads, marked: false }).unwrap();
        log.flush().unwrap();
        first += 1;
    }
    drop(log);
    let bytes = disk.files()[&segment::path(directory, 1)].clone();
    let header = SegmentHeader::decode(&bytes).unwrap();
    (disk, bytes, header)
}

/// What is told once these bytes are in the first segment.
fn told_with(disk: &FaultyDisk, offset: u64, bytes: &[u8]) -> Vec<Damage> {
    let file = disk.open(&segment::path(Path::new("/log"), 1), Access::ReadWrite).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    verify(disk, Path::new("/log"), &mut |_| {}).unwrap().damage
}

/// The footer of the sealed segment, changed and written anew.
fn told_with_footer(change: impl FnOnce(&mut FooterGroup)) -> (Vec<Damage>, u64) {
    let (disk, bytes, header) = sealed();
    let trailer = Trailer::decode(&bytes[size(header.groups_end())..], &header).unwrap();
    let at = trailer.footer_offset;
    let mut groups = segment::decode_footer(&bytes[size(at)..], &header, at).unwrap();
    change(&mut groups[0]);
    let groups = groups.iter().map(|group| (group.group, &group.state, group.runs.clone()));
    let footer = segment::encode_footer(&header, at, trailer.synced, groups);
    (told_with(&disk, at, &footer), at)
}

#[test]
fn a_footer_that_says_something_else_than_the_records_is_told() {
    assert_eq!(told_with_footer(|_| {}).0, []);
    let (found, at) = told_with_footer(|group| group.state.vote.term += 1);
    assert!(found.iter().any(|damage| damage.offset == Some(at) && damage.what.contains("add up")), "{found:?}");
}

#[test]
fn a_run_of_a_footer_that_is_not_there_is_told_with_its_index() {
    let (found, _) = told_with_footer(|group| group.runs[2].length -= 1);
    let at = (found[0].group, found[0].index, found[0].what.contains("there is none"));
    assert_eq!((found.len(), at), (1, (Some(GROUP), Some(3), true)), "{found:?}");
}

#[test]
fn a_record_that_contradicts_those_before_it_is_told() {
    let (disk, bytes, header) = sealed();
    let second = GroupHeader::decode(&bytes[size(FIRST_GROUP)..], header.place(FIRST_GROUP)).unwrap().end();
    let mut group = vec![0; GROUP_HEADER];
    let payloads = [Bytes::from_static(&[7; 300])];
    let entries = Record::Entries { term: 1, first: 9, log_time: 0, payloads: &payloads, marked: false };
    record::encode(&mut group, GROUP, &entries);
    let offset = second + GROUP_HEADER as u64;
    record::bind(&mut group[GROUP_HEADER..], header.place(offset));
    let bytes = record::narrow(group.len() - GROUP_HEADER);
    GroupHeader { bytes, records: 1, place: header.place(second), synced: second }.write(&mut group);
    let found = told_with(&disk, second, &group);
    let contradiction = found.iter().find(|damage| damage.offset == Some(offset)).unwrap();
    assert_eq!((contradiction.group, contradiction.index), (Some(GROUP), Some(9)), "{found:?}");
    assert!(contradiction.what.contains("do not follow the last entry"), "{contradiction}");
}

#[test]
fn a_long_group_is_read_whole_and_nothing_beyond_the_file() {
    let (disk, directory) = (FaultyDisk::new(), Path::new("/log"));
    let options = OpenOptions { segment_bytes: 8 << 20, ..OpenOptions::new(7, 1, 2, 3) };
    let mut log = Log::open(disk.clone(), directory, options).unwrap();
    let large = [Bytes::from(vec![5; 3 << 20])];
    for first in 1..=4 {
        log.append(GROUP, Record::Entries { term: 1, first, log_time: 0, payloads: &large, marked: false }).unwrap();
        log.flush().unwrap();
    }
    drop(log);
    let found = verify(&disk, directory, &mut |_| {}).unwrap();
    assert_eq!((found.damage, found.segments, found.records), (vec![], 2, 4));
    let header = SegmentHeader::decode(&disk.files()[&segment::path(directory, 1)]).unwrap();
    let hostile =
        GroupHeader { bytes: u32::MAX - 600, records: 1, place: header.place(FIRST_GROUP), synced: FIRST_GROUP };
    let mut bytes = vec![0; size(SECTOR)];
    hostile.write(&mut bytes);
    let found = told_with(&disk, FIRST_GROUP, &bytes);
    assert_eq!(found[0].offset, Some(FIRST_GROUP), "{found:?}");
}

#[test]
fn a_run_of_a_footer_that_has_more_entries_than_its_record_is_told() {
    let (found, _) = told_with_footer(|group| group.runs.last_mut().unwrap().count += 1);
    assert!(found.iter().any(|damage| damage.what.contains("there is none")), "{found:?}");
}

//! Every disk that a power cut may leave of one moment: each legal subset of what was not synced.

use std::hash::{DefaultHasher, Hash, Hasher};

use outrigger_log::FaultyDisk;

/// Calls `visit` with each outcome of a power cut; answers how many there were.
///
/// The choices that a crash asks for depend on those before, so that they are counted up like the digits of a number
/// whose length is found on the way: the last digit first, and what follows a digit that grew begins with zeros again.
pub(crate) fn each_crash(disk: &FaultyDisk, mut visit: impl FnMut(&FaultyDisk)) -> u64 {
    let mut choices: Vec<(usize, usize)> = Vec::new();
    let mut outcomes = 0;
    loop {
        let image = disk.fork();
        let mut asked = 0;
        image.crash_with(&mut |ways| {
            if asked == choices.len() {
                choices.push((0, ways));
            }
            let (chosen, known) = choices[asked];
            assert_eq!(known, ways, "the same choices lead to other questions");
            asked += 1;
            chosen
        });
        assert_eq!(asked, choices.len(), "a choice that nobody asked for");
        outcomes += 1;
        visit(&image);
        while choices.last().is_some_and(|(chosen, ways)| chosen + 1 == *ways) {
            choices.pop();
        }
        let Some((chosen, _)) = choices.last_mut() else { return outcomes };
        *chosen += 1;
    }
}

/// Tells disks apart by what a read sees of them.
pub(crate) fn digest(disk: &FaultyDisk) -> u64 {
    digest_of(&disk.files())
}

pub(crate) fn digest_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn every_subset_of_what_was_not_synced_is_visited_once() {
    use outrigger_log::{Disk, DiskFile};
    use std::collections::BTreeSet;

    let (disk, path) = (FaultyDisk::new(), std::path::Path::new("/d/f"));
    disk.create_directory(path.parent().unwrap()).unwrap();
    let file = disk.create(path).unwrap();
    file.write_at(&[1; 1_536], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_directory(path.parent().unwrap()).unwrap();
    // Three sectors, of which one goes through three states, one through two, and one changes nothing.
    file.write_at(&[2; 1_024], 0).unwrap();
    file.write_at(&[3; 512], 0).unwrap();
    file.write_at(&[1; 512], 1_024).unwrap();
    disk.rename(path, std::path::Path::new("/d/g")).unwrap();
    let mut seen = BTreeSet::new();
    assert_eq!(each_crash(&disk, |image| assert!(seen.insert(digest(image)))), 3 * 2 * 2);
    let seen: Vec<u64> = seen.into_iter().collect();
    assert_eq!(seen.len(), 12);
}

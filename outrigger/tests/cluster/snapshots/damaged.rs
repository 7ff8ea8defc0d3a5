//! Files of snapshots that rot while their nodes serve.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;

/// Behind the content of a snapshot that is small stand a checksum of 4 bytes and the end of 40.
const BEHIND_CONTENT: u64 = 44;

impl Place {
    /// The file of a node's newest snapshot.
    fn snapshot_file(&self, id: u64) -> PathBuf {
        let directory = self.directory.path().join(id.to_string()).join("snapshots");
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let is_complete =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snapshot-"));
        files.filter(is_complete).max().expect("a snapshot")
    }

    /// The last byte of the snapshot's content becomes another one. Answers what the file holds then.
    fn rot(&self, id: u64) -> Vec<u8> {
        let path = self.snapshot_file(id);
        let whole = fs::read(&path).unwrap();
        let at = whole.len() - usize::try_from(BEHIND_CONTENT).unwrap() - 1;
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[whole[at] ^ 1], at as u64).unwrap();
        fs::read(&path).unwrap()
    }
}

/// Node 3 was away; nobody has written since the others have taken the snapshots of which these rot.
async fn served_by(rotten: fn(leader: u64) -> Vec<u64>, change: fn(&mut Config)) {
    let mut place = Place::started(Place::in_process(), change).await;
    place.stop(3).await;
    place.write(0..100).await;
    let last = place.snapshot(&[1, 2]).await;
    let leader = place.leader().await;
    let files: Vec<(u64, Vec<u8>)> = rotten(leader).into_iter().map(|id| (id, place.rot(id))).collect();
    place.start(3).await;
    let served = tokio::time::timeout(Duration::from_secs(60), place.holds(3, 100)).await;
    served.expect("node 3 is served by what the others have in memory");
    for id in [1, 2] {
        let metrics = place.node(id).metrics().latest();
        assert!(metrics.fault.is_none() && metrics.snapshot >= last, "node {id} goes on: {:?}", metrics.fault);
    }
    // Unless another leader was elected nothing has come since, and what takes the place of the file has the same name.
    for (id, rotten) in &files {
        until(|| fs::read(place.snapshot_file(*id)).is_ok_and(|now| now != *rotten)).await;
    }
    for id in [1, 2, 3] {
        place.stop(id).await;
    }
    for id in [1, 2, 3] {
        place.start(id).await;
    }
    for id in [1, 2, 3] {
        place.holds(id, 100).await;
    }
    place.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_snapshot_rots_goes_on_and_serves_who_was_away() {
    served_by(|leader| vec![leader], |config| config.snapshots_by_leader = true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_snapshot_rots_is_no_delegate_and_goes_on() {
    served_by(|leader| vec![3 - leader], |_| ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_snapshots_rot_who_was_away_is_served_from_memory() {
    served_by(|leader| vec![leader, 3 - leader], |_| ()).await;
}

/// Found by reading: whoever saved it was told so, and the node kept it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_rots_and_is_to_be_saved_is_replaced_and_then_saved() {
    let place = Place::started(Place::in_process(), |_| ()).await;
    place.write(0..100).await;
    let leader = place.leader().await;
    place.snapshot(&[leader]).await;
    let rotten = place.rot(leader);
    let path = place.directory.path().join("saved");
    let error = place.node(leader).save_snapshot(&path).await.unwrap_err();
    assert!(matches!(error, SaveError::File { .. }) && !path.exists(), "{error}");
    place.node(leader).save_snapshot(&path).await.unwrap();
    assert_ne!(fs::read(place.snapshot_file(leader)).unwrap(), rotten);
    place.shut_down().await;
}

//! The directory of a demonstration, gone when it ends, and the ports of its nodes.
//!
//! ```text
//!   TMPDIR/outrigger-demo-XXXXXX/
//!     alive       a socket that this process has bound: while it lives, whoever asks is answered
//!     node-1/ ..  the data of the nodes
//! ```
//!
//! What a demonstration that was killed by SIGKILL left behind, the next one removes: a directory in which `alive` is bound
//! by nobody. A process id could be somebody else's by then, or one of another container; a socket cannot. A cluster that
//! was kept has no `alive`, and neither has a directory that the user named: those are never touched.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Begins the name of every temporary directory of a demonstration.
const PREFIX: &str = "outrigger-demo-";
/// The socket that tells whether the demonstration lives.
const ALIVE: &str = "alive";

/// Below what systems hand out to outgoing connections (32,768 and up on Linux), so that none of those takes a port
/// while its node is down.
const PORTS: std::ops::Range<u16> = 10_240..32_000;

/// A directory that was empty at first, and is put back to what it was when this is dropped.
#[derive(Debug)]
pub(super) struct Ground {
    root: PathBuf,
    /// Whether the directory itself is ours.
    is_created: bool,
    /// Whether everything stays.
    is_kept: bool,
    /// Bound to `ALIVE` in a temporary directory; not if its path is too long for a socket: then nobody removes what a
    /// SIGKILL leaves.
    alive: Option<UnixDatagram>,
}

impl Ground {
    /// At `dir`, which must be empty or not exist in an existing directory; by default in a new temporary one.
    pub(super) fn new(dir: Option<&Path>) -> io::Result<Self> {
        let Some(dir) = dir else {
            return Self::temporary(&std::env::temp_dir());
        };
        let is_created = match fs::create_dir(dir) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        // From here on an error must not leave a new directory behind, nor remove what is in an old one.
        let root = dir.canonicalize()?;
        if fs::read_dir(&root)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "it is not empty: name another"));
        }
        Ok(Self { root, is_created, is_kept: false, alive: None })
    }

    /// In a new directory; what dead demonstrations have left beside it goes.
    fn temporary(parent: &Path) -> io::Result<Self> {
        let root = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?.keep();
        let alive = UnixDatagram::bind(root.join(ALIVE)).ok();
        let ground = Self { root, is_created: true, is_kept: false, alive };
        ground.remove_left_overs(parent)?;
        Ok(ground)
    }

    /// Removes the directories beside this one whose demonstrations are dead. One that cannot be removed is no reason not
    /// to demonstrate.
    fn remove_left_overs(&self, parent: &Path) -> io::Result<()> {
        let own = fs::metadata(&self.root)?.uid();
        for entry in fs::read_dir(parent)?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let is_ours = name.to_string_lossy().starts_with(PREFIX)
                && path != self.root
                && fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() && found.uid() == own);
            if is_ours && is_dead(&path) && fs::remove_dir_all(&path).is_ok() {
                super::tell(&format!("removed {}, which a demonstration that was killed had left", path.display()));
            }
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory, if it was made for this.
    pub(super) fn created(&self) -> Option<&Path> {
        self.is_created.then_some(&*self.root)
    }

    /// Removes what was written so far.
    pub(super) fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_name() == ALIVE && self.alive.is_some() {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// From now on everything stays.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
        self.unmark();
    }

    /// Takes the mark away by which left-overs are known.
    fn unmark(&self) {
        // There is none in a directory that the user named.
        let _ = fs::remove_file(self.root.join(ALIVE));
    }

    fn remove(&self) -> io::Result<()> {
        self.clear()?;
        if self.alive.is_some() {
            self.unmark();
        }
        if self.is_created { fs::remove_dir(&self.root) } else { Ok(()) }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = self.remove() {
            super::tell(&format!("cannot remove {}: {error}", self.root.display()));
        }
    }
}

/// Whether a directory has the mark of a demonstration, and nobody has bound it any more.
fn is_dead(root: &Path) -> bool {
    let asked = UnixDatagram::unbound().and_then(|socket| socket.connect(root.join(ALIVE)));
    asked.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Ports on the loopback address that nobody listens on, all different. Somebody else may take one before it is used:
/// then a node says so, and the cluster tries others.
pub(super) fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let span = u64::from(PORTS.end - PORTS.start);
    let start = RandomState::new().build_hasher().finish() % span;
    let mut held = Vec::with_capacity(count);
    for step in 0..span {
        if held.len() == count {
            break;
        }
        let offset = u16::try_from((start + step) % span).expect("the span of ports fits a port");
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, PORTS.start + offset)));
    }
    if held.len() < count {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("fewer than {count} free ports in {PORTS:?}")));
    }
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_ground_goes_with_all_that_is_in_it() {
        let ground = Ground::new(None).unwrap();
        let root = ground.root().to_owned();
        fs::create_dir(root.join("node-1")).unwrap();
        fs::write(root.join("node-1").join("log"), "x").unwrap();
        drop(ground);
        assert!(!root.exists());
    }

    #[test]
    fn what_a_killed_demonstration_left_goes_with_the_next_and_nothing_else_does() {
        let parent = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let dir = parent.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("node-1.log"), "x").unwrap();
            dir
        };
        let (dead, kept, other) = (dir("outrigger-demo-dead"), dir("outrigger-demo-kept"), dir("other"));
        for dir in [&dead, &other] {
            // Dropped at once, and the file stays: what SIGKILL leaves.
            UnixDatagram::bind(dir.join(ALIVE)).unwrap();
        }
        let running = Ground::temporary(parent.path()).unwrap();
        assert!(!dead.exists(), "its process is gone");
        let next = Ground::temporary(parent.path()).unwrap();
        assert!(running.root().exists() && kept.exists() && other.exists());
        next.clear().unwrap();
        drop(Ground::temporary(parent.path()).unwrap());
        assert!(next.root().exists(), "it lives, also when it was cleared");
        let root = next.root().to_owned();
        drop((running, next));
        assert!(!root.exists());
    }

    #[test]
    fn a_temporary_ground_that_is_kept_is_nobodys_left_over() {
        let parent = tempfile::tempdir().unwrap();
        let mut ground = Ground::temporary(parent.path()).unwrap();
        ground.keep();
        let root = ground.root().to_owned();
        drop(ground);
        drop(Ground::temporary(parent.path()).unwrap());
        assert!(root.exists());
    }

    #[test]
    fn a_directory_that_was_there_stays_and_is_empty_again() {
        let outer = tempfile::tempdir().unwrap();
        let ground = Ground::new(Some(outer.path())).unwrap();
        fs::write(outer.path().join("file"), "x").unwrap();
        drop(ground);
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0);

        let inner = outer.path().join("new");
        drop(Ground::new(Some(&inner)).unwrap());
        assert!(!inner.exists());

        let mut ground = Ground::new(Some(&inner)).unwrap();
        ground.keep();
        drop(ground);
        assert!(inner.exists());
    }

    #[test]
    fn a_directory_with_something_in_it_is_left_alone() {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("precious"), "x").unwrap();
        assert_eq!(Ground::new(Some(outer.path())).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
        assert!(outer.path().join("precious").exists());
    }

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let ports = free_ports(6).unwrap();
        let listeners: Vec<_> = ports.iter().map(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))).collect();
        assert!(listeners.iter().all(Result::is_ok), "{ports:?}");
    }
}

//! Whose log this is: the identity file, and how it is replaced.
//!
//! ```text
//!   write identity.new -> sync it -> rename over identity -> sync the directory
//! ```
//!
//! At every moment one intact identity is there, the old or the new. Start 0 says that the directory is being created:
//! until the first segment is durable, a crash makes the next open create everything again.

use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};

use crate::disk::{Access, Disk, DiskFile};
use crate::error::{Corruption, DiskError, During, OpenError};
use crate::segment::FORMAT_VERSION;

/// The identity file's name.
pub(crate) const IDENTITY: &str = "identity";
pub(crate) const IDENTITY_NEW: &str = "identity.new";
const MAGIC: u64 = u64::from_le_bytes(*b"OUTRIDEN");
const LENGTH: usize = 60;

/// Who the owner of a log is, and which of its lives this one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The cluster that the data belongs to.
    pub cluster: u64,
    /// The node that the data belongs to.
    pub node: u64,
    /// Drawn when the directory was created: a wiped disk comes back with another one.
    pub incarnation: u64,
    /// How often the directory was opened, from 1; durably increased by each open.
    pub start: u64,
    /// Drawn at this start: two running copies of a directory differ in it.
    pub nonce: u64,
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LENGTH);
        out.put_u64_le(MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u32_le(0);
        for word in [self.cluster, self.node, self.incarnation, self.start, self.nonce] {
            out.put_u64_le(word);
        }
        out.put_u32_le(crc32c::crc32c(&out));
        assert_eq!(out.len(), LENGTH, "the length of an identity");
        out
    }

    fn decode(bytes: &[u8], file: &Path) -> Result<Self, OpenError> {
        let corrupt = |what: &'static str| Corruption::at(file, 0, what);
        let mut fields = bytes;
        let magic = fields.try_get_u64_le().map_err(|_| corrupt("the identity is cut short"))?;
        let found = fields.try_get_u32_le().map_err(|_| corrupt("the identity is cut short"))?;
        if magic != MAGIC {
            return Err(corrupt("this is no identity file").into());
        }
        // A later format may have another length: what it says of itself comes first.
        if found > FORMAT_VERSION {
            return Err(OpenError::NewerFormat { found, supported: FORMAT_VERSION });
        }
        let (checked, mut checksum) =
            bytes.split_at_checked(LENGTH - 4).ok_or_else(|| corrupt("the identity is cut short"))?;
        if checksum.try_get_u32_le() != Ok(crc32c::crc32c(checked)) || !checksum.is_empty() {
            return Err(corrupt("the identity's checksum does not match").into());
        }
        let mut words = checked.get(16..).unwrap_or_default();
        let mut word = || words.try_get_u64_le().map_err(|_| corrupt("the identity is cut short"));
        Ok(Self { cluster: word()?, node: word()?, incarnation: word()?, start: word()?, nonce: word()? })
    }
}

/// Reads the identity file, which is there.
pub(crate) fn read<D: Disk>(disk: &D, directory: &Path) -> Result<Identity, OpenError> {
    let path = directory.join(IDENTITY);
    let file = disk.open(&path, Access::Read).during("open", &path)?;
    // One byte more than an identity has, so that a longer file is seen to be one.
    let mut bytes = [0; LENGTH + 1];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64).during("read", &path)? {
            0 => break,
            more => read += more,
        }
    }
    Identity::decode(bytes.get(..read).unwrap_or_default(), &path)
}

/// A new identity that is durable beside the old one, but not in force yet.
pub(crate) struct Replacement {
    new: PathBuf,
    current: PathBuf,
}

/// Writes the new identity beside the old one and syncs it.
pub(crate) fn write_new<D: Disk>(disk: &D, directory: &Path, identity: &Identity) -> Result<Replacement, DiskError> {
    let new = directory.join(IDENTITY_NEW);
    let file = disk.create(&new).during("create", &new)?;
    file.write_all_at(&identity.encode(), 0).during("write", &new)?;
    file.sync_all().during("sync", &new)?;
    Ok(Replacement { new, current: directory.join(IDENTITY) })
}

impl Replacement {
    /// Puts the new identity in force, durably.
    pub(crate) fn commit<D: Disk>(self, disk: &D, directory: &Path) -> Result<(), DiskError> {
        disk.rename(&self.new, &self.current).during("rename", &self.new)?;
        mutate!(log_start_not_synced, return Ok(()));
        disk.sync_directory(directory).during("sync", directory)
    }
}

/// Whether a file in a log's directory is a leftover of something that a crash interrupted.
pub(crate) fn is_leftover(name: &str) -> bool {
    name.ends_with(".new")
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY_7: Identity = Identity { cluster: 1, node: 7, incarnation: 3, start: 4, nonce: 5 };

    #[test]
    fn an_identity_reads_back_and_every_flipped_bit_is_noticed() {
        let bytes = IDENTITY_7.encode();
        let path = Path::new("identity");
        assert_eq!(Identity::decode(&bytes, path).unwrap(), IDENTITY_7);
        for bit in 0..bytes.len() * 8 {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::decode(&rotten, path).is_err(), "bit {bit} may flip");
        }
        for length in 0..bytes.len() {
            assert!(Identity::decode(&bytes[..length], path).is_err(), "{length} bytes are enough");
        }
    }

    #[test]
    fn a_newer_format_is_named_before_anything_else_is_judged() {
        let mut bytes = IDENTITY_7.encode();
        bytes[8] = 9;
        bytes.extend([0; 100]);
        let error = Identity::decode(&bytes, Path::new("identity")).unwrap_err();
        assert!(matches!(error, OpenError::NewerFormat { found: 9, supported: FORMAT_VERSION }), "{error}");
    }

    #[test]
    fn a_file_that_is_longer_or_of_another_kind_is_no_identity_though_its_checksum_is_right() {
        let path = Path::new("identity");
        let bytes = IDENTITY_7.encode();
        assert!(Identity::decode(&[&bytes[..], &[0]].concat(), path).is_err());
        let mut other = bytes;
        other[0] ^= 1;
        let checksum = crc32c::crc32c(&other[..LENGTH - 4]);
        other[LENGTH - 4..].copy_from_slice(&checksum.to_le_bytes());
        assert!(Identity::decode(&other, path).is_err());
    }
}

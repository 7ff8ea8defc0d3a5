//! The mark of a directory that a peer has refused: a copy, or what came after a wipe. It may lack what it acknowledged,
//! so that nobody may ever run from it again.
//!
//! ```text
//!   refused.new written -> synced -> renamed to refused -> directory synced
//!   every open: lock -> identity -> is there a mark? refused, and nothing is changed
//! ```
//!
//! The number of the start alone would not do: it grows with each open, so that an older copy that is started often
//! enough comes to pass for the original.

use std::fmt;
use std::io;
use std::path::Path;

use bytes::{Buf, BufMut};

use crate::disk::{Access, Disk, DiskFile};
use crate::error::{Corruption, DiskError, During, OpenError, WAY_BACK};
use crate::segment::FORMAT_VERSION;
use crate::state::PeerIdentity;

/// The mark's file name.
const REFUSED: &str = "refused";
const REFUSED_NEW: &str = "refused.new";
const MAGIC: u64 = u64::from_le_bytes(*b"OUTRREFU");
const LENGTH: usize = 76;

/// Why a directory must not be used any more; see [`Log::refuse`](crate::Log::refuse).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Refused {
    /// The node that refused it.
    pub by: u64,
    /// What that node had met under this node's name.
    pub met: PeerIdentity,
    /// What this directory was when it was refused; it differs from `met`.
    pub own: PeerIdentity,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, met, own } = self;
        write!(f, "node {by} has met start {} of directory {:016x}", met.start, met.incarnation)?;
        write!(f, " and refused this one, start {} of directory {:016x}", own.start, own.incarnation)?;
        write!(f, ": what was acknowledged may be missing here; start the original; if that is lost, {WAY_BACK}")
    }
}

impl Refused {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LENGTH);
        out.put_u64_le(MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u32_le(0);
        out.put_u64_le(self.by);
        for life in [self.met, self.own] {
            out.put_u64_le(life.incarnation);
            out.put_u64_le(life.start);
            out.put_u64_le(life.nonce);
        }
        out.put_u32_le(crc32c::crc32c(&out));
        assert_eq!(out.len(), LENGTH, "the length of a mark");
        out
    }

    fn decode(bytes: &[u8], file: &Path) -> Result<Self, Corruption> {
        let corrupt = |what: &'static str| Corruption::at(file, 0, what);
        let (checked, mut checksum) =
            bytes.split_at_checked(LENGTH - 4).ok_or_else(|| corrupt("the mark of a refusal is cut short"))?;
        let mut fields = checked;
        let mut word = || fields.try_get_u64_le().map_err(|_| corrupt("the mark of a refusal is cut short"));
        if word()? != MAGIC || checksum.try_get_u32_le() != Ok(crc32c::crc32c(checked)) || !checksum.is_empty() {
            return Err(corrupt("the mark of a refusal does not verify"));
        }
        let (version, by) = (word()?, word()?);
        if version != u64::from(FORMAT_VERSION) {
            return Err(corrupt("the mark of a refusal is of a version that this one does not know"));
        }
        let mut life = || Ok(PeerIdentity { incarnation: word()?, start: word()?, nonce: word()? });
        Ok(Self { by, met: life()?, own: life()? })
    }
}

/// The mark of a directory; `None` if it has none.
pub(crate) fn read<D: Disk>(disk: &D, directory: &Path) -> Result<Option<Refused>, OpenError> {
    let path = directory.join(REFUSED);
    let file = match disk.open(&path, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.during("open", &path)?,
    };
    // One byte more than a mark has, so that a longer file is seen to be one.
    let length = file.length().during("measure", &path)?.min(LENGTH as u64 + 1);
    let bytes = file.read_exact_at(crate::segment::size(length), 0).during("read", &path)?;
    Ok(Some(Refused::decode(&bytes, &path)?))
}

/// Marks a directory, durably.
pub(crate) fn write<D: Disk>(disk: &D, directory: &Path, refused: &Refused) -> Result<(), DiskError> {
    assert_ne!(refused.met, refused.own, "a directory is not refused for what it is");
    let new = directory.join(REFUSED_NEW);
    let file = disk.create(&new).during("create", &new)?;
    file.write_all_at(&refused.encode(), 0).during("write", &new)?;
    file.sync_all().during("sync", &new)?;
    disk.rename(&new, &directory.join(REFUSED)).during("rename", &new)?;
    disk.sync_directory(directory).during("sync", directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_every_flipped_bit_is_noticed() {
        let life = |start| PeerIdentity { incarnation: 7, start, nonce: 9 };
        let mark = Refused { by: 3, met: life(5), own: life(2) };
        let (bytes, path) = (mark.encode(), Path::new("refused"));
        assert_eq!(Refused::decode(&bytes, path), Ok(mark));
        for bit in 0..bytes.len() * 8 {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(Refused::decode(&rotten, path).is_err(), "bit {bit} may flip");
        }
        for length in 0..bytes.len() {
            assert!(Refused::decode(&bytes[..length], path).is_err(), "{length} bytes are enough");
        }
        assert!(Refused::decode(&[&bytes[..], &[0]].concat(), path).is_err());
        // One of a later version, under a right checksum.
        let mut later = bytes;
        later[8] += 1;
        let checksum = crc32c::crc32c(&later[..LENGTH - 4]);
        later[LENGTH - 4..].copy_from_slice(&checksum.to_le_bytes());
        let refused = Refused::decode(&later, path).unwrap_err();
        assert_eq!(refused.what, "the mark of a refusal is of a version that this one does not know");
    }
}

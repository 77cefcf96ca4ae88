//! Archives whose bytes depend only on the names, modes and contents of their files, and on one time.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// A file of an archive.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) mode: u32,
    pub(crate) contents: &'a [u8],
}

/// A tar archive. Owner and group are root.
pub(crate) fn tar(entries: &[Entry<'_>], time: Timestamp) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(entry.mode);
        header.set_mtime(u64::try_from(time.as_second()).context("the sources are older than 1970")?);
        header.set_size(u64::try_from(entry.contents.len())?);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, entry.name, entry.contents)?;
    }
    Ok(archive.into_inner()?)
}

/// `contents`, compressed, without a name and a time.
pub(crate) fn gzip(contents: &[u8]) -> Result<Vec<u8>> {
    // 255: an unknown operating system.
    let mut compressed = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::best());
    compressed.write_all(contents)?;
    Ok(compressed.finish()?)
}

/// The SHA-256 of `contents` in hex.
pub(crate) fn sha256(contents: &[u8]) -> String {
    Sha256::digest(contents).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

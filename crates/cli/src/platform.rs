//! What differs between operating systems: permissions and identities of files, and the socket of the SSH agent. No other
//! file of this crate depends on the system, except for tests.

#[cfg(unix)]
pub(crate) use unix::{HAS_AGENT_SOCKET, connect_to_agent, copy_attributes, is_same_file, mode, with_mode};

#[cfg(not(unix))]
pub(crate) use other::{HAS_AGENT_SOCKET, connect_to_agent, copy_attributes, is_same_file, mode, with_mode};

#[cfg(unix)]
mod unix {
    use std::{
        ffi::OsStr,
        fs::{File, Metadata, Permissions},
        io,
        os::unix::{
            fs::{MetadataExt as _, PermissionsExt as _, fchown},
            net::UnixStream,
        },
        time::Duration,
    };

    /// Whether the SSH agent can be asked.
    pub(crate) const HAS_AGENT_SOCKET: bool = true;

    /// The permissions of a file. None on systems without modes.
    #[expect(clippy::unnecessary_wraps, reason = "the module for other systems has the same signature")]
    pub(crate) fn mode(file: &Metadata) -> Option<u32> {
        Some(file.permissions().mode() & 0o777)
    }

    /// Gives the files of `builder` these permissions, without those that the umask removes.
    pub(crate) fn with_mode(builder: &mut tempfile::Builder<'_, '_>, mode: u32) {
        builder.permissions(Permissions::from_mode(mode));
    }

    /// Whether this is one file, under whatever names. None on systems whose files have no identity.
    #[expect(clippy::unnecessary_wraps, reason = "the module for other systems has the same signature")]
    pub(crate) fn is_same_file(one: &Metadata, other: &Metadata) -> Option<bool> {
        Some((one.dev(), one.ino()) == (other.dev(), other.ino()))
    }

    /// Gives `file` the owner of the file that it replaces if the system permits it, and its permissions within `most`.
    pub(crate) fn copy_attributes(file: &File, replaced: &Metadata, mut most: u32) -> io::Result<()> {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (replaced.uid(), replaced.gid())
            && fchown(file, Some(replaced.uid()), Some(replaced.gid())).is_err()
        {
            // The group would be another one than the replaced file's.
            most &= 0o707;
        }
        file.set_permissions(Permissions::from_mode(replaced.permissions().mode() & most))
    }

    /// A connection to the agent's socket, on which each read and write ends after `limit`.
    pub(crate) fn connect_to_agent(socket: &OsStr, limit: Option<Duration>) -> io::Result<impl io::Read + io::Write> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        Ok(stream)
    }
}

#[cfg(not(unix))]
mod other {
    use std::{
        ffi::OsStr,
        fs::{File, Metadata},
        io,
        time::Duration,
    };

    /// Whether the SSH agent can be asked. The agent of Windows has a named pipe, which the standard library opens without a
    /// time limit.
    pub(crate) const HAS_AGENT_SOCKET: bool = false;

    /// The permissions of a file. None on systems without modes.
    pub(crate) fn mode(_: &Metadata) -> Option<u32> {
        None
    }

    /// A new file has the permissions that its folder gives it.
    pub(crate) fn with_mode(_: &mut tempfile::Builder<'_, '_>, _: u32) {}

    /// Whether this is one file, under whatever names. None on systems whose files have no identity.
    pub(crate) fn is_same_file(_: &Metadata, _: &Metadata) -> Option<bool> {
        None
    }

    /// Gives `file` the permissions of the file that it replaces.
    pub(crate) fn copy_attributes(file: &File, replaced: &Metadata, _: u32) -> io::Result<()> {
        file.set_permissions(replaced.permissions())
    }

    /// Always fails.
    pub(crate) fn connect_to_agent(_: &OsStr, _: Option<Duration>) -> io::Result<io::Empty> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

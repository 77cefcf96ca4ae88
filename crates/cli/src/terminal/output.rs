//! Standard output, standard error and files. A file is written completely or not at all.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use tempfile::NamedTempFile;
use writgate_core::text::escape;
pub(crate) use writgate_core::text::escape_line as shown;

use crate::failure::Failure;

/// Permissions of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Readable by its owner only.
    Private,
    /// As the umask permits.
    Public,
}

/// Prints an answer. Styles are removed if the output is not a terminal or `NO_COLOR` is set.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Undetermined(format!("cannot write to standard output: {error}")))
}

/// Prints JSON for programs.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Undetermined(format!("cannot write JSON: {error}")))?;
    print(&(text + "\n"))
}

/// Prints a message on standard error, with control characters escaped. Errors are ignored: without a standard error
/// there is nobody to read about them.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", escape(text));
}

/// Prints styled text on standard error. The caller has escaped what comes from others.
pub(crate) fn note_styled(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", text.trim_end());
}

/// A complete temporary file in the folder of its final path.
pub(crate) struct StagedFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl StagedFile {
    /// Writes `contents` to a temporary file in the folder of `path`. Does not touch `path`.
    pub(crate) fn write(path: &Path, contents: &[u8], access: Access) -> Result<Self, Failure> {
        let staged = || {
            let folder = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let mut file = builder(access).tempfile_in(folder)?;
            file.write_all(contents)?;
            file.as_file().sync_all()?;
            Ok(Self { file, path: path.to_owned() })
        };
        staged().map_err(|error| cannot_write(path, &error))
    }

    /// Moves the file to its path. Fails if the path exists.
    pub(crate) fn create(self) -> Result<(), Failure> {
        let Self { file, path } = self;
        file.persist_noclobber(&path).map(drop).map_err(|error| cannot_write(&path, &error.error))
    }

    fn replace(self) -> Result<(), Failure> {
        let Self { file, path } = self;
        file.persist(&path).map(drop).map_err(|error| cannot_write(&path, &error.error))
    }
}

#[cfg(unix)]
fn builder(access: Access) -> tempfile::Builder<'static, 'static> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut builder = tempfile::Builder::new();
    let mode = if access == Access::Private { 0o600 } else { 0o666 }; // the umask reduces it
    builder.prefix(".writgate-").permissions(fs::Permissions::from_mode(mode));
    builder
}

#[cfg(not(unix))]
fn builder(_: Access) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writgate-");
    builder
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::AlreadyExists => "the file exists and is not overwritten".to_owned(),
        _ => error.to_string(),
    };
    Failure::Undetermined(format!("cannot write {}: {why}", path.display()))
}

/// Writes to `path`, or to standard output if there is none or it is `-`.
pub(crate) fn write(path: Option<&Path>, contents: &str) -> Result<(), Failure> {
    match path {
        Some(path) if path.as_os_str() != "-" => replace_file(path, contents),
        _ => print(contents),
    }
}

/// Replaces or creates the file at `path`. A reader sees the old contents or the new, never a part.
///
/// A symbolic link stays a link, a file keeps its permissions, and a special file such as `/dev/stdout` is written to
/// directly.
fn replace_file(path: &Path, contents: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| cannot_write(path, &error);
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let mut file: File = OpenOptions::new().write(true).open(path).map_err(failed)?;
            file.write_all(contents.as_bytes()).map_err(failed)
        }
        Ok(found) => {
            let path = fs::canonicalize(path).map_err(failed)?;
            let staged = StagedFile::write(&path, contents.as_bytes(), Access::Private)?;
            staged.file.as_file().set_permissions(found.permissions()).map_err(failed)?;
            staged.replace()
        }
        Err(_) => StagedFile::write(path, contents.as_bytes(), Access::Public)?.replace(),
    }
}

/// Lines of a name and a value, with the values aligned. Empty values are left out.
pub(crate) fn columns<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:width$}  {value}");
    }
    text
}

/// Rows under headers, as kubectl prints them: columns three spaces apart, no trailing spaces.
pub(crate) fn table<const N: usize>(headers: [&str; N], rows: &[[String; N]]) -> String {
    let wide = |cell: &str| anstream::adapter::strip_str(cell).to_string().chars().count();
    let mut widths = headers.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = wide(cell).max(*width);
        }
    }
    let line = |cells: &[String; N]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(line, "{cell}{}", " ".repeat(width + 3 - wide(cell)));
        }
        line.trim_end().to_owned() + "\n"
    };
    let headers = headers.map(str::to_owned);
    std::iter::once(&headers).chain(rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_their_style() {
        let rows = [["a".to_owned(), crate::terminal::style::good("yes")], ["long".to_owned(), String::new()]];
        let text = anstream::adapter::strip_str(&table(["NAME", "IT"], &rows)).to_string();
        assert_eq!(text, "NAME   IT\na      yes\nlong\n");
    }

    #[test]
    fn create_does_not_overwrite_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        StagedFile::write(&path, b"one", Access::Private).unwrap().create().unwrap();
        assert!(StagedFile::write(&path, b"two", Access::Private).unwrap().create().is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_keeps_its_permissions_and_a_link_stays_a_link() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace_file(&link, "two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}

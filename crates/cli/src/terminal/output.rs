//! Standard output, standard error and files. A file is written completely or not at all.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use tempfile::NamedTempFile;
use unicode_width::UnicodeWidthStr;
use writgate_core::text::escape;
pub(crate) use writgate_core::text::escape_line as shown;
use zeroize::Zeroizing;

use crate::{failure::Failure, manifest::input, platform};

/// Where a private key would begin in a file, at the latest.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Permissions of a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Readable by its owner only.
    Private,
    /// As the umask or the replaced file permits.
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

fn builder(access: Access) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writgate-");
    platform::with_mode(&mut builder, if access == Access::Private { 0o600 } else { 0o666 });
    builder
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::AlreadyExists => "the file exists and is not overwritten".to_owned(),
        _ => error.to_string(),
    };
    Failure::Undetermined(format!("cannot write {}: {why}", path.display()))
}

/// Writes to `path`, or to standard output if there is none or it is `-`. Callers that read files check `path` with
/// [`check_target`] first.
pub(crate) fn write(path: Option<&Path>, contents: &str, access: Access) -> Result<(), Failure> {
    match path {
        Some(path) if path.as_os_str() != "-" => replace_file(path, contents, access),
        _ => print(contents),
    }
}

/// Fails if writing to `target` would replace one of `inputs`, a file in one of them that is a folder, or a private key,
/// by its own name, through a link or under another name.
pub(crate) fn check_target<'a>(
    target: Option<&Path>,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), Failure> {
    let Some(target) = target.filter(|path| path.as_os_str() != "-") else { return Ok(()) };
    let Ok(found) = fs::metadata(target) else { return Ok(()) };
    if !found.is_file() {
        return Ok(());
    }
    for input in inputs.into_iter().filter(|path| !input::is_stdin(path)) {
        let files = if input.is_dir() { files_below(input) } else { vec![input.to_owned()] };
        if let Some(same) = files.iter().find(|file| is_same_file(target, &found, file)) {
            return Err(Failure::Misuse(format!(
                "the output {} is the input {}, which is not overwritten; choose another name",
                target.display(),
                same.display()
            )));
        }
    }
    check_no_key(target)
}

/// The files in a folder, and the manifests in its subfolders.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.chain(input::files(folder, true).unwrap_or_default()).collect()
}

fn is_same_file(target: &Path, found: &fs::Metadata, other: &Path) -> bool {
    let Ok(metadata) = fs::metadata(other) else { return false };
    platform::is_same_file(found, &metadata).unwrap_or_else(|| {
        let canonical = |path: &Path| fs::canonicalize(path).ok();
        canonical(target).is_some_and(|target| canonical(other) == Some(target))
    })
}

/// Fails if the file contains a private key in PEM, whoever wrote it. A key that is lost cannot be made again.
fn check_no_key(path: &Path) -> Result<(), Failure> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_KEY_FILE).read_to_end(&mut start));
    // A file that cannot be read is not known to be another file than a key.
    read.map_err(|error| cannot_write(path, &error))?;
    let start = Zeroizing::new(start);
    // At the beginning of a line: a manifest may contain a key as an indented text.
    let is_label =
        |line: &[u8]| line.starts_with(b"-----BEGIN ") && memchr::memmem::find(line, b"PRIVATE KEY-----").is_some();
    if !start.split(|byte| *byte == b'\n').any(is_label) {
        return Ok(());
    }
    Err(Failure::Misuse(format!(
        "{} contains a private key, which is not overwritten; choose another name for the output",
        path.display()
    )))
}

/// Replaces or creates the file at `path`. A reader sees the old contents or the new, never a part.
///
/// A symbolic link stays a link. A file keeps its owner and its permissions, but a private file is readable by its owner
/// only, and set-id bits are removed. A special file such as `/dev/stdout` is written to directly.
fn replace_file(path: &Path, contents: &str, access: Access) -> Result<(), Failure> {
    let failed = |error: io::Error| cannot_write(path, &error);
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let mut file: File = OpenOptions::new().write(true).open(path).map_err(failed)?;
            file.write_all(contents.as_bytes()).map_err(failed)
        }
        Ok(found) => {
            check_no_key(path)?;
            let path = fs::canonicalize(path).map_err(failed)?;
            let staged = StagedFile::write(&path, contents.as_bytes(), Access::Private)?;
            let most = if access == Access::Private { 0o600 } else { 0o777 };
            platform::copy_attributes(staged.file.as_file(), &found, most).map_err(failed)?;
            staged.replace()
        }
        Err(_) => StagedFile::write(path, contents.as_bytes(), access)?.replace(),
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

/// The columns that a text takes on a terminal: two for a wide character.
pub(crate) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Rows under headers, as kubectl prints them: columns three spaces apart, no trailing spaces.
pub(crate) fn table<const N: usize>(headers: [&str; N], rows: &[[String; N]]) -> String {
    let wide = |cell: &str| width(&anstream::adapter::strip_str(cell).to_string());
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
    fn columns_align_under_wide_characters() {
        let rows = [["支払い".to_owned(), "a".to_owned()], ["abcdef".to_owned(), "b".to_owned()]];
        assert_eq!(table(["NAME", "IT"], &rows), "NAME     IT\n支払い   a\nabcdef   b\n");
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
        replace_file(&link, "two", Access::Public).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_loses_set_id_bits_and_a_private_one_all_access_of_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (before, access, after) in [
            (0o6755, Access::Public, 0o755),
            (0o644, Access::Public, 0o644),
            (0o4644, Access::Private, 0o600),
            (0o400, Access::Private, 0o400),
        ] {
            fs::write(&path, "one").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
            replace_file(&path, "two", access).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, after, "{before:o}");
            fs::remove_file(&path).unwrap();
        }
        replace_file(&path, "new", Access::Private).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn an_output_is_neither_an_input_nor_a_key_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("in")).unwrap();
        for (name, text) in [("in/a.yaml", "a"), ("other", "a"), ("key", "-----BEGIN PRIVATE KEY-----\n")] {
            fs::write(path(name), text).unwrap();
        }
        for (name, target) in [("link", "in/a.yaml"), ("key-link", "key")] {
            std::os::unix::fs::symlink(path(target), path(name)).unwrap();
            fs::hard_link(path(target), path(&format!("hard-{name}"))).unwrap();
        }
        let check = |target: &str, input: &str| check_target(Some(&path(target)), [&*path(input)]);
        for target in ["in/a.yaml", "link", "hard-link"] {
            for input in ["in/a.yaml", "in", "link"] {
                assert!(check(target, input).is_err_and(|why| why.to_string().contains("is the input")), "{target}");
            }
        }
        for target in ["key", "key-link", "hard-key-link"] {
            assert!(check(target, "in").is_err_and(|why| why.to_string().contains("a private key")), "{target}");
            assert!(replace_file(&path(target), "two", Access::Private).is_err(), "{target}");
        }
        assert_eq!(fs::read(path("key")).unwrap(), b"-----BEGIN PRIVATE KEY-----\n");
        for target in ["other", "new"] {
            assert_eq!(check(target, "in"), Ok(()));
        }
    }
}

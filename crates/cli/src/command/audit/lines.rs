//! The lines of a log file, read one at a time, including lines that are appended later.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{failure::Failure, manifest::input, platform};

/// Longest line that is read. Records have about 2 KiB, and lines of an audit log with whole objects up to 3 MiB.
const MAX_LINE: u64 = 8 << 20;
const BUFFER: usize = 256 << 10;

/// A log that is read line by line.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<Source>,
    line: Vec<u8>,
    number: u64,
    /// Whether the rest of a too long line is being skipped.
    skips: bool,
    /// Bytes read of this file.
    read: u64,
}

enum Source {
    File(File),
    Stdin(io::Stdin),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Stdin(stdin) => stdin.lock().read(buffer),
        }
    }
}

/// The next item of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A line without its line break.
    Line(&'a [u8]),
    /// A line that exceeds the limit.
    TooLong,
    /// No complete line is left for now. The beginning of one may be.
    End,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let source = if input::is_stdin(path) { Ok(Source::Stdin(io::stdin())) } else { open(path).map(Source::File) };
        let source =
            source.map_err(|error| Failure::Undetermined(format!("cannot read {}: {error}", input::name(path))))?;
        let reader = BufReader::with_capacity(BUFFER, source);
        Ok(Self { path: path.to_owned(), reader, line: Vec::new(), number: 0, skips: false, read: 0 })
    }

    /// How many lines of this file were read.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the next line is in the buffer, so that reading it does not block.
    pub(super) fn is_at_hand(&self) -> bool {
        memchr::memchr(b'\n', self.reader.buffer()).is_some()
    }

    /// The next complete line and its number, counted from 1.
    pub(super) fn next(&mut self) -> Result<(u64, Next<'_>), Failure> {
        if self.line.last() == Some(&b'\n') {
            self.line.clear();
        }
        loop {
            let room = (MAX_LINE + 1).saturating_sub(u64::try_from(self.line.len()).unwrap_or(u64::MAX));
            let read = self.reader.by_ref().take(room).read_until(b'\n', &mut self.line);
            let read = read.map_err(|error| self.cannot_read(&error))?;
            self.read += u64::try_from(read).unwrap_or_default();
            let whole = self.line.last() == Some(&b'\n');
            if self.skips {
                self.line.clear();
                if read == 0 {
                    return Ok((self.number, Next::End));
                }
                self.skips = !whole;
                continue;
            }
            if whole {
                self.number += 1;
                return Ok((self.number, Next::Line(trimmed(&self.line))));
            }
            if read == 0 {
                return Ok((self.number, Next::End));
            }
            if u64::try_from(self.line.len()).unwrap_or(u64::MAX) > MAX_LINE {
                self.number += 1;
                self.line.clear();
                self.skips = true;
                return Ok((self.number, Next::TooLong));
            }
        }
    }

    /// The last line, if it has no line break.
    pub(super) fn rest(&mut self) -> Option<&[u8]> {
        if self.line.is_empty() || self.line.last() == Some(&b'\n') {
            return None;
        }
        self.number += 1;
        self.line.push(b'\n'); // so that the next call knows that the line was returned
        Some(trimmed(&self.line))
    }

    /// Whether another file is at the path now, or the same file was truncated.
    pub(super) fn is_rotated(&self) -> Result<bool, Failure> {
        let Source::File(file) = self.reader.get_ref() else { return Ok(false) };
        let read = file.metadata().map_err(|error| self.cannot_read(&error))?;
        // During a rotation, the path may not exist for a moment.
        let Ok(now) = std::fs::metadata(&self.path) else { return Ok(false) };
        Ok(platform::is_same_file(&read, &now) == Some(false) || now.len() < self.read)
    }

    /// Continues with the file that is at the path now.
    pub(super) fn reopen(&mut self) -> Result<(), Failure> {
        let file = open(&self.path).map_err(|error| self.cannot_read(&error))?;
        self.reader = BufReader::with_capacity(BUFFER, Source::File(file));
        (self.number, self.read, self.skips) = (0, 0, false);
        self.line.clear();
        Ok(())
    }

    fn cannot_read(&self, error: &io::Error) -> Failure {
        Failure::Undetermined(format!("cannot read {}: {error}", input::name(&self.path)))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    Ok(file)
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn all(lines: &mut Lines) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            match lines.next().unwrap().1 {
                Next::Line(line) => found.push(String::from_utf8(line.to_vec()).unwrap()),
                Next::TooLong => found.push("too long".into()),
                Next::End => return found,
            }
        }
    }

    #[test]
    fn returns_a_line_once_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "one\r\ntw").unwrap();
        let mut lines = Lines::open(&path).unwrap();
        assert_eq!(all(&mut lines), ["one"]);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"o\nthree").unwrap();
        assert_eq!(all(&mut lines), ["two"]);
        assert_eq!(lines.rest(), Some(&b"three"[..]));
        assert_eq!(lines.rest(), None);
    }

    #[test]
    fn follows_a_log_that_was_rotated_or_truncated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "one\n").unwrap();
        let mut lines = Lines::open(&path).unwrap();
        assert_eq!(all(&mut lines), ["one"]);
        assert!(!lines.is_rotated().unwrap());
        fs::rename(&path, folder.path().join("log.1")).unwrap();
        assert!(!lines.is_rotated().unwrap(), "no file for a moment");
        fs::write(&path, "two and more\n").unwrap();
        assert!(lines.is_rotated().unwrap());
        lines.reopen().unwrap();
        assert_eq!(all(&mut lines), ["two and more"]);
        fs::write(&path, "three\n").unwrap();
        assert!(lines.is_rotated().unwrap(), "truncated");
        lines.reopen().unwrap();
        assert_eq!(all(&mut lines), ["three"]);
    }

    #[test]
    fn an_endless_line_does_not_exhaust_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let long = usize::try_from(MAX_LINE).unwrap() * 2;
        fs::write(&path, [b"one\n".to_vec(), vec![b'x'; long], b"\nthree\n".to_vec()].concat()).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        assert_eq!(all(&mut lines), ["one", "too long", "three"]);
        assert_eq!(lines.number, 3);
        assert!(lines.line.capacity() <= 2 * long);
    }
}

//! A long text on a terminal, page by page on standard error. No program such as `less` is started: it may be absent, and
//! it may be closed before the end is shown.

use std::io::{self, BufRead as _, Write as _};

use crate::{failure::Failure, terminal::output};

/// The size of a terminal that does not report one.
const UNKNOWN: (usize, usize) = (24, 80);

/// Prints `text` on standard error. If it does not fit on the terminal, waits for Enter after each page.
pub(crate) fn show(text: &str) -> Result<(), Failure> {
    let (rows, columns) = terminal_size::terminal_size_of(io::stderr())
        .map_or(UNKNOWN, |(columns, rows)| (rows.0.into(), columns.0.into()));
    let pages = pages(text, rows, columns);
    let count = pages.len();
    for (index, page) in pages.iter().enumerate() {
        output::note_styled(page);
        if index + 1 < count {
            wait(index + 1, count)?;
        }
    }
    Ok(())
}

/// Waits for Enter.
fn wait(page: usize, of: usize) -> Result<(), Failure> {
    let _ = write!(io::stderr().lock(), "-- page {page} of {of}: Enter shows the next, q stops -- ");
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    match read {
        Ok(length) if length > 0 && !line.trim().eq_ignore_ascii_case("q") => Ok(()),
        _ => Err(Failure::No("not signed: the review was not shown to its end; nothing was written".to_owned())),
    }
}

/// The pages of a text: each leaves a row for the prompt and one for the question. A line that is longer than a page is
/// split.
fn pages(text: &str, rows: usize, columns: usize) -> Vec<String> {
    let (rows, columns) = (rows.saturating_sub(2).max(1), columns.max(1));
    let mut pages = vec![String::new()];
    let mut used = 0;
    for line in text.trim_end().split('\n') {
        for (part, height) in parts(line, rows, columns) {
            if used > 0 && used + height > rows {
                pages.push(String::new());
                used = 0;
            }
            used += height;
            if let Some(page) = pages.last_mut() {
                page.push_str(&part);
                page.push('\n');
            }
        }
    }
    pages
}

/// A line, and the rows that it takes; of a line that is longer than a page, its parts without styles.
fn parts(line: &str, rows: usize, columns: usize) -> Vec<(String, usize)> {
    let plain = anstream::adapter::strip_str(line).to_string();
    // A wide character takes two columns. Counting two for all that are not ASCII never counts too few.
    let width = |character: char| if character.is_ascii() { 1 } else { 2 };
    let total: usize = plain.chars().map(width).sum();
    if total <= rows * columns {
        return vec![(line.to_owned(), total.div_ceil(columns).max(1))];
    }
    let mut parts = vec![(String::new(), rows)];
    let mut used = 0;
    for character in plain.chars() {
        used += width(character);
        if used > rows * columns {
            parts.push((String::new(), rows));
            used = width(character);
        }
        if let Some((part, _)) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_never_higher_than_the_terminal_and_nothing_is_lost() {
        let text = format!("short\n{}\n{}\n\nend\n", "x".repeat(70), "y".repeat(1000));
        for (rows, columns) in [(3, 10), (24, 80), (5, 33), (1, 1), (200, 200)] {
            let pages = pages(&text, rows, columns);
            for page in &pages {
                let height: usize = page.lines().map(|line| line.len().div_ceil(columns).max(1)).sum();
                assert!(height <= rows.saturating_sub(2).max(1), "{rows}x{columns}: {page}");
            }
            assert_eq!(pages.concat().replace('\n', ""), text.replace('\n', ""));
            assert_eq!(pages.len() == 1, rows >= 24, "{rows}x{columns}");
        }
    }
}

//! A command on a pseudo-terminal, with somebody who types, and what the terminal shows at the end. Python opens the terminal,
//! because the standard library of Rust cannot.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use crate::PATIENCE;
use crate::page::Answer;

/// Runs its arguments on a terminal, and copies between the terminal and the pipes.
const PYTHON: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
/// The terminal is so high that a review is one page.
const SIZE: &str = "stty rows 1000 cols 400";

/// Runs a shell command on a terminal, and types the answers. `python` is the command `python3`. Returns the exit code and the
/// text that the terminal shows.
pub(crate) fn run(mut python: Command, command: &str, answers: &[Answer]) -> (Option<i32>, String) {
    python.args(["-c", PYTHON, "sh", "-c", &format!("{SIZE} && {command}")]);
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
    let printed = printed(child.stdout.take().expect("it is a pipe"));
    let mut keyboard = child.stdin.take().expect("it is a pipe");
    let mut raw = Vec::new();
    let mut seen = 0;
    for answer in answers {
        seen = wait_for(&answer.question, &printed, &mut raw, seen, &mut child);
        keyboard.write_all(answer.keys.as_bytes()).and_then(|()| keyboard.flush()).expect("the terminal is open");
    }
    raw.extend(printed.iter().flatten());
    let status = child.wait().expect("a child can be waited for");
    (status.code(), shown(&String::from_utf8_lossy(&raw)))
}

/// What the terminal prints, in pieces, until it is closed.
fn printed(mut stdout: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver): (Sender<Vec<u8>>, _) = channel();
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut piece) {
            if sender.send(piece[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits until the words are printed after the first `seen` bytes. Returns the number of bytes up to and with the words.
fn wait_for(words: &str, printed: &Receiver<Vec<u8>>, raw: &mut Vec<u8>, seen: usize, child: &mut Child) -> usize {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = raw[seen..].windows(words.len()).position(|window| window == words.as_bytes());
        if let Some(at) = found {
            return seen + at + words.len();
        }
        let Ok(piece) = printed.recv_timeout(end.saturating_duration_since(Instant::now())) else {
            child.kill().ok();
            panic!("waited for {words:?} on the terminal, which shows:\n{}", shown(&String::from_utf8_lossy(raw)));
        };
        raw.extend(piece);
    }
}

/// What a terminal shows after these bytes: text, and the control sequences that move the cursor and erase.
fn shown(raw: &str) -> String {
    let mut rows: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        match character {
            '\r' => column = 0,
            '\n' => row += 1,
            '\x1b' => {
                let (parameter, last) = sequence(&mut characters);
                let count = parameter.parse().unwrap_or(1).max(1);
                match last {
                    'A' => row = row.saturating_sub(count),
                    'B' => row += count,
                    'C' => column += count,
                    'D' => column = column.saturating_sub(count),
                    'G' => column = count - 1,
                    'K' if parameter == "2" => rows[row].clear(),
                    'K' => rows[row].truncate(column),
                    'J' => {
                        rows[row].truncate(column);
                        rows.truncate(row + 1);
                    }
                    _ => {} // colours and modes
                }
            }
            _ => {
                let line = &mut rows[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = character;
                column += 1;
            }
        }
        if rows.len() <= row {
            rows.resize(row + 1, Vec::new());
        }
    }
    let line = |row: Vec<char>| row.into_iter().collect::<String>().trim_end().to_owned() + "\n";
    rows.into_iter().map(line).collect()
}

/// The parameter and the final character of a control sequence, after ESC.
fn sequence(characters: &mut std::str::Chars<'_>) -> (String, char) {
    let mut parameter = String::new();
    if characters.next() != Some('[') {
        return (parameter, ' ');
    }
    for character in characters {
        if character.is_ascii_alphabetic() {
            return (parameter, character);
        }
        parameter.push(character);
    }
    (parameter, ' ')
}

//! `audit --watch` on a log file.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use crate::{folder::Folder, transcripts};

#[test]
fn follows_a_log_as_it_grows_and_when_it_is_rotated() {
    let folder = Folder::new();
    let given = fs::read_to_string(transcripts().join("audit.in/webhook.log")).expect("a readable file");
    let lines: Vec<&str> = given.lines().skip(1).collect();
    folder.write("log", format!("{}\n", lines[0]));
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-writgate"))
        .args(["audit", "--log", "log", "--watch", "-o", "json"])
        .current_dir(folder.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut shown = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || shown.next().expect("another line").expect("UTF-8");
    assert_eq!(next(), lines[0]);
    let mut log = fs::OpenOptions::new().append(true).open(folder.path("log")).expect("a writable file");
    log.write_all(format!("{}\n", lines[1]).as_bytes()).expect("a writable file");
    assert_eq!(next(), lines[1]);
    fs::rename(folder.path("log"), folder.path("log.1")).expect("the file can be changed");
    log.write_all(format!("{}\n", lines[2]).as_bytes()).expect("the last lines go to the old file");
    folder.write("log", format!("{}\n", lines[3]));
    assert_eq!([next(), next()], [lines[2], lines[3]]);
    child.kill().expect("the program runs until it is killed");
    child.wait().expect("a child can be waited for");
}

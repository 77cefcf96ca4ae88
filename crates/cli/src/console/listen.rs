//! The sockets, which are on loopback only, and the browser.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr},
    process::{Command, Stdio},
    time::Duration,
};

use axum::Router;
use futures::future;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    console::{Console, Shared},
    failure::{Answer, Failure},
    platform,
    terminal::output::{self, note},
};

/// How often a free port is tried on both addresses.
const ATTEMPTS: usize = 16;
/// How often to look for a session that nobody has used for too long.
const TICK: Duration = Duration::from_secs(5);

/// Sockets on 127.0.0.1 and, if the machine has it, on `[::1]`.
pub(super) struct Listeners {
    sockets: Vec<TcpListener>,
    pub(super) port: u16,
}

impl Listeners {
    #[cfg(test)]
    pub(super) fn addresses(&self) -> impl Iterator<Item = std::net::SocketAddr> {
        self.sockets.iter().map(|socket| socket.local_addr().expect("an address"))
    }
}

/// Listens on `port`, or on a free one if it is 0.
pub(super) async fn bind(port: u16) -> Result<Listeners, Failure> {
    let mut last = None;
    for _ in 0..if port == 0 { ATTEMPTS } else { 1 } {
        match both(port).await {
            Ok(listeners) => return Ok(listeners),
            Err(error) => last = Some(error),
        }
    }
    let why = last.map(|error| error.to_string()).unwrap_or_default();
    Err(Failure::Undetermined(if port == 0 {
        format!("cannot listen on 127.0.0.1: {why}")
    } else {
        format!(
            "cannot listen on port {port} of 127.0.0.1 and [::1]: {why}; pass another --port, or none for a free one"
        )
    }))
}

async fn both(port: u16) -> io::Result<Listeners> {
    let four = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = four.local_addr()?.port();
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
        Ok(six) => Ok(Listeners { sockets: vec![four, six], port }),
        // `localhost` may lead to [::1], where somebody else would answer.
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(error),
        Err(_) => Ok(Listeners { sockets: vec![four], port }),
    }
}

/// Serves until the program is ended. Prints the address first.
pub(super) async fn serve(
    listeners: Listeners,
    router: Router,
    console: &Shared,
    open: bool,
) -> Result<Answer, Failure> {
    let address = console.session.secret().map(|secret| console.address(&secret)).unwrap_or_default();
    note("open this address in your browser; it works once (Ctrl+C ends the console):");
    output::print(&format!("{address}\n"))?;
    // Kept until the program ends: the browser reads the file when it is ready.
    let _file = open.then(|| browse(&address));
    let watched = Shared::clone(console);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TICK).await;
            end_idle(&watched);
        }
    });
    let servers = listeners.sockets.into_iter().map(|socket| {
        let router = router.clone();
        Box::pin(async move { axum::serve(socket, router).await })
    });
    let (ended, _, _) = future::select_all(servers).await;
    ended.map(|()| Answer::Yes).map_err(|error| Failure::Undetermined(format!("the console cannot serve: {error}")))
}

/// Prints another address if nobody has used the console for too long.
fn end_idle(console: &Console) {
    if !console.session.is_open() {
        console.announce();
    }
}

/// Opens the address in the user's browser. Not as an argument of the browser, which every user of the machine can read: a
/// file that only this user can read leads to it.
fn browse(address: &str) -> Option<TempDir> {
    let cannot = |why: String| note(&format!("note: cannot open a browser: {why}; open the address yourself"));
    let written = || -> io::Result<(TempDir, std::path::PathBuf)> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("writgate-console-");
        platform::with_mode(&mut builder, 0o700);
        let folder = builder.tempdir()?;
        let path = folder.path().join("open.html");
        fs::write(
            &path,
            format!(
                "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=\"0;url={address}\"><title>Writgate</title>"
            ),
        )?;
        Ok((folder, path))
    };
    let (folder, path) = written().map_err(|error| cannot(error.to_string())).ok()?;
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    let started =
        Command::new(program).arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    started.map_err(|error| cannot(format!("{program}: {error}"))).ok()?;
    Some(folder)
}

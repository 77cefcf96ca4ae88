//! All decisions that match, as a file. The source is read again, and the file is sent while it is read, so memory does not grow
//! with the log.

use std::io::{self, Write};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderName, header},
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;
use writgate_cluster::clock;

use super::{Query, readings};
use crate::{
    command::audit::history::{Filter, Format, Printer},
    console::{Console, PageError, Shared},
    failure::Failure,
};

/// Parts of the file that wait for the browser, of 64 KiB each.
const WAITING: usize = 4;

/// A part of the file, or why there is no more.
type Part = Result<Bytes, Failure>;

pub(super) async fn csv(console: State<Shared>, request: Request) -> Result<Response, PageError> {
    file(console, request, Format::Csv, "text/csv; charset=utf-8", "decisions.csv").await
}

pub(super) async fn json(console: State<Shared>, request: Request) -> Result<Response, PageError> {
    file(console, request, Format::Json, "application/x-ndjson", "decisions.json").await
}

async fn file(
    State(console): State<Shared>,
    request: Request,
    format: Format,
    kind: &'static str,
    name: &str,
) -> Result<Response, PageError> {
    let query = Query::of(&request, &console)?;
    let (to, mut from) = mpsc::channel::<Part>(WAITING);
    let shared = Shared::clone(&console);
    tokio::task::spawn_blocking(move || {
        if let Err(failure) = write(&shared, &query, format, &to) {
            let _ = to.blocking_send(Err(failure));
        }
    });
    // A source that cannot be opened is a page, not a file.
    let first = match from.recv().await {
        Some(Err(failure)) => return Err(failure.into()),
        Some(Ok(part)) => part,
        None => Bytes::new(),
    };
    let rest = stream::unfold(from, |mut from| async { from.recv().await.map(|part| (part, from)) });
    let parts = stream::iter([Ok(first)]).chain(rest);
    // A failure after the first part ends the connection early, so that the browser reports an incomplete file.
    let parts = parts.map(|part| part.map_err(|failure| io::Error::other(failure.to_string())));
    let headers: [(HeaderName, String); 2] = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, Body::from_stream(parts)).into_response())
}

fn write(console: &Console, query: &Query, format: Format, to: &mpsc::Sender<Part>) -> Result<(), Failure> {
    let flags = query.flags()?;
    let filter = Filter::of_fields(&flags, clock::now())?;
    let printer = Printer::new(Parts(to), format, false);
    readings::read(console, query.source, filter, format, printer).map(drop)
}

/// Sends what is written to the browser.
struct Parts<'a>(&'a mpsc::Sender<Part>);

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! The Events of several contexts of the kubeconfig, each read on a thread with its own connection, so that a cluster that does
//! not answer delays no other.

use std::{
    path::PathBuf,
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use crate::{
    cluster::{
        ClusterFlags,
        event_reader::{EventReader, NamespaceScopeFlags, ReportedEvent},
    },
    command::audit::{Arguments, printer::READER_GONE, verification::Verification},
    failure::Failure,
};

/// What was read of one context.
pub(super) struct ContextEvents {
    /// The Events, the oldest first.
    pub(super) events: Vec<ReportedEvent>,
    /// With `--verify`, the verification by the keys of this cluster.
    pub(super) verification: Option<Verification>,
}

/// A context's name, and what was read of it.
type Read = (String, Result<ContextEvents, Failure>);

/// The contexts to read.
pub(super) struct Contexts {
    contexts: Vec<Context>,
    watch: bool,
}

#[derive(Clone)]
struct Context {
    name: String,
    flags: ClusterFlags,
    scope: NamespaceScopeFlags,
    /// With `--verify`, the files of the keys; none means the cluster's checkpoints.
    keys: Option<Vec<PathBuf>>,
}

impl Contexts {
    pub(super) fn of(each: &[(Option<&str>, ClusterFlags)], arguments: &Arguments) -> Self {
        let context = |(name, flags): &(Option<&str>, ClusterFlags)| Context {
            name: name.unwrap_or_default().to_owned(),
            flags: flags.clone(),
            scope: arguments.scope.clone(),
            keys: arguments.verify.then(|| arguments.key.clone()),
        };
        Self { contexts: each.iter().map(context).collect(), watch: arguments.watch }
    }

    /// Passes what was read to `report`: everything at once in the order of the contexts, or, with `--watch`, what arrives
    /// until no context can be read any more.
    pub(super) fn read(&self, mut report: impl FnMut(Vec<Read>) -> Result<(), Failure>) -> Result<(), Failure> {
        let (to, from): (Sender<Read>, Receiver<Read>) = mpsc::channel();
        // A thread that waits for a cluster ends with the program, which does not wait for it.
        for context in &self.contexts {
            let (context, to, watch) = (context.clone(), to.clone(), self.watch);
            thread::spawn(move || {
                if let Err(failure) = context.read(watch, &to) {
                    let _ = to.send((context.name, Err(failure)));
                }
            });
        }
        drop(to);
        if self.watch {
            return from.into_iter().try_for_each(|read| report(vec![read]));
        }
        let mut read: Vec<Read> = from.into_iter().collect();
        read.sort_by_key(|(name, _)| self.contexts.iter().position(|context| context.name == *name));
        report(read)
    }
}

impl Context {
    fn read(&self, watch: bool, to: &Sender<Read>) -> Result<(), Failure> {
        let send = |events, verification| {
            let read = ContextEvents { events, verification };
            to.send((self.name.clone(), Ok(read))).map_err(|_| Failure::Undetermined(READER_GONE.to_owned()))
        };
        let cluster = self.flags.connect()?;
        let verification = self.keys.as_ref().map(|keys| Verification::by(keys, Some(&cluster))).transpose()?;
        let mut reader = EventReader::new(&cluster, self.scope.of(&cluster)?);
        let (events, mut version) = reader.list()?;
        send(events, verification)?;
        if !watch {
            return Ok(());
        }
        loop {
            reader.watch(&version, |event| send(vec![event], None))?;
            let (events, next) = reader.list()?;
            version = next;
            send(events, None)?;
        }
    }
}

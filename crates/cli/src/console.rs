//! The console: web pages on loopback, for people who prefer them to a terminal.
//!
//! Each page has a file with a `router()`. `security` is the only way to a page: it compares Host and Origin, and requires the
//! session's prefix and cookie and, for a POST, its token. `layout` has the frame of a page, and `text` the only way in which a page shows
//! what others wrote. Pages call the code of the verbs; no rule lives here. docs/adr/0028-console.md has the reasons.

mod assets;
mod desk;
mod history;
mod kept;
mod layout;
mod listen;
mod look;
mod postures;
mod requests;
mod review;
mod running;
mod security;
mod session;
mod sign;
mod snapshot;
mod text;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use writgate_core::{
    approval::{KeyId, PublicKey},
    posture::PostureSet,
};

pub(crate) use crate::console::{
    history::LogFlags,
    layout::{PageError, page},
    text::foreign,
};
use crate::{
    cluster::{Cluster, ClusterFlags, event_reader::NamespaceScope},
    command::coverage::CoverageReport,
    console::{history::readings::Readings, kept::Kept, session::Session, snapshot::Snapshots},
    failure::{Answer, Failure},
    manifest::input::WorkloadKindFlags,
    postures::PostureSourceFlags,
    signer::SignerFlags,
};

/// What the flags say.
pub(crate) struct Settings {
    /// The namespaces to read.
    pub(crate) scope: NamespaceScope,
    pub(crate) cluster: ClusterFlags,
    /// The host of the API server, for the head of each page.
    pub(crate) server: String,
    pub(crate) kinds: WorkloadKindFlags,
    pub(crate) logs: LogFlags,
    /// Absent: nothing is signed.
    pub(crate) signer: Option<SignerFlags>,
    pub(crate) idle_timeout: Duration,
}

/// The state that all pages share.
pub(crate) struct Console {
    pub(crate) settings: Settings,
    session: Session,
    snapshots: Snapshots,
    readings: Readings,
    coverage: Kept<CoverageReport>,
    posture_set: Kept<PostureSet>,
    /// The public key that signs, as soon as it is known: that of an encrypted key file after its passphrase.
    own: Mutex<Option<PublicKey>>,
    /// Held while something is signed.
    signing: Mutex<()>,
    /// The port of both addresses.
    port: u16,
}

/// The state of a handler: `State(console): State<Shared>`.
pub(crate) type Shared = Arc<Console>;

impl Console {
    fn new(settings: Settings, port: u16) -> Result<Shared, Failure> {
        let session = Session::new(settings.idle_timeout)?;
        // A signer that cannot be used is reported in the terminal, before there is a page.
        let own = settings.signer.as_ref().map(SignerFlags::find).transpose()?;
        let own = Mutex::new(own.and_then(|signer| signer.public().cloned()));
        Ok(Arc::new(Self {
            settings,
            session,
            snapshots: Snapshots::default(),
            readings: Readings::default(),
            coverage: Kept::default(),
            posture_set: Kept::default(),
            own,
            signing: Mutex::default(),
            port,
        }))
    }

    /// The key that signs; none as long as it is not known.
    fn own_public_key(&self) -> Option<PublicKey> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn own_key(&self) -> Option<KeyId> {
        self.own_public_key().as_ref().map(PublicKey::id)
    }

    /// Connects to the cluster. For [`Console::blocking`] only: it waits.
    pub(crate) fn connect(&self) -> Result<Cluster, Failure> {
        self.settings.cluster.connect()
    }

    /// The postures of the cluster.
    pub(crate) fn postures(&self) -> PostureSourceFlags {
        PostureSourceFlags { posture_dir: None, cluster: self.settings.cluster.clone() }
    }

    /// Runs work that waits for the cluster, a signer or a file, on a thread of its own. Handlers are async, and the code of
    /// the verbs is not.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let console = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&console))
            .await
            .map_err(|error| Failure::Undetermined(format!("the console has a defect: {error}")))?
    }
}

/// Every page, behind `security`.
fn router(console: &Shared) -> Router {
    let pages = Router::new()
        .merge(requests::router())
        .merge(review::router())
        .merge(sign::router())
        .merge(history::router())
        .merge(running::router())
        .merge(postures::router())
        // Further pages: a file with `pub(super) fn router() -> Router<Shared>` each, merged here, and an entry in `layout::TABS`.
        .merge(session::router())
        .merge(assets::router())
        .fallback(layout::not_found)
        .method_not_allowed_fallback(layout::wrong_method);
    security::protect(pages, console)
}

/// Serves the pages until the user ends the console.
pub(crate) fn run(settings: Settings, port: u16, open: bool) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Undetermined(format!("cannot start the async runtime: {error}")))?;
    runtime.block_on(async {
        let listeners = listen::bind(port).await?;
        let console = Console::new(settings, listeners.port)?;
        snapshot::start(&console);
        listen::serve(listeners, router(&console), &console, open).await
    })
}

#[cfg(test)]
mod tests;

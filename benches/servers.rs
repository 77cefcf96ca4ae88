//! The measured servers: the floor, and the webhook on each posture folder, in one or two builds.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    approval,
    load::{Generator, Target},
    plan::Row,
    process::Process,
    report::Footprint,
};

/// Threads of each server, as many as the webhook has by default.
pub(crate) const WORKERS: usize = 2;
pub(crate) const FLOOR: &str = "the floor";

/// A build of the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Build {
    /// The measured one.
    This,
    /// The one that it is compared with.
    Before,
}

impl Build {
    /// `name`, with a mark if it is the other build.
    pub(crate) fn label(self, name: &str) -> String {
        match self {
            Self::This => name.to_owned(),
            Self::Before => format!("{name}, before"),
        }
    }
}

/// A running server and its measurements.
pub(crate) struct Started {
    pub(crate) process: Process,
    pub(crate) footprint: Footprint,
    /// The number of admissions and denials in its answers.
    pub(crate) decisions: usize,
}

/// What a server is started with.
pub(crate) struct Starter<'a> {
    pub(crate) generator: &'a Generator,
    pub(crate) certificate: &'a Certificate,
    /// The folder of the servers' logs.
    pub(crate) scratch: &'a Path,
    /// Starts of a server to measure the time until it is ready. The last process stays.
    pub(crate) starts: usize,
}

impl Starter<'_> {
    pub(crate) fn floor(&self, first: &Row) -> anyhow::Result<Started> {
        let public_key = STANDARD.encode(approval::key(0).verifying_key().as_bytes());
        let this = std::env::current_exe()?;
        self.start((FLOOR, Build::This), first, &self.scratch.join("floor.log"), |address| {
            let mut command = Command::new(&this);
            command.args(["floor", "--public-key", &public_key]).args(self.certificate.flags(address));
            command
        })
    }

    /// The webhook `program` on a posture folder.
    pub(crate) fn webhook(
        &self,
        name: (&'static str, Build),
        program: &Path,
        folder: &Path,
        first: &Row,
    ) -> anyhow::Result<Started> {
        self.start(name, first, &folder.with_extension(format!("{:?}.log", name.1)), |address| {
            let mut command = Command::new(program);
            command.arg("--posture-dir").arg(folder).args(self.certificate.flags(address));
            // The metrics are not read, but counting them is part of the work.
            command.args(["--admin-listen", "127.0.0.1:0", "--drain", "0s"]);
            command
        })
    }

    /// Starts a server several times to measure the time until it answers `first`. The last process stays.
    fn start(
        &self,
        (name, build): (&'static str, Build),
        first: &Row,
        log: &Path,
        command: impl Fn(SocketAddr) -> Command,
    ) -> anyhow::Result<Started> {
        let mut times_to_ready = Vec::new();
        loop {
            let first = |address| Target::review(address, &first.review, first.verdict);
            let (process, time) = Process::start(self.generator, first, log, &command)?;
            times_to_ready.push(time);
            if times_to_ready.len() == self.starts {
                let idle_mib = process.resident_mib()?;
                let footprint = Footprint { name, build, times_to_ready, idle_mib, loaded_mib: 0.0 };
                return Ok(Started { process, footprint, decisions: 1 });
            }
            process.stop();
        }
    }
}

/// A certificate for `localhost`, and its key, in files.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    pub(crate) fn write(folder: &Path) -> anyhow::Result<Self> {
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        Self::store(folder, &cert.pem(), &signing_key.serialize_pem())
    }

    /// Writes a certificate and its key, both in PEM.
    pub(crate) fn store(folder: &Path, certificate: &str, key: &str) -> anyhow::Result<Self> {
        let written = Self { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        fs::write(&written.certificate, certificate)?;
        fs::write(&written.key, key)?;
        Ok(written)
    }

    /// The flags that both servers have.
    pub(crate) fn flags(&self, listen: SocketAddr) -> Vec<OsString> {
        vec![
            "--listen".into(),
            listen.to_string().into(),
            "--tls-cert-file".into(),
            self.certificate.clone().into(),
            "--tls-private-key-file".into(),
            self.key.clone().into(),
            "--workers".into(),
            WORKERS.to_string().into(),
        ]
    }
}

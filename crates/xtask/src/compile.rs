//! Compiling a program so that the same sources and tools give the same bytes, in any folder.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// A program of the workspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    package: &'static str,
    pub(crate) name: &'static str,
}

pub(crate) const WEBHOOK: Program = Program { package: "writgate", name: "writgate-webhook" };
pub(crate) const PLUGIN: Program = Program { package: "writgate-cli", name: "kubectl-writgate" };

/// Flags of rustc in addition to those that replace paths.
///
/// LLD and the C library come with the Rust toolchain, so that neither the system's linker nor its libc changes the
/// result. Random numbers come from the system call alone: `getrandom` must not look for `/dev/urandom`, which an empty
/// image does not have.
const FLAGS: [&str; 4] = [
    "-Clinker=rust-lld",
    "-Clink-self-contained=yes",
    "-Ctarget-feature=+crt-static",
    "--cfg=getrandom_backend=\"linux_getrandom\"",
];

/// Compiles a static program from the sources in `root`, with the list of its dependencies in it (`cargo auditable`).
/// Returns its path.
pub(crate) fn static_program(program: Program, root: &Path) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    check_tools(&target)?;
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("HOME is not set")?;
    let mut flags: Vec<String> = FLAGS.map(str::to_owned).into();
    flags.push(format!("--remap-path-prefix={}=/cargo", cargo_home.display()));
    flags.push(format!("--remap-path-prefix={}=/writgate", root.display()));
    // `cargo run` sets variables of this package, which must not reach build scripts.
    let mut cargo = Command::new("cargo");
    for (name, _) in env::vars_os() {
        let is_inherited = name.to_str().is_some_and(|name| name.starts_with("CARGO_") && name != "CARGO_HOME");
        if is_inherited {
            cargo.env_remove(name);
        }
    }
    let status = cargo
        .current_dir(root)
        .args(["auditable", "build", "--release", "--locked", "--target", &target, "--target-dir", "target"])
        .args(["--package", program.package, "--bin", program.name])
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_INCREMENTAL", "0")
        // C compilers use it for `__DATE__`. With the time of the commit, each commit would compile ring and all crates that depend
        // on it again.
        .env("SOURCE_DATE_EPOCH", "0")
        .status()
        .context("cargo cannot be started")?;
    ensure!(status.success(), "{} could not be compiled for {target}", program.name);
    Ok(root.join("target").join(target).join("release").join(program.name))
}

/// Fails if the target or its C compiler is missing, and says how to install it.
fn check_tools(target: &str) -> Result<()> {
    let libraries = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    let libraries = libraries.context("rustc cannot be started")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&libraries.stdout).trim());
    ensure!(
        libraries.status.success() && folder.is_dir(),
        "the Rust toolchain has no target {target}; run: rustup target add {target}"
    );
    let is_found = env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|folder| {
        ["musl-gcc", &format!("{}-linux-musl-gcc", env::consts::ARCH)].iter().any(|name| folder.join(name).is_file())
    });
    ensure!(
        is_found,
        "musl-gcc, which compiles the C code of ring, is not on the PATH; run: apt-get install musl-tools"
    );
    Ok(())
}

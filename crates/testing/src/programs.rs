//! Where the workspace's own programs are: beside the running test, where cargo puts them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate is in crates/")
}

/// `kubectl-writgate`, built first: cargo builds the programs of a test's own package alone.
pub fn plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        let path = program("kubectl-writgate");
        // Set by `cargo test`. A test that was started by hand takes what is there.
        if let Some(cargo) = env::var_os("CARGO") {
            let mut build = Command::new(cargo);
            build.current_dir(repository()).args([
                "build",
                "--quiet",
                "--locked",
                "--package",
                "writgate-cli",
                "--bins",
            ]);
            // The folder of a profile has its name, but for this one.
            match profile_folder().file_name().filter(|name| *name != "debug") {
                Some(profile) => build.arg("--profile").arg(profile),
                None => &mut build,
            };
            let built = build.status().expect("cargo starts");
            assert!(built.success(), "{} could not be built: {built}", path.display());
        }
        path
    })
}

/// A program of the profile that the running test is of.
pub fn program(name: &str) -> PathBuf {
    profile_folder().join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// Cargo's folder for what tests leave behind, which is made if it is not there.
pub fn scratch() -> PathBuf {
    let folder = profile_folder().with_file_name("tmp");
    fs::create_dir_all(&folder).expect("target/tmp can be written");
    folder
}

/// `target/PROFILE`, of `target/PROFILE/deps/TEST`.
fn profile_folder() -> PathBuf {
    let test = env::current_exe().expect("a process knows its program");
    test.ancestors().nth(2).expect("a test is in cargo's target folder").to_owned()
}

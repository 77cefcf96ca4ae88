//! The paths of the workspace's programs in Cargo's target folder.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate is in crates/")
}

/// The path of `kubectl-writgate`. Cargo builds only the programs of a test's own package, so this function builds it if it is
/// older than its sources. A test that was started without Cargo uses the existing program.
pub fn plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        let path = program("kubectl-writgate");
        if let Some(cargo) = env::var_os("CARGO").filter(|_| !is_fresh(&path)) {
            build_plugin(&cargo, &path);
        }
        path
    })
}

/// Whether a program is newer than its sources.
fn is_fresh(program: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Some(built) = modified(program) else { return false };
    let mut folders: Vec<PathBuf> =
        ["core", "cluster", "cli"].iter().map(|name| repository().join("crates").join(name).join("src")).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("sources can be listed").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if modified(&path).is_none_or(|modified| modified > built) {
                return false;
            }
        }
    }
    true
}

fn build_plugin(cargo: &OsStr, path: &Path) {
    let mut build = Command::new(cargo);
    build.current_dir(repository()).args(["build", "--quiet", "--locked", "--package", "writgate-cli", "--bins"]);
    // The folder of a profile has the profile's name, except that of `dev`.
    if let Some(profile) = profile_folder().file_name().filter(|name| *name != "debug") {
        build.arg("--profile").arg(profile);
    }
    let status = build.status().expect("cargo starts");
    assert!(status.success(), "{} could not be built: {status}", path.display());
}

/// The path of a program of the running test's profile.
pub fn program(name: &str) -> PathBuf {
    profile_folder().join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// Cargo's folder for files of tests. It is created if it does not exist.
pub fn scratch() -> PathBuf {
    let folder = profile_folder().with_file_name("tmp");
    fs::create_dir_all(&folder).expect("target/tmp can be written");
    folder
}

/// `target/PROFILE`, of `target/PROFILE/deps/TEST`.
pub(crate) fn profile_folder() -> PathBuf {
    let test = env::current_exe().expect("a process knows its program");
    test.ancestors().nth(2).expect("a test is in cargo's target folder").to_owned()
}

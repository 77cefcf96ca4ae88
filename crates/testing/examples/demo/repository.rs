//! The Git repository of the page, and Flux, which applies it. Git is real, and so is kustomize-controller. In place of
//! source-controller, the demo publishes each commit that was pushed.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use writgate_testing::flux::{self, FileServer, Repository, SYSTEM};
use writgate_testing::{Plane, Process, Ran};

/// The name of the repository, of its clone and of the GitRepository.
const NAME: &str = "orders";

/// The repository and Flux.
pub(crate) struct Source {
    // Stopped before the control plane.
    _controller: Process,
    server: FileServer,
    /// The bare repository that people push to, while a page is played.
    bare: RefCell<PathBuf>,
    published: RefCell<String>,
}

impl Source {
    pub(crate) fn start(plane: &Plane) -> Self {
        flux::install(plane);
        let controller = flux::controller(plane, "kustomize-controller", "kustomize-controller", &[]);
        let server = FileServer::start(plane.folder.join("artifacts"));
        Self { _controller: controller, server, bare: RefCell::default(), published: RefCell::default() }
    }

    /// Makes an empty repository in `folder`, with a clone.
    pub(crate) fn create(&self, folder: &Path) {
        let bare = folder.join(format!("{NAME}.git"));
        git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", &format!("{NAME}.git")]);
        git(folder, &["clone", "--quiet", &format!("{NAME}.git"), NAME]);
        *self.bare.borrow_mut() = bare;
    }

    /// Publishes the last commit that was pushed, if the GitRepository exists.
    pub(crate) fn publish(&self, plane: &Plane) {
        let bare = self.bare.borrow();
        let head = fs::read_to_string(bare.join("refs/heads/main")).unwrap_or_default();
        if head == *self.published.borrow() || plane.admin.get(&["gitrepository", NAME, "-n", SYSTEM]).is_none() {
            return;
        }
        let repository = Repository::of(plane, &self.server, NAME);
        fs::remove_dir_all(&repository.folder).expect("the plane's folder can be written");
        let folder = repository.folder.to_str().expect("a UTF-8 path");
        git(&bare, &["clone", "--quiet", ".", folder]);
        fs::remove_dir_all(repository.folder.join(".git")).expect("it is a clone");
        repository.push_commit(head.trim());
        *self.published.borrow_mut() = head;
    }
}

/// Has Git read no configuration of the person who runs the demo.
pub(crate) fn without_configuration(command: &mut Command) {
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
}

fn git(folder: &Path, args: &[&str]) {
    let mut command = Command::new("git");
    without_configuration(command.args(args).current_dir(folder));
    let ran = Ran::of(&mut command, "");
    assert!(ran.ok(), "git {args:?}: {ran}");
}

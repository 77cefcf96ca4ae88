//! A wall clock that jumps while the webhook runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use writgate_testing::{repository, wait_until};

use super::{Installed, LIMIT, Released, matches, readiness, warnings};

const YEAR: i64 = 365 * 24 * 3600;

/// The clock of one process.
struct Clock {
    library: PathBuf,
    shift: PathBuf,
}

impl Clock {
    fn new(folder: &Path) -> Self {
        let clock = Self { library: folder.join("clock.so"), shift: folder.join("clock") };
        let source = repository().join("tests/cluster/certificates/clock.c");
        // The crate ring requires a C compiler too.
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&clock.library).arg(source).status();
        assert!(compiled.expect("cc starts").success());
        clock.jump(0);
        clock
    }

    fn jump(&self, seconds: i64) {
        use std::io::Write as _;
        // The process has mapped the file, so it is not truncated.
        let file = std::fs::File::options().write(true).create(true).truncate(false).open(&self.shift);
        file.and_then(|mut file| file.write_all(&seconds.to_ne_bytes())).expect("the plane's folder can be written");
    }
}

pub(super) fn a_clock_that_jumps_a_year_stops_nothing(released: &Released) {
    let installed = Installed::new(released, "clock");
    let clock = Clock::new(&released.plane.folder);
    let environment = [("LD_PRELOAD", &*clock.library), ("WRITGATE_CLOCK", &*clock.shift)];
    let replica = installed.replica_with("a", &[], &environment);
    installed.configure(&replica);
    replica.wait_ready(LIMIT);
    installed.wait_served();
    let (authority, bundles) = (installed.secret("ca.crt"), installed.bundles());

    for (jump, side) in [(YEAR, "ahead of"), (-YEAR, "behind")] {
        clock.jump(jump);
        let cause = format!("the clock of this node is more than 300s {side} the API server's");
        wait_until("the log says so", LIMIT, || (warnings(&replica, &cause) > 0).then_some(()));
        for _ in 0..5 {
            assert!(installed.is_served());
            assert_eq!((readiness(&replica).0, matches(&replica)), (200, true));
            std::thread::sleep(Duration::from_secs(1));
        }
        assert_eq!(warnings(&replica, &cause), 1, "{}", replica.lines());
        clock.jump(0);
        wait_until("it can be kept again", LIMIT, || {
            let lines = replica.lines();
            let last = lines.lines().rfind(|line| line.contains("be kept"));
            last.is_some_and(|line| line.contains("can be kept again")).then_some(())
        });
    }
    assert_eq!((installed.secret("ca.crt"), installed.bundles()), (authority, bundles), "nothing was replaced");
    assert_eq!(replica.lines().matches("serving certificate made").count(), 1);
}

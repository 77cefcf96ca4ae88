//! Runs libFuzzer with the target that `FUZZ_TARGET` names. `make fuzz` runs every target.
#![no_main]

use std::sync::LazyLock;

use writgate_fuzz::{Target, target};

static TARGET: LazyLock<Target> =
    LazyLock::new(|| target(&std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target")));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (TARGET.run)(data);
});

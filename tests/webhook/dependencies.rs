//! The crates that each program must not depend on: the webhook on none for terminals, the command line on none of the
//! webhook's server. `cargo tree` lists them, so indirect dependencies count as well.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

/// The crates that a package must not depend on, and why.
struct Rule {
    package: &'static str,
    banned: &'static [&'static str],
    why: &'static str,
}

const RULES: [Rule; 4] = [
    Rule {
        package: "writgate",
        banned: &["clap_complete", "clap_mangen", "crossterm", "inquire", "tempfile", "trycmd", "writgate-cli"],
        why: "the webhook has no terminal, and its image ships nothing that can sign an approval",
    },
    Rule {
        package: "writgate-cli",
        banned: &["arc-swap", "axum-server", "prometheus-client", "tracing-subscriber", "writgate", "x509-cert"],
        // `axum` serves the console, on loopback (docs/adr/0028-console.md). `axum-server` would bring TLS sockets for others.
        why: "the command line serves its own user only, on loopback",
    },
    Rule {
        package: "writgate-cluster",
        banned: &["anstream", "axum", "clap", "inquire", "writgate", "writgate-cli"],
        why: "what both programs share knows neither of them",
    },
    Rule {
        package: "writgate-core",
        banned: &["axum", "clap", "k8s-openapi", "kube", "tokio", "writgate-cluster"],
        why: "core does no input or output",
    },
];

/// The direct and indirect dependencies of a package.
fn dependencies(package: &str) -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(writgate_testing::repository())
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", package])
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("UTF-8");
    let names = tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| *name != package);
    names.map(str::to_owned).collect()
}

#[test]
fn no_program_depends_on_crates_of_the_other_program() {
    let mut found = Vec::new();
    for Rule { package, banned, why } in RULES {
        let dependencies = dependencies(package);
        assert!(dependencies.contains("serde_json"), "{package}: {dependencies:?}");
        let banned = banned.iter().filter(|name| dependencies.contains(**name));
        found.extend(banned.map(|name| format!("{package} is built from {name}: {why}")));
    }
    assert!(found.is_empty(), "{}\n`cargo tree -e normal -i NAME -p PACKAGE` says what brings it", found.join("\n"));
}

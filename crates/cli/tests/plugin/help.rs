//! Help, manual pages, completion, and the manifest for krew.

use std::{fs, process::Command};

use crate::folder::Folder;

#[test]
fn every_verb_has_help_with_examples_that_fits_a_terminal() {
    let folder = Folder::new();
    let verbs = verbs(&folder, "");
    assert!(verbs.len() > 10 && verbs.contains(&"posture check".to_owned()), "{verbs:?}");
    for verb in verbs {
        let (help, _) = folder.expect(0, &format!("{verb} --help"), "");
        assert!(help.contains("Examples:\n  kubectl writgate "), "{verb}");
        assert!(help.contains(&format!("Usage: kubectl writgate {verb} ")), "{verb}");
        let long = help.lines().find(|line| line.len() > 100);
        assert_eq!(long, None, "{verb}");
    }
}

/// Every verb that does something, as the help lists them.
fn verbs(folder: &Folder, of: &str) -> Vec<String> {
    let (help, _) = folder.expect(0, &format!("{of} --help"), "");
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return vec![of.trim().to_owned()] };
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").flat_map(|name| verbs(folder, &format!("{of} {name}"))).collect()
}

#[test]
fn every_verb_has_a_manual_page() {
    let folder = Folder::new();
    folder.expect(0, "man pages", "");
    for verb in verbs(&folder, "") {
        let page = folder.read(&format!("pages/kubectl-writgate-{}.1", verb.replace(' ', "-")));
        assert!(page.contains(".SH EXAMPLES\n.nf\n  kubectl writgate "), "{verb}");
    }
    assert!(folder.read("pages/kubectl-writgate.1").contains(".SH NOTES\n"));
    assert!(!folder.path("pages/kubectl-writgate-man.1").exists());
}

#[test]
fn completes_verbs_flags_and_values() {
    let folder = Folder::new();
    let values = |words: &str| {
        let (out, _) = folder.expect(0, &format!("__complete {words}"), "");
        let mut lines: Vec<String> =
            out.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect();
        let directive = lines.pop().expect("a directive");
        (lines, directive)
    };
    let files = ":4".to_owned();
    assert_eq!(values("ver"), (vec!["verify".to_owned()], files.clone()));
    assert_eq!(values("posture c"), (vec!["check".to_owned()], files.clone()));
    assert_eq!(values("verify --posture-d"), (vec!["--posture-dir".to_owned()], files.clone()));
    assert_eq!(values("explain SelfA"), (vec!["SelfApproval".to_owned()], files.clone()));
    assert_eq!(values("explain -o j"), (vec!["json".to_owned()], files.clone()));
    assert_eq!(values("verify -f app"), (vec!["app.yaml".to_owned()], files.clone()));
    // A folder can be completed further, so no space follows it.
    assert_eq!(values("verify -f post"), (vec!["postures/".to_owned()], ":6".to_owned()));
    // Verbs for programs are not proposed.
    assert_eq!(values("__comp"), (Vec::new(), files.clone()));
    assert_eq!(values("nothing such"), (Vec::new(), files));
    assert!(folder.expect(0, "__complete", "").0.contains("keygen\tMake a reviewer's key pair"));
}

/// Checks what krew's index requires of a manifest (krew.sigs.k8s.io, "Writing Krew plugin manifests").
#[test]
fn the_krew_manifest_of_a_release_is_complete() {
    let folder = Folder::new();
    for platform in ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64"] {
        folder.write(&format!("kubectl-writgate-{platform}.tar.gz"), platform);
    }
    let fill = |version: &str| {
        let script = writgate_testing::repository().join("packaging/krew/fill");
        let arguments = [version, "https://example.org/writgate", "https://example.org/v1.2.3"];
        let output = Command::new(script).args(arguments).arg(folder.root()).output().expect("the program runs");
        (output.status.success(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (done, manifest) = fill("v1.2.3");
    assert!(done && !manifest.contains('@'), "{manifest}");
    let manifest = writgate_core::encoding::read_yaml(&manifest).expect("YAML").remove(0);
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&"Plugin".into(), &"writgate".into()));
    let spec = &manifest["spec"];
    assert_eq!(spec["version"], "v1.2.3");
    let short = spec["shortDescription"].as_str().expect("text");
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
    let platforms = spec["platforms"].as_array().expect("platforms");
    let mut digests: Vec<&str> = platforms.iter().filter_map(|platform| platform["sha256"].as_str()).collect();
    digests.dedup();
    assert_eq!((platforms.len(), digests.len()), (5, 5));
    for platform in platforms {
        let labels = &platform["selector"]["matchLabels"];
        let (os, arch) = (labels["os"].as_str().expect("text"), labels["arch"].as_str().expect("text"));
        let uri = format!("https://example.org/v1.2.3/kubectl-writgate-{os}-{arch}.tar.gz");
        assert_eq!(platform["uri"], uri.as_str());
        assert!(platform["sha256"].as_str().is_some_and(|hex| hex.len() == 64), "{platform}");
        assert_eq!(platform["bin"], if os == "windows" { "kubectl-writgate.exe" } else { "kubectl-writgate" });
    }
    assert!(!fill("1.2.3").0, "krew requires a v");
    fs::remove_file(folder.path("kubectl-writgate-darwin-arm64.tar.gz")).expect("the file can be changed");
    assert!(!fill("v1.2.3").0, "an archive is missing");
}

//! The parts of a release: checks of versions, archives, the second build, and the dry run.

use std::env::consts::{ARCH, OS};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::archive::{self, Entry};
use crate::compile::{self, PLUGIN, WEBHOOK};
use crate::image;
use crate::source::{Source, git};

/// The platforms of `packaging/krew/writgate.yaml`.
const PLATFORMS: [&str; 5] = ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64"];

const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

/// What runs only in the release workflow, and why.
const ONLY_IN_THE_WORKFLOW: [&str; 6] = [
    "compile for arm64, macOS and Windows (on runners of these systems), and merge the images of both architectures",
    "push the image and the chart to the registry (requires its credentials)",
    "sign the image, the chart and SHA256SUMS with cosign (requires the workflow's OIDC identity)",
    "attest provenance and the SBOM (requires the workflow's OIDC identity)",
    "fill in krew's manifest with the digests of the real archives and the address of the release",
    "create the release on the code host",
];

/// Files that name the version, and how. `make manifests-check` compares those that the chart renders.
const NAMED_IN: [(&str, &str); 4] = [
    ("packaging/helm-post-renderer/plugin.yaml", "version: VERSION\n"),
    ("kustomize/argocd/application.yaml", "targetRevision: vVERSION,"),
    ("kustomize/flux/sync.yaml", "ref: {tag: vVERSION}"),
    ("kustomize/flux/sync.yaml", "newTag: VERSION}"),
];

/// Compares `layout` with one that is built from a copy of the sources in another folder.
pub(crate) fn reproduce(layout: &Path) -> Result<()> {
    let source = Source::read()?;
    let first = files(layout)?;
    ensure!(!first.is_empty(), "{} has no files; run: make image", layout.display());
    let copy = source.root.join("target/reproduce");
    copy_sources(&source.root, &copy)?;
    let program = compile::static_program(WEBHOOK, &copy)?;
    let second = copy.join("image");
    let built = image::write(&[program], &source, &second)?;
    for name in &first {
        let read = |folder: &Path| fs::read(folder.join(name)).with_context(|| name.display().to_string());
        let differs = !second.join(name).is_file() || read(layout)? != read(&second)?;
        ensure!(!differs, "{} differs between {} and {}", name.display(), layout.display(), second.display());
    }
    ensure!(first == files(&second)?, "{} has further files", second.display());
    println!("identical: {} files, {}", first.len(), built.digest);
    Ok(())
}

/// Copies the files that Git knows, and new files that it does not ignore.
fn copy_sources(root: &Path, copy: &Path) -> Result<()> {
    // What was compiled there is kept; what is no longer a source must not be.
    for entry in fs::read_dir(copy).into_iter().flatten().flatten() {
        if entry.file_name() != "target" {
            let removed =
                if entry.path().is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            removed.with_context(|| format!("{} cannot be removed", entry.path().display()))?;
        }
    }
    let names = git(&["ls-files", "--cached", "--others", "--exclude-standard"]);
    for name in names.context("git ls-files failed; the second build requires a Git repository")?.lines() {
        let (from, to) = (root.join(name), copy.join(name));
        if !from.is_file() {
            continue;
        }
        fs::create_dir_all(to.parent().unwrap_or(copy))?;
        fs::copy(&from, &to).with_context(|| format!("{name} cannot be copied"))?;
    }
    Ok(())
}

/// The files below a folder, relative to it, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("{} cannot be read", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Writes an archive of the plugin. krew requires the licence in it.
pub(crate) fn archive(program: &Path, archive: &Path) -> Result<()> {
    let source = Source::read()?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
    let (contents, licence) = (read(program)?, read(&source.root.join("LICENSE"))?);
    let name = program.file_name().and_then(|name| name.to_str()).context("the program has no name")?;
    let entries =
        [Entry { name, mode: 0o755, contents: &contents }, Entry { name: "LICENSE", mode: 0o644, contents: &licence }];
    write(archive, &archive::gzip(&archive::tar(&entries, source.time)?)?)
}

fn write(path: &Path, contents: &[u8]) -> Result<()> {
    fs::write(path, contents).with_context(|| format!("{} cannot be written", path.display()))
}

/// Checks that the chart, the changelog and the files that name the version have the workspace's.
pub(crate) fn check(tag: Option<&str>) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let chart =
        fs::read_to_string("charts/writgate/Chart.yaml").context("charts/writgate/Chart.yaml cannot be read")?;
    let changelog = fs::read_to_string("CHANGELOG.md").context("CHANGELOG.md cannot be read")?;
    check_versions(version, &chart, &changelog, tag)?;
    check_mentions(version, |file| fs::read_to_string(file).with_context(|| format!("{file} cannot be read")))?;
    println!("version {version}: Cargo.toml, Chart.yaml, CHANGELOG.md, packaging/ and kustomize/ agree");
    Ok(())
}

fn check_mentions(version: &str, read: impl Fn(&str) -> Result<String>) -> Result<()> {
    for (file, mention) in NAMED_IN {
        let mention = mention.replace("VERSION", version);
        ensure!(
            read(file)?.contains(&mention),
            "{file} does not have {:?}; expected the version of Cargo.toml",
            mention.trim()
        );
    }
    Ok(())
}

fn check_versions(version: &str, chart: &str, changelog: &str, tag: Option<&str>) -> Result<()> {
    for field in ["version", "appVersion"] {
        let found = chart.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        let found = found.unwrap_or_default().trim_matches('"');
        ensure!(
            found == version,
            "{field} of charts/writgate/Chart.yaml is {found:?}; expected {version}, as in Cargo.toml"
        );
    }
    let heading = format!("## [{version}]");
    let Some(rest) = changelog.lines().find_map(|line| line.strip_prefix(&heading)) else {
        bail!("CHANGELOG.md has no section {heading:?}; move the changes of this version there");
    };
    let Some(tag) = tag else { return Ok(()) };
    ensure!(tag == format!("v{version}"), "the tag is {tag}; expected v{version}, as in Cargo.toml");
    let date = rest.strip_prefix(" - ").map(str::trim).unwrap_or_default();
    ensure!(
        date.parse::<jiff::civil::Date>().is_ok(),
        "the section {heading:?} of CHANGELOG.md has the date {date:?}; expected one such as 2026-01-31"
    );
    Ok(())
}

/// Builds what a release has for this Linux machine, into `output`.
pub(crate) fn linux(output: &Path) -> Result<()> {
    fs::create_dir_all(output).with_context(|| format!("{} cannot be created", output.display()))?;
    let source = Source::read()?;
    let webhook = compile::static_program(WEBHOOK, &source.root)?;
    let plugin = compile::static_program(PLUGIN, &source.root)?;
    fs::copy(&webhook, output.join(WEBHOOK.name)).context("the webhook cannot be copied")?;

    for (program, path) in [(WEBHOOK, &webhook), (PLUGIN, &plugin)] {
        let name = format!("{}-{}.cdx.json", program.name, platform());
        write(&output.join(&name), &run(Command::new("auditable2cdx").arg(path))?)?;
        println!("SBOM          {name}, from the list of crates in the program");
    }

    let name = archive_name(&platform());
    archive(&plugin, &output.join(&name))?;
    println!("archive       {name}");

    let pages = output.join("man");
    run(Command::new(&plugin).arg("man").arg(&pages))?;
    let manual = files(&pages)?.into_iter();
    let manual = manual.map(|page| Ok((format!("man/{}", page.display()), fs::read(pages.join(&page))?)));
    let manual = manual.collect::<Result<Vec<_>>>()?;
    fs::remove_dir_all(&pages)?;
    pack(&output.join("kubectl-writgate-man.tar.gz"), &manual, &source)?;
    let completion = |shell: &str| {
        let script = run(Command::new(&plugin).args(["completion", shell]))?;
        Ok((format!("completions/kubectl-writgate.{shell}"), script))
    };
    let completions = SHELLS.iter().map(|shell| completion(shell)).collect::<Result<Vec<_>>>()?;
    pack(&output.join("kubectl-writgate-completions.tar.gz"), &completions, &source)?;
    println!("manual        {} pages, and completion for {}", manual.len(), SHELLS.join(", "));
    Ok(())
}

/// Runs what can run on this machine, into `output`.
pub(crate) fn dry_run(helm: &Path, output: &Path) -> Result<()> {
    let source = Source::read()?;
    check(None)?;
    if output.exists() {
        ensure!(output.join("SHA256SUMS").is_file(), "{} exists and is not a dry run; remove it", output.display());
        fs::remove_dir_all(output)?;
    }
    linux(output)?;

    // The program is in the image, and not a file of the release.
    let webhook = output.join(WEBHOOK.name);
    let built = image::write(std::slice::from_ref(&webhook), &source, &output.join("image"))?;
    fs::remove_file(webhook)?;
    println!("image         {}", built.summary(&output.join("image")));

    let chart = output.join("chart");
    run(Command::new("packaging/chart/fill").args(["registry.example", &built.digest]).arg(&chart))?;
    run(Command::new(helm).args(["lint", "--strict", "--quiet"]).arg(&chart))?;
    let rendered = run(Command::new(helm).args(["template", "writgate"]).arg(&chart))?;
    let installed = format!("registry.example/writgate-webhook:{}@{}", source.version, built.digest);
    ensure!(String::from_utf8_lossy(&rendered).contains(&installed), "the chart does not install {installed}");
    run(Command::new(helm).arg("package").arg(&chart).arg("--destination").arg(output))?;
    fs::remove_dir_all(&chart)?;
    println!("chart         writgate-{}.tgz, which installs {installed}", source.version);

    let stand_ins = output.join("stand-ins");
    fs::create_dir(&stand_ins)?;
    for other in PLATFORMS {
        fs::copy(output.join(archive_name(&platform())), stand_ins.join(archive_name(other)))?;
    }
    let fill = [&format!("v{}", source.version), "https://example.org/writgate", "https://example.org/download"];
    let manifest = run(Command::new("packaging/krew/fill").args(fill).arg(&stand_ins))?;
    fs::remove_dir_all(&stand_ins)?;
    write(&output.join("krew-writgate.yaml"), &manifest)?;
    println!("krew          krew-writgate.yaml; this machine's archive stands for those of the other platforms");

    let sums = checksums(output)?;
    write(&output.join("SHA256SUMS"), sums.as_bytes())?;
    println!("checksums     SHA256SUMS, {} files", sums.lines().count());

    println!("\nOnly the release workflow can:");
    for step in ONLY_IN_THE_WORKFLOW {
        println!("- {step}");
    }
    Ok(())
}

/// This machine, as krew and the archives name it.
fn platform() -> String {
    format!("{OS}-{}", if ARCH == "x86_64" { "amd64" } else { "arm64" })
}

fn archive_name(platform: &str) -> String {
    format!("kubectl-writgate-{platform}.tar.gz")
}

fn pack(path: &Path, files: &[(String, Vec<u8>)], source: &Source) -> Result<()> {
    ensure!(!files.is_empty(), "{} would be empty", path.display());
    let entries: Vec<_> = files.iter().map(|(name, contents)| Entry { name, mode: 0o644, contents }).collect();
    write(path, &archive::gzip(&archive::tar(&entries, source.time)?)?)
}

/// The files of a release with their digests, as `sha256sum` prints them. The image is named by its own digests.
fn checksums(folder: &Path) -> Result<String> {
    let mut sums = String::new();
    for name in files(folder)?.into_iter().filter(|name| !name.starts_with("image")) {
        let digest = archive::sha256(&fs::read(folder.join(&name))?);
        writeln!(sums, "{digest}  {}", name.display())?;
    }
    Ok(sums)
}

/// Standard output of a command.
fn run(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("{} cannot be started", name.display()))?;
    ensure!(output.status.success(), "{} failed: {}", name.display(), String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: &str = "name: writgate\nversion: 1.2.3\nappVersion: 1.2.3\n";
    const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-31\n";

    fn error(version: &str, chart: &str, changelog: &str, tag: Option<&str>) -> String {
        check_versions(version, chart, changelog, tag).unwrap_err().to_string()
    }

    #[test]
    fn a_release_requires_one_version_everywhere_and_a_date() {
        check_versions("1.2.3", CHART, CHANGELOG, Some("v1.2.3")).unwrap();
        assert!(error("1.2.4", CHART, CHANGELOG, None).contains("version of charts/writgate/Chart.yaml"));
        let chart = CHART.replace("appVersion: 1.2.3", "appVersion: 1.2.2");
        assert!(error("1.2.3", &chart, CHANGELOG, None).contains("appVersion of charts"));
        assert!(error("1.2.3", CHART, "## [Unreleased]\n", None).contains("no section"));
        assert!(error("1.2.3", CHART, CHANGELOG, Some("1.2.3")).contains("expected v1.2.3"));
    }

    #[test]
    fn a_file_that_names_another_version_is_refused() {
        let root = writgate_testing::repository();
        let read = |file: &str| Ok(fs::read_to_string(root.join(file))?);
        check_mentions(env!("CARGO_PKG_VERSION"), read).unwrap();
        for (stale, mention) in NAMED_IN {
            let old = mention.replace("VERSION", env!("CARGO_PKG_VERSION"));
            let read = |file: &str| Ok(read(file)?.replace(if file == stale { old.as_str() } else { "\0" }, "other"));
            let error = check_mentions(env!("CARGO_PKG_VERSION"), read).unwrap_err().to_string();
            assert!(error.contains(stale) && error.contains(old.trim()), "{error}");
        }
    }

    #[test]
    fn only_a_tagged_release_requires_the_date() {
        let changelog = CHANGELOG.replace(" - 2026-01-31", "");
        check_versions("1.2.3", CHART, &changelog, None).unwrap();
        assert!(error("1.2.3", CHART, &changelog, Some("v1.2.3")).contains("expected one such as 2026-01-31"));
    }
}

//! `package`: the release binary, what a Debian package installs beside it (a configuration to begin
//! with, manual pages, completions), and the package, by cargo-deb.

use anyhow::{Context as _, Result, bail, ensure};
use std::path::Path;
use std::process::Command;

/// Where the service keeps its data: its `StateDirectory`.
const DATA_DIR: &str = "/var/lib/tollgate";

/// Makes `target/package/*.deb`. What it takes in is made anew each time.
pub(crate) fn make(root: &Path) -> Result<()> {
    let dir = root.join("target/package");
    let tollgate = root.join("target/release/tollgate");
    run(cargo(root).args(["build", "--release", "--locked"]))?;
    if dir.exists() {
        std::fs::remove_dir_all(&dir).context("target/package")?;
    }
    std::fs::create_dir_all(&dir).context("target/package")?;
    run(Command::new(&tollgate).arg("man").arg(dir.join("man")))?;
    for (shell, file) in [
        ("bash", "tollgate.bash"),
        ("zsh", "_tollgate"),
        ("fish", "tollgate.fish"),
    ] {
        let text = output(Command::new(&tollgate).args(["completions", shell]))?;
        std::fs::write(dir.join(file), text).context(file)?;
    }
    let config = output(Command::new(&tollgate).args(["config", "default"]))?;
    std::fs::write(dir.join("tollgate.toml"), with_data_dir(&config)?).context("tollgate.toml")?;
    let made = cargo(root)
        .args(["deb", "--no-build", "--output"])
        .arg(&dir)
        .status()
        .context("cargo deb")?;
    if !made.success() {
        bail!("cargo deb failed; if it is not there: cargo install cargo-deb --locked");
    }
    Ok(())
}

/// The configuration with the service's data directory in place of the default one.
fn with_data_dir(config: &str) -> Result<String> {
    let mut set = 0;
    let of_service = format!("data_dir = \"{DATA_DIR}\"");
    let lines = config.lines().map(|line| {
        if line
            .trim_start_matches(['#', ' '])
            .starts_with("data_dir = ")
        {
            set += 1;
            of_service.as_str()
        } else {
            line
        }
    });
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    ensure!(
        set == 1,
        "the default configuration has {set} lines of data_dir"
    );
    Ok(text)
}

/// Cargo without what the cargo that runs this chore has said of the chore's own package: a build
/// script that asks for it (ring's does) would run anew, and all that is built on it with it.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let of_package = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if of_package {
            command.env_remove(name);
        }
    }
    command
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).context("text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_configuration_is_the_default_with_the_services_directory() {
        let default = include_str!("../../src/config/default.toml");
        let text = with_data_dir(default).expect("one line of it");
        assert!(
            text.contains("\ndata_dir = \"/var/lib/tollgate\"\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), default.lines().count());
        assert!(with_data_dir("nothing = 1").is_err());
    }
}

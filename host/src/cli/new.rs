//! `hotseat new`: a plugin crate that builds, tests and deploys as it stands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::failure::Failure;
use super::terminal;

mod workspace;

/// The SDK of this very build: path from the repository's root, and content.
const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The crate's own files: path, and content with `{{name}}`, `{{workspace}}` and `{{sdk}}`.
const TEMPLATE: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../../templates/plugin/Cargo.toml.in")),
    ("plugin.toml", include_str!("../../templates/plugin/plugin.toml.in")),
    ("src/lib.rs", include_str!("../../templates/plugin/src/lib.rs.in")),
    ("examples/play.rs", include_str!("../../templates/plugin/examples/play.rs.in")),
    ("README.md", include_str!("../../templates/plugin/README.md.in")),
    (".gitignore", include_str!("../../templates/plugin/gitignore.in")),
];

/// Cargo's limit is 64; this leaves room for what file names add.
const MAX_NAME: usize = 39;

/// Start a new plugin: a crate that builds, tests and deploys as it stands
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// The crate's name: a-z, then a-z 0-9 -, at most 39 characters
    pub name: String,
    /// Where to write it [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Use the SDK of this Hotseat checkout instead of a copy of it
    #[arg(long, value_name = "PATH")]
    pub sdk: Option<PathBuf>,
}

/// Writes the crate.
///
/// # Errors
/// If the name or the directory will not do, or a file cannot be written.
pub fn run(args: &NewArgs) -> anyhow::Result<ExitCode> {
    check_name(&args.name)?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    check_empty(&dir)?;
    let sdk = args.sdk.as_deref().map(checkout).transpose()?;

    for (path, text) in files(&args.name, sdk.as_deref())? {
        write(&dir.join(path), &text)?;
    }
    terminal::line(&format!("wrote {}", dir.display()));
    terminal::line(&format!("next: cd {} && cargo test && hotseat dev .", dir.display()));
    Ok(ExitCode::SUCCESS)
}

/// Everything a new plugin consists of: path and content.
fn files(name: &str, sdk: Option<&Path>) -> anyhow::Result<Vec<(String, String)>> {
    let workspace = workspace::tables(sdk).context("the SDK in this binary does not hold together")?;
    let where_sdk = match sdk {
        None => "`sdk/` and `wit/` are the Hotseat SDK this crate was made with; take newer ones along with a newer node.".into(),
        Some(path) => format!("the Hotseat SDK is the checkout in `{}`.", path.display()),
    };
    let mut files: Vec<(String, String)> = TEMPLATE
        .iter()
        .map(|(path, text)| {
            let text = text.replace("{{name}}", name).replace("{{workspace}}", &workspace);
            ((*path).to_owned(), text.replace("{{sdk}}", &where_sdk))
        })
        .collect();
    if sdk.is_none() {
        files.extend(vendored().map(|(path, text)| (path.to_owned(), text.to_owned())));
    }
    // The versions that are known to work; cargo drops from it what the crate does not use.
    files.extend(
        SDK.iter().filter(|(path, _)| *path == "Cargo.lock").map(|(p, t)| ((*p).into(), (*t).into())),
    );
    Ok(files)
}

/// The SDK's files that are copied as they are.
fn vendored() -> impl Iterator<Item = (&'static str, &'static str)> {
    SDK.iter().copied().filter(|(path, _)| path.contains('/'))
}

fn check_name(name: &str) -> Result<(), Failure> {
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
    let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    if starts && name.len() <= MAX_NAME && name.chars().all(fits) && !RESERVED.contains(&name) {
        return Ok(());
    }
    let allowed =
        format!("a-z first, then a-z 0-9 -, at most {MAX_NAME} characters, no crate of Rust or the SDK");
    Err(Failure::new(format!("{name:?} is no name for a plugin crate: allowed is {allowed}"))
        .next("try `hotseat new my-game`"))
}

/// Names that cargo refuses for a library, or that the vendored SDK has.
const RESERVED: [&str; 9] = [
    "hotseat-guest",
    "hotseat-packet",
    "hotseat-client",
    "test",
    "core",
    "std",
    "alloc",
    "proc-macro",
    "crate",
];

fn check_empty(dir: &Path) -> Result<(), Failure> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::new(format!("{} exists and is not empty", dir.display()))
            .next("name another directory with --dir")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::new(format!("cannot write into {}", dir.display()))
            .cause(error)
            .next("name another directory with --dir")),
    }
}

/// The absolute path of a checkout, seen to be one.
fn checkout(path: &Path) -> Result<PathBuf, Failure> {
    let guest = path.join("sdk/guest/Cargo.toml");
    match path.canonicalize() {
        Ok(path) if guest.is_file() => Ok(path),
        _ => Err(Failure::new(format!(
            "--sdk {} is no Hotseat checkout: there is no {}",
            path.display(),
            guest.display()
        ))
        .next("leave --sdk out to get a copy of the SDK")),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
    parent.and_then(|()| fs::write(path, text)).map_err(|error| {
        Failure::new(format!("cannot write {}", path.display()))
            .cause(error)
            .next("name another directory with --dir")
    })
}

#[cfg(test)]
mod tests;

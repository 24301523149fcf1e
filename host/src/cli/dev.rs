//! `hotseat dev`: a node with the plugin one is writing; every saved change goes live in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hotseat_build::{Artefact, BuildError, BuildOptions, Manifest, Toolchain};

use super::build;
use super::failure::{Failure, chain};
use super::run;
use super::signals::Signals;
use super::terminal::{self, duration};
use crate::app::App;
use crate::config::{Config, Loaded, RunFlags};
use crate::telemetry::log;

mod inputs;
mod watch;

use watch::Watch;

/// Play a plugin while writing it: build, run, and swap in every saved change
///
/// Runs a node with the plugin in DIR and keeps its rooms and players through every change. What does not
/// compile or is refused changes nothing. The settings are those of `hotseat run`.
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// The crate's directory, with Cargo.toml and plugin.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    flags: RunFlags,
}

/// Builds, runs and watches until SIGTERM or SIGINT.
///
/// # Errors
/// If the configuration is wrong, there is no toolchain, or the node cannot start. A crate that does not build
/// is no error: the next change may mend it.
pub async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let loaded = Config::load(&args.flags)?;
    log::init(&loaded.config.log, loaded.config.log_format)?;
    let mut signals = Signals::new()?;
    let grace = Duration::from_millis(loaded.config.shutdown_grace_ms);
    let dir = args.dir.canonicalize().map_err(|error| {
        Failure::new(format!("there is no directory {}", args.dir.display()))
            .cause(error)
            .next("`hotseat new NAME` makes a plugin to start from")
    })?;
    let work = Work::new(dir).await?;
    let target = work.target_dir()?;
    let scratch = Scratch::new(&target)?;
    let mut watch = Watch::new(&work.dir, &target)?;

    let app = tokio::select! {
        app = first(&work, &mut watch, loaded, &scratch) => app?,
        _ = signals.recv() => return Ok(ExitCode::SUCCESS),
    };
    terminal::progress(&format!("watching {}; stop with Ctrl-C", work.dir.display()));
    tokio::select! {
        () = swaps(&work, &mut watch, &app) => {}
        _ = signals.recv() => {}
    }
    Ok(run::stop(app, grace, &mut signals).await)
}

/// What is built, and with what.
struct Work {
    /// None: the command in `plugin.toml` builds it.
    toolchain: Option<Toolchain>,
    dir: PathBuf,
}

impl Work {
    async fn new(dir: PathBuf) -> anyhow::Result<Self> {
        let manifest = fs::read_to_string(dir.join("plugin.toml")).ok();
        let manifest = manifest.and_then(|text| Manifest::parse(&text).ok());
        let by_command = manifest.is_some_and(|manifest| manifest.build.is_some());
        let toolchain = if by_command { None } else { Some(build::toolchain().await?) };
        Ok(Self { toolchain, dir })
    }

    /// Where cargo builds, or a crate of another language is let to.
    fn target_dir(&self) -> anyhow::Result<PathBuf> {
        if self.toolchain.is_none() {
            return Ok(self.dir.join("target"));
        }
        build::target_dir(&self.dir).map_err(|error| {
            let what = format!("{} is no plugin crate", self.dir.display());
            Failure::new(what).cause(error).next("`hotseat new NAME` makes a plugin to start from").into()
        })
    }

    /// Builds with line tables; what is wrong has been said when there is nothing.
    async fn build(&self, watch: &mut Watch) -> Option<Artefact> {
        let built = self.artefact().await;
        watch.built(built.as_ref().map(|artefact| &*artefact.inputs).unwrap_or_default());
        built
    }

    async fn artefact(&self) -> Option<Artefact> {
        let begun = Instant::now();
        let options = BuildOptions { debug: true, ..BuildOptions::new(&self.dir) };
        let built = match &self.toolchain {
            Some(toolchain) => build::build(toolchain.clone(), options).await,
            None => build::by_command(options).await.unwrap_or_else(|| {
                Err(BuildError::Cargo {
                    dir: self.dir.clone(),
                    text: "plugin.toml has no build.command any more: start `hotseat dev` again".into(),
                })
            }),
        };
        match built {
            Ok(artefact) => {
                terminal::progress(&format!("built in {}", duration(begun.elapsed())));
                Some(artefact)
            }
            Err(BuildError::Compile { .. }) => {
                terminal::progress("does not compile; waiting for a change");
                None
            }
            Err(error) => {
                terminal::progress(&format!("{error}; waiting for a change"));
                None
            }
        }
    }
}

/// Waits for a version that builds, and starts the node with it.
async fn first(work: &Work, watch: &mut Watch, loaded: Loaded, scratch: &Scratch) -> anyhow::Result<App> {
    let artefact = loop {
        match work.build(watch).await {
            Some(artefact) => break artefact,
            None => watch.changed().await,
        }
    };
    let file = scratch.dir.join("first.wasm");
    build::write(&file, &artefact.bytes)?;
    let mut config = loaded.config;
    let Artefact { bytes, manifest, .. } = artefact;
    config.plugin.insert(manifest.name.clone(), file);
    let fresh = loaded.sources.get("data_dir").is_none_or(|source| source == "default");
    if fresh {
        config.data_dir = scratch.dir.join("data");
    }
    let app = run::start(config).await?;
    if !fresh {
        // A node with a past goes on with the version that was live there.
        swap(&app, &manifest.name, bytes).await;
    }
    Ok(app)
}

/// Swaps in every change; never ends.
async fn swaps(work: &Work, watch: &mut Watch, app: &App) {
    loop {
        watch.changed().await;
        terminal::progress("changed, building…");
        let Some(Artefact { bytes, manifest, .. }) = work.build(watch).await else { continue };
        swap(app, &manifest.name, bytes).await;
    }
}

/// Puts a build live, and says what came of it.
async fn swap(app: &App, name: &str, bytes: Vec<u8>) {
    let text = match app.deploy(name, bytes).await {
        Ok(report) if report.unchanged => "nothing in the plugin changed".to_owned(),
        Ok(report) => {
            let rooms = report.pauses.len();
            let plural = if rooms == 1 { "" } else { "s" };
            format!("swapped {rooms} room{plural}, pause {}", duration(report.pause(100)))
        }
        Err(error) => format!("{}; the old version goes on", chain(&anyhow::Error::new(error)).join(": ")),
    };
    terminal::progress(&text);
}

/// A directory of this run among cargo's own files, removed at its end.
struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    fn new(target: &Path) -> anyhow::Result<Self> {
        let dir = target.join("hotseat-dev").join(std::process::id().to_string());
        // A process that was killed and had our number may have left it behind.
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?,
        }
        Ok(Self { dir })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is below cargo's target directory, which `cargo clean` removes.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

//! Verify: tells a good artefact from a bad one before any of its code runs.

use wasmparser::{Parser, Payload};
use wit_parser::WorldId;

use crate::interface::Interface;
use crate::manifest::Manifest;
use crate::printable::excerpt;
use crate::shape::{Item, Shape};
use crate::wit::{Contract, interfaces};

/// At most so many names are spelled out in a refusal.
const SHOWN: usize = 16;

/// The most that a refusal shows of one name, bytes. Names of interfaces have some 40.
const NAME_MAX: usize = 128;

/// The most that a refusal shows of what an artefact says, bytes: [`SHOWN`] names fit.
const REFUSAL_MAX: usize = 4096;

/// Why an artefact was refused. Each text names what is missing or surplus; what it cites of an artefact is one printable
/// line of bounded length, whoever made the error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not a WebAssembly file at all.
    #[error("not a WebAssembly file: {start}")]
    NotWasm {
        /// How the file begins.
        start: String,
    },
    /// A bare module: what the compiler leaves, before it is made a component.
    #[error("a core WebAssembly module, not a component: make the artefact with `hotseat build`")]
    CoreModule,
    /// Says it is a component but does not hold together.
    #[error("damaged or invalid component: {}", shown(reason))]
    Invalid {
        /// What is wrong, and at which offset.
        reason: String,
    },
    /// Uses what the engine of a node does not do.
    #[error("uses a feature of WebAssembly that no node has: {}; build it without", shown(reason))]
    Feature {
        /// Which, and at which offset.
        reason: String,
    },
    /// Asks more of the engine than any node gives.
    #[error("too large for a node: {found} {what}, at most {limit} are allowed")]
    Bound {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many may be.
        limit: u64,
    },
    /// Begins with more memory than its own manifest asks for.
    #[error("its memory begins with {mib} MiB, the manifest says limits.memory_mib = {limit}: raise that")]
    Memory {
        /// The linear memory at the beginning, MiB.
        mib: u64,
        /// The manifest's limit.
        limit: u32,
    },
    /// A component without a manifest.
    #[error("no `hotseat:manifest` section: make the artefact with `hotseat build`")]
    NoManifest,
    /// The manifest section cannot be used.
    #[error("bad `hotseat:manifest` section: {}", shown(reason))]
    Manifest {
        /// What is wrong with it.
        reason: String,
    },
    /// A service plugin that does not say what it serves.
    #[error(
        "no `hotseat:proto` section, which a plugin of world \"service\" needs: make the artefact with \
         `hotseat build`"
    )]
    NoInterface,
    /// What a service plugin serves cannot be used.
    #[error("bad `hotseat:proto` section: {}", shown(reason))]
    Interface {
        /// What is wrong with it; names the method, its request or the field.
        reason: String,
    },
    /// It was asked what a plugin serves that is no service.
    #[error(
        "a plugin of world {:?} serves no gRPC methods: only one of world \"service\" does",
        shown(world)
    )]
    NoService {
        /// The manifest's world.
        world: String,
    },
    /// The manifest names a world that the contract does not have.
    #[error("unknown world {:?}: this host knows {known}", shown(world))]
    UnknownWorld {
        /// The manifest's world.
        world: String,
        /// The contract's worlds.
        known: String,
    },
    /// Built against another version of the contract.
    #[error(
        "built for {}, this host speaks {ours} (uses {}): build it again with a matching SDK",
        shown(found),
        shown(items)
    )]
    Version {
        /// The package and version the component is for.
        found: String,
        /// The package and version of this host.
        ours: String,
        /// The interfaces concerned.
        items: String,
    },
    /// Wants an operating system.
    #[error("imports WASI: {}; a plugin gets only what wit/ gives it: {advice}", shown(items))]
    Wasi {
        /// The WASI interfaces.
        items: String,
        /// What to do about it with the tool that made the file.
        advice: &'static str,
    },
    /// Wants something the world does not give.
    #[error("imports what world {:?} does not give: {}", shown(world), shown(items))]
    Surplus {
        /// The manifest's world.
        world: String,
        /// The surplus imports; `interface#function` for a function of a known interface.
        items: String,
    },
    /// Lacks something the host will call.
    #[error("does not export what world {:?} asks for: {}", shown(world), shown(items))]
    Missing {
        /// The manifest's world.
        world: String,
        /// The missing exports; `interface#function` for a function of an exported interface.
        items: String,
    },
    /// All names are right, a type is not.
    #[error("does not fit world {:?}: {}", shown(world), shown(reason))]
    Types {
        /// The manifest's world.
        world: String,
        /// The first type that differs.
        reason: String,
    },
}

/// Checks that `bytes` are an artefact this host can run, and returns its manifest.
///
/// Nothing of the component is compiled or run. Takes time in proportion to the size (tens of milliseconds a
/// MiB at worst): call it off the reactor. Never panics, whatever the bytes are.
///
/// # Errors
/// [`VerifyError`], with a text that names the missing or surplus item.
pub fn verify(bytes: &[u8]) -> Result<Manifest, VerifyError> {
    let shape = Shape::read(bytes)?;
    let manifest = shape.manifest()?;
    check(bytes, &shape, &manifest)?;
    Ok(manifest)
}

/// What the service plugin in `artefact` serves.
///
/// [`verify`] makes the same check; this is how a host learns the methods. Takes as long as reading the file's
/// outside does: call it off the reactor. Never panics, whatever the bytes are.
///
/// # Errors
/// [`VerifyError`] if it is no artefact, is not for the world `service`, or its descriptors cannot be served; the
/// component itself is not compared with the world.
pub fn interface(artefact: &[u8]) -> Result<Interface, VerifyError> {
    let shape = Shape::read(artefact)?;
    let manifest = shape.manifest()?;
    shape.interface(&manifest)?.ok_or(VerifyError::NoService { world: manifest.world })
}

/// What an artefact that has been verified before says of itself: its manifest and, if it is a service, what it serves.
///
/// Reads the sections alone and validates nothing, so it takes next to no time.
///
/// # Errors
/// [`VerifyError`] if the sections cannot be used, which those of a verified artefact can.
pub fn declared(artefact: &[u8]) -> Result<(Manifest, Option<Interface>), VerifyError> {
    let shape = Shape::sections(artefact)?;
    let manifest = shape.manifest()?;
    let interface = shape.interface(&manifest)?;
    Ok((manifest, interface))
}

/// Compares the component with its world, and checks what it serves.
pub(crate) fn check(bytes: &[u8], shape: &Shape, manifest: &Manifest) -> Result<(), VerifyError> {
    shape.cost.check(manifest.limits.memory_mib)?;
    check_world(bytes, shape, &manifest.world)?;
    shape.interface(manifest).map(drop)
}

/// Compares the component with the world that its manifest names.
fn check_world(bytes: &[u8], shape: &Shape, world_name: &str) -> Result<(), VerifyError> {
    let contract = Contract::parse();
    let world_id = contract.world(world_name).ok_or_else(|| VerifyError::UnknownWorld {
        world: world_name.to_owned(),
        known: list(&crate::wit::worlds()),
    })?;
    let world = &contract.resolve.worlds[world_id];
    check_version(shape, &contract.package_name())?;

    let offered = interfaces(&contract.resolve, world.imports.iter());
    let surplus = missing_from(&shape.imports, &offered);
    let wasi: Vec<String> = surplus.iter().filter(|name| name.starts_with("wasi:")).cloned().collect();
    if !wasi.is_empty() {
        return Err(VerifyError::Wasi { items: list(&wasi), advice: without_wasi(bytes) });
    }
    if !surplus.is_empty() {
        return Err(VerifyError::Surplus { world: world_name.to_owned(), items: list(&surplus) });
    }

    let wanted: Vec<Item> = interfaces(&contract.resolve, world.exports.iter())
        .into_iter()
        .map(|(name, functions)| Item { name, functions })
        .collect();
    let exported: Vec<_> = shape.exports.iter().map(|i| (i.name.clone(), i.functions.clone())).collect();
    let missing = missing_from(&wanted, &exported);
    if !missing.is_empty() {
        return Err(VerifyError::Missing { world: world_name.to_owned(), items: list(&missing) });
    }
    check_types(bytes, &contract, world_id, world_name)
}

/// Refuses a component that uses our package in another version.
fn check_version(shape: &Shape, ours: &str) -> Result<(), VerifyError> {
    let (our_package, our_version) = ours.split_once('@').unwrap_or((ours, ""));
    let mut other = None;
    let mut items = Vec::new();
    for item in shape.imports.iter().chain(&shape.exports) {
        let (path, version) = item.name.split_once('@').unwrap_or((&item.name, ""));
        let package = path.split_once('/').map_or(path, |(package, _)| package);
        if package == our_package && version != our_version {
            let found = if version.is_empty() { package.to_owned() } else { format!("{package}@{version}") };
            other.get_or_insert(found);
            items.push(item.name.clone());
        }
    }
    other.map_or(Ok(()), |found| {
        Err(VerifyError::Version { found, ours: ours.to_owned(), items: list(&items) })
    })
}

/// The names in `wanted` that `there` lacks; `interface#function` where only a function is lacking.
fn missing_from(wanted: &[Item], there: &[(String, Vec<String>)]) -> Vec<String> {
    let mut missing = Vec::new();
    for item in wanted {
        match there.iter().find(|(name, _)| *name == item.name) {
            None => missing.push(item.name.clone()),
            Some((_, functions)) => missing.extend(
                item.functions
                    .iter()
                    .filter(|f| !functions.contains(f))
                    .map(|function| format!("{}#{function}", item.name)),
            ),
        }
    }
    missing
}

fn check_types(bytes: &[u8], contract: &Contract, id: WorldId, name: &str) -> Result<(), VerifyError> {
    let mismatch = |reason: String| VerifyError::Types { world: name.to_owned(), reason };
    // As in `Shape::read`: a panic here must not take a node down.
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wit_component::targets(&contract.resolve, id, bytes)
    }));
    match checked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(mismatch(e.root_cause().to_string())),
        Err(_) => Err(mismatch("the type checker gave up on it".into())),
    }
}

/// How the tool that made a file makes one without WASI, as far as the file tells what made it.
fn without_wasi(bytes: &[u8]) -> &'static str {
    let mut made_by = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        if let Ok(Payload::CustomSection(section)) = payload
            && section.name() == "producers"
        {
            made_by.push(section.data().to_vec());
        }
    }
    let by = |name: &str| made_by.iter().any(|data| data.windows(name.len()).any(|it| it == name.as_bytes()));
    if by("ComponentizeJS") || by("componentize-js") {
        "give `jco componentize` the option `--disable all`, or componentize-js `--disable stdio random clocks http \
         fetch-event`"
    } else if by("component-init-transform") || by("componentize-py") {
        "give `componentize-py componentize` the option `--stub-wasi`"
    } else if by("TinyGo") {
        "build it with `-target=wasm-unknown`, and without packages that use files, sockets or clocks"
    } else if by("clang") && !by("rustc") {
        "build it with `clang --target=wasm32 -nostdlib -mexec-model=reactor`, without what of the C library reads files, \
         clocks or the environment, and pack the core module (`hotseat plugin pack`)"
    } else {
        "build it for wasm32-unknown-unknown (`hotseat build` does) and drop crates that use files, sockets, clocks or \
         the environment; docs/other-languages.md has the switches of other tools"
    }
}

/// What an artefact says, as a refusal cites it.
fn shown(text: &str) -> String {
    excerpt(text, REFUSAL_MAX)
}

fn list(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(|name| excerpt(name, NAME_MAX)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;

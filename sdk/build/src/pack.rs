//! Pack: makes an artefact of what other toolchains than cargo leave.

use std::path::{Path, PathBuf};
use std::process::Command;

use wasmparser::{Parser, Payload};
use wit_component::{StringEncoding, embed_component_metadata};

use crate::component::{EncodeError, encode, with_descriptors, with_manifest};
use crate::crate_build::{Artefact, BuildError};
use crate::digest::Digest;
use crate::manifest::{Build, Manifest};
use crate::process::{Line, run};
use crate::proto;
use crate::verify::{VerifyError, verify};
use crate::wit::Contract;

/// The last lines of a command that are kept for an error.
const KEPT_LINES: usize = 40;

/// Makes an artefact of a component, or of a core module with the canonical names of a world's functions: adds the
/// manifest, and what it serves if it is a service. `dir` is where the manifest's `.proto` file is looked for.
///
/// # Errors
/// [`BuildError`]; its text is fit to be shown to the plugin's author.
pub fn pack(file: Vec<u8>, manifest: &Manifest, dir: &Path) -> Result<Artefact, BuildError> {
    let descriptors = manifest.service.as_ref().map(|it| proto::compile(dir, it)).transpose()?;
    let packed = match file.first_chunk() {
        Some([b'\0', b'a', b's', b'm', 1, 0, 0, 0]) => {
            let core = with_world(file, &manifest.world)?;
            encode(&core, manifest, descriptors.as_deref(), true)?
        }
        // Whatever is no component is told apart by the check below.
        _ => {
            let component = match &descriptors {
                Some(descriptors) => with_descriptors(file, descriptors),
                None => file,
            };
            with_manifest(component, manifest)
        }
    };
    let manifest = verify(&packed)?;
    let digest = Digest::of(&packed);
    Ok(Artefact { bytes: packed, manifest, digest, inputs: Vec::new() })
}

/// The module with a note of the world it is for, unless it has one.
fn with_world(mut core: Vec<u8>, world: &str) -> Result<Vec<u8>, BuildError> {
    let noted = Parser::new(0).parse_all(&core).any(|payload| {
        matches!(payload, Ok(Payload::CustomSection(it)) if it.name().starts_with("component-type"))
    });
    if noted {
        return Ok(core);
    }
    let contract = Contract::parse();
    let unknown =
        || VerifyError::UnknownWorld { world: world.to_owned(), known: crate::wit::worlds().join(", ") };
    let id = contract.world(world).ok_or_else(unknown)?;
    embed_component_metadata(&mut core, &contract.resolve, id, StringEncoding::UTF8)
        .map_err(|error| EncodeError::Rejected(format!("{error:#}")))?;
    Ok(core)
}

/// Runs the manifest's own build command in `dir` and packs what it leaves.
pub(crate) fn build_by_command(
    dir: &Path,
    manifest: &Manifest,
    build: &Build,
    progress: &mut dyn FnMut(&str),
) -> Result<Artefact, BuildError> {
    let failed = |text: String| BuildError::Command { command: build.command.clone(), dir: dir.into(), text };
    let output: PathBuf = dir.join(&build.output);
    if let Some(parent) = output.parent() {
        std::fs::create_dir_all(parent).map_err(|cause| BuildError::Read { path: parent.into(), cause })?;
    }
    let mut last: Vec<String> = Vec::new();
    let mut command = Command::new("sh");
    command.args(["-c", &build.command]).current_dir(dir);
    let status = run(&mut command, &mut |line| {
        let (Line::Out(text) | Line::Err(text)) = line;
        progress(&text);
        if last.len() == KEPT_LINES {
            last.remove(0);
        }
        last.push(text);
    });
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(failed(format!("{status}\n{}", last.join("\n")))),
        Err(error) => return Err(failed(error.to_string())),
    }
    let file = std::fs::read(&output).map_err(|cause| BuildError::Read { path: output, cause })?;
    pack(file, manifest, dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crate_build::{BuildOptions, build_with_command};

    const MANIFEST: &str = "name = \"x\"\nversion = \"0.0.1\"\nworld = \"game-logic\"\n";

    /// A core module with the canonical names of the world's functions; without `but`.
    fn module(but: &str) -> Vec<u8> {
        let room = [
            ("join", "i64"),
            ("rejoin", "i64"),
            ("leave", "i64 i32"),
            ("tick", "i32"),
            ("timer", "i64"),
            ("reply", "i64 i32 i32 i32 i32 i32"),
        ];
        let mut text = String::from("(module (memory (export \"memory\") 1)");
        text.push_str("(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)");
        let mut export = |interface: &str, name: &str, params: &str, result: &str| {
            if name != but {
                text.push_str(&format!(
                    "(func (export \"hotseat:plugin/{interface}@0.1.0#{name}\") (param {params}) {result} unreachable)"
                ));
            }
        };
        for (name, params) in room {
            export("room", name, params, "");
        }
        export("room", "message", "i64 i32 i32 i32", "(result i32)");
        export("lifecycle", "open", "i32 i32 i32 i32", "(result i32)");
        export("lifecycle", "load", "i32 i32 i32", "(result i32)");
        export("lifecycle", "save", "", "(result i32)");
        text.push(')');
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn a_module_and_a_component_get_their_manifest() {
        let manifest = Manifest::parse(MANIFEST).unwrap();
        let packed = pack(module(""), &manifest, Path::new(".")).unwrap();
        assert_eq!(packed.manifest, manifest);
        let section = with_manifest(Vec::new(), &manifest);
        let bare = packed.bytes.strip_suffix(&section[..]).unwrap().to_vec();
        assert_eq!(pack(bare, &manifest, Path::new(".")).unwrap().bytes, packed.bytes);

        let text = pack(module("tick"), &manifest, Path::new(".")).unwrap_err().to_string();
        assert!(text.contains("tick"), "{text}");
        let text = pack(packed.bytes, &manifest, Path::new(".")).unwrap_err().to_string();
        assert!(text.contains("2 manifest sections"), "{text}");
        let text = pack(b"rubbish".to_vec(), &manifest, Path::new(".")).unwrap_err().to_string();
        assert!(text.contains("not a WebAssembly file"), "{text}");
    }

    #[test]
    fn a_command_of_the_manifest_takes_the_place_of_cargo() {
        let dir = tempfile::tempdir().unwrap();
        let write = |command: &str| {
            let build = format!("[build]\ncommand = {command:?}\noutput = \"out/x.wasm\"\n");
            std::fs::write(dir.path().join("plugin.toml"), format!("{MANIFEST}{build}")).unwrap();
        };
        std::fs::write(dir.path().join("made.wasm"), module("")).unwrap();
        let options = BuildOptions::new(dir.path());
        let mut lines = Vec::new();
        write("echo making; cp made.wasm out/x.wasm");
        let built = build_with_command(&options, &mut |line| lines.push(line.to_owned())).unwrap().unwrap();
        assert_eq!(built.manifest, Manifest::parse(MANIFEST).unwrap(), "how it is built is no part of it");
        assert_eq!(lines[0], "making");
        write("echo no such game >&2; exit 3");
        let text = build_with_command(&options, &mut |_| {}).unwrap().unwrap_err().to_string();
        for word in ["exit 3", "exit status: 3", "no such game"] {
            assert!(text.contains(word), "{text:?} does not name {word:?}");
        }
        std::fs::write(dir.path().join("plugin.toml"), MANIFEST).unwrap();
        assert!(build_with_command(&options, &mut |_| {}).is_none());
    }
}

//! Proto: from a service plugin's `.proto` file to the descriptors that travel in its artefact.

use std::path::Path;

use protox::Compiler;

use crate::crate_build::BuildError;
use crate::interface::Interface;
use crate::manifest::Service;

/// Compiles the `.proto` file of the crate in `dir` and checks that a node can serve it.
///
/// The result is the encoded `FileDescriptorSet`, imports included. It depends on nothing but the files: their
/// paths are as they are imported, comments are left out.
pub(crate) fn compile(dir: &Path, service: &Service) -> Result<Vec<u8>, BuildError> {
    let named = dir.join(&service.proto);
    let path = named.canonicalize().map_err(|cause| BuildError::Read { path: named, cause })?;
    let wrong = |text: String| BuildError::Proto { path: path.clone(), text };
    // Imports are looked for beside the file, then from the crate's directory.
    let mut roots: Vec<&Path> = path.parent().into_iter().collect();
    if !roots.contains(&dir) {
        roots.push(dir);
    }
    // Its Debug is what names the file and the line.
    let broken = |e: protox::Error| wrong(format!("{e:?}"));
    let mut compiler = Compiler::new(&roots).map_err(broken)?;
    compiler.include_imports(true).include_source_info(false);
    let descriptors = compiler.open_file(&path).map_err(broken)?.encode_file_descriptor_set();
    Interface::read(&descriptors, &service.shard_by).map_err(wrong)?;
    Ok(descriptors)
}

#[cfg(test)]
mod tests;

//! WIT: the plugin contract, embedded, so that no tool needs the repository beside it.

use wit_parser::{PackageId, Resolve, SourceMap, WorldId, WorldKey};

/// The files of `wit/`: name and text. `hotseat new` and the checks of [`crate::verify`] use these.
pub const WIT: &[(&str, &str)] = &[
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("host.wit", include_str!("../../../wit/host.wit")),
    ("game-logic.wit", include_str!("../../../wit/game-logic.wit")),
    ("service.wit", include_str!("../../../wit/service.wit")),
];

/// The contract, parsed.
#[derive(Debug)]
pub(crate) struct Contract {
    pub(crate) resolve: Resolve,
    package: PackageId,
}

impl Contract {
    pub(crate) fn parse() -> Self {
        let mut sources = SourceMap::new();
        for (name, text) in WIT {
            sources.push_str(name, *text);
        }
        let group = sources.parse().map_err(|(_, e)| e).expect("a unit test parses the embedded contract");
        let mut resolve = Resolve::default();
        let package = resolve.push_group(group).expect("a unit test resolves the embedded contract");
        Self { resolve, package }
    }

    pub(crate) fn world(&self, name: &str) -> Option<WorldId> {
        self.resolve.packages[self.package].worlds.get(name).copied()
    }

    /// `hotseat:plugin@0.1.0`
    pub(crate) fn package_name(&self) -> String {
        self.resolve.packages[self.package].name.to_string()
    }
}

/// One side of a world: interface names with the functions in each.
pub(crate) fn interfaces<'a>(
    resolve: &Resolve,
    items: impl Iterator<Item = (&'a WorldKey, &'a wit_parser::WorldItem)>,
) -> Vec<(String, Vec<String>)> {
    items
        .map(|(key, item)| {
            let functions = match item {
                wit_parser::WorldItem::Interface { id, .. } => {
                    resolve.interfaces[*id].functions.keys().cloned().collect()
                }
                _ => Vec::new(),
            };
            (resolve.name_world_key(key), functions)
        })
        .collect()
}

/// The worlds a plugin can be for, such as `game-logic`.
#[must_use]
pub fn worlds() -> Vec<String> {
    let contract = Contract::parse();
    contract.resolve.packages[contract.package].worlds.keys().cloned().collect()
}

/// The contract's package and version: `hotseat:plugin@0.1.0`.
#[must_use]
pub fn package() -> String {
    Contract::parse().package_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_contract_is_embedded() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let mut on_disk: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".wit"))
            .collect();
        on_disk.sort();
        let mut embedded: Vec<_> = WIT.iter().map(|(name, _)| (*name).to_owned()).collect();
        embedded.sort();
        assert_eq!(embedded, on_disk);
    }

    #[test]
    fn the_contract_resolves() {
        assert_eq!(worlds(), ["game-logic", "service"]);
        assert_eq!(package(), "hotseat:plugin@0.1.0");
    }
}

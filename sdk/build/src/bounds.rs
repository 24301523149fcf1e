//! Bounds: what a component may ask of the engine, the same on every node.
//!
//! The host cuts its engine to these numbers. A component is measured here before it is validated or compiled, so that
//! `hotseat build`, `hotseat plugin inspect` and every node give one answer, whether or not a node has a memory pool.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    Encoding, Instance, Parser, Payload, TypeRef, WasmFeatures,
};

use crate::verify::VerifyError;

/// Core instances that one component makes. A Rust guest makes 3, one of componentize-py 38: an instance for every
/// library of CPython. A slot of the engine's pool costs nothing while it is not used.
pub const CORE_INSTANCES: u32 = 128;

/// Linear memories of one component. Each room reserves 6 GiB of address space for it.
pub const MEMORIES: u32 = 1;

/// Tables of one component. Each room reserves [`TABLE_ELEMENTS`] times 8 bytes of address space for each.
pub const TABLES: u32 = 4;

/// Elements that a table begins with or grows to. JavaScript's engine has 7,000 of them, CPython 11,000.
pub const TABLE_ELEMENTS: u32 = 50_000;

/// Functions, globals and imports of all core instances together. Each may cost the room some 40 bytes outside of its
/// linear memory. CPython with its libraries has 50,000.
pub const ITEMS: u64 = 200_000;

/// Functions to compile, of all modules in a component whether or not they are instantiated. CPython has 30,000.
pub const FUNCTIONS: u64 = 200_000;

/// Core and component instances' bookkeeping that [`ITEMS`] may come to, bytes.
pub const INSTANCE_BYTES: usize = 16 << 20;

/// Components inside of components. Tools make 2 to 4 levels.
pub const NESTING: usize = 32;

/// The size of a page of linear memory, bytes.
const PAGE_BYTES: u64 = 64 << 10;

/// The features of WebAssembly that every node has.
#[must_use]
pub fn features() -> WasmFeatures {
    // As the host sets its engine up: a test of the host's compares them.
    let without = WasmFeatures::GC_TYPES
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::THREADS
        | WasmFeatures::MEMORY64
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::CM_ASYNC;
    (WasmFeatures::WASM3 | WasmFeatures::COMPONENT_MODEL) & !without
}

/// What a module or component asks for when it is instantiated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    instances: u64,
    memories: u64,
    tables: u64,
    /// Of its largest table, at the beginning.
    table_elements: u64,
    /// Of its memory, at the beginning.
    pages: u64,
    items: u64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.instances = self.instances.saturating_add(other.instances);
        self.memories = self.memories.saturating_add(other.memories);
        self.tables = self.tables.saturating_add(other.tables);
        self.items = self.items.saturating_add(other.items);
        self.pages = self.pages.max(other.pages);
        self.table_elements = self.table_elements.max(other.table_elements);
    }

    /// Compares it with the bounds, and with the memory that the plugin's manifest asks for.
    pub(crate) fn check(&self, memory_mib: u32) -> Result<(), VerifyError> {
        for (what, found, limit) in [
            ("core instances", self.instances, u64::from(CORE_INSTANCES)),
            ("linear memories", self.memories, u64::from(MEMORIES)),
            ("tables", self.tables, u64::from(TABLES)),
            ("elements in a table", self.table_elements, u64::from(TABLE_ELEMENTS)),
            ("functions, globals and imports", self.items, ITEMS),
        ] {
            if found > limit {
                return Err(VerifyError::Bound { what, found, limit });
            }
        }
        let bytes = self.pages.saturating_mul(PAGE_BYTES);
        if bytes > u64::from(memory_mib) << 20 {
            return Err(VerifyError::Memory { mib: bytes.div_ceil(1 << 20), limit: memory_mib });
        }
        Ok(())
    }
}

/// A module or component that is being read: the index spaces that instantiation goes by. None: not known from the file.
#[derive(Default)]
struct Frame {
    component: bool,
    cost: Cost,
    modules: Vec<Option<Cost>>,
    components: Vec<Option<Cost>>,
}

/// What the component in `bytes` asks for; nothing about a part that is not known from the file, which only the engine
/// can count. Reads no code. Of a file that is damaged it tells what came before the damage: the validator says what is
/// wrong.
pub(crate) fn measure(bytes: &[u8]) -> Result<Cost, VerifyError> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut functions = 0_u64;
    for payload in Parser::new(0).parse_all(bytes) {
        let Ok(payload) = payload else { break };
        match &payload {
            Payload::Version { encoding, .. } => {
                if frames.len() >= NESTING {
                    let (what, found, limit) = ("levels of nesting", NESTING as u64 + 1, NESTING as u64);
                    return Err(VerifyError::Bound { what, found, limit });
                }
                let component = *encoding == Encoding::Component;
                // To instantiate a module is to make one core instance.
                let cost = Cost { instances: u64::from(!component), ..Cost::default() };
                frames.push(Frame { component, cost, ..Frame::default() });
            }
            Payload::End(_) => {
                let Some(ended) = frames.pop() else { break };
                match frames.last_mut() {
                    None => return Ok(ended.cost),
                    Some(outer) if ended.component => outer.components.push(Some(ended.cost)),
                    Some(outer) => outer.modules.push(Some(ended.cost)),
                }
            }
            payload => {
                if let Payload::FunctionSection(section) = payload {
                    functions += u64::from(section.count());
                    if functions > FUNCTIONS {
                        let what = "functions to compile";
                        return Err(VerifyError::Bound { what, found: functions, limit: FUNCTIONS });
                    }
                }
                if read(payload, &mut frames).is_err() {
                    break;
                }
            }
        }
    }
    Ok(frames.first().map(|outermost| outermost.cost).unwrap_or_default())
}

/// Takes one section into account.
fn read(payload: &Payload<'_>, frames: &mut [Frame]) -> wasmparser::Result<()> {
    let Some((frame, outer)) = frames.split_last_mut() else { return Ok(()) };
    let items = &mut frame.cost.items;
    match payload {
        Payload::FunctionSection(section) => *items += u64::from(section.count()),
        Payload::GlobalSection(section) => *items += u64::from(section.count()),
        Payload::ImportSection(section) => {
            for import in section.clone().into_imports() {
                // The memory and the tables of another module have been counted there.
                *items += u64::from(!matches!(import?.ty, TypeRef::Memory(_) | TypeRef::Table(_)));
            }
        }
        Payload::MemorySection(section) => {
            for memory in section.clone() {
                frame.cost.memories += 1;
                frame.cost.pages = frame.cost.pages.max(memory?.initial);
            }
        }
        Payload::TableSection(section) => {
            for table in section.clone() {
                frame.cost.tables += 1;
                frame.cost.table_elements = frame.cost.table_elements.max(table?.ty.initial);
            }
        }
        Payload::InstanceSection(section) => {
            for instance in section.clone() {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    let module = frame.modules.get(module_index as usize).copied().flatten();
                    frame.cost.add(module.unwrap_or(Cost { instances: 1, ..Cost::default() }));
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section.clone() {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    let component = frame.components.get(component_index as usize).copied().flatten();
                    frame.cost.add(component.unwrap_or_default());
                }
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section.clone() {
                match import?.ty {
                    ComponentTypeRef::Module(_) => frame.modules.push(None),
                    ComponentTypeRef::Component(_) => frame.components.push(None),
                    _ => {}
                }
            }
        }
        Payload::ComponentExportSection(section) => {
            // An export is a new name in its index space.
            for export in section.clone() {
                let export = export?;
                let index = export.index as usize;
                match export.kind {
                    ComponentExternalKind::Module => {
                        frame.modules.push(frame.modules.get(index).copied().flatten());
                    }
                    ComponentExternalKind::Component => {
                        frame.components.push(frame.components.get(index).copied().flatten());
                    }
                    _ => {}
                }
            }
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section.clone() {
                alias_of(&alias?, frame, outer);
            }
        }
        _ => {}
    }
    Ok(())
}

fn alias_of(alias: &ComponentAlias<'_>, frame: &mut Frame, outer: &[Frame]) {
    match *alias {
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
            frame.modules.push(None)
        }
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
            frame.components.push(None);
        }
        ComponentAlias::Outer { kind, count, index } => {
            let from = match (count as usize).checked_sub(1) {
                None => Some(&*frame),
                Some(above) => outer.iter().rev().nth(above),
            };
            let index = index as usize;
            match kind {
                ComponentOuterAliasKind::CoreModule => {
                    let module = from.and_then(|from| from.modules.get(index).copied().flatten());
                    frame.modules.push(module);
                }
                ComponentOuterAliasKind::Component => {
                    let component = from.and_then(|from| from.components.get(index).copied().flatten());
                    frame.components.push(component);
                }
                _ => {}
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that instantiates a module that many times; `module` is its content.
    fn instances(count: usize, module: &str) -> Vec<u8> {
        let instances = "(core instance (instantiate $m))".repeat(count);
        wat::parse_str(format!("(component (core module $m {module}) {instances})")).unwrap()
    }

    fn refusal(bytes: &[u8]) -> String {
        let cost = measure(bytes).and_then(|cost| cost.check(64));
        cost.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[track_caller]
    fn names(text: &str, words: &[&str]) {
        for word in words {
            assert!(text.contains(word), "{text:?} does not name {word:?}");
        }
    }

    #[test]
    fn what_is_instantiated_is_counted_and_compared() {
        let most = CORE_INSTANCES as usize;
        for count in [0, 1, 38, most] {
            assert_eq!(refusal(&instances(count, "")), "", "{count}");
        }
        names(&refusal(&instances(most + 1, "")), &["129 core instances", "at most 128"]);
        names(&refusal(&instances(2, "(memory 1)")), &["2 linear memories", "at most 1"]);
        names(&refusal(&instances(5, "(table 1 funcref)")), &["5 tables", "at most 4"]);
        names(
            &refusal(&instances(1, "(table 50001 funcref)")),
            &["50001 elements in a table", "at most 50000"],
        );
        let functions = "(func)".repeat(2001);
        names(&refusal(&instances(100, &functions)), &["200100 functions, globals and imports"]);
        assert_eq!(refusal(&instances(1, "(memory 1024)")), "");
        names(&refusal(&instances(1, "(memory 1025)")), &["65 MiB", "limits.memory_mib = 64"]);
    }

    #[test]
    fn instances_inside_of_components_count_as_often_as_these_are_made() {
        let mut text = String::from("(component $c0 (core module $m) (core instance (instantiate $m)))");
        for level in 1..=10 {
            let twice = format!("(instance (instantiate $c{0}))", level - 1).repeat(2);
            text = format!("(component $c{level} {text} {twice})");
        }
        names(&refusal(&wat::parse_str(&text).unwrap()), &["1024 core instances"]);
        let outer = "(component (core module $m (memory 1))
            (component $c (alias outer 1 $m (core module $n)) (core instance (instantiate $n)))
            (export $d \"d\" (component $c)) (instance (instantiate $d)) (instance (instantiate $c)))";
        names(&refusal(&wat::parse_str(outer).unwrap()), &["2 linear memories"]);
    }

    #[test]
    fn nesting_is_bounded_before_anything_else_is_read() {
        let nested = |levels: usize| {
            let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
            for _ in 1..levels {
                let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
                let mut length = bytes.len();
                while length > 0x7F {
                    outer.push(u8::try_from(length & 0x7F).unwrap() | 0x80);
                    length >>= 7;
                }
                outer.push(u8::try_from(length).unwrap());
                outer.extend(bytes);
                bytes = outer;
            }
            bytes
        };
        assert_eq!(refusal(&nested(NESTING)), "");
        for levels in [NESTING + 1, 10_000] {
            names(&refusal(&nested(levels)), &["33 levels of nesting", "at most 32"]);
        }
    }
}

//! The generated half of the contract: what `wit/` says, as Rust functions.
//!
//! The canonical ABI passes pointers, so the generated code is full of `unsafe`; it brings its own permission, and
//! no other module of this crate has any.

/// Generated from `wit/`; authors see it only through [`Room`](crate::Room) and [`export!`](crate::export).
#[expect(missing_docs, reason = "generated: the documentation is that of wit/")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "game-logic",
        pub_export_macro: true,
        default_bindings_module: "hotseat_guest::bindings",
    });
}

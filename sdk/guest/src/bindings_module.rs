//! The generated half of the contract: what `wit/` says, as Rust functions.
//!
//! The canonical ABI passes pointers, so the generated code is full of `unsafe`; it brings its own permission, and
//! no other module of this crate has any.
//!
//! A component must have every export that its module's generated code describes, and the generated macros bear the
//! names of their interfaces. So the worlds of `wit/` are taken apart here: what both have, and what each has
//! alone; the macros authors write put them together again. Imports that a plugin never calls are left out of its
//! component, so all of them may stand in one place.

/// Everything a plugin can reach, and what every plugin exports.
#[expect(missing_docs, reason = "generated: the documentation is that of wit/")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package hotseat:sdk;
            world plugin {
                import hotseat:plugin/log@0.1.0;
                import hotseat:plugin/clock@0.1.0;
                import hotseat:plugin/random@0.1.0;
                import hotseat:plugin/ids@0.1.0;
                import hotseat:plugin/players@0.1.0;
                import hotseat:plugin/rooms@0.1.0;
                import hotseat:plugin/channels@0.1.0;
                import hotseat:plugin/timers@0.1.0;
                import hotseat:plugin/profile@0.1.0;
                import hotseat:plugin/services@0.1.0;
                import hotseat:plugin/config@0.1.0;
                export hotseat:plugin/lifecycle@0.1.0;
                export hotseat:plugin/downgrade@0.1.0;
            }
        ",
        world: "hotseat:sdk/plugin",
        pub_export_macro: true,
        generate_all,
    });
}

/// What a plugin of the world `game-logic` exports besides.
#[expect(missing_docs, reason = "generated: the documentation is that of wit/")]
pub mod game_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package hotseat:sdk;
            world game {
                export hotseat:plugin/room@0.1.0;
            }
        ",
        world: "hotseat:sdk/game",
        pub_export_macro: true,
        generate_all,
    });
}

/// What a plugin of the world `service` exports besides.
#[expect(missing_docs, reason = "generated: the documentation is that of wit/")]
pub mod service_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package hotseat:sdk;
            world service {
                export hotseat:plugin/handler@0.1.0;
            }
        ",
        world: "hotseat:sdk/service",
        pub_export_macro: true,
        generate_all,
    });
}

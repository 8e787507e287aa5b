//! What `wasmtime` generates from the contract. Its types stay in this crate.
//!
//! One world for what plugins are given, and one for each interface that they may export: which of
//! them a component has to have depends on what it is used as.

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package wasink:host;

        world given {
          import wasink:plugin/records@0.1.0;
          import wasink:plugin/lifecycle@0.1.0;
          import wasink:plugin/batches@0.1.0;
          import wasink:plugin/log@0.1.0;
          import wasink:plugin/secrets@0.1.0;
        }
    ",
    world: "wasink:host/given",
    imports: {
        "wasink:plugin/batches.[method]batch.write-to": async | trappable,
        "wasink:plugin/secrets.get": async | trappable,
        default: trappable,
    },
    with: {
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
        "wasi:filesystem": wasmtime_wasi::p2::bindings::filesystem,
        "wasink:plugin/batches.batch": crate::host::BatchHandle,
    },
});

/// Generates what is exported under one name.
macro_rules! exported {
    ($module:ident, $world:literal, $inline:literal, {$($with:tt)*}) => {
        pub(crate) mod $module {
            wasmtime::component::bindgen!({
                path: "../../wit",
                inline: $inline,
                world: $world,
                exports: { default: async },
                with: { $($with)* },
            });
        }
    };
}

exported!(
    about,
    "wasink:host/about",
    "package wasink:host; world about { export wasink:plugin/about@0.1.0; }",
    { "wasink:plugin/records": crate::bindings::wasink::plugin::records }
);
exported!(
    sink,
    "wasink:host/sink",
    "package wasink:host; world sink { export wasink:plugin/sink@0.1.0; }",
    {
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
        "wasi:filesystem": wasmtime_wasi::p2::bindings::filesystem,
        "wasink:plugin/records": crate::bindings::wasink::plugin::records,
        "wasink:plugin/lifecycle": crate::bindings::wasink::plugin::lifecycle,
        "wasink:plugin/batches": crate::bindings::wasink::plugin::batches,
    }
);
exported!(
    feed_source,
    "wasink:host/feed-source",
    "package wasink:host; world feed-source { export wasink:plugin/feed-source@0.1.0; }",
    {
        "wasink:plugin/records": crate::bindings::wasink::plugin::records,
        "wasink:plugin/lifecycle": crate::bindings::wasink::plugin::lifecycle,
    }
);
exported!(
    acks,
    "wasink:host/acks",
    "package wasink:host; world acks { export wasink:plugin/acks@0.1.0; }",
    { "wasink:plugin/lifecycle": crate::bindings::wasink::plugin::lifecycle }
);
exported!(
    feed_sink,
    "wasink:host/feed-sink",
    "package wasink:host; world feed-sink { export wasink:plugin/feed-sink@0.1.0; }",
    {
        "wasink:plugin/records": crate::bindings::wasink::plugin::records,
        "wasink:plugin/lifecycle": crate::bindings::wasink::plugin::lifecycle,
    }
);

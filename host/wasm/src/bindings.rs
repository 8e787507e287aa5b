//! What `wasmtime` generates from the contract. Its types stay in this crate.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "sink-plugin",
    imports: {
        "wasink:plugin/batches.[method]batch.write-to": async | trappable,
        "wasink:plugin/secrets.get": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
        "wasi:filesystem": wasmtime_wasi::p2::bindings::filesystem,
        "wasink:plugin/batches.batch": crate::host::BatchHandle,
    },
});

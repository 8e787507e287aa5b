//! Sending a request, in the place of wasmtime's own function, which keeps the options of each request
//! for as long as the instance lives: it would come up against its limit of handles.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::{ErrorCode, Host as _};
use wasmtime_wasi_http::p2::bindings::http::types::{Host as _, RequestOptions};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};

use crate::host::HostState;

type Response = Result<Resource<HostFutureIncomingResponse>, ErrorCode>;

/// To be called after wasmtime's function is there.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:http/outgoing-handler@0.2.12")?.func_wrap(
        "handle",
        |mut store,
         (request, options): (
            Resource<HostOutgoingRequest>,
            Option<Resource<RequestOptions>>,
        )| {
            let state = store.data_mut();
            let given = options.as_ref().map(|options| Resource::new_own(options.rep()));
            let sent = state.http().handle(request, options);
            if let Some(options) = given {
                let _options: RequestOptions = state.table.delete(options)?;
            }
            let answer: Response = match sent {
                Ok(response) => Ok(response),
                Err(error) => Err(state.http().convert_error_code(error)?),
            };
            Ok((answer,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

//! A small web service that meters every request it answers.
//!
//! ```console
//! $ cargo run --release --example axum-service -- 127.0.0.1:8080
//! $ curl -H 'x-tenant: acme' http://127.0.0.1:8080/hello/world
//! ```
//!
//! Each answered request is one usage event, emitted after the answer is made. Where it goes stands in
//! `wasink.toml`, or nowhere: then it is a line in the log.

#![expect(clippy::print_stdout, reason = "an example talks on its terminal")]

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use wasink::record::{Status, UsageEvent};
use wasink::{Chassis, Config, Recorder};

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let file = std::path::PathBuf::from("wasink.toml");
    let file = file.exists().then_some(file);
    let sources = wasink::config::Sources { file, ..Default::default() };
    let chassis = Chassis::open(&Config::load(&sources)?)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&address, chassis.usage()))?;

    // After the last answer: everything that was emitted gets delivered.
    let status = chassis.close(Duration::from_secs(5));
    println!("{} usage events are not delivered", status.pending());
    Ok(())
}

async fn serve(address: &str, usage: Recorder<UsageEvent>) -> anyhow::Result<()> {
    let service = Router::new()
        .route("/hello/{name}", get(hello))
        .layer(middleware::from_fn_with_state(usage, meter));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let ended = async {
        // Where Ctrl-C can't be waited for, nothing else ends the service in an orderly way either.
        drop(tokio::signal::ctrl_c().await);
    };
    axum::serve(listener, service).with_graceful_shutdown(ended).await?;
    Ok(())
}

async fn hello(Path(name): Path<String>) -> String {
    format!("hello, {name}\n")
}

/// Emits one usage event for each request, whatever becomes of it.
async fn meter(
    State(usage): State<Recorder<UsageEvent>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let tenant = header(request.headers(), "x-tenant");
    let rid = header(request.headers(), "x-request-id");
    let bytes_in = length(request.body());
    let response = next.run(request).await;

    let status = if response.status().is_server_error() { Status::Error } else { Status::Ok };
    let bytes_out = length(response.body());
    let duration = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    usage.emit(
        UsageEvent::builder(rid, tenant, "http", "hello")
            .duration_ms(duration)
            .status(status)
            .bytes_in(bytes_in)
            .bytes_out(bytes_out)
            .build(),
    );
    response
}

/// Length of a body, in bytes, where it is known; a real service counts while it sends.
fn length(body: &Body) -> u64 {
    body.size_hint().exact().unwrap_or(0)
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

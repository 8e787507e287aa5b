//! The stream, found or made.

use std::time::Duration;

use wasink_guest::{Failure, info};
use wasink_nats::async_nats::jetstream::context::GetStreamErrorKind;
use wasink_nats::async_nats::jetstream::stream::{Config, RetentionPolicy, Stream};
use wasink_nats::async_nats::jetstream::{Context, ErrorCode};
use wasink_nats::{Broken, reason};

use crate::Settings;

/// Finds the stream, or makes it where that is set. Once it was `known`, another of the same name is not
/// taken for it: its versions are others.
pub(crate) async fn stream(
    context: &Context,
    settings: &Settings,
    known: &mut Option<String>,
) -> Result<Stream, Broken> {
    let name = &settings.stream;
    let stream = match context.get_stream(name).await {
        Ok(stream) => stream,
        Err(error) => {
            let missing = matches!(error.kind(), GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND);
            match &settings.create {
                _ if missing && known.is_some() => {
                    return Err(retry(format!("the stream `{name}` is gone")));
                }
                Some(create) if missing => make(context, settings, create).await?,
                _ if missing => {
                    return Err(retry(format!(
                        "there is no stream `{name}`; make it, or set `create`"
                    )));
                }
                _ => return Err(retry(format!("the stream `{name}`: {}", reason(&error)))),
            }
        }
    };
    if stream.cached_info().config.retention != RetentionPolicy::Limits {
        return Err(retry(format!(
            "the stream `{name}` forgets what was read; a feed needs one with the retention `limits`"
        )));
    }
    let created = stream.cached_info().created.to_string();
    match known {
        Some(known) if *known != created => Err(retry(format!(
            "the stream `{name}` is another than it was: it was made at {created}, and the one before \
             at {known}; begin a new feed with it"
        ))),
        _ => {
            *known = Some(created);
            Ok(stream)
        }
    }
}

async fn make(
    context: &Context,
    settings: &Settings,
    create: &crate::settings::Create,
) -> Result<Stream, Broken> {
    let config = Config {
        name: settings.stream.clone(),
        subjects: vec![settings.subject.clone()],
        num_replicas: create.replicas,
        duplicate_window: Duration::from_secs(create.dedup_seconds),
        description: Some("control events of wasink".to_owned()),
        ..Config::default()
    };
    let made = context.get_or_create_stream(config).await;
    let stream = made.map_err(|error| {
        retry(format!("can't make the stream `{}`: {}", settings.stream, reason(&error)))
    })?;
    info!("made the stream"; stream = settings.stream.as_str());
    Ok(stream)
}

pub(crate) fn retry(reason: impl Into<String>) -> Broken {
    Broken(Failure::retry(reason))
}

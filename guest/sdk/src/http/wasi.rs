//! Requests of a component, through `wasi:http`.
//!
//! Everything that is made here belongs to what it was made from and must be gone before it; that is
//! what the order of the variables is for.

use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    self as wasi, ErrorCode, Fields, FutureIncomingResponse, HeaderError, IncomingResponse,
    OutgoingBody, OutgoingRequest, RequestOptions,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::StreamError;

use super::{Answer, Beyond, Client, Error, Method, Request, Scheme, Timeouts};

/// So much of an answer is asked for at once.
const PIECE: u64 = 65_536;

pub(super) fn send(client: &Client, request: &Request) -> Result<Answer, Error> {
    let deadline = monotonic_clock::subscribe_duration(nanos(client.timeouts.total));
    let outgoing = outgoing(request)?;
    let body = outgoing.body().map_err(|()| invalid("body"))?;
    let coming = outgoing_handler::handle(outgoing, Some(options(&client.timeouts)))
        .map_err(|code| error(&code))?;
    // It is kept until the answer is read: without it the host would end the connection.
    let unfinished = write(body, &request.body, &coming, &deadline)?;
    let response = response(&coming, &deadline)?;
    if unfinished.is_some() && (200..300).contains(&response.status()) {
        return Err(Error::InDoubt("it was answered before all of it was sent".to_owned()));
    }
    read(client, &response, &deadline)
}

fn outgoing(request: &Request) -> Result<OutgoingRequest, Error> {
    let mut headers: Vec<(String, Vec<u8>)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
        .collect();
    headers.push(("content-length".to_owned(), request.body.len().to_string().into_bytes()));
    let headers = Fields::from_list(&headers).map_err(|error| match error {
        HeaderError::InvalidSyntax => invalid("header"),
        HeaderError::Forbidden => Error::Invalid("a header that the host forbids".to_owned()),
        HeaderError::Immutable => invalid("header"),
    })?;
    let outgoing = OutgoingRequest::new(headers);
    let method = match request.method {
        Method::Get => wasi::Method::Get,
        Method::Post => wasi::Method::Post,
        Method::Put => wasi::Method::Put,
        Method::Patch => wasi::Method::Patch,
        Method::Delete => wasi::Method::Delete,
    };
    outgoing.set_method(&method).map_err(|()| invalid("method"))?;
    let scheme = match request.url.scheme() {
        Scheme::Http => wasi::Scheme::Http,
        Scheme::Https => wasi::Scheme::Https,
    };
    outgoing.set_scheme(Some(&scheme)).map_err(|()| invalid("scheme"))?;
    outgoing.set_authority(Some(&request.url.authority())).map_err(|()| invalid("host"))?;
    outgoing
        .set_path_with_query(Some(request.url.path_and_query()))
        .map_err(|()| invalid("path"))?;
    Ok(outgoing)
}

fn options(timeouts: &Timeouts) -> RequestOptions {
    let options = RequestOptions::new();
    let taken = [
        options.set_connect_timeout(Some(nanos(timeouts.connect))),
        options.set_first_byte_timeout(Some(nanos(timeouts.first_byte))),
        options.set_between_bytes_timeout(Some(nanos(timeouts.between_bytes))),
    ];
    if taken.contains(&Err(())) {
        crate::debug!("the host knows not all timeouts of a request, only the last one counts");
    }
    options
}

/// Writes the body, unless an answer comes first. Gives it back where not all of it was taken.
fn write(
    body: OutgoingBody,
    bytes: &[u8],
    coming: &FutureIncomingResponse,
    deadline: &Pollable,
) -> Result<Option<OutgoingBody>, Error> {
    let stream = body.write().map_err(|()| invalid("body"))?;
    let answered = coming.subscribe();
    let mut rest = bytes;
    while !rest.is_empty() {
        match stream.check_write() {
            Ok(0) => {
                let room = stream.subscribe();
                let ready = poll(&[&room, &answered, deadline]);
                if ready.contains(&2) {
                    return Err(late());
                }
                // Who answers early may still want all of it.
                if !ready.contains(&0) {
                    return Ok(Some(body));
                }
            }
            Ok(room) => {
                let now = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
                let (piece, more) = rest.split_at_checked(now).unwrap_or((rest, &[]));
                if stream.write(piece).is_err() {
                    return Ok(Some(body));
                }
                rest = more;
            }
            // Why is told by what comes instead of an answer.
            Err(_) => return Ok(Some(body)),
        }
    }
    drop(answered);
    drop(stream);
    // Whether it arrived is told by the answer.
    OutgoingBody::finish(body, None).map_err(|code| error(&code))?;
    Ok(None)
}

fn response(
    coming: &FutureIncomingResponse,
    deadline: &Pollable,
) -> Result<IncomingResponse, Error> {
    loop {
        match coming.get() {
            Some(Ok(Ok(response))) => return Ok(response),
            Some(Ok(Err(code))) => return Err(error(&code)),
            Some(Err(())) => return Err(Error::InDoubt("the answer is gone".to_owned())),
            None => {
                let answered = coming.subscribe();
                if !poll(&[&answered, deadline]).contains(&0) {
                    return Err(late());
                }
            }
        }
    }
}

fn read(
    client: &Client,
    response: &IncomingResponse,
    deadline: &Pollable,
) -> Result<Answer, Error> {
    let status = response.status();
    let headers = response.headers().entries();
    let gone = |()| Error::InDoubt("the answer's body is gone".to_owned());
    let incoming = response.consume().map_err(gone)?;
    let stream = incoming.stream().map_err(gone)?;
    let mut answer = Answer { status, headers, body: Vec::new(), cut: false };
    loop {
        match stream.read(PIECE) {
            Ok(piece) if piece.is_empty() => {
                let more = stream.subscribe();
                if !poll(&[&more, deadline]).contains(&0) {
                    return Err(late());
                }
            }
            Ok(piece) => {
                let room = client.answer_bytes.saturating_sub(answer.body.len());
                answer.body.extend_from_slice(piece.get(..room).unwrap_or(&piece));
                if piece.len() > room {
                    if client.beyond == Beyond::Fail {
                        return Err(too_large(client.answer_bytes));
                    }
                    answer.cut = true;
                    return Ok(answer);
                }
                // A receiver that always has a little more would go on for ever.
                if deadline.ready() {
                    return Err(late());
                }
            }
            Err(StreamError::Closed) => return Ok(answer),
            Err(StreamError::LastOperationFailed(failed)) => {
                let why = match wasi::http_error_code(&failed) {
                    Some(code) => describe(&code),
                    None => failed.to_debug_string(),
                };
                return Err(Error::InDoubt(format!("half an answer, with status {status}: {why}")));
            }
        }
    }
}

/// What an error of the host's says of the request.
fn error(code: &ErrorCode) -> Error {
    let why = describe(code);
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Error::Denied(why),
        ErrorCode::DnsTimeout
        | ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionLimitReached
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError
        | ErrorCode::TlsAlertReceived(_) => Error::NotConnected(why),
        ErrorCode::HttpRequestLengthRequired
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_) => Error::Invalid(why),
        ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_) => Error::TooLarge(why),
        _ => Error::InDoubt(why),
    }
}

/// The code in words: its name, and what else it says.
fn describe(code: &ErrorCode) -> String {
    match code {
        ErrorCode::InternalError(Some(why)) => why.clone(),
        ErrorCode::DnsError(payload) => match &payload.rcode {
            Some(rcode) => format!("the name is not known: {rcode}"),
            None => "the name is not known".to_owned(),
        },
        ErrorCode::HttpRequestDenied => "not granted for this origin".to_owned(),
        ErrorCode::ConnectionRefused => "nobody listens there".to_owned(),
        ErrorCode::ConnectionTimeout => "it took too long to connect".to_owned(),
        ErrorCode::ConnectionTerminated => "the connection was ended".to_owned(),
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            "the answer took too long".to_owned()
        }
        ErrorCode::TlsCertificateError => "its certificate is not trusted".to_owned(),
        other => format!("{other:?}"),
    }
}

fn late() -> Error {
    Error::InDoubt("it took too long".to_owned())
}

fn invalid(what: &str) -> Error {
    Error::Invalid(format!("its {what} is not taken"))
}

fn too_large(limit: usize) -> Error {
    Error::TooLarge(format!("more than {limit} bytes"))
}

fn nanos(duration: std::time::Duration) -> u64 {
    // Never 0, which would be no time at all for any host.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1)
}

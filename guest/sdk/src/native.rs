//! The other side of a [`Batch`](crate::Batch) where there is no host: when a sink is compiled for
//! the machine that it is written on, for its tests or to be linked into a program.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::http::{Answer, Client, Error, Request};
use crate::{
    CloudEvent, ControlEvent, Encoding, Entry, Stream, UsageColumns, UsageEvent, WrongStream,
};

/// What a batch is read from: the functions of the contract's `batch`, which say what they mean.
#[expect(clippy::len_without_is_empty, reason = "it never is")]
pub trait Records: fmt::Debug {
    /// The stream that all the records are of.
    fn of(&self) -> Stream;

    /// How many there are: at least one.
    fn len(&self) -> u32;

    /// Position in the stream of the first one.
    fn position(&self) -> u64;

    /// One id a record.
    fn ids(&self) -> Vec<String>;

    /// All of them as bytes.
    fn encode(&self, encoding: Encoding) -> Bytes;

    /// Those of a `metering` batch.
    fn entries(&self) -> Result<Vec<Entry>, WrongStream>;

    /// Those of a `usage` batch.
    fn usage(&self) -> Result<Vec<UsageEvent>, WrongStream>;

    /// Those of a `usage` batch, by column.
    fn usage_columns(&self) -> Result<Arc<UsageColumns>, WrongStream>;

    /// Those of a `control` batch.
    fn control(&self) -> Result<Vec<ControlEvent>, WrongStream>;

    /// Those of an `events` batch.
    fn events(&self) -> Result<Vec<CloudEvent>, WrongStream>;
}

/// Bytes that are shared, not copied, when they are cloned.
#[derive(Clone)]
pub struct Bytes(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Bytes {
    /// Shares whatever has the bytes.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(bytes))
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bytes").field("len", &self.as_ref().len()).finish()
    }
}

/// Records that are lent to a batch, or its own.
#[derive(Debug)]
pub enum Shared<'a> {
    /// Lent for as long as the batch lasts.
    Lent(&'a dyn Records),
    /// Its own.
    Own(Box<dyn Records>),
}

impl<'a> Deref for Shared<'a> {
    type Target = dyn Records + 'a;

    fn deref(&self) -> &(dyn Records + 'a) {
        match self {
            Self::Lent(records) => *records,
            Self::Own(records) => &**records,
        }
    }
}

/// A batch of these records.
pub fn batch(records: &dyn Records) -> crate::Batch<'_> {
    Shared::Lent(records).into()
}

thread_local! {
    static DATA: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// Makes `path` this thread's data directory: what `/data` is to a component. There is none until
/// it is set.
pub fn set_data_directory(path: impl Into<PathBuf>) {
    DATA.set(Some(path.into()));
}

pub(crate) fn with_data_directory<T>(f: impl FnOnce(Option<&Path>) -> T) -> T {
    DATA.with_borrow(|path| f(path.as_deref()))
}

/// What answers the requests of a thread.
type Http = Arc<dyn Fn(&Client, &Request) -> Result<Answer, Error>>;

thread_local! {
    static HTTP: RefCell<Option<Http>> = const { RefCell::new(None) };
}

/// From now on this thread's requests go to `answer`. Until it is set, all are denied.
pub fn set_http(answer: impl Fn(&Client, &Request) -> Result<Answer, Error> + 'static) {
    HTTP.set(Some(Arc::new(answer)));
}

pub(crate) fn send_http(client: &Client, request: &Request) -> Result<Answer, Error> {
    // It is not lent while it answers: it may set another one.
    match HTTP.with_borrow(Clone::clone) {
        Some(answer) => answer(client, request),
        None => Err(Error::Denied("`native::set_http` has set nothing for this thread".to_owned())),
    }
}

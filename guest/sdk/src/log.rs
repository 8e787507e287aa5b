//! Log lines: a constant message, and what varies as fields.

use crate::{Level, Value};

/// Writes one line to the chassis's log. The macros [`debug!`](crate::debug),
/// [`info!`](crate::info), [`warn!`](crate::warn) and [`error!`](crate::error) are the short way.
pub fn log(level: Level, message: &str, fields: &[(&str, Value<'_>)]) {
    #[cfg(target_family = "wasm")]
    crate::bindings::host::wasink::plugin::log::write(level, message, fields);
    #[cfg(not(target_family = "wasm"))]
    crate::testing::collect(level, message, fields);
}

/// What makes a field's value of a reference to whatever the author gave.
#[doc(hidden)]
pub trait Field {
    fn field(&self) -> Value<'_>;
}

macro_rules! field {
    ($($case:ident: $($type:ty),+;)+) => {$($(
        impl Field for $type {
            fn field(&self) -> Value<'_> {
                Value::$case((*self).into())
            }
        }
    )+)+};
}

field! {
    Signed: i8, i16, i32, i64;
    Unsigned: u8, u16, u32, u64;
    Boolean: bool;
}

impl Field for usize {
    fn field(&self) -> Value<'_> {
        Value::Unsigned(u64::try_from(*self).unwrap_or(u64::MAX))
    }
}

impl Field for str {
    fn field(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Field for String {
    fn field(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl<T: Field + ?Sized> Field for &T {
    fn field(&self) -> Value<'_> {
        (**self).field()
    }
}

/// Writes a line with a level that is given first: `log!(Level::Info, "connected"; port = 5)`.
#[macro_export]
macro_rules! log {
    ($level:expr, $message:expr $(; $($key:ident = $value:expr),+ $(,)?)?) => {
        $crate::log(
            $level,
            $message,
            &[$($((::std::stringify!($key), $crate::Field::field(&$value))),+)?],
        )
    };
}

/// Writes a line that only somebody who looks for a fault wants to see.
///
/// ```
/// wasink_guest::debug!("sent"; records = 12_u32, host = "example.org");
/// ```
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::log!($crate::Level::Debug, $($line)+) };
}

/// Writes a line that tells of the normal course of things: `info!("connected"; host = name)`. A
/// value is text, a whole number or a boolean.
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::log!($crate::Level::Info, $($line)+) };
}

/// Writes a line about something that is not as it should be, and goes on.
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::log!($crate::Level::Warn, $($line)+) };
}

/// Writes a line about something that an operator must see to.
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::log!($crate::Level::Error, $($line)+) };
}

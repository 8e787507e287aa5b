//! Closed sets of names, and what to say of a name that is not in one.

use std::fmt::Write;

/// A name that is not one of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{name}`{}", way_out(.name, .known))]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: &'static [&'static str],
}

impl UnknownName {
    pub(crate) fn new(what: &'static str, name: &str, known: &'static [&'static str]) -> Self {
        Self { what, name: crate::invalid::shorten(name), known }
    }

    /// The names of the set.
    pub fn known(&self) -> &'static [&'static str] {
        self.known
    }
}

/// The end of a message about a name that is not among `known`: the nearest one, or all of them.
pub(crate) fn way_out(name: &str, known: &[&str]) -> String {
    // A third of the name may be mistyped; a name that is further off was not meant.
    let near = known
        .iter()
        // Nor was one that is so much longer; the distance of long texts takes long to find.
        .filter(|right| name.len() <= 2 * right.len())
        .map(|&right| (strsim::osa_distance(name, right), right))
        .filter(|&(distance, right)| distance <= right.len().max(3) / 3)
        .min_by_key(|&(distance, _)| distance);
    if let Some((_, right)) = near {
        return format!(", did you mean `{right}`?");
    }
    let mut list = String::from(", it is one of ");
    for (index, right) in known.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _infallible = write!(list, "{comma}`{right}`");
    }
    list
}

/// Declares an enum whose variants have names on the wire.
macro_rules! closed_names {
    (
        $(#[$meta:meta])*
        pub enum $name:ident, $what:literal {
            $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            pub(crate) const NAMES: &'static [&'static str] = &[$($text),+];

            /// Its name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownName::new($what, text, Self::NAMES)),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str($crate::names::Parsed::<Self>::new($what))
            }
        }
    };
}
pub(crate) use closed_names;

/// Reads a value from a string by its `FromStr`.
pub(crate) struct Parsed<T> {
    what: &'static str,
    value: std::marker::PhantomData<T>,
}

impl<T> Parsed<T> {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, value: std::marker::PhantomData }
    }
}

impl<T> serde::de::Visitor<'_> for Parsed<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the text of a {}", self.what)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::way_out;

    #[test]
    fn a_near_name_is_proposed_and_a_far_one_gets_the_list() {
        let known = ["boot", "restart", "vm-rm"];
        assert_eq!(way_out("bot", &known), ", did you mean `boot`?");
        assert_eq!(way_out("restrat", &known), ", did you mean `restart`?");
        assert_eq!(way_out("elephant", &known), ", it is one of `boot`, `restart`, `vm-rm`");
        assert_eq!(way_out("", &known), ", it is one of `boot`, `restart`, `vm-rm`");
    }
}

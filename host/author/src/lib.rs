//! The author's side of a plugin: makes a project of it that builds as it stands, and builds it.
//!
//! A project is a folder with the author's sources, a copy of the contract in `wit/`, and
//! `wasink-plugin.toml`, which says what it is. [`Project::create`] makes one from a template,
//! [`Project::build`] makes the component. Building runs the language's own tools, which have to be
//! there: nothing is downloaded. What else it takes is in this crate: generators of bindings for C
//! and Go, and the encoder of components.

mod bindings;
mod build;
mod component;
mod contract;
mod error;
mod files;
mod language;
mod manifest;
mod project;
mod tool;

pub use contract::CONTRACT_VERSION;
pub use error::AuthorError;
pub use language::{Kind, Language};
pub use project::{Built, Project};

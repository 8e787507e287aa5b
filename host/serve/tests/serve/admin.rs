//! The door for operators.

mod document;
mod kit;
mod life;
mod refusals;
mod requests;

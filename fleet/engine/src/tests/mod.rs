//! Tests of the engine: worked examples of the reference and properties of any run.

mod arithmetic;
mod examples;
mod properties;
mod world;

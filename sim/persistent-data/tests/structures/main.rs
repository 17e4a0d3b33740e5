//! Trees, arrays and bitsets of the library against plain models, and against what Linux wrote.

mod arrays;
mod bench;
mod bitsets;
mod errors;
mod maps;
mod recorded;
mod trees;

//! A pool as XML: the format of `thin_dump` and `thin_restore`.
//!
//! Written byte for byte as Debian's `thin_dump` 0.9 writes it (compared in the tests). Read are also the `def` and `ref`
//! elements of later versions: runs that are written once and used by several devices.

mod reader;
mod writer;

pub use reader::{XmlError, read_xml};
pub use writer::XmlSink;

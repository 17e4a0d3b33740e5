//! Typed tables and status lines to device-mapper ioctls and back, over any transport.
#![forbid(unsafe_code)]

//! The bytes of the device-mapper ioctls and the numbers of the block ioctls, both ways.
#![forbid(unsafe_code)]

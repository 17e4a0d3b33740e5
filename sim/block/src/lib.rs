//! Bios, block devices, queue limits, disks, loop devices and the page cache.
#![forbid(unsafe_code)]

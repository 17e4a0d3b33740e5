//! What dmlab's own commands ask of a machine, on the same channel. They also make some calls of [`crate::front`], as a program would.

use crate::message::requests;

requests! {
    /// One request of a command of dmlab's.
    pub enum Request;

    /// Kernel log lines from a sequence number on, as many as fit; the value is the next number.
    Klog = 34 { from: u64; }
    /// Uevents from a sequence number on, as many as fit; the value is the next number.
    Uevents = 35 { from: u64; }
    /// Lists the block devices, one text line each.
    Devices = 36 {;}
    /// Rules of faults: a verb and its words with NUL between. The payload of the answer is text, from number `from` on where
    /// it is long; its `extra` is 1 when it says what is wrong.
    Faults = 42 { from: u64; command }
    /// The release of the machine's kernel, as text.
    Release = 50 {;}
    /// Ends the server.
    Halt = 37 {;}
    /// A DM ioctl without an open control node, for dmlab's own commands.
    DmIoctl = 38 { cmd: u32; data }
}

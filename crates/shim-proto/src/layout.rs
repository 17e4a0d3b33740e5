//! The shared area of a channel: one page of control words and headers, then the data.

/// Bytes of the data part: the longest payload of one call. Longer IO travels in pieces.
pub const DATA_LEN: usize = 1 << 20;
/// Where the data part begins.
pub const DATA_OFFSET: usize = 4096;
/// Bytes of the whole area.
pub const AREA_LEN: usize = DATA_OFFSET + DATA_LEN;

/// Offset of the 32-bit word that says whose turn it is.
pub const TURN: usize = 0;
/// Offset of the word that the server sets before it sleeps on the socket. Each word has a cache line of its own.
pub const SERVER_SLEEPS: usize = 64;
/// Offset of the word that the client sets before it sleeps on the socket.
pub const CLIENT_SLEEPS: usize = 128;
/// Offset of the word that the server sets when it has left the channel.
pub const GONE: usize = 192;
/// Offset of the word that the client sets before it takes back a [`Sleep`](crate::front::Request::Sleep) that is under way: a wake on
/// the socket follows.
pub const CANCEL: usize = 196;
/// [`CLIENT_SLEEPS`] and [`SERVER_SLEEPS`]: the sleeper is woken by a message on the socket.
pub const ON_SOCKET: u32 = 1;
/// [`CLIENT_SLEEPS`]: the client waits for [`TURN`] itself to change, as a futex.
pub const ON_TURN: u32 = 2;
/// Offset of the request header.
pub const HEADER_OFFSET: usize = 256;
/// Offset of the reply.
pub const REPLY_OFFSET: usize = 512;

/// [`TURN`]: no call under way.
pub const TURN_CLIENT: u32 = 0;
/// [`TURN`]: a request lies in the area.
pub const TURN_SERVER: u32 = 1;
/// [`TURN`]: the reply lies in the area.
pub const TURN_REPLY: u32 = 2;

/// The one byte of every socket message: it wakes the other side; a descriptor may come with it.
pub const WAKE: u8 = b'w';

/// The error of a read that has to wait: the program waits until the placeholder can be read, and asks once more. It is a number
/// that Linux keeps to itself, too (ERESTART).
pub const WAIT_AND_ASK: i32 = 85;

/// Name of the listening socket in a machine's run directory.
pub const SOCKET_NAME: &str = "socket";
/// Name of the file beside the socket that says, where the machine's clock is a virtual one, how far it has jumped: a 64-bit
/// number of nanoseconds at its beginning, which programs map.
pub const CLOCK_FILE: &str = "clock";
/// Bytes of [`CLOCK_FILE`].
pub const CLOCK_LEN: usize = 4096;
/// Name of the directory beside the socket that mirrors `/dev` and `/sys` for programs that list them.
pub const MIRROR_DIR: &str = "mirror";
/// Name of the directory beside the socket that holds what programs have written to the machine's own `/run` and `/etc`.
pub const LAYER_DIR: &str = "layer";
/// Name of the directory beside the socket that says which names of the host's `/run` and `/etc` are gone: a regular file at
/// the place of each.
pub const GONE_DIR: &str = "gone";
/// Name of the file beside the socket that every program maps: its first byte is not 0 as soon as programs have changed anything
/// in the machine's own `/run` or `/etc`.
pub const LAYER_CHANGED: &str = "layer-changed";
/// Name of the directory beside the socket that holds the owners that programs gave to files, a symlink for each.
pub const OWNERS_DIR: &str = "owners";
/// Name of a file beside the socket: if it is there, programs that the preload library cannot stand in front of may run.
pub const ALLOW_HOST: &str = "allow-host";

/// Permission bits (with a zero size) of the file in a machine's layer that stands for one of the host's, so that a program
/// that lists the directory sees its name: no program makes such files by itself.
pub const fn stand_in_mode() -> u32 {
    0o3000
}

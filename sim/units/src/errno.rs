//! Error numbers of the kernel's interface.

use std::fmt;

/// An error number of Linux (x86-64), always positive.
///
/// It is made where the simulated kernel answers a caller; inside, errors keep their facts as long as they can.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "i32", into = "i32"))]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($name), "`: ", $text, ".")]
            pub const $name: Errno = Errno($number);)*

            /// The symbolic name, as the kernel's `%pe` prints it without the minus sign: `ENOENT`.
            /// `None` for a number that has no name here.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// The sentence that programs print for it (glibc's `strerror`).
            pub const fn text(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, "Operation not permitted";
    ENOENT = 2, "No such file or directory";
    EINTR = 4, "Interrupted system call";
    EIO = 5, "Input/output error";
    ENXIO = 6, "No such device or address";
    E2BIG = 7, "Argument list too long";
    EBADF = 9, "Bad file descriptor";
    EAGAIN = 11, "Resource temporarily unavailable";
    ENOMEM = 12, "Cannot allocate memory";
    EACCES = 13, "Permission denied";
    EFAULT = 14, "Bad address";
    ENOTBLK = 15, "Block device required";
    EBUSY = 16, "Device or resource busy";
    EEXIST = 17, "File exists";
    EXDEV = 18, "Invalid cross-device link";
    ENODEV = 19, "No such device";
    ENOTDIR = 20, "Not a directory";
    EISDIR = 21, "Is a directory";
    EINVAL = 22, "Invalid argument";
    ENFILE = 23, "Too many open files in system";
    EMFILE = 24, "Too many open files";
    ENOTTY = 25, "Inappropriate ioctl for device";
    EFBIG = 27, "File too large";
    ENOSPC = 28, "No space left on device";
    ESPIPE = 29, "Illegal seek";
    EROFS = 30, "Read-only file system";
    EPIPE = 32, "Broken pipe";
    EDOM = 33, "Numerical argument out of domain";
    ERANGE = 34, "Numerical result out of range";
    EDEADLK = 35, "Resource deadlock avoided";
    ENAMETOOLONG = 36, "File name too long";
    ENOSYS = 38, "Function not implemented";
    ENOTEMPTY = 39, "Directory not empty";
    ELOOP = 40, "Too many levels of symbolic links";
    EIDRM = 43, "Identifier removed";
    EBADE = 52, "Invalid exchange";
    ENODATA = 61, "No data available";
    ETIME = 62, "Timer expired";
    ENOLINK = 67, "Link has been severed";
    EPROTO = 71, "Protocol error";
    EBADMSG = 74, "Bad message";
    EOVERFLOW = 75, "Value too large for defined data type";
    EREMCHG = 78, "Remote address changed";
    EILSEQ = 84, "Invalid or incomplete multibyte or wide character";
    EOPNOTSUPP = 95, "Operation not supported";
    ETOOMANYREFS = 109, "Too many references: cannot splice";
    ETIMEDOUT = 110, "Connection timed out";
    ESTALE = 116, "Stale file handle";
    EREMOTEIO = 121, "Remote I/O error";
    ENOKEY = 126, "Required key not available";
    EKEYREJECTED = 129, "Key was rejected by service";
}

impl Errno {
    /// The error with this positive number, or `None` when it is none that a kernel may return (1 to 4095).
    pub const fn from_raw(number: i32) -> Option<Errno> {
        if number > 0 && number <= 4095 { Some(Errno(number)) } else { None }
    }

    /// The positive number.
    pub const fn raw(self) -> i32 {
        self.0
    }
}

impl TryFrom<i32> for Errno {
    type Error = &'static str;

    /// As [`Errno::from_raw`].
    fn try_from(number: i32) -> Result<Errno, &'static str> {
        Errno::from_raw(number).ok_or("an error number is 1 to 4095")
    }
}

impl From<Errno> for i32 {
    fn from(errno: Errno) -> i32 {
        errno.raw()
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.text(), self.name()) {
            (Some(text), Some(name)) => write!(f, "{text} ({name})"),
            _ => write!(f, "Unknown error {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts() {
        assert_eq!(Errno::ENOTBLK.name(), Some("ENOTBLK"));
        assert_eq!(Errno::ENXIO.to_string(), "No such device or address (ENXIO)");
        assert_eq!(Errno::from_raw(0), None);
        assert_eq!(Errno::from_raw(-5), None);
        assert_eq!(Errno::from_raw(5), Some(Errno::EIO));
        assert_eq!(format!("{:?}", Errno::EIO), "EIO");
    }
}

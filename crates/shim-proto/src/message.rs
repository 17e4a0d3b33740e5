//! How requests travel: a fixed header of words, and byte strings (paths, data) in the payload. Whose requests they are, `front` and
//! `admin` say.

/// Version of these messages; both sides come from one build, so only equality is useful.
pub const PROTOCOL: u32 = 1;

/// Words of a request beside its operation and payload length.
const NR_WORDS: usize = 10;
/// Bytes of an encoded [`Header`].
pub const HEADER_LEN: usize = 8 + NR_WORDS * 8;

/// A request that cannot be what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No operation has this number.
    Operation(u32),
    /// A word does not fit its field.
    Word,
    /// The payload is shorter or longer than the lengths in the header say.
    Payload,
}

/// The fixed part of a request as it lies in the shared area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Which operation.
    pub op: u32,
    /// Bytes of payload in the data part.
    pub len: u32,
    /// The operation's words, then the lengths of its byte strings.
    pub words: [u64; NR_WORDS],
}

impl Header {
    /// The bytes for the shared area.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(&self.op.to_le_bytes());
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        for (chunk, word) in out[8..].chunks_exact_mut(8).zip(self.words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Reads what [`Header::to_bytes`] wrote. Any bytes are some header; a request's `decode` judges it.
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Header {
        let word = |at: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(w)
        };
        let first = word(0);
        let mut words = [0; NR_WORDS];
        for (i, w) in words.iter_mut().enumerate() {
            *w = word(8 + i * 8);
        }
        Header { op: first as u32, len: (first >> 32) as u32, words }
    }
}

/// A request of either side.
pub trait Encode {
    /// The header of this request; its byte strings are copied to the start of `payload`.
    ///
    /// # Errors
    /// [`Malformed::Payload`] when they do not fit.
    fn encode(&self, payload: &mut [u8]) -> Result<Header, Malformed>;
}

/// A field of a request that travels as one word.
pub(crate) trait Word: Copy {
    fn to_word(self) -> u64;
    fn from_word(word: u64) -> Result<Self, Malformed>;
}

macro_rules! words {
    ($($t:ty),*) => {$(
        impl Word for $t {
            fn to_word(self) -> u64 { self as i64 as u64 }
            fn from_word(word: u64) -> Result<Self, Malformed> {
                let value = word as $t;
                if value as i64 as u64 == word { Ok(value) } else { Err(Malformed::Word) }
            }
        }
    )*};
}
words!(u32, i32, u64, i64);

impl Word for bool {
    fn to_word(self) -> u64 {
        u64::from(self)
    }
    fn from_word(word: u64) -> Result<bool, Malformed> {
        match word {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Word),
        }
    }
}

/// Makes the enum of one side's requests, with what encodes and decodes them.
macro_rules! requests {
    ($(#[$of:meta])* pub enum Request; $($(#[$doc:meta])* $name:ident = $number:literal { $($(#[$wdoc:meta])* $word:ident : $type:ty),* ; $($(#[$bdoc:meta])* $blob:ident),* })*) => {
        $(#[$of])*
        #[allow(missing_docs, reason = "the variants say what their fields are")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Request<'a> {
            $($(#[$doc])* $name { $($(#[$wdoc])* $word: $type,)* $($(#[$bdoc])* $blob: &'a [u8],)* },)*
        }

        impl<'a> Request<'a> {
            /// The header of this request, as [`Encode::encode`](crate::Encode::encode) makes it, for data that lies in the area
            /// already: the last byte string (given empty) is the `tail` bytes that follow the others.
            ///
            /// # Errors
            /// `Malformed::Payload` when the byte strings do not fit.
            pub fn encode_with_tail(&self, payload: &mut [u8], tail: usize) -> Result<$crate::Header, $crate::Malformed> {
                let mut header = $crate::Header::default();
                #[allow(unused_mut, unused_variables, unused_assignments)]
                let (mut word, mut end) = (0, 0);
                match *self {
                    $(Request::$name { $($word,)* $($blob,)* } => {
                        header.op = $number;
                        $(header.words[word] = $crate::message::Word::to_word($word); word += 1;)*
                        $(
                            payload.get_mut(end..end + $blob.len()).ok_or($crate::Malformed::Payload)?.copy_from_slice($blob);
                            header.words[word] = $blob.len() as u64;
                            word += 1;
                            end += $blob.len();
                        )*
                        if let Some(last) = header.words.get_mut(word.wrapping_sub(1)).filter(|_| tail > 0) {
                            *last += tail as u64;
                            end += tail;
                        }
                    })*
                }
                header.len = u32::try_from(end).map_err(|_| $crate::Malformed::Payload)?;
                Ok(header)
            }

            /// Reads a request. `payload` is the whole data part, or as much of it as the header's length names.
            ///
            /// # Errors
            /// What of it is no request.
            pub fn decode(header: &$crate::Header, payload: &'a [u8]) -> Result<Request<'a>, $crate::Malformed> {
                #[allow(unused_mut, unused_variables, unused_assignments)]
                let (mut word, mut rest) = (0, payload.get(..header.len as usize).ok_or($crate::Malformed::Payload)?);
                match header.op {
                    $($number => {
                        $(let $word = <$type as $crate::message::Word>::from_word(header.words[word])?; word += 1;)*
                        $(
                            let len = usize::try_from(header.words[word]).map_err(|_| $crate::Malformed::Payload)?;
                            let ($blob, tail) = rest.split_at_checked(len).ok_or($crate::Malformed::Payload)?;
                            rest = tail;
                            word += 1;
                        )*
                        let _ = (word, rest);
                        Ok(Request::$name { $($word,)* $($blob,)* })
                    })*
                    other => Err($crate::Malformed::Operation(other)),
                }
            }
        }

        impl $crate::Encode for Request<'_> {
            fn encode(&self, payload: &mut [u8]) -> Result<$crate::Header, $crate::Malformed> {
                self.encode_with_tail(payload, 0)
            }
        }
    };
}

pub(crate) use requests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin;
    use crate::front::Request;

    #[test]
    fn a_request_survives_the_trip() {
        let mut payload = [0; 64];
        let request = Request::Rename { flags: 1, path: b"/dev/a", other: b"/dev/bb" };
        let header = request.encode(&mut payload).unwrap();
        let header = Header::from_bytes(&header.to_bytes());
        assert_eq!(Request::decode(&header, &payload), Ok(request));
        let request =
            Request::Read { file: u64::MAX, pos: -1, len: 4096, flags: 0, addresses: 512, lengths: 512 };
        let header = request.encode(&mut payload).unwrap();
        assert_eq!(Request::decode(&header, &payload), Ok(request));
    }

    #[test]
    fn lying_headers_are_refused() {
        let payload = [0; 16];
        let header = Request::Open { flags: 0, mode: 0, path: b"/dev/ram0" }.encode(&mut [0; 16]).unwrap();
        assert_eq!(Request::decode(&Header { len: 17, ..header }, &payload), Err(Malformed::Payload));
        assert_eq!(Request::decode(&Header { len: 3, ..header }, &payload), Err(Malformed::Payload));
        let mut words = header.words;
        words[0] = 1 << 40;
        assert_eq!(Request::decode(&Header { words, ..header }, &payload), Err(Malformed::Word));
        assert_eq!(Request::decode(&Header { op: 999, ..header }, &payload), Err(Malformed::Operation(999)));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        let payload = [7; 128];
        let mut seed = 1u64;
        for op in 0..60 {
            for _ in 0..200 {
                let mut header = Header { op, len: 0, words: [0; NR_WORDS] };
                for word in &mut header.words {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    *word = if seed & (1 << 40) == 0 { seed >> 58 } else { seed };
                }
                header.len = (seed >> 33) as u32 % 256;
                let _ = Request::decode(&header, &payload);
            }
        }
    }

    #[test]
    fn no_number_is_both_of_the_front_and_of_a_command() {
        for op in 0..1000 {
            let header = Header { op, ..Header::default() };
            let front = Request::decode(&header, &[]) != Err(Malformed::Operation(op));
            let admin = admin::Request::decode(&header, &[]) != Err(Malformed::Operation(op));
            assert!(!(front && admin), "{op}");
        }
    }
}

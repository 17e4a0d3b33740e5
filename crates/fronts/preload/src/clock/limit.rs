//! A limit of time by the machine's clock, under way while the program waits for something else.
//!
//! It is a [`Request::Sleep`] whose answer is not waited for alone: its channel's socket becomes readable when the time is up, or
//! its turn word changes, as one chooses. A limit that is not needed any more is taken back.

use dmlab_shim_proto::front::Request;
use dmlab_shim_proto::{ON_SOCKET, ON_TURN, TURN_SERVER};

use super::futex::Word;
use crate::channel::{self, Call};

/// How it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    UnderWay,
    /// The time is up.
    Over,
    /// The machine or the channel is gone: only the host's clock is left.
    Lost,
}

pub(crate) struct Limit {
    call: Call,
    on: u32,
    state: State,
    /// The message that says the end has been read.
    is_read: bool,
}

impl Limit {
    /// Begins a limit that shows its end on a socket. ENFILE or EMFILE: there are too many, `most` at least; other errors: the
    /// machine is gone.
    pub(crate) fn on_socket(nanos: u64, most: usize) -> Result<Limit, i32> {
        Limit::begin(Call::begin_wait(most)?, nanos, ON_SOCKET)
    }

    /// Begins a limit that shows its end in a word. `None`: it can't be had.
    pub(crate) fn on_word(nanos: u64) -> Option<Limit> {
        Limit::begin(Call::begin().ok()?, nanos, ON_TURN).ok()
    }

    fn begin(mut call: Call, nanos: u64, on: u32) -> Result<Limit, i32> {
        call.start(&Request::Sleep { nanos }, on)?;
        Ok(Limit { call, on, state: State::UnderWay, is_read: false })
    }

    /// What becomes readable at the end.
    pub(crate) fn socket(&self) -> i32 {
        self.call.socket().unwrap_or(-1)
    }

    /// What changes at the end.
    pub(crate) fn word(&self) -> Word<'_> {
        Word { at: self.call.turn(), while_is: TURN_SERVER, is_private: false }
    }

    /// Looks whether the time is up. Called when the socket is readable or the word has changed.
    pub(crate) fn look(&mut self) -> State {
        if self.state != State::UnderWay {
            return self.state;
        }
        if self.on == ON_SOCKET {
            match self.call.socket().and_then(channel::receive_now) {
                Ok(0) => return self.lose(),
                Ok(_) => self.is_read = true,
                Err(libc::EAGAIN | libc::EINTR) => {}
                Err(_) => return self.lose(),
            }
        }
        let Some(reply) = self.call.take_reply() else { return State::UnderWay };
        match reply {
            Ok(0) => self.state = State::Over,
            // A wait before this one was taken back so late that it hit this one: on with what is left.
            Ok(left) => {
                self.settle();
                if self.call.start(&Request::Sleep { nanos: left }, self.on).is_err() {
                    return self.lose();
                }
                self.is_read = false;
            }
            Err(_) => return self.lose(),
        }
        self.state
    }

    /// Whether the machine is still there.
    pub(crate) fn has_machine(&self) -> bool {
        !matches!(
            self.call.socket().and_then(channel::receive_now),
            Ok(0) | Err(libc::EBADF | libc::ECONNRESET)
        )
    }

    fn lose(&mut self) -> State {
        self.call.give_up();
        self.state = State::Lost;
        State::Lost
    }

    /// Reads the message that is on its way, if one is.
    fn settle(&mut self) {
        let is_on_its_way = self.call.end_sleep() && self.on == ON_SOCKET && !self.is_read;
        if is_on_its_way && self.call.receive().is_err() {
            self.lose();
        }
        self.is_read = true;
    }

    /// Takes it back. The answer is waited for: the channel is to be free again.
    fn take_back(&mut self) {
        if self.call.cancel().is_err() {
            self.lose();
            return;
        }
        while self.call.take_reply().is_none() {
            if self.on == ON_SOCKET {
                match self.call.receive() {
                    Ok(()) => self.is_read = true,
                    Err(()) => {
                        self.lose();
                        return;
                    }
                }
            } else if super::futex::wait(&self.word(), None) == Err(libc::ETIMEDOUT) && !self.has_machine() {
                self.lose();
                return;
            }
        }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if self.state == State::UnderWay {
            self.take_back();
        }
        if self.state != State::Lost {
            self.settle();
        }
    }
}

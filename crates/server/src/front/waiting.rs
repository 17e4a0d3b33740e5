//! Waits for a virtual clock: sleeps, and the time limits of whatever else programs wait for.

use std::time::Duration;

use dmlab_shim_proto::Reply;
use dmlab_units::Errno;

use super::channel::Channel;
use super::session::{Answer, Session, payload, value};
use super::timers::Purpose;
use crate::driver::Time;

impl Session {
    /// Waits for a virtual clock until `time` has passed or the client takes it back. The value is what was left then.
    pub(super) fn sleep(&self, time: Duration, channel: &Channel) -> Answer {
        if self.shared.driver.time() != Time::Virtual {
            return Err(Errno::ENOSYS);
        }
        // The client sets a word and then sends a wake. What lies in the socket by now is from before, or the word says it.
        channel.drain();
        // Time must not pass before what was closed looks closed: a sleep may be there to let a deferred removal happen.
        self.shared.files.drain();
        let _listening = self.listen().map_err(|_| Errno::EIO)?;
        let wait = &self.watched.wait;
        wait.begin();
        // What was taken back already is so before the call begins, also in a recording.
        if channel.is_cancelled() {
            self.shared.kernel.take_back(self.client, wait);
        }
        let until = self.shared.view.machine().runtime().now() + time;
        let left = self.shared.kernel.sleep(self.client, until, wait)?;
        value(i64::try_from(left.as_nanos()).unwrap_or(i64::MAX))
    }

    pub(super) fn new_timer(&self, what: Purpose) -> Answer {
        let (id, fd) = self.shared.timers.make(self.pid, what)?;
        Ok((Reply { value: id as i64, ..Reply::default() }, fd))
    }

    pub(super) fn set_timer(&self, timer: u64, first: u64, every: u64, out: &mut [u8]) -> Answer {
        let (first, every) = (Duration::from_nanos(first), Duration::from_nanos(every));
        payload(out, &self.shared.timers.set(self.pid, timer, first, every)?)
    }

    pub(super) fn get_timer(&self, timer: u64, out: &mut [u8]) -> Answer {
        payload(out, &self.shared.timers.get(self.pid, timer)?)
    }

    pub(super) fn drop_timer(&self, timer: u64) -> Answer {
        self.shared.timers.end(self.pid, timer).and_then(|()| value(0))
    }

    /// Hears the client's messages for as long as what is returned lives.
    pub(super) fn listen(&self) -> rustix::io::Result<Listening<'_>> {
        let watched = &self.watched;
        watched.watch.listen(&watched.socket, self.client, true)?;
        Ok(Listening(self))
    }
}

pub(super) struct Listening<'a>(&'a Session);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let watched = &self.0.watched;
        // A message too many is no harm: nothing waits then.
        let _ = watched.watch.listen(&watched.socket, self.0.client, false);
    }
}

//! A kernel whose calls are written down on their way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dmlab_kernel_calls::{ClockWait, FileCall, Kernel, KernelFile, NO_CLIENT, Node};
use dmlab_machine::faults::Lines;
use dmlab_machine::{Instant, Interrupt, Machine};
use dmlab_units::{Bytes, Errno};

use super::Recorder;
use super::program::Asked;
use crate::event::{Call, Ended, Event};

/// The number of dmlab's own control node, whose opening is not written down.
const OWN_CONTROL: u64 = 0;

/// A kernel that stands before another one, and has a recorder write down each call that passes with its turn and its end.
pub struct RecordedKernel<K> {
    kernel: K,
    recorder: Arc<Recorder>,
}

impl<K: Kernel> RecordedKernel<K> {
    /// The kernel `kernel`, whose machine the driver of `recorder` drives. Calls pass unseen until the recorder
    /// [watches](Recorder::watch) the machine.
    pub fn new(kernel: K, recorder: Arc<Recorder>) -> RecordedKernel<K> {
        RecordedKernel { kernel, recorder }
    }

    fn file(&self, file: Box<dyn KernelFile>, number: u64) -> Box<dyn KernelFile> {
        let (machine, recorder) = (self.machine().clone(), self.recorder.clone());
        Box::new(RecordedFile { file: Some(file), number, machine, recorder })
    }
}

impl<K: Kernel> Kernel for RecordedKernel<K> {
    fn machine(&self) -> &Machine {
        self.kernel.machine()
    }

    fn open(&self, client: u64, node: Node) -> Result<Box<dyn KernelFile>, Errno> {
        let number = self.recorder.next_file();
        let under = self.recorder.begin_call(self.machine(), client, || Call::open(number, node));
        let opened = self.kernel.open(client, node);
        under.end(|| Ended::with(opened.as_ref().map(|_| 0).map_err(|errno| *errno)));
        Ok(self.file(opened?, number))
    }

    fn own_control(&self) -> Box<dyn KernelFile> {
        self.file(self.kernel.own_control(), OWN_CONTROL)
    }

    fn sleep(&self, client: u64, until: Instant, wait: &ClockWait) -> Result<Duration, Errno> {
        let now = || self.machine().runtime().now();
        let under = self
            .recorder
            .begin_call(self.machine(), client, || Call::Sleep { time: until.saturating_since(now()) });
        let slept = self.kernel.sleep(client, until, wait);
        under.end(|| Ended::slept(slept));
        slept
    }

    /// A wait that is over was not taken back: whether it was is looked at in the turn in which that is written down.
    fn take_back(&self, client: u64, wait: &ClockWait) {
        if wait.has_no_limit() {
            // No call of a recording.
            return self.kernel.take_back(client, wait);
        }
        let _turn = self.recorder.turn(self.machine());
        if wait.is_under_way() {
            self.recorder.log.push(&Event::Interrupt { client });
            self.kernel.take_back(client, wait);
        }
    }

    /// Where the client waits for nothing this is written down with its next call, if one comes: when the host tells of an end
    /// that changes nothing is chance.
    fn interrupt(&self, client: u64, interrupt: &Interrupt) {
        let _turn = self.recorder.turn(self.machine());
        let mut clients = self.recorder.clients.lock();
        if clients.calling.contains(&client) {
            self.recorder.log.push(&Event::Interrupt { client });
        } else {
            clients.interrupted.insert(client);
        }
        self.kernel.interrupt(client, interrupt);
    }

    fn fault_command(&self, from: u64, command: &[u8]) -> Lines {
        let _turn = self.recorder.turn(self.machine());
        // Asking changes nothing.
        if !command.starts_with(b"list") && !command.starts_with(b"hits") {
            self.recorder.log.push(&Event::Rules { command: command.to_vec() });
        }
        self.kernel.fault_command(from, command)
    }

    fn is_recorded(&self) -> bool {
        true
    }

    fn finish(&self) -> io::Result<()> {
        let finished = self.recorder.finish(self.machine());
        self.kernel.finish().and(finished)
    }
}

/// An open file whose calls are written down.
struct RecordedFile {
    /// There until the end.
    file: Option<Box<dyn KernelFile>>,
    number: u64,
    machine: Machine,
    recorder: Arc<Recorder>,
}

impl RecordedFile {
    fn file(&self) -> &dyn KernelFile {
        self.file.as_deref().expect("only dropping takes it")
    }
}

impl KernelFile for RecordedFile {
    fn node(&self) -> Node {
        self.file().node()
    }

    fn size(&self) -> Option<Bytes> {
        self.file().size()
    }

    fn poll(&self) -> bool {
        self.file().poll()
    }

    fn call(&self, client: u64, call: &mut FileCall<'_>) -> Result<i64, Errno> {
        let under = self.recorder.begin_call(&self.machine, client, || Call::keep(self.number, call));
        let result = match call {
            FileCall::Ioctl { request, argument, memory, program } => {
                let program = &Asked { program: *program, under: &under };
                let (request, argument) = (*request, *argument);
                self.file().call(client, &mut FileCall::Ioctl { request, argument, memory, program })
            }
            _ => self.file().call(client, call),
        };
        under.end(|| Ended::of(call, result));
        result
    }
}

impl Drop for RecordedFile {
    fn drop(&mut self) {
        let file = self.file.take();
        if self.number == OWN_CONTROL {
            return;
        }
        // No client's call: the host's kernel closes what a program leaves open.
        let under = self.recorder.begin_call(&self.machine, NO_CLIENT, || Call::Close { file: self.number });
        drop(file);
        under.end(|| Ended::with(Ok(0)));
    }
}

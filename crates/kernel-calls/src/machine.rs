//! A machine as a kernel: each call is done on the thread that makes it.

use std::time::Duration;

use dmlab_machine::faults::{Lines, run_command};
use dmlab_machine::{BlockFile, ControlFile, Instant, Interrupt, Machine};
use dmlab_units::{Bytes, Errno};

use crate::program::Process;
use crate::{ClockWait, FileCall, Kernel, KernelFile, Node};

impl Kernel for Machine {
    fn machine(&self) -> &Machine {
        self
    }

    fn open(&self, _client: u64, node: Node) -> Result<Box<dyn KernelFile>, Errno> {
        let body = match node {
            Node::Control => Body::Control(self.open_control()),
            Node::LoopControl => Body::LoopControl,
            Node::Block { dev, mode } => Body::Block(self.open_block(dev, mode)?),
        };
        Ok(Box::new(File { machine: self.clone(), body }))
    }

    fn own_control(&self) -> Box<dyn KernelFile> {
        Box::new(File { machine: self.clone(), body: Body::Control(self.open_control()) })
    }

    fn sleep(&self, _client: u64, until: Instant, wait: &ClockWait) -> Result<Duration, Errno> {
        let runtime = self.runtime();
        let slept = runtime.block_on(wait.until(runtime.sleep_until(until)));
        wait.end();
        match slept {
            Ok(true) => Ok(Duration::ZERO),
            // A moment at least, or it would look slept through.
            Ok(false) => Ok(until.saturating_since(runtime.now()).max(Duration::from_nanos(1))),
            Err(_) => Err(Errno::EDEADLK),
        }
    }

    fn take_back(&self, _client: u64, wait: &ClockWait) {
        if wait.is_under_way() {
            wait.interrupt().raise();
        }
    }

    fn interrupt(&self, _client: u64, interrupt: &Interrupt) {
        interrupt.raise();
    }

    fn fault_command(&self, from: u64, command: &[u8]) -> Lines {
        run_command(self.faults(), from, command)
    }
}

/// An open file of a machine.
struct File {
    machine: Machine,
    body: Body,
}

enum Body {
    Control(ControlFile),
    LoopControl,
    Block(BlockFile),
}

impl KernelFile for File {
    fn node(&self) -> Node {
        match &self.body {
            Body::Control(_) => Node::Control,
            Body::LoopControl => Node::LoopControl,
            Body::Block(block) => Node::Block { dev: block.device().dev(), mode: block.mode() },
        }
    }

    fn size(&self) -> Option<Bytes> {
        match &self.body {
            Body::Control(_) | Body::LoopControl => None,
            Body::Block(block) => Some(Bytes(block.size())),
        }
    }

    fn poll(&self) -> bool {
        match &self.body {
            Body::Control(control) => control.poll_ready(),
            Body::LoopControl | Body::Block(_) => true,
        }
    }

    fn call(&self, _client: u64, call: &mut FileCall<'_>) -> Result<i64, Errno> {
        use FileCall::{Fallocate, Ioctl, Read, Sync, Write, WriteBack};
        let machine = &self.machine;
        match (&self.body, call) {
            (Body::Control(control), Ioctl { request, memory, program, .. }) => {
                control.ioctl(&Process { program: *program, machine }, *request, *memory).map(i64::from)
            }
            (Body::LoopControl, Ioctl { request, argument, .. }) => {
                machine.loops().ioctl(*request, *argument).map(i64::from)
            }
            (Body::Block(block), Ioctl { request, argument, memory, program }) => {
                let process = Process { program: *program, machine };
                block.ioctl(&process, *request, *argument, *memory).map(i64::from)
            }
            (Body::Block(block), Read { at, into, how }) => {
                block.read_at(at.0, into, *how).map(|got| got as i64)
            }
            (Body::Block(block), Write { at, from, how }) => {
                block.write_at(at.0, from, *how).map(|put| put as i64)
            }
            (Body::Block(block), Sync) => block.sync().map(|()| 0),
            (Body::Block(block), WriteBack { range }) => block.write_back(range.clone()).map(|()| 0),
            (Body::Block(block), Fallocate { mode, offset, len }) => {
                block.fallocate(*mode, *offset, *len).map(|()| 0)
            }
            (Body::Control(_) | Body::LoopControl, Fallocate { .. }) => Err(Errno::ENODEV),
            (Body::Control(_) | Body::LoopControl, Read { .. } | Write { .. } | Sync | WriteBack { .. }) => {
                Err(Errno::EINVAL)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dmlab_machine::{BootOptions, IoFlags, OpenMode};
    use dmlab_units::DevT;

    use super::*;

    #[test]
    fn a_block_device_has_data_and_the_control_nodes_have_none() {
        let machine = Machine::boot(BootOptions::default()).unwrap();
        let (dev, mode) = (DevT::new(1, 0), OpenMode::READ | OpenMode::WRITE);
        let disk = machine.open(1, Node::Block { dev, mode }).unwrap();
        assert_eq!((disk.node(), disk.size()), (Node::Block { dev, mode }, Some(Bytes::mib(256))));
        let how = IoFlags { is_direct: true, ..IoFlags::default() };
        assert_eq!(disk.write(1, Bytes(512), &[7; 512], how), Ok(512));
        let mut into = [0; 512];
        assert_eq!((disk.read(1, Bytes(512), &mut into, how), into), (Ok(512), [7; 512]));
        assert_eq!((disk.sync(1), disk.write_back(1, 0..512), disk.poll()), (Ok(()), Ok(()), true));
        for node in [Node::Control, Node::LoopControl] {
            let control = machine.open(1, node).unwrap();
            assert_eq!((control.node(), control.size()), (node, None));
            assert_eq!(control.read(1, Bytes(0), &mut into, how), Err(Errno::EINVAL));
            assert_eq!(control.sync(1), Err(Errno::EINVAL));
            assert_eq!(control.fallocate(1, 0, 0, 512), Err(Errno::ENODEV));
        }
        let missing = Node::Block { dev: DevT::new(1, 99), mode };
        assert_eq!(machine.open(1, missing).err(), Some(Errno::ENXIO));
    }

    #[test]
    fn a_sleep_ends_with_its_time_or_is_taken_back() {
        let machine = Machine::boot(BootOptions::default()).unwrap();
        let wait = ClockWait::default();
        let hour = Duration::from_secs(3600);
        let until = || machine.runtime().now() + hour;
        // Nothing is under way that could be taken back.
        machine.take_back(1, &wait);
        wait.begin();
        assert_eq!(machine.sleep(1, until(), &wait), Ok(Duration::ZERO));
        assert!(!wait.is_under_way());
        wait.begin();
        machine.take_back(1, &wait);
        assert_eq!(machine.sleep(1, until(), &wait), Ok(hour));
        // What took that one back is over with it; what ends all of a client's waits is not.
        let client = Interrupt::default();
        let wait = ClockWait::of_client(client.clone());
        machine.interrupt(1, &client);
        wait.begin_without_limit();
        machine.wait(&wait);
        assert!(wait.has_no_limit() && !wait.is_under_way());
    }
}

//! What the machine's tests share: a machine, and the control node driven with the bytes of the interface.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod fault_disk;

use std::sync::Arc;
use std::time::Duration;

use dmlab_abi::{Command, DmFlags, HEADER_SIZE, Header, TargetSpec, decode_status, encode_load_payload};
use dmlab_machine::{
    BootOptions, ControlFile, Driver, Instant, Kernel, Machine, Runtime, Stalled, VirtualDriver, WakeFlag,
};
use dmlab_units::{Bytes, DevT, Errno, Sector, Sectors};

/// A machine with an open control node.
pub(crate) struct Kit {
    pub(crate) machine: Machine,
    pub(crate) control: ControlFile,
    pub(crate) clock: Arc<VirtualDriver>,
}

/// Virtual time for callers that may wait for what another thread of the test does: that nothing is runnable is then no proof
/// that they wait for ever.
struct Patient(Arc<VirtualDriver>);

impl Driver for Patient {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn kick(&self) {
        self.0.kick();
    }

    fn wake_flag(&self) -> Arc<WakeFlag> {
        self.0.wake_flag()
    }

    fn wait(&self, runtime: &Runtime, flag: &WakeFlag) -> Result<(), Stalled> {
        while self.0.wait(runtime, flag).is_err() {
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Kit {
    /// The reference machine with smaller disks.
    pub(crate) fn new() -> Kit {
        Kit::with(BootOptions::default())
    }

    /// Boots a machine with other options, but virtual time and small disks in any case.
    pub(crate) fn with(options: BootOptions) -> Kit {
        let clock = VirtualDriver::new();
        Kit::on(clock.clone(), clock, options)
    }

    /// One that several threads of a test call at once.
    pub(crate) fn for_threads() -> Kit {
        let clock = VirtualDriver::new();
        Kit::on(Arc::new(Patient(clock.clone())), clock, BootOptions::default())
    }

    fn on(driver: Arc<dyn Driver>, clock: Arc<VirtualDriver>, options: BootOptions) -> Kit {
        let options = BootOptions { ram_disk_size: Bytes::mib(16), driver, ..options };
        let machine = Machine::boot(options).unwrap();
        Kit { control: machine.open_control(), machine, clock }
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, span: Duration) {
        self.clock.advance(self.machine.runtime(), span);
    }

    /// Sends a message to the target at sector 0.
    pub(crate) fn message(&self, name: &str, text: &str) -> Result<(), Errno> {
        let payload = [&0u64.to_le_bytes()[..], text.as_bytes(), &[0]].concat();
        let mut header = self.named(name, DmFlags::empty());
        header.set_data_size((HEADER_SIZE + payload.len()) as u32);
        header.set_data_start(HEADER_SIZE as u32);
        self.send(Command::TargetMsg, header, &payload)?;
        self.machine.runtime().run_until_idle();
        Ok(())
    }

    /// Sends a request and gives the answer's bytes.
    pub(crate) fn send(&self, command: Command, header: Header, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut buf = header.as_bytes().to_vec();
        buf.extend_from_slice(payload);
        buf.resize(buf.len().max(header.data_size() as usize), 0);
        let caller = Kernel(self.machine.registry());
        self.control.ioctl(&caller, command.request(), &mut buf)?;
        Ok(buf)
    }

    /// A request that names a device.
    pub(crate) fn named(&self, name: &str, flags: DmFlags) -> Header {
        let mut header = Header::request([4, 0, 0], 16384, flags);
        header.set_name(name.as_bytes()).unwrap();
        header
    }

    /// Sends a request that names a device and gives the answer's header.
    pub(crate) fn ask(&self, command: Command, name: &str, flags: DmFlags) -> Result<Header, Errno> {
        let answer = self.send(command, self.named(name, flags), &[])?;
        Ok(Header::decode(&answer).unwrap())
    }

    /// Loads a table given as text, a line for each target.
    pub(crate) fn load(&self, name: &str, table: &str) -> Result<Header, Errno> {
        let specs: Vec<TargetSpec> = table.lines().map(spec).collect();
        let mut header = self.named(name, DmFlags::empty());
        header.set_target_count(specs.len() as u32);
        let payload = encode_load_payload(&specs);
        header.set_data_size((HEADER_SIZE + payload.len()) as u32);
        let answer = self.send(Command::TableLoad, header, &payload)?;
        Ok(Header::decode(&answer).unwrap())
    }

    pub(crate) fn resume(&self, name: &str) -> Result<Header, Errno> {
        self.ask(Command::DevSuspend, name, DmFlags::empty())
    }

    /// Creates, loads and resumes.
    pub(crate) fn create(&self, name: &str, table: &str) -> DevT {
        let header = self.ask(Command::DevCreate, name, DmFlags::empty()).unwrap();
        self.load(name, table).unwrap();
        self.resume(name).unwrap();
        header.dev().unwrap()
    }

    /// Status or table lines as dmsetup prints them.
    pub(crate) fn status(&self, name: &str, flags: DmFlags) -> String {
        let answer = self.send(Command::TableStatus, self.named(name, flags), &[]).unwrap();
        let header = Header::decode(&answer).unwrap();
        let lines = decode_status(
            answer.get(HEADER_SIZE..header.data_size() as usize).unwrap_or(&[]),
            header.target_count(),
        );
        let line = |spec: &TargetSpec| {
            let (kind, params) =
                (String::from_utf8_lossy(&spec.target_type), String::from_utf8_lossy(&spec.params));
            format!("{} {} {kind} {params}", spec.start, spec.len)
        };
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The texts of the kernel log since boot, without the boot lines.
    pub(crate) fn log(&self) -> Vec<String> {
        self.machine.klog().since(3).into_iter().map(|line| line.text).collect()
    }
}

fn spec(line: &str) -> TargetSpec {
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_default();
    TargetSpec {
        start: Sector(word().parse().unwrap()),
        len: Sectors(word().parse().unwrap()),
        target_type: word().into(),
        params: word().into(),
    }
}

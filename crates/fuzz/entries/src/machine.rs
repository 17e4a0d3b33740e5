//! A whole machine behind its control node.

use dmlab::Lab;
use dmlab_control::{
    CreateOptions, DeviceId, Dm, LoadOptions, Query, SuspendOptions, Table, Transport, TransportError,
};
use dmlab_units::{DmName, DmUuid, Errno, Sector};

/// Calls taken from one input at most.
const CALLS_MAX: usize = 32;

/// Takes `bytes` for a sequence of ioctls, each a command number, a length of two bytes and so much of the caller's
/// memory, and makes them on a fresh machine. The machine must then still be sound.
pub(crate) fn ioctls(bytes: &[u8]) {
    let lab = Lab::new(1);
    let mut rest = bytes;
    for _ in 0..CALLS_MAX {
        let Some(([number, low, high], tail)) = rest.split_first_chunk::<3>() else { break };
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (memory, tail) = tail.split_at(len);
        // The outcome is the kernel's to choose; coming back at all is what counts.
        let _ = lab.ioctl(dmlab_abi::request_number(*number), &mut memory.to_vec());
        rest = tail;
    }
    let mut dm = lab.dm();
    let listed = dm.list().expect("a sound machine lists its devices");
    for device in listed {
        let id = DeviceId::Dev(device.dev);
        dm.info(&id, Query::default()).expect("a listed device is there");
        dm.table(&id, Query::default()).expect("a listed device shows its table");
        // A suspended device would hold a read for ever.
        let _ = dm.resume(&id, SuspendOptions::default());
    }
    dm.remove_all(false).expect("remove_all always succeeds");
}

/// Writes down what a client sends.
#[derive(Default)]
struct Recorder {
    calls: Vec<u8>,
}

impl Transport for Recorder {
    fn ioctl(&mut self, request: u32, buf: &mut Vec<u8>) -> Result<Result<i32, Errno>, TransportError> {
        // The zeros behind the request are room for the reply; some are enough.
        let used = buf.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1).max(dmlab_abi::HEADER_SIZE);
        let sent = &buf[..(used + 64).min(buf.len())];
        let mut sent = sent.to_vec();
        let size = (sent.len() as u32).to_le_bytes();
        sent[12..16].copy_from_slice(&size);
        self.calls.push(request as u8);
        self.calls.extend_from_slice(&(sent.len() as u16).to_le_bytes());
        self.calls.extend_from_slice(&sent);
        Ok(Ok(0))
    }
}

/// The life of two devices, as the control crate would send it.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let record = |story: &dyn Fn(&mut Dm<Recorder>) -> Result<(), dmlab_control::Error>| {
        let mut dm = Dm::new(Recorder::default());
        story(&mut dm).expect("a recorder refuses nothing");
        std::mem::take(&mut dm.transport().calls)
    };
    let name = |text: &str| DmName::new(text).expect("a valid name");
    let (a, b) = (name("a"), name("b"));
    let id = DeviceId::from(&a);
    let table = |text: &str| text.parse::<Table>().expect("a valid table");
    let options = CreateOptions { uuid: DmUuid::new("U").ok(), minor: Some(3) };
    let stripes = table("0 64 striped 2 8 /dev/ram0 0 /dev/ram1 0\n64 8 zero\n72 8 error /dev/ram2 0");
    let linear = table("0 8 linear 254:3 8");
    vec![
        record(&|dm| {
            dm.create_with_table(&a, &options, &stripes, LoadOptions::default())?;
            dm.create_with_table(
                &b,
                &CreateOptions::default(),
                &linear,
                LoadOptions { read_only: true, secure: true },
            )?;
            dm.status(&id, Query::default())?;
            dm.table(&id, Query { inactive: true, noflush: true })?;
            dm.deps(&id, Query::default())?;
            dm.remove(&id, true)?;
            dm.list().map(|_| ())
        }),
        record(&|dm| {
            dm.create_with_table(&a, &options, &stripes, LoadOptions::default())?;
            dm.message(&id, Sector(0), "@stats_create - /4 2 precise_timestamps histogram:1,2 me")?;
            dm.message(&id, Sector(0), "@stats_print 0")?;
            dm.load(&id, &linear, LoadOptions::default())?;
            dm.suspend(&id, SuspendOptions { noflush: true, skip_lockfs: false })?;
            dm.resume(&id, SuspendOptions::default())?;
            dm.rename(&a, &b)?;
            dm.wait(&DeviceId::from(&b), 0, Query::default())?;
            dm.clear(&DeviceId::from(&b))?;
            dm.versions()?;
            dm.remove_all(true)
        }),
    ]
}

//! The metadata of a pool that is active in the machine around.

use crate::kernel::{Disk, Failure, Kernel, Meant, Where, block_device};
use dmlab_control::{DeviceId, Dm, Query};
use dmlab_thin_tools::{Block, Metadata};
use dmlab_units::{DevT, DmName, MetaBlock, SECTOR_SIZE, ThinId};
use parking_lot::Mutex;
use std::io;
use std::path::Path;

/// The metadata device of an active pool.
pub(super) struct ActiveMetadata {
    dm: Mutex<Dm<Box<dyn Kernel>>>,
    disk: Disk,
}

/// The metadata behind an active pool, or behind a thin device of one, whose number is told as well. `None`: this is no
/// such device, or there is no machine around.
pub(super) fn behind(path: &Path) -> Result<Option<(ActiveMetadata, Option<ThinId>)>, Failure> {
    // The variable is what programs inside a machine have.
    if std::env::var_os("DMLAB_SOCKET").is_none() {
        return Ok(None);
    }
    let Some(text) = path.to_str() else { return Ok(None) };
    let name = text.strip_prefix("/dev/mapper/").unwrap_or(text);
    let Ok(name) = DmName::new(name) else { return Ok(None) };
    let mut dm = Where::default().open(&Meant::default())?;
    if !dm.list()?.iter().any(|device| device.name == name.as_bytes()) {
        return Ok(None);
    }
    let mut device = DeviceId::Name(name);
    let mut id = None;
    if let Some(words) = params(&mut dm, &device, b"thin")? {
        let [pool, number, ..] = &words[..] else { return Ok(None) };
        device = DeviceId::Dev(
            pool.parse::<DevT>().map_err(|_| format!("`{pool}` should be the MAJOR:MINOR of a pool"))?,
        );
        id = Some(ThinId(number.parse()?));
    }
    let Some(words) = params(&mut dm, &device, b"thin-pool")? else { return Ok(None) };
    // A pool commits before it tells its status.
    dm.status(&device, Query::default())?;
    let disk = block_device(&mut dm, words.first().map_or("", String::as_str))?;
    Ok(Some((ActiveMetadata { dm: Mutex::new(dm), disk }, id)))
}

/// The arguments of a device whose table is one line of this target.
fn params(
    dm: &mut Dm<Box<dyn Kernel>>,
    device: &DeviceId,
    target: &[u8],
) -> Result<Option<Vec<String>>, Failure> {
    let report = dm.table(device, Query::default())?;
    let [line] = &report.lines[..] else { return Ok(None) };
    let words = || String::from_utf8_lossy(&line.text).split_whitespace().map(str::to_owned).collect();
    Ok((line.target_type == target).then(words))
}

impl Metadata for ActiveMetadata {
    fn nr_blocks(&self) -> u64 {
        self.disk.len.0 * SECTOR_SIZE / size_of::<Block>() as u64
    }

    fn read(&self, block: MetaBlock, into: &mut Block) -> io::Result<()> {
        let at = block.0 * into.len() as u64;
        self.dm.lock().transport().read(&self.disk, at, into)
    }
}

//! The folders behind the machine's own `/run` and `/etc`, which the preload library keeps: what a machine has there when it
//! boots.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use dmlab_shim_proto::{GONE_DIR, LAYER_CHANGED, LAYER_DIR, OWNERS_DIR};

/// Directories that Debian's packages make at boot, with their modes: programs complain where they are absent.
const AT_BOOT: [(&str, u32); 4] =
    [("run/lock", 0o755), ("run/lock/lvm", 0o700), ("run/lvm", 0o700), ("run/cryptsetup", 0o700)];

/// Makes the folders below a machine's directory.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    for name in [LAYER_DIR, GONE_DIR, OWNERS_DIR] {
        let folder = dir.join(name);
        // What a machine left that lived here before is not this one's.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        DirBuilder::new().mode(0o700).create(&folder)?;
    }
    fs::write(dir.join(LAYER_CHANGED), [0; 4096])?;
    let layer = dir.join(LAYER_DIR);
    DirBuilder::new().mode(0o755).create(layer.join("run"))?;
    for (name, mode) in AT_BOOT {
        DirBuilder::new().mode(mode).create(layer.join(name))?;
    }
    Ok(())
}

//! The commands of `/dev/mapper/control`.

/// Type byte of every device-mapper ioctl.
pub const DM_IOCTL_TYPE: u8 = 0xfd;

/// A device-mapper command; its number is the low byte of the ioctl request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(
    missing_docs,
    reason = "the names are the interface's own; what each does is told where it is handled"
)]
pub enum Command {
    Version = 0,
    RemoveAll = 1,
    ListDevices = 2,
    DevCreate = 3,
    DevRemove = 4,
    DevRename = 5,
    DevSuspend = 6,
    DevStatus = 7,
    DevWait = 8,
    TableLoad = 9,
    TableClear = 10,
    TableDeps = 11,
    TableStatus = 12,
    ListVersions = 13,
    TargetMsg = 14,
    DevSetGeometry = 15,
    DevArmPoll = 16,
    GetTargetVersion = 17,
}

impl Command {
    /// All commands in the order of their numbers.
    pub const ALL: [Command; 18] = [
        Command::Version,
        Command::RemoveAll,
        Command::ListDevices,
        Command::DevCreate,
        Command::DevRemove,
        Command::DevRename,
        Command::DevSuspend,
        Command::DevStatus,
        Command::DevWait,
        Command::TableLoad,
        Command::TableClear,
        Command::TableDeps,
        Command::TableStatus,
        Command::ListVersions,
        Command::TargetMsg,
        Command::DevSetGeometry,
        Command::DevArmPoll,
        Command::GetTargetVersion,
    ];

    /// The command with this number, or `None` for one that Linux 6.12 does not know.
    pub fn from_number(number: u8) -> Option<Command> {
        Command::ALL.get(usize::from(number)).copied()
    }

    /// The ioctl request: `_IOWR(0xfd, number, struct dm_ioctl)`.
    pub const fn request(self) -> u32 {
        request_number(self as u8)
    }

    /// Whether only `struct dm_ioctl` without its data is read and written (`IOCTL_FLAGS_NO_PARAMS`).
    pub const fn has_no_params(self) -> bool {
        matches!(
            self,
            Command::RemoveAll
                | Command::DevCreate
                | Command::DevRemove
                | Command::DevSuspend
                | Command::DevStatus
                | Command::TableClear
                | Command::DevArmPoll
        )
    }

    /// Whether success moves the global event counter and wakes pollers of the control node.
    pub const fn issues_global_event(self) -> bool {
        matches!(self, Command::RemoveAll | Command::DevCreate | Command::DevRemove | Command::DevRename)
    }

    /// The interface's name without `DM_` and `_CMD`: `TABLE_LOAD`.
    pub const fn name(self) -> &'static str {
        match self {
            Command::Version => "VERSION",
            Command::RemoveAll => "REMOVE_ALL",
            Command::ListDevices => "LIST_DEVICES",
            Command::DevCreate => "DEV_CREATE",
            Command::DevRemove => "DEV_REMOVE",
            Command::DevRename => "DEV_RENAME",
            Command::DevSuspend => "DEV_SUSPEND",
            Command::DevStatus => "DEV_STATUS",
            Command::DevWait => "DEV_WAIT",
            Command::TableLoad => "TABLE_LOAD",
            Command::TableClear => "TABLE_CLEAR",
            Command::TableDeps => "TABLE_DEPS",
            Command::TableStatus => "TABLE_STATUS",
            Command::ListVersions => "LIST_VERSIONS",
            Command::TargetMsg => "TARGET_MSG",
            Command::DevSetGeometry => "DEV_SET_GEOMETRY",
            Command::DevArmPoll => "DEV_ARM_POLL",
            Command::GetTargetVersion => "GET_TARGET_VERSION",
        }
    }
}

/// The ioctl request of a command number, known or not.
pub const fn request_number(number: u8) -> u32 {
    0xc138_fd00 | number as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_their_places() {
        for (number, command) in Command::ALL.into_iter().enumerate() {
            assert_eq!(command as usize, number);
            assert_eq!(Command::from_number(number as u8), Some(command));
        }
        assert_eq!(Command::from_number(18), None);
        assert_eq!(Command::Version.request(), 0xc138_fd00);
    }
}

//! A server in this process, and clients that behave and that do not.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

use dmlab_machine::{BootOptions, Machine};
use dmlab_server::client::Client;
use dmlab_server::driver::{ThreadDriver, Time};
use dmlab_server::view::Found;
use dmlab_server::{Options, Server};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

fn serve(name: &str) -> Server {
    let dir = std::env::temp_dir().join(format!("dmlab-serving-{}-{name}", std::process::id()));
    let driver = ThreadDriver::new(Time::Real);
    let machine = Machine::boot(BootOptions { driver: driver.clone(), ..BootOptions::default() }).unwrap();
    Server::start(Arc::new(machine), driver, Options { dir, ..Options::default() }).unwrap()
}

fn connect(server: &Server) -> Client {
    Client::connect(server.socket().to_str().unwrap()).unwrap()
}

/// A `struct dm_ioctl` that names a device.
fn request(name: &str) -> Vec<u8> {
    let mut buffer = vec![0u8; 16384];
    buffer[0] = 4;
    buffer[12..16].copy_from_slice(&16384u32.to_le_bytes());
    buffer[16..20].copy_from_slice(&312u32.to_le_bytes());
    buffer[48..48 + name.len()].copy_from_slice(name.as_bytes());
    buffer
}

const DM_DEV_CREATE: u32 = 0xc138_fd03;
const DM_DEV_REMOVE: u32 = 0xc138_fd04;

#[test]
fn ioctls_data_and_lists_over_the_socket() {
    let server = serve("client");
    let mut client = connect(&server);
    assert_eq!(client.devices().unwrap().len(), 8);
    let mut buffer = request("one");
    assert_eq!(client.dm_ioctl(DM_DEV_CREATE, &mut buffer).unwrap(), Ok(0));
    assert_eq!(u64::from_le_bytes(buffer[40..48].try_into().unwrap()), 254 << 8);
    let mut again = request("one");
    assert_eq!(client.dm_ioctl(DM_DEV_CREATE, &mut again).unwrap().unwrap_err().name(), Some("EBUSY"));
    assert_eq!(
        again[0..12],
        [4, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0],
        "the version comes back even with an error"
    );
    assert_eq!(client.dm_ioctl(DM_DEV_REMOVE, &mut request("one")).unwrap(), Ok(0));
    let data: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
    client.write_block("/dev/ram1", 4096, &data).unwrap();
    let mut back = vec![0; data.len()];
    assert_eq!(connect(&server).read_block("/dev/ram1", 4096, &mut back).unwrap(), data.len());
    assert!(back == data);
    assert_eq!(client.read_block("/dev/ram1", 268_435_456 - 10, &mut back).unwrap(), 10);
    assert!(client.read_block("/dev/none", 0, &mut back).is_err());
}

#[test]
fn a_client_that_talks_nonsense_harms_nobody() {
    let server = serve("nonsense");
    let path = server.socket();
    for round in 0..50 {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        for _ in 0..round % 4 {
            let _ = rustix::net::send(&socket, b"anything at all", SendFlags::NOSIGNAL);
        }
        assert!(socket.as_raw_fd() >= 0);
    }
    assert_eq!(connect(&server).devices().unwrap().len(), 8);
}

#[test]
fn its_directory_is_private_and_goes_with_it() {
    use std::os::unix::fs::PermissionsExt;
    let server = serve("directory");
    let dir: PathBuf = server.dir().to_owned();
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(server.socket().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(server);
    assert!(!dir.exists());
}

#[test]
fn a_directory_of_somebody_elses_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = std::env::temp_dir().join(format!("dmlab-open-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let driver = ThreadDriver::new(Time::Real);
    let machine = Machine::boot(BootOptions { driver: driver.clone(), ..BootOptions::default() }).unwrap();
    let error = Server::start(Arc::new(machine), driver, Options { dir: dir.clone(), ..Options::default() })
        .err()
        .unwrap();
    assert!(error.to_string().contains("chmod 700"), "{error}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_world_follows_links_in_and_out() {
    let server = serve("world");
    let world = server.view();
    let name = |path: &[u8]| match world.find(path, true) {
        Ok(Found::Node { path, .. } | Found::View { path, .. }) => String::from_utf8(path).unwrap(),
        Ok(Found::Elsewhere(path)) => format!("real {}", String::from_utf8(path).unwrap()),
        Err(errno) => errno.name().unwrap().to_owned(),
    };
    assert_eq!(name(b"/dev/ram0"), "/dev/ram0");
    assert_eq!(name(b"/sys/dev/block/1:3/queue/../size"), "/sys/devices/virtual/block/ram3/size");
    assert_eq!(name(b"/sys//block/./ram0"), "/sys/devices/virtual/block/ram0");
    assert_eq!(name(b"/sys/dev/block/1:0/partition"), "ENOENT");
    assert_eq!(name(b"/dev/ram0/x"), "ENOTDIR");
    assert_eq!(name(b"/dev/ram0/"), "ENOTDIR");
    assert_eq!(name(b"/dev/mapper/../../etc/passwd"), "real /etc/passwd");
    assert_eq!(name(b"/dev/null"), "real /dev/null");
    assert_eq!(name(b"/run/udev/control"), "ENOENT");
    let long = |len: usize| ["/dev/", &"z".repeat(len)].concat();
    assert_eq!(name(long(255).as_bytes()), "ENOENT");
    assert_eq!(name(long(256).as_bytes()), "ENAMETOOLONG");
    assert_eq!(name(["/dev/nothing", &long(256)].concat().as_bytes()), "ENOENT");
    assert_eq!(name("/dev/.".repeat(700).as_bytes()), "ENAMETOOLONG");
    let dir = std::env::temp_dir().join(format!("dmlab-links-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::os::unix::fs::symlink("/dev/ram5", dir.join("disk")).unwrap();
    std::os::unix::fs::symlink("loop", dir.join("loop")).unwrap();
    assert_eq!(name(dir.join("disk").to_str().unwrap().as_bytes()), "/dev/ram5");
    assert_eq!(name(dir.join("loop").to_str().unwrap().as_bytes()), "ELOOP");
    let mut file = std::fs::File::create(dir.join("file")).unwrap();
    file.write_all(b"x").unwrap();
    let path = dir.join("file");
    assert_eq!(world.lookup_bdev(path.to_str().unwrap().as_bytes()).unwrap_err().name(), Some("ENOTBLK"));
    assert_eq!(world.lookup_bdev(b"/dev/ram7").unwrap().to_string(), "1:7");
    std::fs::remove_dir_all(dir).unwrap();
}

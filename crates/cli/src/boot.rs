//! Booting a machine for programs: its options, its disks, its log.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use dmlab::recording::{Header as RecordingHeader, Host, RecordedKernel, Recorder};
use dmlab_abi::{Header, TargetSpec, TargetSpecs};
use dmlab_control::{Surroundings, Table, explain};
use dmlab_machine::faults::read_rules;
use dmlab_machine::{BootOptions, Disk, DiskKind, KernelVersion, Machine};
use dmlab_server::driver::{ThreadDriver, Time};
use dmlab_server::kernel_calls::Kernel;
use dmlab_server::{OnRefusedLoad, Options, Server};
use dmlab_shim_proto::ALLOW_HOST;
use dmlab_units::Bytes;

use crate::fault;
use crate::output::errln;

/// The preload library, built beside this binary.
const SHIM: &[u8] = include_bytes!(env!("DMLAB_SHIM"));
/// Its name in a machine's directory.
pub(crate) const SHIM_NAME: &str = "libdmlab_shim.so";

/// A file in a machine's directory that says that the machine has a udev.
pub(crate) const UDEV_SIGN: &str = "udev";

/// The largest RAM disk, in MiB: 1 PiB. Only what is written takes memory.
const MOST_MIB: u64 = 1 << 30;

/// RAM disks that a machine has at most. Their numbers go to 2^20, but each takes memory and time of its own.
const MOST_RAM_DISKS: i64 = 1 << 16;

/// What a machine has.
#[derive(Args, Clone, Debug)]
pub(crate) struct MachineArgs {
    /// How many RAM disks there are: /dev/ram0 and so on.
    #[arg(long, visible_alias = "disks", value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(..=MOST_RAM_DISKS))]
    pub ram: u32,
    /// Size of each RAM disk, in MiB.
    #[arg(long, visible_alias = "disk-size", value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=MOST_MIB))]
    pub ram_size: u64,
    /// A file of the host as a disk: the first is /dev/vda.
    #[arg(long, value_name = "PATH")]
    pub disk: Vec<PathBuf>,
    /// A file of the host as a read-only disk; these come after the others.
    #[arg(long, value_name = "PATH")]
    pub ro_disk: Vec<PathBuf>,
    /// Set a parameter of a kernel module, as on a kernel's boot line:
    /// dm_multipath.queue_if_no_path_timeout_secs=60.
    #[arg(long, value_name = "MODULE.NAME=VALUE")]
    pub parameter: Vec<String>,
    /// Which Linux the machine is: its versions, errors and texts. `docs/src/kernels.md` says what differs.
    #[arg(long, value_name = "VERSION", default_value_t = KernelVersion::default(), value_parser = KernelParser)]
    pub kernel: KernelVersion,
    /// The machine's clock: the wall clock, or one that jumps whenever all that is left to do is wait. The wall clock if
    /// nothing is said; for a recording the other one.
    #[arg(long, value_parser = time())]
    pub time: Option<Time>,
    /// What everything random comes from: rules that strike by chance, targets that corrupt at random.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// Append the kernel log to this file. Also: the environment variable DMLAB_KLOG.
    #[arg(long, value_name = "FILE")]
    pub klog: Option<PathBuf>,
    /// A TOML file of what is to go wrong: `[[fault]]` tables (`dmlab fault add --help` has their keys).
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Let programs find a udev that runs: it makes the nodes in /dev/mapper, and completes the cookies that they wait
    /// for at once. Without it they make their nodes themselves, as in a container.
    #[arg(long)]
    pub udev: bool,
    /// Let programs run that the machine's devices cannot be put in front of (static, Go, another C library, setuid): they
    /// see the host's devices, and may change them.
    #[arg(long)]
    pub allow_host: bool,
    /// Print kernel log lines on stderr as programs cause them.
    #[arg(long)]
    pub explain: bool,
}

/// Reads the name of a kernel, or its whole release; help and completions list the names.
#[derive(Clone)]
struct KernelParser;

impl TypedValueParser for KernelParser {
    type Value = KernelVersion;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<KernelVersion, clap::Error> {
        if let Some(kernel) = value.to_str().and_then(|text| text.parse().ok()) {
            return Ok(kernel);
        }
        PossibleValuesParser::new(KernelVersion::ALL.map(KernelVersion::name))
            .try_map(|name| name.parse::<KernelVersion>())
            .parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(KernelVersion::ALL.into_iter().map(|kernel| PossibleValue::new(kernel.name()))))
    }
}

/// Reads the name of a clock; help and completions say what each is.
pub(crate) fn time() -> impl TypedValueParser<Value = Time> {
    let value = |time: Time| {
        PossibleValue::new(time.name()).help(match time {
            Time::Real => "The wall clock",
            Time::Virtual => "Virtual time",
        })
    };
    PossibleValuesParser::new(Time::ALL.map(value)).try_map(|name| name.parse::<Time>())
}

impl MachineArgs {
    /// These options as command line words, for a process of its own.
    pub(crate) fn to_words(&self) -> io::Result<Vec<String>> {
        let absolute =
            |path: &PathBuf| -> io::Result<String> { Ok(std::path::absolute(path)?.display().to_string()) };
        let mut words = vec![format!("--ram={}", self.ram), format!("--ram-size={}", self.ram_size)];
        for (name, paths) in [("disk", &self.disk), ("ro-disk", &self.ro_disk)] {
            for path in paths {
                words.push(format!("--{name}={}", absolute(path)?));
            }
        }
        words.extend(self.parameter.iter().map(|parameter| format!("--parameter={parameter}")));
        words.extend([
            format!("--time={}", self.clock()),
            format!("--seed={}", self.seed),
            format!("--kernel={}", self.kernel),
        ]);
        if self.udev {
            words.push("--udev".to_owned());
        }
        if self.allow_host {
            words.push("--allow-host".to_owned());
        }
        for (name, path) in [("klog", &self.klog), ("faults", &self.faults)] {
            if let Some(path) = path {
                words.push(format!("--{name}={}", absolute(path)?));
            }
        }
        Ok(words)
    }

    /// The wall clock, if nothing is said.
    fn clock(&self) -> Time {
        self.time.unwrap_or(Time::Real)
    }

    /// Its disks: each file with whether it may only be read.
    fn disks(&self) -> io::Result<Vec<(File, bool)>> {
        let (mut disks, mut seen) = (Vec::new(), Vec::<((u64, u64), &PathBuf)>::new());
        for (paths, read_only) in [(&self.disk, false), (&self.ro_disk, true)] {
            for path in paths {
                let file = open_disk(path, read_only)?;
                let meta = file.metadata()?;
                let identity = (meta.dev(), meta.ino());
                if let Some((_, first)) = seen.iter().find(|(other, _)| *other == identity) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!(
                            "{} and {} are one file: it can be one disk only",
                            first.display(),
                            path.display()
                        ),
                    ));
                }
                seen.push((identity, path));
                disks.push((file, read_only));
            }
        }
        Ok(disks)
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let pairs = self.parameter.iter().map(|given| given.split_once('=').unwrap_or((given, "")));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

fn open_disk(path: &Path, read_only: bool) -> io::Result<File> {
    let named = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => ": make it first, as with `truncate -s 1G`",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot use {} as a disk: {error}{hint}", path.display()))
    };
    let file = OpenOptions::new().read(true).write(!read_only).open(path).map_err(named)?;
    let kind = file.metadata().map_err(named)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "cannot use {} as a disk: it is neither a regular file nor a block device",
                path.display()
            ),
        ));
    }
    Ok(file)
}

/// Boots a machine and serves it from `dir`.
pub(crate) fn boot(args: &MachineArgs, dir: PathBuf) -> io::Result<Server> {
    let driver = ThreadDriver::new(args.clock());
    let faults = args.faults.as_ref().map(|path| fault::read(path)).transpose()?;
    let machine = boot_machine(args, faults.as_deref(), driver.clone())?;
    serve_as_told(args, Arc::new(machine), driver, dir)
}

/// Boots a machine on virtual time, unless another is wanted, and serves it to `command`. What happens is recorded in the
/// file at `output`.
pub(crate) fn boot_recorded(
    args: &MachineArgs,
    dir: PathBuf,
    command: Vec<String>,
    output: &Path,
) -> io::Result<Server> {
    let mut disks = Vec::new();
    for ((file, is_read_only), path) in args.disks()?.into_iter().zip(args.disk.iter().chain(&args.ro_disk)) {
        let host = Host::read(&file, is_read_only);
        let host =
            host.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let is_output = fs::metadata(output).is_ok_and(|meta| (meta.dev(), meta.ino()) == host.identity);
        if is_output {
            let text = format!("{} is a disk of the machine: record somewhere else", output.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        disks.push(host);
    }
    let faults = args.faults.as_ref().map(|path| fault::read(path)).transpose()?;
    let header = RecordingHeader {
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        command,
        seed: args.seed,
        kernel: args.kernel.to_string(),
        clock: args.time.unwrap_or(Time::Virtual),
        ram_disks: args.ram,
        ram_disk_size: Bytes::mib(args.ram_size),
        disks,
        parameters: args.parameters(),
        faults: faults.clone(),
    };
    let recorder = Recorder::create(output, &header)
        .map_err(|error| io::Error::other(format!("cannot record: {error}")))?;
    let named = output.display().to_string();
    recorder.on_failure(move |error| {
        let _ = writeln!(io::stderr(), "dmlab: what comes now is not recorded: {named}: {error}");
    });
    let machine = boot_machine(args, faults.as_deref(), recorder.driver().clone())?;
    let kernel = Arc::new(RecordedKernel::new(machine.clone(), recorder.clone()));
    let server = serve_as_told(args, kernel, recorder.driver().clone(), dir)?;
    // The machine has not been announced yet, and what the file held before is lost only now.
    recorder.watch(&machine);
    Ok(server)
}

/// `faults` is the text of the file that the arguments name.
fn boot_machine(args: &MachineArgs, faults: Option<&str>, driver: Arc<ThreadDriver>) -> io::Result<Machine> {
    let disk = |(file, read_only)| Disk { kind: DiskKind::File(file), read_only };
    let machine = Machine::boot(BootOptions {
        ram_disks: args.ram,
        ram_disk_size: Bytes::mib(args.ram_size),
        disks: args.disks()?.into_iter().map(disk).collect(),
        seed: args.seed,
        kernel: args.kernel,
        driver,
        parameters: args.parameters(),
        ..BootOptions::default()
    })
    .map_err(|error| io::Error::other(format!("the machine does not boot: {error}")))?;
    if let (Some(path), Some(text)) = (&args.faults, faults) {
        add_faults(&machine, path, text)?;
    }
    follow_log(&machine, args)?;
    Ok(machine)
}

fn serve_as_told(
    args: &MachineArgs,
    kernel: Arc<dyn Kernel>,
    driver: Arc<ThreadDriver>,
    dir: PathBuf,
) -> io::Result<Server> {
    let on_refused_load = explainer(kernel.machine().clone(), args);
    let server = serve(kernel, driver, Options { dir, on_refused_load, has_udev: args.udev })?;
    if args.allow_host {
        File::create(server.dir().join(ALLOW_HOST))?;
    }
    Ok(server)
}

/// Serves a machine.
pub(crate) fn serve(
    kernel: Arc<dyn Kernel>,
    driver: Arc<ThreadDriver>,
    options: Options,
) -> io::Result<Server> {
    let has_udev = options.has_udev;
    let server = Server::start(kernel, driver, options)?;
    if has_udev {
        File::create(server.dir().join(UDEV_SIGN))?;
    }
    write_shim(server.dir())?;
    Ok(server)
}

/// Adds the rules of a file, before anything can go wrong.
fn add_faults(machine: &Machine, path: &Path, text: &str) -> io::Result<()> {
    let wrong = |what: String| io::Error::other(format!("{}: {what}", path.display()));
    let rules = read_rules(text, machine.faults().meanings()).map_err(|error| wrong(error.to_string()))?;
    machine.faults().add_all(rules).map_err(|error| wrong(error.to_string()))?;
    Ok(())
}

/// Sends the kernel log where the user wants it.
fn follow_log(machine: &Machine, args: &MachineArgs) -> io::Result<()> {
    let path = args.klog.clone().or_else(|| std::env::var_os("DMLAB_KLOG").map(PathBuf::from));
    let named = |path: &Path, error: &io::Error| {
        format!("cannot write the kernel log to {}: {error}", path.display())
    };
    let file = match path {
        Some(path) => {
            let opened = OpenOptions::new().append(true).create(true).open(&path);
            let opened = opened.map_err(|error| io::Error::new(error.kind(), named(&path, &error)))?;
            Some((opened, path))
        }
        None => None,
    };
    let explain = args.explain;
    if file.is_none() && !explain {
        return Ok(());
    }
    let file = Arc::new(Mutex::new(file));
    machine.klog().set_sink(move |line| {
        let text = format!("{line}\n");
        if let Ok(mut log) = file.lock()
            && let Some((file, path)) = &mut *log
            && let Err(error) = file.write_all(text.as_bytes())
        {
            // A full disk of the host must not stop the machine, and is told once.
            errln!("{}; what comes now is missing there", named(path, &error));
            *log = None;
        }
        if explain {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    });
    Ok(())
}

/// What explains refused tables on stderr as programs load them, if the user wants that.
fn explainer(machine: Machine, args: &MachineArgs) -> Option<OnRefusedLoad> {
    if !args.explain {
        return None;
    }
    Some(Box::new(move |request, log| {
        if let Some(text) = explain_refusal(&machine, request, log) {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }))
}

/// The table of a TABLE_LOAD request with the words at fault underlined, where the log says enough.
fn explain_refusal(machine: &Machine, request: &[u8], log: &[String]) -> Option<String> {
    let header = Header::decode(request).ok()?;
    let specs: Vec<TargetSpec> = TargetSpecs::new(request, header.data_start(), header.target_count())
        .collect::<Result<_, _>>()
        .ok()?;
    let table = Table::from_specs(&specs).ok()?;
    let types: Vec<String> = machine.mapper().types().iter().map(|kind| kind.name.to_owned()).collect();
    let devices = machine.devices();
    let has_device = |text: &str| {
        devices.iter().any(|device| {
            let mapped = device.dm.as_ref().map(|dm| String::from_utf8_lossy(&dm.name));
            text == device.dev.to_string()
                || text.strip_prefix("/dev/") == Some(&device.name)
                || mapped.is_some_and(|name| text.strip_prefix("/dev/mapper/") == Some(&*name))
        })
    };
    let known = Surroundings { types: &types, has_device: Some(&has_device) };
    explain(&table, log, &known).map(|explanation| explanation.to_string())
}

/// Writes the preload library into the machine's directory.
fn write_shim(dir: &Path) -> io::Result<()> {
    let path = dir.join(SHIM_NAME);
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot write the preload library to {}: {error}", path.display()),
        )
    };
    // The linker's list of libraries has no way to quote what it splits and expands.
    if let Some(odd) = path.as_os_str().as_bytes().iter().find(|byte| b" :$".contains(byte)) {
        return Err(io::Error::other(format!(
            "the path {} has a `{}`, so programs cannot be told to load the preload library from it: set XDG_RUNTIME_DIR or TMPDIR to a directory whose path has no space, colon or dollar sign",
            path.display(),
            char::from(*odd)
        )));
    }
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o700).open(&path).map_err(named)?;
    file.write_all(SHIM).map_err(named)?;
    let mount = rustix::fs::statvfs(dir)?;
    if mount.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC) {
        let _ = fs::remove_file(&path);
        return Err(io::Error::other(format!(
            "{} is mounted noexec, so programs cannot load the preload library from it: set XDG_RUNTIME_DIR or TMPDIR to a directory of yours that allows it",
            dir.display()
        )));
    }
    Ok(())
}

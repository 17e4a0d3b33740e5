#!/usr/bin/env python3
"""killstorm.py DMLAB SEED COUNT: COUNT programs on one machine, most of them killed with -9 at random moments. Afterwards nothing
is wedged or left open, every device does IO, and the pool's metadata is sound."""

import os, random, shutil, signal, subprocess, sys, tempfile, time
from machine import Machine, Verdict

DM, SEED, N = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
verdict = Verdict("killstorm", SEED)
R = random.Random(f"killstorm {SEED}")
tmp = tempfile.mkdtemp(prefix="dmlab-attack-kill-")
# Room for all that four devices and eight snapshots can hold: the pool never fills.
machine = Machine(DM, verdict, "--ram-size", "400")
setup = """set -e
dmsetup create pool --table "0 819200 thin-pool /dev/ram0 /dev/ram1 128 0 1 error_if_no_space"
for i in 0 1 2 3; do dmsetup message pool 0 "create_thin $i"; dmsetup create t$i --table "0 65536 thin /dev/mapper/pool $i"; done
dmsetup create org --table "0 65536 snapshot-origin /dev/ram2"
dmsetup create snp --table "0 65536 snapshot /dev/ram2 /dev/ram3 P 8"
dmsetup create mir --table "0 65536 mirror core 2 128 nosync 2 /dev/ram6 0 /dev/ram7 0"
for i in 0 1 2 3; do dmsetup create s$i --table "0 8192 linear /dev/ram5 $((i*8192))"; done
"""


def must(what, script, expected=None, patience=90):
    status, output = machine.run(script, patience)
    if status != 0 or (expected is not None and output.strip() != expected):
        verdict.harm(f"{what}: status {status}", output)
    return output


def op():
    k = R.randrange(8)
    d = R.choice(["t0", "t1", "t2", "t3", "org", "snp", "mir"])
    off = R.randrange(400)
    s = f"s{R.randrange(4)}"
    return R.choice(
        [
            f"dmsetup create k{k} --table '0 4096 linear /dev/ram4 {k*4096}'",
            f"dmsetup remove k{k}",
            f"dmsetup remove --force k{k}",
            f"dmsetup suspend {s}; sleep 0.05; dmsetup resume {s}",
            f"dmsetup suspend {d}; dmsetup resume {d}",
            f"dmsetup load {s} --table '0 8192 linear /dev/ram5 0'; dmsetup resume {s}",
            f"dmsetup message pool 0 'create_thin {10+k}'",
            f"dmsetup message pool 0 'delete {10+k}'",
            f"dmsetup suspend t0; dmsetup message pool 0 'create_snap {20+k} 0'; dmsetup resume t0",
            f"dd if=/dev/urandom of=/dev/mapper/{d} bs=64k count=60 seek={off} oflag=direct",
            f"dd if=/dev/urandom of=/dev/mapper/{d} bs=4k count=900 seek={off}",
            f"dd if=/dev/urandom of=/dev/mapper/{d} bs=4k count=900 seek={off} conv=fsync",
            f"dd if=/dev/mapper/{d} of=/dev/null bs=1M",
            f"dd if=/dev/mapper/{s} of=/dev/null bs=4k iflag=direct",
            f"dd if=/dev/zero of=/dev/mapper/{s} bs=4k count=500",
            f"truncate -s 8M {tmp}/f{k}; losetup -f {tmp}/f{k}; losetup -D",
            f"dmsetup wait {s}",
            f"dmsetup mknodes; ls -l /dev/mapper; dmsetup status; dmsetup table; dmsetup ls --tree",
            f"blkdiscard -o {off*65536} -l 1048576 /dev/mapper/t{R.randrange(4)}",
        ]
    )


must("setup", setup)
before = machine.figures()
print("descriptors, threads, MiB:", before, flush=True)
procs, ended, killed = [], 0, 0
for i in range(N):
    command = [DM, "attach", machine.name, "--", "sh", "-c", op()]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    procs.append((child, time.time() + R.choice([0.01, 0.03, 0.08, 0.2, 0.6]) * R.random() * 2))
    while len(procs) >= 12 or any(p[1] < time.time() for p in procs):
        for p in list(procs):
            if p[0].poll() is not None:
                procs.remove(p)
                ended += 1
            elif p[1] < time.time():
                os.killpg(p[0].pid, signal.SIGKILL)
                p[0].wait()
                procs.remove(p)
                killed += 1
        time.sleep(0.002)
    if i % 500 == 499:
        print(f"{i + 1} programs, {killed} killed; {machine.figures()}", flush=True)
for p, _ in procs:
    if p.poll() is None:
        os.killpg(p.pid, signal.SIGKILL)
        killed += 1
    else:
        ended += 1
    p.wait()
print(f"{killed} killed, {ended} ended first; {machine.figures()}", flush=True)
# Who was killed between a suspend and its resume leaves the device suspended, as on Linux.
must("resume", "for d in $(dmsetup info -c --noheadings -o name); do timeout 60 dmsetup resume $d || exit; done")
still = ""
for attempt in range(100):
    # The data of the dead is written out first.
    still = machine.run("dmsetup info -c --noheadings -o name,open | grep -v ':0$'")[1].split()
    # A pool is open for its thin devices.
    still = [line for line in still if not line.startswith("pool:")]
    if not still:
        break
    time.sleep(0.1)
if still:
    verdict.harm(f"open, with nobody there: {still}")
must(
    "IO",
    "for d in t0 t1 t2 t3 org mir s0 s1 s2 s3; do timeout 60 dd if=/dev/zero of=/dev/mapper/$d bs=64k count=4 oflag=direct status=none || { echo $d; dmsetup status pool; exit 1; }; done; timeout 60 dd if=/dev/mapper/snp of=/dev/null bs=1M status=none || dmsetup status snp | grep Invalid",
)
machine.run("losetup -D")
must(
    "removal",
    "dmsetup info -c --noheadings -o name | grep ^k | while read d; do dmsetup remove $d; done; for d in snp org mir s0 s1 s2 s3 t0 t1 t2 t3 pool; do timeout 60 dmsetup remove $d || exit; done; losetup -a; dmsetup ls",
    "No devices found",
)
must(
    "metadata",
    f"dd if=/dev/ram0 of={tmp}/meta bs=1M conv=sparse status=none; thin_check -q {tmp}/meta && {os.path.abspath(DM)} thin check -q {tmp}/meta",
)
must("discard", "for i in 0 1 2 3 4 5 6 7; do blkdiscard -f /dev/ram$i || exit; done")
time.sleep(1)
after = machine.figures()
print("descriptors, threads, MiB:", after)
if after[0] > before[0] + 4 or after[1] > before[1] + 4:
    verdict.harm(f"descriptors and threads: {before} before, {after} after")
# What the disks held went back to the host; what stays is what is kept for reuse, and the allocator's own.
if after[2] > before[2] + 400:
    verdict.harm(f"{after[2]} MiB stay after all disks were discarded, {before[2]} before")
machine.end()
shutil.rmtree(tmp)
verdict.end(f"{N} programs")

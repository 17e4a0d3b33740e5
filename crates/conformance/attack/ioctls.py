#!/usr/bin/env python3
"""ioctls.py DMLAB SEED COUNT: random buffers and requests through ioctl(2); IO and other calls with odd arguments beside."""

import errno, fcntl, os, random, struct, sys, ctypes, time
from machine import Machine, Verdict

if sys.argv[1] != "inside":
    verdict = Verdict("ioctls", int(sys.argv[2]))
    machine = Machine(sys.argv[1], verdict, "--ram-size", "16")
    status, output = machine.run(
        f"exec {sys.executable} {os.path.abspath(__file__)} inside {sys.argv[2]} {sys.argv[3]}",
        120 + int(sys.argv[3]) // 20,
    )
    print(output, end="")
    if status != 0:
        verdict.harm(f"the program ended with {status}")
    status, output = machine.run("dmsetup remove_all --force; dmsetup ls")
    if output.strip() != "No devices found":
        verdict.harm("devices are left", output)
    machine.end()
    verdict.end(f"{sys.argv[3]} requests")
R = random.Random(f"ioctls {sys.argv[2]}")
N = int(sys.argv[3])
st = {}
libc = ctypes.CDLL(None, use_errno=True)
libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
lc = os.open("/dev/loop-control", os.O_RDWR)
fcntl.ioctl(lc, 0x4C82)
fds = [
    os.open(p, os.O_RDWR) for p in ("/dev/mapper/control", "/dev/ram0", "/dev/ram1", "/dev/loop-control", "/dev/loop0")
]
BIG = (1 << 20) + 4096
buf = ctypes.create_string_buffer(BIG)
addr = ctypes.addressof(buf)
names = [b"a", b"b", b"c", b"d" * 127, b"e" * 128, b"..", b".", b"", b"\xff\xfe", b"a b", b"x/y"]
tables = [
    b"/dev/ram2 0",
    b"2 8 /dev/ram2 0 /dev/ram3 0",
    b"/dev/ram2 /dev/ram3 128 0",
    b"/dev/mapper/a 0",
    b"core 2 128 nosync 2 /dev/ram2 0 /dev/ram3 0",
    b"0 0 1 1 round-robin 0 1 1 /dev/ram2 1",
    b"/dev/ram2 0 0 1",
    b"/dev/ram2 0 10",
    b"/dev/ram2 /dev/ram3 P 8",
    b"/dev/ram3",
    b"",
    b"%s%n" * 100,
    b"\xff" * 300,
    b" " * 5000,
    b"1 " * 30000,
]
types = [
    b"linear",
    b"striped",
    b"thin-pool",
    b"thin",
    b"mirror",
    b"multipath",
    b"flakey",
    b"delay",
    b"snapshot",
    b"snapshot-origin",
    b"snapshot-merge",
    b"zero",
    b"error",
    b"dust",
    b"ebs",
    b"switch",
    b"unstriped",
    b"log-writes",
    b"linear\xff",
    b"A" * 16,
]
msgs = [
    b"create_thin 0",
    b"create_snap 1 0",
    b"delete 0",
    b"reserve_metadata_snap",
    b"@stats_create - /8",
    b"@stats_print 0",
    b"@stats_list",
    b"@stats_create - 1 histogram:1,2,3",
    b"@stats_delete 0",
    b"@stats_clear 0",
    b"@cancel_deferred_remove",
    b"fail_if_no_path",
    b"fail_path 1:2",
    b"mark x",
    b"addbadblock 1",
    b"removebadblock 1",
    b"enable",
    b"disable",
    b"set_region_mappings 0:0 1:1",
    b"set_region_mappings R1,2",
    b"set_transaction_id 0 1",
    b"@stats_create 0+99999999999999999999 /1",
    b"@stats_create - 18446744073709551615",
    b"@stats_print 0 0 18446744073709551615",
    b"@stats_create 0+18446744073709551615 1",
    b'"',
    b"'x",
    b"a\\ b",
    b"x" * 70000,
    b"@" * 10,
]


def count(k):
    st[k] = st.get(k, 0) + 1


def nums():
    return R.choice(
        [
            0,
            1,
            2,
            8,
            64,
            2**31 - 1,
            2**31,
            2**32 - 1,
            2**40,
            2**63 - 1,
            2**63,
            2**64 - 1,
            R.getrandbits(64),
            R.getrandbits(12),
        ]
    )


t0 = time.time()
for i in range(N):
    if i % 997 == 0:
        fcntl.ioctl(fds[0], 0xC138FD01, struct.pack("<IIIIIIiIIQ", 4, 0, 0, 312, 312, 0, 0, 0, 0, 0).ljust(312, b"\0"))
    if R.random() < 0.75:
        nr = R.choice([0, 2, 3, 3, 3, 4, 5, 6, 6, 7, 9, 9, 9, 9, 10, 11, 12, 13, 14, 14, 14, 15, 16, 17, 18, 255])
        fd = fds[0]
        size = R.choice(
            [312, 320, 400, 1024, 16384, 16384, 65536, 305, 311, 0, 2**31, 2**32 - 1, 1 << 20, R.randrange(2000)]
        )
        start = R.choice([312, 312, 312, 312, 0, 304, 313, 320, size & 0xFFFFFFFF, 2**32 - 1, R.randrange(400)])
        name = R.choice(names)[:128].ljust(128, b"\0")
        uuid = R.choice([b"", b"", b"", b"u1", b"u" * 129])[:129].ljust(129, b"\0")
        if nr in (9, 14, 6) and R.random() < 0.8:
            name = R.choice([b"a", b"b", b"c"]).ljust(128, b"\0")
            uuid = bytes(129)
            size = 80000
            start = 312
        flags = R.choice([0, 0, 2, 1, 4, 16, 1 << 9, 1 << 11, 1 << 12, 1 << 13, 1 << 17, R.getrandbits(32)])
        if nr == 6 and R.random() < 0.7:
            flags = 0
        cnt = R.choice([1, 1, 1, 2, 0, 2**32 - 1, 1000, R.getrandbits(32)])
        h = (
            struct.pack(
                "<IIIIIIiIIIQ",
                4,
                R.choice([0, 48]),
                0,
                size & 0xFFFFFFFF,
                start & 0xFFFFFFFF,
                cnt,
                R.choice([0, 0, -1, 5]),
                flags,
                R.getrandbits(R.choice([1, 32])),
                0,
                R.choice([0, 0, 0, 0xFE00, 0xFE01, nums()]),
            )
            + name
            + uuid
        )
        h = h.ljust(312, b"\0")[:312]
        body = b""
        if nr in (4, 5) or R.random() < 0.1:
            body = R.choice(names) + b"\0"
        elif nr == 14:
            body = struct.pack("<Q", R.choice([0, 0, nums()])) + R.choice(msgs) + R.choice([b"\0", b"\0", b""])
        elif nr == 9:
            for _ in range(R.choice([1, 1, 1, 2, 3])):
                p = R.choice(tables) + b"\0"
                l = (40 + len(p) + 7) & ~7
                body += (
                    struct.pack(
                        "<QQiI",
                        R.choice([0, 0, 0, 64, nums()]),
                        R.choice([64, 64, 8, 1, nums()]),
                        0,
                        R.choice([l, l, l, 0, nums() & 0xFFFFFFFF]),
                    )
                    + R.choice(types)[:16].ljust(16, b"\0")
                    + p
                ).ljust(l, b"\0")
        data = bytearray(h + body)
        if R.random() < 0.15:
            for _ in range(R.randrange(1, 6)):
                data[R.randrange(len(data))] = R.getrandbits(8)
        if R.random() < 0.02:
            data = bytearray(R.randbytes(R.randrange(1, 4000)))
        data = bytes(data[:BIG])
        ctypes.memmove(addr, data, len(data))
        req = 0xC138FD00 | nr if R.random() < 0.97 else R.getrandbits(32)
        a = R.choice([addr] * 20 + [0, 1, addr + BIG - 400, 2**47 - 4096])
    else:
        fd = R.choice(fds)
        req = R.choice(
            [
                0x125D,
                0x125E,
                0x1260,
                0x1261,
                0x1263,
                0x1267,
                0x1268,
                0x1269,
                0x1277,
                0x1278,
                0x127A,
                0x127B,
                0x127C,
                0x127D,
                0x127E,
                0x127F,
                0x80081272,
                0x40081271,
                0x80081270,
                0x80081280,
                0xC0101282,
                0x40101283,
                0x0301,
                0x4C00,
                0x4C01,
                0x4C02,
                0x4C03,
                0x4C04,
                0x4C05,
                0x4C06,
                0x4C07,
                0x4C08,
                0x4C09,
                0x4C0A,
                0x4C80,
                0x4C81,
                0x4C82,
                2,
                0x5401,
                R.getrandbits(32),
            ]
        )
        d = b"".join(struct.pack("<Q", nums()) for _ in range(38))
        ctypes.memmove(addr, d, len(d))
        a = R.choice([addr, addr, addr, 0, 1, 5, 63, 2**31, 2**63, fds[1], fds[4], 0xFFFFFFFFFFFFFFFF])
        if req == 0x1261:
            continue
    r = libc.ioctl(fd, req, a)
    count("ok" if r >= 0 else errno.errorcode.get(ctypes.get_errno(), ctypes.get_errno()))
    if R.random() < 0.05:
        f = R.choice(fds[1:3] + fds[4:])
        try:
            w = R.randrange(6)
            if w == 0:
                os.pread(f, R.choice([0, 1, 512, 4097]), R.choice([0, 1, 2**40, 2**62, 2**63 - 1]))
            if w == 1:
                os.pwrite(f, bytes(R.choice([0, 1, 512, 4097])), R.choice([0, 1, 4096, 2**40, 2**63 - 1]))
            if w == 2:
                os.lseek(f, R.choice([0, -1, 2**62]), R.randrange(5))
            if w == 3:
                os.posix_fallocate(f, R.choice([0, 2**40]), R.choice([1, 4096, 2**62]))
            if w == 4:
                libc.fallocate(
                    f,
                    R.getrandbits(6),
                    ctypes.c_long(R.choice([0, 4096, 2**62])),
                    ctypes.c_long(R.choice([4096, 2**62, 2**63 - 1])),
                )
            if w == 5:
                os.fsync(f)
        except OSError:
            pass
    if i % 5000 == 4999:
        print(i + 1, f"{time.time()-t0:.1f} s", flush=True)
print(N, "ioctls", dict(sorted(st.items(), key=lambda x: -x[1])))

#!/usr/bin/env python3
"""hostile.py DMLAB SEED COUNT: speaks to a machine's server in bad faith. COUNT requests are lies; then another process
scribbles over what the server reads; then come wrong descriptors, abrupt ends, and more connections than there is room for.
"""

import array, mmap, os, random, socket, struct, sys, time
from machine import Machine, Verdict

AREA, DATA, DOFF = 4096 + (1 << 20), 1 << 20, 4096


class C:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.s.connect(path)
        self.s.settimeout(5)
        fds = array.array("i")
        _, anc, _, _ = self.s.recvmsg(8, socket.CMSG_SPACE(4))
        for l, t, d in anc:
            fds.frombytes(d[:4])
        if not fds:
            raise OSError("no area")
        self.m = mmap.mmap(fds[0], AREA)
        self.memfd = fds[0]
        self.got = []

    def put(self, op, ln, words, data=b"", fd=None, raw=None):
        self.m[DOFF : DOFF + len(data)] = data
        self.m[256 : 256 + 88] = raw or struct.pack(
            "<II10Q", op & 0xFFFFFFFF, ln & 0xFFFFFFFF, *[w & (2**64 - 1) for w in (list(words) + [0] * 10)[:10]]
        )
        self.m[0:4] = struct.pack("<I", 1)
        sl = struct.unpack("<I", self.m[64:68])[0]
        self.m[64:68] = b"\0\0\0\0"
        try:
            if fd is not None:
                self.s.sendmsg([b"w"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
            else:
                self.s.send(b"w")
        except OSError:
            return False
        return True

    patience = 20.0

    def get(self, limit=None):
        t = time.time()
        limit = limit or self.patience
        while time.time() - t < limit:
            if struct.unpack("<I", self.m[0:4])[0] == 2:
                r = bytes(self.m[512:576])
                self.m[0:4] = b"\0\0\0\0"
                v, ln = struct.unpack("<qI", r[:12])
                fd = None
                if r[12]:
                    try:
                        while fd is None:
                            b, anc, _, _ = self.s.recvmsg(8, socket.CMSG_SPACE(4))
                            if not b:
                                break
                            for _, _, d in anc:
                                fd = array.array("i", d[:4])[0]
                    except OSError:
                        pass
                return v, ln, r[12], r[13], r[14], *struct.unpack("<QQ", r[16:32]), fd
            if struct.unpack("<I", self.m[192:196])[0]:
                return None
            time.sleep(0.0002)
        return "timeout"

    def call(self, *a, **k):
        return self.get() if self.put(*a, **k) else None

    def close(self):
        self.s.close()
        os.close(self.memfd)
        self.m.close()

    def open(self, path, flags=2):
        p = path.encode()
        return self.call(2, len(p), [flags, 0, len(p)], p)


def nums(R):
    return R.choice(
        [
            0,
            1,
            2,
            3,
            4,
            511,
            512,
            513,
            4095,
            4096,
            65536,
            DATA - 1,
            DATA,
            DATA + 1,
            2**31 - 1,
            2**31,
            2**32 - 1,
            2**32,
            2**40,
            2**62,
            2**63 - 1,
            2**63,
            2**64 - 1,
            2**64 - 512,
            2**64 - 4096,
            R.getrandbits(64),
            R.getrandbits(8),
            R.getrandbits(28),
        ]
    )


PATHS = [
    b"/dev/ram7",
    b"/dev/ram6",
    b"/dev/mapper/control",
    b"/dev/loop-control",
    b"/dev/mapper",
    b"/dev",
    b"/dev/loop0",
    b"/sys/block",
    b"/sys/block/ram0/size",
    b"/proc/devices",
    b"/dev/mapper/../ram7",
    b"/dev/x/../../..",
    b"/dev/" + b"a" * 300,
    b"/" * 5000,
    b"\0\xff/dev",
    b"",
    b".",
    b"..",
    b"/dev/mapper/" + b"\xff" * 200,
    b"/dev/dm-0",
    b"/dev/a",
    b"/dev/b",
    b"/dev/mapper/l",
    b"/run/udev/control",
    b"/sys/dev/block/1:0/../../..",
    b"/etc/passwd",
]
SHAPES = {
    2: "wwp",
    4: "wp",
    6: "p",
    7: "p",
    8: "wwp",
    10: "wp",
    11: "wp",
    12: "wpp",
    13: "pp",
    14: "pp",
    15: "wwp",
    16: "wwwp",
    17: "wwwp",
    3: "www",
    5: "ww",
    9: "wwww",
    18: "www",
    19: "wwww",
    20: "f",
    21: "f",
    22: "fwwwww",
    23: "fwwwwd",
    24: "fww",
    25: "fw",
    26: "fwww",
    27: "fcwwwbd",
    28: "wd",
    29: "ww",
    30: "f",
    31: "fw",
    32: "fw",
    33: "fww",
    34: "w",
    35: "w",
    36: "",
    42: "wd",
    39: "f",
    40: "fw",
    41: "w",
    43: "fwww",
    44: "fww",
    45: "f",
    38: "cd",
    1: "w",
}
BLK = [
    0x125D,
    0x125E,
    0x1260,
    0x1263,
    0x1268,
    0x80081272,
    0x1277,
    0x127F,
    0x1269,
    0x127D,
    0x1261,
    0x125F,
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
    0x0301,
    0xC0101282,
]


def dm(R):
    # Not REMOVE_ALL (1) nor DEV_WAIT (8) forever; both would be legitimate harm.
    n = R.choice([0, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 99])
    cmd = 0xC138FD00 | n
    size = R.choice([312, 512, 1024, 16384, 0, 1, 311, 2**31, 2**32 - 1, 400])
    h = bytearray(312)
    struct.pack_into(
        "<IIIIIIIiIIQ",
        h,
        0,
        4,
        R.choice([0, 0, 0, 48, 9]),
        0,
        size,
        R.choice([312, 312, 312, 0, 8, 311, 313, 2**31, 2**32 - 1]),
        R.choice([0, 1, 1, 2, 50, 2**31, 2**32 - 1]),
        R.choice([0, 7]),
        0,
        R.getrandbits(R.choice([1, 8, 32])) & ~0,
        0,
        R.choice([0, 0, 0xFD00, nums(R)]),
    )
    name = R.choice([b"hz%d" % R.randrange(6), b"v", b"", b"a/b", b"." * 127, b"\xff" * 127, b"..", b"."])[:127]
    h[48 : 48 + len(name)] = name
    if name == b"v":
        h[48:176] = b"hz0" + bytes(125)
    for w in range(R.randrange(3) if R.random() < 0.3 else 0):
        struct.pack_into("<I", h, R.randrange(78) * 4, nums(R) & 0xFFFFFFFF)
    body = b""
    for _ in range(R.choice([0, 1, 1, 2])):
        t = R.choice(
            [
                b"linear",
                b"striped",
                b"thin-pool",
                b"snapshot",
                b"mirror",
                b"zero",
                b"error",
                b"x" * 16,
                b"multipath",
                b"flakey",
                b"delay",
                b"switch",
            ]
        )
        ps = (
            R.choice(
                [
                    b"/dev/ram6 0",
                    b"2 8 /dev/ram6 0 /dev/ram5 0",
                    b"/dev/ram6 /dev/ram5 128 0",
                    b"",
                    b"\xff" * R.randrange(2000),
                    b"/dev/ram5 /dev/ram6 P 8",
                    b"1 " * R.randrange(500),
                ]
            )
            + b"\0"
        )
        nx = R.choice([0, 40 + len(ps), (40 + len(ps) + 7) & ~7, 2**31, 2**32 - 8, 8])
        body += (
            struct.pack("<QQiI", R.choice([0, nums(R)]), R.choice([8, 64, nums(R)]), 0, nx)
            + t.ljust(16, b"\0")[:16]
            + ps
        )
    body += bytes(R.getrandbits(8) for _ in range(R.randrange(64)))
    return cmd, bytes(h) + body + bytes(R.choice([0, 200, 16000]))


def fuzz(path, R, n):
    stats = {}
    c = None
    files = []
    held = []
    for i in range(n):
        if c is None or R.random() < 0.01:
            if c:
                c.close()
            for f in held:
                os.close(f)
            held, files = [], []
            c = C(path)
            c.call(1, 0, [1])
            for p in ("/dev/ram7", "/dev/mapper/control", "/dev/loop-control", "/dev/ram6"):
                r = c.open(p)
                if isinstance(r, tuple) and r[0] >= 0 and r[7] is not None:
                    files.append(r[5])
                    held.append(r[7])
        if R.random() < 0.1:
            r = c.call(
                0,
                0,
                [],
                bytes(R.getrandbits(8) for _ in range(100)),
                raw=bytes(R.getrandbits(8) if R.random() < 0.5 else 0 for _ in range(88)).replace(b"\x25", b"\0"),
            )
            op = "raw"
        else:
            op = R.choice(list(SHAPES))
            words, data = [], b""
            tail = []
            for ch in SHAPES[op]:
                if ch == "w":
                    words.append(nums(R) if R.random() < 0.6 else R.choice([0, 0, 1, 4096, 2**64 - 1]))
                elif ch == "f":
                    words.append(R.choice(files) if files and R.random() < 0.9 else nums(R))
                elif ch == "b":
                    words.append(0)
                elif ch == "c":
                    if R.random() < 0.5 or op == 38:
                        cm, dat = dm(R)
                    else:
                        cm, dat = R.choice(BLK), bytes(
                            R.getrandbits(8) for _ in range(R.choice([0, 4, 8, 16, 24, 168, 232, 304]))
                        )
                    words.append(cm)
                elif ch == "p":
                    p = R.choice(PATHS)
                    tail.append(len(p))
                    data += p
                elif ch == "d":
                    d = (
                        dat
                        if op in (27, 38)
                        else (
                            bytes(R.randrange(2000))
                            if op != 42
                            else R.choice(
                                [
                                    b"list",
                                    b"clear",
                                    b"hits",
                                    b"add\0" + bytes(R.getrandbits(7) for _ in range(30)),
                                    b"release",
                                    b"load\0[[fault]]\n",
                                    b"\xff" * 50,
                                ]
                            )
                        )
                    )
                    tail.append(len(d))
                    data += d
            if op == 26 and R.random() < 0.7:
                words = [words[0], R.choice([1, 2, 3, 16, 17]), R.choice([0, 4096, nums(R)]), R.choice([4096, nums(R)])]
            if op == 41:
                words = [R.choice([0, 1, 1000])] if R.random() < 0.99 else [nums(R)]
            if R.random() < 0.15 and tail:
                tail[R.randrange(len(tail))] = nums(R)
            ln = len(data) if R.random() < 0.9 else nums(R)
            if op == 22 and R.random() < 0.5:
                words[2] = R.choice([512, 4096, DATA, DATA + 1])
            r = c.call(op, ln, words + tail, data)
        k = "gone" if r is None else r if isinstance(r, str) else "ok" if r[0] >= 0 else -r[0]
        if isinstance(r, tuple) and r[7] is not None:
            os.close(r[7])
        stats[(op, k)] = stats.get((op, k), 0) + 1
        # A sleep of centuries may take its time; nothing else may, and no lie may cost the channel.
        if k == "gone" or (k == "timeout" and op not in (41, "raw")):
            verdict.harm(f"request {i}: {k}: {op} {[hex(w & (2**64-1)) for w in (words if op != 'raw' else [])][:8]}")
        if k in ("gone", "timeout"):
            c.close()
            c = None
    tot = {}
    for (o, k), v in stats.items():
        tot[k] = tot.get(k, 0) + v
    print("fuzz", n, {k: v for k, v in sorted(tot.items(), key=lambda x: -x[1])})


def race(path, R, n):
    c = C(path)
    c.call(1, 0, [1])
    f = c.open("/dev/ram7")
    c.patience = 1.0  # the other process takes turns away
    pid = os.fork()
    if pid == 0:
        rr = random.Random(R.random())
        while True:  # scribbles over the header, the payload and the turn words while the server works on them
            for _ in range(200):
                a = rr.choice(
                    [
                        256,
                        260,
                        264,
                        272,
                        280,
                        288,
                        296,
                        304,
                        DOFF + 12,
                        DOFF + 16,
                        DOFF + 20,
                        DOFF + 24,
                        DOFF + 312,
                        DOFF + 312 + 20,
                        DOFF + 352,
                        512,
                        64,
                    ]
                )
                c.m[a : a + 4] = struct.pack("<I", rr.choice([0, 1, 312, DATA, 2**32 - 1, 2**31, 40, 22, 23, 38]))
    st = {}
    for i in range(n):
        k = R.randrange(4)
        if k == 0:
            cm, d = dm(R)
            r = c.call(38, len(d), [cm, len(d)], d)
        elif k == 1:
            r = c.call(22, 0, [f[5], 0, DATA, 0, 0, 0])
        elif k == 2:
            r = c.call(23, 65536, [f[5], 0, 0, 0, 0, 65536], bytes(65536))
        else:
            p = R.choice(PATHS)
            r = c.call(2, len(p), [2, 0, len(p)], p)
        kk = "gone" if r is None else r if isinstance(r, str) else "ok" if r[0] >= 0 else "err"
        if isinstance(r, tuple) and r[7] is not None:
            os.close(r[7])
        st[kk] = st.get(kk, 0) + 1
        if kk in ("gone", "timeout"):
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            c.close()
            return race(path, R, n - i - 1) if n - i > 1 else None
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    print("race", st)


def fds(path, R, n):
    import tempfile

    c = C(path)
    c.call(1, 0, [1])
    lc = c.open("/dev/loop-control")
    r = c.call(27, 0, [lc[5], 0x4C82, 0, 0, 0, 0, 0])
    print("free loop", r[:2])
    lo = c.open("/dev/loop0")
    print("loop0", lo[:6])
    t = tempfile.TemporaryFile()
    t.truncate(1 << 20)
    big = tempfile.TemporaryFile()
    os.truncate(big.fileno(), (1 << 43))
    cand = {
        "dir": os.open("/", os.O_RDONLY),
        "zero": os.open("/dev/zero", os.O_RDWR),
        "null": os.open("/dev/null", os.O_RDWR),
        "sock": c.s.fileno(),
        "pipe": os.pipe()[0],
        "opath": os.open("/etc/passwd", os.O_PATH),
        "mem": os.open("/proc/self/mem", os.O_RDWR),
        "proc": os.open("/proc/self/maps", os.O_RDONLY),
        "huge": big.fileno(),
        "area": c.memfd,
        "tmp": t.fileno(),
        "ctl": c.open("/dev/mapper/control")[7],
        "self": lo[7],
        "ram": c.open("/dev/ram6")[7],
    }
    for k, fd in cand.items():
        for cmd in (0x4C00, 0x4C06, 0x4C0A):
            if k != "self":
                os.close(lo[7])
                lo = c.open("/dev/loop0")
            d = b"" if cmd != 0x4C0A else bytes(304)
            r = c.call(27, len(d), [lo[5], cmd, fd, 304, 0, 1, len(d)], d, fd=fd)
            io = c.call(22, 0, [lo[5], 0, 4096, 0, 0, 0])
            w = c.call(23, 4096, [lo[5], 0, 0, 0, 0, 4096], bytes(4096))
            if k == "tmp":
                os.ftruncate(fd, 100)
                io2 = c.call(22, 0, [lo[5], 65536, 4096, 0, 0, 0])
                os.ftruncate(fd, 1 << 20)
            cl = c.call(27, 0, [lo[5], 0x4C01, 0, 0, 0, 0, 0])
            print(
                "  ",
                k,
                hex(cmd),
                [("gone" if x is None else x if isinstance(x, str) else hex(x[0])) for x in (r, io, w, cl)],
            )
            if r is None or isinstance(r, str):
                verdict.harm(f"{k} under {hex(cmd)}: {r}")
                c.close()
                return
    print("with_fd, no fd sent:")
    c2 = C(path)
    c2.call(1, 0, [1])
    l2 = c2.open("/dev/loop0")
    c2.put(27, 0, [l2[5], 0x4C00, 3, 0, 0, 1, 0])
    print("  ", c2.get(1))
    c2.close()
    c.close()


def close(path, R, n):
    for i in range(n):
        c = C(path)
        k = R.randrange(6)
        if k == 0:
            c.close()
            continue
        c.call(1, 0, [1])
        if k == 1:
            c.put(2, 9, [2, 0, 9], b"/dev/ram7")
        if k == 2:
            cm, d = dm(R)
            c.put(38, len(d), [cm, len(d)], d)
        if k == 3:
            f = c.open("/dev/ram7")
            c.put(23, DATA, [f[5], 0, 0, 0, 0, DATA], bytes(DATA))
            os.close(f[7])
        if k == 4:
            f = c.open("/dev/mapper/control")
            c.put(
                27,
                312,
                [f[5], 0xC138FD08, 0, 312, 0, 0, 312],
                struct.pack("<IIIIIII", 4, 0, 0, 312, 312, 0, 0) + bytes(20) + b"v" + bytes(263),
            )
            os.close(f[7])
        if k == 5:
            for _ in range(20):
                c.s.send(b"x" * R.choice([1, 8, 100]))
        c.s.shutdown(R.choice([0, 1, 2])) if R.random() < 0.3 else None
        c.close()
    print("close", n)


def flood(path, R, n):
    held, files, why = [], [], None
    for i in range(n):
        try:
            c = C(path)
            held.append(c)
        except OSError as e:
            why = e
            break
        try:
            c.call(1, 0, [1])
            for _ in range(5):
                r = c.open("/dev/ram7")
                if not isinstance(r, tuple) or r[0] < 0:
                    why = r
                    break
                files.append(r[7])
        except OSError as e:
            why = e
            break
        if why:
            break
    print("flood: connections", len(held), "stopped by", why)
    return held, files


if __name__ == "__main__":
    dmlab, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    verdict, R = Verdict("hostile", seed), random.Random(f"hostile {seed}")
    for phase, n in (fuzz, count), (race, count // 2), (fds, 1), (close, max(count // 20, 20)):
        # What a phase did to the names of the devices is no business of the next.
        machine = Machine(dmlab, verdict, "--ram-size", "16")
        phase(machine.socket, R, n)
        # By what leans on no name: clients may have taken the nodes away, and dmsetup lists no devices of some names.
        status, output = machine.ask([dmlab, "info", "--machine", machine.name])
        if status != 0:
            verdict.harm(f"after {phase.__name__} others are not served: {status}", output)
        machine.end()
    machine = Machine(dmlab, verdict, "--ram-size", "16")
    held, files = flood(machine.socket, R, 200)
    status, output = machine.ask([dmlab, "info", "--machine", machine.name])
    if status != 0:
        verdict.harm(f"beside {len(held)} connections others are not served", output)
    for c in held:
        c.close()
    # Those of this phase and, as a process that ends closes them, of those before it.
    os.closerange(min(files), max(files) + 1)
    time.sleep(1)
    print("descriptors, threads, MiB:", machine.figures())
    descriptors, threads, _ = machine.figures()
    if threads > 30 or descriptors > 60:
        verdict.harm(f"{descriptors} descriptors and {threads} threads are left")
    machine.run("dmsetup remove_all --force")
    machine.end()
    verdict.end(f"{count} requests and more")

#!/usr/bin/env python3
"""images.py DMLAB SEED COUNT MODE...: damaged images, files and tables. Found are panics, hangs, memory beyond all bounds, and
success where there is none. Modes: thin thinrun snap mirror logw faults replay xml tables, or all."""

import os, random, resource, shutil, struct, subprocess, sys, tempfile, time
from machine import Machine, PATIENCE, Verdict, is_broken

ALL = ["thin", "thinrun", "snap", "mirror", "logw", "faults", "replay", "xml", "tables"]
DM, SEED, N, MODES = os.path.abspath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
if MODES == ["all"]:
    # Each mode by a process of its own; the first that finds something does not keep the others from their turn.
    sys.exit(max(subprocess.call([sys.executable, __file__, DM, str(SEED), str(N), mode]) for mode in ALL))
MODE = MODES[0]
verdict = Verdict(f"images {MODE}", SEED)
R = random.Random(f"{MODE} {SEED}")
W = tempfile.mkdtemp(prefix=f"dmlab-attack-{MODE}-")
os.chdir(W)
LIM = int(os.environ.get("VLIMIT_MB", "3000")) << 20
T = []
for i in range(256):
    c = i
    for _ in range(8):
        c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
    T.append(c)


def crc32c(b, c=0xFFFFFFFF):
    for x in b:
        c = (c >> 8) ^ T[(c ^ x) & 255]
    return c


stats = {}


def run(cmd, timeout=PATIENCE, inp=None):
    try:
        p = subprocess.run(
            cmd,
            input=inp,
            stdin=None if inp is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIM, LIM)),
            start_new_session=True,
        )
        rc, out = p.returncode, p.stdout + p.stderr
    except subprocess.TimeoutExpired as e:
        rc, out = "TIMEOUT", (e.stdout or b"") + (e.stderr or b"")
    if rc == "TIMEOUT" or is_broken(rc, out):
        report(f"{str(cmd)[:400]}: {rc}", out)
    return rc, out


def report(what, out=b""):
    kept = f"case-{case}"
    os.makedirs(kept, exist_ok=True)
    for f in os.listdir("."):
        if f.startswith("cur") and os.path.getsize(f) < 64 << 20:
            shutil.copy(f, kept)
    verdict.harm(f"case {case} (files in {W}/{kept}): {what}", out)


def count(k):
    stats[k] = stats.get(k, 0) + 1


def kind(blk, loc):
    # (offset of csum 0); superblock: csum ^ 160774 over [4:]; node: 121107; bitmap: 240779; index: 160478
    c = crc32c(blk[4:])
    have = struct.unpack("<I", blk[:4])[0]
    for xor in (160774, 121107, 240779, 160478):
        if (c ^ xor) & 0xFFFFFFFF == have:
            return xor
    return None


def damage(img, bs, used, refit):
    b = bytearray(img)
    note = []
    for _ in range(R.choice([1, 1, 1, 2, 3, 6])):
        n = R.choice(used)
        blk = bytearray(b[n * bs : (n + 1) * bs])
        k = kind(bytes(blk), n) if refit else None
        w = R.randrange(8)
        o = R.randrange(bs)
        if R.random() < 0.5:
            o = R.randrange(min(128, bs))
        if w == 0:
            blk[o] ^= 1 << R.randrange(8)
        elif w == 1:
            blk[:] = bytes(bs)
        elif w == 2:
            blk[:] = R.randbytes(bs)
        elif w == 3:
            m = R.choice(used)
            blk[:] = b[m * bs : (m + 1) * bs]
        elif w in (4, 5):
            o &= ~7
            struct.pack_into(
                "<Q",
                blk,
                o,
                R.choice(
                    [
                        0,
                        1,
                        2**64 - 1,
                        2**63,
                        2**32,
                        255,
                        252,
                        253,
                        126,
                        127,
                        R.getrandbits(64),
                        R.randrange(len(img) // bs),
                        R.randrange(1 << 40),
                        n,
                    ]
                ),
            )
        elif w == 6:
            o &= ~3
            struct.pack_into(
                "<I", blk, o, R.choice([0, 1, 2, 2**32 - 1, 2**31, 126, 127, 251, 252, 253, 8, 16, R.getrandbits(32)])
            )
        else:
            l = R.randrange(64)
            blk[o : o + l] = R.randbytes(len(blk[o : o + l]))
        if k and len(blk) == bs:
            if R.random() < 0.9 and k == 121107 and w in (2, 3):
                struct.pack_into("<Q", blk, 8, n)
            struct.pack_into("<I", blk, 0, (crc32c(bytes(blk[4:])) ^ k) & 0xFFFFFFFF)
        b[n * bs : (n + 1) * bs] = blk[:bs]
        note.append((n, w, o))
    if R.random() < 0.04:
        del b[R.randrange(len(b)) :]
    return bytes(b), note


def base_thin():
    s = """set -e
truncate -s 4M meta; dmlab0() { :; }
losetup /dev/loop0 meta
dmsetup create pool --table "0 262144 thin-pool /dev/loop0 /dev/ram1 128 0 1 error_if_no_space"
for i in 0 1 2 3 4 5; do dmsetup message pool 0 "create_thin $i"; dmsetup create t$i --table "0 131072 thin /dev/mapper/pool $i"; for k in $(seq 0 40); do dd if=/dev/zero of=/dev/mapper/t$i bs=64k seek=$(( (k*(i+3)*37) % 1000 )) count=1 oflag=direct status=none; done; done
for i in 10 11 12 13; do dmsetup suspend t0; dmsetup message pool 0 "create_snap $i 0"; dmsetup resume t0; for k in 1 2 3 4 5; do dd if=/dev/zero of=/dev/mapper/t0 bs=64k seek=$((i*k)) count=1 oflag=direct status=none; done; done
dd if=/dev/zero of=/dev/mapper/t1 bs=64k count=600 oflag=direct status=none; dmsetup message pool 0 reserve_metadata_snap
dd if=/dev/zero of=/dev/mapper/t1 bs=64k count=1 seek=900 oflag=direct status=none
for i in 0 1 2 3 4 5; do dmsetup remove t$i; done; dmsetup remove pool; losetup -d /dev/loop0
"""
    p = subprocess.run([DM, "run", "--ram-size", "256", "--", "sh", "-c", s], capture_output=True, text=True)
    if p.returncode:
        sys.exit(p.stderr + p.stdout)
    return open("meta", "rb").read()


def used_blocks(img, bs):
    return [i for i in range(len(img) // bs) if any(img[i * bs : (i + 1) * bs])]


POOLRUN = """dmsetup create pool --table "0 262144 thin-pool /dev/vda /dev/ram1 128 0 $A" || exit 3
for i in 0 1 11; do dmsetup create t$i --table "0 131072 thin /dev/mapper/pool $i" || continue
dd if=/dev/mapper/t$i of=/dev/null bs=1M iflag=direct status=none; dd if=/dev/zero of=/dev/mapper/t$i bs=64k count=30 seek=$((i*13)) oflag=direct status=none; blkdiscard -o 655360 -l 6553600 /dev/mapper/t$i; done
dmsetup message pool 0 "create_thin 50"; dmsetup message pool 0 "delete 3"; dmsetup message pool 0 "create_snap 51 1"; dmsetup message pool 0 release_metadata_snap; dmsetup message pool 0 reserve_metadata_snap
dmsetup create t50 --table "0 131072 thin /dev/mapper/pool 50" && dd if=/dev/zero of=/dev/mapper/t50 bs=64k count=3 oflag=direct status=none
dmsetup status; dmsetup suspend pool; dmsetup resume pool; for i in 0 1 11 50; do dmsetup remove t$i; done; dmsetup remove pool; dmsetup ls"""
case = 0
if MODE in ("thin", "thinrun", "xml"):
    base = base_thin()
    used = used_blocks(base, 4096)
    print("thin base:", len(used), "used blocks", run([DM, "thin", "check", "meta"])[0], run(["thin_check", "meta"])[0])
if MODE == "thin":
    for case in range(N):
        img, note = damage(base, 4096, used, R.random() < 0.8)
        open("cur", "wb").write(img)
        c, o = run([DM, "thin", "check", "cur"])
        d, x = run([DM, "thin", "dump", "cur"])
        deb, do = run(["thin_check", "cur"])
        count(f"check {c}")
        count(f"dump {d}")
        count(f"debian {deb}")
        if c == 0 and deb not in (0, "TIMEOUT"):
            report(f"dmlab accepts what thin_check rejects {note}", do)
            count("ACCEPTS MORE")
        if os.path.exists("cur.out"):
            os.remove("cur.out")
        open("cur.out", "wb").truncate(4 << 20)
        r, ro = run([DM, "thin", "repair", "-i", "cur", "-o", "cur.out"])
        count(f"repair {r}")
        if r == 0:
            c2, o2 = run([DM, "thin", "check", "cur.out"])
            d2, x2 = run(["thin_check", "cur.out"])
            if c2 or d2:
                report(f"repair says 0, check {c2} thin_check {d2} {note}", ro + o2)
        if d == 0:
            open("cur.xml", "wb").write(x)
            open("cur.out2", "wb").truncate(4 << 20)
            r2, o2 = run([DM, "thin", "restore", "-i", "cur.xml", "-o", "cur.out2"])
            count(f"restore of dump {r2}")
            if r2 == 0:
                c3, o3 = run([DM, "thin", "check", "cur.out2"])
                if c3:
                    report(f"restore says 0, check {c3} {note}", o3)
        if case % 4 == 0:
            for cmd in (
                ["ls"],
                ["stat"],
                ["tree"],
                ["map"],
                ["rmap", "--region", "0..100"],
                ["delta", "--thin1", "0", "--thin2", "10"],
            ):
                k, _ = run([DM, "thin", cmd[0], "cur"] + (["0"] if cmd[0] == "map" else cmd[1:]))
                count(f"{cmd[0]} {k}")
            shutil.copy("cur", "cur.fix")
            f, _ = run([DM, "thin", "check", "--fix-leaks", "cur.fix"])
            count(f"fix {f}")
            if f == 0:
                c4, o4 = run([DM, "thin", "check", "cur.fix"])
                if c4:
                    report(f"fix-leaks says 0, check {c4} {note}", o4)
elif MODE == "thinrun":
    for case in range(N):
        img, note = damage(base, 4096, used, R.random() < 0.9)
        open("cur", "wb").write(img.ljust(4 << 20, b"\0"))
        a = R.choice(["1 error_if_no_space", "2 error_if_no_space read_only", "2 error_if_no_space skip_block_zeroing"])
        rc, out = run(
            [
                DM,
                "run",
                "--ram",
                "2",
                "--ram-size",
                "128",
                "--disk",
                "cur",
                "--",
                "sh",
                "-c",
                "A='%s'\n%s" % (a, POOLRUN),
            ]
        )
        count(f"rc {rc}")
        if case % 3 == 0:
            k, o = run([DM, "thin", "check", "cur"])
            count(f"check after {k}")
elif MODE == "snap":
    mk = lambda s: subprocess.run([DM, "run", "--ram-size", "64", "--", "sh", "-c", s], check=True, capture_output=True)
    bases = []
    for kind_, ch in (("P", 8), ("P", 32), ("PO", 8)):
        open("cow", "wb").truncate(16 << 20)
        mk(
            f"""set -e; losetup /dev/loop0 cow; dmsetup create o --table "0 65536 snapshot-origin /dev/ram0"; dmsetup create s --table "0 65536 snapshot /dev/ram0 /dev/loop0 {kind_} {ch}"
for i in 1 5 9 40 77 100 101 102 103 200; do dd if=/dev/urandom of=/dev/mapper/o bs=4k seek=$i count=1 oflag=direct status=none; dd if=/dev/urandom of=/dev/mapper/s bs=4k seek=$((i*3)) count=2 oflag=direct status=none; done; dd if=/dev/zero of=/dev/mapper/s bs=4k seek=1000 count=300 oflag=direct status=none; dmsetup remove s; dmsetup remove o; losetup -d /dev/loop0"""
        )
        bases.append((open("cow", "rb").read(), kind_, ch))
    for case in range(N):
        b, k, ch = R.choice(bases)
        head = [0, 0, 1, 1, 1, 2, 3, 4, 130, 258] if ch == 8 else [0, 0, 4, 4, 5, 6, 7, 8, 12]
        img = bytearray(b)
        for _ in range(R.choice([1, 1, 2, 4])):
            n = R.choice(head)
            o = n * 4096 + R.choice([R.randrange(16), R.randrange(256), R.randrange(4096)])
            w = R.randrange(4)
            if w == 0:
                img[o] ^= 1 << R.randrange(8)
            elif w == 1:
                o &= ~7
                img[o : o + 8] = struct.pack(
                    "<Q", R.choice([0, 1, 2, 3, 2**64 - 1, 2**63, 2**56, 2**32, R.randrange(5000), R.getrandbits(64)])
                )
            elif w == 2:
                img[n * 4096 : (n + 1) * 4096] = R.choice([bytes(4096), R.randbytes(4096), bytes(img[4096:8192])])
            else:
                o &= ~3
                img[o : o + 4] = struct.pack(
                    "<I", R.choice([0, 1, 2, 8, 2**31, 2**32 - 1, 0x70416E53, 2**20, 2**14, R.getrandbits(32)])
                )
        open("cur", "wb").write(img if R.random() > 0.05 else img[: R.randrange(1, len(img) // 512) * 512])
        m = R.choice(["snapshot", "snapshot", "snapshot-merge"])
        rc, out = run(
            [
                DM,
                "run",
                "--ram",
                "1",
                "--ram-size",
                "64",
                "--disk",
                "cur",
                "--",
                "sh",
                "-c",
                f"""dmsetup create o --table "0 65536 snapshot-origin /dev/ram0"; dmsetup create s --table "0 65536 {m} /dev/ram0 /dev/vda {k} {ch}" || exit 3
dd if=/dev/mapper/s of=/dev/null bs=1M iflag=direct status=none; dd if=/dev/zero of=/dev/mapper/s bs=4k count=40 seek=7 oflag=direct status=none; dd if=/dev/zero of=/dev/mapper/o bs=4k count=20 seek=90 oflag=direct status=none; dmsetup status; sleep 0.05; dmsetup table; dmsetup remove s; dmsetup remove o; dmsetup ls""",
            ]
        )
        count(f"{m} rc {rc}")
elif MODE == "mirror":
    open("log", "wb").truncate(1 << 20)
    S = """dmsetup create m --table "0 65536 mirror disk 3 %s 128 %s 2 /dev/ram0 0 /dev/ram1 0 1 handle_errors" || exit 3
dd if=/dev/zero of=/dev/mapper/m bs=64k count=20 oflag=direct status=none; dd if=/dev/mapper/m of=/dev/null bs=1M count=8 iflag=direct status=none; dmsetup status; dmsetup suspend m; dmsetup resume m; dmsetup table; dmsetup remove m; dmsetup ls"""
    subprocess.run(
        [DM, "run", "--ram-size", "64", "--disk", "log", "--", "sh", "-c", S % ("/dev/vda", "sync")],
        capture_output=True,
    )
    b = open("log", "rb").read()
    for case in range(N):
        img = bytearray(b)
        for _ in range(R.choice([1, 1, 2, 3])):
            o = R.choice([0, 4, 8, 12, 16, R.randrange(512), 1024 + R.randrange(64), R.randrange(8192)])
            img[o : o + 8] = struct.pack("<Q", R.choice([0, 1, 2, 2**64 - 1, 2**63, 2**32 - 1, 512, R.getrandbits(64)]))
        open("cur", "wb").write(img if R.random() > 0.1 else img[: R.choice([512, 1024, 1536, 4096])])
        rc, out = run(
            [
                DM,
                "run",
                "--ram",
                "2",
                "--ram-size",
                "64",
                "--disk",
                "cur",
                "--",
                "sh",
                "-c",
                S % ("/dev/vda", R.choice(["sync", "nosync", "block_on_error"])),
            ]
        )
        count(f"rc {rc}")
elif MODE == "logw":
    open("log", "wb").truncate(16 << 20)
    subprocess.run(
        [
            DM,
            "run",
            "--ram-size",
            "64",
            "--disk",
            "log",
            "--",
            "sh",
            "-c",
            """dmsetup create l --table "0 65536 log-writes /dev/ram0 /dev/vda"; for i in 1 2 3 4 5 6; do dd if=/dev/urandom of=/dev/mapper/l bs=4k seek=$i count=3 oflag=direct conv=fsync status=none; dmsetup message l 0 mark m$i; done; blkdiscard -o 8192 -l 65536 /dev/mapper/l; dmsetup remove l""",
        ],
        capture_output=True,
    )
    b = open("log", "rb").read()
    b = b[: (len(b.rstrip(b"\0")) // 65536 + 2) * 65536]
    print("log", len(b))
    open("good", "wb").write(b)
    n0 = len(b.rstrip(b"\0")) // 512 + 1
    for case in range(N):
        img = bytearray(b)
        n = len(img) // 512
        for _ in range(R.choice([1, 1, 2, 3])):
            s = R.choice([0, 0] + list(range(n0)))
            o = s * 512 + R.choice([0, 8, 16, 24, 32, R.randrange(64), R.randrange(512)])
            img[o : o + 8] = struct.pack(
                "<Q",
                R.choice([0, 1, 2, 4, 8, 2**64 - 1, 2**63, 2**32, 2**55, 65535, R.getrandbits(64), R.randrange(1000)]),
            )[: max(0, len(img) - o)]
        if R.random() < 0.15:
            del img[R.randrange(len(img)) :]
        open("cur", "wb").write(img)
        k, _ = run([DM, "replay-log", "--log", "cur", "--list"])
        count(f"list {k}")
        if os.path.exists("cur.disk"):
            os.remove("cur.disk")
        open("cur.disk", "wb").truncate(32 << 20)
        k, o = run([DM, "replay-log", "--log", "cur", "--replay", "cur.disk", "-v"])
        count(f"replay {k}")
        if os.path.getsize("cur.disk") > 32 << 20:
            report("replay grew the disk to %d" % os.path.getsize("cur.disk"), o)
        if case % 5 == 0:
            for a in (["--num-entries"], ["--find", "--next-fua"], ["--find", "--end-mark", "m3"]):
                k, _ = run([DM, "replay-log", "--log", "cur"] + a)
                count(f"{a[0]} {k}")
elif MODE == "faults":
    KEYS = [
        "device",
        "op",
        "nth",
        "fail",
        "every",
        "after",
        "sectors",
        "delay",
        "hold",
        "drop",
        "tear",
        "chance",
        "ioctl",
        "meaning",
        "kill",
        "times",
        "from",
        "until",
        "corrupt",
        "where",
        "on",
        "x" * 50,
    ]
    VALS = [
        '"/dev/ram0"',
        '"write"',
        '"read"',
        '"EIO"',
        "1",
        "-1",
        "0",
        "1.5",
        "1e400",
        "true",
        '"1s"',
        '"-1s"',
        '"99999999999999999999s"',
        '"0..10"',
        '"10..0"',
        '"any"',
        '"any ioctl"',
        '"superblock"',
        "[]",
        "[1,2]",
        '["a"]',
        "{a=1}",
        "18446744073709551616",
        "9223372036854775807",
        '""',
        '"\\u0000"',
        "2020-01-01",
        '"1ms..2ms"',
        "nan",
        "inf",
        '"table_load"',
        '"dev_suspend"',
        '"50%"',
        '"*"',
    ]
    for case in range(N):
        if R.random() < 0.7:
            t = "\n".join(
                "[[fault]]\n" + "\n".join(f"{R.choice(KEYS)} = {R.choice(VALS)}" for _ in range(R.randrange(1, 6)))
                for _ in range(R.choice([1, 1, 2]))
            )
        elif R.random() < 0.5:
            t = '[[fault]]\ndevice = "/dev/ram0"\nop = "write"\nnth = 2\nfail = "EIO"\n'
            i = R.randrange(len(t))
            t = t[:i] + chr(R.randrange(1, 300)) * R.choice([1, 1, 200]) + t[i + R.randrange(4) :]
        else:
            t = "".join(R.choice("[]{}=\"'\n\\.#,a1 -_") for _ in range(R.randrange(300)))
        if R.random() < 0.02:
            t = R.choice(
                [
                    "[" * 100000,
                    "a=" + "[" * 100000,
                    "[a" + ".a" * 50000 + "]",
                    "a={" * 20000,
                    '[[fault]]\nfail="' + "E" * 2000000 + '"',
                ]
            )
        open("cur.toml", "w").write(t)
        rc, o = run([DM, "run", "--ram", "1", "--ram-size", "16", "--faults", "cur.toml", "--", "true"])
        count(f"rc {rc}")
elif MODE == "replay":
    subprocess.run(
        [
            DM,
            "record",
            "-o",
            "good",
            "--ram-size",
            "16",
            "--",
            "sh",
            "-c",
            """dmsetup create a --table "0 64 linear /dev/ram0 0"; dd if=/dev/zero of=/dev/mapper/a bs=4096 count=2 oflag=direct status=none; dmsetup create p --table "0 2048 thin-pool /dev/ram1 /dev/ram2 128 0"; dmsetup message p 0 "create_thin 0"; dmsetup create t --table "0 2048 thin /dev/mapper/p 0"; dd if=/dev/zero of=/dev/mapper/t bs=64k count=2 oflag=direct status=none; sleep 1; dmsetup table; dmsetup remove a; dmsetup remove t; truncate -s 1M f; losetup /dev/loop0 f; dd if=/dev/zero of=/dev/loop0 bs=4k count=2 status=none; losetup -d /dev/loop0""",
        ],
        capture_output=True,
    )
    b = open("good", "rb").read()
    import zlib

    nl = b.index(b"\n") + 1
    print(b[:nl], len(b))
    body = None
    for wb in (15, 31, -15):
        try:
            body = zlib.decompressobj(wb).decompress(b[nl:])
            break
        except zlib.error:
            pass
    print("packed with", wb, "plain", body and len(body))

    def pack(x):
        c = zlib.compressobj(6, zlib.DEFLATED, wb)
        return b[:nl] + c.compress(x) + c.flush()

    for case in range(N):
        if body and R.random() < 0.85:
            x = bytearray(body)
            for _ in range(R.choice([1, 1, 2, 5])):
                o = R.randrange(len(x))
                w = R.randrange(5)
                if w == 0:
                    x[o] ^= 1 << R.randrange(8)
                elif w == 1:
                    x[o:o] = R.choice(
                        [
                            b"\xff" * 9 + b"\1",
                            R.randbytes(5),
                            b"\xff\xff\xff\xff\x0f",
                            b"\xff\xff\xff\xff\xff\xff\xff\x7f",
                        ]
                    )
                elif w == 2:
                    del x[o : o + R.randrange(1, 30)]
                elif w == 3:
                    x[o] = R.choice([0, 1, 127, 128, 255])
                else:
                    l = R.randrange(200)
                    q = R.randrange(len(x))
                    x[o:o] = x[q : q + l]
            img = pack(bytes(x))
        else:
            img = bytearray(b)
            o = R.randrange(len(img))
            img[o] = R.randrange(256)
            img = bytes(img[: R.choice([len(img), len(img), R.randrange(len(img))])])
        open("cur", "wb").write(img)
        k, o = run([DM, "replay", "cur"])
        count(f"replay {k}")
        k, o = run([DM, "replay", "--list", "cur"])
        count(f"list {k}")
elif MODE == "xml":
    rc, x = run([DM, "thin", "dump", "meta"])
    x = x.decode()
    lines = x.split("\n")
    print("xml", len(x))
    for case in range(N):
        L = list(lines)
        for _ in range(R.choice([1, 1, 2, 3])):
            if not L:
                break
            i = R.randrange(len(L)) if R.random() < 0.6 else R.randrange(min(4, len(L)))
            w = R.randrange(7)
            if w == 0:
                del L[i]
            elif w == 1:
                L.insert(i, R.choice(L))
            elif w == 2:
                p = L[i].split('"')
                if len(p) > 2:
                    j = R.randrange(len(p) // 2) * 2 + 1
                    p[j] = R.choice(
                        [
                            "0",
                            "-1",
                            "18446744073709551615",
                            "18446744073709551616",
                            "",
                            "x",
                            "4294967296",
                            "1e3",
                            "0x10",
                            " 1",
                            "16777216",
                            "281474976710656",
                            "99999999999",
                        ]
                    )
                    L[i] = '"'.join(p)
            elif w == 3 and L[i]:
                k = R.randrange(len(L[i]))
                L[i] = L[i][:k] + R.choice('<>"/&;x\0\u00e9') + L[i][k + R.randrange(2) :]
            elif w == 4:
                L[i] = L[i].replace("device", "devic").replace("mapping", R.choice(["mapping", "map", "def", "ref"]))
            elif w == 5:
                L = L[:i]
            else:
                L.insert(
                    i,
                    R.choice(
                        [
                            '<!DOCTYPE a [<!ENTITY b "' + "x" * 1000 + '">]>',
                            '<device dev_id="0" mapped_blocks="0" transaction="0" creation_time="0" snap_time="0">',
                            "</device>",
                            "</superblock>",
                            '<ref name="a"/>',
                            '<def name="a"><ref name="a"/></def>',
                            '<def name="a">',
                            '<range_mapping origin_begin="0" data_begin="0" length="18446744073709551615" time="0"/>',
                            '<range_mapping origin_begin="0" data_begin="0" length="100000000" time="0"/>',
                            '<single_mapping origin_block="5" data_block="5" time="0"/>',
                            "<!--",
                            "<a " + 'b="c" ' * 1000 + "/>",
                            "<d>" * 3000,
                        ]
                    ),
                )
        open("cur.xml", "w").write("\n".join(L) if L else "")
        if os.path.exists("cur.out"):
            os.remove("cur.out")
        open("cur.out", "wb").truncate(4 << 20)
        r, o = run([DM, "thin", "restore", "-i", "cur.xml", "-o", "cur.out"])
        count(f"restore {r}")
        if r == 0:
            c, o = run([DM, "thin", "check", "cur.out"])
            d, o2 = run(["thin_check", "cur.out"])
            if c or d:
                report(f"restore says 0, check {c}, thin_check {d}", o + o2)
elif MODE == "tables":
    machine = Machine(DM, verdict, "--ram-size", "16")
    tg = [
        l.split()[0]
        for l in subprocess.run(
            [DM, "targets"] + ["--machine", machine.name], capture_output=True, text=True
        ).stdout.split("\n")
        if l.strip()
    ]
    print("targets", tg)
    good = {
        "linear": "/dev/ram0 0",
        "striped": "2 8 /dev/ram0 0 /dev/ram1 0",
        "thin-pool": "/dev/ram0 /dev/ram1 128 0 2 read_only no_discard_passdown",
        "thin": "/dev/mapper/p 0",
        "snapshot": "/dev/ram0 /dev/ram1 P 8 1 discard_zeroes_cow",
        "snapshot-origin": "/dev/ram0",
        "snapshot-merge": "/dev/ram0 /dev/ram1 P 8",
        "mirror": "core 2 128 nosync 2 /dev/ram0 0 /dev/ram1 0 1 handle_errors",
        "multipath": "1 queue_if_no_path 0 2 1 round-robin 0 1 1 /dev/ram0 10 queue-length 0 1 1 /dev/ram1 3",
        "flakey": "/dev/ram0 0 1 2 5 corrupt_bio_byte 32 r 1 0",
        "delay": "/dev/ram0 0 10 /dev/ram1 0 20 /dev/ram2 0 30",
        "switch": "3 4 0 /dev/ram0 0 /dev/ram1 0 /dev/ram2 0",
        "unstriped": "2 8 0 /dev/ram0 0",
        "log-writes": "/dev/ram0 /dev/ram1",
        "dust": "/dev/ram0 0 4096",
        "ebs": "/dev/ram0 0 8 1",
    }
    words = [
        "/dev/ram0",
        "/dev/ram7",
        "/dev/mapper/p",
        "1:0",
        "254:0",
        "0",
        "1",
        "2",
        "-1",
        "8",
        "128",
        "4294967296",
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775808",
        "P",
        "N",
        "PO",
        "core",
        "disk",
        "nosync",
        "x",
        "",
        "65536",
        "67108864",
        "4294967295",
        "queue_if_no_path",
        "handle_errors",
        "/dev/mapper/r",
        "1000000",
        "service-time",
        "round-robin",
        "/dev/mapper/control",
        "/etc/passwd",
        "\u00e9" * 30,
        "a" * 3000,
        "1" * 40,
    ]
    for case in range(N):
        ls = []
        for _ in range(R.choice([1, 1, 1, 2, 3])):
            t = R.choice(tg)
            p = good.get(t, "").split()
            for _ in range(R.choice([0, 1, 1, 2, 4])):
                w = R.randrange(4)
                i = R.randrange(len(p) + 1)
                if w == 0:
                    p.insert(i, R.choice(words))
                elif w == 1 and p:
                    del p[R.randrange(len(p))]
                elif p:
                    p[R.randrange(len(p))] = R.choice(words)
            ls.append(
                f"{R.choice(['0', '0', '0', '64', '18446744073709551615'])} {R.choice(['64', '64', '1', '32768', '0', '9223372036854775807', '36028797018963967', '18446744073709551615'])} {t} {' '.join(p)}"
            )
        rc, o = run(
            [
                DM,
                "create",
                "r",
                "--machine",
                machine.name,
                "--table",
                (
                    "\n".join(ls)
                    if R.random() > 0.03
                    else R.choice(
                        [
                            "0 64 linear /dev/ram0 0\n" * 3000,
                            "0 64 linear " + "x" * 100000,
                            "0 64 zero\n" + "64 64 zero\n" * 2,
                        ]
                    )
                ),
            ]
        )
        count(f"create {rc}")
        if rc == 0:
            if R.random() < 0.3:
                run([DM, "io", "--machine", machine.name, "read", "/dev/mapper/r", "--sector", "0", "--count", "1"])
            rc2, o = run([DM, "remove", "--machine", machine.name, "r"])
            count(f"remove {rc2}")
            if rc2:
                report(f"remove {rc2} {ls}", o)
    rc, o = run([DM, "ls", "--machine", machine.name])
    if rc or o.strip() not in (b"", b"No devices found"):
        report("devices are left", o)
    machine.end()
print(dict(sorted(stats.items(), key=lambda x: -x[1])))
os.chdir("/")
if not verdict.found:
    shutil.rmtree(W)
verdict.end(f"{case + 1} cases")

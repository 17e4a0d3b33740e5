#!/usr/bin/env python3
"""programs.py DMLAB SEED COUNT: COUNT programs at once on one machine, each of which knows what it must see; then some that make,
rename and remove the same names; then fio verifies what it wrote while tables are suspended, loaded and resumed."""

import random
import shutil
import sys
import tempfile

from machine import Machine, Verdict

SETUP = """set -e
dmsetup create pool --table "0 524288 thin-pool /dev/ram0 /dev/ram1 128 0 1 error_if_no_space"
for i in 0 1; do
    dmsetup message pool 0 "create_thin $i"
    dmsetup create t$i --table "0 262144 thin /dev/mapper/pool $i"
done
dmsetup create org --table "0 131072 snapshot-origin /dev/ram2"
dmsetup create snp --table "0 131072 snapshot /dev/ram2 /dev/ram3 P 8"
dmsetup create mir --table "0 131072 mirror core 2 128 nosync 2 /dev/ram4 0 /dev/ram5 0"
"""
# What is written comes back, whatever the others do.
WRITER = """head -c 262144 /dev/urandom >w{i}
dd if=w{i} of=/dev/mapper/{device} bs=4k seek={at} {how} status=none
dd if=/dev/mapper/{device} of=r{i} bs=4k skip={at} count=64 iflag=direct status=none
cmp w{i} r{i} || echo "WRONG {i}: {device} {at}"; rm -f w{i} r{i}"""
MAKER = """for k in 1 2 3 4; do
    dmsetup create c{i} --table "0 1024 linear /dev/ram6 {start}" && dmsetup status c{i} >/dev/null && dmsetup remove c{i} \\
        || echo "WRONG {i}"
done"""
LOOKER = "{ dmsetup ls --tree; dmsetup info -c; ls -l /dev/mapper /sys/block; } >/dev/null"
SAME = """for k in $(seq 1 {rounds}); do
    dmsetup create same$((k%3)) --table "0 1024 linear /dev/ram6 0"
    dmsetup remove same$((k%3)); dmsetup rename same$((k%3)) same$(((k+1)%3))
done >/dev/null 2>&1"""
FIO = """[global]
ioengine=psync
direct=1
bs=4k
rw=randwrite
verify=crc32c
verify_fatal=1
do_verify=1
size={size}m
randseed={seed}
[thin]
filename=/dev/mapper/t1
numjobs=2
offset_increment=16m
[buffered]
filename=/dev/mapper/t1
offset=64m
direct=0
fsync=16
[origin]
filename=/dev/mapper/org
[mirror]
filename=/dev/mapper/mir
"""
SUSPENDS = """fio job --output=fio.out & F=$!
n=0
while kill -0 $F 2>/dev/null; do
    for d in t1 org snp mir pool; do
        timeout 60 dmsetup suspend $d || echo "WRONG suspend $d"
        case $d in
        t1) dmsetup load t1 --table "0 262144 thin /dev/mapper/pool 1" && dmsetup message pool 0 "create_snap $((100+n)) 1";;
        mir) dmsetup load mir --table "0 131072 mirror core 2 128 nosync 2 /dev/ram4 0 /dev/ram5 0";;
        org) dmsetup load org --table "0 131072 snapshot-origin /dev/ram2";;
        esac || echo "WRONG load $d"
        timeout 60 dmsetup resume $d || echo "WRONG resume $d"
        n=$((n+1))
    done
done
wait $F || { echo "WRONG fio: $?"; cat fio.out; }
echo "$n suspends"
"""
CLEAN = """for d in snp org mir t0 t1 pool; do dmsetup remove $d || echo "WRONG: $d is left"; done
for k in 0 1 2; do dmsetup remove same$k; done 2>/dev/null
dmsetup ls | grep -v "^No devices found"; ls /dev/mapper | grep -v ^control; ls /dev | grep ^dm-
dd if=/dev/ram0 of=meta bs=1M status=none; thin_check -q meta || echo "WRONG metadata"
cmp -n 67108864 /dev/ram4 /dev/ram5 || echo "WRONG legs"
true"""


def main():
    dmlab, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    verdict, chance = Verdict("programs", seed), random.Random(f"programs {seed}")
    folder = tempfile.mkdtemp(prefix="dmlab-attack-programs-")
    machine = Machine(dmlab, verdict, "--ram-size", "256")

    def must(what, script, patience=120):
        status, output = machine.run(f"cd {folder}\n{script}", patience)
        if status != 0 or "WRONG" in output:
            verdict.harm(f"{what}: status {status}", output)
        return output

    must("setup", SETUP)
    # Who writes has a place of its own.
    places = {device: list(range(0, 16384 - 64, 64)) for device in ("t0", "org", "mir")}
    jobs = []
    for i in range(count):
        what = chance.randrange(5)
        if what == 0:
            jobs.append(MAKER.format(i=i, start=i % 256 * 1024))
        elif what == 1:
            jobs.append(LOOKER)
        else:
            device = chance.choice(list(places))
            at = places[device].pop(chance.randrange(len(places[device])))
            how = chance.choice(["oflag=direct", "conv=fsync", "oflag=dsync", ""])
            jobs.append(WRITER.format(i=i, device=device, at=at, how=how or "conv=notrunc"))
    for begin in range(0, len(jobs), 80):
        script = "".join(f"(\n{job}\n) &\n" for job in jobs[begin : begin + 80])
        must("programs at once", script + "wait")
        print(f"{min(begin + 80, len(jobs))} programs", flush=True)
    must("the same names", "".join(f"(\n{SAME.format(rounds=count // 4)}\n) &\n" for _ in range(3)) + "wait", 300)
    with open(f"{folder}/job", "w", encoding="utf-8") as job:
        job.write(FIO.format(seed=seed, size=min(max(count // 40, 1), 15)))
    print(must("fio", SUSPENDS, 300).strip().splitlines()[-1:], flush=True)
    leftovers = must("clean", CLEAN)
    if leftovers.strip():
        verdict.harm("something is left", leftovers)
    machine.end()
    shutil.rmtree(folder)
    verdict.end(f"{count} programs")


main()

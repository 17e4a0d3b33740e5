# The events that the kernel sends to user space, with their variables in their order.
# The same script runs on Linux 6.12 (recorded beside it) and on the simulated kernel. EVENTS prints all events so far.
export DM_DISABLE_UDEV=1
seen=$(eval "$EVENTS" | wc -l)
# Does what it is told, then shows the events of it. Sequence numbers go, and disks count from the script's first.
step() {
  echo "$ $*"
  "$@" 2>/dev/null || echo "rc=$?"
  eval "$EVENTS" | tail -n +$((seen + 1)) >events
  seen=$((seen + $(wc -l <events)))
  [ -n "$first" ] || first=$(sed -n 's/.*DISKSEQ=\([0-9]*\).*/\1/p;' events | head -n 1)
  awk -v first="${first:-0}" '{
    for (i = 1; i <= NF; i++) {
      if ($i ~ /^SEQNUM=/) $i = "SEQNUM"
      if ($i ~ /^DISKSEQ=/) $i = "DISKSEQ=first+" substr($i, 9) - first
      printf "%s%s", $i, i < NF ? " " : "\n"
    }
  }' events
}
linear='0 64 linear /dev/ram0 0'
step dmsetup create n --notable
step dmsetup load n --table "$linear"
step dmsetup resume n
step dmsetup suspend n
step dmsetup resume n
step dmsetup load n --table '0 128 linear /dev/ram0 0'
step dmsetup suspend n
step dmsetup resume n
step dmsetup rename n m
step dmsetup rename --setuuid m UU
step dmsetup load m --readonly --table '0 128 linear /dev/ram0 0'
step dmsetup resume m
step dmsetup load m --table '0 64 linear /dev/ram0 0'
step dmsetup clear m
step dmsetup mknodes m
step dmsetup message m 0 hello
step dmsetup setgeometry m 1 2 3 0
step blockdev --setro /dev/mapper/m
step dmsetup load m --table '0 128 linear /dev/ram0 0'
step dmsetup resume m
step blockdev --setro /dev/mapper/m
step blockdev --setrw /dev/mapper/m
step dmsetup remove m
step dmsetup create a --table "$linear"
step dmsetup create b --table '0 64 linear /dev/mapper/a 0'
step dmsetup remove --deferred a
step dmsetup remove b
step dmsetup create e --table '0 64 error'
step dmsetup create f --notable
step dmsetup create g --readonly --table "$linear"
step dmsetup remove_all
step dmsetup create h --notable
step dmsetup load h --table '0 64 zero'
step dmsetup remove h
step dmsetup create i --table '0 64 nosuchtarget'
step dmsetup create j --readonly --table "$linear"
step dmsetup load j --table "$linear"
step dmsetup resume j
step dmsetup resume j
step dmsetup resume nobody
step dmsetup create meta --table '0 8192 linear /dev/ram1 0'
step dd if=/dev/zero of=/dev/mapper/meta bs=4k count=1
step dmsetup create pool --table '0 1024 thin-pool /dev/mapper/meta /dev/ram2 128 7'
step dmsetup message pool 0 'create_thin 0'
step dmsetup create thin --table '0 1024 thin /dev/mapper/pool 0'
step dd if=/dev/zero of=/dev/mapper/thin bs=64k count=3 oflag=direct
step dmsetup remove thin
step dmsetup remove pool

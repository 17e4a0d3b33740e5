# Run in the reference machine: LVM repairs a pool's metadata with thin_repair 0.9, then the pool is used.
export LVM_SUPPRESS_FD_WARNINGS=1
mkdir -p /etc/lvm; cat > /etc/lvm/lvm.conf <<'C'
devices { dir="/dev" scan=["/dev"] filter=["a|/dev/ram[01]$|","r|.*|"] use_devicesfile=0 }
activation { udev_sync=0 udev_rules=0 monitoring=0 }
global { use_lvmpolld=0 thin_check_executable="/usr/sbin/thin_check" thin_repair_executable="/usr/sbin/thin_repair" thin_dump_executable="/usr/sbin/thin_dump" }
backup { backup=0 archive=0 }
C
{
lvm pvcreate /dev/ram0
lvm vgcreate vg /dev/ram0
lvm lvcreate -L 64M --poolmetadatasize 4M --chunksize 64k -T vg/pool
lvm lvcreate -V 100M -T vg/pool -n a
dd if=/dev/zero of=/dev/mapper/vg-a bs=64k count=300 conv=notrunc,fsync oflag=direct
lvm lvcreate -s -n b vg/a
lvm lvchange -ay -K vg/b
dd if=/dev/zero of=/dev/mapper/vg-b bs=64k count=20 seek=30 conv=notrunc,fsync oflag=direct
lvm vgchange -an vg
lvm lvconvert -y --repair vg/pool
lvm lvchange -ay vg/pool
lvm lvchange -ay -K vg/a
dmsetup ls
dd if=/dev/zero of=/dev/mapper/vg-a bs=64k count=40 seek=500 conv=notrunc,fsync oflag=direct
lvm lvchange -an vg/a
dmsetup suspend vg-pool-tpool; sync; echo 3 >/proc/sys/vm/drop_caches; cat /dev/mapper/vg-pool_tmeta >/job/out/lv-repaired.img; dmsetup resume vg-pool-tpool
lvm lvs -a vg
} 2>&1

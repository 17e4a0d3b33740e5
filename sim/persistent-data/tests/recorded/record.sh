# Makes the images here: run as root by a Linux with cache, era and clone, eight RAM disks of 128 MiB and this folder at OUT.
modprobe dm-cache; modprobe dm-cache-smq; modprobe dm-era; modprobe dm-clone
write() { dd if=/dev/zero of="$1" bs="$2" seek="$3" count=1 oflag=direct 2>/dev/null; }
image() { dd if="/dev/mapper/$1" bs=4096 2>/dev/null | gzip -9n >"${OUT:-/job/out}/$2.gz"; }

# A cache of 1200 blocks: 10 mapped and clean, 40 blocks of the origin discarded.
dmsetup create meta --table "0 1024 linear /dev/ram0 0"
dmsetup create fast --table "0 $((1200 * 64)) linear /dev/ram1 0"
dmsetup create c --table "0 $((2500 * 64)) cache /dev/mapper/meta /dev/mapper/fast /dev/ram2 64 2 metadata2 writeback smq 0"
for block in 3 900 17 1800 2499 4 5 6 7 1000; do write /dev/mapper/c 32768 $block; done
blkdiscard -o $((100 * 32768)) -l $((40 * 32768)) /dev/mapper/c
sleep 1
dmsetup suspend c
dmsetup resume c
sleep 1
dmsetup remove c
image meta cache

# An era device of 2500 blocks: five written in era 1, five in era 2.
dmsetup create em --table "0 1024 linear /dev/ram3 0"
dmsetup create e --table "0 $((2500 * 64)) era /dev/mapper/em /dev/ram2 64"
for block in 3 900 17 1800 2499; do write /dev/mapper/e 32768 $block; done
dmsetup message e 0 checkpoint
for block in 64 65 127 128 2400; do write /dev/mapper/e 32768 $block; done
dmsetup message e 0 checkpoint
sleep 2
dmsetup remove e
image em era

# A clone of 2048 regions: seven copied.
dmsetup create lm --table "0 1024 linear /dev/ram4 0"
dmsetup create cl --table "0 16384 clone /dev/mapper/lm /dev/ram5 /dev/ram6 8 1 no_hydration"
for region in 3 900 17 63 64 65 2047; do write /dev/mapper/cl 4096 $region; done
dmsetup remove cl
image lm clone

# What an era device's array is after its device got other lengths, one after the other: resized-LENGTH-LENGTH.
for lengths in "900 950" "900 3000" "1018 1500" "1500 1018" "1500 1018 3000" "2036 1018" "2036 1500" "3000 1" "3000 1018" \
  "3000 2036" "3000 2036 1000" "3000 2036 1500" "3000 2036 2500" "3000 2036 5000" "3000 2500" "3000 3054" "4000 1018" "4000 1500"; do
  dd if=/dev/zero of=/dev/mapper/em bs=4096 2>/dev/null
  for length in $lengths; do
    dmsetup create e --table "0 $((length * 64)) era /dev/mapper/em /dev/ram2 64"
    dmsetup remove e
  done
  image em "resized-$(echo $lengths | tr ' ' -)"
done

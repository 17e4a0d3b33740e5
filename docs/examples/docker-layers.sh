#!/bin/sh
# Docker's device mapper driver in its loop-lvm form, by hand: a pool on two sparse files, a base device with ext4,
# image layers as snapshots of snapshots, a container on top, deletion giving space back, and a pool that is grown.
#
#   dmlab run -- sh docs/examples/docker-layers.sh
#
# Needs dmsetup, losetup and e2fsprogs. For the direct-lvm form give two block devices instead of the files:
#
#   dmlab run -- sh docs/examples/docker-layers.sh /dev/ram0 /dev/ram1
set -eu
say() { printf '\n# %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
quietly() { "$@" >/dev/null 2>&1; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
if [ $# -eq 2 ]; then
  meta=$1 data=$2
else
  say "Two sparse files, large to look at, and loop devices on them"
  truncate -s 64M "$dir/metadata"
  truncate -s 2G "$dir/data"
  meta=$(losetup -f --show "$dir/metadata")
  data=$(losetup -f --show "$dir/data")
  run losetup -l -n -O NAME,SIZELIMIT,RO
fi
blocks() { dmsetup status pool | awk '{ split($6, used, "/"); print used[1] }'; }

say "A pool of 64 MiB in blocks of 64 KiB; zeroing is skipped, as Docker skips it"
run dmsetup create pool --table "0 131072 thin-pool $meta $data 128 64 1 skip_block_zeroing"

say "The base device: 10 GiB with ext4, made once for all images"
run dmsetup message pool 0 "create_thin 0"
run dmsetup create base --table "0 20971520 thin /dev/mapper/pool 0"
run mkfs.ext4 -q -E nodiscard,lazy_itable_init=1,lazy_journal_init=1 -O ^has_journal -i 1048576 /dev/mapper/base
base_blocks=$(blocks)
echo "10 GiB to look at, $((base_blocks * 64)) KiB taken"

layer() { # NAME ID PARENT PARENT_ID FILE TEXT: a layer on top of another, with one more file
  say "Layer $1: a snapshot of $3 with the file $5"
  run dmsetup suspend "$3"
  run dmsetup message pool 0 "create_snap $2 $4"
  run dmsetup resume "$3"
  run dmsetup create "$1" --table "0 20971520 thin /dev/mapper/pool $2"
  printf '%s\n' "$6" >"$dir/$5"
  quietly debugfs -w -R "write $dir/$5 $5" "/dev/mapper/$1"
}
layer image 1 base 0 os "an operating system"
layer app 2 image 1 app "a program"
layer container 3 app 2 state "what the container wrote"

say "The container sees all layers, the image only its own"
for name in base image app container; do
  printf '%-10s' "$name:"
  debugfs -R 'ls -p' "/dev/mapper/$name" 2>/dev/null | awk -F/ '$6 != "" && $6 !~ /^\./ && $6 != "lost+found" { printf " %s", $6 }'
  echo
done
debugfs -R 'cat os' /dev/mapper/container 2>/dev/null
quietly fsck.ext4 -fn /dev/mapper/container
echo "and its file system is clean"
echo "four devices of 10 GiB: $(($(blocks) - base_blocks)) blocks more than the base device alone"

say "The container goes, and so does what only it used"
before=$(blocks)
run dmsetup remove container
run dmsetup message pool 0 "delete 3"
echo "$((before - $(blocks))) blocks came back"

say "The pool is grown while it is used"
run dmsetup load pool --table "0 262144 thin-pool $meta $data 128 64 1 skip_block_zeroing"
run dmsetup resume pool
run dmsetup status pool

say "And taken down"
for name in app image base pool; do run dmsetup remove "$name"; done
[ $# -eq 2 ] || losetup -d "$meta" "$data"

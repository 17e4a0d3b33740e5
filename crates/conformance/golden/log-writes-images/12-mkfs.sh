# A file system is made; a mark before and one after.
NAME=12-mkfs
DS=16384
. ./lib.sh
start
mark empty
export E2FSPROGS_FAKE_TIME=1700000000
mkfs.ext4 -q -F -b 4096 -O ^has_journal,^resize_inode -N 64 -U 11111111-2222-3333-4444-555555555555 \
  -E lazy_itable_init=0,nodiscard,hash_seed=66666666-7777-8888-9999-aaaaaaaaaaaa $M/l >$T/mkfs 2>&1 || cat $T/mkfs
mark mkfs
wr l 4096 8384512 1 0x41
status
finish

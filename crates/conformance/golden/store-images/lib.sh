# Sourced by every NN-*.sh here. Needs: sh, dmsetup, dd, awk, sha256sum, /dev/ram0 to /dev/ram3, and the targets.
# OUT is where images go. Every write is direct, of 4 KiB or more, one after the other.
OUT=${OUT:-/job/out}
pat() { # SECTORS SEED: numbered 64-byte lines, 8 to a sector
  awk -v n="$1" -v s="$2" 'BEGIN { for (i = 0; i < n * 8; i++) printf "%-5s%058d\n", s, i }'; }
put() { # DEV KIB SEEK COUNT SEED: COUNT direct writes of KIB, from SEEK*KIB on
  pat $(($2 * $4 * 2)) "$5" | dd of=/dev/mapper/$1 bs="$2"k seek="$3" count="$4" iflag=fullblock oflag=direct conv=notrunc 2>/dev/null || echo "write failed: $*" >>$OUT/$N.status; }
hash() { dd if=/dev/mapper/$1 bs=64k iflag=direct 2>/dev/null | sha256sum | cut -c1-64; }
say() { # DEVICE...: status and table lines and what each holds
  for d in "$@"; do { echo "$d: $(dmsetup status $d)"; echo "$d: $(dmsetup table $d)"; echo "$d: $(hash $d)"; } >>$OUT/$N.status; done; }
wipe() { for r in "$@"; do dd if=/dev/zero of=/dev/$r bs=1M count=4 2>/dev/null; done; }
save() { # DEVICE [KIND]: the whole of it is the image
  dd if=/dev/mapper/$1 of=$OUT/$N${2:+.$2}.img bs=4k iflag=direct 2>/dev/null; }
swap() { dmsetup suspend --noflush $1; dmsetup load $1 --table "$2"; dmsetup resume $1; }
snapshot() { # NAME STORE CHUNK COW_SECTORS: 1 MiB of origin with data, and a snapshot of it
  N=$1; wipe ram0 ram1; rm -f $OUT/$N.status
  dmsetup create real --table '0 2048 linear /dev/ram0 0'; dmsetup create cow --table "0 $4 linear /dev/ram1 0"
  put real 64 0 2 base; put real 64 14 2 base
  dmsetup create orig --table '0 2048 snapshot-origin /dev/mapper/real'
  dmsetup create snap --table "0 2048 snapshot /dev/mapper/real /dev/mapper/cow $2 $3"
  dmsetup suspend orig; dmsetup resume orig; }
end_snapshot() { say snap orig; dmsetup remove snap; gone; }
gone() { dmsetup remove orig; save cow; save real origin; dmsetup remove cow; dmsetup remove real; }
merge() { # CHUNK: the snapshot is merged from here on
  dmsetup suspend orig; dmsetup suspend snap
  dmsetup load orig --table "0 2048 snapshot-merge /dev/mapper/real /dev/mapper/cow P $1"
  dmsetup resume orig; dmsetup remove snap; sleep 1; }
mirror() { # NAME SECTORS LOG_ARGS [FEATURES]: two legs of which the first has data
  N=$1; wipe ram0 ram1 ram2; rm -f $OUT/$N.status
  for d in 0 1; do dmsetup create leg$d --table "0 $2 linear /dev/ram$d 0"; done
  dmsetup create log --table '0 64 linear /dev/ram2 0'
  put leg0 64 0 2 lead; put leg0 64 14 2 lead
  dmsetup create m --table "0 $2 mirror disk 2 /dev/mapper/log $3 2 /dev/mapper/leg0 0 /dev/mapper/leg1 0 $4"
  sleep 1; }
end_mirror() { say m leg0 leg1; dmsetup remove m; save log; dmsetup remove log; dmsetup remove leg0; dmsetup remove leg1; }

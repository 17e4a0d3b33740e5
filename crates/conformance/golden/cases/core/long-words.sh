# Long words in tables and messages: names that are too long, and lines of the kernel log that lose their end.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
long() { printf "%$1s" | tr ' ' z; }
{
dmsetup create x --notable
for word in "$(printf 'a\303\244b')" "$(long 255)" "$(long 256)" "$(long 900)" "$(long 990)" "$(long 1100)" "$(long 4091)"; do
  for table in "0 64 linear $word 0" "0 64 linear /dev/$word 0" "0 64 linear /dev/nope/$word 0" "0 1024 mirror $word 1 64 2 1:0 0 1:1 0" "0 1024 mirror core 1 $word 2 1:0 0 1:1 0" \
    "0 1024 mirror core 2 64 $word 2 1:0 0 1:1 0" "0 1024 mirror disk 2 $word 64 2 1:0 0 1:1 0" "0 1024 snapshot 1:0 1:1 P$word 8" "0 1024 multipath 2 queue_mode bio 0 1 1 $word 0 1 1 1:0 1"; do
    dmsetup load x --table "$table"
  done
done
dmsetup load x --table '0 64 switch 2 8 0 1:0 0 1:1 0'; dmsetup resume x
dmsetup create l --table '0 64 log-writes 1:2 1:3'
dmsetup create m --table '0 64 multipath 2 queue_mode bio 0 1 1 round-robin 0 1 1 1:4 1'
for word in "$(printf 'a\303\244b')" "$(long 300)" "$(long 900)" "$(long 990)" "$(long 1100)" "$(long 3000)"; do
  dmsetup message x 0 "$word"; dmsetup message x 0 set_region_mappings "$word"
  dmsetup message l 0 "$word" b; dmsetup message l 0 mark "$word"
  dmsetup message m 0 "$word" b; dmsetup message m 0 fail_path "$word"
done
sleep 0.1; dd if=/dev/ram3 bs=4k count=4 iflag=direct 2>/dev/null | od -A d -t x1
dmsetup message x 0 short; } 2>&1 | maj

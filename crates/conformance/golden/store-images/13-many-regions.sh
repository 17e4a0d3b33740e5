# More regions than one word of bits, the last one short, and something in the rest of the log's first kilobyte.
. ./lib.sh
N=13-many-regions; wipe ram2
dmsetup create log --table '0 64 linear /dev/ram2 0'; put log 4 0 8 junk; dmsetup remove log
wipe() { for r in ram0 ram1; do dd if=/dev/zero of=/dev/$r bs=1M count=4 2>/dev/null; done; }
mirror 13-many-regions 2056 16
put m 4 256 1 last; sleep 1
end_mirror

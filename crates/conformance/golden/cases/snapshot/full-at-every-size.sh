# How much stores of small devices hold, and what they say when they are full.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
n=0
for size in 3 5 16 17 33; do
  for store in 'P 1' 'PO 2' 'N 8' 'N 1' 'P 8'; do
    case $store in *' 1') chunk=1 ;; *' 2') chunk=2 ;; *' 8') chunk=8 ;; *) chunk=16 ;; esac
    [ $size -ge $((chunk * 2)) ] && [ $size -le $((chunk * 9)) ] || continue
    dd if=/dev/zero of=/dev/ram1 bs=64k count=1 oflag=direct 2>/dev/null
    dmsetup create c --table "0 $size linear /dev/ram1 0"
    echo "? $size $store"
    dmsetup create s --table "0 200 snapshot /dev/ram0 /dev/mapper/c $store" || { dmsetup remove c; continue; }
    for place in 0 7 1 3 2 5; do
      dd if=/dev/zero of=/dev/mapper/s bs=512 seek=$((place * chunk)) count=1 oflag=direct conv=notrunc 2>/dev/null
      echo "rc=$? $(dmsetup status s)"
      case $(dmsetup status s) in *Invalid|*Overflow) n=$((n + 1)); [ $n -lt 2 ] || { n=0; break; } ;; esac
    done
    dmsetup info -c --noheadings -o events s; dmsetup remove s; dmsetup remove c
  done
done 2>&1 | maj

# Mirrors loaded, suspended, resumed, read, written and discarded while legs and log come and go, in an order of chance.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
random() { # 2016 COUNT: lines of stdin in any order, a number for each #
  awk -v s="$1" -v count="$2" '
    function draw(n) { s = (s * 16807) % 2147483647; return int(s / 7) % n }
    { base[nb++] = $0 }
    END { while (count-- > 0) { line = base[draw(nb)]; gsub(/#/, draw(8), line); print line } }'; }
live() { case $(dmsetup info -c --noheadings -o suspended,attr m 2>/dev/null) in Active:L*) ;; *) false ;; esac; }
later() { { "$@" 2>/dev/null; echo "$line rc=$?" >>later.log; } & sleep 0.1; } # it may be held
answers() { sleep 0.1; [ ! -f later.log ] || { sort later.log; rm later.log; }; }
swap() { # LEG TABLE
  dmsetup suspend --noflush $1; dmsetup load $1 --table "$2"; dmsetup resume $1; }
of() { case $1 in a) echo 4096 ram0 ;; b) echo 4096 ram1 ;; c) echo 4096 ram2 ;; l) echo 8 ram3 ;; esac; }
for d in a b c l; do set -- $d $(of $d); dmsetup create $1 --table "0 $2 linear /dev/$3 0"; done
dmsetup create m --notable
{ echo 'load core 2 512 nosync 3 /dev/mapper/a 0 /dev/mapper/b 0 /dev/mapper/c 0 1 handle_errors'; echo 'resume m'; random 2016 28; } <<'EOT' |
load core 1 512 2 /dev/mapper/a 0 /dev/mapper/b 0
load disk 3 /dev/mapper/l 512 sync 2 /dev/mapper/a 0 /dev/mapper/b 0 1 handle_errors
load disk 3 /dev/mapper/l 512 nosync 2 /dev/mapper/a 0 /dev/mapper/b 0 2 handle_errors keep_log
load disk 2 /dev/mapper/l 1024 3 /dev/mapper/a 0 /dev/mapper/b 0 /dev/mapper/c 0 2 handle_errors keep_log
suspend m
suspend --noflush m
resume m
resume m
resume m
w #
w #
w #
w #
r #
r #
d #
bad a
bad b
bad c
bad l
good a
good b
good c
good l
EOT
while read -r line; do
  echo "> $line"
  set -- $line
  case $1 in
    load) shift; dmsetup load m --table "0 4096 mirror $*" ;;
    w) ! live || later dd if=/dev/zero of=/dev/mapper/m bs=4k seek=$(($2 * 64)) count=1 oflag=direct conv=notrunc ;;
    r) ! live || later dd if=/dev/mapper/m of=/dev/null bs=4k skip=$(($2 * 64)) count=1 iflag=direct ;;
    d) ! live || later blkdiscard -o $(($2 * 262144)) -l 262144 /dev/mapper/m ;;
    bad) set -- $2 $(of $2); swap $1 "0 $2 error" ;;
    good) set -- $2 $(of $2); swap $1 "0 $2 linear /dev/$3 0" ;;
    resume) dmsetup resume m; sleep 0.3 ;;
    suspend) dmsetup $line; answers ;;
  esac
  dmsetup status m; dmsetup table m; dmsetup info -c --noheadings -o attr,events m
done 2>&1 | maj
dmsetup suspend m; answers; dmsetup resume m; answers

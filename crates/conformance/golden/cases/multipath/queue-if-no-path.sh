# Without a path, io waits, fails, or goes back to the core in a noflush suspend.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
M=/dev/mapper
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
pat() { # SECTORS SEED: numbered 64-byte lines, 8 to a sector
  awk -v n="$1" -v s="$2" 'BEGIN { for (i = 0; i < n * 8; i++) printf "%-5s%058d\n", s, i }'; }
put() { # DEV BS SEEK COUNT SEED: direct writes of BS KiB each, at SEEK*BS KiB
  pat $(($2 * $4 * 2)) "$5" | dd of="$1" bs="$2"k seek="$3" count="$4" iflag=fullblock oflag=direct conv=notrunc 2>/dev/null
  rc=$?; echo "put ${1##*/} $2k@$3+$4 $5 rc=$rc"; }
get() { # DEV BS SKIP COUNT: direct reads of BS KiB each, at SKIP*BS KiB
  : >buf; dd if="$1" bs="$2"k skip="$3" count="$4" iflag=direct of=buf 2>/dev/null; rc=$?
  n=$(($(wc -c <buf))) s=$(sha256sum <buf)
  s=${s%"${s#????????????????}"}; if [ $n -eq 0 ]; then s=-; elif cmp -s -n $n buf /dev/zero; then s=zeros; fi
  echo "get ${1##*/} $2k@$3+$4 rc=$rc bytes=$n $s"; }

start() { # NAME SEEK: a write that may have to wait
  ( put $M/m 4 "$2" 1 "$1" >"$1.tmp"; mv "$1.tmp" "$1.done" ) & sleep 1; }
end() { # NAME: whether and how it ended
  sleep 1; if [ -f "$1.done" ]; then cat "$1.done"; else echo "$1 waits"; fi; }
T='0 2048 multipath 3 queue_if_no_path queue_mode bio 0 1 1 queue-length 0 2 1 /dev/ram0 1 /dev/ram1 1'
dm create m --table "$T"
dm message m 0 fail_path /dev/ram0
dm message m 0 fail_path /dev/ram1
dm status m
start a 0
end a
dm status m
dm message m 0 REINSTATE_PATH /dev/ram1
end a
get /dev/ram1 4 0 1
dm status m
dm message m 0 fail_path /dev/ram1
start b 1
dm message m 0 fail_if_no_path
end b
dm table m
dm message m 0 queue_if_no_path
start c 1
dm suspend m
end c
dm table m
dm message m 0 queue_if_no_path
dm resume m
dm table m
start d 2
dm suspend --noflush m
end d
dm table m
start e 3
dm resume m
end d
end e
dm suspend --noflush m
dm reload m --table "$T"
dm resume m
end d
end e
dm table m
get $M/m 4 2 1
dm info -c --noheadings -o name,events m

# Words of set_region_mappings, good and bad.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }

dm create s --table '0 96 switch 3 8 0 /dev/ram0 0 /dev/ram1 0 /dev/ram2 0'
for m in 'SET_REGION_MAPPINGS 0:1' 'set_region_mappings :' 'set_region_mappings 0:' 'set_region_mappings 0:0x1' 'set_region_mappings 0:1,' 'set_region_mappings 0:00000000000000000001' \
  'set_region_mappings 0:fffffffffffffffff' 'set_region_mappings c:9' 'set_region_mappings B:2' 'set_region_mappings 0:1 R1,b' 'set_region_mappings 0:1 R1,c' 'set_region_mappings R1' \
  'set_region_mappings R1,' 'set_region_mappings R,1' 'set_region_mappings R1,1x' 'set_region_mappings R0,0' 'set_region_mappings R1,0' 'set_region_mappings 5:1 R7,1' 'set_region_mappings 5:1 R6,1' \
  'set_region_mappings 0:1 :2 r2,3 :0' 'set_region_mappings 0:1 R1,ffffffffffffffff' 'set_region_mappings b:0 :1' 'set_region_mappings 0:-1' 'set_region_mappings 0:1:2' \
  'set_region_mappings 100000000000000000000:1'; do dm message s 0 "$m"; done

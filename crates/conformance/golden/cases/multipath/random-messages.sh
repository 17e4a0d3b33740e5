# Messages, suspends and failing paths in an order of chance, two groups of two selectors.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
random() { # SEED COUNT: lines of stdin up to "--", some with a word replaced, dropped or added; the words after "--" come in
  awk -v s="$1" -v count="$2" '
    function draw(n) { s = (s * 16807) % 2147483647; return int(s / 7) % n }
    $0 == "--" { words = 1; next }
    !words { base[nb++] = $0; next }
    { for (i = 1; i <= NF; i++) pool[np++] = $i }
    END {
      while (count-- > 0) {
        n = split(base[draw(nb)], w, " ")
        if (draw(3) == 0) {
          how = draw(8)
          if (how < 5) w[1 + draw(n)] = pool[draw(np)]; else if (how < 6) n--; else w[++n] = pool[draw(np)]
        }
        line = w[1]; for (i = 2; i <= n; i++) line = line " " w[i]
        print line
      }
    }'
}
st() { dmsetup status x; dmsetup table x; dmsetup info -c --noheadings -o events,suspended,attr x; }
can_read() { # not where the read would wait for ever
  case "$(dmsetup table x) $(dmsetup info -c --noheadings -o suspended x)" in
    *Suspended*) false ;; *queue_if*) case $(dmsetup status x) in *' A '[0-9]*) ;; *) false ;; esac ;; esac; }
n=0
for d in a b c d; do dmsetup create $d --table "0 64 linear /dev/ram$n 0"; n=$((n + 1)); done
m=${DM_MAJOR:-254}
dmsetup create x --table "0 64 multipath 3 queue_mode bio queue_if_no_path 0 2 2 queue-length 0 2 1 $m:0 1 $m:1 1 service-time 0 2 2 $m:2 1 5 $m:3 1 10"
random 6 55 <<EOT |
fail_path $m:0
fail_path $m:1
fail_path $m:2
fail_path /dev/mapper/d
reinstate_path $m:0
reinstate_path $m:1
reinstate_path /dev/mapper/c
reinstate_path $m:3
switch_group 1
switch_group 2
disable_group 1
disable_group 2
enable_group 1
enable_group 2
queue_if_no_path
fail_if_no_path
read
read
read
read
read
suspend
suspend --noflush
resume
resume
resume
swap a error
swap a linear
swap c error
swap c linear
--
0 1 2 3 4294967297 4294967298 x -1 +1 01 $m:0 $m:1 $m:9 1:0 /dev/mapper/a /dev/nope /dev/null FAIL_PATH Reinstate_Path foo queue_if_no_path switch_group disable_group
EOT
while read -r line; do
  echo "> $line"
  set -- $line
  case $1 in
    suspend) dmsetup $line x ;;
    resume) dmsetup resume x ;;
    read) ! can_read || { dd if=/dev/mapper/x bs=4k count=1 iflag=direct of=/dev/null 2>/dev/null; echo rc=$?; } ;;
    swap) dmsetup suspend $2; dmsetup load $2 --table "0 64 $3 /dev/ram0 0"; dmsetup resume $2 ;;
    *) dmsetup message x 0 $line ;;
  esac
  st
done 2>&1 | maj

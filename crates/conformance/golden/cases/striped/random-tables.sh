# striped: tables with words replaced, dropped and added at random.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
random() { # SEED COUNT: lines of stdin up to "--", each with one or two words after the third replaced, dropped, added or swapped; the words after "--" come in
  awk -v s="$1" -v count="$2" '
    function draw(n) { s = (s * 16807) % 2147483647; return int(s / 7) % n }
    $0 == "--" { words = 1; next }
    !words { base[nb++] = $0; next }
    { for (i = 1; i <= NF; i++) pool[np++] = $i }
    END {
      while (count-- > 0) {
        n = split(base[draw(nb)], w, " ")
        for (k = 1 + draw(2); k > 0; k--) {
          if (n < 4) { w[++n] = pool[draw(np)]; continue }
          at = 4 + draw(n - 3); how = draw(10)
          if (how < 6) w[at] = pool[draw(np)]
          else if (how < 7 && n > 4) { for (i = at; i < n; i++) w[i] = w[i + 1]; n-- }
          else if (how < 8) w[++n] = pool[draw(np)]
          else if (how < 9) { for (i = n; i >= at; i--) w[i + 1] = w[i]; n++; w[at] = pool[draw(np)] }
          else { other = 4 + draw(n - 3); t = w[at]; w[at] = w[other]; w[other] = t }
        }
        line = w[1]; for (i = 2; i <= n; i++) line = line " " w[i]
        print line
      }
    }'
}
all() { # loads each table of stdin; its lines if it was taken, else what dmsetup says
  dmsetup create x --notable
  while read -r table; do
    printf '%s\n' "? $table"
    if dmsetup load x --table "$table"; then dmsetup table --inactive x; dmsetup status --inactive x; dmsetup clear x; fi
  done 2>&1 | maj; }
NUM='0 1 2 3 4 5 7 8 16 64 100 -1 +1 +0 x 00 01 0x10 1x 1. 1\n 255 256 65535 65536 1000000 4294967295 4294967296 4294967297 18446744073709551615 18446744073709551616 18446744073709551617 99999999999999999999999'
DEV='/dev/ram0 /dev/ram1 /dev/ram2 1:0 1:1 1:2 /dev/nope /dev/null /dev /dev/mapper/x 60:0 4096:0 1:1048576 4294967296:0 1: :1 01:00 1:0x 1:0:0 -1:0 ram0 '"${DM_MAJOR:-254}:0 ${DM_MAJOR:-254}:7"' +1:0 1:+0 1.0'
random 1111 110 <<EOT | all
0 64 striped 2 8 /dev/ram0 0 /dev/ram1 0
0 96 striped 3 8 /dev/ram0 0 /dev/ram1 0 1:2 5
0 64 striped 1 64 /dev/ram0 0
0 64 striped 4 16 /dev/ram0 0 /dev/ram1 0 1:2 5 1:0 524280
--
$NUM $DEV 32 64 16 8 2 3
EOT

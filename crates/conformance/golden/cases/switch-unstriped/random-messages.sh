# Messages of a switch in an order of chance, right and wrong ones, and the path that each region takes then.
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
        for (k = draw(3); k > 0; k--) {
          how = draw(8)
          if (how < 5) w[1 + draw(n)] = pool[draw(np)]; else if (how < 6 && n > 1) n--; else w[++n] = pool[draw(np)]
        }
        line = w[1]; for (i = 2; i <= n; i++) line = line " " w[i]
        print line
      }
    }'
}
regions() { dd if=/dev/mapper/x bs=4k count=16 iflag=direct 2>/dev/null | awk '{ for (i = 1; i <= length($0); i += 4096) printf "%s", substr($0, i, 1) }'; }
for d in 0 1 2; do printf '%65536s' | tr ' ' "$(echo $d | tr 012 abc)" | dd of=/dev/ram$d bs=64k oflag=direct iflag=fullblock 2>/dev/null; done
dmsetup create x --table '0 130 switch 3 8 0 /dev/ram0 0 /dev/ram1 0 /dev/ram2 0'
{ random 21 60 <<'EOT' |
set_region_mappings 0:1
set_region_mappings 0:0 1:1 2:2 3:0
set_region_mappings a:2 :1 :0
set_region_mappings 0:2 R1,f
set_region_mappings 0:0 :1 :2 R3,d
set_region_mappings 4:0 :1 r2,5
set_region_mappings
set_region_mappings :2
set_region_mappings R1,3
set_region_mappings F:1 10:2
--
0:0 1:1 2:2 10:1 11:1 ff:0 f:3 :3 :2 R2,4 R0,1 R5,2 R1,10 R1,11 R1,0 R3,1 r1,1 R1 R,1 x 0: 0:x 0x1:1 -1:1 1:-1 100000000:0 10000000000000001:2 0:100000001 ffffffffffffffff:0 Set_Region_Mappings set_region_mapping R1,ffffffffffffffff Rffffffffffffffff,1 3:1:2 3,1 : , R :: 0:1,
EOT
while read -r line; do echo "> $line"; dmsetup message x 0 $line; echo "rc=$? $(regions)"; done
dmsetup suspend x; dmsetup message x 0 set_region_mappings 0:1; dmsetup resume x
dmsetup message x 7 set_region_mappings 0:1; dmsetup message x 130 set_region_mappings 0:1; dmsetup message x 129 set_region_mappings 0:1
dmsetup message x 0 'set_region_mappings  0:1	1:2 ' ; dmsetup message x 0 'set_region_mappings 0\:1'
dmsetup table x; dmsetup status x
} 2>&1 | maj

// A Go test of a daemon's code that calls dmsetup, as many do.
//
// Go programs make system calls without the C library, so dmlab cannot stand between them and a device file; the programs that
// they start are served. Run it as anybody: dmlab run --allow-host -- go test ./...
package volume

import (
	"os/exec"
	"strings"
	"testing"
)

func dmsetup(t *testing.T, words ...string) string {
	t.Helper()
	out, err := exec.Command("dmsetup", words...).CombinedOutput()
	if err != nil {
		t.Fatalf("dmsetup %v: %v\n%s", words, err, out)
	}
	return string(out)
}

func TestVolume(t *testing.T) {
	dmsetup(t, "create", "volume", "--table", "0 2048 linear /dev/ram0 0")
	defer dmsetup(t, "remove", "volume")
	if table := dmsetup(t, "table", "volume"); !strings.HasPrefix(table, "0 2048 linear 1:0 0") {
		t.Errorf("table: %s", table)
	}
}

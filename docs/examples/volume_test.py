"""A Python test of code that drives the device mapper by dmsetup and reads its devices.

Run it as anybody: dmlab run --time virtual -- python3 docs/examples/volume_test.py
"""
import os
import subprocess
import time
import unittest


def dmsetup(*words):
    return subprocess.run(["dmsetup", *words], check=True, capture_output=True, text=True).stdout


class Volume(unittest.TestCase):
    def setUp(self):
        dmsetup("create", "volume", "--table", "0 2048 linear /dev/ram0 0")
        self.addCleanup(dmsetup, "remove", "volume")

    def test_what_is_written_is_read(self):
        volume = os.open("/dev/mapper/volume", os.O_RDWR)
        os.pwrite(volume, b"x" * 4096, 8192)
        os.fsync(volume)
        self.assertEqual(os.pread(volume, 4096, 8192), b"x" * 4096)
        os.close(volume)

    def test_an_hour_passes_at_once(self):
        # The clock says that it has; the test takes no time.
        start = time.monotonic()
        time.sleep(3600)
        self.assertGreaterEqual(time.monotonic() - start, 3600)

    def test_a_failing_disk_is_an_error(self):
        subprocess.run(["dmlab", "fault", "add", "device=/dev/ram0", "op=read", "fail=EIO"], check=True, capture_output=True)
        self.addCleanup(subprocess.run, ["dmlab", "fault", "clear"], check=True, capture_output=True)
        volume = os.open("/dev/mapper/volume", os.O_RDONLY)
        self.addCleanup(os.close, volume)
        with self.assertRaises(OSError):
            os.pread(volume, 4096, 0)


unittest.main(verbosity=0)

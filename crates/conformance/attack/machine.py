"""A machine for an attack, and what counts as harm: shared by the drivers beside this file."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time

# How long a command may take before it counts as one that hangs. Far more than any needs on a loaded host.
PATIENCE = 60
BROKEN = (b"panicked", b"stack overflow", b"memory allocation of")
# A panic's status, an abort's and a segmentation fault's, by a shell and by a parent.
BROKEN_STATUS = (101, 134, 139, -6, -11)


class Verdict:
    """What an attack found, and its end."""

    def __init__(self, name, seed):
        self.name, self.seed, self.found, self.begin = name, seed, [], time.time()
        print(f"{name}: seed {seed}", flush=True)

    def harm(self, what, text=b""):
        """Notes something that must not be."""
        self.found.append(what)
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        print(f"{self.name}: HARM: {what}\n    {text[-800:]}", flush=True)

    def end(self, done):
        """Says how it went. The exit status is 1 if anything was found."""
        took = time.time() - self.begin
        print(f"{self.name}: seed {self.seed}: {done} in {took:.0f} s, {len(self.found)} harmed", flush=True)
        sys.exit(1 if self.found else 0)


def is_broken(status, output):
    """Whether a program ended as none may, whatever it was given."""
    return status in BROKEN_STATUS or any(word in output for word in BROKEN)


class Machine:
    """A machine that stays until `end`, whose server's own words are kept."""

    count = 0

    def __init__(self, dmlab, verdict, *options):
        self.dmlab, self.verdict = dmlab, verdict
        Machine.count += 1
        self.name = f"attack-{os.getpid()}-{Machine.count}"
        self.words = tempfile.TemporaryFile()
        command = [
            dmlab,
            "run",
            "--name",
            self.name,
            *options,
            "--",
            "sh",
            "-c",
            'echo "$DMLAB_SOCKET"; cat >/dev/null',
        ]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.words)
        self.socket = self.server.stdout.readline().decode().strip()
        if not self.socket:
            sys.exit(f"no machine: {self.said().decode()}")

    def said(self):
        """All that the server has said on stderr."""
        self.words.seek(0)
        return self.words.read()

    def run(self, script, patience=PATIENCE):
        """Runs a script on the machine: its status and all it printed. One that hangs is harm."""
        command = [self.dmlab, "attach", self.name, "--", "sh", "-c", script]
        return self.ask(command, patience)

    def ask(self, command, patience=PATIENCE):
        """Runs a command of the host."""
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            output = child.communicate(timeout=patience)[0]
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            self.verdict.harm(f"hangs: {command}")
            return None, ""
        if is_broken(child.returncode, output):
            self.verdict.harm(f"broken: {command}: status {child.returncode}", output)
        return child.returncode, output.decode(errors="replace")

    def figures(self):
        """Descriptors, threads and memory in MiB of the server."""
        status = open(f"/proc/{self.server.pid}/status").read()
        memory, threads = (int(re.search(rf"{key}:\s*(\d+)", status)[1]) for key in ("VmRSS", "Threads"))
        return len(os.listdir(f"/proc/{self.server.pid}/fd")), threads, memory // 1024

    def end(self):
        """Ends it. A server that broke, left by itself or does not end is harm."""
        if self.server.poll() is not None:
            self.verdict.harm(f"the server ended by itself: {self.server.returncode}", self.said())
            return
        self.ask([self.dmlab, "info", "--machine", self.name])
        self.server.stdin.close()
        try:
            status = self.server.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
            self.verdict.harm("the machine does not end")
            return
        if status != 0 or is_broken(status, self.said()):
            self.verdict.harm(f"the server ended with {status}", self.said())

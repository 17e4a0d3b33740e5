"""What Python waits for: what comes of it, and the second at which it does.

A second is as long as the environment says (UNIT), so that what Python itself takes is nothing beside it."""
import asyncio
import os
import queue
import select
import signal
import subprocess
import threading
import time

unit = int(os.environ.get("UNIT", 1))
start = time.monotonic()


def at(what):
    print(f"{what}: {(time.monotonic() - start) / unit:.0f}", flush=True)


r, w = os.pipe()
time.sleep(3 * unit)
at("sleep")
print(select.select([r], [], [], 2 * unit))
at("select")
event = threading.Event()
print(event.wait(4 * unit))
at("event")
lock = threading.Lock()
lock.acquire()
print(lock.acquire(timeout=3 * unit))
at("lock")
condition = threading.Condition()
with condition:
    print(condition.wait(2 * unit))
at("condition")
try:
    queue.Queue().get(timeout=2 * unit)
except queue.Empty:
    at("queue")
timer = threading.Timer(3 * unit, lambda: at("timer"))
timer.start()
timer.join(60 * unit)
at("joined")
print(signal.sigtimedwait([signal.SIGUSR1], 2 * unit))
at("signal")


async def main():
    async def say(seconds):
        await asyncio.sleep(seconds * unit)
        at(f"asyncio after {seconds}")

    await asyncio.gather(say(6), say(2), say(4))
    try:
        await asyncio.wait_for(asyncio.sleep(1000 * unit), 3 * unit)
    except asyncio.TimeoutError:
        at("wait_for")
    program = await asyncio.create_subprocess_exec("sleep", str(2 * unit))
    await program.wait()
    at("subprocess of asyncio")


asyncio.run(main())
for command in (["sleep", str(500 * unit)], ["sh", "-c", f"echo begun; exec sleep {500 * unit}"]):
    try:
        subprocess.run(command, timeout=5 * unit, capture_output=len(command) > 2)
    except subprocess.TimeoutExpired as error:
        print(error.stdout)
        at("subprocess")
print(subprocess.run(["timeout", str(3 * unit), "sleep", str(100 * unit)]).returncode)
at("timeout")
signal.signal(signal.SIGALRM, lambda *_: at("alarm"))
signal.setitimer(signal.ITIMER_REAL, 2 * unit, 3 * unit)
signal.pause()
signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0)
begun = [threading.Event() for _ in range(10)]
for n, it in enumerate(begun):
    threading.Thread(target=lambda n=n, it=it: (time.sleep((10 - n) * unit), it.set())).start()
for it in begun:
    it.wait(100 * unit)
at("ten threads")

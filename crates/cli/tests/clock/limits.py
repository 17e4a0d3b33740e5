"""What Python waits for: what comes of it, and the second at which it does."""
import asyncio
import os
import queue
import select
import signal
import subprocess
import threading
import time

start = time.monotonic()


def at(what):
    print(f"{what}: {time.monotonic() - start:.0f}", flush=True)


r, w = os.pipe()
time.sleep(3)
at("sleep")
print(select.select([r], [], [], 2))
at("select")
event = threading.Event()
print(event.wait(4))
at("event")
lock = threading.Lock()
lock.acquire()
print(lock.acquire(timeout=3))
at("lock")
condition = threading.Condition()
with condition:
    print(condition.wait(2))
at("condition")
try:
    queue.Queue().get(timeout=2)
except queue.Empty:
    at("queue")
timer = threading.Timer(3, lambda: at("timer"))
timer.start()
timer.join(60)
at("joined")
print(signal.sigtimedwait([signal.SIGUSR1], 2))
at("signal")


async def main():
    async def say(seconds):
        await asyncio.sleep(seconds)
        at(f"asyncio after {seconds}")

    await asyncio.gather(say(6), say(2), say(4))
    try:
        await asyncio.wait_for(asyncio.sleep(1000), 3)
    except asyncio.TimeoutError:
        at("wait_for")
    program = await asyncio.create_subprocess_exec("sleep", "2")
    await program.wait()
    at("subprocess of asyncio")


asyncio.run(main())
for command in (["sleep", "500"], ["sh", "-c", "echo begun; exec sleep 500"]):
    try:
        subprocess.run(command, timeout=5, capture_output=len(command) > 2)
    except subprocess.TimeoutExpired as error:
        print(error.stdout)
        at("subprocess")
print(subprocess.run(["timeout", "3", "sleep", "100"]).returncode)
at("timeout")
signal.signal(signal.SIGALRM, lambda *_: at("alarm"))
signal.setitimer(signal.ITIMER_REAL, 2, 3)
signal.pause()
signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0)
begun = [threading.Event() for _ in range(10)]
for n, it in enumerate(begun):
    threading.Thread(target=lambda n=n, it=it: (time.sleep(10 - n), it.set())).start()
for it in begun:
    it.wait(100)
at("ten threads")

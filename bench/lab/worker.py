"""A process that takes locks as it is told by lines of JSON, as worker.ts does."""

import fcntl
import json
import os
import struct
import sys
import time

BATCH = 50


def now_ms():
    return time.monotonic() * 1000


class Fcntl:
    """fcntl.flock on a descriptor that stays open."""

    version = None

    def __init__(self, path):
        self.fd = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o666)

    def acquire(self):
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def release(self):
        fcntl.flock(self.fd, fcntl.LOCK_UN)


def filelock_of(path):
    import filelock

    return filelock.FileLock(path + ".lock")


MAKE = {"py-fcntl": Fcntl, "py-filelock": filelock_of}
made = {}


def lock_of(name, path):
    key = (name, path)
    if key not in made:
        made[key] = MAKE[name](path)
    return made[key]


held = None


class Commands:
    @staticmethod
    def load(name):
        if name == "py-filelock":
            import filelock

            return filelock.__version__
        return "%d.%d.%d" % sys.version_info[:3]

    @staticmethod
    def acquire(name, path):
        global held
        held = lock_of(name, path)
        held.acquire()
        return now_ms()

    @staticmethod
    def releaseAfter(ms):
        time.sleep(ms / 1000)
        at = now_ms()
        held.release()
        return at

    @staticmethod
    def alone(name, path, form, for_ms):
        if form != "sync":
            return None
        lock = lock_of(name, path)
        start = now_ms()
        count = 0
        while now_ms() - start < for_ms:
            for _ in range(BATCH):
                lock.acquire()
                lock.release()
            count += BATCH
        return count / (now_ms() - start) * 1000

    @staticmethod
    def contend(name, path, counter, start_at_ms, for_ms):
        lock = lock_of(name, path)
        fd = os.open(counter, os.O_RDWR | os.O_CREAT, 0o666)
        time.sleep(max(0, start_at_ms - now_ms()) / 1000)
        count, turns, waited_ms, longest_ms = 0, 0, 0, 0
        while True:
            asked = now_ms()
            if asked >= start_at_ms + for_ms:
                break
            lock.acquire()
            wait = now_ms() - asked
            number, last = struct.unpack("<QQ", os.pread(fd, 16, 0) or bytes(16))
            os.pwrite(fd, struct.pack("<QQ", number + 1, os.getpid()), 0)
            lock.release()
            count += 1
            longest_ms = max(longest_ms, wait)
            if last != os.getpid():
                turns += 1
                waited_ms += wait
        os.close(fd)
        return {
            "count": count,
            "turns": turns,
            "waitedMs": waited_ms,
            "longestMs": longest_ms,
            "endedAtMs": now_ms(),
        }


for line in sys.stdin:
    request = json.loads(line)
    try:
        value = getattr(Commands, request["command"])(*request["args"])
        reply = {"id": request["id"], "value": value}
    except Exception as error:
        reply = {"id": request["id"], "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)

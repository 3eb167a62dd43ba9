"""Goes through steps, and at the end connects to names, and prints which of them it reached.

    starting.py STEPS NAME...

Steps are separated by commas: `start=PROGRAM` runs the rest in a child, `exec=PROGRAM` in its own
place, `orphan=PROGRAM` in a process that has left parent, session and process group. PROGRAM is a
Python interpreter. `copy=PROGRAM` copies itself there first. `wait` waits until its input ends.
"""

import json
import os
import shutil
import socket
import subprocess
import sys

PORT_DISCARD = 9


def reach(name: str) -> str:
    try:
        socket.create_connection((name, PORT_DISCARD), 10).close()
    except socket.gaierror:
        return "unknown"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return "reached"


def main() -> None:
    steps, *names = sys.argv[1:]
    first, _, rest = steps.partition(",")
    how, _, program = first.partition("=")
    command = [program, __file__, rest, *names]
    if how == "start":
        sys.exit(subprocess.run(command).returncode)
    elif how == "exec":
        os.execv(program, command)
    elif how == "orphan":
        # Whoever reads the output waits for the last one to close it.
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(program, command)
        os._exit(0)
    elif how == "copy":
        shutil.copy(sys.executable, program)
        os.execv(sys.executable, [sys.executable, __file__, rest, *names])
    elif how == "wait":
        print("ready", flush=True)
        sys.stdin.read()
        os.execv(sys.executable, [sys.executable, __file__, rest, *names])
    print(json.dumps({name: reach(name) for name in names}))


main()

"""child_curl.py URL: an agent that starts a tool: a shell that starts curl."""

import json
import os
import subprocess
import sys

done = subprocess.run(
    ["sh", "-c", 'curl --silent --show-error --max-time 10 "$1"; exit $?', "sh", sys.argv[1]],
    capture_output=True,
    text=True,
)
print(
    json.dumps(
        {
            "pid": os.getpid(),
            "code": done.returncode,
            "answer": done.stdout or None,
            "error": done.stderr,
        }
    )
)

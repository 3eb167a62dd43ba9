"""What the agents of the lab have in common: one call, the answer, and then they wait."""

import json
import os
import sys


def run(call):
    """Prints one line of JSON with the answer or the error, and waits until standard input ends."""
    result = {"pid": os.getpid(), "answer": None}
    try:
        result["answer"] = call()
    except Exception as error:
        result["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(result), flush=True)
    sys.stdin.read()

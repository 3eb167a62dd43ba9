"""local_model_agent.py URL: an agent that only calls a model server of this host, by HTTP."""

import json
import sys
import urllib.request

import agents


def call():
    with urllib.request.urlopen(f"{sys.argv[1]}/v1/chat/completions", data=b"{}") as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


agents.run(call)

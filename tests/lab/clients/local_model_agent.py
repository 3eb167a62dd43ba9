"""local_model_agent.py PORT: an agent that only calls a model server of this host, by HTTP, over a
connection that it keeps."""

import http.client
import json
import sys

import agents

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))


def call():
    connection.request("POST", "/v1/chat/completions", body=b"{}")
    return json.load(connection.getresponse())["choices"][0]["message"]["content"]


agents.run(call)

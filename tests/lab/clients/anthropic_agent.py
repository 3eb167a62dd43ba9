"""anthropic_agent.py URL: an agent by the official Anthropic client."""

import sys

import agents
from anthropic import Anthropic


def call():
    client = Anthropic(base_url=sys.argv[1], max_retries=0, timeout=30)
    messages = [{"role": "user", "content": "hello"}]
    answer = client.messages.create(model="lab", max_tokens=16, messages=messages)
    return answer.content[0].text


agents.run(call)

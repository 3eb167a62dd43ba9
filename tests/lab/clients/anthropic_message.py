"""anthropic_message.py HOST: one message with the official Anthropic client."""

import sys

import timed
from anthropic import Anthropic


def message():
    client = Anthropic(base_url=f"https://{sys.argv[1]}", max_retries=0, timeout=10)
    answer = client.messages.create(
        model="lab", max_tokens=10, messages=[{"role": "user", "content": "hello"}]
    )
    return answer.content[0].text


timed.report(message)

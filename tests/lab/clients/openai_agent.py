"""openai_agent.py URL: an agent by the official OpenAI client."""

import sys

import agents
from openai import OpenAI


def call():
    client = OpenAI(base_url=f"{sys.argv[1]}/v1", max_retries=0, timeout=30)
    messages = [{"role": "user", "content": "hello"}]
    answer = client.chat.completions.create(model="lab", messages=messages)
    return answer.choices[0].message.content


agents.run(call)

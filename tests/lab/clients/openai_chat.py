"""openai_chat.py HOST: one chat completion with the official OpenAI client."""

import sys

import timed
from openai import OpenAI


def chat():
    client = OpenAI(base_url=f"https://{sys.argv[1]}/v1", max_retries=0, timeout=10)
    answer = client.chat.completions.create(
        model="lab", messages=[{"role": "user", "content": "hello"}]
    )
    return answer.choices[0].message.content


timed.report(chat)

"""pydantic_agent.py URL: an agent of Pydantic AI."""

import sys

import agents
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


def call():
    provider = OpenAIProvider(base_url=f"{sys.argv[1]}/v1", api_key="lab")
    agent = Agent(OpenAIChatModel("lab", provider=provider))
    return agent.run_sync("hello").output


agents.run(call)

"""langgraph_agent.py URL: a graph of LangGraph with one step, which asks a model by LangChain."""

import sys

import agents
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph


def call():
    model = ChatOpenAI(model="lab", base_url=f"{sys.argv[1]}/v1", max_retries=0, timeout=30)
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    state = graph.compile().invoke({"messages": [("user", "hello")]})
    return state["messages"][-1].content


agents.run(call)

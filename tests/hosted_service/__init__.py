"""A service of our own that real SDKs talk to in tests: a process on a loopback port.

    process.py ... starts and stops it, and asks it what it saw; what tests use
    app.py ....... the server: routes, and what only tests may ask
    gate.py ...... what every call passes: the log, credentials, limits, latency, faults
    faults.py .... which calls go wrong, and how
    asking.py .... what a model is asked and what it says, whatever the protocol
    learner.py ... the stand-in for a language model: it reads the prompt and learns from it
    answering.py . its answer in the form that was asked for, token by token
    gemini*.py ... Google's protocol, Developer API and Vertex; vertex_tuning.py its tuning jobs,
                   vertex_experiments.py their losses
    openai*.py ... OpenAI's protocol
    together.py .. Together's files and tuning jobs, and the chat of what was tuned
    fireworks.py . those of Fireworks

The answers come from a small learner (word overlap, nearest examples, logistic regression), so what
it scores says nothing of any model on sale. What is real is the traffic.
"""

from .process import PROJECT, Seen, Service, start

__all__ = ["PROJECT", "Seen", "Service", "start"]

"""Documents to answer from: read, cut into passages, indexed, searched and ranked.

    documents.py, converters.py    a folder or corpus.jsonl -> documents
    passages.py                    documents -> passages
    encoder.py                     texts -> vectors
    index.py                       passages -> an artifact that is searched
    lexical.py, dense.py           by words, by meaning; remote.py: in a database by URL
    fusion.py, rerank.py           several rankings -> one; a learned order of the best
    scoring.py                     how good a retriever is, with intervals

Answers are made elsewhere: see `solvers/prompt.py`. Which retriever a task gets is decided in
`steps/retrieval.py`.
"""

"""The rungs of the ladder: one step per file, each an edit of the solver before it.

    baseline    no model: majority, nearest neighbour, linear, dictionary
    prompt      a search over wordings, shown labels or schema, formats, constraints, scoring
    few_shot    demonstrations: fixed or picked per input, as many as pay for their tokens
    fine_tune   train the model's weights

What they share: `measure.py` tries a solver on train examples, `sampling.py` draws those,
`lessons.py` words what went wrong. A step never sees dev or test.
"""

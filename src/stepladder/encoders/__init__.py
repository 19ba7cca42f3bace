"""Text encoders on OpenVINO: the small open one as it comes, and those that were tuned from it.

`graph.py` builds the computation from weights, `running.py` opens a folder and runs it. Training
is in `trainers/`, which alone needs torch; what is done with vectors is in `solvers/`.
"""

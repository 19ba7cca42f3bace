"""Tuning over open weights, behind the protocols: a job in the database becomes a served adapter.

The server queues a job and wakes `queue.py`, which keeps a process of its own running,
`worker.py`: training would otherwise stall those who wait for answers. The worker claims a job by
lease (`holding.py`), reads its rows (`rows.py`, `sources.py`), counts them (`counting.py`), trains
(`run_job.py`, through `trainers/local.py`) and puts what came of it into the database
(`finishing.py`), where every server of that database finds it. Nothing here speaks a protocol.
"""

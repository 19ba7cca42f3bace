"""What all providers over a network share.

    keys.py ....... the key, from the environment or the keyring; nothing else may see it
    api.py ........ the seam: one call to a service, and what its failures mean
    pool.py ....... many calls at once, under the service's limit, with retries and a deadline
    batches.py .... the same requests as a job at half the price
    model.py ...... a `Model` over an `Api`

A provider implements `Api` and nothing of the rest.
"""

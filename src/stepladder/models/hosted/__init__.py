"""What all providers over a network share.

    keys.py ....... the key, from the environment or the keyring; nothing else may see it
    options.py .... what a task file may say of a provider
    api.py ........ the seam: one call to a service, and what its failures mean
    media.py ...... what a message holds besides text
    pace.py ....... how many calls a service takes at once, found by trying
    pool.py ....... many calls at once at that pace, with retries and a deadline
    prefix.py ..... when keeping what requests share pays, and what was paid for it
    batches.py .... the same requests as a job at half the price
    batch_record.py  what is on disk of such a job, so that none is submitted twice
    tokens.py ..... how many tokens a text is, about
    model.py ...... a `Model` over an `Api`

A provider implements `Api` and nothing of the rest.
"""

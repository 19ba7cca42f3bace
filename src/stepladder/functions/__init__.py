"""Functions that a model may call: one description of them, whatever they come from.

    description ..... what every source gives: described functions, and a way to call them
    calls ........... the calls that an answer tells of
    catalogue ....... a file of descriptions only, for predicting calls
    python_file ..... typed, documented functions of the user's own `functions.py`
    openapi ......... the operations of an HTTP service
    mcp_server ...... the tools of an MCP server
    opening ......... sources from plain records, so that a solver can name them
    running ......... checks, allow-list, limits: everything between a model and a call
    loop ............ asking, calling and asking again, many inputs at once

Nothing here decides which prompt is best.
"""

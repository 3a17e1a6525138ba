"""Emotions over a network: the web page of `cfnsr serve`, and how servers accept clips.

`page.py` is the page, `render.py` shows its results, and `uploads.py` keeps and deletes what visitors upload.
`limits.py` says what a server accepts, `gate.py` from whom, and `turns.py` how much at once. `request.py` and
`fetch_url.py` turn a path, a URL or base64 into a local file for the REST server, which is MLflow's around
`components/registered/pyfunc.py`.
"""

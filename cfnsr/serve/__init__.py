"""Emotions over a network: `limits.py` says what a server takes, `sources.py` and `download.py` fetch what it is given.

`page.py` is the web page of `cfnsr serve`, `render.py` its results, `folder.py` and `clips.py` how long it keeps what
it is sent; the REST server is MLflow's, around `components/registered/pyfunc.py`.
"""

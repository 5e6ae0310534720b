"""Measurements of the running product, side by side with what one would use without it.

`python -m bench` prints all of them, `python -m bench PART …` some. Every part starts what it measures, as
processes of their own on this machine's loopback, and ends it. Where two things are compared their rounds
take turns, so that whatever else the machine does meets both; the ratio is what a figure is good for.
"""
